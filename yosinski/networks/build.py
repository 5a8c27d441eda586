"""Networks as `nn.Sequential`s of named segments, the head last. `network[:n]` is below cut n, `network[n:]` above.

The rest of the code knows nothing else of a network. The first segment of a network for pictures standardises its input
with the moments of the images that the network was made for. The moments are buffers, copied with the segment: as in
the paper, a copy subtracts the mean of its source.
"""

import math
from collections import OrderedDict

import torch
from torch import nn

from yosinski.environment import staying
from yosinski.networks.architectures import Architecture, Conv, Linear, Segment
from yosinski.networks.catalogue import architecture, made, named, operations, survey
from yosinski.networks.encoders.encoder import Encoder
from yosinski.networks.layers import STANDARDISE, Dropout, Normalise, PooledReLU, Standardise, channels_last
from yosinski.networks.texts import blocks
from yosinski.networks.texts.textnet import TextNet
from yosinski.randomness import seed_of

EMBEDDED = 0.1


def drawn(name: str, outputs: int, mean_side: int, initialiser: str, *key: str | int) -> nn.Sequential:
    """A network with weights from the initialiser and this random key, segment by segment."""
    network, paper = build(name, outputs, mean_side, *key), architecture(name).paper
    for child, segment in network.named_children():
        gain = 1.0 if child == "head" else math.sqrt(2)
        initialise(segment, initialiser, *key, child, gain=gain, paper=paper.get(child))
    return network


def build(name: str, outputs: int, mean_side: int = 1, *key: str | int) -> nn.Sequential:
    """A network with one child per segment, by its name (with "/" for dots), and the `head`.

    Networks of this package are not initialised; others have the weights of their constructors, drawn from this key.
    mean_side: side of the mean that is subtracted: 1, or that of stored images.
    """
    described = architecture(name)
    if isinstance(described, Encoder):
        from yosinski.networks.encoders import modules

        return modules.segmented(described, outputs, seed_of(*key))
    if isinstance(described, TextNet):
        return nn.Sequential(OrderedDict(blocks.segments(described, outputs)))
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
    """The network of a constructor with this seed: one graph module per segment, the head last.

    Children have the names of segments, with "/" for dots; within them tensors have the names of the plain model. The
    first segment begins with `standardise`. Dropout is done by `layers.Dropout`.
    """
    with staying("torchvision"):
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
            if segment.pool:
                layers["pool"] = PooledReLU(segment.pool.size, segment.pool.stride)
            else:
                layers["relu"] = nn.ReLU(inplace=True)
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
    """Initialise the weights of a segment's convolutions and linear layers from this key; biases become zero.

    Vectors of tokens and places are Gaussian with standard deviation EMBEDDED.

    kaiming: Gaussian of variance gain² / fan-in (He et al. 2015)
    xavier: Gaussian of variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010)
    orthogonal: orthonormal rows times the gain (Saxe et al. 2014)
    gaussian: standard deviation 0.01
    paper: standard deviation and value of the biases as in `paper`
    own: unchanged

    A head, which has no ReLU, has a gain of 1 instead of sqrt(2).
    """
    if initialiser == "own":
        return
    random = torch.Generator().manual_seed(seed_of(*key))
    for module in segment.modules():
        if isinstance(module, blocks.Vectors):
            module.weight.normal_(0, EMBEDDED, generator=random)
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight
            groups = module.groups if isinstance(module, nn.Conv2d) else 1
            fan_in, fan_out = weight[0].numel(), weight.shape[0] // groups * weight[0, 0].numel()
            values = torch.empty(weight.shape)  # contiguous, for the same numbers in every memory format
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
