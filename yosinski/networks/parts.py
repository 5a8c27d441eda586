"""Networks of several parts: tasks that share their first segments, and inputs that meet.

Such a network is a `nn.Sequential` of the same named segments as a single one. What passes between segments is a list
with one entry per part, up to the place where inputs meet, or from the input to the heads of tasks. An entry is None
where a part does not take part. Each part has its own dropout masks, and batch norm normalises its batch alone.
"""

import contextlib
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from yosinski.networks import build, layers, tokens
from yosinski.networks.layers import STANDARDISE

Part = Any  # a `Batch` or a float tensor [b, ...]; None: does not take part
SCALED = ("kaiming", "xavier", "orthogonal", "own")  # initialisers whose scale depends on the number of inputs

_missing: ContextVar[Sequence[torch.Tensor | None]] = ContextVar("missing", default=())


@contextlib.contextmanager
def missing(masks: Sequence[torch.Tensor | None]) -> Iterator[None]:
    """Context in which inputs are missing: for each, bool [b] or None. They meet the others as zeros with a flag."""
    token = _missing.set(masks)
    try:
        yield
    finally:
        _missing.reset(token)


@contextlib.contextmanager
def of_part(k: int) -> Iterator[None]:
    """Context of part k: its masks of dropout, and of the tokens of its texts."""
    with layers.of_part(k), tokens.of_part(k):
        yield


class Apart(nn.Module):
    """One segment of its own for each part."""

    def __init__(self, segments: Sequence[nn.Module]) -> None:
        super().__init__()
        self.of = nn.ModuleList(segments)

    def forward(self, inputs: Sequence[Part]) -> list[Part]:
        """The output of each part's segment for its input."""
        outputs = []
        for k, (segment, x) in enumerate(zip(self.of, inputs, strict=True)):
            with of_part(k):
                outputs.append(None if x is None else segment(x))
        return outputs


class Together(nn.Module):
    """The same segment for every task. Tasks on the same pictures, which are the same object, share the pass."""

    def __init__(self, segment: nn.Module) -> None:
        super().__init__()
        self.segment = segment

    def forward(self, inputs: Sequence[Part]) -> list[Part]:
        """The output of the segment for the batch of each task."""
        done: dict[int, Part] = {id(None): None}
        for k, x in enumerate(inputs):
            if id(x) not in done:
                with of_part(k):
                    done[id(x)] = self.segment(x)
        return [done[id(x)] for x in inputs]


class Heads(Apart):
    """The heads of tasks. `log_variance`: float32 [tasks], the uncertainty of each task (Kendall et al. 2018)."""

    def __init__(self, heads: Sequence[nn.Module], uncertain: bool) -> None:
        super().__init__(heads)
        if uncertain:
            self.log_variance = nn.Parameter(torch.zeros(len(heads)))


class Summed(nn.Module):
    """A layer for each input; the sum of their outputs equals the wider layer's on the concatenated inputs.

    The inputs come one after the other in one batch. The layers after the first have no bias. flags: whether inputs
    may be missing; then a vector of its own takes an input's place.
    """

    def __init__(self, layers: Sequence[nn.Conv2d | nn.Linear], flags: bool) -> None:
        super().__init__()
        self.of = nn.ModuleList(layers)
        for layer in layers[1:]:
            layer.register_parameter("bias", None)
        self.flags = nn.Parameter(torch.zeros(len(layers), layers[0].weight.shape[0])) if flags else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[M b, ...] -> [b, ...]."""
        total: Any = None
        masks = _missing.get() or [None] * len(self.of)
        for k, (layer, one, absent) in enumerate(zip(self.of, x.chunk(len(self.of)), masks, strict=True)):
            output = layer(one)
            if absent is not None:  # without flags, where no input is missing in training, zeros take its place
                flag = output.new_zeros(()) if self.flags is None else self.flags[k].view(-1, *[1] * (output.ndim - 2))
                output = torch.where(_like(absent, output), flag, output)
            total = output if total is None else total + output
        return total


class Meeting(nn.Module):
    """The segment in which inputs meet; what it does with them is `join`: concatenated, or their mean.

    standardise: of the inputs, where they meet at the pixels.
    """

    def __init__(
        self, segment: nn.Module, join: Callable[[list[torch.Tensor]], torch.Tensor], pixels: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.segment, self.join = segment, join
        self.pixels = nn.ModuleList(pixels)

    def forward(self, inputs: Sequence[Part]) -> torch.Tensor:
        """[b, ...]."""
        if len(self.pixels):
            inputs = [standardise(x) for standardise, x in zip(self.pixels, inputs, strict=True)]
        return self.segment(self.join(list(inputs)))


class First(nn.Module):
    """A segment that only the first input passes; the others wait for it, as they were given."""

    def __init__(self, segment: nn.Module) -> None:
        super().__init__()
        self.segment = segment

    def forward(self, inputs: Sequence[Part]) -> list[Part]:
        """The output for the first input, and the others unchanged."""
        with of_part(0):
            return [self.segment(inputs[0]), *inputs[1:]]


class Tower(nn.Module):
    """A whole network without its head, which makes a vector of a further input."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.network = network[:-1]

    def forward(self, given: Part) -> torch.Tensor:
        """float32 [b, width]."""
        with tokens.around(given):
            return self.network(given).flatten(1)


