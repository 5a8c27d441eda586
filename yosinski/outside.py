"""Bases that somebody else has trained: the weights that a text means, the run that stands for them. No torch.

A text says where weights are found:

    torchvision, timm           those that the library takes by default for this network
    torchvision:IMAGENET1K_V1   its others by their names
    timm:a1_in1k                or tags
    PATH                        a state dict: .safetensors, .pth, .pt and the like
    PATH:R,G,B:R,G,B            with the mean and the deviation that are subtracted and divided by, in 0..1

`weights.py` reads them; what it found is remembered, so that planning again reads nothing.
"""

import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from yosinski import files, records
from yosinski.architectures import ARCHITECTURES, name_of
from yosinski.cost import cost
from yosinski.data.cards import SETTLED
from yosinski.environment import environment
from yosinski.recipes import OUTSIDE
from yosinski.spec import BadInput, Half, Run, digest
from yosinski.traced import Name

LIBRARIES = ("torchvision", "timm")
GENERATOR = 1  # bump by hand when the same file would give other tensors
NUMBERS = r"\d*\.?\d+,\d*\.?\d+,\d*\.?\d+"
CHANNELS = re.compile(rf"(.+):({NUMBERS}):({NUMBERS})")
PREFIX = "weights:"  # of what a half's `data` says, if it stands for what weights were trained on
NO_CONTROL = (
    "no selffers: where copies from outside fall below the base, co-adaptation and specificity cannot be told apart"
)
POLL = 0.2  # seconds between two looks at what another process brings in

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Source:
    """What a text says: a library and a name among its weights ("": the default), or a file."""

    library: str = ""
    name: str = ""
    path: Path | None = None
    mean: Channels | None = None
    std: Channels | None = None

    @classmethod
    def of(cls, text: str) -> "Source":
        """Taken apart; paths become absolute. Whether there are such weights is not looked up, but for files."""
        library, _, name = text.partition(":")
        if library in LIBRARIES:
            return cls(library, name)
        told = CHANNELS.fullmatch(text)
        path = Path(told[1] if told else text).expanduser().absolute()
        if not path.is_file():
            raise BadInput(f"no file {path} of weights; write its path, or {' or '.join(LIBRARIES)}[:NAME]")
        if not told:
            return cls(path=path)
        mean, std = (_channels(numbers) for numbers in told.groups()[1:])
        if max(mean) > 1 or not 0 < min(std) <= max(std) <= 1:
            raise BadInput(f"weights {text}: mean and deviation are those of pixels from 0 to 1")
        return cls(path=path, mean=mean, std=std)

    @property
    def text(self) -> str:
        """Its own spelling."""
        if self.path is None:
            return f"{self.library}:{self.name}" if self.name else self.library
        channels = [",".join(f"{value:g}" for value in values) for values in (self.mean, self.std) if values]
        return ":".join([str(self.path), *channels])


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
    of the file they came from, if it is one; left_off: parts of the file that the network has no use for.
    """

    source: str
    hash: str
    sha256: str | None
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    left_off: tuple[str, ...] = ()

    @cached_property
    def half(self) -> Half:
        """What they were trained on, as far as it is known: the parent's half, W."""
        return Half(PREFIX + self.source, self.hash[:16], self.classes, letter="W", split="outside")


def base(network: str, weights: Weights) -> Run:
    """The base that stands for these weights."""
    return Run(network, weights.half, OUTSIDE, treatment="outside")


def known(network: str, text: str | None = None) -> Weights:
    """What is known of these weights, as remembered; they are read where they are new, or their file has changed.

    text: None for what the network's library takes by default. BadInput if there are none such, or if they do not fit.
    """
    network = name_of(network)
    made_for = None if network in ARCHITECTURES else Name.of(network).library
    if text is None and made_for not in LIBRARIES:
        raise BadInput(f"there are no published weights of {network}: give the path of a file")
    source = Source.of(text or str(made_for))
    if source.library and source.library != made_for:
        raise BadInput(f"{source.text} names no weights of {network}, which is not {source.library}'s")
    stat = source.path.stat() if source.path else None
    made_by = {
        "network": network,
        "source": source.text,
        "size": stat.st_size if stat else None,
        "changed": stat.st_mtime_ns if stat else None,
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
    if stat is None or stat.st_mtime_ns < time.time_ns() - SETTLED * 1e9:
        with suppress(OSError):
            files.write_json(path, {"made_by": made_by, "weights": asdict(found)}, durable=False)
    return found


def of(run: Run) -> Weights:
    """What is known of the weights behind a base from outside."""
    return known(run.network, run.half.data.removeprefix(PREFIX))


def _from_json(value: Mapping[str, Any]) -> Weights:
    told = value["preprocessing"]
    preprocessing = Preprocessing(**{**told, "mean": tuple(told["mean"]), "std": tuple(told["std"])})
    named = {name: tuple(value[name]) for name in ("classes", "left_off")}
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
        left_off = f"; left off: {', '.join(weights.left_off)}" if weights.left_off else ""
        told.append(
            f"{base.name}: {weights.source}, {len(weights.classes)} classes; preprocessing {saw.told_by}: "
            f"mean {mean}, deviation {std}, {saw.interpolation}{left_off}"
        )
    if told and not any(run.selffer for run in runs):
        told.append(NO_CONTROL)
    return told


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
        "outside": {name: told[name] for name in ("source", "sha256", "left_off", "preprocessing")},
    }


def sha256(path: Path) -> str:
    """Of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
