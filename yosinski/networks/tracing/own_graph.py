"""Networks of your own: made by their code, recorded, and identified by the recorded graph."""

import copy
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import fx, nn
from torch.fx.node import map_aggregate
from torch.nn.parameter import UninitializedParameter
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import StochasticDepth

from yosinski.errors import BadInput
from yosinski.identity import digest
from yosinski.networks import own, own_code
from yosinski.networks.layers import STANDARDISE, channels_last
from yosinski.networks.libraries import Weightless
from yosinski.networks.own_code import USUAL_SIDE, Code, described
from yosinski.networks.traced import Name, Traced
from yosinski.networks.tracing import graph
from yosinski.networks.tracing.recorded import Recorded, record
from yosinski.networks.tracing.recording import Untraceable
from yosinski.networks.tracing.segments import BATCH, CONSTANT, Piece, is_constant, of_torch, path_of, tensors


@dataclass(frozen=True)
class Found:
    """The recorded graph of a network in training, before its dropout is replaced."""

    side: int
    recorded: Recorded
    graph: str  # its hash
    head: tuple[str, int]
    described: Traced
    pieces: tuple[Piece, ...]


def loaded(code: Code, maker: str, side: int | None) -> own.Own:
    """The network that code makes. BadInput, with the place, if it makes none, or one that cannot be cut."""
    network = _found(code, maker, side)
    return own.Own(
        Code(code.folder, code.main, code.sources), maker, network.side, network.graph, network.head, network.described
    )


def survey(name: Name) -> tuple[Traced, tuple[Piece, ...]]:
    """The description and the segments of a registered network."""
    network = _survey(str(name))
    return network.described, network.pieces


@lru_cache
def _survey(network: str) -> Found:
    """Record a registered network. BadInput if the installed packages make another network than before of its code."""
    recorded = own.remembered(network)
    current = _found(recorded.code, recorded.maker, recorded.side)
    if current.graph != recorded.graph:
        raise BadInput(
            f"{network} is not what it was when it was recorded: the packages that are installed here, or this "
            "machine, make other operations of its code; install those that its records name"
        )
    return current


def plain(name: Name, outputs: int) -> tuple[nn.Module, dict[str, Any]]:
    """The model of a registered network, and the arguments of its call."""
    network = own.remembered(str(name))
    with network.code.loaded() as module:
        return made(network.code, module, network.maker, outputs, network.side)[:2]


def operations(model: nn.Module, name: Name) -> fx.Graph:
    """The graph of a registered network, with dropout by `layers.Dropout` and constants as the model's attributes."""
    recorded = _survey(str(name)).recorded
    for attribute, tensor in recorded.constants.items():
        setattr(model, attribute, tensor)
    copied = copy.deepcopy(recorded.graph)
    graph.drop(model, copied, name)
    for node, value in _constants(model, copied.nodes):
        setattr(model, CONSTANT.format(node.name), value)
    return copied


@torch.no_grad()
def _constants(model: nn.Module, nodes: Iterable[fx.Node]) -> Iterator[tuple[fx.Node, torch.Tensor]]:
    """The nodes of constant operations, each with its value."""
    values: dict[fx.Node, Any] = {}
    for node in nodes:
        if not is_constant(node):
            continue
        args, kwargs = (
            map_aggregate(part, lambda leaf: values[leaf] if isinstance(leaf, fx.Node) else leaf)
            for part in (node.args, node.kwargs)
        )
        if node.op == "get_attr":
            owner, _, field = str(node.target).rpartition(".")
            values[node] = getattr(model.get_submodule(owner), field)
        elif node.op == "call_method":
            values[node] = getattr(args[0], str(node.target))(*args[1:], **kwargs)  # pyright: ignore
        else:
            values[node] = node.target(*args, **kwargs)  # pyright: ignore
        if node.op != "get_attr" and isinstance(values[node], torch.Tensor):
            yield node, values[node]


