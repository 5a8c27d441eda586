"""Fitting the tensors of a file to a network: their place in the file, the selection, and a description of both.

Copies are cut below the head, so only the tensors below the head are required. A place is a prefix of the names in a
file, such that the rest of each name is a name of the network: "", or "state_dict.module.encoder_q".
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from yosinski.errors import BadInput, some
from yosinski.networks import build, catalogue
from yosinski.networks.catalogue import architecture, of_this_package
from yosinski.networks.encoders.encoder import Encoder
from yosinski.networks.layers import STANDARDISE
from yosinski.networks.own import is_own
from yosinski.pretrained.torch_files import Tensor
from yosinski.randomness import generator

Tensors = dict[str, torch.Tensor]

WRAPPED = ("state_dict", "model_state_dict", "model")  # keys of the state dict in a checkpoint
AVERAGED = re.compile(r"(^|_)(ema|teacher|momentum|target|swa|averaged?|shadow|k)(_|$)")  # averages over the training
WRAPPERS = re.compile(r"(?:^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(\.|$)")
AUXILIARY = re.compile(r"(aux\d|AuxLogits)\..*")  # heads of googlenet and inception_v3 for training only
# DenseNet's older files, torchvision's own among them, have dots in names that are written without dots now.
DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")
# TensorFlow's names, in the oldest files of BERT.
OF_TENSORFLOW = {"gamma": "weight", "beta": "bias"}
LAYER_NORM = re.compile(r"(?<=LayerNorm\.)(gamma|beta)$")
COUNTER = "num_batches_tracked"  # of batch norm: missing in files from before 2018, and not used here
TAKEN = "taken"


@dataclass(frozen=True)
class Fitted:
    """All tensors of a network, and a description.

    place: prefix of the tensors; also: other possible places; head: "taken", or why not; left_off: other content of the
    file; changed: conversions of tensors.
    """

    tensors: Tensors
    place: str
    also: tuple[str, ...]
    head: str
    left_off: tuple[str, ...]
    changed: tuple[str, ...]


class Wanted:
    """The tensors of a network; `ours` are their names here, by the names in the library."""

    def __init__(self, network: str) -> None:
        self.network = network
        # only shapes and types, with two outputs
        self.built = {name: tensor.to("meta") for name, tensor in build.build(network, 2).state_dict().items()}
        self.ours = {name: ours for ours, name in plain_names(network, self.built).items()}
        self.head = [name for name, ours in self.ours.items() if ours.split(".")[0] == "head"]
        self.body = [name for name, ours in self.ours.items() if ours.split(".")[0] != "head"]
        self.needed = {name for name in self.body if not name.endswith(COUNTER)}
        self.modules = {name.rpartition(".")[0] for name in self.head}  # the modules of the head
        grows, self.axis = head_of(network, self.built)  # the tensor with a row per output
        self.last = next(name for name in self.head if self.ours[name] == grows)

    def outputs(self, tensor: Tensor) -> tuple[int, ...]:
        """Number of outputs by the last tensor of the head; empty if it has too few axes."""
        return tensor.shape[self.axis : self.axis + 1]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one of the network's tensors; of the head's with two outputs."""
        return tuple(self.built[self.ours[name]].shape)

    def sees(self, name: str) -> bool:
        """Whether a tensor is a convolution on red, green and blue: the second of its four axes."""
        first = self.ours[self.body[0]].split(".")[0]
        return self.ours[name].split(".")[0] == first and self.shape(name)[1:2] == (3,) and len(self.shape(name)) == 4

    def fits(self, name: str, tensor: Tensor) -> bool:
        """Whether a tensor below the head has the right shape, apart from the number of image channels."""
        has, wants = tensor.shape, self.shape(name)
        return has == wants or (self.sees(name) and (*has[:1], *has[2:]) == (*wants[:1], *wants[2:]))

    def odd(self, name: str, tensor: Tensor) -> str:
        """What a tensor is, if it should be floating-point numbers and is not; else ""."""
        floating = self.built[self.ours[name]].is_floating_point() and not tensor.kind.is_floating_point
        return tensor.odd or str(tensor.kind).removeprefix("torch.") * floating

    def replaced(self, name: str) -> bool:
        """Whether a tensor belongs to the head, or follows it in the same list of layers."""
        for module in self.modules:
            layers, _, number = module.rpartition(".")
            position = name.removeprefix(f"{layers}.").split(".")[0] if name.startswith(f"{layers}.") else ""
            behind = position.isdecimal() and number.isdecimal() and int(position) > int(number)
            if behind or name.startswith(f"{module}."):
                return True
        return False


