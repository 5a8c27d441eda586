"""Weights that others have trained, as the tensors of a base: found, read without executing anything, made to fit.

A network's tensors are called as the library's model calls them, behind the name of their segment, but for what the
first segment subtracts and divides by. Those of our own networks keep their names.
"""

import importlib
import json
import pickle
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from yosinski import networks, own, surgery
from yosinski.architectures import ARCHITECTURES, architecture, is_own
from yosinski.data import FILTERS, some
from yosinski.errors import BadInput, choose
from yosinski.outside import Channels, Preprocessing, Source, Weights, sha256
from yosinski.traced import Name

WRAPPED = ("state_dict", "model_state_dict", "model")  # what checkpoints call the state dict within them
AUXILIARY = re.compile(r"(aux\d|AuxLogits)\..*")  # heads that googlenet and inception_v3 have for training only
# torchvision's weights of these are used with `transform_input`: ImageNet's mean and deviation become these.
TRANSFORMED = {"googlenet": (0.5, 0.5, 0.5), "inception_v3": (0.5, 0.5, 0.5)}
# DenseNet's older files, torchvision's own among them, have a dot where the names now have none.
DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")
COUNTER = "num_batches_tracked"  # of batch norm; files from before 2018 lack it, and it matters to nobody here
STANDARDISE = "standardise"
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation

Tensors = dict[str, torch.Tensor]


def read(network: str, source: Source) -> tuple[Weights, Tensors]:
    """What is known of these weights, and all tensors of the network with them, as `networks.build` names them.

    The head has as many outputs as theirs. BadInput if there are no such weights, if a file cannot be read safely, or
    if its tensors do not fit.
    """
    if source.path is not None:
        found, classes, preprocessing = of_file(network, source.path)
        file, text = source.path, source.text
    else:
        fetched = fetched_from_torchvision if source.library == "torchvision" else fetched_from_timm
        found, classes, preprocessing, name, file = fetched(Name.of(network).model, source.name)
        text = f"{source.library}:{name}"
    tensors, left_off = fitted(network, found, text)
    mean, std = (name for name in tensors if STANDARDISE in name.split("."))
    if network in ARCHITECTURES:
        preprocessing = preprocessing or own_preprocessing(network, tensors[mean], tensors[std])
    preprocessing = preprocessing or usual_preprocessing(network)
    if source.mean is not None and source.std is not None:
        preprocessing = replace(preprocessing, mean=source.mean, std=source.std, told_by="as given")
    if network not in ARCHITECTURES or source.mean is not None:
        tensors[mean] = 255 * torch.tensor(preprocessing.mean).view(3, 1, 1)
        tensors[std] = 255 * torch.tensor(preprocessing.std).view(3, 1, 1)
    name, axis = head_of(network, tensors)
    outputs = tensors[name].shape[axis]
    if len(classes) != outputs:
        classes = [f"class {k}" for k in range(outputs)]
    known = surgery.fingerprint(tensors), sha256(file) if file else None
    return Weights(text, *known, told_apart(classes), preprocessing, left_off), tensors


def told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """The names of classes; those that several have (ImageNet has two cranes) with their numbers."""
    count = Counter(names)
    return tuple(f"{name} ({k})" if count[name] > 1 else name for k, name in enumerate(names))


# Where they are found


def of_file(network: str, path: Path) -> tuple[Tensors, list[str], Preprocessing | None]:
    """The tensors of a file, and what it says of classes and preprocessing, if it was exported by us."""
    if path.suffix != ".safetensors":
        return unwrapped(path), [], None
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path} cannot be read as safetensors: {error}") from error
    if not {"classes", "preprocessing"} <= told.keys():
        return tensors, [], None
    try:
        saw = json.loads(told["preprocessing"])
        mean, std = (_channels(saw[name]) for name in ("mean", "std"))
        resize, crop = (max(saw[name]) if isinstance(saw[name], list) else saw[name] for name in ("resize", "crop"))
        preprocessing = Preprocessing(mean, std, resize, crop, saw["interpolation"], "as the file says")
        return tensors, json.loads(told["classes"]), preprocessing
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} says of its preprocessing what nobody can read: {error}") from error


