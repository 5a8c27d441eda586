"""Sources of weights from outside: parsed texts, and descriptions of weights. No torch."""

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


BEHIND = re.compile(rf"(.+?)(?::channels=([^:]*))?(?::({NUMBERS}):({NUMBERS}))?")  # the parts after a path


HOW = ("grey", "rgb")  # conversions of a first convolution to red, green and blue


NONE = ("none", "null", "no", "false", "scratch", "random")  # texts that mean no weights


INDEX = "*.index.json"  # for weights in several files


PLACEHOLDERS = ("placeholder 0", "placeholder 1")  # classes of a new head: a half has at least two


VECTORS = "embeddings="  # before a file of word vectors


TOKENS = ",tokens="  # behind it, before the directory of a tokenizer


CONFIGURED = "config.json"  # in a directory as transformers saves it


IN_DIRECTORY = ("model.safetensors", "model.safetensors.index.json")  # the weights in it


PREFIX = "weights:"  # of the `data` of a half that represents the training data of weights


SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")


Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Source:
    """A parsed text: a library and a name among its weights ("": the default), or a file.

    key: place in the file; channels: conversion of the first convolution to red, green and blue; vectors: whether the
    file has word vectors; tokens: the directory of the tokenizer that says whose they are.
    """

    library: str = ""
    name: str = ""
    path: Path | None = None
    mean: Channels | None = None
    std: Channels | None = None
    key: str = ""
    channels: str = ""
    vectors: bool = False
    tokens: Path | None = None

    @classmethod
    def of(cls, text: str) -> "Source":
        """Parse a text. Paths become absolute and must exist; names in libraries are not looked up.

        Of a directory as transformers saves it the file of weights is taken.
        """
        if text.startswith(VECTORS):
            named, tokens = text.removeprefix(VECTORS), None
            if not _path(named).is_file() and TOKENS in named:
                named, _, directory = named.rpartition(TOKENS)
                tokens = _path(directory)
            if not _path(named).is_file():
                raise BadInput(f"no file {_path(named)} of word vectors")
            return cls(path=_path(named), vectors=True, tokens=tokens)
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
        """The normal form of the text."""
        if self.path is None:
            return f"{self.library}:{self.name}" if self.name else self.library
        place = VECTORS * self.vectors + (f"{self.path}#{self.key}" if self.key else str(self.path))
        numbers = [",".join(f"{value:g}" for value in values) for values in (self.mean, self.std) if values]
        place += f"{TOKENS}{self.tokens}" if self.tokens else ""
        return ":".join([place, *([f"channels={self.channels}"] if self.channels else []), *numbers])

    @property
    def files(self) -> list[Path]:
        """The files of the weights. BadInput if some are missing."""
        if self.path is None:
            return []
        tokenizer = [self.tokens / "tokenizer.json"] if self.tokens else []
        return [self.path, *vocabulary_beside(self.path), *tokenizer] if self.vectors else parts(self.path)


def vocabulary_beside(path: Path) -> list[Path]:
    """For word vectors of NumPy (.npy) the file of their words: of the same name, .txt or .vocab; else nothing.

    BadInput if it is missing.
    """
    if path.suffix != ".npy":
        return []
    beside = [path.with_suffix(suffix) for suffix in (".txt", ".vocab")]
    there = [file for file in beside if file.is_file()]
    if not there:
        raise BadInput(f"{path} has no words beside it, one a line: {' or '.join(file.name for file in beside)}")
    return there[:1]


def in_directory(path: Path) -> Path:
    """The file of weights in a directory as transformers saves it. BadInput if it has no safetensors."""
    for name in IN_DIRECTORY:
        if (path / name).is_file():
            return path / name
    others = sorted(file.name for file in path.iterdir() if file.suffix in (*SUFFIXES, ".h5", ".msgpack", ".onnx"))
    hint = f"; what it has ({', '.join(others)}) is not read" if others else ""
    raise BadInput(
        f"{path} has no {IN_DIRECTORY[0]}{hint}: save_pretrained of transformers writes one, from version 4.35 on"
    )


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _divided(text: str) -> tuple[Path, str]:
    """A file and the key after a #, unless the # is part of the file's name. BadInput if there is no such file."""
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
        if (path := _path(text[:k])).is_dir() and (path / CONFIGURED).is_file():
            return in_directory(path), text[k + 1 :]
        if path.is_dir():
            within = sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES or file.match(INDEX))
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
    """Preprocessing of a network's training images: resized (shorter side), cropped to squares, standardised.

    Mean and standard deviation are those of pixels from 0 to 1. told_by: source of this information.
    """

    mean: Channels
    std: Channels
    resize: int
    crop: int
    interpolation: str
    told_by: str

    def stored(self, side: int) -> int:
        """Side of stored images for a network that sees side x side pixels, with the same ratio as here."""
        return round(side * max(1.0, self.resize / self.crop))


@dataclass(frozen=True)
class Weights:
    """Description of weights: everything but the tensors.

    source: their text, with the name of a default
    hash: of the tensors, as in the record of a base
    sha256: of the file, if there is one
    place: key of the file below which the tensors lie; also: other possible places
    head: "taken", or why not
    changed: conversions of tensors
    left_off: parts of the file that are not used
    reach: number of first segments that the weights are of; None: all
    """

    source: str
    hash: str
    sha256: str | None
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None  # None: of texts, which the tokenizer prepares
    left_off: tuple[str, ...] = ()
    place: str = ""
    also: tuple[str, ...] = ()
    head: str = "taken"
    changed: tuple[str, ...] = ()
    reach: int | None = None

    @property
    def saw(self) -> Preprocessing:
        """The preprocessing of weights for images."""
        assert self.preprocessing is not None
        return self.preprocessing

    @cached_property
    def half(self) -> Half:
        """The training data, as far as known: the parent's half, W."""
        return Half(PREFIX + self.source, self.hash[:16], self.classes, letter="W", split="outside")


def parts(path: Path) -> list[Path]:
    """A file of weights; for an index followed by its files, which lie beside it.

    BadInput if it is no index, or if a file is missing.
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
    """SHA-256 of the bytes of a file, or of several concatenated files, 64 hex digits."""
    hashed = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while content := file.read(1 << 20):
                hashed.update(content)
    return hashed.hexdigest()
