"""Moments: the mean and the standard deviation that standardise a network's input, from its own training images.

Sums are of integers, so that the result does not depend on the order. A half of ImageNet has over a hundred gigabytes
of pixels, so the sums are cached beside the stores.
"""

import contextlib
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from yosinski import files
from yosinski.data.pictures.crops import greyed
from yosinski.networks.batch import Batch
from yosinski.training.stream import Stream

AT_A_TIME = 256  # images per batch; their sums of squares fit into 32 bits


class Moments(NamedTuple):
    """float32: mean [3, 1, 1], or [3, s, s] for a mean image of the stored side; std [3, 1, 1], 1 if not scaled."""

    mean: torch.Tensor
    std: torch.Tensor


def moments(stream: Stream, stores: Path | None = None) -> Moments:
    """The moments of a stream's used training images, for its recipe.

    stores: directory with the cache; None: no cache.
    """
    sums, squares = counted(stream, stores)
    pixels = len(stream.used) * stream.stored**2
    mean = sums.sum((0, 1)) / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 1.0)) if stream.recipe.scale else np.ones(3)
    subtracted = sums / len(stream.used) if stream.recipe.mean == "image" else mean[None, None]
    return Moments(
        torch.from_numpy(subtracted).float().permute(2, 0, 1).contiguous(), torch.from_numpy(std).float().view(3, 1, 1)
    )


def blank(stream: Stream) -> Moments:
    """Moments of the same shapes for a copy, which gets the base's values with the first segment."""
    side = stream.stored if stream.recipe.mean == "image" else 1
    return Moments(torch.zeros(3, side, side), torch.ones(3, 1, 1))


def counted(stream: Stream, stores: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the used training images: of every pixel, uint64 [s, s, 3], and of all squares per channel, [3]."""
    run, half = stream.run, stream.half
    first = "all" if run.examples_per_class is None else run.examples_per_class
    path = (stores or Path()) / "moments" / f"{half.pictures.digest}-{stream.stored}-{first}.npz"
    if stores is not None:
        damaged = contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
        with damaged, np.load(path, allow_pickle=False) as kept:
            if kept["images"] == len(stream.used):
                return kept["sums"], kept["squares"]

    sums, squares = (np.zeros((stream.stored, stream.stored, 3), np.uint64) for _ in range(2))
    rows = np.sort(stream.rows[stream.used])
    for start in range(0, len(rows), AT_A_TIME):
        images = stream.store.images[rows[start : start + AT_A_TIME]]
        if stream.half.grey:
            whole = Batch.whole(torch.from_numpy(images).permute(0, 3, 1, 2))
            images = greyed(whole).pixels.permute(0, 2, 3, 1).numpy()
        sums += images.sum(0, dtype=np.uint32)
        squares += np.square(images, dtype=np.uint16).sum(0, dtype=np.uint32)
    squares = squares.sum((0, 1))

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, sums=sums, squares=squares, images=len(rows))

    if stores is not None:
        with contextlib.suppress(OSError):  # without a writable stores directory there is no cache
            path.parent.mkdir(exist_ok=True)
            files.replace(path, write)
    return sums, squares
