"""Weights from outside: what a text means, and what is known of them. No torch."""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from yosinski.data.half import Half
from yosinski.errors import BadInput, choose

LIBRARIES = ("torchvision", "timm")


NUMBERS = r"\d*\.?\d+,\d*\.?\d+,\d*\.?\d+"


BEHIND = re.compile(rf"(.+?)(?::channels=([^:]*))?(?::({NUMBERS}):({NUMBERS}))?")  # what follows a path


HOW = ("grey", "rgb")  # a first convolution sees red, green and blue where it took other channels


NONE = ("none", "null", "no", "false", "scratch", "random")  # texts that ask for no weights at all


INDEX = "*.index.json"  # of weights in several files


PLACEHOLDERS = ("placeholder 0", "placeholder 1")  # classes of a head that was drawn here: a half has at least two


PREFIX = "weights:"  # of what a half's `data` says, if it stands for what weights were trained on


SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")


Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Source:
    """What a text says: a library and a name among its weights ("": the default), or a file.

    key: where in the file; channels: how a first convolution of others sees red, green and blue.
    """

    library: str = ""
    name: str = ""
    path: Path | None = None
    mean: Channels | None = None
    std: Channels | None = None
    key: str = ""
    channels: str = ""

    @classmethod
    def of(cls, text: str) -> "Source":
        """Taken apart; paths become absolute. Whether there are such weights is not looked up, but for files."""
        library, _, name = text.partition(":")
        if library in LIBRARIES:
            return cls(library, name)
        behind = None if _path(text).is_file() else BEHIND.fullmatch(text)
        named, channels, mean, std = behind.groups() if behind else (text, None, None, None)
        path, key = _divided(named or text)
        if channels is not None:
            choose(f"channels of {path}", channels, HOW)
        source = cls(path=path, key=key, channels=channels or "")
        if mean is None or std is None:
            return source
        minus, by = _channels(mean), _channels(std)
        if max(minus) > 1 or not 0 < min(by) <= max(by) <= 1:
            raise BadInput(f"weights {text}: mean and deviation are those of pixels from 0 to 1")
        return replace(source, mean=minus, std=by)

    @property
    def text(self) -> str:
        """Its own spelling."""
        if self.path is None:
            return f"{self.library}:{self.name}" if self.name else self.library
        place = f"{self.path}#{self.key}" if self.key else str(self.path)
        numbers = [",".join(f"{value:g}" for value in values) for values in (self.mean, self.std) if values]
        return ":".join([place, *([f"channels={self.channels}"] if self.channels else []), *numbers])


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _divided(text: str) -> tuple[Path, str]:
    """A file and a key behind a #, unless that belongs to the file's name; BadInput if there is none."""
    positions = [len(text), *(match.start() for match in reversed(list(re.finditer("#", text))))]
    for k in positions:
        if (path := _path(text[:k])).is_file() and (k == len(text) or text[k + 1 :]):
            return path, text[k + 1 :]
    if text.lower() in NONE:
        raise BadInput(
            f"weights {text!r} are none, and a base from outside needs some: networks from scratch are what figure2 "
            "trains, and what transfer trains beside its copies (scratch=true)"
        )
    for k in positions:
        if (path := _path(text[:k])).is_dir():
            within = sorted(one.name for one in path.iterdir() if one.suffix in SUFFIXES or one.match(INDEX))
            hint = f" in it: {', '.join(within)}" if within else ""
            if (path / ".metadata").is_file():
                hint = ", such as torch.distributed.checkpoint.format_utils.dcp_to_torch_save makes of such a directory"
            raise BadInput(f"{path} is a directory: give a file of weights{hint}")
    raise BadInput(f"no file {_path(text)} of weights; write its path, or {' or '.join(LIBRARIES)}[:NAME]")


def _channels(text: str) -> Channels:
    red, green, blue = map(float, text.split(","))
    return red, green, blue


@dataclass(frozen=True)
class Preprocessing:
    """What the network saw in its training: images resized (shorter side) and cropped to squares, then standardised.

    Mean and deviation are those of pixels from 0 to 1. told_by: where this is known from.
    """

    mean: Channels
    std: Channels
    resize: int
    crop: int
    interpolation: str
    told_by: str

    def stored(self, side: int) -> int:
        """Pixels a side of stored images for a network that sees side x side: as many more as there were here."""
        return round(side * max(1.0, self.resize / self.crop))


@dataclass(frozen=True)
class Weights:
    """What is known of weights: everything but the tensors.

    source: their text, with the name that a default has; hash: of the tensors, as the record of a base has it; sha256:
    of the file they came from, if it is one; left_off: parts of the file that the network has no use for; place: the
    key below which they lie in it; also: others below which there are such; head: "taken", or why not; changed: what
    was done to tensors.
    """

    source: str
    hash: str
    sha256: str | None
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    left_off: tuple[str, ...] = ()
    place: str = ""
    also: tuple[str, ...] = ()
    head: str = "taken"
    changed: tuple[str, ...] = ()

    @cached_property
    def half(self) -> Half:
        """What they were trained on, as far as it is known: the parent's half, W."""
        return Half(PREFIX + self.source, self.hash[:16], self.classes, letter="W", split="outside")


def parts(path: Path) -> list[Path]:
    """A file of weights, and behind an index the files that it names, which lie beside it.

    BadInput if it is no index, or if one is missing.
    """
    if not path.match(INDEX):
        return [path]
    try:
        names = sorted(set(json.loads(path.read_bytes())["weight_map"].values()))
        if not names or any(Path(name).name != name or name in ("", "..") for name in names):
            raise ValueError("its weight_map names no files beside it")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path} is no index of weights: {type(error).__name__} {error}") from error
    if missing := [name for name in names if not path.with_name(name).is_file()]:
        raise BadInput(f"{path} names files that are not there: {', '.join(missing)}")
    return [path, *(path.with_name(name) for name in names)]


def sha256(*paths: Path) -> str:
    """Of the bytes of a file, or of several behind each other, 64 hex digits."""
    hashed = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while content := file.read(1 << 20):
                hashed.update(content)
    return hashed.hexdigest()
