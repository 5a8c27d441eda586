"""Networks from libraries and files as segments: a graph of operations, cut where a single tensor crosses.

Models are examined on the meta device, where tensors have shapes and no values. Models of torchvision and timm are
traced here, models from files in `own_graph.py`; `segments.py` finds the cuts.
"""

import importlib
import math
import random
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import fx, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import StochasticDepth

from yosinski.errors import BadInput
from yosinski.networks import libraries
from yosinski.networks.architectures import SegmentCost
from yosinski.networks.layers import Dropout
from yosinski.networks.traced import Head, Name, Traced
from yosinski.networks.tracing.one_image import in_pairs
from yosinski.networks.tracing.segments import BATCH, Piece, carried, find, of_torch, path_of, tensors

OUTPUTS = 1009  # of the head of an examined model: a prime, so that shapes show what grows with the outputs


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Context with this seed for all random numbers. The states of the generators are restored at the end."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def operations(model: nn.Module, name: Name) -> fx.Graph:
    """The graph of a model's operations, with dropout by `layers.Dropout`."""
    graph = trace(model, name)
    drop(model, graph, name)
    return graph


@lru_cache
def survey(name: Name) -> tuple[Traced, tuple[Piece, ...]]:
    """A network's description and its segments, without allocating weights. BadInput if it cannot be traced or cut."""
    libraries.check_known(name)
    side = name.side or libraries.usual_side(name)
    with libraries.Weightless():
        model = libraries.made(name, OUTPUTS)[0].to("meta")
    graph = operations(model, name)
    try:
        measure(model, graph, torch.empty(BATCH, 3, side, side, device="meta"))
    except Exception as error:
        why = str(error).splitlines()[0]
        raise BadInput(f"{name} does not take images of {side} x {side} pixels: {why} ({_place(error)})") from error
    left_off = ("auxiliary heads",) if libraries.has_auxiliary(name) else ()
    return described(model, graph, str(name), side, left_off)


def described(
    model: nn.Module, graph: fx.Graph, name: str, side: int, left_off: tuple[str, ...], nested: bool = False
) -> tuple[Traced, tuple[Piece, ...]]:
    """The description and the segments of a measured graph. BadInput if it has no cut."""
    nodes = list(graph.nodes)
    pieces = find(model, nodes, nested)
    if len(pieces) < 2:
        raise BadInput(f"{name} has no cut: nowhere between its blocks does a single tensor carry all that comes later")
    shapes = [carried(nodes, piece.stop).meta["shape"][1:] for piece in pieces]
    *below, head = (_count(model, nodes[piece.start : piece.stop]) for piece in pieces)
    rows = (
        SegmentCost(piece.name, cost.parameters, cost.flops, shape)
        for piece, cost, shape in zip(pieces, below, shapes, strict=False)
    )
    paired = in_pairs(model, graph, side, [piece.stop for piece in pieces])
    return Traced(side, tuple(rows), head, left_off, paired), tuple(pieces)


