"""Networks on paper: ordered, named segments with shapes, parameters and FLOPs. No torch.

`networks.py` builds modules from these descriptions; plans count parameters and FLOPs from them.
"""

import math
from dataclasses import dataclass

# Standard deviation of a weight's Gaussian given fan-in and fan-out; "orthogonal" is scaled to the same gain.
INITIALISERS = ("kaiming", "xavier", "orthogonal", "gaussian")


@dataclass(frozen=True)
class Conv:
    """A convolution with ReLU and, where `pool` is more than 1, max pooling by `pool` afterwards."""

    name: str
    out: int  # channels
    kernel: int
    stride: int = 1
    pool: int = 1


@dataclass(frozen=True)
class Linear:
    """A fully connected layer with ReLU."""

    name: str
    out: int


Segment = Conv | Linear


@dataclass(frozen=True)
class Cost:
    """What a segment takes: parameters, and FLOPs of one image's forward pass (a multiply-add counts two)."""

    name: str
    parameters: int
    flops: int
    shape: tuple[int, ...]  # of one image's output


@dataclass(frozen=True)
class Architecture:
    """Segments in order, then a linear head with as many outputs as the half has classes."""

    side: int  # pixels of the square input
    segments: tuple[Segment, ...]

    def costs(self, classes: int) -> list[Cost]:
        """One row per segment and, last, the head."""
        rows: list[Cost] = []
        shape: tuple[int, ...] = (3, self.side, self.side)
        for segment in (*self.segments, Linear("head", classes)):
            match segment:
                case Conv(name, out, kernel, stride, pool):
                    side = (shape[-1] + stride - 1) // stride
                    weights = shape[0] * kernel**2 * out
                    flops = 2 * weights * side**2
                    shape = (out, side // pool, side // pool)
                case Linear(name, out):
                    weights = math.prod(shape) * out
                    flops = 2 * weights
                    shape = (out,)
            rows.append(Cost(name, weights + out, flops, shape))
        return rows


ARCHITECTURES = {
    # Eight layers in AlexNet's proportions for 32 x 32 pixels: a strided stem, pooling after it and after conv2, three
    # 3x3 layers, two hidden layers; no normalisation, no dropout.
    "alexnet32": Architecture(
        side=32,
        segments=(
            Conv("conv1", 16, kernel=5, stride=2, pool=2),
            Conv("conv2", 32, kernel=3, pool=2),
            Conv("conv3", 48, kernel=3),
            Conv("conv4", 48, kernel=3),
            Conv("conv5", 32, kernel=3),
            Linear("fc6", 128),
            Linear("fc7", 128),
        ),
    ),
}