def unwrapped(path: Path) -> Tensors:
    """The state dict in a file that torch has saved, alone or in a checkpoint; only data are unpickled, no code."""
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadInput(
            f"{path} holds more than tensors and numbers; that would have to be executed, and is not: "
            "save model.state_dict() where it comes from"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise BadInput(f"{path} cannot be read as what torch has saved: {_line(error)}") from error
    if isinstance(loaded, Mapping):
        loaded = next((loaded[name] for name in WRAPPED if isinstance(loaded.get(name), Mapping)), loaded)
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(t, torch.Tensor) for t in loaded.values()):
        keys = f", but {some(sorted(map(str, loaded)))}" if isinstance(loaded, Mapping) else ""
        raise BadInput(f"{path} holds no state dict, neither alone nor as {', '.join(WRAPPED)}{keys}")
    return dict(loaded)


def fetched_from_torchvision(model: str, name: str) -> tuple[Tensors, list[str], Preprocessing, str, Path]:
    """Weights of torchvision by their name, from the hub's cache or the network; checked against their hash."""
    weights: Any = torchvision.models.get_model_weights(model)
    entry = weights[choose(f"weights of {model}", name or "DEFAULT", list(weights.__members__))]
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
    try:
        tensors = entry.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise BadInput(
            f"weights torchvision:{entry.name} of {model} cannot be fetched ({error}): put {entry.url} at {file}"
        ) from error
    return tensors, entry.meta["categories"], of_torchvision(model, entry), entry.name, file


def fetched_from_timm(model: str, name: str) -> tuple[Tensors, list[str], Preprocessing, str, None]:
    """Weights of timm by their tag, from the hub's cache or the network."""
    timm = importlib.import_module("timm")
    tags = [tag for one, _, tag in (full.partition(".") for full in timm.list_pretrained(f"{model}*")) if one == model]
    tag = choose(f"weights of timm:{model}", name or timm.get_pretrained_cfg(model).tag, tags)
    try:
        made = timm.create_model(f"{model}.{tag}", pretrained=True)
    except Exception as error:  # of the hub, the connection, the file
        raise BadInput(f"weights timm:{tag} of timm:{model} cannot be fetched: {_line(error)}") from error
    return made.state_dict(), [], of_timm(f"{model}.{tag}"), tag, None


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


# What the images went through


def usual_preprocessing(network: str) -> Preprocessing:
    """As with the weights that the network's library takes by default; of a file of one's own nobody knows."""
    name = Name.of(network)
    if name.library == "file":
        side = architecture(network).side
        return Preprocessing(*IMAGENET, side, side, "bilinear", "taken to be ImageNet's mean and deviation")
    if name.library == "timm":
        found = of_timm(name.model)
    else:
        weights: Any = torchvision.models.get_model_weights(name.model)
        found = of_torchvision(name.model, weights.DEFAULT)
    return replace(found, told_by=f"taken to be {found.told_by}")


def of_torchvision(model: str, entry: Any) -> Preprocessing:
    """As torchvision says of its weights."""
    saw = entry.transforms()
    mean, std = (TRANSFORMED.get(model, _channels(values)) for values in (saw.mean, saw.std))
    how = saw.resize_size[0], saw.crop_size[0], saw.interpolation.value
    return Preprocessing(mean, std, *how, f"that of torchvision:{entry.name}")


def of_timm(model: str) -> Preprocessing:
    """As timm says of its weights."""
    saw = importlib.import_module("timm").get_pretrained_cfg(model)
    crop = saw.input_size[-1]
    interpolation = saw.interpolation if saw.interpolation in FILTERS else "bicubic"
    how = int(crop / (saw.crop_pct or 0.875)), crop, interpolation
    return Preprocessing(_channels(saw.mean), _channels(saw.std), *how, f"that of timm:{saw.tag}")


