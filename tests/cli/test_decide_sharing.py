"""`yosinski decide fuse` and `decide branch`: choices, and the controls that tell why. Trainings are made up."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trainer import Trainer

from yosinski import files
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import control

Said = Callable[..., tuple[int, str, str]]
POINTS = {"other": 8.0, "same": 2.0, "afresh": 3.0, "exchanged": -4.0, "twin": 1.0, "shuffled": -9.0}


def partner(run: Run) -> str:
    """What the partner of a run is, "" for a base."""
    return control(run.half, run.partners[0]) if run.partners else ""


def points(run: Run) -> float:
    """At n = 5 the highest, less by a point and a half for every layer away from it."""
    return POINTS[partner(run)] - 1.5 * abs(run.cut - 5) if run.partners else 0.0


@pytest.fixture
def trainer(trainer: Trainer) -> Trainer:
    trainer.points = points
    return trainer


def rounds(folder: Path) -> list[dict[str, Any]]:
    (path,) = (folder / "runs" / "decisions").glob("*.json")
    return files.read_json(path)["rounds"]


@pytest.mark.parametrize(
    ("sweep", "names", "alone"),
    [
        ("fuse", ("xx5A", "xz5A", "x~y5A"), ("basexA", "baseyA")),
        ("branch", ("AA5A", "A~B5A"), ("baseA", "baseB")),
    ],
)
def test_choices_come_first_and_then_the_controls_of_the_answer(
    sweep: str, names: tuple[str, ...], alone: tuple[str, ...], decide: Said, trainer: Trainer, tmp_path: Path
) -> None:
    status, out, _ = decide(sweep)
    assert status == 0
    assert re.search(r"decided with \d+ networks in \d rounds", out)
    assert ("xy5A" if sweep == "fuse" else "AB5A") + " is highest" in out
    *before, last = rounds(tmp_path)
    choices = {name for made in before for _, (name, _) in made["cells"]}
    assert choices == {"base", "fused" if sweep == "fuse" else "joint"}
    assert last["why"] == "what the answer is made of"
    shared = "fused" if sweep == "fuse" else "joint"
    assert {(name, n) for _, (name, n) in last["cells"]} == {(shared, 5)} | {
        (partner(run), 5) for run in trainer.trained if partner(run) not in ("", "other")
    }
    splits = {split: set() for split in ("random:0", "random:1", "random:2")}
    for run in trainer.trained:
        if run.half.split in splits:
            splits[run.half.split].add(run.name)
    for trained in splits.values():
        assert {*names, *alone} <= trained
    controls = [run for run in trainer.trained if partner(run) not in ("", "other")]
    assert {run.cut for run in controls} == {5}


def test_the_same_command_again_trains_nothing(decide: Said, trainer: Trainer) -> None:
    _, first, _ = decide("fuse", "-p", "cuts=0,5,7")
    trainer.trained.clear()
    status, again, _ = decide("fuse", "-p", "cuts=0,5,7")
    assert (status, trainer.trained) == (0, [])
    assert again.splitlines()[-2:] == first.splitlines()[-2:]


def test_where_sharing_harms_the_base_leads_and_the_controls_of_the_next_best_tell_why(
    decide: Said, trainer: Trainer, tmp_path: Path
) -> None:
    trainer.points = lambda run: points(run) - 20 if run.partners else 0.0
    status, out, _ = decide("branch", "-p", "cuts=3,5,7")
    assert status == 0
    assert "Share nothing (P > 0.99): let each task have a network of its own." in out
    assert {tuple(choice) for _, choice in rounds(tmp_path)[-1]["cells"]} == {("twin", 5), ("shuffled", 5)}


def test_a_budget_may_end_it_before_the_controls(decide: Said, tmp_path: Path) -> None:
    _, out, _ = decide("fuse", "-p", "cuts=5,7")
    (number,) = re.findall(r"decided with (\d+) networks", out)
    shutil.rmtree(tmp_path / "runs" / "decisions")
    _, out, _ = decide("fuse", "-p", "cuts=5,7", "--budget", str(int(number) - 1))
    assert "decided, but without controls: the next round would make it" in out
    assert {name for made in rounds(tmp_path) for _, (name, _) in made["cells"]} == {"base", "fused"}


def test_of_unlike_tasks_the_first_decides(decide: Said) -> None:
    status, out, _ = decide("branch", "-p", "asks=class,domain", "-p", "cuts=3,5,7")
    assert (status, "AB5A is highest" in out) == (0, True)


@pytest.mark.parametrize("fails", ["bases", "everything"])
def test_what_gets_stuck_ends_it_without_an_error(fails: str, decide: Said, trainer: Trainer) -> None:
    trainer.fails = lambda run: fails == "everything" or not run.partners
    status, out, err = decide("fuse", "-p", "cuts=5,7")
    assert (status, err) == (0, "")
    assert ("decided with" if fails == "bases" else "not decided: fewer than two choices") in out
