"""Merging: the result is the union, whatever the order and however often; what is refused changes nothing."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic
from safetensors.numpy import save_file

from analysis import frame
from sweeps.running.merge import Merged, merge
from yosinski import files
from yosinski.errors import BadInput
from yosinski.experiment.run import Run
from yosinski.records import attempts, specs
from yosinski.records.specs import folder

A, B = synthetic.halves()
BASE = synthetic.base(A)
COPY = synthetic.copy(BASE, B, 3)
FIRST = synthetic.sweep([2, 5], ["random:0"])
SECOND = synthetic.sweep([2, 5], ["random:1"])


def end(runs: Path, run: Run, top1: float = 0.5, weights: float = 1.0, **values: object) -> Path:
    """What a run leaves that ended; the weights depend on the run and on `weights`."""
    hashes = {"weights": hashed(run, weights), "parent_weights": hashed(run.parent, 1.0) if run.parent else None}
    synthetic.finish(runs, run, top1, (0.1, top1), **{**hashes, **values})
    save_file(tensors(run, weights), folder(runs, run.id) / "weights.safetensors")
    return folder(runs, run.id)


def tensors(run: Run, weights: float) -> dict[str, np.ndarray]:
    return {"1.weight": np.full(4, weights, np.float32), "1.bias": np.arange(int(run.id[:2], 16), dtype=np.float32)}


def hashed(run: Run, weights: float) -> str:
    """As a record names these tensors."""
    found = sorted(tensors(run, weights).items())
    text = b"".join(f"{name} torch.float32 {t.shape}\n".encode() + t.tobytes() for name, t in found)
    return hashlib.sha256(text).hexdigest()


def ended(runs: Path, listed: list[Run]) -> Path:
    """A runs directory in which all of these have ended."""
    for k, run in enumerate(listed):
        end(runs, run, k / 100)
    return runs


def content(*places: Path) -> dict[Path, bytes | None]:
    """All directories and, with their bytes, all files."""
    return {path: path.read_bytes() if path.is_file() else None for place in places for path in place.rglob("*")}


def inside(place: Path) -> dict[Path, bytes | None]:
    """The same, by paths inside of the place."""
    return {path.relative_to(place): found for path, found in content(place).items()}


def same(ours: pd.DataFrame, others: pd.DataFrame) -> None:
    """Equal frames, whatever the order of their rows."""
    ours, others = (table.sort_values(["run", "step"], ignore_index=True) for table in (ours, others))
    pd.testing.assert_frame_equal(ours, others)


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    """Three runs directories; the first two share a run, the third has another sweep's runs and one of its own."""
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    ended(one, FIRST[:6])
    ended(two, [FIRST[0], *FIRST[6:]])
    ended(three, SECOND)
    specs.enrol(three, BASE.copy(1, "random", below="gaussian"))
    synthetic.manifest(two, "first", FIRST)
    synthetic.manifest(three, "second", SECOND)
    return [one, two, three]


# ---------------------------------------------------------------------------------------------------------- the union


def test_the_frame_of_a_merged_directory_is_the_union(tmp_path: Path, places: list[Path]) -> None:
    before = content(*places)
    merged = merge(places, tmp_path / "all")
    assert merged == Merged(copied=len(FIRST) + len(SECOND), equal=1, unfinished=1, running=0)
    union = pd.concat([frame(place, where={"state": "done"}) for place in places], ignore_index=True)
    same(frame(tmp_path / "all"), union.drop_duplicates())
    for sweep, listed in {"first": FIRST, "second": SECOND}.items():
        assert set(frame(tmp_path / "all", sweep)["run"]) == {run.id for run in listed}
    for run in (*FIRST, *SECOND):
        assert specs.load(tmp_path / "all", run.id) == run
    assert content(*places) == before


