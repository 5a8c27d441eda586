"""Streams: the training batches of a half, the same for every network that is trained on it with the same seed.

Order, shifts and mirror images are functions of (seed, role, half, epoch, image), drawn on the CPU by counter: never of
the network, the pack, the device or what was drawn before, so that a resumed run sees what an undisturbed one sees.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch

from yosinski.data.store import Store
from yosinski.spec import Run, canonical

Moments = tuple[torch.Tensor, torch.Tensor]  # mean and standard deviation, float32 [3, 1, 1] both


def generator(*key: str | int) -> np.random.Generator:
    """Random numbers that depend on the key alone (Philox, keyed by the SHA-256 of the key)."""
    hashed = hashlib.sha256(canonical(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(hashed[:16], "little")))


class Stream:
    """The batches of one half, seed, role and recipe."""

    def __init__(self, store: Store, run: Run) -> None:
        self.images = store.images
        rows, labels = store.rows(run.half, "train")
        self.total = len(rows)  # draws are made for all images, whether used or not: subsets are nested
        self.used = np.arange(self.total)
        if run.examples_per_class is not None:
            number_in_class = np.arange(self.total) - np.searchsorted(labels, labels)
            self.used = np.flatnonzero(number_in_class < run.examples_per_class)
        self.rows, self.labels = rows, labels
        self.recipe = run.recipe
        self.key = (run.seed, run.role, run.half.digest)
        self.batch_size = min(run.recipe.batch_size, len(self.used))
        self.steps_per_epoch = len(self.used) // self.batch_size
        self.steps = run.recipe.steps(len(self.used))
        self._epoch = lru_cache(maxsize=2)(self._draw)

    def _draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The order of the used images; for all images the corner of the crop [N, 2] and whether it is mirrored [N]."""
        draw = generator("stream", *self.key, epoch)
        order = self.used[np.argsort(draw.random(self.total)[self.used], kind="stable")]
        corners = draw.integers(0, 2 * self.recipe.shift + 1, (self.total, 2))
        return order, corners, draw.random(self.total) < 0.5

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images uint8 [b, 3, side, side] (channels last in memory) and labels int64 [b] of one step."""
        epoch, k = divmod(step, self.steps_per_epoch)
        order, corners, mirrored = self._epoch(epoch)
        chosen = order[k * self.batch_size : (k + 1) * self.batch_size]
        pixels = self.images[self.rows[chosen]]
        if self.recipe.augment:
            pixels = shifted(pixels, self.recipe.shift, corners[chosen], mirrored[chosen])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(self.labels[chosen])

    def moments(self) -> Moments:
        """Mean and standard deviation of the used training images per channel, float32 [3, 1, 1] both."""
        sums, squares, count = np.zeros(3), np.zeros(3), 0
        for part in np.array_split(self.rows[self.used], max(1, len(self.used) // 1000)):
            pixels = self.images[part].astype(np.float64)
            sums += pixels.sum((0, 1, 2))
            squares += (pixels**2).sum((0, 1, 2))
            count += pixels[..., 0].size
        mean = sums / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 1.0))
        return torch.from_numpy(mean).float().view(3, 1, 1), torch.from_numpy(std).float().view(3, 1, 1)


def shifted(pixels: np.ndarray, shift: int, corners: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Crops of images padded by `shift` black pixels: uint8 [b, s, s, 3], corners [b, 2], mirrored bool [b]."""
    b, side = pixels.shape[:2]
    padded = np.pad(pixels, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    along = np.arange(side)
    rows = corners[:, :1] + along
    columns = corners[:, 1:] + np.where(mirrored[:, None], side - 1 - along, along)
    return padded[np.arange(b)[:, None, None], rows[:, :, None], columns[:, None, :]]


def in_order(images: np.ndarray, rows: np.ndarray, labels: np.ndarray, size: int = 500) -> Iterator[tuple]:
    """Unaugmented batches (uint8 [b, 3, side, side], int64 [b]) for evaluation."""
    for at in range(0, len(rows), size):
        pixels = torch.from_numpy(images[rows[at : at + size]]).permute(0, 3, 1, 2)
        yield pixels, torch.from_numpy(labels[at : at + size])
