"""Networks: `nn.Sequential`s of named segments, the head last; `network[:n]` lies below cut n, `network[n:]` above.

That is all that the rest of the code knows of a network. The first segment standardises its input with the moments of
the images that the network was made for; they are buffers, copied with the segment, as in the paper, where a copy
subtracts the mean of its source.
"""

import hashlib
import math
from collections import OrderedDict

import torch
from torch import nn

from yosinski.architectures import ARCHITECTURES, Conv, Linear, Segment
from yosinski.spec import canonical


class Standardise(nn.Module):
    """uint8 [b, 3, s, s] -> float32: minus the mean, divided by the standard deviation per channel."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("std", torch.ones(3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Same shape."""
        return (images.float() - self.mean) / self.std


def build(name: str, classes: int) -> nn.Sequential:
    """An uninitialised network: one child per segment under its name, and the `head`."""
    architecture = ARCHITECTURES[name]
    children: OrderedDict[str, nn.Module] = OrderedDict()
    shapes = [(3, architecture.side, architecture.side), *(cost.shape for cost in architecture.costs(classes))]
    for k, (segment, shape) in enumerate(zip(architecture.segments, shapes, strict=False)):
        layers = OrderedDict(standardise=Standardise()) if k == 0 else OrderedDict()
        children[segment.name] = nn.Sequential(OrderedDict(**layers, **_layers(segment, shape)))
    children["head"] = nn.Linear(math.prod(shapes[len(architecture.segments)]), classes)
    return nn.Sequential(children).to(memory_format=torch.channels_last)


def _layers(segment: Segment, shape: tuple[int, ...]) -> dict[str, nn.Module]:
    match segment:
        case Conv(_, out, kernel, stride, pool):
            conv = nn.Conv2d(shape[0], out, kernel, stride, padding=kernel // 2)
            pooling = {"pool": nn.MaxPool2d(pool)} if pool > 1 else {}
            return {"conv": conv, "relu": nn.ReLU(inplace=True), **pooling}
        case Linear(_, out):
            flatten = {"flatten": nn.Flatten()} if len(shape) > 1 else {}
            return {**flatten, "linear": nn.Linear(math.prod(shape), out), "relu": nn.ReLU(inplace=True)}


@torch.no_grad()
def initialise(segment: nn.Module, initialiser: str, *key: str | int) -> None:
    """Fill a segment's weights by the initialiser and set its biases to zero, from random numbers of this key alone.

    kaiming: Gaussian of variance 2 / fan-in (He et al. 2015); xavier: 2 / (fan-in + fan-out) (Glorot and Bengio 2010);
    orthogonal: rows orthonormal times sqrt(2) (Saxe et al. 2014); gaussian: standard deviation 0.01 (the paper's). The
    head, which no ReLU follows, gets a gain of 1 instead of sqrt(2).
    """
    hashed = hashlib.sha256(canonical(("weights", *key)).encode()).digest()
    random = torch.Generator().manual_seed(int.from_bytes(hashed[:8], "little") >> 1)
    gain = 1.0 if isinstance(segment, nn.Linear) else math.sqrt(2)
    for module in segment.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight
            fan_in, fan_out = weight[0].numel(), weight.shape[0] * weight[0, 0].numel()
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
                case _:
                    raise ValueError(initialiser)
            weight.copy_(drawn)
            if module.bias is not None:
                module.bias.zero_()