def own_preprocessing(network: str, mean: torch.Tensor, std: torch.Tensor) -> Preprocessing:
    """One of our own networks carries it with it."""
    side = architecture(network).side
    channels = [_channels((tensor.flatten() / 255).tolist()) for tensor in (mean, std)]
    return Preprocessing(channels[0], channels[1], side, side, "bilinear", "that of the file")


def _channels(values: Iterable[float]) -> Channels:
    red, green, blue = map(float, values)
    return red, green, blue


# How they fit


def fitted(network: str, found: Mapping[str, torch.Tensor], where: str) -> tuple[Tensors, tuple[str, ...]]:
    """The network's tensors with their values from a state dict, and the names of what it has no use for.

    The head has as many outputs as the state dict's. What is standardised is not touched, but in our own networks.
    BadInput lists what is missing, unexpected or of another shape.
    """
    plain = plain_names(network, networks.build(network, 2).state_dict())
    found = unprefixed({DENSENET.sub(r"\1\2.", name): tensor for name, tensor in found.items()}, plain.values())
    ours, axis = head_of(network, plain)
    last, unused = found.get(plain[ours]), architecture(network).left_off
    built = networks.build(network, last.shape[axis] if last is not None and last.ndim > axis else 2).state_dict()
    others = found.keys() - set(plain.values())
    left_off = {name for name in others if name in unused or (unused and AUXILIARY.fullmatch(name))}
    wrong = {
        "missing": sorted(name for name in set(plain.values()) - found.keys() if not name.endswith(COUNTER)),
        "unexpected": sorted(others - left_off),
        "of another shape": sorted(
            f"{name} ({_shape(found[name])} for {_shape(built[ours])})"
            for ours, name in plain.items()
            if name in found and found[name].shape != built[ours].shape
        ),
    }
    if any(wrong.values()):
        told = "; ".join(f"{what}: {some(names)}" for what, names in wrong.items() if names)
        raise BadInput(f"{where} does not fit {network}; {told}")
    for ours, name in plain.items():
        if name in found:
            built[ours] = found[name].to(built[ours].dtype)
    heads = {name.split(".")[0] if AUXILIARY.fullmatch(name) else name for name in left_off}
    return {name: tensor.detach().contiguous().clone() for name, tensor in built.items()}, tuple(sorted(heads))


def head_of(network: str, names: Iterable[str]) -> tuple[str, int]:
    """Which of a network's tensors has as many rows as the network has outputs, and along which axis it has them."""
    if not is_own(network):
        return list(names)[-1], 0
    name, axis = own.resolve(network).head
    return next(ours for ours, plain in plain_names(network, names).items() if plain == name), axis


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def unprefixed(found: Mapping[str, torch.Tensor], expected: Iterable[str]) -> Tensors:
    """Without what all names begin with, such as `module.`, if it is that which keeps them from being the expected."""
    expected = set(expected)
    levels = map(set, zip(*(name.split(".") for name in found), strict=False))
    shared = [part for (part,) in takewhile(lambda parts: len(parts) == 1, levels)]
    prefixes = ["".join(f"{part}." for part in shared[:k]) for k in range(len(shared) + 1)]
    best = max(prefixes, key=lambda prefix: len({name.removeprefix(prefix) for name in found} & expected))
    return {name.removeprefix(best): tensor for name, tensor in found.items()}


def plain_names(network: str, names: Iterable[str]) -> dict[str, str]:
    """By the names of a network's tensors those of the library's model; our own networks are their own model."""
    if network in ARCHITECTURES:
        return {name: name for name in names}
    parts = {name: name.partition(".")[2] for name in names}
    return {name: plain for name, plain in parts.items() if plain.split(".")[0] != STANDARDISE}
