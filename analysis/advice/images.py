"""What a choice of images has to do with accuracies: bits of all runs side by side, and how they covary over images.

Runs that are evaluated on the same images are right and wrong on much the same ones. How much further images would move
the accuracies of choices, and how much they would move them together, is the covariance over images of the choices'
probabilities of being right.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from yosinski import files
from yosinski.data.half import Half
from yosinski.errors import BadInput
from yosinski.records import specs, states
from yosinski.records.right import of_task, right

IDENTITY = ["data", "class", "domain", "division", "k"]


@dataclass
class Bits:
    """Which runs were right on which images.

    runs: the rows that were asked for, of runs that have bits. images: one row per image that any of them has seen,
    with what makes it the same one in several halves: `data` (the fingerprint), `class`, `domain` (joined by +),
    `division` (0 but for select images) and `k`, its number within these. right: int8 [runs, images]: 1, 0, or -1 for
    an image that a run has not seen. without: ids of runs that have no bits, or no half that could be read.
    """

    runs: pd.DataFrame
    images: pd.DataFrame
    right: np.ndarray
    without: list[str]


def bits(directory: Path, runs: pd.DataFrame, image_set: str) -> Bits:
    """The bits of runs (columns `run`, `target_half`, `choice`, `replicate`) on their `select`, `test` or `unseen` set.

    A run with several tasks has a row for each that is asked for, with its number in the column `task`. Every record is
    read once for each. BadInput if a record's bits are not those that its counts speak of, or is damaged.
    """
    halves: dict[str, Half | None] = {}
    found: dict[tuple[str, str], tuple[np.ndarray, tuple[Hashable, ...]]] = {}
    layouts: dict[tuple[Hashable, ...], list[tuple[tuple[Any, ...], int]]] = {}  # the classes of a half, and how many
    asked = runs.reindex(columns=["run", "target_half", "task"]).fillna({"task": 0}).drop_duplicates()
    for run, digest, task in asked.itertuples(index=False):
        record = of_task(states.read_record(specs.folder(directory, run)) or {}, int(task))
        bits_of_run = right(record, image_set, run)
        if digest not in halves:
            halves[digest] = _half(directory, digest)
        half = halves[digest]
        if bits_of_run is None or half is None:
            continue
        counts = record["per_class"][image_set]["images"]
        if len(counts) != len(half.labels):
            what = f"record of run {run}, set {image_set!r}"
            raise BadInput(f"{what}: per_class counts {len(counts)} classes, its half has {len(half.labels)}")
        layout = digest, *counts
        if layout not in layouts:
            keys = [_identity(half, name, image_set) for name in half.labels]
            layouts[layout] = list(zip(keys, counts, strict=True))
        found[run, digest] = bits_of_run, layout

    most: dict[tuple[Any, ...], int] = {}
    for layout in layouts.values():
        for key, count in layout:
            most[key] = max(count, most.get(key, 0))
    first = dict(zip(most, np.cumsum([0, *most.values()]).tolist(), strict=False))
    columns = {
        name: np.concatenate([np.arange(first[key], first[key] + count) for key, count in layout])
        for name, layout in layouts.items()
    }
    known = [pair in found for pair in zip(runs["run"], runs["target_half"], strict=True)]
    kept = runs.loc[known].reset_index(drop=True)
    matrix = np.full((len(kept), sum(most.values())), -1, np.int8)
    for row, pair in enumerate(zip(kept["run"], kept["target_half"], strict=True)):
        its, layout = found[pair]
        matrix[row, columns[layout]] = its
    images = pd.DataFrame([(*key, k) for key, count in most.items() for k in range(count)], columns=IDENTITY)
    without = list(runs.loc[~np.array(known, bool), "run"].drop_duplicates())
    return Bits(kept, images, matrix, without)


def _half(directory: Path, digest: str) -> Half | None:
    try:
        return specs.load_half(directory, digest)
    except (files.Damaged, BadInput):
        return None


def _identity(half: Half, name: str, image_set: str) -> tuple[Any, ...]:
    """What images of a class have in common in all halves in which the k-th is the same.

    With the answer to another question than the class, the k-th depends on all classes of the half.
    """
    data = half.fingerprint if half.asks == "class" else f"{half.fingerprint} {half.digest}"
    return data, name, "+".join(sorted(half.domain)), half.division if image_set == "select" else 0


@dataclass
class Covariance:
    """Over images, of the probabilities that choices are right, in accuracy squared, per image.

    matrix: [choices, choices], positive semidefinite; estimate: the same before its negative eigenvalues were cut,
    which is unbiased. share: what these are multiplied with to get the covariance of the choices' means over replicates
    that further images alone would make: 1/n where all see the same n images, else the sum over images of the products
    of their weights in both means. common: the same for two different replicates, which is what the spread between
    replicates does not show: 0 where each has images of its own. alone: choices with one replicate only. Their own
    variance is that of single networks, in which there is also what differs from training to training: it is too large
    rather than too small.
    """

    matrix: pd.DataFrame
    estimate: pd.DataFrame
    share: pd.DataFrame
    common: pd.DataFrame
    alone: list[Hashable]

    @property
    def of_means(self) -> pd.DataFrame:
        """The covariance of the choices' mean accuracies that further images alone would make, positive semidefinite.

        Exactly that of the estimate if images are drawn from all classes alike; see `covariance`.
        """
        return self.matrix * self.share

    @property
    def beyond_replicates(self) -> pd.DataFrame:
        """That part of `of_means` which the spread between replicates lacks, since they share images."""
        return self.matrix * self.common


def covariance(bits: Bits, within_classes: bool = False) -> Covariance:
    """The covariance over images of the choices' probabilities of being right, from bits of different replicates.

    For choices c and d: the mean, over pairs of replicates r != s, of the covariance over images of bit[c, r] and
    bit[d, s], with images that one of both lacks left out. Bits of one and the same training are no part of it, since
    what is by chance in that would pass for a property of images; it is unbiased, and so are the differences of two
    choices. Several runs of a choice in a replicate are averaged where they share images. Where c and d have no pair of
    different replicates, those of the same one are taken; where they share no image, it is 0.

    within_classes: deviations are those from the mean of their class, for images that are drawn anew class by class in
    the same numbers, as those of a data set mostly are. Otherwise how classes (and the halves that they are in) differ
    counts as well, which is too much then.

    Source: the two-way random effects of readers and cases, Roe and Metz, Acad. Radiol. 4 (1997); Gallas, Bandos,
    Samuelson and Wagner, Commun. Stat. Theory Methods 38 (2009).
    """
    of_run, choices = pd.factorize(bits.runs["choice"])
    replicate_of_run, replicates = pd.factorize(bits.runs["replicate"])
    groups, group_of_run = np.unique(of_run * len(replicates) + replicate_of_run, return_inverse=True)
    rates = np.zeros((len(groups), bits.right.shape[1]))
    seen = np.zeros(rates.shape, bool)
    for k in range(len(groups)):
        its = bits.right[group_of_run == k]
        many = (its >= 0).sum(0)
        rates[k], seen[k] = (its == 1).sum(0) / np.maximum(many, 1), many > 0
    choice, replicate = np.divmod(groups, max(1, len(replicates)))
    classes = bits.images.groupby(["data", "class"], sort=False).ngroup().to_numpy()
    strata = classes if within_classes else np.zeros_like(classes)
    total, number = _pairs(rates, seen, choice, replicate, strata)
    within, crossed = total / np.maximum(number, 1)

    some = number[1] > 0
    estimate = np.where(some, crossed, within)
    values, vectors = np.linalg.eigh(estimate)
    of_images = seen / np.maximum(seen.sum(1, keepdims=True), 1)
    belongs = (choice == np.arange(len(choices))[:, None]).astype(float)
    weights = belongs @ of_images / belongs.sum(1, keepdims=True)
    pairs = replicate[:, None] != replicate[None]
    many = belongs @ pairs @ belongs.T
    products = belongs @ (of_images @ of_images.T * pairs) @ belongs.T
    common = np.where(many > 0, products / np.maximum(many, 1), weights @ weights.T)

    def table(matrix: np.ndarray) -> pd.DataFrame:
        index = pd.Index(list(choices), name="choice", tupleize_cols=False)
        return pd.DataFrame(matrix, index=index, columns=index)

    alone = [choice for choice, crossing in zip(choices, some.diagonal(), strict=True) if not crossing]
    cut = (vectors * np.maximum(values, 0)) @ vectors.T
    return Covariance(table(cut), table(estimate), table(weights @ weights.T), table(common), alone)


def _pairs(
    rates: np.ndarray, seen: np.ndarray, choice: np.ndarray, replicate: np.ndarray, strata: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of covariances over the images of both, and numbers of pairs, both [2, choices, choices].

    First of groups with the same replicate, then with different ones. rates, seen: [groups, images], 0 and False where
    not seen; choice, replicate: int [groups], no two groups alike in both; strata: int [images], within which
    deviations are taken. Groups that have seen the same images are summed before they are multiplied.
    """
    belongs = (choice == np.arange(choice.max(initial=-1) + 1)[:, None]).astype(float)
    total, number = (np.zeros((2, len(belongs), len(belongs))) for _ in range(2))
    pattern = np.unique(np.packbits(seen, axis=1), axis=0, return_inverse=True)[1].ravel()
    members = [np.flatnonzero(pattern == k) for k in range(pattern.max(initial=-1) + 1)]
    for one, other in product(members, members):
        shared = seen[one[0]] & seen[other[0]]
        codes = np.unique(strata[shared], return_inverse=True)[1]
        free = len(codes) - codes.max(initial=-1) - 1
        if free <= 0:
            continue
        in_stratum = csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))))
        left, right = (_deviations(rates[rows][:, shared], in_stratum) for rows in (one, other))
        common = [
            (replicate[one] == k, replicate[other] == k) for k in np.intersect1d(replicate[one], replicate[other])
        ]
        everything = np.ones(len(one), bool), np.ones(len(other), bool)
        for kind, (ours, theirs) in [*((0, chosen) for chosen in common), (1, everything)]:
            of_ours, of_theirs = belongs[:, one[ours]], belongs[:, other[theirs]]
            total[kind] += (of_ours @ left[ours]) @ (of_theirs @ right[theirs]).T / free
            number[kind] += np.outer(of_ours.sum(1), of_theirs.sum(1))
    for sums in (total, number):
        sums[1] -= sums[0]
    return total, number


def _deviations(rates: np.ndarray, in_stratum: Any) -> np.ndarray:
    """Of every row from its mean in each stratum; in_stratum: 1 where an image is in a stratum, [strata, images]."""
    means = (in_stratum @ rates.T) / in_stratum.sum(1)[:, None]
    return rates - (in_stratum.T @ means).T


def worth(accuracy: Any, images: Any) -> Any:
    """The standard error, in points, of an accuracy on so many images alone: binomial, for records without bits.

    It is that of one network; of the difference of two networks on the same images it says nothing.
    """
    return 100 * np.sqrt(accuracy * (1 - accuracy) / images)
