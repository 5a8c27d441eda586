"""Grids of accuracies whose truth is known, as trainings might leave them, to see how far conclusions come true."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr

from analysis.advice.choice import Cells, cells
from analysis.advice.images import Bits

# The base, frozen copies n = 1 to 7, fine-tuned ones: points, about as published and about as on emoji.
PUBLISHED = np.array([0, 0.3, -0.1, -0.6, -2.5, -4.7, -4.4, -8.3, 0.4, 0.7, 1.3, 1.05, 1.0, 1.2, 1.25])
EMOJI = np.array([0, 0.9, 0.4, -0.7, -2.5, -4.6, -7.5, -13.6, 3.0, 4.75, 4.93, 5.48, 5.45, 5.45, 5.35])
TREATMENT = np.array([0] + [1] * 7 + [2] * 7)
N = np.array([0, *range(1, 8), *range(1, 8)])
FROZEN, TUNED = TREATMENT == 1, TREATMENT == 2
DEPTH = np.where(FROZEN, N / 7, 0.0)  # what frozen copies cannot train


@dataclass(frozen=True)
class World:
    """How luck is made. All standard deviations are in points.

    alike: correlation of luck at neighbouring cuts of one treatment. base: standard deviation of the luck of a base,
    which copies of it share, the deeper the more. deep: how many times as much the deepest frozen copies vary as the
    first. missing, stuck: the share of cells that are lost, anywhere, and of the deepest frozen copies, growing with
    the cut.
    """

    splits: int
    alike: float = 0.8
    base: float = 0.5
    deep: float = 3.0
    missing: float = 0.0
    stuck: float = 0.0


OF_SPLIT, REST, OF_BASE = 0.25, 0.3, 0.1  # deviations: choice x split, rest, and rest of the base


def luck(rng: np.random.Generator, world: World) -> np.ndarray:
    """What a measurement is above its choice's mean, points [splits, 2 targets, 15 choices], NaN where it is lost."""
    s = world.splits
    level = 0.5 * rng.standard_normal((s, 1, 1)) + rng.standard_normal((s, 2, 1))
    varies = np.where(FROZEN, 1 + (world.deep - 1) * DEPTH, 1.0)
    rest = np.where(TREATMENT == 0, OF_BASE, REST * varies)
    y = level + OF_SPLIT * varies * _neighbours(rng, (s, 1), world.alike)
    y = y + rest * _neighbours(rng, (s, 2), world.alike)
    of_bases = world.base * rng.standard_normal((s, 2, 1))
    share = np.where(FROZEN, 0.4 + 0.6 * DEPTH, np.where(TUNED, 0.3, 0.0))
    y += np.where(TREATMENT == 0, of_bases, of_bases[:, ::-1] * share)  # copies are cut from the other target's base
    lost = rng.random(y.shape) < world.missing + (1 - world.missing) * world.stuck * DEPTH
    lost[0, 0] = False  # every choice is measured once
    return np.where(lost, np.nan, y)


def _neighbours(rng: np.random.Generator, shape: tuple[int, ...], alike: float) -> np.ndarray:
    """Standard normal [*shape, 15], correlated over the cuts of a treatment as a first-order autoregression."""
    z = rng.standard_normal((*shape, len(N)))
    for k in np.flatnonzero(N > 1):
        z[..., k] = alike * z[..., k - 1] + np.sqrt(1 - alike**2) * z[..., k]
    return z


def measured(y: np.ndarray) -> tuple[Cells, np.ndarray]:
    """Cells and measurements of what is not lost in y [splits, 2, choices]."""
    split, target, choice = np.nonzero(~np.isnan(y))
    return cells(split, 2 * split + target, choice, TREATMENT, N), y[split, target, choice]


# ------------------------------------------------------------------------------------------------------ images by seeds

IMAGE, OWN, RUN, CELL = 0.8, 0.4, 0.1, 0.5  # deviations of what makes right: images, with choices, trainings, with both
WIDE = np.sqrt(IMAGE**2 + OWN**2 + RUN**2 + CELL**2 + 1)


def chances(means: np.ndarray) -> np.ndarray:
    """The accuracies of choices in percent, over all images and trainings."""
    return 100 * ndtr(means / WIDE)


def by_images(rng: np.random.Generator, means: np.ndarray, images: int, seeds: int) -> Bits:
    """Bits of choices with so many seeds, all judged on the same images; means: of what makes right."""
    p = len(means)
    latent = means[:, None, None] + RUN * rng.standard_normal((p, seeds, 1))
    latent = latent + IMAGE * rng.standard_normal(images) + OWN * rng.standard_normal((p, 1, images))
    latent = latent + CELL * rng.standard_normal((seeds, images)) + rng.standard_normal((p, seeds, images))
    runs = pd.DataFrame([(c, r) for c in range(p) for r in range(seeds)], columns=["choice", "replicate"])
    about = pd.DataFrame({"data": "f00d", "class": "a", "domain": "", "division": 0, "k": range(images)})
    return Bits(runs, about, (latent > 0).astype(np.int8).reshape(p * seeds, images), [])
