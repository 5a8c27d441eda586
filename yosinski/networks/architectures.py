"""Descriptions of networks: ordered, named segments with shapes, parameters and FLOPs. No torch.

`build.py` builds modules from these descriptions; plans compute costs from them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

# Standard deviation of a weight's Gaussian given fan-in and fan-out; "orthogonal" is scaled to the same gain; "paper"
# uses the values in the network's description, "own" keeps the weights of a library's constructor.
INITIALISERS = ("kaiming", "xavier", "orthogonal", "gaussian", "paper", "own")


@dataclass(frozen=True)
class Pool:
    """Max pooling as in Caffe: incomplete windows at the end count, which gives ceil((side - size) / stride) + 1."""

    size: int
    stride: int

    def __call__(self, side: int) -> int:
        """The side after pooling, given the side before, in pixels."""
        return -(-(side - self.size) // self.stride) + 1


@dataclass(frozen=True)
class Conv:
    """A convolution with ReLU, then optional max pooling and local response normalisation."""

    name: str
    out: int  # channels
    kernel: int
    stride: int = 1
    padding: int | None = None  # None: half the kernel, so that stride 1 keeps the side
    groups: int = 1  # as in torch
    pool: Pool | None = None
    normalise: bool = False  # Krizhevsky et al. (2012), after pooling, as in Caffe's reference network

    @property
    def border(self) -> int:
        """Rows of zeros on each side."""
        return self.kernel // 2 if self.padding is None else self.padding


@dataclass(frozen=True)
class Linear:
    """A fully connected layer with ReLU and dropout with this rate."""

    name: str
    out: int
    dropout: float = 0.0


Segment = Conv | Linear


@dataclass(frozen=True)
class SegmentCost:
    """The cost of a segment: parameters, and FLOPs of one image's forward pass (a multiply-add counts as two).

    Only convolutions and matrix products are counted; pooling and normalisation cost little in comparison.
    """

    name: str
    parameters: int
    flops: int
    shape: tuple[int, ...]  # of one image's output


@dataclass(frozen=True)
class Architecture:
    """Segments in order, then a linear head with one output per class or as many as the recipe says."""

    side: int  # pixels of the square input
    segments: tuple[Segment, ...]
    paper: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """For the initialiser "paper", by segment: the standard deviation of the weights, and the value of the biases."""
    reads: str = "pictures"
    length: int = 0  # most tokens of a text
    vocabulary: int = 0  # number of ids of tokens

    @property
    def left_off(self) -> tuple[str, ...]:
        """Always empty: only models of libraries may have parts that are not used here."""
        return ()

    @property
    def paired(self) -> tuple[int, ...]:
        """Always empty: only segments with batch norm need batches of two images."""
        return ()

    @cached_property
    def cuts(self) -> tuple[str, ...]:
        """The names of the segments n = 1..N after which the network can be cut."""
        return tuple(segment.name for segment in self.segments)

    @property
    def initialisers(self) -> tuple[str, ...]:
        """The names of initialisers for this network."""
        return tuple(name for name in INITIALISERS if name != "own" and (self.paper or name != "paper"))

    def costs(self, outputs: int, length: int = 0) -> list[SegmentCost]:
        """One row per segment; the last is the head. length: of texts, which this network does not read."""
        rows: list[SegmentCost] = []
        shape: tuple[int, ...] = (3, self.side, self.side)
        for segment in (*self.segments, Linear("head", outputs)):
            match segment:
                case Conv(name, out, kernel, stride):
                    side = (shape[-1] + 2 * segment.border - kernel) // stride + 1
                    weights = shape[0] // segment.groups * kernel**2 * out
                    flops = 2 * weights * side**2
                    side = segment.pool(side) if segment.pool else side
                    shape = (out, side, side)
                case Linear(name, out):
                    weights = math.prod(shape) * out
                    flops = 2 * weights
                    shape = (out,)
            rows.append(SegmentCost(name, weights + out, flops, shape))
        return rows


ARCHITECTURES = {
    # Eight layers in AlexNet's proportions for 32 x 32 pixels: a strided stem, pooling after it and after conv2, three
    # 3x3 layers, two hidden layers; no normalisation, no dropout.
    "alexnet32": Architecture(
        side=32,
        segments=(
            Conv("conv1", 16, kernel=5, stride=2, pool=Pool(2, 2)),
            Conv("conv2", 32, kernel=3, pool=Pool(2, 2)),
            Conv("conv3", 48, kernel=3),
            Conv("conv4", 48, kernel=3),
            Conv("conv5", 32, kernel=3),
            Linear("fc6", 128),
            Linear("fc7", 128),
        ),
    ),
    # The paper's network: Caffe's reference model of 2014, AlexNet on one GPU with pooling before normalisation, as the
    # authors trained it (github.com/yosinski/convnet_transfer). The head is their fc8.
    "caffenet": Architecture(
        side=227,
        segments=(
            Conv("conv1", 96, kernel=11, stride=4, padding=0, pool=Pool(3, 2), normalise=True),
            Conv("conv2", 256, kernel=5, groups=2, pool=Pool(3, 2), normalise=True),
            Conv("conv3", 384, kernel=3),
            Conv("conv4", 384, kernel=3, groups=2),
            Conv("conv5", 256, kernel=3, groups=2, pool=Pool(3, 2)),
            Linear("fc6", 4096, dropout=0.5),
            Linear("fc7", 4096, dropout=0.5),
        ),
        paper={
            "conv1": (0.01, 0.0),
            "conv2": (0.01, 1.0),
            "conv3": (0.01, 0.0),
            "conv4": (0.01, 1.0),
            "conv5": (0.01, 1.0),
            "fc6": (0.005, 1.0),
            "fc7": (0.005, 1.0),
            "head": (0.01, 0.0),
        },
    ),
}
