"""Bits of runs side by side over images, and how choices covary over them."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import synthetic
from scipy.stats import multivariate_normal, norm

from analysis.advice.images import Bits, bits, covariance, worth
from yosinski.data.half import Half
from yosinski.errors import BadInput
from yosinski.experiment.run import Run
from yosinski.records import specs
from yosinski.records.right import packed


def finish(runs: Path, run: Run, by_class: dict[str, str], **values: Any) -> None:
    """A finished run with these bits for the test images of every class: {"ant": "101"}."""
    counts = {"images": [], "correct": []}
    for name in run.half.classes:
        counts["images"].append(len(by_class[name]))
        counts["correct"].append(by_class[name].count("1"))
    every = np.array([bit == "1" for name in run.half.classes for bit in by_class[name]], bool)
    about = {"per_class": {"test": counts}, "right": {"test": packed(every)}, **values}
    synthetic.finish(runs, run, float(every.mean()), **about)


def rows(*listed: tuple[Run, str, str]) -> pd.DataFrame:
    """As `bits` wants them."""
    told = [(run.id, run.half.digest, choice, replicate) for run, choice, replicate in listed]
    return pd.DataFrame(told, columns=["run", "target_half", "choice", "replicate"])


# --------------------------------------------------------------------------------------------------------------- bits

X = Half("toy", "f00d", ("ant", "bat"), ("ink",), "A", "random:0")
Y = Half("toy", "f00d", ("cat", "ant"), ("ink",), "B", "random:1")  # shares the ants with X
Z = Half("toy", "f00d", ("ant", "bat"), ("oil",), "A", "random:2")  # other pictures of the same classes
OTHER = Half("toy", "beef", ("ant", "bat"), ("ink",), "A", "random:0")  # of another data set


def test_an_image_is_the_same_one_in_every_half_that_has_its_class(tmp_path: Path) -> None:
    x, y, z, other = map(synthetic.base, (X, Y, Z, OTHER))
    finish(tmp_path, x, {"ant": "110", "bat": "01"})
    finish(tmp_path, y, {"cat": "0", "ant": "011"})
    finish(tmp_path, z, {"ant": "1", "bat": "0"})
    finish(tmp_path, other, {"ant": "1", "bat": "1"})
    found = bits(tmp_path, rows((x, "c", "0"), (y, "c", "1"), (z, "d", "0"), (other, "d", "1")), "test")
    images = [".".join(map(str, key)) for key in found.images.itertuples(index=False)]
    assert images == [
        *("f00d.ant.ink.0.0", "f00d.ant.ink.0.1", "f00d.ant.ink.0.2", "f00d.bat.ink.0.0", "f00d.bat.ink.0.1"),
        *("f00d.cat.ink.0.0", "f00d.ant.oil.0.0", "f00d.bat.oil.0.0", "beef.ant.ink.0.0", "beef.bat.ink.0.0"),
    ]
    assert found.right.tolist() == [
        [1, 1, 0, 0, 1, -1, -1, -1, -1, -1],
        [0, 1, 1, -1, -1, 0, -1, -1, -1, -1],
        [-1, -1, -1, -1, -1, -1, 1, 0, -1, -1],
        [-1, -1, -1, -1, -1, -1, -1, -1, 1, 1],
    ]
    assert found.without == []
    assert found.runs["choice"].tolist() == ["c", "c", "d", "d"]


def test_every_task_of_a_run_has_bits_of_its_own(tmp_path: Path) -> None:
    base = synthetic.base(X)
    joint = replace(base, treatment="joint", cut=3, partners=(Y,))
    of_y = {
        "per_class": {"test": {"images": [1, 3], "correct": [0, 2]}},
        "right": {"test": packed(np.array([0, 0, 1, 1]))},
    }
    specs.enrol_half(tmp_path, Y)
    finish(tmp_path, joint, {"ant": "110", "bat": "01"}, tasks=[{"state": "done", **of_y}])
    asked = rows((joint, "c", "0"), (joint, "c", "1")).assign(task=[0, 1], target_half=[X.digest, Y.digest])
    found = bits(tmp_path, asked, "test")
    assert found.right.tolist() == [[1, 1, 0, 0, 1, -1], [0, 1, 1, -1, -1, 0]]
    assert found.without == []


def test_answers_to_other_questions_are_the_same_images_in_the_same_half_only(tmp_path: Path) -> None:
    first, second = (replace(half, asks="domain", answers=("oil", "ink")) for half in (X, Y))
    for half in (first, second):
        run = synthetic.base(half)
        counts = {"images": [2, 1], "correct": [1, 1]}
        about = {"per_class": {"test": counts}, "right": {"test": packed(np.array([1, 0, 1]))}}
        synthetic.finish(tmp_path, run, 0.5, **about)
    found = bits(tmp_path, rows((synthetic.base(first), "c", "0"), (synthetic.base(second), "c", "1")), "test")
    assert found.right.tolist() == [[1, 0, 1, -1, -1, -1], [-1, -1, -1, 1, 0, 1]]


def test_runs_without_bits_are_listed(tmp_path: Path) -> None:
    old, new, lost, never = (synthetic.base(half, seed) for half, seed in ((X, 0), (X, 1), (Z, 0), (X, 2)))
    counts = {"images": [1, 1], "correct": [1, 0]}
    synthetic.finish(tmp_path, old, 0.5, per_class={"test": counts})
    finish(tmp_path, new, {"ant": "1", "bat": "0"})
    finish(tmp_path, lost, {"ant": "1", "bat": "0"})
    (tmp_path / "halves" / f"{Z.digest}.json").unlink()
    wanted = rows((old, "c", "0"), (new, "c", "1"), (lost, "c", "2"), (never, "c", "3"), (new, "d", "1"))
    found = bits(tmp_path, wanted, "test")
    assert found.without == [old.id, lost.id, never.id]
    assert found.right.tolist() == [[1, 0], [1, 0]]  # the same run may stand for two choices
    assert found.runs["choice"].tolist() == ["c", "d"]
    nothing = bits(tmp_path, wanted, "select")
    assert nothing.right.shape == (0, 0)
    assert len(nothing.without) == 4


def test_bits_that_contradict_their_record_are_refused(tmp_path: Path) -> None:
    run, few = synthetic.base(X), synthetic.base(X, seed=1)
    finish(tmp_path, run, {"ant": "1", "bat": "0"}, right={"test": packed(np.array([0, 1], bool))})
    with pytest.raises(BadInput, match=f"record of run {run.id}, bits of set 'test': they are right otherwise"):
        bits(tmp_path, rows((run, "c", "0")), "test")
    finish(tmp_path, few, {"ant": "1", "bat": "0"}, per_class={"test": {"images": [2], "correct": [1]}})
    with pytest.raises(BadInput, match="per_class counts 1 classes, its half has 2"):
        bits(tmp_path, rows((few, "c", "0")), "test")


# --------------------------------------------------------------------------------------------------------- covariances


def side_by_side(classes: str, *listed: tuple[str, str, str]) -> Bits:
    """Rows of choice, replicate and bits ("10-" for right, wrong, not seen), over images of these classes."""
    matrix = [["01".find(bit) for bit in text] for _, _, text in listed]
    runs = pd.DataFrame([row[:2] for row in listed], columns=["choice", "replicate"])
    images = pd.DataFrame({"data": "f00d", "class": list(classes), "domain": "", "division": 0, "k": 0})
    return Bits(runs.assign(run=range(len(runs))), images, np.array(matrix, np.int8), [])


def cov(one: list[int], other: list[int]) -> float:
    return float(np.cov(one, other)[0, 1])


def test_covariances_are_those_of_different_replicates() -> None:
    found = covariance(
        side_by_side("aaaa", ("c", "0", "1100"), ("c", "1", "1000"), ("d", "0", "0011"), ("d", "1", "1010"))
    )
    c, d = ([1, 1, 0, 0], [1, 0, 0, 0]), ([0, 0, 1, 1], [1, 0, 1, 0])
    assert found.estimate.loc["c", "c"] == pytest.approx(cov(*c))
    assert found.estimate.loc["d", "d"] == pytest.approx(cov(*d))
    assert found.estimate.loc["c", "d"] == pytest.approx((cov(c[0], d[1]) + cov(c[1], d[0])) / 2)
    assert found.estimate.loc["d", "c"] == found.estimate.loc["c", "d"]
    assert found.share.to_numpy() == pytest.approx(np.full((2, 2), 1 / 4))
    assert found.alone == []


def test_negative_eigenvalues_are_cut() -> None:
    found = covariance(side_by_side("aaaa", ("c", "0", "1100"), ("c", "1", "0011")))
    assert found.estimate.loc["c", "c"] == pytest.approx(-1 / 3)
    assert found.matrix.loc["c", "c"] == 0
    good = covariance(side_by_side("aaaa", ("c", "0", "1100"), ("c", "1", "1000")))
    assert good.matrix.loc["c", "c"] == pytest.approx(good.estimate.loc["c", "c"])


def test_images_that_one_side_lacks_are_left_out() -> None:
    found = covariance(side_by_side("aaabb", ("c", "0", "110--"), ("c", "1", "-1010"), ("d", "0", "---01")))
    assert found.estimate.loc["c", "c"] == pytest.approx(cov([1, 0], [1, 0]))
    # d shares images with c in another replicate alone, and is compared with itself in its only one.
    assert found.estimate.loc["c", "d"] == pytest.approx(cov([1, 0], [0, 1]))
    assert found.estimate.loc["d", "d"] == pytest.approx(cov([0, 1], [0, 1]))
    assert found.alone == ["d"]
    in_c, in_d = np.array([1 / 6, 1 / 6 + 1 / 8, 1 / 6 + 1 / 8, 1 / 8, 1 / 8]), np.array([0, 0, 0, 1 / 2, 1 / 2])
    assert found.share.to_numpy() == pytest.approx(np.array([[in_c @ in_c, in_c @ in_d], [in_c @ in_d, in_d @ in_d]]))
    assert found.of_means.loc["d", "d"] == pytest.approx(found.matrix.loc["d", "d"] / 2)


def test_choices_without_a_common_image_do_not_covary() -> None:
    found = covariance(side_by_side("aabb", ("c", "0", "10--"), ("d", "1", "--10")))
    assert found.estimate.loc["c", "d"] == 0
    assert found.estimate.loc["c", "c"] == pytest.approx(0.5)


def test_runs_of_a_choice_in_a_replicate_are_one_row() -> None:
    """Those of both halves lie beside each other, those on the same images are averaged."""
    apart = covariance(side_by_side("aabb", ("c", "0", "10--"), ("c", "0", "--01"), ("c", "1", "1101")))
    assert apart.estimate.loc["c", "c"] == pytest.approx(cov([1, 0, 0, 1], [1, 1, 0, 1]))
    twice = covariance(side_by_side("aab", ("c", "0", "101"), ("c", "0", "100"), ("c", "1", "110")))
    assert twice.estimate.loc["c", "c"] == pytest.approx(np.cov([1, 0, 0.5], [1, 1, 0])[0, 1])


def test_within_classes_what_classes_differ_by_does_not_count() -> None:
    its = side_by_side("aaabbb", ("c", "0", "110000"), ("c", "1", "101100"))
    by_hand = (2 * cov([1, 1, 0], [1, 0, 1]) + 2 * cov([0, 0, 0], [1, 0, 0])) / 4
    assert covariance(its, within_classes=True).estimate.loc["c", "c"] == pytest.approx(by_hand)
    pure = side_by_side("aaabbb", ("c", "0", "111000"), ("c", "1", "111000"))
    assert covariance(pure).estimate.loc["c", "c"] == pytest.approx(0.3)
    assert covariance(pure, within_classes=True).estimate.loc["c", "c"] == pytest.approx(0)


def test_choices_may_be_tuples() -> None:
    its = side_by_side("aa", ("c", "0", "10"), ("d", "1", "10"))
    its.runs["choice"] = [("frozen", 3), ("tuned", 3)]
    found = covariance(its)
    assert list(found.matrix.index) == [("frozen", 3), ("tuned", 3)]
    assert found.alone == [("frozen", 3), ("tuned", 3)]


def test_worth_is_the_binomial_error_in_points() -> None:
    assert worth(0.5, 100) == pytest.approx(5)
    assert worth(np.array([0.9, 1.0]), np.array([900, 7])) == pytest.approx([1, 0])


MEANS = np.array([0.3, 0.6, 1.4])  # of what makes choices right, in units of its errors
IMAGES, OWN, SHARED, RUN = 0.8, 0.4, 0.6, 0.2  # deviations: of images; per choice; per replicate; of whole trainings
TOTAL = np.sqrt(IMAGES**2 + OWN**2 + SHARED**2 + RUN**2 + 1)


def truth() -> np.ndarray:
    """Covariances over images of the probabilities of being right, of which the bits below are drawn."""
    wide, chance = MEANS / TOTAL, norm.cdf(MEANS / TOTAL)
    both, normal = np.empty((3, 3)), cast(Any, multivariate_normal)
    for c in range(3):
        for d in range(3):
            alike = (IMAGES**2 + OWN**2 * (c == d)) / TOTAL**2
            both[c, d] = normal.cdf(wide[[c, d]], cov=np.array([[1, alike], [alike, 1]]))
    return both - np.outer(chance, chance)


def drawn(random: np.random.Generator, images: int, seeds: int) -> Bits:
    """Bits of three choices with effects of images, alone and with choices, of seeds, and of both together."""
    latent = MEANS[:, None, None] + RUN * random.normal(size=(3, seeds, 1)) + random.normal(size=(3, seeds, images))
    latent += IMAGES * random.normal(size=images) + OWN * random.normal(size=(3, 1, images))
    latent += SHARED * random.normal(size=(seeds, images))  # what is by chance in a seed, for all choices
    runs = pd.DataFrame([(c, r) for c in range(3) for r in range(seeds)], columns=["choice", "replicate"])
    about = pd.DataFrame({"data": "f00d", "class": "a", "domain": "", "division": 0, "k": range(images)})
    return Bits(runs, about, (latent > 0).astype(np.int8).reshape(3 * seeds, images), [])


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("images", [100, 2000])
def test_covariances_are_unbiased(images: int, seeds: int) -> None:
    random = np.random.default_rng([images, seeds])
    found, same = [], []
    for _ in range(1000 if images < 1000 else 200):
        its = drawn(random, images, seeds)
        found.append(covariance(its).estimate.to_numpy())
        by_seed = its.right.reshape(3, seeds, images)
        same.append(np.mean([np.cov(by_seed[:, r]) for r in range(seeds)], axis=0))
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - truth()) < 4 * error).all()
    assert (error < 0.02 * np.abs(truth()).max()).all()
    # Bits of the same seed are no estimate of that: what is by chance in a seed is in them.
    assert (np.mean(same, axis=0) > 1.3 * truth()).all()