@torch.no_grad()
def completed(network: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A complete state dict of the plain model: unused tensors have the values of the constructor."""
    recorded = own.remembered(network)
    name, axis = recorded.head
    with recorded.code.loaded() as module, graph.seeded(0):
        model, *_ = made(recorded.code, module, recorded.maker, tensors[name].shape[axis], recorded.side)
    state = model.state_dict(keep_vars=True)
    used = {id(tensor): name for name, tensor in state.items() if name in tensors}  # shared tensors have two names
    complete = {
        name: tensors[used[id(tensor)]] if id(tensor) in used else tensor.detach() for name, tensor in state.items()
    }
    return {name: tensor.contiguous().clone() for name, tensor in complete.items()}


# Making the model


def made(code: Code, module: ModuleType, maker: str, outputs: int, side: int | None) -> tuple[nn.Module, dict, int]:
    """The model that loaded code makes, the arguments of the call, and the side of its images.

    side: None for the code's default. BadInput if the result is no usable model.
    """
    function, arguments, side = own_code.arguments(code, module, maker, outputs, side)
    label = f"{code.file}:{maker}"
    with code.blamed(f"({maker}) makes no network"):
        model = function(**arguments)
    if isinstance(model, type) or not isinstance(model, nn.Module):
        raise BadInput(f"{label} returns a {type(model).__name__}, not a torch.nn.Module")
    if hasattr(model, "_orig_mod") or isinstance(model, torch.jit.ScriptModule | fx.GraphModule):
        raise BadInput(f"{label} returns a {type(model).__name__}, which hides its operations: return the plain model")
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise BadInput(f"{label}: {name} has no shape before the first image: say how many inputs its layer has")
        if not parameter.requires_grad:
            raise BadInput(
                f"{label}: parameter {name} does not require gradients; what is trained is the treatment's choice: "
                "make a buffer of what never changes"
            )
    if not any(True for _ in model.parameters()):
        raise BadInput(f"{label} has no parameters")
    for name in [*dict(model.named_modules()), *model.state_dict()]:
        if STANDARDISE in name.split("."):
            raise BadInput(
                f"{label}: nothing in it may be called {STANDARDISE}, which is how its input is standardised: {name}"
            )
    if side is None:
        size = getattr(model, "image_size", None) or getattr(getattr(model, "config", None), "image_size", None)
        side = own_code.square(size) or USUAL_SIDE
    return model, arguments, side


# Recording the model


def _found(code: Code, maker: str, side: int | None) -> Found:
    label = f"{code.file}:{maker}"
    with code.loaded() as module, graph.seeded(0):
        with Weightless():
            model, _, side = made(code, module, maker, graph.OUTPUTS, side)
        values = _values({**dict(model.named_buffers()), **_bare(model)})
        model = model.to("meta")
        with _explained(code, label, side):
            recorded = record(model.train(), side, _is_leaf)
    nodes = list(recorded.graph.nodes)
    hashed = digest([*(_description(model, node) for node in nodes), values, _values(recorded.constants)])
    used = {name for node in nodes for name in _uses(model, node)}
    left_off = tuple(name for name in model.state_dict() if name not in used)
    for attribute, tensor in recorded.constants.items():
        setattr(model, attribute, tensor)
    measured = copy.deepcopy(recorded.graph)
    graph.drop(model, measured, Name("file", label, side))
    with _explained(code, label, side), _NoChance():
        images = torch.empty(BATCH, 3, side, side, device="meta").to(memory_format=torch.channels_last)
        graph.measure(channels_last(model), measured, images)
    shape = measured.output_node().all_input_nodes[0].meta["shape"]
    if shape != (BATCH, graph.OUTPUTS):
        numbers = " x ".join(map(str, shape[1:])) or "no"
        raise BadInput(f"{label} gives {numbers} numbers for every image where num_classes is {graph.OUTPUTS}")
    traced, pieces = graph.described(model, measured, label, side, left_off, nested=True)
    return Found(side, recorded, hashed, _head(label, model, list(measured.nodes), pieces), traced, pieces)


def _is_leaf(module: nn.Module) -> bool:
    """Whether a module is recorded as one operation."""
    return of_torch(module) or isinstance(module, StochasticDepth | torch.jit.ScriptModule) or graph.drops_paths(module)


@contextmanager
def _explained(code: Code, what: str, side: int) -> Iterator[None]:
    """Context in which an error in the model's operations becomes one line, with module and place in the source."""
    try:
        yield
    except BadInput:
        raise
    except (Exception, SystemExit) as error:
        untraceable = isinstance(error, Untraceable)
        message = str(error).splitlines()[0] if untraceable else described(error)
        if "meta" in message and "tensor" in message.lower():  # the code needs values, which meta tensors do not have
            message = "what it computes depends on the values of the images, not on their shape alone"
        source = getattr(error, "source", None)
        place = code.line(*source) if source else code.place(error)
        raise BadInput(
            f"{what} cannot be traced on images of 3 x {side} x {side} pixels: {message}"
            f"{_at(getattr(error, 'path', ''), place)}"
        ) from error


def _at(path: str, place: str) -> str:
    """The module, unless it is the network itself, and the line of its source, in brackets."""
    parts = ", ".join([f"in {path}"] * bool(path) + [place] * bool(place))
    return f" ({parts})" if parts else ""


class _NoChance(TorchDispatchMode):
    """Raises an error when random numbers are drawn: they would not depend on the seed of the step."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags:
            named = {
                argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)
            } | kwargs
            if named.get("dropout_p", named.get("p")) not in (0.0, 1.0) and not (
                "attention" in str(func) and "dropout_p" not in named
            ):
                raise Untraceable(f"it draws random numbers by {func}, which no seed of a run reaches")
        return func(*args, **kwargs)


def _head(what: str, model: nn.Module, nodes: list[fx.Node], pieces: tuple[Piece, ...]) -> tuple[str, int]:
    """The first tensor with a row, or a column, per output. BadInput if there is none, or one below the head."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for piece in pieces[:-1]:
        for node in nodes[piece.start : piece.stop]:
            for tensor in tensors(model, node):
                if any(size % graph.OUTPUTS == 0 for size in tensor.shape if size):
                    raise BadInput(
                        f"{what}: {names.get(id(tensor), node.target)}, in segment {piece.name}, grows with "
                        "num_classes; only the last segment may"
                    )
    for node in nodes[pieces[-1].start :]:
        for tensor in tensors(model, node):
            if isinstance(tensor, nn.Parameter) and graph.OUTPUTS in tensor.shape:
                return names[id(tensor)], list(tensor.shape).index(graph.OUTPUTS)
    raise BadInput(f"{what}: no parameter of its last segment has as many rows as there are classes")


# Identity of a network


def _description(model: nn.Module, node: fx.Node) -> list[Any]:
    """An operation, its arguments and its result as JSON values that are the same on all machines."""
    target = node.target if isinstance(node.target, str) else f"{node.target.__module__}.{node.target.__name__}"
    description = [node.op, target, _text(node.args), _text(node.kwargs), node.meta["shape"], path_of(node)]
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        settings = {name: value for name, value in vars(module).items() if name[0] != "_" and name != "training"}
        plain = {name: str(value) for name, value in settings.items() if isinstance(value, int | float | str | tuple)}
        description += [type(module).__name__, plain]
    for tensor in tensors(model, node):
        description.append([str(tensor.dtype), *tensor.shape])
    return description


def _text(value: Any) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def _values(named: Mapping[str, torch.Tensor]) -> dict[str, list[Any]]:
    """Tensors as JSON values: integers by their bytes, floating-point values by norms with three digits.

    The last digits of floating-point results differ between machines.
    """
    values: dict[str, list[Any]] = {}
    for name, tensor in sorted(named.items()):
        values[name] = [str(tensor.dtype), *tensor.shape]
        if tensor.device.type == "meta":
            continue
        flat = tensor.detach().flatten()
        if flat.is_floating_point() or flat.is_complex():
            place = torch.arange(1, len(flat) + 1, dtype=torch.float64)
            values[name] += [f"{norm:.3g}" for norm in (flat.abs().double().norm(), (flat.abs() * place).norm())]
        else:
            values[name].append(hashlib.sha256(flat.numpy().tobytes()).hexdigest())
    return values


def _bare(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of modules that are neither parameters nor buffers."""
    return {
        f"{path}.{name}".lstrip("."): tensor
        for path, module in model.named_modules()
        for name, tensor in vars(module).items()
        if isinstance(tensor, torch.Tensor)
    }


def _uses(model: nn.Module, node: fx.Node) -> Iterable[str]:
    """The names of the tensors in the state dict that an operation uses."""
    if node.op == "call_module":
        return (f"{node.target}.{name}" for name in model.get_submodule(str(node.target)).state_dict())
    return [str(node.target)] if node.op == "get_attr" else []
