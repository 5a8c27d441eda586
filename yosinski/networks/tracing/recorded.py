"""Recorded operations as a graph for batches of any size.

A model runs in evaluation, and twice in training, with batches of two sizes. A number that differs between these two is
a multiple of the number of images; the graph computes it from the size of a tensor.
"""

import copy
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from typing import Any

import torch
from torch import fx, nn
from torch.fx.node import map_aggregate

from yosinski.networks.tracing.recording import Recorder, Untraceable, leaves, run

BATCHES = (2, 3)  # images per batch; the graph is made from the first
# Operations that compute with numbers; elsewhere numbers are sizes.
COMPUTING = {
    *("add", "sub", "rsub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "truediv", "floor_divide"),
    *("floordiv", "pow", "fmod", "remainder", "mod", "clamp", "clamp_min", "clamp_max", "eq", "ne", "lt", "le", "gt"),
    *("ge", "fill", "masked_fill", "addcmul"),
}
REDUCING = {
    *("mean", "sum", "amax", "amin", "max", "min", "std", "var", "norm", "prod", "logsumexp", "nanmean", "nansum"),
    *("median", "vector_norm"),
}
TOGETHER = "what it computes of an image depends on the other images in the batch"


@dataclass(frozen=True)
class Recorded:
    """The graph of a model, and the tensors in it that belong to no module, by name."""

    graph: fx.Graph
    constants: dict[str, torch.Tensor]


def record(model: nn.Module, side: int, is_leaf: Callable[[nn.Module], bool]) -> Recorded:
    """Record the operations of a model, on the meta device, on images of side x side pixels in training.

    They must be the same in evaluation, except for dropout.

    The meta of a node: `nn_module_stack`, as in fx; `source`: file and line; `shape` of its tensor; `constant`: whether
    it is independent of images and parameters; `storage`, and `changed`: the storages that it writes to. Raises
    Untraceable or the model's own errors, with the attribute `path`: the module of the error.
    """
    runs = [(False, BATCHES[0]), *((True, images) for images in BATCHES)]
    evaluation, first, second = (run(copy.deepcopy(model).train(mode), n, side, is_leaf) for mode, n in runs)
    _compare(evaluation.graph, first.graph)
    _reconcile(list(first.graph.nodes), list(second.graph.nodes))
    _find_constants(model, first)
    _place_factories(first.graph)
    for node in reversed(list(first.graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output") and not node.meta.get("changed"):
            first.graph.erase_node(node)
    _reshape(list(first.graph.nodes))
    return Recorded(first.graph, first.constants)


def _compare(evaluation: fx.Graph, training: fx.Graph) -> None:
    """Untraceable if training and evaluation differ in more than dropout."""
    for in_evaluation, in_training in zip_longest(evaluation.nodes, training.nodes):
        if in_evaluation is None or in_training is None or _but_dropped(in_evaluation) != _but_dropped(in_training):
            raise Untraceable(
                "it computes something else in training than in evaluation, where only torch's dropout, drop paths of "
                "torchvision, timm and transformers, and batch norm may do so",
                in_training or in_evaluation,
            )
        if _is_dropout(in_evaluation) and in_evaluation.kwargs.get("training", True) and in_evaluation.kwargs.get("p"):
            raise Untraceable("it drops outputs in evaluation, too", in_evaluation)


def _but_dropped(node: fx.Node) -> tuple[str, ...]:
    kwargs = {name: value for name, value in node.kwargs.items() if "dropout" not in name}
    if _is_dropout(node):
        kwargs.pop("training", None)
    return node.op, str(node.target), str(node.args), str(kwargs)


def _is_dropout(node: fx.Node) -> bool:
    return "dropout" in getattr(node.target, "__name__", "")


def _reconcile(here: list[fx.Node], there: list[fx.Node]) -> None:
    """Replace every number that differs between two graphs by one computed from the size of a tensor."""
    pairs: dict[fx.Node, list[tuple[int, int]]] = {}
    for node, counterpart in zip_longest(here, there):
        if node is None or counterpart is None or (node.op, node.target) != (counterpart.op, counterpart.target):
            raise Untraceable("what it computes depends on the number of images in a batch", node or counterpart)
        pairs[node] = list(zip(node.meta.get("shape", ()), counterpart.meta.get("shape", ()), strict=False))
        _check_apart(node, pairs)
        leaves_here, leaves_there = (leaves((each.args, each.kwargs)) for each in (node, counterpart))
        arguments = [_generalised(a, b, node, pairs) for a, b in zip_longest(leaves_here, leaves_there)]
        if any(a is not b for a, b in zip(arguments, leaves_here, strict=True)):
            node.args, node.kwargs = with_leaves((node.args, node.kwargs), arguments)


def _check_apart(node: fx.Node, pairs: Mapping[fx.Node, list[tuple[int, int]]]) -> None:
    """Untraceable if an operation mixes the images of a batch, so that its result has not one part per image."""
    one_each, *inputs = (any(a != b for a, b in pairs[each]) for each in (node, *node.all_input_nodes))
    has_axes = bool(node.meta.get("shape")) or _called(node) in REDUCING
    factory = node.meta.get("factory") or _called(node).startswith("new_")  # uses only the type of its input
    if any(inputs) and not one_each and has_axes and not factory and node.op.startswith("call"):
        raise Untraceable(TOGETHER, node)


def _called(node: fx.Node) -> str:
    """The name of an operation, the same for a function, a method and its in-place form."""
    return str(getattr(node.target, "__name__", node.target)).strip("_")


def _generalised(mine: Any, other: Any, node: fx.Node, pairs: Mapping[fx.Node, list[tuple[int, int]]]) -> Any:
    """An argument of an operation for any number of images, from its values for two numbers."""
    if isinstance(mine, fx.Node) and isinstance(other, fx.Node) and mine.name == other.name:
        return mine
    if type(mine) is not type(other) or isinstance(mine, fx.Node):
        raise Untraceable("what it computes depends on the number of images in a batch", node)
    if mine == other:
        return mine
    if isinstance(mine, int) and isinstance(other, int) and _called(node) not in COMPUTING:
        for at_hand in (*node.all_input_nodes, node.meta["anchor"]):
            for axis, (a, b) in enumerate(pairs[at_hand]):
                if a != b and Fraction(mine, a) == Fraction(other, b):
                    return _multiple(node, at_hand, axis, Fraction(mine, a))
    raise Untraceable("what it computes depends on the number of images in a batch", node)


def _beside(node: fx.Node) -> dict[str, Any]:
    """The meta of a new node that is inserted for another one."""
    return {"nn_module_stack": node.meta["nn_module_stack"], "source": node.meta["source"], "shape": ()}


def _multiple(node: fx.Node, at_hand: fx.Node, axis: int, share: Fraction) -> fx.Node:
    """A new node before `node`: `share` times the size of a tensor along an axis."""
    steps = [("call_method", "size", (at_hand, axis))]
    steps += [("call_function", operator.mul, (share.numerator,))] if share.numerator != 1 else []
    steps += [("call_function", operator.floordiv, (share.denominator,))] if share.denominator != 1 else []
    result = at_hand
    with node.graph.inserting_before(node):
        for op, target, args in steps:
            result = node.graph.create_node(op, target, args if op == "call_method" else (result, *args))
            result.meta = {**_beside(node), "of_images": True}
    return result


def _find_constants(model: nn.Module, recorder: Recorder) -> None:
    """Note for every node whether its value is constant: independent of images, parameters and buffers."""
    nodes = list(recorder.graph.nodes)
    state = {*model.state_dict(), *(name for name, _ in model.named_parameters())}
    written = set().union(*(node.meta.get("changed", ()) for node in nodes))
    for node in nodes:
        node.meta["constant"] = node.op in ("get_attr", "call_function", "call_method")
    settled = False
    while not settled:
        settled = True
        written_later = {
            storage for node in nodes if not node.meta["constant"] for storage in node.meta.get("changed", ())
        }
        for node in nodes:
            if not node.meta["constant"]:
                continue
            storage = node.meta.get("storage")
            varies = (
                str(node.target) in state or storage in written if node.op == "get_attr" else storage in written_later
            )
            if varies or node.meta["of_images"] or not all(arg.meta["constant"] for arg in node.all_input_nodes):
                node.meta["constant"] = settled = False


def _reshape(nodes: list[fx.Node]) -> None:
    """Replace views by reshapes, which allow any memory format: images and weights are channels-last here."""
    written = set().union(*(node.meta.get("changed", ()) for node in nodes))
    for node in nodes:
        by_dtype = any(isinstance(arg, torch.dtype) for arg in leaves((node.args, node.kwargs)))
        if node.op == "call_method" and node.meta.get("storage") not in written and not by_dtype:
            node.target = {"view": "reshape", "view_as": "reshape_as"}.get(str(node.target), node.target)


def _place_factories(graph: fx.Graph) -> None:
    """Create the tensors of every pass on the device of the images."""
    for node in list(graph.nodes):
        if node.meta.get("factory") and not node.meta["constant"] and node.op != "call_module":
            anchor = node.meta["anchor"]
            with graph.inserting_before(node):
                device = graph.call_function(getattr, (anchor, "device"))
            device.meta = {**_beside(node), "of_images": True, "constant": False}
            node.kwargs = {**node.kwargs, "device": device}


def with_leaves(value: Any, others: list[Any]) -> Any:
    """The same nested value with other leaves."""
    remaining = iter(others)
    return map_aggregate(value, lambda _: next(remaining))
