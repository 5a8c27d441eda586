"""What to train next: counts by hand, and sweeps that can be planned."""

from pathlib import Path

import numpy as np
import pytest
import synthetic
from grids import choices, fill

from analysis import frame
from analysis.advice import render
from analysis.advice.answer import answer
from analysis.advice.blocks import Block, blocks
from analysis.advice.report import advise
from analysis.advice.settle import Places, Settling, further, settling, untrained
from analysis.paper import networks
from sweeps import find
from sweeps.figure2 import figure2
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import TREATMENTS, TreatmentName, copies


def block(runs: Path) -> Block:
    return blocks(frame(runs), directory=runs)[0]


def asked(runs: Path, matters: float = 1.0) -> Settling | None:
    its = block(runs)
    return settling(its, answer(its, matters))


def level(n: int, treatment: str, own: bool) -> float:
    """Fine-tuned copies are all alike; frozen ones are far behind."""
    return 0.0 if own else 1.0 if treatment == "tuned" else -20.0


# ------------------------------------------------------------------------------------------------------ what is asked


def test_two_splits_ask_for_a_third_with_what_does_not_trail(tmp_path: Path) -> None:
    """A3B+ and A7B+ on both halves of one more split; frozen copies trail by 7 points."""
    fill(tmp_path, splits=2)
    todo = asked(tmp_path)
    assert todo is not None
    assert todo.why == "No comparison: 2 splits, and at least 3 are needed."
    assert todo.choices == [("tuned", 3), ("tuned", 7)]
    assert todo.places == Places(["random:0", "random:1", "random:2"], [0], [0])
    assert (todo.missing, todo.bases) == (4, 2)


def test_what_is_missing_is_counted(tmp_path: Path) -> None:
    """Two copies and a base of the splits that are there, too: 4 + 2 and 2 + 1."""

    def lost(run: Run) -> bool:
        of_b = run.half.split == "random:1" and run.half.letter == "B"
        return of_b and not run.selffer and (not run.parent or run.treatment == "tuned")

    fill(tmp_path, splits=2, left_out=lost)
    todo = asked(tmp_path)
    assert todo is not None
    assert (todo.missing, todo.bases) == (6, 3)


def test_stuck_runs_are_not_asked_for_again(tmp_path: Path) -> None:
    def stuck(run: Run) -> bool:
        return run.half.split == "random:1" and run.half.letter == "B" and run.treatment == "tuned"

    fill(tmp_path, splits=2, failed=stuck)
    todo = asked(tmp_path)
    assert todo is not None
    assert (todo.missing, todo.bases) == (4, 2)


def test_nothing_is_asked_for_where_enough_is_known(tmp_path: Path) -> None:
    """What matters less leaves more open."""
    fill(tmp_path, points=level, drawn=1)
    assert asked(tmp_path) is None
    todo = asked(tmp_path, 0.01)
    assert todo is not None
    assert sorted(todo.choices) == [("tuned", 3), ("tuned", 7)]


def test_hopeless_choices_are_left_out(tmp_path: Path) -> None:
    """Of frozen copies none may be the best, and bases are trained for comparison anyway."""
    fill(tmp_path, points=level, noise=2.0, drawn=1)
    todo = asked(tmp_path)
    assert todo is not None
    assert sorted(todo.choices) == [("tuned", 3), ("tuned", 7)]
    more = len(todo.places.splits) - 4
    assert more > 0
    assert (todo.missing, todo.bases) == (4 * more, 2 * more)
    assert f"{more} more split" in todo.why


def test_holes_are_filled_first(tmp_path: Path) -> None:
    """Fine-tuned copies on one of four splits: 2 choices x 2 targets x 3 splits are missing, and enough."""

    def lost(run: Run) -> bool:
        return run.treatment == "tuned" and not run.selffer and run.half.split != "random:0"

    fill(tmp_path, points=level, noise=0.6, left_out=lost, drawn=4)
    todo = asked(tmp_path)
    assert todo is not None
    assert (todo.missing, todo.bases) == (12, 0)
    assert len(todo.places.splits) == 4
    assert "The missing copies of them would be enough" in todo.why


def test_where_there_are_no_further_splits_seeds_are_added(tmp_path: Path) -> None:
    fill(tmp_path, splits=["natman"], seeds=(0, 1))
    todo = asked(tmp_path)
    assert todo is not None
    assert todo.places == Places(["natman"], [0], [0, 1, 2])


def test_nothing_is_asked_of_the_published_networks() -> None:
    (its,) = blocks(networks())
    assert settling(its, answer(its)) is None


def test_published_copies_that_were_not_trained_are_counted() -> None:
    """Of fine-tuned copies n = 1, 5, 6 and 7 one of eight is published, of n = 2, 3 and 4 two."""
    (its,) = blocks(networks())
    todo = settling(its, answer(its, 0.03))
    assert todo is not None
    assert {treatment for treatment, _ in todo.choices} == {"tuned"}
    assert todo.places.splits == [f"paper:{k}" for k in range(4)]
    assert todo.missing == sum(8 - (2 if n in (2, 3, 4) else 1) for _, n in todo.choices)
    assert todo.bases == 0


