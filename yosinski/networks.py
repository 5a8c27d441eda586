"""Networks: `nn.Sequential`s of named segments, the head last; `network[:n]` lies below cut n, `network[n:]` above.

That is all that the rest of the code knows of a network. The first segment standardises its input with the moments of
the images that the network was made for; they are buffers, copied with the segment, as in the paper, where a copy
subtracts the mean of its source.
"""

import contextlib
import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from yosinski.architectures import Conv, Linear, Segment, architecture
from yosinski.data.stream import Batch, generator
from yosinski.spec import Run, canonical


class Standardise(nn.Module):
    """A batch of crops -> float32 [b, 3, s, s]: minus the mean, divided by the standard deviation per channel.

    A mean of one pixel is that of a channel. A larger one is an image as large as the stored ones: of it each crop
    loses what lies where the crop was cut, mirrored if the crop is.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean_side: int = 1) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, mean_side, mean_side))
        self.register_buffer("std", torch.ones(3, 1, 1))

    def forward(self, batch: Batch) -> torch.Tensor:
        """The standardised pixels."""
        mean = self.mean if self.mean.shape[-1] == 1 else self.crops_of_mean(batch)
        return (batch.pixels.float() - mean) / self.std

    def crops_of_mean(self, batch: Batch) -> torch.Tensor:
        """float32 [b, 3, s, s]: the mean image, cropped and mirrored as every image of the batch was."""
        side = batch.pixels.shape[-1]
        both = torch.stack([self.mean, self.mean.flip(-1)])  # mirrored, a crop's place is counted from the right
        windows = both.unfold(2, side, 1).unfold(3, side, 1)  # [2, 3, rows, columns, s, s], a view
        top, left = batch.corners.unbind(1)
        column = torch.where(batch.mirrored, windows.shape[3] - 1 - left, left)
        return windows[batch.mirrored.long(), :, top, column]


class Normalise(nn.Module):
    """Local response normalisation: x / (1 + alpha / 5 * sum of squares over five neighbouring channels) ** beta.

    Krizhevsky et al. (2012), section 3.3, with alpha 1e-4 and beta 0.75 divided by the window as Caffe and torch do.
    Always in float32: bfloat16 cannot tell 1 from 1.003. (torch's own pools in three dimensions: slower, and on a GPU
    its gradient is not the same twice.)
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, channels, s, s], the same shape."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            squares = F.pad(x.square(), (0, 0, 0, 0, 2, 2))
            channels = x.shape[1]
            total = squares[:, :channels]
            for k in range(1, 5):
                total = total + squares[:, k : k + channels]
            return x * (1 + 1e-4 / 5 * total).pow(-0.75)


class Masks:
    """What dropout keeps in one step: a function of (seed, role, half, step, layer), the same for a whole pack.

    Drawn on the CPU, once per layer, whatever the device.
    """

    def __init__(self, run: Run, step: int) -> None:
        self.key = (run.seed, run.role, run.half.digest, step)
        self.drawn: dict[str, torch.Tensor] = {}

    def of(self, layer: str, rate: float, like: torch.Tensor) -> torch.Tensor:
        """0 for what is dropped, 1 / (1 - rate) for what is kept; shape, type and device as `like`."""
        if layer not in self.drawn:
            kept = generator("dropout", *self.key, layer).random(like.shape, np.float32) >= rate
            self.drawn[layer] = torch.from_numpy(kept).to(like.device) / (1 - rate)
        return self.drawn[layer].to(like.dtype)


_masks: ContextVar[Masks | None] = ContextVar("masks", default=None)


@contextlib.contextmanager
def dropping(masks: Masks | None) -> Iterator[None]:
    """Where networks drop outputs, by these masks; None, as everywhere else: nothing is dropped."""
    token = _masks.set(masks)
    try:
        yield
    finally:
        _masks.reset(token)


