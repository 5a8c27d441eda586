"""Models of torchvision and timm with random weights."""

import importlib
from importlib.util import find_spec
from typing import Any

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode

from yosinski.errors import BadInput, nearest
from yosinski.networks.architectures import ARCHITECTURES
from yosinski.networks.own_code import SIDE_ARGUMENTS
from yosinski.networks.traced import Name

AUXILIARY = ("googlenet", "inception_v3")


def models(library: str) -> list[str]:
    """The names of all models of a library."""
    if library == "timm":
        return importlib.import_module("timm").list_models()
    return torchvision.models.list_models(module=torchvision.models)


def check_known(name: Name) -> None:
    """BadInput, with the most similar names, if the library has no such model."""
    if name.model not in models(name.library):
        of_timm = [f"timm:{model}" for model in models("timm")] if find_spec("timm") else []
        raise nearest("network", str(name), [*ARCHITECTURES, *models("torchvision"), *of_timm])


def usual_side(name: Name) -> int:
    """Default side of images for the library's weights, in pixels."""
    if name.library == "timm":
        return importlib.import_module("timm").get_pretrained_cfg(name.model).input_size[-1]
    weights: Any = torchvision.models.get_model_weights(name.model)
    return weights.DEFAULT.transforms.keywords["crop_size"]


def made(name: Name, outputs: int) -> tuple[nn.Module, dict[str, Any]]:
    """A library's model with random weights, and the arguments besides its name that make it.

    BadInput if it does not support the side.
    """
    side = name.side or usual_side(name)
    arguments: dict[str, Any] = {"num_classes": outputs}
    if name.library == "timm":
        make = importlib.import_module("timm").create_model
    else:
        make = torchvision.models.get_model
        arguments |= {"aux_logits": False, "init_weights": True} if has_auxiliary(name) else {}
    for argument in SIDE_ARGUMENTS:
        sized = {**arguments, argument: (side, side) if argument == "input_size" else side}
        try:
            return make(name.model, **sized), sized
        except TypeError:  # the constructor has no such argument
            continue
        except (ValueError, AssertionError) as error:
            raise BadInput(f"{name} does not take images of {side} x {side} pixels: {error}") from error
    return make(name.model, **arguments), arguments


def has_auxiliary(name: Name) -> bool:
    """Whether the library's model has auxiliary heads, which are left off here."""
    return name.library == "torchvision" and name.model in AUXILIARY


class Weightless(TorchFunctionMode):
    """Create weights on the meta device, which takes no memory, and skip their initialisation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        placement = {"device": "meta"} if func is torch.empty else {}
        return func(*args, **{**(kwargs or {}), **placement})
