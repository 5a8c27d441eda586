"""Batches of crops: the input of networks."""

from typing import NamedTuple

import torch

CONTIGUOUS = ("mps",)  # devices on which torch has bugs with channels-last tensors


def moved(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """The tensor on a device, contiguous where channels-last is unsafe.

    To a GPU it goes from page-locked memory, and this does not wait for it.
    """
    if device == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    result = tensor.to(device)
    return result.contiguous() if device in CONTIGUOUS else result


class Batch(NamedTuple):
    """Crops with their positions, which the first segment needs to subtract a mean image."""

    pixels: torch.Tensor  # uint8 [b, 3, side, side], channels last in memory
    corners: torch.Tensor  # int64 [b, 2]: the crop's first row and column in the stored image
    mirrored: torch.Tensor  # bool [b]: mirrored after cropping

    @classmethod
    def whole(cls, pixels: torch.Tensor) -> "Batch":
        """Images as crops at (0, 0), not mirrored."""
        zeros = torch.zeros(len(pixels), 2, dtype=torch.int64)
        return cls(pixels, zeros, zeros[:, 0] > 0)

    def to(self, device: str) -> "Batch":
        """The batch on a device."""
        return Batch(*(moved(tensor, device) for tensor in self))
