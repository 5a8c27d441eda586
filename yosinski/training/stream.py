"""Streams: the training batches of a half, the same for every network that is trained on it with the same seed.

Order, crops and mirror images, or the keywords that stand for words, are functions of (seed, role, half, epoch, image),
drawn on the CPU by counter. They do not depend on the network, the pack, the device or earlier draws, so that a resumed
run sees the same images as an undisturbed one.

With `recipe.views` a copy sees only V views of every image. Their crops and mirror images are functions of (half, view,
image), so that the output of frozen segments can be stored once for all seeds. The view for an epoch is drawn like the
order. Bases always see new crops.
"""

import math
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from yosinski.data.half import Half
from yosinski.data.pictures.crops import corner, crops, greyed, resized
from yosinski.data.pictures.resident import Resident
from yosinski.data.store import Store
from yosinski.data.texts.batches import batch_of
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.networks.batch import moved
from yosinski.networks.tokens import Seen, Tokens
from yosinski.randomness import generator
from yosinski.training.shares import Shares

TRIES = 10  # maximum number of draws of a box


class Crops(NamedTuple):
    """The crops of images: arrays with one entry per image, [b]."""

    corners: np.ndarray  # int64 [b, 2]: as in a batch
    sizes: np.ndarray  # int64 [b, 2]: the crop's rows and columns in the stored image
    mirrored: np.ndarray  # bool


class Words(NamedTuple):
    """The texts that examples are, by their numbers in the store: int64 [b]."""

    texts: np.ndarray


class Shown(NamedTuple):
    """The training examples of a step: arrays with one entry each, [b], and what is drawn of them."""

    images: np.ndarray  # int64: numbers among all training images
    views: np.ndarray  # int64, 0 without `recipe.views`
    drawn: Any  # Crops or Words

    def of(self, chosen: np.ndarray) -> "Shown":
        """The same of these examples."""
        return Shown(self.images[chosen], self.views[chosen], of_chosen(self.drawn, chosen))


def of_chosen(drawn: Any, chosen: Any) -> Any:
    """What is drawn of these examples."""
    return type(drawn)(*(column[chosen] for column in drawn))


