"""Which runs to train next, so that few networks decide where to cut, fuse or branch: the rule of `yosinski decide`.

A round is a set of cells, each a place and a choice. Places are what intervals go over: splits, divisions or seeds,
counted from 0 in the order in which they are taken. A choice is a treatment with a cut n, or training from scratch.
The first round has training from scratch, and the first, a middle and the last cut, at one place. The second has two
more places, since an answer takes three: what is far behind is dropped, cuts between those that were tried are added
at the first place where one of them may be the best. All further rounds rest on the probabilities of the advice. Where
cuts that were not tried are most of what may be better, these are tried at the first place; otherwise a place is added
for what is not hopeless, until the leading choice is within `matters` points of the best of all cuts with P of at least
`ENOUGH`.
Networks that share have controls, which are no choices: they are trained last, where the answer is, and tell why.
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
MISSED = 0.1  # likewise of an untried cut, from which on it is tried before there are errors
FREEDOM = 4  # degrees of freedom of the steps between cuts, which two or three gaps hardly tell


@dataclass(frozen=True)
class Round:
    """Cells to be trained, and why."""

    cells: tuple[Cell, ...]
    why: str


@dataclass(frozen=True)
class Known:
    """What the rounds so far say.

    choices: those with a measurement, [p]. points: their means, in any common level, [p]. sound: which of them did not
    fail too often to be recommended, bool [p]. draws: of these means, [draws, p], or None where there is no comparison.
    noise: standard error of a difference by images alone, in points.
    """

    choices: tuple[Choice, ...]
    points: np.ndarray
    sound: np.ndarray
    draws: np.ndarray | None
    noise: float = 0.0

    @property
    def leading(self) -> int:
        """The highest of those that may be recommended; of all, if none may."""
        return int(np.where(self.sound | ~self.sound.any(), self.points, -np.inf).argmax())


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
    return Known(choices, rows["points"].to_numpy(float), ~rows["fragile"].to_numpy(bool), draws, noise)


def first(choices: Sequence[Choice]) -> Round:
    """The first, a middle and the last cut with every treatment, and training from scratch, at the first place.

    choices: of the whole sweep.
    """
    some = [choice for choice in choices if choice == BASE]
    for treatment, cuts in _cuts(choices).items():
        some += [(treatment, n) for n in sorted({cuts[0], cuts[len(cuts) // 2], cuts[-1]})]
    return Round(tuple((0, choice) for choice in some), "a first look")


def following(now: Known, tried: Collection[Cell], choices: Sequence[Choice], matters: float = MATTERS) -> Round | None:
    """The next round; None where the question is decided.

    tried: all cells of the rounds so far. choices: of the whole sweep.
    """
    now = _sound(now)
    p, draws = len(now.choices), now.points[None] if now.draws is None else now.draws
    names, draws = with_untried(now.choices, draws, choices)
    failed = {choice for _, choice in tried} - set(now.choices)
    kept = [k for k, choice in enumerate(names) if choice not in failed]
    names, draws = [names[k] for k in kept], draws[:, kept]
    leading = draws[:, [now.leading]]
    places = 1 + max(place for place, _ in tried)
    if (
        now.draws is not None
        and places >= FEWEST
        and (draws.max(axis=1, keepdims=True) - leading < matters).mean() >= ENOUGH
    ):
        return None
    above = (draws - leading >= matters).mean(axis=0)  # how often each is what the leading one misses
    untried = sorted(zip(above[p:], names[p:], strict=True), reverse=True)
    missed = [choice for chance, choice in untried[:2] if chance >= (MISSED if now.draws is None else CHANCE)]
    hopeful = [choice for choice, keep in zip(now.choices, _hopeful(now, above[:p], matters), strict=True) if keep]
    further = [(place, choice) for place in range(places, max(places + 1, FEWEST)) for choice in hopeful]
    between = [(0, choice) for choice in missed]
    if now.draws is None and missed:
        return Round((*between, *further), "cuts in between and replicates of what may be the best")
    if missed and sum(above[p:]) > sum(above[:p]):
        return Round(tuple(between), "cuts in between that may be the best")
    return Round(tuple(further), "replicates of what may be the best")


def explaining(now: Known, tried: Collection[Cell], controls: Sequence[Choice]) -> Round | None:
    """The controls beside the highest choice that shares, and that itself, wherever anything was tried.

    So that contrasts have intervals, though a cut in between is tried at one place first. None if nothing is left.
    controls: of the whole sweep, with what the partner is in place of a treatment.
    """
    if not controls:
        return None
    highest = np.argsort(-np.where(now.sound, now.points, -np.inf), kind="stable")
    choice = next(now.choices[k] for k in highest if now.choices[k] != BASE)
    beside = [choice, *(control for control in controls if control[1] == choice[1])]
    cells = [(place, other) for place in sorted({place for place, _ in tried}) for other in beside]
    left = tuple(cell for cell in cells if cell not in tried)
    return Round(left, "what the answer is made of") if left else None


def _sound(now: Known) -> Known:
    """Without the choices that failed too often to be recommended, unless these are all copies that there are."""
    kept = now.sound
    if not any(keep and choice != BASE for keep, choice in zip(kept, now.choices, strict=True)):
        return now
    choices = tuple(choice for choice, keep in zip(now.choices, kept, strict=True) if keep)
    draws = None if now.draws is None else now.draws[:, kept]
    return Known(choices, now.points[kept], kept[kept], draws, now.noise)


def _hopeful(now: Known, above: np.ndarray, matters: float) -> np.ndarray:
    """Which choices are not hopeless, bool [p]: the leading one, its nearest rival, and what may be above by matters.

    Without a comparison the errors are not known, and what is far behind is hopeless.
    """
    gap = now.points[now.leading] - now.points
    kept = above >= CHANCE if now.draws is not None else gap <= AWAY * max(matters, now.noise)
    kept[now.leading] = True
    kept[np.argsort(np.where(kept, np.inf, gap), kind="stable")[: max(0, 2 - kept.sum())]] = True
    return kept


def with_untried(
    measured: Sequence[Choice], draws: np.ndarray, choices: Sequence[Choice]
) -> tuple[list[Choice], np.ndarray]:
    """All choices, measured ones first, and draws of their means, [draws, choices]. draws: of those measured.

    A cut between two measured ones a < n < b is on the line between their draws, but for a bridge of a random walk:
    normal with variance s^2 (n - a) (b - n) / (b - a). s^2 is around the mean of squared differences of neighbouring
    measured cuts of that treatment per cut between them, as a scaled inverse chi-squared with `FREEDOM` degrees of
    freedom (accuracy is smooth over n, but not a line). A cut beyond the last measured one a, whose neighbours failed,
    is where a is, but for the walk: s^2 |n - a|.
    """
    rng = np.random.default_rng(0)
    draws = np.repeat(draws, -(-DRAWS // len(draws)), axis=0)
    means = draws.mean(axis=0)
    names, columns = list(measured), [draws]
    for treatment, cuts in _cuts(choices).items():
        column = {k: measured.index((treatment, n)) for k, n in enumerate(cuts) if (treatment, n) in measured}
        if len(column) < 2:
            continue
        step = np.mean([(means[column[b]] - means[column[a]]) ** 2 / (b - a) for a, b in pairwise(column)])
        steps = step * FREEDOM / rng.chisquare(FREEDOM, len(draws))
        for n in (n for n in range(len(cuts)) if n not in column):
            a, b = max((k for k in column if k < n), default=None), min((k for k in column if k > n), default=None)
            if a is None or b is None:
                end = max(column) if b is None else min(column)
                line, variance = draws[:, column[end]], steps * abs(n - end)
            else:
                share = (n - a) / (b - a)
                line = (1 - share) * draws[:, column[a]] + share * draws[:, column[b]]
                variance = steps * share * (1 - share) * (b - a)
            names.append((treatment, cuts[n]))
            columns.append((line + np.sqrt(variance) * rng.standard_normal(len(line)))[:, None])
    return names, np.hstack(columns)


def _cuts(choices: Sequence[Choice]) -> dict[str, list[int]]:
    """The cuts of every treatment, in order."""
    cuts: dict[str, list[int]] = {}
    for treatment, n in sorted((choice for choice in choices if choice != BASE), key=lambda choice: choice[1]):
        cuts.setdefault(treatment, []).append(n)
    return {treatment: cuts[treatment] for treatment in sorted(cuts)}