@lru_cache(maxsize=8)
def needs(network: str) -> Wanted:
    """The tensors of a network, cached: making a network takes longer than reading its weights."""
    return Wanted(network)


def fitted(network: str, tensors: Mapping[str, Tensor], where: str, key: str = "", channels: str = "") -> Fitted:
    """The network's tensors with values from a file, and their description.

    A head that does not fit is initialised anew, with two outputs. The moments for standardising are only read for
    networks of this package. key: part of the file to use; channels: see `seen`. BadInput names missing and unexpected
    tensors, wrong shapes, and tensors that are no numbers.
    """
    wanted = needs(network)
    tensors = {_usual(name): tensor for name, tensor in tensors.items()}
    place, also = placed(wanted, tensors, where, _usual(key))
    inner = below(tensors, place)
    unused = architecture(network).left_off
    auxiliary = {name for name in inner if name in unused or (unused and AUXILIARY.fullmatch(name))}
    others = [name for name in inner if name not in wanted.ours and name not in auxiliary]
    check(wanted, inner, others, where, channels)
    head, built = headed(wanted, inner)
    selected = {name: inner[name] for name in (*wanted.body, *wanted.head * (head == TAKEN)) if name in inner}
    values, changed = read(wanted, selected, where, channels)
    built |= {wanted.ours[name]: value for name, value in values.items()}

    count = Counter(name.split(".")[0] for name in others if not wanted.replaced(name))
    count.update(_departing(name, place) for name in tensors if not _within(name, place))
    parts = [f"{name} ({number} tensor{'s' * (number > 1)})" for name, number in count.items()]
    return Fitted(
        {name: tensor.detach().contiguous().clone() for name, tensor in built.items()},
        place,
        also,
        head,
        (*sorted({name.split(".")[0] if AUXILIARY.fullmatch(name) else name for name in auxiliary}), *parts),
        tuple(changed),
    )


def plain_names(network: str, names: Iterable[str]) -> dict[str, str]:
    """The names in the library's model by the names of a network's tensors; the same for networks of this package."""
    if of_this_package(network):
        return {name: name for name in names}
    if isinstance(described := architecture(network), Encoder):
        return {name: described.plain(name) for name in names}
    parts = {name: name.partition(".")[2] for name in names}
    return {name: plain for name, plain in parts.items() if plain.split(".")[0] != STANDARDISE}


def head_of(network: str, names: Iterable[str]) -> tuple[str, int]:
    """The tensor of a network with a row per output, and the axis of outputs."""
    if not is_own(network):
        return list(names)[-1], 0
    name, axis = catalogue.resolve(network).head
    return next(ours for ours, plain in plain_names(network, names).items() if plain == name), axis


# The place


def placed(wanted: Wanted, tensors: Mapping[str, Tensor], where: str, key: str) -> tuple[str, tuple[str, ...]]:
    """The place of a network's tensors, and other possible places.

    All names and shapes must exist below it. Of several places the order is: in a `state_dict`, a `model_state_dict`, a
    `model`, elsewhere; no average over the training; with a head; with the fewest dots; the first one. If there is
    none, the result is the place with most of the names, and `check` reports what is wrong with it.
    """
    count: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        count.update(".".join(parts[:k]) for k in range(len(parts)) if ".".join(parts[k:]) in wanted.needed)

    def fits(place: str) -> bool:
        inner = below(tensors, place)
        return all(inner[name].odd or wanted.fits(name, inner[name]) for name in wanted.needed)

    def rank(place: str) -> tuple[int, bool, bool, int]:
        parts = place.split(".")
        wrapped = WRAPPED.index(parts[0]) if parts[0] in WRAPPED else len(WRAPPED)
        inner, averaged = below(tensors, place), any(AVERAGED.search(part) for part in parts)
        return wrapped, averaged, any(name not in inner for name in wanted.head), len(parts)

    complete = sorted((place for place in count if count[place] == len(wanted.needed)), key=rank)
    good = [place for place in complete if fits(place)]
    if matching := [place for place in good if _within(place, key)]:
        return matching[0], tuple(place for place in good if place != matching[0])
    if key and (good or not any(_within(name, key) for name in tensors)):
        valid = [place for place in good or dict.fromkeys(name.split(".")[0] for name in tensors) if place]
        raise BadInput(f"{where}: no weights at {key!r}; {f'choose from: {some(valid)}' if valid else 'leave it out'}")
    rest = [place for place in count if _within(place, key)]
    return max(rest, key=lambda place: (place in complete, count[place]), default=key), ()