class Joined(nn.Module):
    """The segment in which vectors join the first input: their linear layers add to the output of its first layer.

    That is what the layer makes of its input beside maps, or features, that are these vectors at every position; of a
    convolution, but at borders.
    """

    def __init__(self, segment: nn.Module, towers: Sequence[Tower], vectors: Sequence[nn.Linear]) -> None:
        super().__init__()
        own = list(segment.children()) or [segment]
        first = next(k for k, layer in enumerate(own) if isinstance(layer, nn.Conv2d | nn.Linear))
        self.before, self.layer, self.after = nn.Sequential(*own[:first]), own[first], nn.Sequential(*own[first + 1 :])
        self.towers, self.vectors = nn.ModuleList(towers), nn.ModuleList(vectors)

    def forward(self, inputs: Sequence[Part]) -> torch.Tensor:
        """[b, ...]."""
        total = self.layer(self.before(inputs[0]))
        for k, (tower, layer, given) in enumerate(zip(self.towers, self.vectors, inputs[1:], strict=True), 1):
            with of_part(k):
                vector = layer(tower(given).to(total.dtype))
            total = total + vector.view(*vector.shape, *[1] * (total.ndim - 2))
        return self.after(total)


class JoinedHeads(Apart):
    """A head for each input. Their outputs are averaged, or combined as Liu et al. (2018) do (`multiplicative`)."""

    def __init__(self, heads: Sequence[nn.Module], beta: float | None) -> None:
        super().__init__(heads)
        self.beta = beta

    def forward(self, inputs: Sequence[Part]) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """float32 [b, outputs]: logits; if multiplicative, minus the loss of each class."""
        logits = super().forward(inputs)
        return mean(logits) if self.beta is None else multiplied(logits, self.beta)


class TowerHeads(JoinedHeads):
    """The head of the first input, and those of further ones on the vectors of their towers."""

    def __init__(self, heads: Sequence[nn.Module], towers: Sequence[Tower], beta: float | None) -> None:
        super().__init__(heads, beta)
        self.towers = nn.ModuleList(towers)

    def forward(self, inputs: Sequence[Part]) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As of the parent."""
        vectors = []
        for k, (tower, given) in enumerate(zip(self.towers, inputs[1:], strict=True), 1):
            with of_part(k):
                vectors.append(tower(given).float())
        return super().forward([inputs[0], *vectors])


def concatenated(inputs: list[torch.Tensor]) -> torch.Tensor:
    """The inputs one after the other in one batch, for `Summed`."""
    return torch.cat(inputs)


def mean(inputs: list[torch.Tensor]) -> torch.Tensor:
    """The mean of the inputs that are there."""
    masks = list(_missing.get()) or [None] * len(inputs)
    if all(mask is None for mask in masks):
        total = inputs[0]
        for x in inputs[1:]:
            total = total + x
        return total / len(inputs)
    total, there = torch.zeros_like(inputs[0]), torch.zeros_like(inputs[0])
    for x, absent in zip(inputs, masks, strict=True):
        here = torch.ones_like(x) if absent is None else _like(~absent, x).to(x.dtype)
        total, there = total + x * here, there + here
    return total / there


def multiplied(logits: Sequence[torch.Tensor], beta: float) -> torch.Tensor:
    """Minus the multiplicative loss of each class (Liu et al. 2018, equation 4), float32 [b, classes].

    The sum over inputs of log p, each weighted with the product of (1 - p) of the others to the power
    beta / (M - 1). With beta = 0 this is a product of experts, with one input its log p.
    """
    masks = list(_missing.get()) or [None] * len(logits)
    log_p = [F.log_softmax(one.float(), 1) for one in logits]
    # log(1 - p) without cancellation; finite for p = 1, where its gradient would not be
    left = [torch.log1p(-one.exp().clamp(max=1 - 1e-6)) for one in log_p]
    left = [one if m is None else one.masked_fill(m[:, None], 0.0) for one, m in zip(left, masks, strict=True)]
    total: Any = 0.0
    for k, (one, absent) in enumerate(zip(log_p, masks, strict=True)):
        others = [other for j, other in enumerate(left) if j != k]
        weight = torch.exp(beta / len(others) * torch.stack(others).sum(0)) if others else 1.0
        term = weight * one
        total = total + (term if absent is None else term.masked_fill(absent[:, None], 0.0))
    return total


def of_tasks(networks: Sequence[nn.Sequential], n: int, uncertain: bool) -> nn.Sequential:
    """One network of single ones: the first n segments of the first, shared; above them each task has its own."""
    children: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (name, first) in enumerate(networks[0].named_children(), 1):
        own = [network.get_submodule(name) for network in networks]
        if number == len(networks[0]):
            children[name] = Heads(own, uncertain)
        else:
            children[name] = Together(first) if number <= n else Apart(own)
    return nn.Sequential(children)


def of_one_task(tensors: Mapping[str, torch.Tensor], task: int) -> dict[str, torch.Tensor]:
    """The tensors of one task's network, with the names of a single network."""
    own = {}
    for name, tensor in tensors.items():
        segment, _, rest = name.partition(".")
        for beginning in ("segment.", f"of.{task}."):
            if rest.startswith(beginning):
                own[f"{segment}.{rest.removeprefix(beginning)}"] = tensor
    return own


