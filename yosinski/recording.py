"""Networks of somebody's own as graphs of operations: recorded while they compute, on tensors that have no values.

`graph.py` traces models of libraries symbolically, for which they must be written. Here a model's own Python runs as it
is, on shapes that are plain numbers, and what it calls of torch is written down. It runs for two sizes of a batch: a
number that differs between both is the number of images or a multiple of it, and is taken from a tensor at hand.
"""

import copy
import inspect
import operator
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.fx.node import map_aggregate
from torch.overrides import TorchFunctionMode

TORCH = str(Path(torch.__file__).parent)
BATCHES = (2, 3)  # images; the graph is that of the first
METHODS = {id(function): name for name, function in vars(torch.Tensor).items() if inspect.isfunction(function)}
OPERATORS = {"__getitem__": operator.getitem, "__setitem__": operator.setitem}


class Untraceable(Exception):
    """What keeps a model from being recorded. source: the file and the line of the operation, if it is known."""

    def __init__(self, why: str, node: fx.Node | None = None) -> None:
        super().__init__(why)
        self.source: tuple[str, int] | None = node.meta.get("source") if node else None
        if node is not None and node.meta.get("nn_module_stack"):
            self.path = next(reversed(node.meta["nn_module_stack"].values()))[0]


@dataclass(frozen=True)
class Recorded:
    """The operations of a model, and the tensors among them that none of its modules holds, by their names."""

    graph: fx.Graph
    constants: dict[str, torch.Tensor]


def record(model: nn.Module, side: int, is_leaf: Callable[[nn.Module], bool]) -> Recorded:
    """What the model, which is on the meta device, makes of images of side x side pixels in the mode that it is in.

    The meta of a node: `nn_module_stack`, as fx has it; `source`: its file and line; `shape` of its tensor; `constant`:
    it depends on neither images nor parameters; `storage`, and `changed`: those that it writes to. Raises Untraceable
    or what the model raises, with the attribute `path`: the module in which that was.
    """
    first, second = (_run(copy.deepcopy(model), images, side, is_leaf) for images in BATCHES)
    _reconcile(list(first.graph.nodes), list(second.graph.nodes))
    _find_constants(model, first)
    _place_factories(first.graph)
    for node in reversed(list(first.graph.nodes)):
        if not node.users and node.op in ("call_function", "call_method", "get_attr") and not node.meta.get("changed"):
            first.graph.erase_node(node)
    _reshape(list(first.graph.nodes))
    return Recorded(first.graph, first.constants)


def _run(model: nn.Module, images: int, side: int, is_leaf: Callable[[nn.Module], bool]) -> "_Recorder":
    recorder = _Recorder(model, is_leaf)
    pixels = torch.empty(images, 3, side, side, device="meta")
    recorder.put(recorder.note("placeholder", "x", (), {}), pixels)
    parameters = inspect.signature(model.forward).parameters
    named = "pixel_values" in parameters and next(iter(parameters)) != "pixel_values"
    before = _chance()
    with torch.device("meta"), _calls_go_to(recorder), recorder:
        value = model(pixel_values=pixels) if named else model(pixels)
    if _chance() != before:
        raise Untraceable("it draws random numbers of Python or NumPy in its forward")
    logits = getattr(value, "logits", None) if isinstance(value, Mapping) else None  # as models of transformers do
    value = value if logits is None else logits
    if not isinstance(value, torch.Tensor):
        raise Untraceable(f"it gives a {type(value).__name__}, not one tensor [images, num_classes]", recorder.last)
    recorder.note("output", "output", (recorder.known(value),), {})
    return recorder


def _chance() -> Any:
    return random.getstate(), [str(part) for part in np.random.get_state()]


@contextmanager
def _calls_go_to(recorder: "_Recorder") -> Iterator[None]:
    """Let every call of a module pass through the recorder."""
    original = nn.Module.__call__

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return recorder.call(original, module, args, kwargs)

    nn.Module.__call__ = call
    try:
        yield
    finally:
        nn.Module.__call__ = original


