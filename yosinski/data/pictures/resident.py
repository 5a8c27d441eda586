"""Images in the memory of a device, and crops that are made of them there, by index."""

import numpy as np
import torch

from yosinski.data.pictures.crops import corner
from yosinski.networks.batch import Batch

AT_A_TIME = 1 << 26  # bytes that go to the device at once


class Resident:
    """Some images of a store on a device: uint8 [n, s, s, 3]. Their bytes, and those of crops, are the store's."""

    def __init__(self, images: np.ndarray, rows: np.ndarray, device: str) -> None:
        self.images = torch.empty(len(rows), *images.shape[1:], dtype=torch.uint8, device=device)
        number = max(1, AT_A_TIME // images[0].nbytes)
        for start in range(0, len(rows), number):
            part = slice(start, start + number)
            self.images[part] = torch.from_numpy(images[rows[part]]).to(device)

    def crops(self, which: torch.Tensor, side: int, corners: torch.Tensor, mirrored: torch.Tensor) -> Batch:
        """The squares that `crops.crops` cuts. which: int64 [b], numbers of images; all tensors on the device."""
        stored, along = self.images.shape[1], torch.arange(side, device=which.device)
        rows = corners[:, :1] + along
        columns = corners[:, 1:] + torch.where(mirrored[:, None], along.flip(0), along)
        inside = ((rows >= 0) & (rows < stored))[:, :, None] & ((columns >= 0) & (columns < stored))[:, None]
        rows, columns = rows.clamp(0, stored - 1), columns.clamp(0, stored - 1)
        pixels = self.images[which[:, None, None], rows[:, :, None], columns[:, None]] * inside[..., None]
        return Batch(pixels.permute(0, 3, 1, 2), corners, mirrored)

    def middle(self, part: slice, side: int, rule: int) -> Batch:
        """The squares in the middle of these images, as `crops.in_the_middle` cuts them."""
        which = torch.arange(len(self.images), device=self.images.device)[part]
        corners = torch.full((len(which), 2), corner(self.images.shape[1], side, rule), device=which.device)
        return self.crops(which, side, corners, torch.zeros_like(which, dtype=torch.bool))