class Dropout(nn.Module):
    """Drop a share of the outputs within `dropping`; the others grow, so that nothing need change outside of it."""

    def __init__(self, layer: str, rate: float) -> None:
        super().__init__()
        self.layer, self.rate = layer, rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, outputs], the same shape."""
        masks = _masks.get()
        return x if masks is None else x * masks.of(self.layer, self.rate, x)


def build(name: str, outputs: int, mean_side: int = 1) -> nn.Sequential:
    """An uninitialised network: one child per segment under its name, and the `head`.

    mean_side: of the mean that is subtracted, 1 or the side of stored images.
    """
    described = architecture(name)
    children: OrderedDict[str, nn.Module] = OrderedDict()
    shapes = [(3, described.side, described.side), *(cost.shape for cost in described.costs(outputs))]
    for k, (segment, shape) in enumerate(zip(described.segments, shapes, strict=False)):
        layers = OrderedDict(standardise=Standardise(mean_side)) if k == 0 else OrderedDict()
        children[segment.name] = nn.Sequential(OrderedDict(**layers, **_layers(segment, shape)))
    children["head"] = nn.Linear(math.prod(shapes[len(described.segments)]), outputs)
    return nn.Sequential(children).to(memory_format=torch.channels_last)


def _layers(segment: Segment, shape: tuple[int, ...]) -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {}
    match segment:
        case Conv(_, out, kernel, stride):
            layers["conv"] = nn.Conv2d(shape[0], out, kernel, stride, segment.border, groups=segment.groups)
            layers["relu"] = nn.ReLU(inplace=True)
            if segment.pool:
                layers["pool"] = nn.MaxPool2d(segment.pool.size, segment.pool.stride, ceil_mode=True)
            if segment.normalise:
                layers["normalise"] = Normalise()
        case Linear(name, out, dropout):
            if len(shape) > 1:
                layers["flatten"] = nn.Flatten()
            layers["linear"] = nn.Linear(math.prod(shape), out)
            layers["relu"] = nn.ReLU(inplace=True)
            if dropout:
                layers["dropout"] = Dropout(name, dropout)
    return layers


@torch.no_grad()
def initialise(segment: nn.Module, initialiser: str, *key: str | int, paper: tuple[float, float] | None = None) -> None:
    """Fill a segment's weights by the initialiser and set its biases to zero, from random numbers of this key alone.

    kaiming: Gaussian of variance 2 / fan-in (He et al. 2015); xavier: 2 / (fan-in + fan-out) (Glorot and Bengio 2010);
    orthogonal: rows orthonormal times sqrt(2) (Saxe et al. 2014); gaussian: standard deviation 0.01; paper: the
    deviation and the value of the biases that `paper` says. The head, which no ReLU follows, gets a gain of 1 instead
    of sqrt(2).
    """
    hashed = hashlib.sha256(canonical(("weights", *key)).encode()).digest()
    random = torch.Generator().manual_seed(int.from_bytes(hashed[:8], "little") >> 1)
    gain = 1.0 if isinstance(segment, nn.Linear) else math.sqrt(2)
    for module in segment.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight
            groups = module.groups if isinstance(module, nn.Conv2d) else 1
            fan_in, fan_out = weight[0].numel(), weight.shape[0] // groups * weight[0, 0].numel()
            drawn = torch.empty(weight.shape)  # contiguous: the same numbers whatever the weight's memory format
            match initialiser:
                case "kaiming":
                    drawn.normal_(0, gain / math.sqrt(fan_in), generator=random)
                case "xavier":
                    drawn.normal_(0, math.sqrt(2 / (fan_in + fan_out)), generator=random)
                case "orthogonal":
                    nn.init.orthogonal_(drawn, gain, generator=random)
                case "gaussian":
                    drawn.normal_(0, 0.01, generator=random)
                case "paper" if paper is not None:
                    drawn.normal_(0, paper[0], generator=random)
                case _:
                    raise ValueError(initialiser)
            weight.copy_(drawn)
            if module.bias is not None:
                module.bias.fill_(paper[1] if initialiser == "paper" and paper is not None else 0.0)