def test_what_is_copied_of_a_run_are_its_results_and_no_temporary_files(tmp_path: Path) -> None:
    source = end(tmp_path / "one", BASE)
    (source / "record.json.damaged-1").touch()
    merge([tmp_path / "one"], tmp_path / "all")
    copied = inside(folder(tmp_path / "all", BASE.id))
    kept = ("run.json", "curve.csv", "weights.safetensors", "record.json", "claim.1.json")
    assert set(copied) == {Path(name) for name in kept}
    for name in kept[:-1]:
        assert copied[Path(name)] == (source / name).read_bytes()


def test_merging_again_changes_nothing(tmp_path: Path, places: list[Path]) -> None:
    merge(places, tmp_path / "all")
    before = content(tmp_path)
    assert merge(places, tmp_path / "all") == Merged(0, len(FIRST) + len(SECOND) + 1, 1, 0)
    assert content(tmp_path) == before


def test_neither_order_nor_grouping_of_sources_matters(tmp_path: Path, places: list[Path]) -> None:
    merge(places, tmp_path / "all")
    merge(places[::-1], tmp_path / "backwards")
    merge([*places, *places], tmp_path / "twice")
    for place in (places[1], places[2], places[0]):
        merge([place], tmp_path / "one by one")
    for other in ("backwards", "twice", "one by one"):
        assert inside(tmp_path / other) == inside(tmp_path / "all")


