"""Recording of networks of your own: their calls of torch while they run, on tensors without values.

`graph.py` traces models of libraries symbolically, which not all code supports. Here a model's Python code runs
unchanged, with shapes that are plain numbers; `recorded.py` makes a graph for batches of any size from the result.
"""

import inspect
import operator
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.fx.node import map_aggregate
from torch.overrides import TorchFunctionMode

TORCH = str(Path(torch.__file__).parent)
METHODS = {id(function): name for name, function in vars(torch.Tensor).items() if inspect.isfunction(function)}
OPERATORS = {"__getitem__": operator.getitem, "__setitem__": operator.setitem}


class Untraceable(Exception):
    """The reason why a model cannot be recorded. source: file and line of the operation, if known."""

    def __init__(self, why: str, node: fx.Node | None = None) -> None:
        super().__init__(why)
        self.source: tuple[str, int] | None = node.meta.get("source") if node else None
        if node is not None and node.meta.get("nn_module_stack"):
            self.path = next(reversed(node.meta["nn_module_stack"].values()))[0]


def run(model: nn.Module, images: int, side: int, is_leaf: Callable[[nn.Module], bool]) -> "Recorder":
    """Record one pass of a batch of this size through a model on the meta device, in its present mode."""
    recorder = Recorder(model, is_leaf)
    pixels = torch.empty(images, 3, side, side, device="meta")
    recorder.put(recorder.note("placeholder", "x", (), {}), pixels)
    parameters = inspect.signature(model.forward).parameters
    named = "pixel_values" in parameters and next(iter(parameters)) != "pixel_values"
    before = _chance()
    with torch.enable_grad(), torch.device("meta"), _calls_go_to(recorder), recorder:
        value = model(pixel_values=pixels) if named else model(pixels)
    if _chance() != before:
        raise Untraceable("it draws random numbers of Python or NumPy in its forward")
    logits = getattr(value, "logits", None) if isinstance(value, Mapping) else None  # as in transformers
    value = value if logits is None else logits
    if not isinstance(value, torch.Tensor):
        raise Untraceable(f"it gives a {type(value).__name__}, not one tensor [images, num_classes]", recorder.last)
    recorder.note("output", "output", (recorder.known(value),), {})
    return recorder


def _chance() -> Any:
    return random.getstate(), [str(part) for part in np.random.get_state()]


@contextmanager
def _calls_go_to(recorder: "Recorder") -> Iterator[None]:
    """Context in which every call of a module passes through the recorder."""
    original = nn.Module.__call__

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return recorder.call(original, module, args, kwargs)

    nn.Module.__call__ = call
    try:
        yield
    finally:
        nn.Module.__call__ = original