def below(tensors: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
    """The tensors below a place, by the rest of their names."""
    return {name[len(place) :].lstrip("."): tensor for name, tensor in tensors.items() if _within(name, place)}


def _within(name: str, place: str) -> bool:
    return not place or name == place or name.startswith(f"{place}.")


def _departing(name: str, place: str) -> str:
    """The part of a name at which it departs from a place."""
    parts, others = name.split("."), place.split(".")
    return next((part for k, part in enumerate(parts) if k >= len(others) or part != others[k]), name)


def _usual(name: str) -> str:
    """A name without the parts that torch inserts for compiled, sharded or recomputed modules."""
    name = LAYER_NORM.sub(lambda match: OF_TENSORFLOW[match[1]], name)
    return WRAPPERS.sub("", DENSENET.sub(r"\1\2.", name)).rstrip(".")


# Checks


def check(wanted: Wanted, tensors: Mapping[str, Tensor], others: Iterable[str], where: str, channels: str) -> None:
    """BadInput if the tensors below the head do not fit, or if `channels` is required."""
    top_modules = {name.split(".")[0] for name in wanted.body}
    unexpected = sorted(name for name in others if name.split(".")[0] in top_modules and not wanted.replaced(name))
    missing = sorted(wanted.needed - tensors.keys())
    body = {name: tensors[name] for name in wanted.body if name in tensors}
    unlike = {name: tensor for name, tensor in body.items() if not tensor.odd and not wanted.fits(name, tensor)}
    wrong = {
        "missing": missing,
        "unexpected": sorted(others) if missing else unexpected,
        "of another shape": sorted(
            f"{name} ({_shape(tensor.shape)} for {_shape(wanted.shape(name))})" for name, tensor in unlike.items()
        ),
    }
    if any(wrong.values()):
        message = "; ".join(f"{what}: {some(names)}" for what, names in wrong.items() if names)
        shapes = [tensor.shape for tensor in tensors.values()][: len(wanted.body)]
        alike = missing and shapes == [wanted.shape(name) for name in wanted.body]
        hint = "; yet all shapes are the network's, in its order: its tensors can be renamed" if alike else ""
        raise BadInput(f"{where} does not fit {wanted.network}; {message}{hint}")
    for name, tensor in body.items():
        if not tensor.odd and wanted.sees(name):
            check_channels(name, tensor.shape[1], where, channels)


def check_channels(name: str, count: int, where: str, how: str) -> None:
    """BadInput if `channels` is required and missing, or given and not needed, for a first convolution."""
    has = f"{where}: {name} takes {count} channel{'s' * (count > 1)}"
    if how and count == 3:
        raise BadInput(f"{has}, as the network does: leave out channels={how}")
    if how == "rgb" and count < 3:
        raise BadInput(f"{has}, which cannot be red, green and blue: channels=grey")
    if not how and count != 3:
        first = ", channels=rgb the first three" * (count > 3)
        raise BadInput(
            f"{has}, the network red, green and blue; :channels=grey behind the path (and key) takes the sum of "
            f"its channels, a third of it for each colour{first}"
        )


def headed(wanted: Wanted, tensors: Mapping[str, Tensor]) -> tuple[str, Tensors]:
    """Whether the head is taken, or why not, and tensors of a network with its outputs; otherwise a new head."""
    if not (why := unfit(wanted, tensors)):
        return TAKEN, build.build(wanted.network, *wanted.outputs(tensors[wanted.last])).state_dict()
    built = build.build(wanted.network, 2).state_dict()
    anew(wanted, built, wanted.head)
    return f"not taken: {why}", built


def anew(wanted: Wanted, built: Tensors, names: Iterable[str]) -> None:
    """Draw these weights of a network; biases become zero.

    Uniform up to 1 / sqrt(fan-in), as in torch. The base's id depends on these values, and a uniform distribution gives
    the same bits on all machines, unlike torch's Gaussian.
    """
    for name in names:
        tensor = built[wanted.ours[name]]
        if tensor.ndim > 1 and tensor.is_floating_point():
            numbers = generator("outside", name).random(tensor.shape, np.float32)
            tensor.copy_(torch.from_numpy((2 * numbers - 1) * np.float32(tensor[0].numel() ** -0.5)))
        elif name.endswith("bias"):
            tensor.zero_()


def unfit(wanted: Wanted, tensors: Mapping[str, Tensor]) -> str:
    """Why the head of a file does not fit the network, for any number of outputs; "" if it fits."""
    names = [name for name in wanted.head if not name.endswith(COUNTER)]
    if missing := [name for name in names if name not in tensors]:
        instead = [name for name in tensors if name not in wanted.ours and wanted.replaced(name)]
        return f"{some(instead, 3)} instead of {some(names, 3)}" if instead else f"no {some(missing, 3)}"
    if odd := [f"{name} is {what}" for name in names if (what := wanted.odd(name, tensors[name]))]:
        return some(odd, 3)
    outputs = wanted.outputs(tensors[wanted.last])
    if outputs < (2,):
        return f"{_shape(outputs)} output, and a base needs two"
    for name in names:
        wants = tuple(outputs[0] if size == 2 else size for size in wanted.shape(name))
        if tensors[name].shape not in (wants, wanted.shape(name)):
            return f"{name} is {_shape(tensors[name].shape)}"
    if sum(math.prod(tensors[name].shape) for name in names) > 2 * sum(tensors[name].stored for name in names):
        return "it has more numbers than the file"
    return ""


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"


# The values


def read(wanted: Wanted, taken: Mapping[str, Tensor], where: str, channels: str) -> tuple[Tensors, list[str]]:
    """The values of these tensors for the network, and a list of conversions.

    BadInput names tensors that are no numbers, are damaged, or contain NaN or infinity.
    """
    floating = {name for name in taken if wanted.built[wanted.ours[name]].is_floating_point()}
    if odd := sorted(f"{name} ({what})" for name, tensor in taken.items() if (what := wanted.odd(name, tensor))):
        raise BadInput(f"{where} does not fit {wanted.network}; no floating-point numbers: {some(odd)}")
    values: Tensors = {}
    for name, tensor in taken.items():
        try:
            values[name] = tensor.read().to(wanted.built[wanted.ours[name]].dtype)
        except (BadInput, RuntimeError) as error:
            raise BadInput(f"{where}: {name} cannot be read: {error}") from error
    if unending := sorted(name for name in floating if not values[name].isfinite().all()):
        raise BadInput(f"{where} holds NaN or infinity in {some(unending)}")
    if negative := sorted(name for name in taken if name.endswith("running_var") and (values[name] < 0).any()):
        raise BadInput(f"{where} holds variances below zero in {some(negative)}")
    others = {str(taken[name].kind).removeprefix("torch.") for name in floating} - {"float32"}
    changed = [f"{kind} to float32" for kind in sorted(others)]
    if channels:
        for name in filter(wanted.sees, taken):
            changed.append(f"{name} of {taken[name].shape[1]} channel(s) as {channels}")
            values[name] = seen(values[name], channels)
    return values, changed


def seen(weight: torch.Tensor, channels: str) -> torch.Tensor:
    """A first convolution [out, c, k, k] converted for red, green and blue: [out, 3, k, k].

    grey: the result for an image is the old result for the mean of red, green and blue in all channels. rgb: it is the
    old result for red, green and blue in the first three channels, and zero (after standardising) in the others.
    """
    return weight.sum(1, keepdim=True).expand(-1, 3, -1, -1) / 3 if channels == "grey" else weight[:, :3]
