"""Bases from outside: weights named by a text, and the run that represents them. No torch.

A text says where weights are found:

    torchvision, timm           the library's default for this network
    torchvision:IMAGENET1K_V1   other weights of the library by name
    timm:a1_in1k                or by tag
    PATH                        a state dict, alone or in a checkpoint: .safetensors, .pth, .pt and others
    PATH#KEY                    the state dict at this key of the checkpoint, with dots for nested keys: #model_ema
    PATH:channels=HOW           its first convolution takes other channels than red, green and blue; HOW: grey or rgb
    PATH:R,G,B:R,G,B            with mean and standard deviation of its preprocessing, in 0..1
    PATH#KEY:channels=HOW:R,G,B:R,G,B
    DIRECTORY                   the safetensors in a directory as transformers saves it; hf:DIRECTORY's default
    embeddings=FILE             word vectors, for the first segment alone; see `vectors.py`
    embeddings=FILE,tokens=DIRECTORY    of the tokens of this tokenizer, for a network that has none of its own

`weights.py` reads them. Descriptions are cached, so that the next plan reads nothing.
"""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from yosinski import files
from yosinski.data.sources.hashes import SETTLED
from yosinski.environment import environment
from yosinski.errors import BadInput, some
from yosinski.experiment.cost import cost
from yosinski.experiment.recipes import OUTSIDE
from yosinski.experiment.run import Run
from yosinski.identity import digest
from yosinski.networks.catalogue import name_of, named, of_this_package
from yosinski.networks.encoders.known import encoder_of, is_encoder
from yosinski.pretrained.source import LIBRARIES, PLACEHOLDERS, PREFIX, Preprocessing, Source, Weights
from yosinski.records import attempts, specs, states

GENERATOR = 2  # increase by hand when descriptions of the same file change; ids depend only on tensors
NO_CONTROL = (
    "no selffers: where copies from outside fall below the base, co-adaptation and specificity cannot be told apart"
)
ABOUT = ("source", "sha256", "place", "also", "head", "changed", "left_off", "preprocessing")  # values in a record
POLL = 0.2  # seconds between two checks while another process brings weights in


def base(network: str, weights: Weights) -> Run:
    """The base that represents these weights."""
    return Run(network, weights.half, OUTSIDE, treatment="outside")


def described(network: str, text: str | None = None) -> Weights:
    """The description of these weights, from the cache. New weights, and changed files, are read.

    text: "" or None for the default of the network's library, or of its directory. BadInput if there are no such
    weights, or if they do not fit.
    """
    if not text and is_encoder(network) and (path := encoder_of(network).path) is not None:
        text = str(path)
    network = name_of(network)
    made_for = None if of_this_package(network) else named(network).library
    if not text and made_for not in LIBRARIES:
        raise BadInput(f"there are no published weights of {network}: give the path of a file")
    source = Source.of(text or str(made_for))
    if source.library and source.library != made_for:
        raise BadInput(f"{source.text} names no weights of {network}, which is not {source.library}'s")
    stats = [part.stat() for part in source.files]
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
    from yosinski.pretrained import weights

    description = weights.read(network, source)[0]
    settled = time.time_ns() - SETTLED * 1e9
    if all(max(stat.st_mtime_ns, stat.st_ctime_ns) < settled for stat in stats):
        with suppress(OSError):
            files.write_json(path, {"made_by": made_by, "weights": asdict(description)}, durable=False)
    return description


def behind(run: Run) -> Weights:
    """The description of the weights of a base from outside."""
    return described(run.network, run.half.data.removeprefix(PREFIX))


def _from_json(value: Mapping[str, Any]) -> Weights:
    if entries := value["preprocessing"]:
        entries = Preprocessing(**{**entries, "mean": tuple(entries["mean"]), "std": tuple(entries["std"])})
    named = {name: tuple(value[name]) for name in ("classes", "left_off", "also", "changed")}
    return Weights(**{**value, **named, "preprocessing": entries})


def bring(run: Run, runs: Path) -> None:
    """Write the weights of a base to the runs directory as a finished record, unless they are there and undamaged.

    BadInput if they are not found any more, or have changed.
    """
    path = specs.folder(runs, run.id)
    is_done = states.state(path) == "done"
    if is_done and not states.spoilt(path):
        return
    from safetensors.torch import save_file

    from yosinski.pretrained import weights

    description, tensors = weights.read(run.network, Source.of(run.half.data.removeprefix(PREFIX)))
    if description.half != run.half:
        raise BadInput(f"{description.source} holds other weights than those of {run}: they have changed")
    if is_done:
        states.set_aside(path)
    while (attempt := attempts.claim(runs, run)) is None:
        if states.state(path) == "done":
            return
        time.sleep(POLL)
    try:
        attempt.save("weights.safetensors", lambda file: save_file(tensors, file))
        attempt.finish(record(run, description))
    finally:
        attempt.release()


def notes(runs: Iterable[Run]) -> list[str]:
    """Messages for the user on the bases from outside among these runs and their parents: assumptions and gaps."""
    runs = list(runs)
    lines = []
    for base in bases(runs):
        weights = behind(base)
        kind = "placeholder classes" if weights.classes == PLACEHOLDERS else "classes"
        parts = [f"{base.name}: {weights.source}, {len(weights.classes)} {kind}", *_preparation(weights)]
        lines.append("; ".join([*parts, *_conversions(weights)]))
    if lines and not any(run.selffer for run in runs):
        lines.append(NO_CONTROL)
    return lines


def _preparation(weights: Weights) -> Iterable[str]:
    """A message on the preprocessing of images."""
    if (saw := weights.preprocessing) is not None:
        mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (saw.mean, saw.std))
        yield f"preprocessing {saw.told_by}: mean {mean}, deviation {std}, {saw.interpolation}"


def _conversions(weights: Weights) -> Iterable[str]:
    """Messages on conversions of a file's tensors."""
    if weights.place:
        yield f"taken: #{weights.place}" + "".join(f", or #{place}" for place in weights.also)
    if weights.head != "taken":
        yield f"head {weights.head}"
    if weights.changed:
        yield ", ".join(weights.changed)
    if weights.left_off:
        yield f"left off: {some(weights.left_off, 6)}"


def bases(runs: Iterable[Run]) -> list[Run]:
    """The bases from outside among these runs and their parents, without duplicates."""
    by_id = {run.id: run for each in runs for run in (each, each.parent) if run and run.treatment == "outside"}
    return list(by_id.values())


def record(run: Run, description: Weights) -> dict[str, Any]:
    """The record of a base from outside, with no training and no metrics."""
    parameters = cost(run, None).parameters
    content = asdict(description)
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
        "weights": description.hash,
        "parent_weights": None,
        "certificate": None,
        "outside": {name: content[name] for name in ABOUT},
    }
