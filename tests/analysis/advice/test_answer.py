"""Answers from runs directories: what weighs how much, what fails, what images add."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from grids import IMAGES, fill

from analysis import frame
from analysis.advice.answer import Answer, answer, measurements
from analysis.advice.blocks import blocks
from analysis.advice.contrasts import decompose
from analysis.paper import networks
from yosinski.errors import BadInput
from yosinski.experiment.run import Run


def answered(runs: Path, matters: float = 1.0) -> Answer:
    return answer(blocks(frame(runs), directory=runs)[0], matters)


def test_published_networks() -> None:
    """Fine-tuned copies are best, A3B+ leads; G has no pair on any target; C and S are those of figure 2."""
    (block,) = blocks(networks())
    its = answer(block)
    assert its.top == "A3B+"
    assert its.row("A3B+")["within"] > 0.99
    assert its.treatments["AnB+"] > 0.99
    assert set(its.recommended["series"]) == {"AnB+"}
    assert its.rows.set_index("choice").loc["A7B", "trained_parameters"] == 4097 * 1000  # the head
    rows = decompose(block.good).set_index(["contrast", "n"])
    assert rows.loc[("C", 5), "points"] == pytest.approx(2.97, abs=0.01)
    assert rows.loc[("S", 7), "points"] == pytest.approx(8.24, abs=0.01)
    assert (rows.loc["G", "pairs"] == 0).all()


@pytest.mark.parametrize("matters", [0.0, -1.0, float("nan")])
def test_differences_that_matter_are_above_zero(matters: float) -> None:
    with pytest.raises(BadInput, match="differences that matter must be above 0 points"):
        answer(blocks(networks())[0], matters)


def test_means_over_fewer_seeds_and_predicted_values_have_extra_variance() -> None:
    """By hand: seeds differ by a variance of 2; a mean over one of two seeds has 2 (1 - 1/2) more than one over two."""
    cells = [("c", 1.0, 0.0), ("c", 3.0, 0.0), ("d", 5.0, 0.0), ("e", 5.0, 2.0), ("e", 6.0, 0.0), ("f", 0, 3.0)]
    runs = pd.DataFrame(cells, columns=["choice", "value", "error"]).assign(replicate="s", target_half="t")
    means = measurements(runs).set_index("choice")
    pooled = (2 + 0.5) / 2
    assert means["value"].to_dict() == {"c": 2, "d": 5, "e": 5.5, "f": 0}
    assert means["extra"].to_dict() == pytest.approx({"c": 0, "d": pooled / 2, "e": 2 / 2, "f": pooled / 2 + 9})


def test_probabilities_and_regret_are_those_of_the_draws(tmp_path: Path) -> None:
    fill(tmp_path, noise=1.0)
    its = answered(tmp_path, 0.5)
    gap = its.trainings.max(axis=1, keepdims=True) - its.trainings
    assert not its.images.any()
    assert its.rows["within"].to_numpy() == pytest.approx((gap < 0.5).mean(axis=0))
    assert its.rows["behind"].to_numpy() == pytest.approx(gap.mean(axis=0), rel=1e-3)
    assert its.limit == pytest.approx(np.quantile(gap[:, list(its.rows["choice"]).index(its.top)], 0.95), rel=1e-3)
    assert sum(its.treatments.values()) == pytest.approx(1)


def test_choices_that_fail_too_often_are_not_recommended(tmp_path: Path) -> None:
    """A3B+ is best where it was trained, but got stuck on three of eight targets; A7B got stuck everywhere."""

    def stuck(run: Run) -> bool:
        cut, treatment, half = run.cut, run.treatment, run.half
        often = half.split == "random:0" or (half.split, half.letter) == ("random:1", "A")
        return (cut == 7 and treatment == "frozen") or (cut == 3 and treatment == "tuned" and often)

    fill(tmp_path, failed=stuck)
    its = answered(tmp_path)
    row = its.row("A3B+")
    assert (row["failed"], row["runs"], bool(row["fragile"])) == (3, 5, True)
    assert row["points"] == its.rows["points"].max()
    assert its.top == its.rows.loc[~its.rows["fragile"], "choice"].iloc[0] != "A3B+"
    assert its.failed == {"A7B": 8}
    assert "A3B+" not in set(its.recommended["choice"])


def test_seeds_stand_in_for_splits_where_there_is_one(tmp_path: Path) -> None:
    fill(tmp_path, splits=1, seeds=(0, 1, 2, 3))
    assert answered(tmp_path).top == "A3B+"


def test_divisions_share_images(tmp_path: Path) -> None:
    """Intervals are those of as many independent replicates times the root of 1 + K measured / trained, by hand."""
    fill(tmp_path, splits=1, seeds=(0, 1, 2, 3), noise=0.5)
    table = frame(tmp_path)
    batch = int(table["recipe_batch_size"].iloc[0])
    divided = table.assign(division=table["seed"], seed=0)
    apart, together = (answer(blocks(each, directory=tmp_path)[0]) for each in (table, divided))
    wide = [(its.rows["high"] - its.rows["low"]).dropna().to_numpy() for its in (apart, together)]
    factor = np.sqrt(1 + 4 * (3 * IMAGES) / (10 * batch))  # ten steps in an epoch
    assert wide[1] == pytest.approx(factor * wide[0], rel=0.01)
    nobody = answer(blocks(divided)[0])
    assert "no record says on how many images" in nobody.why_not
    assert not nobody.top


def test_where_records_have_bits_intervals_cover_other_images(tmp_path: Path) -> None:
    """Of seeds on the same images; without bits one is told what so many images are worth."""
    for bits in (True, False):
        fill(tmp_path / str(bits), splits=1, seeds=(0, 1, 2), bits=bits)
    covered, not_covered = (answered(tmp_path / str(bits)) for bits in (True, False))
    assert covered.no_bits == 0
    assert covered.images.shape == (5, 5)
    assert np.linalg.eigvalsh(covered.images).min() > -1e-8
    assert not not_covered.images.any()
    assert not_covered.no_bits == pytest.approx(100 * np.sqrt(0.76 * 0.24 / (3 * IMAGES)), rel=0.1)


def test_too_few_splits_leave_no_answer(tmp_path: Path) -> None:
    fill(tmp_path, splits=2)
    its = answered(tmp_path)
    assert its.why_not == "2 splits, and at least 3 are needed"
    assert not its.rows["low"].notna().to_numpy().any()
    assert its.rows.set_index("choice").loc["A3B+", "points"] == pytest.approx(1, abs=0.3)


def test_targets_with_one_measurement_compare_nothing(tmp_path: Path) -> None:
    """Eight targets, one choice on all of them and the other on one: nothing is left to tell luck by."""

    def lost(run: Run) -> bool:
        first = (run.half.split, run.half.letter) == ("random:0", "A")
        return not run.parent or run.cut == 7 or (run.treatment == "tuned" and not first)

    fill(tmp_path, left_out=lost)
    assert answered(tmp_path).why_not == ("9 measurements of 2 choices on 8 targets leave too little to tell luck by")
