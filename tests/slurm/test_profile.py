"""Profiles: every key is checked, sizes and times are read as SLURM reads them, more is twice as much up to a cap."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from slurm.profile import OURS, PROFILES, Profile, find_profile, profile_from
from yosinski.errors import BadInput

KEYS = [value.name for value in fields(Profile) if value.name != "name"]
WRONG: dict[str, tuple[Any, str]] = {
    "partition": (3, "str"),
    "account": (True, "str"),
    "qos": (1.5, "str"),
    "constraint": ({"a": "b"}, "str"),
    "gpus": ("1", "int"),
    "cpus": (2.0, "int"),
    "memory": (16, "str"),
    "time": (60, "str"),
    "grace": ("60", "int"),
    "pack": (True, "int"),
    "throttle": (False, "int"),
    "setup": ("module load cuda", "list of texts"),
    "python": (3, "str"),
    "staging": (False, "str"),
    "precision": (32, "str"),
    "threads": ("1", "int"),
    "max_memory": (64, "str"),
    "max_time": (90, "str"),
    "shared": (1, "bool"),
    "options": ("--nice", "table of texts"),
}


def profile(**values: Any) -> Profile:
    """A profile as a file of this name with these values would give it."""
    return profile_from(values, "mine")


# ---------------------------------------------------------------------------------------------------------------- keys


def test_every_key_has_a_wrong_value_below() -> None:
    assert sorted(WRONG) == sorted(KEYS)


@pytest.mark.parametrize("key", WRONG)
def test_a_value_of_another_type_is_refused_by_name(key: str) -> None:
    value, kind = WRONG[key]
    wanted = f"profile mine: {key} takes a {kind}, not {value!r}"
    with pytest.raises(BadInput, match=f"^{re.escape(wanted)}$"):
        profile(**{key: value})


def test_lists_and_tables_hold_texts_only() -> None:
    with pytest.raises(BadInput, match=r"^profile mine: setup takes a list of texts, not \('module', 3\)$"):
        profile(setup=["module", 3])
    with pytest.raises(BadInput, match=r"^profile mine: options takes a table of texts, not \{'nice': 3\}$"):
        profile(options={"nice": 3})


def test_an_unknown_key_is_refused_with_the_list_of_those_that_there_are() -> None:
    wanted = f"unknown key in profile mine: 'memroy'; choose from: {', '.join(KEYS)}"
    with pytest.raises(BadInput, match=f"^{re.escape(wanted)}$"):
        profile(memory="4G", memroy="8G")


@pytest.mark.parametrize(
    ("key", "least"), [("gpus", 0), ("cpus", 1), ("grace", 5), ("pack", 1), ("throttle", 0), ("threads", 1)]
)
def test_numbers_have_a_least_value(key: str, least: int) -> None:
    assert getattr(profile(**{key: least}), key) == least
    with pytest.raises(BadInput, match=f"^profile mine: {key} must be at least {least}, not {least - 1}$"):
        profile(**{key: least - 1})


def test_the_grace_time_is_shorter_than_the_time() -> None:
    assert profile(time="1", grace=59).grace == 59
    for grace in (60, 61):
        wanted = rf"^profile mine: grace \({grace} s\) must be shorter than time \(1\)$"
        with pytest.raises(BadInput, match=wanted):
            profile(time="1", grace=grace)


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_three_precisions_are_known(precision: str) -> None:
    assert profile(precision=precision).precision == precision
    with pytest.raises(
        BadInput, match=rf"^unknown value of precision '{precision}\+'; choose from: auto, float32, bfl"
    ):
        profile(precision=f"{precision}+")


@pytest.mark.parametrize("key", [key for key, (_, kind) in WRONG.items() if kind == "str"])
@pytest.mark.parametrize("text", ["a\nb", "a\n", "\r", "a\0b"])
def test_a_text_is_one_line(key: str, text: str) -> None:
    with pytest.raises(BadInput, match=f"^profile mine: {key} must be one line, not {re.escape(repr(text))}$"):
        profile(**{key: text})


def test_the_text_of_an_option_is_one_line() -> None:
    with pytest.raises(BadInput, match="must be one line, not 'x\\\\n#SBATCH --array=0-9'"):
        profile(options={"nice": "x\n#SBATCH --array=0-9"})


@pytest.mark.parametrize("option", [*OURS, "Nice", "--nice", "n ice", "", "nice=3", "job_name", "-J", "x\n"])
def test_options_that_are_ours_or_no_long_names_are_refused(option: str) -> None:
    wanted = f"profile mine: options.{option} cannot be set; give long names of sbatch's options, but none of: "
    with pytest.raises(BadInput, match=f"^{re.escape(wanted + ', '.join(OURS))}$"):
        profile(options={"mail-type": "FAIL", option: "x"})


def test_other_options_are_kept_as_they_are() -> None:
    options = {"mail-type": "FAIL", "nice": "100", "reservation": "a b"}
    assert profile(options=options).options == options


@pytest.mark.parametrize("option", ["mem", "time", "partition", "cpus-per-task"])
def test_options_for_which_a_profile_has_keys_are_refused(option: str) -> None:
    """They would win over the key: `heal` would raise the key in vain."""
    with pytest.raises(BadInput, match=f"options.{option} cannot be set"):
        profile(options={option: "1"})


# ----------------------------------------------------------------------------------------------------- sizes and times

SIZES = {
    "500": 500,
    "500M": 500,
    "500MB": 500,
    "16G": 16 * 1024,
    "16GB": 16 * 1024,
    "1T": 1024 * 1024,
    "2048K": 2,
    "1K": 1,
    "0001G": 1024,
}
NO_SIZES = ["0", "0G", "-1G", "1.5G", "16 G", " 16G", "G", "lots", "16X", "16GiB", "16GG", "1G2M"]
TIMES = {
    "90": 90,
    "1": 1,
    "1:30": 2,  # minutes:seconds, rounded up
    "90:00": 90,
    "90:01": 91,
    "1:30:00": 90,
    "1:30:01": 91,
    "24:00:00": 24 * 60,
    "2-12": 60 * 60,
    "2-12:30": 60 * 60 + 30,
    "2-12:30:00": 60 * 60 + 30,
    "2-12:30:59": 60 * 60 + 31,
    "1-0": 24 * 60,
}
NO_TIMES = ["0", "0:00", "0-0", "0:00:00", "-5", "1-", "1:", ":30", "1:2:3:4", "1-2:3:4:5", "1.5", "1h", "soon", " 90"]


@pytest.mark.parametrize("key", ["memory", "max_memory"])
@pytest.mark.parametrize("text", SIZES)
def test_sizes_are_read_in_all_of_slurms_forms(key: str, text: str) -> None:
    assert profile(**{key: text}).mebibytes(key) == SIZES[text]


@pytest.mark.parametrize("key", ["memory", "max_memory"])
@pytest.mark.parametrize("text", NO_SIZES)
def test_what_is_no_size_is_refused(key: str, text: str) -> None:
    wanted = f"profile mine: {key} takes a size such as 500M or 16G, not {text!r}"
    with pytest.raises(BadInput, match=f"^{re.escape(wanted)}$"):
        profile(**{key: text})


def test_a_size_in_bytes_is_not_read_as_mebibytes() -> None:
    with pytest.raises(BadInput, match="memory takes a size"):
        profile(memory="100B")


@pytest.mark.parametrize("key", ["time", "max_time"])
@pytest.mark.parametrize("text", TIMES)
def test_times_are_read_in_all_of_slurms_forms(key: str, text: str) -> None:
    assert profile(**{key: text}, grace=5).minutes(key) == TIMES[text]


@pytest.mark.parametrize("key", ["time", "max_time"])
@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_no_time_is_refused(key: str, text: str) -> None:
    with pytest.raises(BadInput, match=rf"^profile mine: {key} (takes 90, 1:30:00 or 2-12:00:00, not|must be more th)"):
        profile(**{key: text})


# ---------------------------------------------------------------------------------------------------------------- more


def climb(start: Profile, **what: bool) -> list[Profile]:
    """The profiles after each of four steps."""
    found = [start]
    for _ in range(4):
        found.append(found[-1].more(**what))
    return found[1:]


def test_more_memory_is_twice_as_much_up_to_the_cap() -> None:
    steps = climb(profile(memory="3G", max_memory="16G"), memory=True)
    assert [step.mebibytes("memory") for step in steps] == [6144, 12288, 16384, 16384]
    assert {step.mebibytes("max_memory") for step in steps} == {16384}


def test_more_time_is_twice_as_much_up_to_the_cap() -> None:
    steps = climb(profile(time="3:00:00", max_time="1-0"), time=True)
    assert [step.minutes("time") for step in steps] == [360, 720, 1440, 1440]
    assert {step.minutes("max_time") for step in steps} == {1440}


def test_without_caps_there_is_fourfold_of_the_first_and_no_more() -> None:
    first = profile(memory="500M", time="45")
    assert [step.mebibytes("memory") for step in climb(first, memory=True)] == [1000, 2000, 2000, 2000]
    assert [step.minutes("time") for step in climb(first, time=True)] == [90, 180, 180, 180]


def test_a_smaller_pack_is_half_as_large_and_never_empty() -> None:
    assert [step.pack for step in climb(profile(pack=14), smaller=True)] == [7, 3, 1, 1]


def test_more_of_one_thing_changes_nothing_else() -> None:
    first = profile(memory="4G", time="60", pack=14, partition="x", setup=["a"], options={"nice": "1"})
    more = first.more(memory=True)
    assert replace(more, memory="4G", max_memory="") == first
    more = first.more(time=True)
    assert replace(more, time="60", max_time="") == first
    more = first.more(smaller=True)
    assert replace(more, pack=14) == first
    assert first.more() == first


def test_more_is_never_less() -> None:
    low = profile(memory="8G", max_memory="4G", time="120", max_time="60")
    assert low.more(memory=True).mebibytes("memory") >= low.mebibytes("memory")
    assert low.more(time=True).minutes("time") >= low.minutes("time")


def test_of_memory_that_is_left_to_the_cluster_there_is_no_more() -> None:
    assert profile(memory="").more(memory=True).mebibytes("memory") == 0


# --------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_profile_that_comes_along_loads_and_leaves_room_to_heal(path: Path) -> None:
    found = find_profile(path.stem)
    assert found.name == path.stem
    assert found.more(memory=True).mebibytes("memory") == 2 * found.mebibytes("memory")
    assert found.more(time=True).minutes("time") == 2 * found.minutes("time")
    assert find_profile(str(path)) == found


def test_there_are_profiles_with_and_without_a_gpu() -> None:
    assert {path.stem for path in PROFILES.glob("*.toml")} >= {"cpu", "gpu", "preemptible"}
    assert [find_profile(name).gpus for name in ("cpu", "gpu", "preemptible")] == [0, 1, 1]


def test_what_is_commented_out_in_the_gpu_profile_is_valid(tmp_path: Path) -> None:
    text = (PROFILES / "gpu.toml").read_text(encoding="utf-8")
    mine = tmp_path / "my-site.toml"
    mine.write_text(re.sub(r"^# (?=\[|[a-z-]+ = )", "", text, flags=re.MULTILINE), encoding="utf-8")
    found = find_profile(str(mine))
    assert (found.name, found.partition, found.account) == ("my-site", "gpu", "my-group")
    assert found.setup == ("module load cuda/12.4", "source /etc/profile.d/site.sh")
    assert found.options == {"mail-type": "FAIL"}


def test_an_unknown_profile_is_refused_with_the_list_of_those_that_there_are() -> None:
    wanted = "unknown profile 'cpus'; choose from: cpu, gpu, preemptible, or a path to a .toml file"
    with pytest.raises(BadInput, match=f"^{re.escape(wanted)}$"):
        find_profile("cpus")


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    with pytest.raises(BadInput, match=f"^no profile {path}$"):
        find_profile(str(path))
    for content in (b"gpus = ", b"gpus = 1\ngpus = 1\n", b"partition = '\xff'"):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=f"^{path} is not TOML: "):
            find_profile(str(path))
    path.write_text("gpus = 3\n")
    assert find_profile(str(path)).gpus == 3


def test_a_profile_is_read_from_json_as_it_was_written() -> None:
    first = profile(gpus=1, setup=["a", "b"], options={"nice": "1"}, memory="7G", shared=True)
    assert profile_from(json.loads(json.dumps(first.as_json())), first.name) == first
