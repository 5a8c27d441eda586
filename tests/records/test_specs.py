"""What is to be trained: runs and halves as they are written, found and read again."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic
from claimed import BASE, COPY, A, B, change

from yosinski import files
from yosinski.data.half import Half
from yosinski.errors import BadInput
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.files import Damaged
from yosinski.identity import digest
from yosinski.records import specs
from yosinski.records.specs import folder

# ----------------------------------------------------------------------------------------------- writing and reading


@pytest.mark.parametrize(
    "run",
    [
        BASE,
        COPY,
        synthetic.copy(BASE, A, 7, plus=True, seed=5),
        replace(BASE, examples_per_class=10).copy(2, "random", below="gaussian"),
    ],
    ids=str,
)
def test_a_run_is_loaded_as_it_was_enrolled(run: Run, tmp_path: Path) -> None:
    path = specs.enrol(tmp_path, run)
    assert path == tmp_path / run.id[:2] / run.id
    loaded = specs.load(tmp_path, run.id)
    assert loaded == run
    assert loaded.id == run.id
    assert loaded.name == run.name
    assert (loaded.half.data, loaded.half.letter, loaded.half.split) == ("emoji", run.half.letter, "random:0")
    assert files.read_json(path / "run.json") == {"format": 1, "id": run.id, "name": run.name, "spec": run.spec}
    if run.parent:
        assert specs.load(tmp_path, run.parent.id) == run.parent


def test_enrolling_again_changes_nothing(tmp_path: Path) -> None:
    specs.enrol(tmp_path, COPY)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert len(before) == 4  # two runs, two halves
    specs.enrol(tmp_path, replace(COPY, half=replace(B, letter="Q")))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before
    assert specs.load(tmp_path, COPY.id).name == "A3B"


def test_scanning_finds_all_runs_in_order(tmp_path: Path) -> None:
    runs = synthetic.sweep([1, 2])
    for run in runs:
        specs.enrol(tmp_path, run)
    (tmp_path / "jobs").mkdir()
    (tmp_path / BASE.id[:2] / "stray").mkdir()
    assert [path.name for path in specs.scan(tmp_path)] == sorted(run.id for run in runs)
    with pytest.raises(BadInput, match=f"no runs directory {tmp_path / 'nowhere'}"):
        next(specs.scan(tmp_path / "nowhere"))


def test_known_are_the_ids_that_have_a_directory(tmp_path: Path) -> None:
    assert specs.ids(tmp_path) == set()
    assert specs.ids(tmp_path / "nowhere") == set()
    for run in (BASE, COPY):
        specs.enrol(tmp_path, run)
    for name in ("jobs", "sweeps", "submissions", ".clock-0123"):
        (tmp_path / name / "x").mkdir(parents=True)
    (tmp_path / "file").touch()
    assert specs.ids(tmp_path) == {BASE.id, COPY.id}
    (tmp_path / "ab" / "ab00000000000000").mkdir(parents=True)  # nothing is in it yet
    assert specs.ids(tmp_path) == {BASE.id, COPY.id, "ab00000000000000"}


@pytest.mark.parametrize("length", [4, 8, 15, 16])
def test_a_run_is_found_by_the_beginning_of_its_id(length: int, tmp_path: Path) -> None:
    for run in (BASE, COPY):
        specs.enrol(tmp_path, run)
    assert BASE.id[:4] != COPY.id[:4]
    assert specs.find(tmp_path, BASE.id[:length]) == BASE.id
    assert specs.find(tmp_path, COPY.id[:length]) == COPY.id


def test_the_beginning_of_several_ids_finds_none_and_names_some(tmp_path: Path) -> None:
    ids = [f"abcd{k:012x}" for k in range(7)]
    for run_id in reversed(ids):
        folder(tmp_path, run_id).mkdir(parents=True)
    with pytest.raises(BadInput, match=f"^'abcd' begins several runs: {', '.join(ids[:5])}$"):
        specs.find(tmp_path, "abcd")
    assert specs.find(tmp_path, ids[6]) == ids[6]


@pytest.mark.parametrize("text", ["", "abc", "abce", "ABCD", "wxyz", "abcd0000000000000", "*", "../x"])
def test_what_begins_no_run_is_named(text: str, tmp_path: Path) -> None:
    folder(tmp_path, "abcd000000000000").mkdir(parents=True)
    wanted = f"no run {text!r} in {tmp_path}; give the first digits of an id: yosinski status {tmp_path} lists them"
    with pytest.raises(BadInput, match=f"^{re.escape(wanted)}$"):
        specs.find(tmp_path, text)
    with pytest.raises(BadInput, match=f"^no runs directory {tmp_path / 'nowhere'}$"):
        specs.find(tmp_path / "nowhere", "abcd")


def test_a_joint_network_that_cannot_be_read_hides_no_other_name(tmp_path: Path) -> None:
    joint = Run("alexnet32", BASE.half, BASE.recipe, treatment="joint", cut=3, partners=(COPY.half,))
    for run in (BASE, joint):
        specs.enrol(tmp_path, run)
    of_second = joint.named("3", 1)
    assert specs.find(tmp_path, of_second) == joint.id
    (tmp_path / "halves" / f"{COPY.half.digest}.json").unlink()
    assert specs.find(tmp_path, BASE.name) == BASE.id
    for name in ("nosuch", of_second):
        with pytest.raises(BadInput, match=rf"^no run '{name}' in .* 1 could not be read: .*{COPY.half.digest}"):
            specs.find(tmp_path, name)


@pytest.mark.parametrize(
    ("text", "fits"),
    [("0123", True), ("abcdef0123456789", True), ("012", False), ("0" * 17, False), ("012G", False), ("01 3", False)],
)
def test_four_to_sixteen_hex_digits_may_begin_an_id(text: str, fits: bool) -> None:
    assert specs.is_id(text) == fits


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"no run 0123456789abcdef in {tmp_path}"):
        specs.load(tmp_path, "0123456789abcdef")


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("seed",), 1),
        (("recipe", "learning_rate"), 0.2),
        (("recipe", "rate"), 0.2),
        (("cut", "n"), 4),
        (("cut", "n"), 40),
        (("treatment",), "tuned"),
        (("examples_per_class",), 3),
    ],
)
def test_a_tampered_spec_is_refused_by_name(keys: tuple[str, ...], value: Any, tmp_path: Path) -> None:
    path = specs.enrol(tmp_path, COPY) / "run.json"
    change(path, "spec", *keys, value=value)
    with pytest.raises(BadInput, match=f"^{path} is damaged$"):
        specs.load(tmp_path, COPY.id)


def written_elsewhere(runs: Path, spec: dict[str, Any]) -> Path:
    """What another version leaves of a run on B: the id is the hash of its own spec."""
    specs.enrol(runs, BASE)
    specs.enrol_half(runs, B)
    path = folder(runs, digest(spec)) / "run.json"
    files.write_json(path, {"id": digest(spec), "name": "A3B", "spec": spec})
    return path


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (
            {**COPY.spec, "recipe": {**COPY.spec["recipe"], "swirl": 0.5, "grain": 1}},
            "needs a newer version of yosinski: recipe value grain, recipe value swirl",
        ),
        (
            {**COPY.spec, "width": 2, "recipe": {**COPY.spec["recipe"], "swirl": 0.5}},
            "needs a newer version of yosinski: value width, recipe value swirl",
        ),
        (
            {**COPY.spec, "recipe": {**COPY.spec["recipe"], "optimiser": "lion"}},
            "needs another version of yosinski: unknown recipe.optimiser 'lion'; choose from: sgd, adamw",
        ),
        ({**COPY.spec, "treatment": "grafted"}, "needs another version of yosinski: unknown treatment 'grafted'"),
        (
            {**COPY.spec, "recipe": {name: value for name, value in COPY.spec["recipe"].items() if name != "views"}},
            "needs an older version of yosinski: values are missing",
        ),
    ],
)
def test_what_only_another_version_knows_is_refused_by_name_and_not_called_damaged(
    spec: dict[str, Any], why: str, tmp_path: Path
) -> None:
    path = written_elsewhere(tmp_path, spec)
    with pytest.raises(BadInput, match=f"^{re.escape(f'{path} (format 1) {why}')}") as caught:
        specs.load(tmp_path, path.parent.name)
    assert not isinstance(caught.value, Damaged)


def test_a_run_that_an_earlier_version_wrote_is_loaded_by_its_id(tmp_path: Path) -> None:
    """As it was written before there were values that came later."""
    recipe = {
        **{"epochs": 4.0, "batch_size": 8, "learning_rate": 0.1, "warmup": 0.25, "momentum": 0.9, "clip": 1.0},
        **{"weight_decay": 0.0005, "augment": True, "shift": 2, "initialiser": "kaiming", "evaluations": 4},
        **{"iterations": 0, "schedule": "cosine", "step_every": 0, "gamma": 1.0, "solver": "nesterov", "views": 0},
        **{"bias_rate": 1.0, "bias_decay": 1.0, "mean": "channel", "scale": True, "outputs": 0, "thaw": 0.5},
        **{"dropout_below": False, "norm_below": "frozen", "affine_below": False, "layer_decay": 0.5, "probe": 0.5},
    }
    half = Half("emoji", "f00d", ("ant", "bat", "cat"), ("noto",), "A", "random:0")
    spec = {
        **{"semantics": 3, "network": "alexnet32", "half": half.digest, "source": None, "recipe": recipe, "seed": 1},
        **{"treatment": "base", "cut": None, "below": None, "preserved": 0, "examples_per_class": None, "parent": None},
    }
    specs.enrol_half(tmp_path, half)
    files.write_json(folder(tmp_path, "379d1b818b2d93c8") / "run.json", {"name": "baseA", "spec": spec})
    loaded = specs.load(tmp_path, "379d1b818b2d93c8")
    assert loaded.id == "379d1b818b2d93c8"
    assert loaded.recipe == Recipe(**recipe)
    assert (loaded.recipe.mirror, loaded.recipe.optimiser, loaded.recipe.least_area) == (True, "sgd", 0.0)


@pytest.mark.parametrize("missing", ["seed", "semantics", "half", "cut"])
def test_a_spec_that_lacks_something_is_refused_by_name(missing: str, tmp_path: Path) -> None:
    path = specs.enrol(tmp_path, COPY) / "run.json"
    content = json.loads(path.read_text())
    del content["spec"][missing]
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=f"^{path} is damaged$"):
        specs.load(tmp_path, COPY.id)


def test_a_tampered_or_missing_half_is_refused_by_name(tmp_path: Path) -> None:
    specs.enrol(tmp_path, COPY)
    path = tmp_path / "halves" / f"{B.digest}.json"
    change(path, "classes", value=["x", "y", "z"])
    with pytest.raises(BadInput, match=f"{path}"):
        specs.load(tmp_path, COPY.id)
    path.unlink()
    with pytest.raises(BadInput, match=f"{path}"):
        specs.load(tmp_path, COPY.id)


def test_other_semantics_are_refused(tmp_path: Path) -> None:
    path = specs.enrol(tmp_path, BASE) / "run.json"
    change(path, "spec", "semantics", value=1)
    with pytest.raises(BadInput, match=f"{path} was made with semantics 1; this version computes 3"):
        specs.load(tmp_path, BASE.id)
