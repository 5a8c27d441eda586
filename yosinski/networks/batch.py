"""Batches of crops, as networks take them."""

from typing import NamedTuple

import torch

CONTIGUOUS = ("mps",)  # devices on which torch has faults with tensors whose channels are last in memory


def moved(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """The same on a device, laid out as is safe there."""
    result = tensor.to(device)
    return result.contiguous() if device in CONTIGUOUS else result


class Batch(NamedTuple):
    """Crops as a network takes them: its first segment subtracts a mean, which may be an image, where they were cut."""

    pixels: torch.Tensor  # uint8 [b, 3, side, side], channels last in memory
    corners: torch.Tensor  # int64 [b, 2]: the crop's first row and column in the stored image
    mirrored: torch.Tensor  # bool [b]: left and right are exchanged, after cropping

    @classmethod
    def whole(cls, pixels: torch.Tensor) -> "Batch":
        """Images as they are: crops at (0, 0), not mirrored."""
        zeros = torch.zeros(len(pixels), 2, dtype=torch.int64)
        return cls(pixels, zeros, zeros[:, 0] > 0)

    def to(self, device: str) -> "Batch":
        """The same on a device."""
        return Batch(*(moved(tensor, device) for tensor in self))
