"""Export of trained networks: the plain state dict of the library's model, with everything that is needed to use it.

Encoders of transformers are written as directories, see `directories.py`.

The file's metadata holds one JSON text per key; `docs/formats.md` lists the keys.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from yosinski import files
from yosinski.data.place import LONGEST, Place
from yosinski.errors import BadInput, Failure
from yosinski.experiment.run import Run
from yosinski.networks import catalogue
from yosinski.networks.catalogue import architecture, named, of_this_package
from yosinski.networks.encoders.known import encoder_of, is_encoder
from yosinski.networks.layers import names_of_moments
from yosinski.networks.own import is_own
from yosinski.networks.parts import of_one_task
from yosinski.pretrained import directories
from yosinski.pretrained.fitting import Tensors, plain_names
from yosinski.records import specs, states

PICTURES = (
    "Of several frames the first; turned upright as EXIF's orientation says, or XMP's where there is none; greys of "
    "more than 8 bits to 8 by a shift: by depth - 8, or by less where a TIFF says that it has fewer bits a sample, 255 "
    "for what is above, then inverted where the TIFF says that white is zero; then Pillow's convert('RGB'), which "
    "drops alpha: the colour beneath it counts."
)
CROPPED = (
    f"Where resize is one number, only the middle of a picture longer than {LONGEST} times its shorter side: as many "
    f"times of it, and one pixel more where the length is odd. Then resized to resize, cut to square x square in the "
    "middle, and that to crop x crop in the middle, as torchvision's CenterCrop does both."
)
EARLIER = (
    "By an earlier version: of several frames the first; not turned by EXIF's orientation, but for TIFFs; what is "
    "transparent lies on white; greys of 16 bits to 8 by the upper ones; then RGB. Resized to resize and cut to "
    "square x square in the middle as torchvision's CenterCrop does (with lanczos the square in the middle is resized, "
    "as Pillow's ImageOps.fit does); then cut to crop x crop, whose first row and column are (square - crop) // 2."
)
TEXTS = (
    "No pictures but texts. Letters: the bytes of UTF-8, each plus 1. Word pieces: as the tokenizer encodes a text, "
    "with its special tokens. Cut to length tokens, of which the special ones at the end stay; 0 after the end."
)
DRAWN = (
    "Drawn, not read from files: square x square pixels, RGB; cut to crop x crop, whose first row and column are "
    "(square - crop) // 2."
)


def export(runs: Path, run: Run, out: Path, task: int = 0) -> None:
    """Write the trained network of a run to a .safetensors file or a directory, atomically; its tensors are float32.

    Of a network with several tasks that of one of them is written, by default its half, a plain network like any other.
    BadInput if it is not done, Failure if its weights are damaged.
    """
    path = specs.folder(runs, run.id)
    record = states.read_record(path)
    if record is None or record["state"] != "done":
        raise BadInput(f"{run} is {states.state(path)}; only what is done can be exported")
    if states.spoilt(path):
        raise Failure(f"{path / 'weights.safetensors'} does not hold the weights that the record of {run} names")
    tensors = load_file(path / "weights.safetensors")
    if len(run.inputs) > 1:
        raise BadInput(f"{run} takes several inputs, and is no plain network that could be exported")
    about = {"run": run.id, "name": run.name}
    if len(run.tasks) > 1:
        tensors = of_one_task(tensors, task)
    if task:
        half = run.tasks[task]
        about["name"] = run.named(str(run.cut), task)
        record = {**record, **record["tasks"][task - 1]}
        if record["state"] != "done":
            raise BadInput(f"{about['name']} is {record['state']}; only what is done can be exported")
        run = replace(run, half=half, treatment="base", cut=0, partners=(), recipe=run.recipe.alone)
    if is_encoder(run.network):
        encoder = encoder_of(run.network)
        return directories.save(encoder, tensors, about_texts(run, record, encoder.length) | about, out)
    content = description(run, record, tensors) | about
    metadata = {name: json.dumps(value) for name, value in content.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    files.replace(out, lambda temporary: save_file(plain(run.network, tensors), temporary, metadata))


def plain(network: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """A network's tensors as the state dict of the library's model. Networks of this package keep their names."""
    state = {name: tensors[ours] for ours, name in plain_names(network, tensors).items()}
    if is_own(network) and architecture(network).left_off:
        from yosinski.networks.tracing import own_graph

        return own_graph.completed(network, state)
    return state


def about_texts(run: Run, record: Mapping[str, Any], longest: int) -> dict[str, Any]:
    """What is said of a network that reads texts but for its record, as JSON values. longest: most tokens it takes."""
    return {
        "format": files.FORMAT,
        "network": run.network,
        "classes": run.half.labels,
        "length": run.recipe.length or longest,
        "data": run.half.data,
        "test_top1": record["metrics"].get("test_top1"),
    }


def description(run: Run, record: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The metadata but for the names of the record, as JSON values."""
    return {
        "format": files.FORMAT,
        "network": run.network,
        **constructor(run),
        "classes": run.half.labels,
        "preprocessing": preprocessing(run, record, tensors),
        "pictures": pictures(run),
        "data": run.half.data,
        "test_top1": record["metrics"].get("test_top1"),
    }


def constructor(run: Run) -> dict[str, Any]:
    """The library, name and arguments that make the model; for a network of your own also the code."""
    if of_this_package(run.network):
        return {"library": "yosinski", "model": run.network, "arguments": {"outputs": run.outputs}}
    name = named(run.network)
    content = {"library": name.library, "model": name.model, "arguments": catalogue.made(name, run.outputs)[1]}
    if is_own(run.network):
        code = catalogue.resolve(run.network).code
        content |= {"file": code.main, "sources": code.texts(), "sha256": code.hashes()}
    return content


def preprocessing(run: Run, record: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """How an image becomes the model's input: resized (shorter side, or both), cropped twice, standardised from 0..1.

    Of texts: what their tokens are, and the most of them. BadInput if a mean image is subtracted, which cannot be given
    as three numbers.
    """
    if run.half.reads == "texts":
        return {"tokens": (Place.of(run.half.data).tokens and "pieces") or "letters", "length": run.size(run.half)}
    mean, std = (tensors[name] / 255 for name in names_of_moments(tensors))
    if mean.shape[-1] > 1:
        raise BadInput(f"{run} subtracts a mean image; only networks with one mean per channel can be exported")
    side = architecture(run.network).side
    geometry: dict[str, Any]
    if run.is_trained:
        place = Place.of(run.half.data)
        resize = place.side if place.fit == "crop" else [place.side] * 2
        geometry = {"resize": resize, "square": place.side, "crop": side, "interpolation": place.interpolation}
        depth = place.depth
    else:
        saw = record["outside"]["preprocessing"]
        resize = round(side * saw["resize"] / saw["crop"])
        geometry = {"resize": resize, "square": side, "crop": side, "interpolation": saw["interpolation"]}
        depth = 16
    return {"mean": mean.flatten().tolist(), "std": std.flatten().tolist(), **geometry, "depth": depth}


def pictures(run: Run) -> str:
    """How files became training pixels, in words; for a base from outside, how they should become pixels."""
    if run.half.reads == "texts":
        return TEXTS
    if run.is_trained and Place.of(run.half.data).path is None:
        return DRAWN
    return EARLIER if run.is_trained and run.half.rule == 1 else f"{PICTURES} {CROPPED}"
