"""Pretrained weights as the tensors of a base: found, read without executing code, and fitted to the network.

Tensors have the names of the library's model with their segment's name as prefix, except for the moments in the first
segment. Networks of this package keep their names. `saved` reads files, `fitting` selects tensors.
"""

import importlib
import json
import math
import pickle
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torchvision

from yosinski.data.place import FILTERS
from yosinski.errors import BadInput, choose
from yosinski.networks.architectures import ARCHITECTURES
from yosinski.networks.catalogue import architecture, named
from yosinski.networks.encoders.encoder import Encoder
from yosinski.networks.layers import names_of_moments
from yosinski.networks.tensors import fingerprint
from yosinski.pretrained import saved, vectors
from yosinski.pretrained.fitting import TAKEN, Tensors, fitted, head_of
from yosinski.pretrained.source import PLACEHOLDERS, Channels, Preprocessing, Source, Weights, sha256
from yosinski.pretrained.torch_files import Tensor

# Models whose torchvision weights need `transform_input`: these moments replace ImageNet's.
TRANSFORMED = {"googlenet": (0.5, 0.5, 0.5), "inception_v3": (0.5, 0.5, 0.5)}
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation


def read(network: str, source: Source) -> tuple[Weights, Tensors]:
    """The description of these weights, and all tensors of the network, by the names of `networks.build`.

    The head has the outputs of the weights; if they have no fitting head, it is initialised with two outputs. BadInput
    if there are no such weights, if a file cannot be read safely, or if its tensors do not fit.
    """
    classes: list[str] = []
    preprocessing: Preprocessing | None = None
    if source.path is not None:
        check_of_texts(network, source)
        if source.vectors:
            result = vectors.fitted(network, source)
        else:
            with saved.opened(source.path) as (saved_tensors, metadata):
                classes, preprocessing = exported(source.path, metadata)
                result = fitted(network, of_library(network, saved_tensors), source.text, source.key, source.channels)
        hashed, text = sha256(*source.files), source.text
    else:
        fetched = fetched_from_torchvision if source.library == "torchvision" else fetched_from_timm
        tensors, classes, preprocessing, name, file = fetched(named(network).model, source.name)
        text, hashed = f"{source.library}:{name}", sha256(file) if file else None
        result = fitted(network, {name: Tensor.of(tensor) for name, tensor in tensors.items()}, text)
    tensors = result.tensors
    if architecture(network).reads == "pictures":
        preprocessing = standardised(network, source, tensors, preprocessing)
    name, axis = head_of(network, tensors)
    outputs = tensors[name].shape[axis]
    if result.head != TAKEN:
        classes = list(PLACEHOLDERS)
    elif len(classes) != outputs:
        classes = [f"class {k}" for k in range(outputs)]
    facts = fingerprint(tensors), hashed, told_apart(classes), preprocessing
    properties = {name: getattr(result, name) for name in ("left_off", "place", "also", "head", "changed")}
    return Weights(text, *facts, **properties, reach=1 if source.vectors else None), tensors


def check_of_texts(network: str, source: Source) -> None:
    """BadInput for weights of texts with what pictures need, and for word vectors where pictures are seen."""
    if architecture(network).reads == "pictures":
        if source.vectors:
            raise BadInput(f"{source.text}: {network} sees pictures, and has no rows for words")
    elif source.mean is not None or source.channels:
        raise BadInput(f"{source.text}: {network} reads texts, and has neither channels nor a mean of pixels")


