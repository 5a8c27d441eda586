"""What the advice concludes, against known truth: coverage, P(within) and regret. docs/where-to-cut.md has numbers."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from truth import EMOJI, FROZEN, PUBLISHED, TUNED, World, by_images, chances, luck, measured

from analysis.advice import answer, images
from analysis.advice.choice import behind, cells, posterior
from analysis.advice.contrasts import intervals

pytestmark = pytest.mark.slow
DRAWS = 2000


@dataclass
class Found:
    """covered: share of grids in which the interval of a choice against the base holds the truth, [choices].

    moderated, plain: the same of base - AnB as a contrast, [7 cuts]. leading, by truth and noise: chance, the mean
    P(within 1) of the leading choice, and came_true, how often it is within 1; regret, its mean, and raw, that of the
    choice with the highest mean difference from the base.
    """

    covered: np.ndarray
    moderated: np.ndarray
    plain: np.ndarray
    leading: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict)


def simulate(world: World, grids: int) -> Found:
    """Means of choices are free, so that one fit to luck alone serves all truths, and all noises that scale it."""
    covered, contrasts, leading = [], [], []
    for grid in range(grids):
        rng = np.random.default_rng([grid, world.splits])
        y = luck(rng, world)
        draws = posterior(*measured(y)).draws(rng, DRAWS)
        low, high = np.quantile(draws - draws[:, :1], [0.025, 0.975], axis=0)
        covered.append((low <= 0) & (high >= 0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing
            raw = np.nan_to_num(np.nanmean(y - y[:, :, :1], axis=(0, 1)), nan=-np.inf)
            its = intervals(pd.DataFrame(np.nanmean(y[:, :, :1] - y[:, :, FROZEN], axis=1), columns=range(1, 8)))
        known = its["low"].notna()
        contrasts.append([
            ((its[low] <= 0) & (its[low.replace("low", "high")] >= 0)).where(known) for low in ("calm_low", "low")
        ])  # fmt: skip
        for truth in (PUBLISHED, EMOJI):
            for noise in (1, 3):
                drawn = truth + noise * draws
                top, highest = int(drawn.mean(axis=0).argmax()), int((truth + noise * raw).argmax())
                near = float((behind(drawn)[:, top] < 1).mean())
                leading.append(
                    (near, truth.max() - truth[top] < 1, truth.max() - truth[top], truth.max() - truth[highest])
                )
    moderated, plain = np.nanmean(np.array(contrasts, float), axis=0)
    means = np.array(leading, float).reshape(grids, 4, 4).mean(axis=0)
    kinds = [(name, noise) for name in ("published", "emoji") for noise in (1, 3)]
    names = ("chance", "came_true", "regret", "raw")
    of_kinds: dict[tuple[str, int], dict[str, float]] = {
        kind: dict(zip(names, map(float, row), strict=True)) for kind, row in zip(kinds, means, strict=True)
    }
    return Found(np.mean(covered, axis=0), moderated, plain, of_kinds)


GRIDS = 150
CHANCE = 0.01  # by which so many grids may be above


@pytest.mark.parametrize(
    "world",
    [
        World(3, alike=0.8, base=0),
        World(3, alike=0, base=0.5, missing=0.2),
        World(4, alike=0.8, base=0.5),
        World(4, alike=0.8, base=0.5, stuck=0.5),
        World(8, alike=0, base=0),
        World(8, alike=0.8, base=0, stuck=0.5),
        World(8, alike=0.8, base=0.5, missing=0.2),
    ],
    ids=str,
)
def test_the_truth_is_covered_and_what_is_recommended_is_near_the_best(world: World) -> None:
    """Within what so many grids can tell."""
    found = simulate(world, GRIDS)
    for choices in (FROZEN, TUNED):
        assert found.covered[choices].mean() >= 0.93, found
        assert found.covered[choices].min() >= 0.89, found
        assert found.covered[choices].mean() <= 0.98 + CHANCE, found
    for covered in (found.moderated, found.plain):
        assert 0.93 <= covered.mean() <= 0.98, found
        assert covered.min() >= 0.89, found
    for its in found.leading.values():
        error = np.sqrt(its["came_true"] * (1 - its["came_true"]) / GRIDS)
        assert its["chance"] <= its["came_true"] + 0.03 + error, found
        assert its["regret"] <= its["raw"] + 0.03, found


MEANS = np.array([0.7, 1.0, 1.1, 1.5])


def of_images(number: int, seeds: int, grids: int) -> dict[str, float]:
    """How often intervals of differences from the first choice hold the truth, with and without bits of images."""
    truth, hits = chances(MEANS), []
    for grid in range(grids):
        rng = np.random.default_rng([grid, number, seeds])
        bits = by_images(rng, MEANS, number, seeds)
        choice, replicate = bits.runs["choice"].to_numpy(int), bits.runs["replicate"].to_numpy(int)
        treatment = np.minimum(np.arange(len(MEANS)), 1)
        where = cells(replicate, replicate, choice, treatment, np.arange(len(MEANS)))
        drawn = posterior(where, 100 * bits.right.mean(axis=1)).draws(rng, DRAWS)
        more = 1e4 * images.covariance(bits).beyond_replicates.to_numpy(float)
        for each in (drawn, drawn + answer.by_images(more, DRAWS, rng)):
            low, high = np.quantile(each - each[:, :1], [0.025, 0.975], axis=0)
            hits.append(((low <= truth - truth[0]) & (truth - truth[0] <= high))[1:])
    without, with_images = np.mean(np.reshape(hits, (grids, 2, -1)), axis=(0, 2))
    return {"with": float(with_images), "without": float(without)}


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("number", [100, 2000])
def test_other_images_are_covered(number: int, seeds: int) -> None:
    found = of_images(number, seeds, 120 if number < 1000 else 60)
    assert 0.91 <= found["with"] <= 0.995, found
    assert found["without"] <= found["with"], found