class Recorder(TorchFunctionMode):
    """Records the calls of torch while a model runs."""

    def __init__(self, model: nn.Module, is_leaf: Callable[[nn.Module], bool]) -> None:
        super().__init__()
        self.is_leaf = is_leaf
        self.graph = fx.Graph()
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.names = _names(model)
        self.nodes: dict[int, fx.Node] = {}  # by the ids of tensors
        self.alive: list[Any] = []  # so that no id is reused
        self.inside: dict[str, tuple[str, type]] = {}  # current calls of modules, without the model itself
        self.constants: dict[str, torch.Tensor] = {}
        self.metas: dict[int, torch.Tensor] = {}  # by the ids of tensors with values
        self.newest: fx.Node | None = None  # the last one that depends on the images
        self.calls, self.off = 0, False
        self.held = {_storage(tensor): name for name, tensor in _held(model)}

    @property
    def last(self) -> fx.Node:
        """A node at the place of the last one, but in no module."""
        node = fx.Graph().placeholder("x")
        node.meta = {"source": next(reversed(self.graph.nodes)).meta["source"]}
        return node

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Record a call of torch; calls within it do not come here."""
        if self.off:
            return func(*args, **(kwargs or {}))
        if func.__name__ == "__get__":
            return self.recorded("call_function", getattr, getattr, (args[0], func.__self__.__name__), {})
        if func.__name__ == "__set__":
            raise Untraceable(f"it sets the attribute {func.__self__.__name__} of a tensor in its forward")
        return self.recorded(*_operation(func), func, args, kwargs or {})

    def call(self, original: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Record a call of a module, or the calls within it."""
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
        """Compute a call, and record it if its result contains a tensor, or if it changes one."""
        self.off = True
        try:
            return self._recorded(op, target, func, args, kwargs)
        finally:
            self.off = False

    def _recorded(self, op: str, target: Any, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        inputs = [self.on_meta(leaf) for leaf in leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        versions = [tensor._version for tensor in inputs]
        value = func(*map_aggregate(args, self.on_meta), **map_aggregate(kwargs, self.on_meta))
        changed = {_storage(t) for t, version in zip(inputs, versions, strict=True) if t._version != version}
        if not changed and not any(isinstance(leaf, torch.Tensor) for leaf in leaves(value)):
            return value
        if not torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
            raise Untraceable("it switches gradients off in its forward, which would not be followed")
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            raise Untraceable("it switches autocast on in its forward, but the precision is the run's choice")
        if op != "call_module" and (written := changed & self.held.keys()):
            raise Untraceable(f"it writes to {self.held[written.pop()]} in its forward")
        same = set(map(id, inputs)) & set(map(id, leaves(value)))
        if (
            same and not changed
        ):  # an operation that returns its input unchanged: its node must not replace that of the input
            value = map_aggregate(value, lambda leaf: torch.ops.aten.alias(leaf) if id(leaf) in same else leaf)
        first = self.known(inputs[0]) if inputs else None

        def as_node(leaf: Any) -> Any:
            if isinstance(leaf, torch.Tensor):
                return self.known(self.on_meta(leaf))
            if isinstance(leaf, torch.device) and leaf.type == "meta" and first is not None:
                return self.note("call_function", getattr, (first, "device"), {})
            return leaf

        if first is None:
            kwargs = {name: value for name, value in kwargs.items() if name != "device"}
        anchor = self.newest
        node = self.note(op, target, map_aggregate(args, as_node), map_aggregate(kwargs, as_node))
        node.meta |= {"changed": changed, "factory": first is None, "anchor": anchor}
        self.put(node, value)
        return value

    def note(self, op: str, target: Any, args: Any, kwargs: Any) -> fx.Node:
        """Add a node to the graph."""
        node = self.graph.create_node(op, target, args, kwargs)
        of_images = op == "placeholder" or any(arg.meta["of_images"] for arg in node.all_input_nodes)
        node.meta = {"nn_module_stack": dict(self.inside), "shape": (), "of_images": of_images, "source": _source()}
        return node

    def put(self, node: fx.Node, value: Any) -> None:
        """Register a node for its value: one or several tensors."""
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
        """A meta tensor in place of a tensor with values."""
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
    """The opcode and target of a function of torch, or of a tensor's method, in a graph."""
    if func.__name__ in OPERATORS:
        return "call_function", OPERATORS[func.__name__]
    if inspect.ismethoddescriptor(func):
        return "call_method", func.__name__
    return ("call_method", METHODS[id(func)]) if id(func) in METHODS else ("call_function", func)


def _names(model: nn.Module) -> dict[int, str]:
    """The names of the model's tensors by their ids: parameters, buffers, and others."""
    names: dict[int, str] = {}
    for path, module in model.named_modules():
        for kind in (module._parameters, module._buffers, vars(module)):
            for name, tensor in kind.items():
                if isinstance(tensor, torch.Tensor):
                    names.setdefault(id(tensor), f"{path}.{name}".lstrip("."))
    return names


def _held(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters and buffers of a model."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def _source() -> tuple[str, int]:
    """The innermost executed line outside of torch and this file."""
    frame: Any = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith((TORCH, __file__)):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def leaves(value: Any) -> list[Any]:
    """The leaves of nested tuples, lists, dictionaries and slices, in order."""
    parts: list[Any] = []
    map_aggregate(value, parts.append)
    return parts