def of_inputs(
    networks: Sequence[nn.Sequential], n: int, join: str, beta: float, initialiser: str, flags: bool
) -> nn.Sequential:
    """One network of single ones: the first n segments of each, a meeting, and the rest of the first.

    Weights of a layer that becomes wider are divided by the square root of the number of inputs, which keeps the
    variance of its output, unless the initialiser has one standard deviation for every layer.
    """
    children: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (name, first) in enumerate(networks[0].named_children(), 1):
        own = [network.get_submodule(name) for network in networks]
        if number <= n:
            children[name] = Apart(own)
        elif number > n + 1:
            children[name] = first
        elif join in ("logits", "multiplicative"):
            children[name] = JoinedHeads(own, beta if join == "multiplicative" else None)
        else:
            pixels = [segment.get_submodule(STANDARDISE) for segment in own] if n == 0 else []
            if n == 0:
                setattr(first, STANDARDISE, nn.Identity())
            if join == "concat":
                first = _widened(own, initialiser, flags)
            children[name] = Meeting(first, concatenated if join == "concat" else mean, pixels)
    return nn.Sequential(children)


def with_towers(
    networks: Sequence[nn.Sequential], n: int, join: str, beta: float, initialiser: str, *key: str | int
) -> nn.Sequential:
    """The first of these networks, joined after n segments by the vectors that the others make of further inputs.

    key: of the weights of the vectors' layers. Weights of what meets are scaled as in `of_inputs`.
    """
    first, *others = networks
    towers = [Tower(network) for network in others]
    children: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (name, segment) in enumerate(first.named_children(), 1):
        if number <= n:
            children[name] = First(segment)
        elif number > n + 1:
            children[name] = segment
        elif join in ("logits", "multiplicative"):
            heads = [segment, *(network[-1] for network in others)]
            children[name] = TowerHeads(heads, towers, beta if join == "multiplicative" else None)
        else:
            _, layer = _first_layer(segment)
            gain = 1.0 if name == "head" else math.sqrt(2)
            vectors = []
            for k, network in enumerate(others, 1):
                vectors.append(nn.Linear(network[-1].in_features, layer.weight.shape[0], bias=False))  # pyright: ignore
                build.initialise(vectors[-1], initialiser, *key, name, "vector", k, gain=gain)
            if initialiser in SCALED:
                with torch.no_grad():
                    for one in (layer, *vectors):
                        one.weight.div_(math.sqrt(len(networks)))
            children[name] = Joined(segment, towers, vectors)
    return nn.Sequential(children)


def _widened(segments: Sequence[nn.Module], initialiser: str, flags: bool) -> nn.Module:
    """The first of these segments, with a layer for each input in the place of its first layer."""
    layers = [_first_layer(segment) for segment in segments]
    if initialiser in SCALED:
        with torch.no_grad():
            for _, layer in layers:
                layer.weight.div_(math.sqrt(len(layers)))
    summed = Summed([layer for _, layer in layers], flags)
    if not layers[0][0]:
        return summed
    setattr(segments[0], layers[0][0], summed)
    return segments[0]


def _first_layer(segment: nn.Module) -> tuple[str, nn.Conv2d | nn.Linear]:
    """The first convolution or linear layer of a segment, and its name; "" for a segment that is one."""
    for name, module in segment.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            return name, module
    raise ValueError("a segment without layers")


def _like(mask: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return mask.view(-1, *[1] * (x.ndim - 1))
