"""Crops of stored images, and stored examples of all kinds as they are evaluated."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch.nn.functional import interpolate

from yosinski.data.place import RULE
from yosinski.data.store import Store
from yosinski.data.texts.batches import batch_of as texts_of
from yosinski.networks.batch import Batch
from yosinski.networks.tokens import Seen

SMALL = 80  # pixels: up to this side all crops of a batch are flipped at once


def crops(images: np.ndarray, rows: np.ndarray, side: int, corners: np.ndarray, mirrored: np.ndarray) -> Batch:
    """Cut one square from each of these rows, reading only its pixels. Pixels outside of an image are black.

    images: uint8 [N, s, s, 3]; rows: int [b]; corners: int [b, 2]; mirrored: bool [b].
    """
    images, first, stored = np.asarray(images), corners, images.shape[1]  # memory maps are slower to index
    border = max(-corners.min(initial=0), corners.max(initial=stored - side) + side - stored)
    if border:
        inside = slice(border, border + stored)
        black = np.zeros((len(rows), stored + 2 * border, stored + 2 * border, 3), np.uint8)
        black[:, inside, inside] = images[rows]
        images, rows, first = black, np.arange(len(rows)), corners + border
    windows = sliding_window_view(images, (side, side), axis=(1, 2))  # [N, rows, columns, 3, s, s], a view
    pixels = np.moveaxis(windows, 3, -1)[rows, first[:, 0], first[:, 1]]
    return batch_of(torch.from_numpy(pixels).permute(0, 3, 1, 2), corners, mirrored)


def resized(
    images: np.ndarray, rows: np.ndarray, side: int, corners: np.ndarray, sizes: np.ndarray, mirrored: np.ndarray
) -> Batch:
    """Cut one box from each of these rows and resize it to a square, as torchvision's `resized_crop` resizes uint8.

    Arguments as in `crops`; sizes: int [b, 2], rows and columns of the boxes.
    """
    pixels = torch.empty(len(rows), side, side, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    for crop, row, (top, left), (height, width) in zip(pixels, rows, corners.tolist(), sizes.tolist(), strict=True):
        box = torch.from_numpy(np.array(images[row, top : top + height, left : left + width]))
        crop[:] = interpolate(box[None].permute(0, 3, 1, 2), (side, side), mode="bilinear", antialias=True)[0]
    return batch_of(pixels, corners, mirrored)


def batch_of(pixels: torch.Tensor, corners: np.ndarray, mirrored: np.ndarray) -> Batch:
    """A batch of these crops, channels last in memory. The mirrored ones are flipped here, together if they are small.

    Large ones would be read and written twice more for that, which takes longer than so many calls.
    """
    chosen = np.flatnonzero(mirrored)
    if pixels.shape[-1] <= SMALL:
        last = pixels.permute(0, 2, 3, 1).numpy()
        last[chosen] = torch.from_numpy(last[chosen]).flip(2).numpy()
    else:
        for k in chosen.tolist():
            pixels[k] = pixels[k].flip(-1)
    return Batch(pixels, torch.from_numpy(corners), torch.from_numpy(mirrored))


def corner(stored: int, side: int, rule: int = RULE) -> int:
    """First row and column of the square in the middle. Halves are rounded as in torchvision's CenterCrop.

    By rule 1 they are rounded down: one pixel less if the difference leaves 3 when divided by 4, as in 342 -> 299.
    """
    return (stored - side) // 2 if rule == 1 else round((stored - side) / 2)


def in_the_middle(images: np.ndarray, rows: np.ndarray, side: int, rule: int = RULE) -> Batch:
    """The squares in the middle of these rows, not mirrored."""
    first = corner(images.shape[1], side, rule)
    assert first >= 0, "runs check that stored images are as large as a network's input"
    inside = slice(first, first + side)
    pixels = np.asarray(images)[:, inside, inside][rows]
    return Batch(
        torch.from_numpy(pixels).permute(0, 3, 1, 2),
        torch.full((len(rows), 2), first),
        torch.zeros(len(rows), dtype=torch.bool),
    )


def greyed(batch: Batch) -> Batch:
    """The crops without their colours: three equal channels, as torchvision's `rgb_to_grayscale` makes them."""
    from torchvision.transforms.v2.functional import rgb_to_grayscale  # loads all of torchvision, which takes seconds

    grey = rgb_to_grayscale(batch.pixels, num_output_channels=3)
    return batch._replace(pixels=grey.contiguous(memory_format=torch.channels_last))


def unaugmented(store: Store, rows: np.ndarray, size: int, rule: int = RULE) -> Seen:
    """The examples of these rows as they are evaluated. size: as `Run.size`, pixels a side or tokens of a text."""
    if store.texts is None:
        return in_the_middle(store.images, rows, size, rule)
    return texts_of(store.texts, store.texts.shown[rows], size)


def each_once(
    store: Store, rows: np.ndarray, labels: np.ndarray, side: int, size: int, rule: int = RULE
) -> Iterator[tuple[Seen, torch.Tensor]]:
    """Batches of `size` unaugmented examples with their labels, for evaluation. side: as `Run.size`."""
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        yield unaugmented(store, rows[part], side, rule), torch.from_numpy(labels[part])
