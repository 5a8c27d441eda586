"""Losses per class: laws by hand, what the report says, and how often it is wrong where all classes lose the same."""

import math
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic

from analysis import frame
from analysis.advice.blocks import blocks
from analysis.advice.classes import estimate, loss_by_images, losses
from analysis.advice.images import Bits
from analysis.advice.report import advise, per_class


@cache
def levels(more: float, classes: int = 240) -> np.ndarray:
    """Of classes how much trainings vary, and the thresholds of bases and copies, [3, classes]; `cells` says of what.

    Every class loses 10 points exactly, the first one `more` on top.
    """
    rng, many = np.random.default_rng(1), 20_000
    wanted, lost = np.clip(rng.beta(6, 2, classes), 0.13, 0.995), np.full(classes, 0.1)
    if more:
        wanted[0], lost[0] = 0.85, 0.1 + more / 100
    vary = 0.35 * rng.gamma(2, 0.5, classes)
    made = [vary]
    for copied, right in ((False, wanted), (True, wanted - lost)):
        drawn = hard(rng, (classes, many))[int(copied)] + vary[:, None] * skewed(rng, (classes, many))
        drawn += rng.normal(0, 0.15, drawn.shape) + rng.logistic(0, 0.5, drawn.shape)
        made.append(np.array([-np.quantile(drawn[k], 1 - right[k]) for k in range(classes)]))
    return np.array(made)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (rng.gamma(2, 1, shape) - 2) / math.sqrt(2)


