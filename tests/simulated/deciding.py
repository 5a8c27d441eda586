"""`yosinski decide` on accuracies whose truth is known (`truth.py`), in one direction: a target half a place."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from truth import TREATMENT, N, World, luck

from analysis.advice import decide
from analysis.advice.choice import cells, posterior
from analysis.paired import FEWEST

CHOICES = [decide.BASE, *(("frozen", n) for n in range(1, 8)), *(("tuned", n) for n in range(1, 8))]
PLACES = 14
GRID = FEWEST * (len(CHOICES) + 1)  # networks of the full grid on three splits, with the bases that copies are cut from
BITS = 0.55  # standard error of a difference by images, in points, where variances are the usual ones
DRAWS = 2000


@dataclass(frozen=True)
class End:
    """How a sweep ended: networks, with the bases that copies are cut from; rounds; how far behind the best, points."""

    networks: int
    rounds: int
    regret: float
    decided: bool


def walk(seed: int) -> np.ndarray:
    """Another truth: random walks over the cuts of frozen and fine-tuned copies, by a point a cut; frozen ones fall."""
    steps = np.random.default_rng([1, seed]).standard_normal((2, 7))
    return np.concatenate([[0.0], 1 + np.cumsum(steps[0] - 0.8), 3 + np.cumsum(steps[1])])


def measurements(truth: np.ndarray, times: float, alike: float, seed: int) -> np.ndarray:
    """What every choice would measure at every place, points [places, choices]; times: the usual variances."""
    world = World(splits=PLACES, alike=alike)
    return truth + np.sqrt(times) * luck(np.random.default_rng(seed), world)[:, 1]


def table(y: np.ndarray, tried: Collection[decide.Cell]) -> tuple[list[decide.Choice], np.ndarray]:
    """The choices of some cells, and what these measure, [places, choices], NaN where there is no cell."""
    measured = [choice for choice in CHOICES if any(choice == other for _, other in tried)]
    found = np.full((1 + max(place for place, _ in tried), len(measured)), np.nan)
    for place, choice in tried:
        found[place, measured.index(choice)] = y[place, CHOICES.index(choice)]
    return measured, found


def additive(found: np.ndarray) -> np.ndarray:
    """Means of choices [p] by least squares of place + choice, in any common level."""
    place, choice = np.nonzero(~np.isnan(found))
    design = np.hstack([np.eye(found.shape[0])[place], np.eye(found.shape[1])[choice]])
    return np.linalg.lstsq(design, found[place, choice], rcond=None)[0][found.shape[0] :]


def known(y: np.ndarray, tried: Collection[decide.Cell], times: float, fewest: int = FEWEST) -> decide.Known:
    """What the advice would say of these cells: means, and from so many places on draws of the posterior."""
    measured, found = table(y, tried)
    draws, points = None, additive(found)
    if len(found) >= fewest:
        place, choice = np.nonzero(~np.isnan(found))
        of = [CHOICES.index(one) for one in measured]
        treatment = np.unique(TREATMENT[of], return_inverse=True)[1]
        fitted = posterior(cells(place, place, choice, treatment, N[of]), found[place, choice])
        draws = fitted.draws(np.random.default_rng(0), DRAWS)
        points = draws.mean(axis=0)
    return decide.Known(tuple(measured), points, np.ones(len(points), bool), draws, BITS * np.sqrt(times))


def networks(tried: Collection[decide.Cell]) -> int:
    """How many are trained for these cells: copies of a place are cut from one more base."""
    return len(tried) + len({place for place, choice in tried if choice != decide.BASE})


def ended(truth: np.ndarray, now: decide.Known, tried: Collection[decide.Cell], rounds: int, decided: bool) -> End:
    """The end of a sweep that takes the leading choice."""
    regret = truth.max() - truth[CHOICES.index(now.choices[now.leading])]
    return End(networks(tried), rounds, float(regret), decided)


def decided(
    truth: np.ndarray, times: float, alike: float, seed: int, matters: float = 1.0, fewest: int = FEWEST
) -> End:
    """The rule of `yosinski decide` from the first round to the end."""
    y = measurements(truth, times, alike, seed)
    tried, rounds = list(decide.first(CHOICES).cells), 1
    while True:
        now = known(y, tried, times, fewest)
        following = decide.following(now, tried, CHOICES, matters)
        if following is None or max(place for place, _ in following.cells) >= PLACES:
            return ended(truth, now, tried, rounds, following is None)
        tried += following.cells
        rounds += 1