class Stream:
    """The batches of one half, seed, role and recipe.

    half: one of the run's tasks or inputs, by default its own; key: of the random draws, see `Run.parts`.
    """

    def __init__(self, store: Store, run: Run, half: Half | None = None, key: tuple[str, str] | None = None) -> None:
        self.store, self.run, self.recipe = store, run, run.recipe
        self.half, self.key = half or run.half, key or run.parts[0]
        self.stored, self.side = store.images.shape[1], run.size(self.half)
        if store.texts is None:
            run.check_side(self.stored, self.half)
        else:
            run.check_fits(store.card, self.half)
        rows, labels = store.rows(self.half, "train")
        self.total = len(rows)  # drawn for all images, used or not, so that subsets are nested
        self.used = np.arange(self.total)
        if run.examples_per_class is not None:
            classes = store.rows(self.half.pictures, "train")[1]
            number_in_class = np.arange(self.total) - np.searchsorted(classes, classes)
            self.used = np.flatnonzero(number_in_class < run.examples_per_class)
        self.rows, self.labels = rows, labels
        self.batch_size = min(run.recipe.batch_size, len(self.used))
        self.steps_per_epoch = len(self.used) // self.batch_size
        self.steps = run.recipe.steps(len(self.used))
        self.views = run.recipe.views if run.role == "copy" else 0
        self.shares: Shares | None = None  # if several processes divide the batches
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)
        self._view = lru_cache(maxsize=None)(self._draw_view)
        self.resident: Resident | None = None
        self._table = lru_cache(maxsize=2)(self._epoch_there)

    @property
    def placeable(self) -> bool:
        """Whether its crops can be made on another device with the same bytes: neither resized nor grey ones can.

        Texts are read: they are short.
        """
        return self.store.texts is None and not (self.recipe.least_area or self.half.grey)

    def place(self, device: str) -> None:
        """Hold the training images in a device's memory, for `there`."""
        self.resident = Resident(self.store.images, self.rows[self.used], device)

    def displace(self) -> None:
        """Free that memory."""
        self.resident = None
        self._table.cache_clear()

    def _epoch_there(self, epoch: int) -> tuple[torch.Tensor, ...]:
        """Of an epoch's images in order: numbers among the used ones, corners, mirrored, labels; on the device."""
        assert self.resident is not None
        order, columns = self._epoch(epoch)
        table = (
            np.searchsorted(self.used, order),
            columns.drawn.corners[order],
            columns.drawn.mirrored[order],
            self.labels[order],
        )
        return tuple(moved(torch.from_numpy(column), self.resident.images.device.type) for column in table)

    def there(self, step: int) -> tuple[Seen, torch.Tensor]:
        """The crops and labels of one step, made on the device: the same as `batch`, but nothing is copied there."""
        assert self.resident is not None
        epoch, k = divmod(step, self.steps_per_epoch)
        part = slice(k * self.batch_size, (k + 1) * self.batch_size)
        chosen = (column[part] for column in self._table(epoch))
        which, corners, mirrored, labels = (column[self.shares.part] if self.shares else column for column in chosen)
        return self.resident.crops(which, self.side, corners, mirrored), labels

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, Shown]:
        """The order of the used images; for all images the view and the crop."""
        role, digest = self.key
        random = generator("stream", self.run.seed, role, digest, epoch)
        order = self.used[np.argsort(random.random(self.total)[self.used], kind="stable")]
        every = np.arange(self.total)
        if not self.views:
            return order, Shown(every, np.zeros_like(every), self._drawn(random))
        views = random.integers(0, self.views, self.total)
        of_views: Any = list(map(self._view, range(self.views)))
        stacked = type(of_views[0])(*map(np.stack, zip(*of_views, strict=True)))
        return order, Shown(every, views, of_chosen(stacked, (views, every)))

    def _draw_view(self, view: int) -> Crops | Words:
        """One view of all images."""
        return self._drawn(generator("view", self.run.half.digest, view))

    def _drawn(self, random: np.random.Generator) -> Crops | Words:
        """The crops of all images, or what texts all examples are."""
        texts = self.store.texts
        if texts is None:
            return Crops(*self._crops(random))
        return Words(texts.drawn(random, self.rows) if self.recipe.augment else texts.shown[self.rows])

    def _crops(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Corner and size of the crop [N, 2], and whether it is mirrored [N], for all images.

        Corners are in stored images with their border of `shift`. Values that the recipe does not need are drawn, too,
        and later additions are drawn last, so that recipes that differ in one value share all other draws.
        """
        recipe, sizes = self.recipe, np.broadcast_to(self.side, (self.total, 2))
        if not recipe.augment:
            place = corner(self.stored, self.side, self.half.rule)
            return np.full((self.total, 2), place), sizes, np.zeros(self.total, bool)
        shift = recipe.shift
        corners = random.integers(0, self.stored + 2 * shift - self.side + 1, (self.total, 2)) - shift
        mirrored = (random.random(self.total) < 0.5) & recipe.mirror
        if recipe.least_area:
            corners, sizes = boxes(random, self.total, self.stored, recipe)
        return corners, sizes, mirrored

    def drawn(self, epoch: int, images: np.ndarray) -> Shown:
        """The crops that these images have in an epoch."""
        return self._epoch(epoch)[1].of(images)

    def shown(self, step: int) -> Shown:
        """The images and crops of a step, or this process's share of them."""
        epoch, k = divmod(step, self.steps_per_epoch)
        order, columns = self._epoch(epoch)
        chosen = order[k * self.batch_size : (k + 1) * self.batch_size]
        return columns.of(chosen[self.shares.part] if self.shares else chosen)

    def batch(self, step: int) -> tuple[Seen, torch.Tensor]:
        """The crops or texts of one step and their labels, int64 [b]."""
        shown = self.shown(step)
        return self.read(shown), torch.from_numpy(self.labels[shown.images])

    def read(self, shown: Shown) -> Seen:
        """Read these crops or texts."""
        if isinstance(shown.drawn, Words):
            assert self.store.texts is not None
            return batch_of(self.store.texts, shown.drawn.texts, self.side)
        corners, sizes, mirrored = shown.drawn
        images, rows = self.store.images, self.rows[shown.images]
        if self.recipe.least_area:
            batch = resized(images, rows, self.side, corners, sizes, mirrored)
        else:
            batch = crops(images, rows, self.side, corners, mirrored)
        return greyed(batch) if self.half.grey else batch

    @cached_property
    def longest(self) -> int:
        """The number of tokens of the longest text in the store, cut to what the network sees."""
        assert self.store.texts is not None
        return min(self.side, int(self.store.texts.lengths.max()))

    def viewed(self, size: int) -> Iterator[Seen]:
        """Every view of the used images, view by view, in batches of at most `size`; of texts with equal room."""
        for view in range(self.views):
            for start in range(0, len(self.used), size):
                part = self.used[start : start + size]
                batch = self.read(Shown(part, np.full(len(part), view), of_chosen(self._view(view), part)))
                yield batch.with_room(self.longest) if isinstance(batch, Tokens) else batch


def boxes(random: np.random.Generator, images: int, stored: int, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Corners and sizes of crops to be resized, two int64 [images, 2], within squares of side `stored`.

    The distribution is that of torchvision's RandomResizedCrop: uniform in area and in the logarithm of width over
    height. A box that does not fit is drawn again, up to ten times; then it is the whole image. The boxes of images are
    independent of each other.
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
