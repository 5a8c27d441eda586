"""Networks: `nn.Sequential`s of named segments, the head last; `network[:n]` lies below cut n, `network[n:]` above.

That is all that the rest of the code knows of a network. The first segment standardises its input with the moments of
the images that the network was made for; they are buffers, copied with the segment, as in the paper, where a copy
subtracts the mean of its source.
"""

import math
from collections import OrderedDict

import torch
from torch import nn

from yosinski.networks.architectures import Architecture, Conv, Linear, Segment
from yosinski.networks.catalogue import architecture, made, named, operations, survey
from yosinski.networks.layers import STANDARDISE, Dropout, Normalise, Standardise, channels_last
from yosinski.randomness import seed_of


def drawn(name: str, outputs: int, mean_side: int, initialiser: str, *key: str | int) -> nn.Sequential:
    """A network whose weights come from the initialiser and this key alone, segment by segment."""
    network, paper = build(name, outputs, mean_side, *key), architecture(name).paper
    for child, segment in network.named_children():
        gain = 1.0 if child == "head" else math.sqrt(2)
        initialise(segment, initialiser, *key, child, gain=gain, paper=paper.get(child))
    return network


def build(name: str, outputs: int, mean_side: int = 1, *key: str | int) -> nn.Sequential:
    """One child per segment under its name (with "/" for dots), and the `head`.

    Our own networks are not initialised; others are as their constructors draw them, from this key alone.
    mean_side: of the mean that is subtracted, 1 or the side of stored images.
    """
    described = architecture(name)
    if not isinstance(described, Architecture):
        return channels_last(segmented(name, outputs, mean_side, seed_of(*key)))
    children: OrderedDict[str, nn.Module] = OrderedDict()
    shapes = [(3, described.side, described.side), *(cost.shape for cost in described.costs(outputs))]
    for k, (segment, shape) in enumerate(zip(described.segments, shapes, strict=False)):
        layers = OrderedDict({STANDARDISE: Standardise(mean_side)} if k == 0 else {})
        children[segment.name] = nn.Sequential(OrderedDict(**layers, **_layers(segment, shape)))
    children["head"] = nn.Linear(math.prod(shapes[len(described.segments)]), outputs)
    return channels_last(nn.Sequential(children))


def segmented(network: str, outputs: int, mean_side: int, seed: int) -> nn.Sequential:
    """The network as its constructor draws it from this seed: one graph module per segment, the head last.

    A child is called as its segment, with "/" for dots; within it tensors have the names of the plain model. The first
    begins with `standardise`. What is dropped in training is dropped by `layers.Dropout`.
    """
    from yosinski.networks.tracing import graph, segments

    name = named(network)
    pieces = survey(name)[1]
    with graph.seeded(seed):
        model = made(name, outputs)[0]
    nodes = list(operations(model, name).nodes)
    model.add_module(STANDARDISE, Standardise(mean_side))
    parts = segments.split(model, nodes, pieces)
    return nn.Sequential(
        OrderedDict((piece.name.replace(".", "/"), part) for piece, part in zip(pieces, parts, strict=True))
    )


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
def initialise(
    segment: nn.Module,
    initialiser: str,
    *key: str | int,
    gain: float = math.sqrt(2),
    paper: tuple[float, float] | None = None,
) -> None:
    """Fill the weights of a segment's convolutions and linear maps, their biases with zero, from this key alone.

    kaiming: Gaussian of variance gain² / fan-in (He et al. 2015); xavier: 2 / (fan-in + fan-out) (Glorot and Bengio
    2010); orthogonal: rows orthonormal times the gain (Saxe et al. 2014); gaussian: standard deviation 0.01; paper: the
    deviation and the value of the biases that `paper` says; own: nothing is changed. A head, which no ReLU follows, has
    a gain of 1 instead of sqrt(2).
    """
    if initialiser == "own":
        return
    random = torch.Generator().manual_seed(seed_of(*key))
    for module in segment.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight
            groups = module.groups if isinstance(module, nn.Conv2d) else 1
            fan_in, fan_out = weight[0].numel(), weight.shape[0] // groups * weight[0, 0].numel()
            values = torch.empty(weight.shape)  # contiguous: the same numbers whatever the weight's memory format
            match initialiser:
                case "kaiming":
                    values.normal_(0, gain / math.sqrt(fan_in), generator=random)
                case "xavier":
                    values.normal_(0, math.sqrt(2 / (fan_in + fan_out)), generator=random)
                case "orthogonal":
                    nn.init.orthogonal_(values, gain, generator=random)
                case "gaussian":
                    values.normal_(0, 0.01, generator=random)
                case "paper" if paper is not None:
                    values.normal_(0, paper[0], generator=random)
                case _:
                    raise ValueError(initialiser)
            weight.copy_(values)
            if module.bias is not None:
                module.bias.fill_(paper[1] if initialiser == "paper" and paper is not None else 0.0)
