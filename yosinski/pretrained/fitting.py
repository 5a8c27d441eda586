"""How what a file holds fits a network: where in it the weights lie, which of them are taken, and what is said of it.

Copies are cut below the head, so only what lies below the head has to be there. A place is what the names of a file's
tensors begin with where the rest of them are the names of the network's: "", or "state_dict.module.encoder_q".
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
from yosinski.networks.architectures import ARCHITECTURES
from yosinski.networks.catalogue import architecture
from yosinski.networks.layers import STANDARDISE
from yosinski.networks.own import is_own
from yosinski.pretrained.torch_files import Tensor
from yosinski.randomness import generator

Tensors = dict[str, torch.Tensor]

WRAPPED = ("state_dict", "model_state_dict", "model")  # what checkpoints call the state dict within them
AVERAGED = re.compile(r"(^|_)(ema|teacher|momentum|target|swa|averaged?|shadow|k)(_|$)")  # over the training
WRAPPERS = re.compile(r"(?:^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(\.|$)")
AUXILIARY = re.compile(r"(aux\d|AuxLogits)\..*")  # heads that googlenet and inception_v3 have for training only
# DenseNet's older files, torchvision's own among them, have a dot where the names now have none.
DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")
COUNTER = "num_batches_tracked"  # of batch norm; files from before 2018 lack it, and it is not used here
TAKEN = "taken"


@dataclass(frozen=True)
class Fitted:
    """All tensors of a network, and what is said of them.

    place: where they lie; also: where else their names are found; head: "taken", or why not; left_off: what else there
    is; changed: what was done to those that were taken.
    """

    tensors: Tensors
    place: str
    also: tuple[str, ...]
    head: str
    left_off: tuple[str, ...]
    changed: tuple[str, ...]


class Wanted:
    """What a network has: `ours` are the names of its tensors by those that the library gives them."""

    def __init__(self, network: str) -> None:
        self.network = network
        # shapes and types alone, with two outputs
        self.built = {name: tensor.to("meta") for name, tensor in build.build(network, 2).state_dict().items()}
        self.ours = {name: ours for ours, name in plain_names(network, self.built).items()}
        self.head = [name for name, ours in self.ours.items() if ours.split(".")[0] == "head"]
        self.body = [name for name, ours in self.ours.items() if ours.split(".")[0] != "head"]
        self.needed = {name for name in self.body if not name.endswith(COUNTER)}
        self.modules = {name.rpartition(".")[0] for name in self.head}  # that the head consists of
        grows, self.axis = head_of(network, self.built)  # the tensor that has a row for every output
        self.last = next(name for name in self.head if self.ours[name] == grows)

    def outputs(self, tensor: Tensor) -> tuple[int, ...]:
        """How many outputs the last tensor of the head has; empty if it has too few axes."""
        return tensor.shape[self.axis : self.axis + 1]

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one of its tensors; of the head's with two outputs."""
        return tuple(self.built[self.ours[name]].shape)

    def sees(self, name: str) -> bool:
        """Whether a tensor multiplies red, green and blue: the second of its four axes."""
        first = self.ours[self.body[0]].split(".")[0]
        return self.ours[name].split(".")[0] == first and self.shape(name)[1:2] == (3,) and len(self.shape(name)) == 4

    def fits(self, name: str, tensor: Tensor) -> bool:
        """Whether a tensor below the head has the right shape, except for the number of image channels."""
        has, wants = tensor.shape, self.shape(name)
        return has == wants or (self.sees(name) and (*has[:1], *has[2:]) == (*wants[:1], *wants[2:]))

    def odd(self, name: str, tensor: Tensor) -> str:
        """What a tensor is instead of one of floating-point numbers, where the network has such; else ""."""
        floating = self.built[self.ours[name]].is_floating_point() and not tensor.kind.is_floating_point
        return tensor.odd or str(tensor.kind).removeprefix("torch.") * floating

    def replaced(self, name: str) -> bool:
        """Whether a tensor lies where the head does, or behind it in the same list of layers."""
        for module in self.modules:
            layers, _, number = module.rpartition(".")
            position = name.removeprefix(f"{layers}.").split(".")[0] if name.startswith(f"{layers}.") else ""
            behind = position.isdecimal() and number.isdecimal() and int(position) > int(number)
            if behind or name.startswith(f"{module}."):
                return True
        return False


@lru_cache(maxsize=8)
def needs(network: str) -> Wanted:
    """The same, kept: to make a network takes longer than to read its weights."""
    return Wanted(network)


def fitted(network: str, tensors: Mapping[str, Tensor], where: str, key: str = "", channels: str = "") -> Fitted:
    """The network's tensors with their values from a file, and what is said of it.

    A head that does not fit is drawn anew, with two outputs. What is standardised is not touched, but in our own
    networks. key: of the part of the file that is looked at; channels: see `seen`. BadInput says what is missing,
    unexpected, of another shape or no number.
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
    taken = {name: inner[name] for name in (*wanted.body, *wanted.head * (head == TAKEN)) if name in inner}
    values, changed = read(wanted, taken, where, channels)
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
    """By the names of a network's tensors those of the library's model; our own networks are their own model."""
    if network in ARCHITECTURES:
        return {name: name for name in names}
    parts = {name: name.partition(".")[2] for name in names}
    return {name: plain for name, plain in parts.items() if plain.split(".")[0] != STANDARDISE}


def head_of(network: str, names: Iterable[str]) -> tuple[str, int]:
    """Which of a network's tensors has a row for every output, and along which axis."""
    if not is_own(network):
        return list(names)[-1], 0
    name, axis = catalogue.resolve(network).head
    return next(ours for ours, plain in plain_names(network, names).items() if plain == name), axis


