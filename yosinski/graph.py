"""Networks of torchvision and timm as segments: traced, and cut wherever a single tensor carries all that comes later.

A model is looked at on the meta device, where tensors have shapes but no values. A place between two operations is a
cut if one tensor of the batch and nothing else crosses it, if no parameter or buffer is used on both sides, and if it
does not lie within a block. What does not multiply by weights (activations, pooling, normalisation, a class token)
belongs to the segment before it.
"""

import importlib
import math
import traceback
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import fx, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import StochasticDepth

from yosinski import libraries
from yosinski.architectures import Cost
from yosinski.batches import in_pairs
from yosinski.errors import BadInput
from yosinski.layers import Dropout, Standardise
from yosinski.traced import Head, Name, Traced

OUTPUTS = 1009  # of a head that is looked at: prime, so that what grows with them is known by its shape
BATCH = 2
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Piece:
    """A segment in a traced graph: its name in the module tree, and its operations nodes[start:stop]."""

    name: str
    start: int
    stop: int


def segmented(network: str, outputs: int, mean_side: int, seed: int) -> nn.Sequential:
    """The network as its constructor draws it from this seed: one graph module per segment, the head last.

    A child is called as its segment, with "/" for dots; within it tensors have the names of the plain model. The first
    begins with `standardise`. What is dropped in training is dropped by `layers.Dropout`.
    """
    name = Name.of(network)
    pieces = survey(name)[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = libraries.plain(name, outputs)
    graph = trace(model, name)
    drop(model, graph, name)
    model.add_module("standardise", Standardise(mean_side))
    parts = split(model, list(graph.nodes), pieces)
    return nn.Sequential(
        OrderedDict((piece.name.replace(".", "/"), part) for piece, part in zip(pieces, parts, strict=True))
    )


@lru_cache
def survey(name: Name) -> tuple[Traced, tuple[Piece, ...]]:
    """A network's description and its segments; no weights are allocated. BadInput if it cannot be traced or cut."""
    libraries.check_known(name)
    side = name.side or libraries.usual_side(name)
    with libraries.Weightless():
        model = libraries.plain(name, OUTPUTS).to("meta")
    graph = trace(model, name)
    drop(model, graph, name)
    try:
        measure(model, graph, torch.empty(BATCH, 3, side, side, device="meta"))
    except Exception as error:
        why = str(error).splitlines()[0]
        raise BadInput(f"{name} does not take images of {side} x {side} pixels: {why} ({_place(error)})") from error
    nodes = list(graph.nodes)
    pieces = find(model, nodes)
    if len(pieces) < 2:
        raise BadInput(f"{name} has no cut: nowhere between its blocks does a single tensor carry all that comes later")
    shapes = [carried(nodes, piece.stop).meta["shape"][1:] for piece in pieces]
    *below, head = (_count(model, nodes[piece.start : piece.stop]) for piece in pieces)
    rows = (
        Cost(piece.name, its.parameters, its.flops, shape)
        for piece, its, shape in zip(pieces, below, shapes, strict=False)
    )
    left_off = ("auxiliary heads",) if libraries.has_auxiliary(name) else ()
    paired = in_pairs(model, graph, side, [piece.stop for piece in pieces])
    return Traced(side, tuple(rows), head, left_off, paired=paired), tuple(pieces)


def _count(model: nn.Module, part: Sequence[fx.Node]) -> Head:
    """Parameters and FLOPs of a segment, and how they grow with the number of outputs."""
    sizes = {id(p): p.shape for node in part for p in tensors(model, node) if isinstance(p, nn.Parameter)}.values()
    parameters, grown = sum(map(math.prod, sizes)), sum(math.prod(size) for size in sizes if OUTPUTS in size)
    flops = sum(node.meta["flops"] for node in part) // BATCH
    grown_flops = sum(node.meta["flops"] for node in part if OUTPUTS in node.meta["shape"]) // BATCH
    return Head(parameters - grown, grown // OUTPUTS, flops - grown_flops, grown_flops // OUTPUTS)


# Its operations


class _Tracer(fx.Tracer):
    """Layers of torch, and what derives from them, are single operations; so is what timm says cannot be traced."""

    proxy_buffer_attributes = True

    def __init__(self, name: Name) -> None:
        self.untraced: tuple[type, ...] = (StochasticDepth,)
        functions = ()
        if name.library == "timm":
            layers = importlib.import_module("timm.layers")
            self.untraced += (layers.DropPath, *layers.get_notrace_modules())
            functions = tuple(layers.get_notrace_functions())
        modules: Any = (math, torchvision.ops)
        super().__init__(modules, functions)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one operation."""
        return isinstance(m, self.untraced) or of_torch(m)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """The images alone; other arguments of a model have their defaults."""
        return root_fn, [self.root, self.create_proxy("placeholder", "x", (), {})]


def of_torch(module: nn.Module) -> bool:
    """Whether a module is one of torch's layers, or of a kind derived from one."""
    others = (nn.Module, *CONTAINERS)
    return any(kind.__module__.startswith("torch.nn.modules") and kind not in others for kind in type(module).__mro__)


def trace(model: nn.Module, name: Name) -> fx.Graph:
    """The operations that the model makes of a batch, as in training.

    BadInput, with the line of its source, if they depend on the images, or if there are others in evaluation (but for
    a functional dropout).
    """
    graphs = []
    for mode in (False, True):
        for constant in [attribute for attribute in vars(model) if attribute.startswith("_tensor_constant")]:
            delattr(model, constant)  # of the trace before; otherwise those of this one are called otherwise
        try:
            graphs.append(_Tracer(name).trace(model.train(mode)))
        except Exception as error:
            raise BadInput(f"{name} cannot be traced: {error} ({_place(error)})") from error
    evaluation, training = graphs
    for there, here in zip_longest(evaluation.nodes, training.nodes):
        if there is None or here is None or _told(there) != _told(here):
            odd: Any = here or there
            at = _path(odd) or "its own forward"
            raise BadInput(f"{name} computes something else in training than in evaluation: {odd.target} in {at}")
    if not isinstance(training.output_node().args[0], fx.Node):
        raise BadInput(f"{name} gives more than one tensor")
    return training


def _told(node: fx.Node) -> tuple[str, ...]:
    """What an operation is, but for the mode of a function that drops outputs."""
    kwargs = {name: value for name, value in node.kwargs.items() if name != "training" or not _rates(node)}
    return node.op, str(node.target), str(node.args), str(kwargs)


def _rates(node: fx.Node) -> list[float]:
    """The shares of its values that a function drops in training, by its arguments."""
    if "dropout" in getattr(node.target, "__name__", "") and "p" in node.kwargs:
        rate: Any = node.kwargs["p"] if node.kwargs.get("training", True) else 0.0
        return [rate]
    return [value for name, value in node.kwargs.items() if "dropout" in name and isinstance(value, float)]


def _place(error: BaseException) -> str:
    """The line of a model's source where something went wrong: the last one that is not torch's own."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = str(Path(torch.__file__).parent)
    frame = next(frame for frame in reversed(frames) if not frame.filename.startswith((inside, "<")))
    return f"{'/'.join(Path(frame.filename).parts[-3:])}, line {frame.lineno}: {frame.line}"


def _path(node: fx.Node) -> str:
    """The path of the innermost module that makes an operation."""
    stack = node.meta.get("nn_module_stack")
    return next(reversed(stack.values()))[0] if stack else ""


def tensors(model: nn.Module, node: fx.Node) -> Iterable[torch.Tensor]:
    """The parameters and buffers that an operation uses itself."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        return [*module.parameters(), *module.buffers()]
    return [_attribute(model, arg) for arg in node.all_input_nodes if arg.op == "get_attr"]


def _attribute(model: nn.Module, node: fx.Node) -> torch.Tensor:
    owner, _, field = str(node.target).rpartition(".")
    return getattr(model.get_submodule(owner), field)


def drop(model: nn.Module, graph: fx.Graph, name: Name) -> None:
    """Let what is dropped in training be dropped by our masks: a `Dropout` for each operation that drops something.

    BadInput if something is dropped within an operation.
    """
    for node in list(graph.nodes):
        module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
        if module is not None:
            rate, axes = _dropped(module, name)
        elif node.op == "call_function":
            rate, axes = max(_rates(node), default=0.0), None
            if rate and node.target is not F.dropout:
                raise BadInput(f"{name} drops outputs within {node.target}, where no mask of ours reaches")
        else:
            continue
        if rate:
            path = f"{_path(node)}.{node.name}".lstrip(".") if module is None else str(node.target)
            path += f"_{node.name}" if isinstance(module, Dropout) else ""  # called again: with a mask of its own
            owner, _, child = path.rpartition(".")
            model.get_submodule(owner).add_module(child, Dropout(path, rate, axes))
            with graph.inserting_before(node):
                node.replace_all_uses_with(dropped := graph.call_module(path, (node.all_input_nodes[0],)))
            dropped.meta = node.meta
            graph.erase_node(node)


def _dropped(module: nn.Module, name: Name) -> tuple[float, int | None]:
    """The share of the outputs that an operation drops, and of which axes (see `Dropout`)."""
    match module:
        case nn.Dropout():
            return module.p, None
        case nn.Dropout1d() | nn.Dropout2d() | nn.Dropout3d():
            return module.p, 2
        case StochasticDepth():
            return module.p, 1 if module.mode == "row" else 0
        case Dropout():
            return module.rate, module.axes
        case _ if type(module).__name__ == "DropPath" and getattr(module, "scale_by_keep", False):
            return getattr(module, "drop_prob", 0.0), 1
    for inner in module.modules():
        rates = [getattr(inner, kind, 0.0) for kind in ("drop_prob", "p") if "drop" in type(inner).__name__.lower()]
        rates += [inner.dropout] if isinstance(inner, nn.MultiheadAttention) else []
        if any(rates):
            raise BadInput(f"{name} drops outputs within {type(module).__name__}, where no mask of ours reaches")
    return 0.0, None


class _Meter(fx.Interpreter):
    """Runs the operations; each node's meta gets the `shape` of what comes out, if it is a tensor, and its `flops`."""

    def __init__(self, model: nn.Module, graph: fx.Graph, counted: FlopCounterMode) -> None:
        super().__init__(model, graph=graph)
        self.counted = counted

    def run_node(self, n: fx.Node) -> Any:
        """One operation."""
        before = self.counted.get_total_flops()
        value = super().run_node(n)
        value = value.to("meta") if n.op == "get_attr" else value  # constants are real
        n.meta["shape"] = tuple(value.shape) if isinstance(value, torch.Tensor) else ()
        n.meta["flops"] = self.counted.get_total_flops() - before
        return value


def measure(model: nn.Module, graph: fx.Graph, images: torch.Tensor) -> None:
    """Note the shape and the FLOPs of every operation; model and images are on the meta device."""
    with torch.no_grad(), torch.device("meta"), FlopCounterMode(display=False) as counted:
        _Meter(model, graph, counted).run(images)


# Its segments


def find(model: nn.Module, nodes: Sequence[fx.Node]) -> list[Piece]:
    """The segments between cuts, each with a product with weights in it; the last is the head.

    The time is linear in the number of operations.
    """
    ends = [*places(model, nodes), len(nodes)]
    own = [{id(t) for t in tensors(model, node) if isinstance(t, nn.Parameter)} for node in nodes]
    multiplies = [bool(own[k]) and node.meta["flops"] > 0 for k, node in enumerate(nodes)]
    stops: list[int] = []
    for start, stop in pairwise([0, *ends]):
        if any(multiplies[start:stop]) and any(multiplies[:start]):
            stops.append(start)
    pieces = []
    for start, stop in pairwise([0, *stops, len(nodes)]):
        main = max(k for k in range(start, stop) if multiplies[k])
        name = "head" if stop == len(nodes) else _named(model, nodes[main], set().union(*own[start:stop]))
        pieces.append(Piece(name, start, stop))
    return pieces


def places(model: nn.Module, nodes: Sequence[fx.Node]) -> list[int]:
    """Every k such that the network can be cut before nodes[k]."""
    last_use = {arg: k for k, node in enumerate(nodes) for arg in node.all_input_nodes}
    spans: dict[int, list[int]] = {}
    for k, node in enumerate(nodes):
        for tensor in tensors(model, node):
            spans.setdefault(id(tensor), [k, k])[1] = k
    shared = [0] * (len(nodes) + 1)  # changes in how many tensors are used on both sides
    for first, last in spans.values():
        shared[first + 1] += 1
        shared[last + 1] -= 1
    atomic = {path: is_block(module) for path, module in model.named_modules()}
    crossing: set[fx.Node] = set()
    found, both = [], 0
    for k in range(1, len(nodes)):
        before, node = nodes[k - 1], nodes[k]
        both += shared[k]
        crossing -= {arg for arg in before.all_input_nodes if last_use[arg] == k - 1}
        if before in last_use and before.op != "get_attr":
            crossing.add(before)
        stacks = [n.meta.get("nn_module_stack", {}) for n in (before, node)]
        within = any(atomic[stacks[0][call][0]] for call in stacks[0].keys() & stacks[1].keys())
        if len(crossing) == 1 and not both and not within and next(iter(crossing)).meta["shape"][:1] == (BATCH,):
            found.append(k)
    return found


def is_block(module: nn.Module) -> bool:
    """Whether a module is never cut within: it computes something itself, and holds no stack of such modules."""

    def computes(module: nn.Module) -> bool:
        return type(module).forward not in (nn.Module.forward, nn.Sequential.forward)

    def is_stack(module: nn.Module) -> bool:
        blocks = [child for child in module.children() if computes(child) and not of_torch(child)]
        return isinstance(module, CONTAINERS) and sum(any(True for _ in block.parameters()) for block in blocks) > 1

    return computes(module) and not any(is_stack(child) for child in module.children())


def _named(model: nn.Module, main: fx.Node, own: set[int]) -> str:
    """The path of the largest module that holds the main operation of a segment and only parameters of the segment."""
    name = str(main.target)
    if main.op != "call_module":  # a function of a bare weight
        weight = next(str(arg.target) for arg in main.all_input_nodes if arg.op == "get_attr")
        name = _path(main) or weight.rpartition(".")[0] or weight
    while (parent := name.rpartition(".")[0]) and {id(p) for p in model.get_submodule(parent).parameters()} <= own:
        name = parent
    return name


def carried(nodes: Sequence[fx.Node], stop: int) -> fx.Node:
    """What comes out of nodes[:stop]: the tensor that all later ones use."""
    if stop == len(nodes):
        return nodes[-1].all_input_nodes[0]
    inside = set(nodes[:stop])
    (crossing,) = {
        arg for node in nodes[stop:] for arg in node.all_input_nodes if arg in inside and arg.op != "get_attr"
    }
    return crossing


def split(model: nn.Module, nodes: Sequence[fx.Node], pieces: Iterable[Piece]) -> list[fx.GraphModule]:
    """One graph module per segment; the first one standardises its input, with the model's module `standardise`."""
    parts, carrier = [], nodes[0]
    for piece in pieces:
        graph = fx.Graph()
        put = {carrier: graph.placeholder("x")}
        if piece.start == 0:
            put[carrier] = graph.call_module("standardise", (put[carrier],))
        for node in nodes[piece.start : piece.stop]:
            if node.op in ("placeholder", "output", "get_attr"):
                continue
            for attribute in node.all_input_nodes:
                if attribute.op == "get_attr" and attribute not in put:
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


def _keep_persistence(model: nn.Module, part: nn.Module, target: str) -> None:
    """Leave out of the state dict what the model leaves out of it: constants, and buffers of that kind."""
    path, _, field = target.rpartition(".")
    of_model, of_part = model.get_submodule(path), part.get_submodule(path)
    if (
        field not in of_model._parameters
        and field not in of_model._buffers.keys() - of_model._non_persistent_buffers_set
    ):
        of_part._non_persistent_buffers_set.add(field)