def divided(runs: Path, splits: tuple[str, ...], divisions: tuple[int, ...], left_out: int = 0) -> list[Run]:
    """A2B+ and A3B+, which are all alike, and their bases; the last `left_out` copies were never trained."""
    made = figure2(splits=splits, divisions=divisions, cuts=(2, 3), treatments=("tuned",), recipe=synthetic.RECIPE)
    made = [run for run in dict.fromkeys(made) if not run.selffer]
    rng = np.random.default_rng(0)
    for run in [run for run in made if run.parent is None] + [run for run in made if run.parent][: -left_out or None]:
        top1 = 0.7 + 0.05 * bool(run.parent) + 0.02 * rng.standard_normal()
        counts = {"images": [6] * len(run.half.classes), "correct": [4] * len(run.half.classes)}
        synthetic.finish(runs, run, top1, [top1], per_class={"select": counts})
    return made


@pytest.mark.parametrize("number", [2, 3])
def test_where_divisions_are_replicates_further_ones_are_asked_for(number: int, tmp_path: Path) -> None:
    """Two need a third for a comparison; of three, which are open, the look ahead asks for more."""
    made = divided(tmp_path / "runs", ("random:0",), tuple(range(number)))
    its = block(tmp_path / "runs")
    assert its.replicates == "division"
    todo = settling(its, answer(its, 0.5))
    assert todo is not None
    places = todo.places
    more = len(places.divisions) - number
    assert (places.splits, places.seeds) == (["random:0"], [0])
    assert places.divisions == list(range(number + more))
    assert more == 1 if number == 2 else more > 0
    assert ("No comparison" if number == 2 else f"{more} more division") in todo.why
    assert (todo.missing, todo.bases) == (2 * len(todo.choices) * more, 2 * more)

    report = advise(frame(tmp_path / "runs"), directory=tmp_path / "runs", matters=0.5)
    assert render.write(report, tmp_path / "settle.py")
    runs = set(find(str(tmp_path / "settle.py"))())
    there = {run.id for run in made}
    new = [run for run in runs if run.id not in there]
    assert sum(run.parent is not None for run in new) == todo.missing
    assert sum(run.parent is None for run in new) == todo.bases
    assert {run.half.division for run in new} == set(range(number, number + more))
    wanted = figure2(divisions=tuple(places.divisions), cuts=(2, 3), treatments=("tuned",), recipe=synthetic.RECIPE)
    assert {run.id for run in runs} <= {run.id for run in wanted}


def test_divisions_of_several_splits_are_counted_with_them(tmp_path: Path) -> None:
    """Two splits in two divisions are four; a fifth and sixth are one more division of both."""
    divided(tmp_path, ("random:0", "random:1"), (0, 1))
    its = block(tmp_path)
    assert (its.replicates, its.number) == ("division", 4)
    places = further(its, Places(["random:0", "random:1"], [0, 1], [0]), 5)
    assert places == Places(["random:0", "random:1"], [0, 1, 2], [0])


def test_what_is_missing_in_a_division_is_counted(tmp_path: Path) -> None:
    divided(tmp_path, ("random:0",), (0, 1, 2), left_out=1)
    assert untrained(block(tmp_path), [("tuned", 2), ("tuned", 3)], Places(["random:0"], [0, 1, 2], [0])) == (1, 0)
    assert untrained(block(tmp_path), [("tuned", 2), ("tuned", 3)], Places(["random:0"], [0, 1, 2, 3], [0])) == (5, 2)


# ------------------------------------------------------------------------------------------------------ as a sweep


def test_it_is_a_sweep_with_what_is_there_under_the_same_ids(tmp_path: Path) -> None:
    """Only the rest would be trained."""
    made = fill(tmp_path / "runs", splits=2)
    report = advise(frame(tmp_path / "runs"), directory=tmp_path / "runs")
    assert render.write(report, tmp_path / "settle.py")
    runs = find(str(tmp_path / "settle.py"))()
    assert {run.half.split for run in runs} == {f"random:{k}" for k in range(3)}
    assert choices(runs) == {("tuned", 3), ("tuned", 7)}
    assert not any(run.selffer for run in runs)
    assert {run.recipe for run in runs} == {synthetic.RECIPE}
    ids = {run.half.split: set() for run in runs}
    for run in runs:
        ids[run.half.split].add(run.name)
    assert ids["random:2"] == ids["random:0"]
    assert len({run.id for run in made}) == 2 * 18


@pytest.mark.parametrize("treatment", copies())
def test_every_treatment_is_advised_and_settled_by_its_own_name(tmp_path: Path, treatment: TreatmentName) -> None:
    recipe = synthetic.RECIPE.with_values({"mirror": False})
    for split in range(2):
        bases = [synthetic.base(half, recipe=recipe) for half in synthetic.halves(f"random:{split}")]
        for base in bases:
            synthetic.finish(tmp_path, base, 0.7, [0.7])
        for target, source in (bases, bases[::-1]):
            synthetic.finish(tmp_path, target.copy(3, treatment, source), 0.8, [0.8])
    made = advise(frame(tmp_path), directory=tmp_path)
    said = made.parts[0].sections[0].text[1]
    entry = TREATMENTS[treatment]
    assert f"A3B{entry.mark} (cut at n = 3, conv3; {entry.advice}) is highest" in said
    assert render.write(made, tmp_path / "settle.py")
    runs = find(str(tmp_path / "settle.py"))()
    assert choices(runs) == {(treatment, 3)}
    assert {run.recipe for run in runs} == {recipe}
    assert "least_area" not in (tmp_path / "settle.py").read_text()  # it is as before