def _count(model: nn.Module, part: Sequence[fx.Node]) -> Head:
    """Parameters and FLOPs of a segment, and their growth with the number of outputs."""
    sizes = {id(p): p.shape for node in part for p in tensors(model, node) if isinstance(p, nn.Parameter)}.values()
    parameters, grown = sum(map(math.prod, sizes)), sum(math.prod(size) for size in sizes if OUTPUTS in size)
    flops = sum(node.meta["flops"] for node in part) // BATCH
    grown_flops = sum(node.meta["flops"] for node in part if OUTPUTS in node.meta["shape"]) // BATCH
    return Head(parameters - grown, grown // OUTPUTS, flops - grown_flops, grown_flops // OUTPUTS)


# Operations


class _Tracer(fx.Tracer):
    """Records layers of torch, classes derived from them and timm's untraceable modules as single operations."""

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
        """Whether a module is recorded as one operation."""
        return isinstance(m, self.untraced) or of_torch(m)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """Only the images are an input; other arguments of a model keep their defaults."""
        return root_fn, [self.root, self.create_proxy("placeholder", "x", (), {})]


def trace(model: nn.Module, name: Name) -> fx.Graph:
    """The graph of the model's operations in training.

    BadInput, with the line of the source, if the operations depend on the images, or if they differ in evaluation,
    except for functional dropout.
    """
    graphs = []
    for mode in (False, True):
        for constant in [attribute for attribute in vars(model) if attribute.startswith("_tensor_constant")]:
            delattr(model, constant)  # left by an earlier trace; they would change the names of new constants
        try:
            graphs.append(_Tracer(name).trace(model.train(mode)))
        except Exception as error:
            raise BadInput(f"{name} cannot be traced: {error} ({_place(error)})") from error
    evaluation, training = graphs
    for in_evaluation, in_training in zip_longest(evaluation.nodes, training.nodes):
        if in_evaluation is None or in_training is None or _without_mode(in_evaluation) != _without_mode(in_training):
            odd: Any = in_training or in_evaluation
            place = path_of(odd) or "its own forward"
            raise BadInput(f"{name} computes something else in training than in evaluation: {odd.target} in {place}")
    if not isinstance(training.output_node().args[0], fx.Node):
        raise BadInput(f"{name} gives more than one tensor")
    return training


def _without_mode(node: fx.Node) -> tuple[str, ...]:
    """An operation for comparison, without the training mode of functional dropout."""
    kwargs = {name: value for name, value in node.kwargs.items() if name != "training" or not _rates(node)}
    return node.op, str(node.target), str(node.args), str(kwargs)


def _rates(node: fx.Node) -> list[float]:
    """The dropout rates among a function's arguments."""
    if "dropout" in getattr(node.target, "__name__", "") and "p" in node.kwargs:
        rate: Any = node.kwargs["p"] if node.kwargs.get("training", True) else 0.0
        return [rate]
    return [value for name, value in node.kwargs.items() if "dropout" in name and isinstance(value, float)]


def _place(error: BaseException) -> str:
    """The line of a model's source in which an error occurred: the last one outside of torch."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = str(Path(torch.__file__).parent)
    frame = next(frame for frame in reversed(frames) if not frame.filename.startswith((inside, "<")))
    return f"{'/'.join(Path(frame.filename).parts[-3:])}, line {frame.lineno}: {frame.line}"


def drop(model: nn.Module, graph: fx.Graph, name: Name) -> None:
    """Replace all dropout in the graph by `layers.Dropout`, one for each operation that drops outputs.

    BadInput if outputs are dropped within an operation.
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
            path = f"{path_of(node)}.{node.name}".lstrip(".") if module is None else str(node.target)
            path += f"_{node.name}" if isinstance(module, Dropout) else ""  # second call: its own mask
            owner, _, child = path.rpartition(".")
            model.get_submodule(owner).add_module(child, Dropout(path, rate, axes))
            with graph.inserting_before(node):
                node.replace_all_uses_with(dropped := graph.call_module(path, (node.all_input_nodes[0],)))
            dropped.meta = node.meta
            graph.erase_node(node)


def _dropped(module: nn.Module, name: Name) -> tuple[float, int | None]:
    """The dropout rate of an operation, and its axes (see `Dropout`)."""
    match module:
        case nn.Dropout():
            return module.p, None
        case nn.Dropout1d() | nn.Dropout2d() | nn.Dropout3d():
            return module.p, 2
        case StochasticDepth():
            return module.p, 1 if module.mode == "row" else 0
        case Dropout():
            return module.rate, module.axes
        case _ if drops_paths(module):
            return getattr(module, "drop_prob", 0.0) or 0.0, 1
    for inner in module.modules():
        rates = [getattr(inner, kind, 0.0) for kind in ("drop_prob", "p") if "drop" in type(inner).__name__.lower()]
        rates += [inner.dropout] if isinstance(inner, nn.MultiheadAttention) else []
        if any(rates):
            raise BadInput(f"{name} drops outputs within {type(module).__name__}, where no mask of ours reaches")
    return 0.0, None


def drops_paths(module: nn.Module) -> bool:
    """Whether a module drops residual paths as `Dropout` does: the modules of timm and of transformers."""
    kind = type(module)
    scaled = kind.__name__ == "DropPath" and getattr(module, "scale_by_keep", False)
    return scaled or (kind.__name__.endswith("DropPath") and kind.__module__.startswith("transformers."))


class _Meter(fx.Interpreter):
    """Runs the operations and notes in each node's meta the `shape` of a tensor result, and the `flops`."""

    def __init__(self, model: nn.Module, graph: fx.Graph, counted: FlopCounterMode) -> None:
        super().__init__(model, graph=graph)
        self.counted = counted

    def run_node(self, n: fx.Node) -> Any:
        """Run and measure one operation."""
        before = self.counted.get_total_flops()
        try:
            value = super().run_node(n)
        except Exception as error:
            vars(error).setdefault("path", path_of(n))
            vars(error)["source"] = vars(error).get("source") or n.meta.get("source")
            raise
        value = value.to("meta") if n.op == "get_attr" else value  # constants are real
        n.meta["shape"] = tuple(value.shape) if isinstance(value, torch.Tensor) else ()
        n.meta["flops"] = self.counted.get_total_flops() - before
        return value


def measure(model: nn.Module, graph: fx.Graph, images: torch.Tensor) -> None:
    """Note the shape and FLOPs of every operation. Model and images are on the meta device."""
    with torch.no_grad(), torch.device("meta"), FlopCounterMode(display=False) as counted:
        _Meter(model, graph, counted).run(images)