# Where they lie


def placed(wanted: Wanted, tensors: Mapping[str, Tensor], where: str, key: str) -> tuple[str, tuple[str, ...]]:
    """The place of a network's tensors, and the others that would do.

    It is one below which all names and shapes are found; of several in this order: what lies in a `state_dict`, a
    `model_state_dict`, a `model`, anywhere; no average over the training; with a head; with the fewest dots; the first.
    If none will do, it is the one with most of the names, and `check` will say what is wrong with it.
    """
    count: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        count.update(".".join(parts[:k]) for k in range(len(parts)) if ".".join(parts[k:]) in wanted.needed)

    def will_do(place: str) -> bool:
        inner = below(tensors, place)
        return all(inner[name].odd or wanted.fits(name, inner[name]) for name in wanted.needed)

    def rank(place: str) -> tuple[int, bool, bool, int]:
        parts = place.split(".")
        wrapped = WRAPPED.index(parts[0]) if parts[0] in WRAPPED else len(WRAPPED)
        inner, averaged = below(tensors, place), any(AVERAGED.search(part) for part in parts)
        return wrapped, averaged, any(name not in inner for name in wanted.head), len(parts)

    whole = sorted((place for place in count if count[place] == len(wanted.needed)), key=rank)
    good = [place for place in whole if will_do(place)]
    if matching := [place for place in good if _within(place, key)]:
        return matching[0], tuple(place for place in good if place != matching[0])
    if key and (good or not any(_within(name, key) for name in tensors)):
        valid = [place for place in good or dict.fromkeys(name.split(".")[0] for name in tensors) if place]
        raise BadInput(f"{where}: no weights at {key!r}; {f'choose from: {some(valid)}' if valid else 'leave it out'}")
    rest = [place for place in count if _within(place, key)]
    return max(rest, key=lambda place: (place in whole, count[place]), default=key), ()


def below(tensors: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
    """What lies below a place, by the rest of its names."""
    return {name[len(place) :].lstrip("."): tensor for name, tensor in tensors.items() if _within(name, place)}


def _within(name: str, place: str) -> bool:
    return not place or name == place or name.startswith(f"{place}.")


def _departing(name: str, place: str) -> str:
    """Of a name that does not begin with a place the part at which the two go apart."""
    parts, others = name.split("."), place.split(".")
    return next((part for k, part in enumerate(parts) if k >= len(others) or part != others[k]), name)


def _usual(name: str) -> str:
    """Without what torch puts between modules that it compiles, shards or recomputes."""
    return WRAPPERS.sub("", DENSENET.sub(r"\1\2.", name)).rstrip(".")


# Whether they fit


def check(wanted: Wanted, tensors: Mapping[str, Tensor], others: Iterable[str], where: str, channels: str) -> None:
    """BadInput if what lies below the head is not what the network has there, or if channels are to be told."""
    own = {name.split(".")[0] for name in wanted.body}
    unexpected = sorted(name for name in others if name.split(".")[0] in own and not wanted.replaced(name))
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
    """BadInput if the channels that a first convolution takes are to be told and are not, or need not be told."""
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
    """Whether the head is taken, or why not, and a network with as many outputs; a head that is not taken is drawn."""
    if not (why := unfit(wanted, tensors)):
        return TAKEN, build.build(wanted.network, *wanted.outputs(tensors[wanted.last])).state_dict()
    built = build.build(wanted.network, 2).state_dict()
    for name in wanted.head:
        tensor = built[wanted.ours[name]]
        if tensor.ndim > 1 and tensor.is_floating_point():
            # Uniform, as torch draws layers, up to 1 / sqrt(fan-in). The base's id depends on it: the same bits on all
            # machines, which is more than torch's Gaussian has.
            numbers = generator("outside", name).random(tensor.shape, np.float32)
            tensor.copy_(torch.from_numpy((2 * numbers - 1) * np.float32(tensor[0].numel() ** -0.5)))
        elif name.endswith("bias"):
            tensor.zero_()
    return f"not taken: {why}", built


def unfit(wanted: Wanted, tensors: Mapping[str, Tensor]) -> str:
    """Why the head of a file is not one of the network's, with however many outputs; "" if it is."""
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


# Their values


def read(wanted: Wanted, taken: Mapping[str, Tensor], where: str, channels: str) -> tuple[Tensors, list[str]]:
    """The values of these tensors as the network has them, and what was done to them.

    BadInput names those that are no numbers, are damaged, or hold NaN or infinity.
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
    """A first convolution [out, c, k, k] for red, green and blue [out, 3, k, k].

    grey: it gives for an image what it gave for one with the mean of red, green and blue in all its channels. rgb: for
    one with red, green and blue in the first three, and nothing (after standardising) in the others.
    """
    return weight.sum(1, keepdim=True).expand(-1, 3, -1, -1) / 3 if channels == "grey" else weight[:, :3]