def test_a_run_trained_twice_with_equal_results_is_kept_once(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    end(one, BASE, memory=1, environment={"host": "one"}, seconds=1.0)
    interrupted = attempts.claim(two, BASE)
    assert interrupted is not None
    interrupted.release()
    again = end(two, BASE, memory=2, environment={"host": "two"}, seconds=2.0, pack=7)
    in_curve("5.0\n", "77.0\n")(again)  # seconds of computing
    assert files.read_json(again / "record.json")["attempts"] == 2
    hosts = []
    for sources in ([one, two], [two, one]):
        here = tmp_path / f"first {sources[0].name}"
        assert merge(sources, here) == Merged(1, 1, 0, 0)
        hosts.append(files.read_json(folder(here, BASE.id) / "record.json")["environment"]["host"])
    assert hosts == ["one", "two"]
    before = content(two)
    assert merge([one], two) == Merged(0, 1, 0, 0)
    assert content(two) == before


def test_a_diverged_runs_nan_equals_itself(tmp_path: Path) -> None:
    for place in ("one", "two"):
        synthetic.finish(tmp_path / place, BASE, None, (0.1, math.nan), state="diverged")
        (folder(tmp_path / place, BASE.id) / "weights.safetensors").write_bytes(b"nan")
    assert merge([tmp_path / "one"], tmp_path / "two") == Merged(0, 1, 0, 0)


def test_names_that_a_run_and_its_halves_were_given_first_stay(tmp_path: Path) -> None:
    one, two, here = tmp_path / "one", tmp_path / "two", tmp_path / "all"
    end(one, BASE)
    other = replace(A, letter="Q", split="mine")
    end(two, synthetic.base(other))
    end(two, synthetic.copy(synthetic.base(other), other, 1))
    merge([one, two], here)
    assert set(frame(here)["name"]) == {"baseA", "Q1Q"}
    assert set(frame(here)["target"]) == {"A"}


# ------------------------------------------------------------------------------------------- what has not ended


def test_a_run_that_was_interrupted_here_is_completed(tmp_path: Path) -> None:
    source, here = end(tmp_path / "one", BASE), tmp_path / "all"
    for write in ("checkpoint.pt", "weights.safetensors"):
        attempt = attempts.claim(here, BASE)
        assert attempt is not None
        attempt.append(synthetic.row(10, 0.9))
        attempt.beat(1, 2)
        attempt.save(write, lambda path: path.touch())
        attempt.fail("no more electricity")
    assert merge([tmp_path / "one"], here) == Merged(1, 0, 0, 0)
    same(frame(here), frame(tmp_path / "one"))
    names = {path.name for path in folder(here, BASE.id).iterdir()}
    assert names == {path.name for path in source.iterdir()} | {"claim.2.json", "claim.3.json"}


def test_a_run_that_is_being_trained_here_is_left_alone(tmp_path: Path) -> None:
    end(tmp_path / "one", BASE)
    end(tmp_path / "one", COPY)
    attempt = attempts.claim(tmp_path / "all", BASE)
    assert attempt is not None
    before = inside(attempt.path)
    assert merge([tmp_path / "one"], tmp_path / "all") == Merged(1, 0, 0, 1)
    assert inside(attempt.path) == before
    attempt.release()
    assert merge([tmp_path / "one"], tmp_path / "all") == Merged(1, 1, 0, 0)


def test_runs_that_ended_nowhere_are_counted_once_and_not_copied(tmp_path: Path) -> None:
    blocked = synthetic.copy(BASE, A, 1)
    for place in ("one", "two"):
        attempt = attempts.claim(tmp_path / place, blocked)
        assert attempt is not None
        attempt.finish({"state": "blocked", "reason": "its base is missing"})
    end(tmp_path / "two", BASE)  # which the first one knows, too
    assert merge([tmp_path / "one", tmp_path / "two"], tmp_path / "all") == Merged(1, 0, 1, 0)
    assert not folder(tmp_path / "all", blocked.id).exists()


@pytest.mark.parametrize("killed", [False, True])
def test_an_interrupted_merge_is_completed_by_repeating_it(
    killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ended(tmp_path / "one", [BASE, COPY])
    synthetic.manifest(source, "mine", [BASE, COPY])
    copyfile, release = shutil.copyfile, attempts.Attempt.release
    whole = 3 + 2 * 3  # two halves and a sweep; description, curve and weights of each run
    for most in range(whole + 1):
        left, here = iter(range(most)), tmp_path / f"after {most}"

        def copy_some(source: Path, target: Path, left=left) -> None:
            if next(left, None) is None:
                target.write_bytes(source.read_bytes()[:5])
                raise KeyboardInterrupt
            copyfile(source, target)

        monkeypatch.setattr(shutil, "copyfile", copy_some)
        if killed:  # then nobody gives the run back
            monkeypatch.setattr(attempts.Attempt, "release", lambda attempt: None)
        if most < whole:
            with pytest.raises(KeyboardInterrupt):
                merge([source], here)
        else:
            merge([source], here)
        monkeypatch.setattr(shutil, "copyfile", copyfile)
        monkeypatch.setattr(attempts.Attempt, "release", release)
        for claim in here.glob("*/*/claim.*.json") if killed else ():
            synthetic.damage(claim, lambda content: content.update(started=0.0))  # that process is gone
        assert not list(here.rglob(".*"))
        merge([source], here)
        same(frame(here), frame(source))
        assert len(frame(here, "mine")) == len(frame(source))
        for run in (BASE, COPY):
            weights = (folder(source, run.id) / "weights.safetensors").read_bytes()
            assert (folder(here, run.id) / "weights.safetensors").read_bytes() == weights


# ------------------------------------------------------------------------------------------------- what is refused


def refused(sources: list[Path], runs: Path, message: str) -> None:
    """Merging is refused with this message and changes nothing."""
    before = content(*sources, runs)
    with pytest.raises(BadInput, match=message):
        merge(sources, runs)
    assert content(*sources, runs) == before


def test_sources_must_be_other_directories_that_exist(tmp_path: Path) -> None:
    end(tmp_path / "one", BASE)
    (tmp_path / "link").symlink_to(tmp_path / "one")
    refused([tmp_path / "one", tmp_path / "nowhere"], tmp_path / "all", f"^no runs directory {tmp_path / 'nowhere'}$")
    assert not (tmp_path / "all").exists()
    for same in (tmp_path / "one", tmp_path / "link", tmp_path / "one" / ".." / "one"):
        refused([same], tmp_path / "one", f"^{same} is the directory to merge into")


def in_record(**values: object) -> Callable[[Path], None]:
    """Changes values of a run's record."""
    return lambda path: synthetic.damage(path / "record.json", lambda record: record.update(values))


def in_curve(old: str, new: str) -> Callable[[Path], None]:
    """Replaces a number of a run's curve."""

    def change(path: Path) -> None:
        text = (path / "curve.csv").read_text()
        assert old in text
        (path / "curve.csv").write_text(text.replace(old, new))

    return change


def other_weights(path: Path) -> None:
    """Changes the last bit of the weights."""
    content = (path / "weights.safetensors").read_bytes()
    (path / "weights.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


OTHER = {
    "state": in_record(state="stuck"),
    "metrics": in_record(metrics={"test_top1": 0.25}),
    "per_class": in_record(per_class={"test": {"images": [1], "correct": [1]}}),
    "weights": in_record(weights="others"),
    "parent_weights": in_record(parent_weights="others"),
    "curve": in_curve("0.5", "0.25"),
    "weights.safetensors": other_weights,
}


@pytest.mark.parametrize("what", OTHER)
def test_other_results_of_the_same_run_are_refused_wherever_they_are(what: str, tmp_path: Path) -> None:
    one, two, all_of_it = tmp_path / "one", tmp_path / "two", tmp_path / "all"
    for place in (one, two):
        OTHER[what](end(place, BASE)) if place == two else end(place, BASE)
        end(place, synthetic.base(B))
    message = rf"^baseA \({BASE.id[:8]}\) has other results in {{}} than in {{}}: {what}$"
    refused([one, two], all_of_it, message.format(one, two))
    refused([two, one], all_of_it, message.format(two, one))
    assert not all_of_it.exists()
    refused([one], two, message.format(two, one))
    end(all_of_it, COPY)
    refused([one, two], all_of_it, message.format(one, two))


@pytest.mark.parametrize("name", ["weights.safetensors", "curve.csv"])
def test_a_run_that_lacks_a_file_is_refused_on_either_side(name: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    missing = end(one, BASE) / name
    missing.unlink()
    message = f"^{missing} is missing, though baseA .* has ended there$"
    refused([one], tmp_path / "all", message)
    end(two, BASE)
    refused([one, two], tmp_path / "all", message)
    refused([one], two, message)
    refused([two], one, message)


DAMAGE: dict[str, Callable[[Path], Path]] = {
    "spec": lambda runs: folder(runs, COPY.id) / "run.json",
    "spec of a base": lambda runs: folder(runs, BASE.id) / "run.json",
    "record": lambda runs: folder(runs, COPY.id) / "record.json",
    "curve": lambda runs: folder(runs, COPY.id) / "curve.csv",
    "half": lambda runs: runs / "halves" / f"{B.digest}.json",
    "sweep": lambda runs: runs / "sweeps" / "mine-1.json",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_files_are_refused_by_name(what: str, tmp_path: Path) -> None:
    source = ended(tmp_path / "one", [BASE, COPY])
    synthetic.manifest(source, "mine", [COPY])
    file = DAMAGE[what](source)
    if what == "curve":
        file.write_text(file.read_text().replace("0.1", "0.#"))
    else:
        synthetic.damage(file)
    refused([source], tmp_path / "all", f"^{file} is damaged$")


def test_specs_and_halves_that_are_not_what_their_names_say_are_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    spec = end(one, BASE) / "run.json"
    synthetic.damage(spec, lambda value: value["spec"].update(seed=7))
    refused([one], tmp_path / "all", f"^{spec} is damaged$")
    specs.enrol(two, COPY)  # though nothing of it has ended
    half = two / "halves" / f"{A.digest}.json"
    synthetic.damage(half, lambda value: value["classes"].reverse())
    refused([two], tmp_path / "all", f"^{half} is damaged$")


def test_a_damaged_description_here_is_not_completed(tmp_path: Path) -> None:
    end(tmp_path / "one", BASE)
    spec = specs.enrol(tmp_path / "all", BASE) / "run.json"
    synthetic.damage(spec)
    refused([tmp_path / "one"], tmp_path / "all", f"^{spec} is damaged$")


def test_two_lists_of_the_runs_of_one_sweep_are_refused(tmp_path: Path) -> None:
    one, two, here = tmp_path / "one", tmp_path / "two", tmp_path / "all"
    for place, listed in ((one, [BASE]), (two, [COPY])):
        ended(place, [BASE, COPY])
        synthetic.manifest(place, "mine", listed)
    message = "^{}/sweeps/mine-1.json lists other runs than {}/sweeps/mine-1.json"
    refused([one, two], here, message.format(one, two))
    refused([one], two, message.format(two, one))
    synthetic.manifest(two, "mine", [BASE])
    synthetic.damage(two / "sweeps" / "mine-1.json", lambda value: value.update(parameters={"words": "others"}))
    kept = json.loads((one / "sweeps" / "mine-1.json").read_text())
    merge([two], one)
    assert json.loads((one / "sweeps" / "mine-1.json").read_text()) == kept


def test_a_copy_is_not_put_beside_other_weights_of_its_base(tmp_path: Path) -> None:
    bases, copies, both = tmp_path / "bases", tmp_path / "copies", tmp_path / "both"
    end(bases, BASE, weights=2.0)
    end(copies, COPY)
    ended(both, [BASE, COPY])
    message = rf"^A3B \(.*\) in {{}} was cut from other weights of baseA \(.*\) than {bases} holds$"
    refused([bases, copies], tmp_path / "all", message.format(copies))
    refused([bases], copies, message.format(copies))
    refused([copies], bases, message.format(copies))
    refused([both], bases, "baseA .* has other results")


def test_a_copy_that_is_stale_here_stays_so_and_hinders_nothing(tmp_path: Path) -> None:
    one, here = tmp_path / "one", tmp_path / "all"
    end(here, BASE, weights=2.0)
    end(here, COPY)
    end(one, synthetic.base(B))
    assert merge([one], here) == Merged(1, 0, 0, 0)
    assert set(frame(here, where={"stale": "True"})["run"]) == {COPY.id}
    refused([here], tmp_path / "new", "was cut from other weights")


def test_weights_that_are_not_those_of_their_record_are_refused(tmp_path: Path) -> None:
    other_weights(end(tmp_path / "one", BASE))
    refused([tmp_path / "one"], tmp_path / "all", "weights.safetensors does not hold the weights that the record names")
    weights = folder(tmp_path / "one", BASE.id) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:20])
    refused([tmp_path / "one"], tmp_path / "all", f"^{weights} is damaged$")


def test_a_merge_says_what_it_did(tmp_path: Path, places: list[Path]) -> None:
    message = str(merge(places, tmp_path / "all"))
    assert (
        message == f"{len(FIRST) + len(SECOND)} copied, 1 already here, 1 not finished, 0 left to who is training them"
    )


def test_networks_that_share_are_merged_with_the_halves_of_their_partners(tmp_path: Path) -> None:
    joint = replace(BASE, treatment="joint", cut=3, partners=(B,))
    tasks = [{"state": "done", "metrics": {"select_top1": 0.4, "test_top1": 0.4}}]
    end(tmp_path / "one", joint, tasks=tasks)
    assert merge([tmp_path / "one"], tmp_path / "all").copied == 1
    assert specs.load(tmp_path / "all", joint.id).partners == (B,)
    assert list(frame(tmp_path / "all").query("last")["name"]) == ["AB3A", "AB3B"]
    other = [{"state": "done", "metrics": {"select_top1": 0.3, "test_top1": 0.3}}]
    end(tmp_path / "two", joint, tasks=other)
    with pytest.raises(BadInput, match=r"AB3A .* has other results .*: tasks"):
        merge([tmp_path / "two"], tmp_path / "all")