def of_library(network: str, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors of a file; of an encoder as the encoder alone names them, without positions, which are computed."""
    described = architecture(network)
    if not isinstance(described, Encoder):
        return tensors
    computed = (".position_ids", ".token_type_ids")
    return {described.without_base(name): tensor for name, tensor in tensors.items() if not name.endswith(computed)}


def standardised(network: str, source: Source, tensors: Tensors, preprocessing: Preprocessing | None) -> Preprocessing:
    """The preprocessing of images, by the text, the file or the library; the moments among the tensors become its."""
    mean, std = names_of_moments(tensors)
    if network in ARCHITECTURES:
        preprocessing = preprocessing or own_preprocessing(network, tensors[mean], tensors[std])
    preprocessing = preprocessing or usual_preprocessing(network)
    if source.mean is not None and source.std is not None:
        preprocessing = replace(preprocessing, mean=source.mean, std=source.std, told_by="as given")
    if network not in ARCHITECTURES or source.mean is not None:
        tensors[mean] = 255 * torch.tensor(preprocessing.mean).view(3, 1, 1)
        tensors[std] = 255 * torch.tensor(preprocessing.std).view(3, 1, 1)
    return preprocessing


def told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """The names of classes; equal names (ImageNet has two cranes) get their numbers."""
    count = Counter(names)
    return tuple(f"{name} ({k})" if count[name] > 1 else name for k, name in enumerate(names))


# Sources


def exported(path: Path, metadata: Mapping[str, str]) -> tuple[list[str], Preprocessing | None]:
    """Classes and preprocessing from the metadata of a file that `export` has written."""
    if not {"classes", "preprocessing"} <= metadata.keys():
        return [], None
    try:
        saw = json.loads(metadata["preprocessing"])
        mean, std = (_channels(saw[name]) for name in ("mean", "std"))
        resize, crop = (max(saw[name]) if isinstance(saw[name], list) else saw[name] for name in ("resize", "crop"))
        classes = json.loads(metadata["classes"])
        if not all(isinstance(name, str) for name in classes):
            raise TypeError("classes without names")
        if not all(map(math.isfinite, (*mean, *std))) or not 0 < crop <= resize < math.inf:
            raise ValueError("sizes or means that cannot be")
        interpolation = choose("filter", saw["interpolation"], FILTERS)
        return classes, Preprocessing(mean, std, int(resize), int(crop), interpolation, "as the file says")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"{path} says of its preprocessing what nobody can read: {error}") from error


def fetched_from_torchvision(model: str, name: str) -> tuple[Tensors, list[str], Preprocessing, str, Path]:
    """Weights of torchvision by name, from the hub's cache or the network, with their hash checked."""
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
    """Weights of timm by tag, from the hub's cache or the network."""
    timm = importlib.import_module("timm")
    tags = [tag for one, _, tag in (full.partition(".") for full in timm.list_pretrained(f"{model}*")) if one == model]
    tag = choose(f"weights of timm:{model}", name or timm.get_pretrained_cfg(model).tag, tags)
    try:
        model_with_weights = timm.create_model(f"{model}.{tag}", pretrained=True)
    except Exception as error:  # errors of the hub, the connection or the file
        raise BadInput(f"weights timm:{tag} of timm:{model} cannot be fetched: {_line(error)}") from error
    return model_with_weights.state_dict(), [], of_timm(f"{model}.{tag}"), tag, None


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


# Preprocessing


def usual_preprocessing(network: str) -> Preprocessing:
    """The preprocessing of the default weights of the network's library; unknown for a network of your own."""
    name = named(network)
    if name.library == "file":
        side = architecture(network).side
        return Preprocessing(*IMAGENET, side, side, "bilinear", "taken to be ImageNet's mean and deviation")
    if name.library == "timm":
        preprocessing = of_timm(name.model)
    else:
        weights: Any = torchvision.models.get_model_weights(name.model)
        preprocessing = of_torchvision(name.model, weights.DEFAULT)
    return replace(preprocessing, told_by=f"taken to be {preprocessing.told_by}")


def of_torchvision(model: str, entry: Any) -> Preprocessing:
    """The preprocessing by torchvision's metadata of these weights."""
    saw = entry.transforms()
    mean, std = (TRANSFORMED.get(model, _channels(values)) for values in (saw.mean, saw.std))
    resizing = saw.resize_size[0], saw.crop_size[0], saw.interpolation.value
    return Preprocessing(mean, std, *resizing, f"that of torchvision:{entry.name}")


def of_timm(model: str) -> Preprocessing:
    """The preprocessing by timm's configuration of these weights."""
    saw = importlib.import_module("timm").get_pretrained_cfg(model)
    crop = saw.input_size[-1]
    interpolation = saw.interpolation if saw.interpolation in FILTERS else "bicubic"
    resizing = int(crop / (saw.crop_pct or 0.875)), crop, interpolation
    return Preprocessing(_channels(saw.mean), _channels(saw.std), *resizing, f"that of timm:{saw.tag}")


def own_preprocessing(network: str, mean: torch.Tensor, std: torch.Tensor) -> Preprocessing:
    """The preprocessing of a network of this package, from its own moments."""
    side = architecture(network).side
    channels = [_channels((tensor.flatten() / 255).tolist()) for tensor in (mean, std)]
    return Preprocessing(channels[0], channels[1], side, side, "bilinear", "that of the file")


def _channels(values: Iterable[float]) -> Channels:
    red, green, blue = map(float, values)
    return red, green, blue
