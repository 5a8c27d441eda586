"""Which runs to train next, so that few networks decide where to cut: the rule of `yosinski decide`.

A round is a set of cells, each a place and a choice. Places are what intervals go over: splits, divisions or seeds,
counted from 0 in the order in which they are taken. A choice is a treatment with a cut n, or training from scratch.
The first round has the first, a middle and the last cut at one place. From the second on

- cuts between those that were tried are added at the first place, where one of them may be the best,
- what is hopeless is dropped,
- further places are added for what is left,

until the leading choice is within `matters` points of the best of all cuts with P of at least `ENOUGH`.
`docs/where-to-cut.md` has the formulas and what simulations say of them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from analysis.advice.answer import ENOUGH, MATTERS, Answer, by_images
from analysis.paired import FEWEST

BASE = ("base", 0)
Choice = tuple[str, int]  # treatment and n
Cell = tuple[int, Choice]  # number of a place, and a choice
DRAWS = 4000  # at least
AWAY = 2.5  # times what matters, or the standard error by images, by which a choice is hopeless at a single place
CHANCE = 0.01  # of being above the leading one by what matters, below which a choice is hopeless
MISSED = 0.05  # likewise of an untried cut, from which on it is tried


@dataclass(frozen=True)
class Round:
    """Cells to be trained, and why."""

    cells: tuple[Cell, ...]
    why: str


@dataclass(frozen=True)
class Known:
    """What the rounds so far say.

    choices: those with a measurement, [p]. points: their means, in any common level, [p]. draws: of these means,
    [draws, p], or None without replicates. noise: standard error of a difference by images alone, in points.
    """

    choices: tuple[Choice, ...]
    points: np.ndarray
    draws: np.ndarray | None
    noise: float = 0.0


def known(answer: Answer, noise: float = 0.0, seed: int = 0) -> Known:
    """What an answer knows of its choices."""
    rows = answer.rows.dropna(subset=["points"])
    choices = tuple(
        BASE if series == "base" else (str(treatment), int(n))
        for series, treatment, n in zip(rows["series"], rows["treatment"], rows["n"], strict=True)
    )
    draws = None
    if answer.top:
        rng = np.random.default_rng(seed)
        draws = answer.trainings + by_images(answer.images, len(answer.trainings), rng)
    return Known(choices, rows["points"].to_numpy(float), draws, noise)


def first(cuts: Sequence[int], treatments: Sequence[str]) -> Round:
    """The first, a middle and the last cut with every treatment, and training from scratch, at the first place."""
    some = sorted({cuts[0], cuts[len(cuts) // 2], cuts[-1]})
    cells = [(0, BASE), *((0, (treatment, n)) for treatment in treatments for n in some)]
    return Round(tuple(cells), "a first look: first, middle and last cut")


def following(
    now: Known, tried: Collection[Cell], cuts: Sequence[int], treatments: Sequence[str], matters: float = MATTERS
) -> Round | None:
    """The next round; None where the question is decided.

    tried: all cells of the rounds so far. cuts: of the whole sweep.
    """
    places = 1 + max(place for place, _ in tried)
    top = now.choices[int(now.points.argmax())]
    draws = now.points[None] if now.draws is None else now.draws
    names, draws = with_untried(now.choices, draws, cuts, treatments)
    p, leading = len(now.choices), draws[:, [names.index(top)]]
    if places >= FEWEST and (draws.max(axis=1, keepdims=True) - leading < matters).mean() >= ENOUGH:
        return None
    above = (draws - leading >= matters).mean(axis=0)  # how often each is what the leading one misses
    seen = {choice for _, choice in tried}  # those that failed as well
    untried = sorted(((a, c) for a, c in zip(above[p:], names[p:], strict=True) if c not in seen), reverse=True)
    missed = [choice for chance, choice in untried[:2] if chance >= (MISSED if places < FEWEST else CHANCE)]
    if missed and (places == 1 or sum(above[p:]) > sum(above[:p])):
        return Round(
            tuple((0, choice) for choice in missed), "cuts between those that were tried, which may be the best"
        )
    kept = _hopeful(now, above[:p], matters, places)
    hopeful = [choice for choice, keep in zip(now.choices, kept, strict=True) if keep]
    return Round(tuple((places, choice) for choice in hopeful), "a replicate of what may be the best")


def _hopeful(now: Known, above: np.ndarray, matters: float, places: int) -> np.ndarray:
    """Which choices are not hopeless, bool [p]: the leading one, its nearest rival, and what may be above by matters.

    Below three places the errors are hardly known, so that what is far behind is hopeless as well.
    """
    gap = now.points.max() - now.points
    near = gap <= (AWAY * max(matters, now.noise) if places < FEWEST else np.inf)
    kept = near & ((above >= CHANCE) if now.draws is not None else True)
    kept[np.argsort(gap, kind="stable")[:2]] = True
    return kept


def with_untried(
    choices: Sequence[Choice], draws: np.ndarray, cuts: Sequence[int], treatments: Sequence[str]
) -> tuple[list[Choice], np.ndarray]:
    """The choices, tried ones first, and draws of their means, [draws, all choices]. draws: of tried ones.

    An untried cut between two tried ones a < n < b is on the line between their draws, but for a bridge of a random
    walk: normal with variance step^2 (n - a) (b - n) / (b - a), step^2 being the mean of squared differences of
    neighbouring tried cuts of that treatment per cut between them (accuracy is smooth over n, but not a line).
    """
    rng = np.random.default_rng(0)
    draws = np.repeat(draws, -(-DRAWS // len(draws)), axis=0)
    means = draws.mean(axis=0)
    names, columns = list(choices), [draws]
    for treatment in treatments:
        tried = sorted((cuts.index(n), k) for k, (name, n) in enumerate(choices) if name == treatment)
        pairs = list(pairwise(tried))
        if not pairs:
            continue
        step = np.mean([(means[k] - means[j]) ** 2 / (b - a) for (a, j), (b, k) in pairs])
        for (a, j), (b, k) in pairs:
            for place in range(a + 1, b):
                share = (place - a) / (b - a)
                bridge = np.sqrt(step * share * (1 - share) * (b - a))
                line = (1 - share) * draws[:, j] + share * draws[:, k]
                names.append((treatment, cuts[place]))
                columns.append((line + bridge * rng.standard_normal(len(line)))[:, None])
    return names, np.hstack(columns)