class _Recorder(TorchFunctionMode):
    """Writes down what is called of torch while a model computes."""

    def __init__(self, model: nn.Module, is_leaf: Callable[[nn.Module], bool]) -> None:
        super().__init__()
        self.is_leaf = is_leaf
        self.graph = fx.Graph()
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.names = _names(model)
        self.nodes: dict[int, fx.Node] = {}  # by the ids of tensors
        self.alive: list[Any] = []  # so that no id is given twice
        self.inside: dict[str, tuple[str, type]] = {}  # calls of modules that go on, but for the model's own
        self.constants: dict[str, torch.Tensor] = {}
        self.metas: dict[int, torch.Tensor] = {}  # by the ids of tensors that have values
        self.newest: fx.Node | None = None  # of what depends on the images
        self.calls, self.off = 0, False
        self.held = {_storage(tensor): name for name, tensor in _held(model)}

    @property
    def last(self) -> fx.Node:
        """The last node, as if the model itself had made it."""
        found = fx.Graph().placeholder("x")
        found.meta = {"source": next(reversed(self.graph.nodes)).meta["source"]}
        return found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """A call of torch; what it calls itself does not come here."""
        if self.off:
            return func(*args, **(kwargs or {}))
        if func.__name__ == "__get__":
            return self.recorded("call_function", getattr, getattr, (args[0], func.__self__.__name__), {})
        if func.__name__ == "__set__":
            raise Untraceable(f"it sets the attribute {func.__self__.__name__} of a tensor in its forward")
        return self.recorded(*_operation(func), func, args, kwargs or {})

    def call(self, original: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any) -> Any:
        """A call of a module."""
        path = "" if self.off else self.paths.get(id(module), "")
        if not path:
            return original(module, *args, **kwargs)
        self.calls += 1
        key = f"{path}@{self.calls}"
        self.inside[key] = path, type(module)
        try:
            if self.is_leaf(module):
                return self.recorded("call_module", path, partial(original, module), args, kwargs)
            return original(module, *args, **kwargs)
        except Exception as error:
            vars(error).setdefault("path", path)
            raise
        finally:
            del self.inside[key]

    def recorded(self, op: str, target: Any, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Compute a call, and write it down if a tensor comes of it, or is changed by it."""
        self.off = True
        try:
            return self._recorded(op, target, func, args, kwargs)
        finally:
            self.off = False

    def _recorded(self, op: str, target: Any, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        given = [self.on_meta(leaf) for leaf in _leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        versions = [tensor._version for tensor in given]
        value = func(*map_aggregate(args, self.on_meta), **map_aggregate(kwargs, self.on_meta))
        changed = {_storage(t) for t, version in zip(given, versions, strict=True) if t._version != version}
        if not changed and not any(isinstance(leaf, torch.Tensor) for leaf in _leaves(value)):
            return value
        if not torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given):
            raise Untraceable("it switches gradients off in its forward, which would not be followed")
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            raise Untraceable("it switches autocast on in its forward, but the precision is the run's choice")
        if op != "call_module" and (written := changed & self.held.keys()):
            raise Untraceable(f"it writes to {self.held[written.pop()]} in its forward")
        same = set(map(id, given)) & set(map(id, _leaves(value)))
        if same and not changed:  # what does nothing may return what it is given, for which its node must not stand
            value = map_aggregate(value, lambda leaf: torch.ops.aten.alias(leaf) if id(leaf) in same else leaf)
        first = self.known(given[0]) if given else None

        def told(leaf: Any) -> Any:
            if isinstance(leaf, torch.Tensor):
                return self.known(self.on_meta(leaf))
            if isinstance(leaf, torch.device) and leaf.type == "meta" and first is not None:
                return self.note("call_function", getattr, (first, "device"), {})
            return leaf

        if first is None:
            kwargs = {name: value for name, value in kwargs.items() if name != "device"}
        anchor = self.newest
        node = self.note(op, target, map_aggregate(args, told), map_aggregate(kwargs, told))
        node.meta |= {"changed": changed, "factory": first is None, "anchor": anchor}
        self.put(node, value)
        return value

    def note(self, op: str, target: Any, args: Any, kwargs: Any) -> fx.Node:
        """A node of the graph."""
        node = self.graph.create_node(op, target, args, kwargs)
        of_images = op == "placeholder" or any(arg.meta["of_images"] for arg in node.all_input_nodes)
        node.meta = {"nn_module_stack": dict(self.inside), "shape": (), "of_images": of_images, "source": _source()}
        return node

    def put(self, node: fx.Node, value: Any) -> None:
        """Let a node stand for a value from now on: a tensor, or several."""
        self.alive.append(value)
        if isinstance(value, torch.Tensor):
            node.meta |= {"shape": tuple(value.shape), "storage": _storage(value)}
            self.nodes[id(value)] = node
            self.newest = node if node.meta["of_images"] else self.newest
        elif isinstance(value, tuple | list):
            for k, part in enumerate(value):
                if part is not None:
                    self.put(self.note("call_function", operator.getitem, (node, k), {}), part)
        elif value is not None:
            raise Untraceable(f"{node.target} gives a {type(value).__name__}", node)

    def on_meta(self, leaf: Any) -> Any:
        """A tensor that has values as one that has none."""
        if not isinstance(leaf, torch.Tensor) or leaf.device.type == "meta":
            return leaf
        if id(leaf) not in self.metas:
            if id(leaf) not in self.names:
                self.names[id(leaf)] = f"_tensor_constant{len(self.constants)}"
                self.constants[self.names[id(leaf)]] = leaf
            self.metas[id(leaf)] = meta = leaf.detach().to("meta")
            self.names[id(meta)] = self.names[id(leaf)]
            self.alive += [leaf, meta]
        return self.metas[id(leaf)]

    def known(self, tensor: torch.Tensor) -> fx.Node:
        """The node of a tensor."""
        if id(tensor) not in self.nodes:
            if id(tensor) not in self.names:
                raise Untraceable("it computes something by other means than torch's functions")
            self.put(self.note("get_attr", self.names[id(tensor)], (), {}), tensor)
        return self.nodes[id(tensor)]


def _operation(func: Any) -> tuple[str, Any]:
    """What a graph calls a function of torch, or a method of its tensors."""
    if func.__name__ in OPERATORS:
        return "call_function", OPERATORS[func.__name__]
    if inspect.ismethoddescriptor(func):
        return "call_method", func.__name__
    return ("call_method", METHODS[id(func)]) if id(func) in METHODS else ("call_function", func)


def _names(model: nn.Module) -> dict[int, str]:
    """Where the model has its tensors, by their ids: parameters, buffers, and what is neither."""
    found: dict[int, str] = {}
    for path, module in model.named_modules():
        for kind in (module._parameters, module._buffers, vars(module)):
            for name, tensor in kind.items():
                if isinstance(tensor, torch.Tensor):
                    found.setdefault(id(tensor), f"{path}.{name}".lstrip("."))
    return found


def _held(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters and buffers of a model."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def _source() -> tuple[str, int]:
    """The innermost line that is being executed and is neither torch's nor of this file."""
    frame: Any = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith((TORCH, __file__)):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _leaves(value: Any) -> list[Any]:
    """What a value of tuples, lists, dictionaries and slices holds, in order."""
    found: list[Any] = []
    map_aggregate(value, found.append)
    return found


def _with_leaves(value: Any, leaves: list[Any]) -> Any:
    """The same value with other leaves."""
    left = iter(leaves)
    return map_aggregate(value, lambda _: next(left))


# What it becomes for any batch


def _reconcile(here: list[fx.Node], there: list[fx.Node]) -> None:
    """Take every number that differs between two graphs from the sizes of the tensors that an operation is given."""
    pairs: dict[fx.Node, list[tuple[int, int]]] = {}
    for node, other in zip_longest(here, there):
        if node is None or other is None or (node.op, node.target) != (other.op, other.target):
            raise Untraceable("what it computes depends on the number of images in a batch", node or other)
        pairs[node] = list(zip(node.meta.get("shape", ()), other.meta.get("shape", ()), strict=False))
        mine, others = (_leaves((each.args, each.kwargs)) for each in (node, other))
        told = [_told(a, b, node, pairs) for a, b in zip_longest(mine, others)]
        if any(a is not b for a, b in zip(told, mine, strict=True)):
            node.args, node.kwargs = _with_leaves((node.args, node.kwargs), told)


def _told(mine: Any, other: Any, node: fx.Node, pairs: Mapping[fx.Node, list[tuple[int, int]]]) -> Any:
    """An argument of an operation for any batch, from what it is for two."""
    if isinstance(mine, fx.Node) and isinstance(other, fx.Node) and mine.name == other.name:
        return mine
    if type(mine) is not type(other) or isinstance(mine, fx.Node):
        raise Untraceable("what it computes depends on the number of images in a batch", node)
    if mine == other:
        return mine
    if isinstance(mine, int):
        for at_hand in (*node.all_input_nodes, node.meta["anchor"]):
            for axis, (a, b) in enumerate(pairs[at_hand]):
                if a != b and Fraction(mine, a) == Fraction(other, b):
                    return _multiple(node, at_hand, axis, Fraction(mine, a))
    raise Untraceable("what it computes depends on the number of images in a batch", node)


def _beside(node: fx.Node) -> dict[str, Any]:
    """The meta of a new node for the sake of another one."""
    return {"nn_module_stack": node.meta["nn_module_stack"], "source": node.meta["source"], "shape": ()}


def _multiple(node: fx.Node, at_hand: fx.Node, axis: int, share: Fraction) -> fx.Node:
    """Before a node a new one: so many times the size of a tensor along an axis."""
    steps = [("call_method", "size", (at_hand, axis))]
    steps += [("call_function", operator.mul, (share.numerator,))] if share.numerator != 1 else []
    steps += [("call_function", operator.floordiv, (share.denominator,))] if share.denominator != 1 else []
    found = at_hand
    with node.graph.inserting_before(node):
        for op, target, args in steps:
            found = node.graph.create_node(op, target, args if op == "call_method" else (found, *args))
            found.meta = {**_beside(node), "of_images": True}
    return found


def _find_constants(model: nn.Module, recorder: _Recorder) -> None:
    """Note of every node whether its value is always the same: computed from nothing that is learned or changed."""
    nodes = list(recorder.graph.nodes)
    held = {*model.state_dict(), *(name for name, _ in model.named_parameters())}
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
            its = node.meta.get("storage")
            varies = str(node.target) in held or its in written if node.op == "get_attr" else its in written_later
            if varies or node.meta["of_images"] or not all(arg.meta["constant"] for arg in node.all_input_nodes):
                node.meta["constant"] = settled = False


def _reshape(nodes: list[fx.Node]) -> None:
    """Let views be made of tensors in any memory format: images and weights here have their channels last."""
    written = set().union(*(node.meta.get("changed", ()) for node in nodes))
    for node in nodes:
        by_dtype = any(isinstance(arg, torch.dtype) for arg in _leaves((node.args, node.kwargs)))
        if node.op == "call_method" and node.meta.get("storage") not in written and not by_dtype:
            node.target = {"view": "reshape", "view_as": "reshape_as"}.get(str(node.target), node.target)


def _place_factories(graph: fx.Graph) -> None:
    """Let tensors that are made in every pass anew lie where the images do."""
    for node in list(graph.nodes):
        if node.meta.get("factory") and not node.meta["constant"] and node.op != "call_module":
            anchor = node.meta["anchor"]
            with graph.inserting_before(node):
                device = graph.call_function(getattr, (anchor, "device"))
            device.meta = {**_beside(node), "of_images": True, "constant": False}
            node.kwargs = {**node.kwargs, "device": device}
