"""Streams: the training batches of a half, the same for every network that is trained on it with the same seed.

Order, crops and mirror images are functions of (seed, role, half, epoch, image), drawn on the CPU by counter: never of
the network, the pack, the device or what was drawn before, so that a resumed run sees what an undisturbed one sees.

With `recipe.views` a copy sees V views of every image and no others: crops and mirror images that are functions of
(half, view, image) alone, so that what frozen segments make of them can be stored once for all seeds. Which view an
epoch shows is drawn like the order. Bases, from which features come, always see new ones.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from yosinski.data.crops import corner, crops, resized
from yosinski.data.store import Store
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.networks.batch import Batch
from yosinski.networks.catalogue import architecture
from yosinski.randomness import generator

TRIES = 10  # to draw a box that fits


class Shown(NamedTuple):
    """Which of a half's training images a step shows, and how: arrays with one entry for each, [b]."""

    images: np.ndarray  # int64: numbers among all of them
    views: np.ndarray  # int64, 0 without `recipe.views`
    corners: np.ndarray  # int64 [b, 2]: as in a batch
    sizes: np.ndarray  # int64 [b, 2]: the crop's rows and columns in the stored image
    mirrored: np.ndarray  # bool


class Stream:
    """The batches of one half, seed, role and recipe."""

    def __init__(self, store: Store, run: Run) -> None:
        self.store, self.run, self.recipe = store, run, run.recipe
        self.stored, self.side = store.images.shape[1], architecture(run.network).side
        run.check_side(self.stored)
        rows, labels = store.rows(run.half, "train")
        self.total = len(rows)  # draws are made for all images, whether used or not: subsets are nested
        self.used = np.arange(self.total)
        if run.examples_per_class is not None:
            number_in_class = np.arange(self.total) - np.searchsorted(labels, labels)
            self.used = np.flatnonzero(number_in_class < run.examples_per_class)
        self.rows, self.labels = rows, labels
        self.batch_size = min(run.recipe.batch_size, len(self.used))
        self.steps_per_epoch = len(self.used) // self.batch_size
        self.steps = run.recipe.steps(len(self.used))
        self.views = run.recipe.views if run.role == "copy" else 0
        self._epoch = lru_cache(maxsize=2)(self._draw)
        self._view = lru_cache(maxsize=None)(self._draw_view)

    def _draw(self, epoch: int) -> tuple[np.ndarray, Shown]:
        """The order of the used images; for all images which view they have, and the crop."""
        random = generator("stream", self.run.seed, self.run.role, self.run.half.digest, epoch)
        order = self.used[np.argsort(random.random(self.total)[self.used], kind="stable")]
        every = np.arange(self.total)
        if not self.views:
            return order, Shown(every, np.zeros_like(every), *self._crops(random))
        views = random.integers(0, self.views, self.total)
        of_views = map(np.stack, zip(*map(self._view, range(self.views)), strict=True))
        return order, Shown(every, views, *(column[views, every] for column in of_views))

    def _draw_view(self, view: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The crops of one view of all images."""
        return self._crops(generator("view", self.run.half.digest, view))

    def _crops(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For all images the crop's corner and size [N, 2] and whether it is mirrored [N].

        Corners are counted in stored images, with the border of `shift` around them. What a recipe has no use for is
        drawn all the same, and what came later is drawn last: so recipes that differ in one thing share the rest.
        """
        recipe, sizes = self.recipe, np.broadcast_to(self.side, (self.total, 2))
        if not recipe.augment:
            place = corner(self.stored, self.side, self.run.half.rule)
            return np.full((self.total, 2), place), sizes, np.zeros(self.total, bool)
        shift = recipe.shift
        corners = random.integers(0, self.stored + 2 * shift - self.side + 1, (self.total, 2)) - shift
        mirrored = (random.random(self.total) < 0.5) & recipe.mirror
        if recipe.least_area:
            corners, sizes = boxes(random, self.total, self.stored, recipe)
        return corners, sizes, mirrored

    def shown(self, step: int) -> Shown:
        """What a step shows."""
        epoch, k = divmod(step, self.steps_per_epoch)
        order, columns = self._epoch(epoch)
        chosen = order[k * self.batch_size : (k + 1) * self.batch_size]
        return Shown(*(column[chosen] for column in columns))

    def batches(self, first: int) -> Iterator[tuple[Batch, torch.Tensor]]:
        """The batches from step `first` on, read ahead."""
        return ahead(self.batch, range(first, self.steps))

    def batch(self, step: int) -> tuple[Batch, torch.Tensor]:
        """The crops of one step and their labels, int64 [b]."""
        shown = self.shown(step)
        return self.read(shown), torch.from_numpy(self.labels[shown.images])

    def read(self, shown: Shown) -> Batch:
        """The crops that are shown."""
        images, rows = self.store.images, self.rows[shown.images]
        if self.recipe.least_area:
            return resized(images, rows, self.side, shown.corners, shown.sizes, shown.mirrored)
        return crops(images, rows, self.side, shown.corners, shown.mirrored)

    def viewed(self, size: int) -> Iterator[Batch]:
        """Every view of the used images, view by view, in batches of at most `size`."""
        for view in range(self.views):
            for start in range(0, len(self.used), size):
                part = self.used[start : start + size]
                yield self.read(Shown(part, np.full(len(part), view), *(column[part] for column in self._view(view))))


def boxes(random: np.random.Generator, images: int, stored: int, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Corners and sizes of crops that will be resized, int64 [images, 2] both, within squares of so many pixels a side.

    Distributed as torchvision's RandomResizedCrop draws them: the area is uniform, the logarithm of width over height,
    too; what does not fit is drawn again, up to ten times, then it is the whole image. An image's box depends on no
    other's.
    """
    places = random.random((images, 2))
    sizes = np.full((images, 2), stored)
    wanting = np.ones(images, bool)
    for _ in range(TRIES):
        area = stored**2 * random.uniform(recipe.least_area, recipe.most_area, images)
        ratio = np.exp(random.uniform(-math.log(recipe.aspect), math.log(recipe.aspect), images))
        candidates = np.rint(np.sqrt(np.stack([area / ratio, area * ratio], 1))).astype(int)
        fits = wanting & ((candidates > 0) & (candidates <= stored)).all(1)
        sizes[fits] = candidates[fits]
        wanting &= ~fits
        if not wanting.any():
            break
    return (places * (stored - sizes + 1)).astype(int), sizes


Read = TypeVar("Read")


def ahead(read: Callable[[int], Read], steps: range) -> Iterator[Read]:
    """What is read for each of these steps; each is read while the one before it is worked on."""
    with ThreadPoolExecutor(1) as reader:
        coming = [reader.submit(read, step) for step in steps[:1]]
        for step in steps:
            here = coming.pop().result()
            coming += [reader.submit(read, following) for following in (step + 1,) if following in steps]
            yield here
