"""Bases that somebody else has trained: the weights that a text means, the run that stands for them. No torch.

A text says where weights are found:

    torchvision, timm           those that the library takes by default for this network
    torchvision:IMAGENET1K_V1   its others by their names
    timm:a1_in1k                or tags
    PATH                        a state dict, alone or in a checkpoint: .safetensors, .pth, .pt and the like
    PATH#KEY                    the one at this key of the checkpoint, dotted for what is nested: #model_ema
    PATH:channels=HOW           whose first convolution takes other channels than red, green and blue: grey or rgb
    PATH:R,G,B:R,G,B            with the mean and the deviation that are subtracted and divided by, in 0..1
    PATH#KEY:channels=HOW:R,G,B:R,G,B

`weights.py` reads them; what it found is remembered, so that planning again reads nothing.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from yosinski import files, records
from yosinski.architectures import ARCHITECTURES
from yosinski.catalogue import name_of, named
from yosinski.cost import cost
from yosinski.data import some
from yosinski.data.hashes import SETTLED
from yosinski.environment import environment
from yosinski.recipes import OUTSIDE
from yosinski.spec import BadInput, Half, Run, choose, digest

LIBRARIES = ("torchvision", "timm")
GENERATOR = 2  # bump by hand when more would be said of the same file; ids depend on tensors alone
NUMBERS = r"\d*\.?\d+,\d*\.?\d+,\d*\.?\d+"
BEHIND = re.compile(rf"(.+?)(?::channels=([^:]*))?(?::({NUMBERS}):({NUMBERS}))?")  # what follows a path
HOW = ("grey", "rgb")  # a first convolution sees red, green and blue where it took other channels
NONE = ("none", "null", "no", "false", "scratch", "random")  # texts that ask for no weights at all
INDEX = "*.index.json"  # of weights in several files
PLACEHOLDERS = ("placeholder 0", "placeholder 1")  # classes of a head that was drawn here: a half has at least two
PREFIX = "weights:"  # of what a half's `data` says, if it stands for what weights were trained on
NO_CONTROL = (
    "no selffers: where copies from outside fall below the base, co-adaptation and specificity cannot be told apart"
)
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
ABOUT = ("source", "sha256", "place", "also", "head", "changed", "left_off", "preprocessing")  # what a record has
POLL = 0.2  # seconds between two looks at what another process brings in

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
        found = cls(path=path, key=key, channels=channels or "")
        if mean is None or std is None:
            return found
        minus, by = _channels(mean), _channels(std)
        if max(minus) > 1 or not 0 < min(by) <= max(by) <= 1:
            raise BadInput(f"weights {text}: mean and deviation are those of pixels from 0 to 1")
        return replace(found, mean=minus, std=by)

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
    at = [len(text), *(found.start() for found in reversed(list(re.finditer("#", text))))]
    for k in at:
        if (path := _path(text[:k])).is_file() and (k == len(text) or text[k + 1 :]):
            return path, text[k + 1 :]
    if text.lower() in NONE:
        raise BadInput(
            f"weights {text!r} are none, and a base from outside needs some: networks from scratch are what figure2 "
            "trains, and what transfer trains beside its copies (scratch=true)"
        )
    for k in at:
        if (path := _path(text[:k])).is_dir():
            within = sorted(one.name for one in path.iterdir() if one.suffix in SUFFIXES or one.match(INDEX))
            told = f" in it: {', '.join(within)}" if within else ""
            if (path / ".metadata").is_file():
                told = ", such as torch.distributed.checkpoint.format_utils.dcp_to_torch_save makes of such a directory"
            raise BadInput(f"{path} is a directory: give a file of weights{told}")
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


def base(network: str, weights: Weights) -> Run:
    """The base that stands for these weights."""
    return Run(network, weights.half, OUTSIDE, treatment="outside")


def known(network: str, text: str | None = None) -> Weights:
    """What is known of these weights, as remembered; they are read where they are new, or their file has changed.

    text: "" or None for what the network's library takes by default. BadInput if there are none such, or if they do
    not fit.
    """
    network = name_of(network)
    made_for = None if network in ARCHITECTURES else named(network).library
    if not text and made_for not in LIBRARIES:
        raise BadInput(f"there are no published weights of {network}: give the path of a file")
    source = Source.of(text or str(made_for))
    if source.library and source.library != made_for:
        raise BadInput(f"{source.text} names no weights of {network}, which is not {source.library}'s")
    stats = [part.stat() for part in parts(source.path)] if source.path else []
    made_by = {
        "network": network,
        "source": source.text,
        "files": [[stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for stat in stats],
        "release": version(source.library) if source.library else None,
        "generator": GENERATOR,
    }
    path = files.caches() / "weights" / f"{digest([network, source.text])}.json"
    with suppress(OSError, BadInput, KeyError, TypeError):
        note = files.read_json(path)
        if note["made_by"] == made_by:
            return _from_json(note["weights"])
    from yosinski import weights

    found = weights.read(network, source)[0]
    settled = time.time_ns() - SETTLED * 1e9
    if all(max(stat.st_mtime_ns, stat.st_ctime_ns) < settled for stat in stats):
        with suppress(OSError):
            files.write_json(path, {"made_by": made_by, "weights": asdict(found)}, durable=False)
    return found


def of(run: Run) -> Weights:
    """What is known of the weights behind a base from outside."""
    return known(run.network, run.half.data.removeprefix(PREFIX))


def _from_json(value: Mapping[str, Any]) -> Weights:
    told = value["preprocessing"]
    preprocessing = Preprocessing(**{**told, "mean": tuple(told["mean"]), "std": tuple(told["std"])})
    named = {name: tuple(value[name]) for name in ("classes", "left_off", "also", "changed")}
    return Weights(**{**value, **named, "preprocessing": preprocessing})


def bring(run: Run, runs: Path) -> None:
    """Bring the weights behind a base into the runs directory, as a finished record, unless they are there and whole.

    BadInput if they are not found where they were, or are no longer the same.
    """
    path = records.folder(runs, run.id)
    there = records.state(path) == "done"
    if there and not records.spoilt(path):
        return
    from safetensors.torch import save_file

    from yosinski import weights

    found, tensors = weights.read(run.network, Source.of(run.half.data.removeprefix(PREFIX)))
    if found.half != run.half:
        raise BadInput(f"{found.source} holds other weights than those of {run}: they have changed")
    if there:
        records.set_aside(path)
    while (attempt := records.claim(runs, run)) is None:
        if records.state(path) == "done":
            return
        time.sleep(POLL)
    try:
        attempt.save("weights.safetensors", lambda file: save_file(tensors, file))
        attempt.finish(record(run, found))
    finally:
        attempt.release()


def notes(runs: Iterable[Run]) -> list[str]:
    """For people: what the bases from outside among these runs, or behind them, are taken to be, and what they lack."""
    runs = list(runs)
    told = []
    for base in bases(runs):
        weights = of(base)
        saw = weights.preprocessing
        mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (saw.mean, saw.std))
        kind = "placeholder classes" if weights.classes == PLACEHOLDERS else "classes"
        told.append(
            f"{base.name}: {weights.source}, {len(weights.classes)} {kind}; preprocessing {saw.told_by}: "
            f"mean {mean}, deviation {std}, {saw.interpolation}{''.join(f'; {what}' for what in _about(weights))}"
        )
    if told and not any(run.selffer for run in runs):
        told.append(NO_CONTROL)
    return told


def _about(weights: Weights) -> Iterable[str]:
    """What has been made of a file."""
    if weights.place:
        yield f"taken: #{weights.place}" + "".join(f", or #{place}" for place in weights.also)
    if weights.head != "taken":
        yield f"head {weights.head}"
    if weights.changed:
        yield ", ".join(weights.changed)
    if weights.left_off:
        yield f"left off: {some(weights.left_off, 6)}"


def bases(runs: Iterable[Run]) -> list[Run]:
    """The bases from outside among these runs, or behind them, each once."""
    found = {run.id: run for one in runs for run in (one, one.parent) if run and run.treatment == "outside"}
    return list(found.values())


def record(run: Run, found: Weights) -> dict[str, Any]:
    """What came of a base from outside: nothing was trained here, and nothing measured."""
    parameters = cost(run, None).parameters
    told = asdict(found)
    return {
        "state": "done",
        "reason": None,
        "steps": 0,
        "seconds": 0.0,
        "metrics": {},
        "per_class": {},
        "parameters": parameters,
        "trained_parameters": 0,
        "flops": 0,
        "memory": None,
        "pack": None,
        "arithmetic": None,
        "environment": environment(),
        "weights": found.hash,
        "parent_weights": None,
        "certificate": None,
        "outside": {name: told[name] for name in ABOUT},
    }


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
