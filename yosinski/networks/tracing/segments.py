"""Segments of a graph of operations: possible cuts, names, and modules.

The graph can be cut between two operations if only one tensor of the batch crosses the place, if no parameter or buffer
is used on both sides, and if the place is not within a block. Operations without products with weights (activations,
pooling, normalisation, a class token) belong to the segment before them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import fx, nn

from yosinski.networks.layers import STANDARDISE

BATCH = 2  # images in the batch whose shapes are noted in the graph
CONSTANT = "_constant_{}"  # attribute of a model: result of a constant operation
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Piece:
    """A segment of a traced graph: its name, and its operations nodes[start:stop]."""

    name: str
    start: int
    stop: int


def of_torch(module: nn.Module) -> bool:
    """Whether a module is one of torch's layers, or of a derived class."""
    others = (nn.Module, *CONTAINERS)
    return any(kind.__module__.startswith("torch.nn.modules") and kind not in others for kind in type(module).__mro__)


def path_of(node: fx.Node) -> str:
    """The path of the innermost module of an operation."""
    stack = node.meta.get("nn_module_stack")
    return next(reversed(stack.values()))[0] if stack else ""


def tensors(model: nn.Module, node: fx.Node) -> Iterable[torch.Tensor]:
    """The parameters and buffers that an operation uses directly."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        return [*module.parameters(), *module.buffers()]
    return [_attribute(model, arg) for arg in node.all_input_nodes if arg.op == "get_attr" and not is_constant(arg)]


def _attribute(model: nn.Module, node: fx.Node) -> torch.Tensor:
    owner, _, field = str(node.target).rpartition(".")
    return getattr(model.get_submodule(owner), field)


def find(model: nn.Module, nodes: Sequence[fx.Node], nested: bool = False) -> list[Piece]:
    """The segments between cuts. Each has a product with weights; the last is the head.

    nested: see `is_block`. The time is linear in the number of operations.
    """
    ends = [*places(model, nodes, nested), len(nodes)]
    parameters = weights(model, nodes)
    multiplies = [bool(parameters[k]) and node.meta["flops"] > 0 for k, node in enumerate(nodes)]
    stops: list[int] = []
    for start, stop in pairwise([0, *ends]):
        if any(multiplies[start:stop]) and any(multiplies[:start]):
            stops.append(start)
    pieces, names = [], {"head"}
    for start, stop in pairwise([0, *stops, len(nodes)]):
        main = max((k for k in range(start, stop) if multiplies[k]), default=start)
        name = "head"
        if stop < len(nodes):
            named = name = _named(model, nodes[main], parameters[main], set().union(*parameters[start:stop]))
            count = 1
            while name in names:  # a module that runs twice, or one with the name head
                count += 1
                name = f"{named}_{count}"
            names.add(name)
        pieces.append(Piece(name, start, stop))
    return pieces


def weights(model: nn.Module, nodes: Sequence[fx.Node]) -> list[set[int]]:
    """The ids of the parameters that each operation uses, including those that its weights are computed from."""
    behind: dict[fx.Node, set[int]] = {}  # for operations that do not depend on the images
    sets = []
    for node in nodes:
        ids = {id(tensor) for tensor in tensors(model, node) if isinstance(tensor, nn.Parameter)}
        ids = ids.union(*(behind.get(arg, set()) for arg in node.all_input_nodes))
        if not node.meta.get("of_images", True):
            behind[node] = ids
        sets.append(ids)
    return sets


def places(model: nn.Module, nodes: Sequence[fx.Node], nested: bool = False) -> list[int]:
    """All k for which the network can be cut before nodes[k]."""
    last_use = {arg: k for k, node in enumerate(nodes) for arg in node.all_input_nodes}
    spans: dict[int, list[int]] = {}
    for k, node in enumerate(nodes):
        for tensor in [] if is_constant(node) else tensors(model, node):
            spans.setdefault(id(tensor), [k, k])[1] = k
    shared = [0] * (len(nodes) + 1)  # changes in the number of tensors used on both sides
    for first, last in spans.values():
        shared[first + 1] += 1
        shared[last + 1] -= 1
    atomic = {path: is_block(module, nested) for path, module in model.named_modules()}
    crossing: set[fx.Node] = set()
    cuts, straddling = [], 0
    for k in range(1, len(nodes)):
        before, node = nodes[k - 1], nodes[k]
        straddling += shared[k]
        crossing -= {arg for arg in before.all_input_nodes if last_use[arg] == k - 1}
        if before in last_use and before.op != "get_attr" and not is_constant(before):
            crossing.add(before)
        stacks = [n.meta.get("nn_module_stack", {}) for n in (before, node)]
        within = any(atomic[stacks[0][call][0]] for call in stacks[0].keys() & stacks[1].keys())
        if len(crossing) == 1 and not straddling and not within and next(iter(crossing)).meta["shape"][:1] == (BATCH,):
            cuts.append(k)
    return cuts


def is_constant(node: fx.Node) -> bool:
    """Whether `recorded.py` has found that the value of an operation is constant."""
    return node.meta.get("constant", False)


def is_block(module: nn.Module, nested: bool = False) -> bool:
    """Whether a module is never cut within: it computes something itself, and contains no stack of such modules.

    nested: nor do the modules within it.
    """

    def computes(module: nn.Module) -> bool:
        return getattr(type(module), "forward", None) not in (nn.Module.forward, nn.Sequential.forward)

    def is_stack(module: nn.Module) -> bool:
        blocks = [child for child in module.children() if computes(child) and not of_torch(child)]
        return isinstance(module, CONTAINERS) and sum(any(True for _ in block.parameters()) for block in blocks) > 1

    return computes(module) and not any(map(is_stack, module.modules() if nested else module.children()))


def _named(model: nn.Module, main: fx.Node, weights: set[int], own: set[int]) -> str:
    """The path of the largest module that contains a segment's main operation and only parameters of the segment.

    weights, own: ids of the parameters of the main operation and of the segment.
    """
    name = str(main.target)
    if main.op != "call_module":  # a function with a weight as argument
        bare = next(name for name, parameter in model.named_parameters() if id(parameter) in weights)
        weight = next((str(arg.target) for arg in main.all_input_nodes if arg.op == "get_attr"), bare)
        name = path_of(main) or weight.rpartition(".")[0] or weight
    while (parent := name.rpartition(".")[0]) and {id(p) for p in model.get_submodule(parent).parameters()} <= own:
        name = parent
    return name


def carried(nodes: Sequence[fx.Node], stop: int) -> fx.Node:
    """The node of nodes[:stop] whose tensor the later nodes use."""
    if stop == len(nodes):
        return nodes[-1].all_input_nodes[0]
    inside = set(nodes[:stop])
    used = (arg for node in nodes[stop:] if not is_constant(node) for arg in node.all_input_nodes)
    (crossing,) = {arg for arg in used if arg in inside and arg.op != "get_attr" and not is_constant(arg)}
    return crossing


def split(model: nn.Module, nodes: Sequence[fx.Node], pieces: Iterable[Piece]) -> list[fx.GraphModule]:
    """One graph module per segment. The first one standardises its input with the model's module `STANDARDISE`."""
    parts, carrier = [], nodes[0]
    for piece in pieces:
        graph = fx.Graph()
        put = {carrier: graph.placeholder("x")}
        if _is_changed(carrier, nodes[piece.start : piece.stop]):  # shared features must stay unchanged
            put[carrier] = graph.call_method("clone", (put[carrier],))
        if piece.start == 0:
            put[carrier] = graph.call_module(STANDARDISE, (put[carrier],))
        for node in nodes[piece.start : piece.stop]:
            if node.op in ("placeholder", "output", "get_attr") or is_constant(node):
                continue
            for attribute in node.all_input_nodes:
                if is_constant(attribute) and attribute.op != "get_attr" and attribute not in put:
                    put[attribute] = graph.get_attr(CONSTANT.format(attribute.name))
                elif attribute.op == "get_attr" and attribute not in put:
                    put[attribute] = graph.node_copy(attribute)
            put[node] = graph.node_copy(node, put.__getitem__)
        carrier = carried(nodes, piece.stop)
        graph.output(put[carrier])
        part = fx.GraphModule(model, graph, piece.name)
        for node in graph.nodes:
            if node.op == "get_attr":
                _keep_persistence(model, part, str(node.target))
        parts.append(part)
    return parts


def _is_changed(carrier: fx.Node, part: Iterable[fx.Node]) -> bool:
    """Whether a segment writes to its input, as noted by `recording.py`."""
    return any(carrier.meta.get("storage") in node.meta.get("changed", ()) for node in part)


def _keep_persistence(model: nn.Module, part: nn.Module, target: str) -> None:
    """Keep constants and non-persistent buffers out of the state dict, as in the model."""
    path, _, field = target.rpartition(".")
    of_model, of_part = model.get_submodule(path), part.get_submodule(path)
    if (
        field not in of_model._parameters
        and field not in of_model._buffers.keys() - of_model._non_persistent_buffers_set
    ):
        of_part._non_persistent_buffers_set.add(field)