def hard(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """How easy images are for bases and, partly the same, for copies."""
    easy = rng.standard_t(4, shape)
    return easy, 0.6 * easy + 0.8 * rng.standard_t(4, shape)


def cells(
    rng: np.random.Generator, splits: int, images: int, more: float = 0.0, classes: int = 60
) -> tuple[pd.DataFrame, Bits]:
    """Shares of right images, and which these are, where every class loses 10 points, but the first `more` on top.

    Not the model that is fitted: images are hard by a t of 4 degrees of freedom, the same in all splits; a copy finds
    partly the same ones hard; every network adds a skewed effect to each class, of a size that differs between
    classes, one to each half, and noise to each image.
    """
    pool = levels(more)
    chosen = np.r_[0, rng.integers(1, pool.shape[1], classes - 1)]
    vary, *thresholds = pool[:, chosen]
    easy = hard(rng, (classes, images))
    parts, bits = [], []
    for split in range(splits):
        half = rng.permutation(classes) % 2
        shares = []
        for level, own in zip(thresholds, easy, strict=True):
            network = level + vary * skewed(rng, (classes,)) + rng.normal(0, 0.15, 2)[half]
            right = own + network[:, None] + rng.logistic(0, 0.5, (classes, images)) > 0
            shares.append(right.mean(axis=1))
            bits.append(right.astype(np.int8).ravel())
        named = {"replicate": str(split), "target_half": [f"{split}{h}" for h in half], "class": range(classes)}
        parts.append(pd.DataFrame({**named, "images": images, "base": shares[0], "copy": shares[1]}))
    runs = pd.DataFrame(product(range(splits), ["base", "AnB"]), columns=["replicate", "choice"])
    about = pd.DataFrame({"data": "f00d", "class": np.repeat(range(classes), images)})
    return pd.concat(parts, ignore_index=True), Bits(runs, about, np.array(bits), [])


def often(reports: int, splits: int, images: int, more: float = 0.0, bits: bool = True) -> tuple[float, float]:
    """Share of reports that find a class that is like all others; share that find the one that is not."""
    rng = np.random.default_rng(0)
    found = np.zeros((reports, 2))
    for k in range(reports):
        shares, seen = cells(rng, splits, images, more)
        rows = estimate(shares, loss_by_images(seen) if bits else math.nan)[0]
        q = rows.set_index("class")["q"].sort_index().to_numpy() < 0.05
        found[k] = (q[1:].any(), q[0]) if more else (q.any(), False)
    return tuple(found.mean(axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("images", [12, 50])
@pytest.mark.parametrize("splits", [1, 4, 8])
def test_equal_losses_are_rarely_called_different(splits: int, images: int) -> None:
    false, _ = often(400, splits, images)
    assert false <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400), false


@pytest.mark.slow
def test_a_class_that_loses_far_more_is_found() -> None:
    """50 points more at 50 images, in 8 splits, with and without bits; 30 more are found with bits far more often."""
    for bits in (True, False):
        _, hit = often(100, 8, 50, more=50, bits=bits)
        assert hit >= 0.5, hit
    with_bits, without = (often(100, 8, 50, more=30, bits=bits)[1] for bits in (True, False))
    assert with_bits >= without + 0.15, (with_bits, without)


# ------------------------------------------------------------------------------------------------------------- by hand


def shares(*rows: tuple[str, str, str, int, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["replicate", "target_half", "class", "images", "base", "copy"])


def test_an_image_counts_once_however_many_splits_saw_it() -> None:
    """The same right and wrong images in more splits tell nothing new: errors and q stay."""
    rng = np.random.default_rng(3)
    copy = rng.binomial(20, 0.6, 20) / 20
    once = [("0", "h", f"c{k:02}", 20, 0.8, copy[k]) for k in range(20)]
    of_two: Any = estimate(shares(*once, *(("1", "g", *row[2:]) for row in once)))[0]
    of_nine: Any = estimate(shares(*((f"{s}", f"h{s}", *row[2:]) for row in once for s in range(9))))[0]
    assert of_nine["images"].eq(20).all()
    assert of_nine["error"].to_numpy() == pytest.approx(of_two["error"].to_numpy(), rel=0.01)
    assert of_nine["error"].min() > 5


def test_bits_tell_how_far_images_move_a_loss() -> None:
    """A third of all images is lost, the same ones in every replicate: variance 1/3 2/3; without repeats not known."""
    which = np.tile([1, 1, 0], 4)
    about = pd.DataFrame({"data": "f00d", "class": np.repeat(range(2), 6)})
    runs = pd.DataFrame(product(range(3), ["base", "AnB"]), columns=["replicate", "choice"])
    right = np.array([np.ones(12, int), which] * 3, dtype=np.int8)
    assert loss_by_images(Bits(runs, about, right, [])) == pytest.approx(2 / 9 * 6 / 5)
    assert math.isnan(loss_by_images(Bits(runs.head(2), about, right[:2], [])))
    assert math.isnan(loss_by_images(Bits(runs, about, right, ["a run without bits"])))


def test_half_of_what_bits_take_off_is_taken_off() -> None:
    """Where replicates agree, all of the error is that of images; none is taken off where bits say more than counts."""
    copy = np.random.default_rng(3).binomial(20, 0.6, 20) / 20
    rows = shares(*((f"{s}", f"h{s}", f"c{k:02}", 20, 0.8, copy[k]) for s in range(3) for k in range(20)))
    errors = [estimate(rows, of)[0].sort_values("class")["error"].to_numpy() for of in (math.nan, 0.0, 1.0)]
    assert errors[1] == pytest.approx(errors[0] / math.sqrt(2), rel=0.02)
    assert errors[2] == pytest.approx(errors[0])


def test_a_half_that_loses_more_as_a_whole_makes_no_class_differ() -> None:
    rows: Any
    rows, mean, spread = estimate(
        shares(
            *(
                ("0", half, f"{half}{k}", 50, 0.8, 0.8 - lost)
                for half, lost in (("A", 0.1), ("B", 0.4))
                for k in range(9)
            )
        )
    )
    assert mean == pytest.approx(25)
    assert spread == 0
    assert rows["q"].min() > 0.5
    assert rows["loss"].is_monotonic_decreasing  # equal estimates are in order of the plain means


# ------------------------------------------------------------------------------------------------------------- reports


def fill(runs: Path, right: dict[str, list[int]], told: bool = True) -> None:
    """Two bases and A3B in both directions; `right` of 20 images of each class by letter of the target."""
    bases = [synthetic.base(half) for half in synthetic.halves()]
    for base in bases:
        numbers = {"images": [20] * 3, "correct": [18] * 3}
        synthetic.finish(runs, base, 0.9, [0.9], per_class={"select": numbers})
    for target, source in (bases, bases[::-1]):
        numbers = {"images": [20] * 3, "correct": right[target.half.letter]}
        values = {"per_class": {"select": numbers}} if told else {}
        synthetic.finish(runs, target.copy(3, "frozen", source), 0.6, [0.6], **values)


def test_where_no_class_differs_the_report_says_so(tmp_path: Path) -> None:
    fill(tmp_path, {"A": [12, 13, 11], "B": [12, 11, 12]})
    (block,) = blocks(frame(tmp_path), directory=tmp_path)
    section = next(
        its for its in advise(frame(tmp_path), directory=tmp_path).parts[0].sections if its.title == "Classes"
    )
    assert "No class differs detectably from the mean of all." in section.text
    assert section.tables[0].title.startswith("Plain means")
    assert "shrunk" not in section.tables[0].shown
    assert "group" not in section.tables[0].shown  # nothing to repeat
    its = losses(block)
    assert its.replicates == ("split", 1)
    assert its.rows["loss"].mean() == pytest.approx(its.mean)
    assert its.mean == pytest.approx(100 * (18 * 6 - 71) / 120)


def test_what_varied_between_trainings_is_named_and_ties_are(tmp_path: Path) -> None:
    """Divisions of one split; 7 of 12 classes lose the same, 6 points, of which five are shown."""
    for division in range(3):
        a, b = (
            replace(half, division=division, classes=tuple(f"{half.letter}{k}" for k in range(6)))
            for half in synthetic.halves()
        )
        bases = [synthetic.base(half) for half in (a, b)]
        for base in bases:
            numbers = {"images": [50] * 6, "correct": [45] * 6}
            synthetic.finish(tmp_path, base, 0.9, [0.9], per_class={"select": numbers})
        for target, source in (bases, bases[::-1]):
            right = [40] * 5 + [42] if target.half.letter == "A" else [42] * 6
            numbers = {"images": [50] * 6, "correct": right}
            copy = target.copy(3, "frozen", source)
            synthetic.finish(tmp_path, copy, 0.8, [0.8], per_class={"select": numbers})
    (block,) = blocks(frame(tmp_path), directory=tmp_path)
    assert losses(block).replicates == ("division", 3)
    section = per_class(block, None)  # pyright: ignore
    assert section is not None
    assert "a class has 50 images, each counted once in a division, and 3 divisions. All" in section.text[0]
    assert section.tables[0].title.endswith("; 2 more are as high as the last of these")


def test_own_runs_without_numbers_are_counted_and_not_called_published(tmp_path: Path) -> None:
    fill(tmp_path, {"A": [12] * 3, "B": [12] * 3}, told=False)
    for directory in (tmp_path, None):
        (block,) = blocks(frame(tmp_path), directory=directory)
        section = per_class(block, None)  # pyright: ignore
        assert section is not None
        text = " ".join(section.text)
        assert ("2 runs have no numbers per class." if directory else "4 runs have no numbers per class.") in text
        assert "published" not in text
