"""Which runs are compared, over what replicates go, and what is said of what is left out."""

from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import synthetic
from grids import fill

from analysis import frame
from analysis.advice.answer import answer
from analysis.advice.blocks import Block, blocks, caveats, replicates_of
from analysis.paper import networks
from yosinski.errors import BadInput
from yosinski.experiment.run import Run


def block(runs: Path, **columns: Any) -> Block:
    return blocks(frame(runs).assign(**columns), directory=runs)[0]


def row(split: str, division: str, seed: str, treatment: str, n: int) -> dict[str, Any]:
    about = {"split": split, "division": division, "seed": seed, "treatment": treatment, "n": n, "counts": True}
    return {**about, "relation": "transfer" if n else "base"}


BASE, COPY = ("base", 0), ("frozen", 3)


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([("s", "0", str(k)) for k in range(3)], "seed"),
        ([("s", "0", str(k)) for k in range(2)], "seed"),  # too few, but of seeds
        ([("s", str(k), "0") for k in range(3)], "division"),
        ([("s", str(k // 2), str(k % 2)) for k in range(4)], "seed"),
        ([(f"s{k}", "0", "0") for k in range(3)], "split"),
        ([(f"s{k % 3}", "0", str(k)) for k in range(9)], "split"),
        ([(f"s{k % 2}", "0", str(k)) for k in range(4)], "seed"),
    ],
)
def test_replicates_are_what_three_of_compare(places: list[tuple[str, str, str]], expected: str) -> None:
    whole = [row(*place, *choice) for place in places for choice in (BASE, COPY)]
    assert replicates_of(pd.DataFrame(whole)) == expected


def test_a_lone_run_of_one_more_split_takes_no_answer_away() -> None:
    """Whatever replicates were, they have still at least three that compare."""
    whole = [row("s", "0", str(k), *choice) for k in range(3) for choice in (BASE, COPY)]
    alone = product(("s", "t"), ("0", "1"), ("0", "7"), (BASE, COPY))
    for split, division, seed, choice in alone:
        more = pd.DataFrame([*whole, row(split, division, seed, *choice)])
        assert replicates_of(more) == "seed"


def test_a_lone_run_on_another_split_leaves_the_answer(tmp_path: Path) -> None:
    """Of records: the replicates of the first split are those that they were, and the run is one more."""
    fill(tmp_path, splits=1, seeds=(0, 1, 2))
    alone = block(tmp_path)
    synthetic.finish(tmp_path, synthetic.base(synthetic.halves("random:1")[0]), 0.8, [0.8])
    joined = block(tmp_path)
    assert (alone.replicates, alone.number) == (joined.replicates, joined.number) == ("seed", 3)
    assert len(joined.good) == len(alone.good) + 1


def test_selffers_of_further_splits_are_no_choices(tmp_path: Path) -> None:
    """Three splits with selffers and bases are one with copies, as far as a choice is asked for."""

    def of_further_splits(run: Run) -> bool:
        return run.half.split != "random:0" and run.parent is not None and run.parent.half != run.half

    fill(tmp_path, splits=3, left_out=of_further_splits)
    made = block(tmp_path)
    assert set(made.good.loc[made.good["relation"] == "selffer", "split"]) == {"random:0", "random:1", "random:2"}
    assert made.number == 1
    assert answer(made).why_not == "1 split, and at least 3 are needed"


def test_a_metric_that_no_run_has_is_refused_with_those_there_are(tmp_path: Path) -> None:
    """Nothing is refused where no run is done, or where only copies lack it: their answer says so."""
    made = fill(tmp_path, splits=3)
    table = frame(tmp_path)
    with pytest.raises(BadInput, match=r"^no run has unseen_top1; choose from: test_top1, select_top1$"):
        blocks(table, "unseen_top1")
    missing = blocks(table.assign(state="missing"), "unseen_top1")[0]
    assert answer(missing).why_not == "no transfer copy is done"
    own = table["run"].isin([run.id for run in made if run.parent is None])
    of_bases = blocks(table.assign(unseen_top1=table["test_top1"].where(own)), "unseen_top1")[0]
    assert answer(of_bases).why_not == "no transfer copy has unseen_top1, only test_top1, select_top1"


def test_a_title_leaves_out_what_is_not_known(tmp_path: Path) -> None:
    """As where the files of the halves are missing."""
    fill(tmp_path, splits=1)
    of_halves = frame(tmp_path)
    title = blocks(of_halves)[0].title
    assert title == "alexnet32 on emoji, random halves"
    unknown = of_halves.assign(**{name: pd.Series(pd.NA, of_halves.index, "string") for name in ("data", "split")})
    assert blocks(unknown)[0].title == "alexnet32 on unknown data"


def test_unlike_runs_are_not_averaged(tmp_path: Path) -> None:
    """Two recipes make two blocks, told apart in their titles; mixed arithmetic is said."""
    a, b = synthetic.halves()
    for recipe in (synthetic.RECIPE, synthetic.RECIPE.with_values({"epochs": 3.0})):
        bases = [synthetic.base(half, recipe=recipe) for half in (a, b)]
        arithmetic = {"dtype": "bfloat16" if recipe.epochs == 3 else "float32", "device": "cpu", "threads": 1}
        for base in bases:
            synthetic.finish(tmp_path, base, 0.5, [0.5])
        synthetic.finish(tmp_path, synthetic.copy(bases[0], b, 3), 0.4, [0.4], arithmetic=arithmetic)
    made = blocks(frame(tmp_path))
    assert len(made) == 2
    assert made[0].title != made[1].title
    assert [("Mixed arithmetic" in " ".join(caveats(block))) for block in made].count(True) == 1


def test_the_published_networks_are_one_block_on_one_set_of_images() -> None:
    (its,) = blocks(networks())
    assert its.published
    assert caveats(its)[0].startswith("112 of 134 runs count: 8 targets, 4 splits")
    assert "Left out for now: 18 AnB+, 4 BnB+ (not trained yet, or without a log)." in caveats(its)
    with pytest.raises(BadInput, match="test_top1"):
        blocks(networks(), "test_top1")


def test_what_is_not_trained_yet_is_one_line(tmp_path: Path) -> None:
    """Whatever was not trained; failures have lines of their own, without a reason that nobody knows."""

    def lost(run: Run) -> bool:
        return run.half.split == "random:3" and bool(run.parent)

    made = fill(tmp_path, left_out=lost, failed=lambda run: run.cut == 7 and run.half.split == "random:1")
    synthetic.manifest(tmp_path, "mine", made)
    said = caveats(block(tmp_path))
    left_out = [sentence for sentence in said if sentence.startswith("Left out")]
    assert left_out == [
        "Left out for now: 4 AnB, 4 AnB+, 4 BnB, 4 BnB+ (not trained yet, or without a log).",
        "Left out: 2 AnB, 2 AnB+, 2 BnB, 2 BnB+, stuck at chance.",
    ]


def test_what_cannot_be_concluded_is_said(tmp_path: Path) -> None:
    """One split, no controls, a stuck run, a stale copy, a missing number, a damaged file: the rest is told."""
    a, b = (synthetic.base(half) for half in synthetic.halves())
    for base in (a, b):
        synthetic.finish(tmp_path, base, 0.5, [0.5])
    synthetic.finish(tmp_path, synthetic.copy(a, b.half, 3), 0.4, [0.4])
    synthetic.finish(tmp_path, synthetic.copy(a, b.half, 4), 0.4, [0.4], parent_weights="other")
    synthetic.finish(tmp_path, synthetic.copy(a, b.half, 5), 0.1, [0.1], state="stuck")
    synthetic.finish(tmp_path, synthetic.copy(a, b.half, 7), 0.1, [0.1], state="diverged")
    synthetic.finish(tmp_path, synthetic.copy(a, b.half, 6), None)
    assert caveats(block(tmp_path))[:6] == [
        "3 of 7 runs count: 2 targets, 1 split (random:0).",
        "1 split: no interval, and no comparison, only a look at these very runs.",
        "Left out: 1 AnB, which diverged.",
        "Left out: 1 AnB, done, but without a number of this metric.",
        "Left out: 1 AnB, whose base has been trained anew since they were cut.",
        "Left out: 1 AnB, stuck at chance.",
    ]
    assert "No BnB counts" in " ".join(caveats(block(tmp_path)))


def test_what_varied_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "splits", splits=3, seeds=(0, 1))
    fill(tmp_path / "seeds", splits=1, seeds=(0, 1, 2))
    assert "within a split seeds are averaged" in caveats(block(tmp_path / "splits"))[1]
    assert "another training on the same halves" in caveats(block(tmp_path / "seeds"))[1]
    table = frame(tmp_path / "seeds")
    divided = blocks(table.assign(division=table["seed"], seed=0), directory=tmp_path / "seeds")[0]
    assert divided.replicates == "division"
    assert "another division of the same images" in caveats(divided)[1]
    assert caveats(divided)[0].endswith("1 split (random:0), 3 divisions (0, 1, 2).")
