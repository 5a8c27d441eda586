"""Trained networks for elsewhere: the plain state dict of the library's model, with all that is needed to use it.

What that is stands in the file's metadata, one JSON text per key; `docs/formats.md` has the keys.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from yosinski import data, files, libraries, own, records
from yosinski.architectures import ARCHITECTURES, architecture, is_own
from yosinski.spec import BadInput, Failure, Run
from yosinski.traced import Name
from yosinski.weights import STANDARDISE, Tensors, plain_names


def export(runs: Path, run: Run, out: Path) -> None:
    """Write the trained network of a run to a .safetensors file, whole; its tensors are float32.

    BadInput if it is not done, Failure if its weights are damaged.
    """
    path = records.folder(runs, run.id)
    record = records.read_record(path)
    if record is None or record["state"] != "done":
        raise BadInput(f"{run} is {records.state(path)}; only what is done can be exported")
    if records.spoilt(path):
        raise Failure(f"{path / 'weights.safetensors'} does not hold the weights that the record of {run} names")
    tensors = load_file(path / "weights.safetensors")
    told = description(run, record, tensors)
    metadata = {name: json.dumps(value) for name, value in told.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    files.replace(out, lambda temporary: save_file(plain(run.network, tensors), temporary, metadata))


def plain(network: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """A network's tensors as the state dict of the library's model; those of our own networks keep their names."""
    found = {name: tensors[ours] for ours, name in plain_names(network, tensors).items()}
    if is_own(network) and architecture(network).left_off:
        from yosinski import own_graph

        return own_graph.completed(network, found)
    return found


def description(run: Run, record: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What the metadata says, as JSON values."""
    return {
        "format": files.FORMAT,
        "network": run.network,
        **constructor(run),
        "classes": run.half.classes,
        "preprocessing": preprocessing(run, record, tensors),
        "data": run.half.data,
        "run": run.id,
        "name": run.name,
        "test_top1": record["metrics"].get("test_top1"),
    }


def constructor(run: Run) -> dict[str, Any]:
    """Which library makes the model, by which name and arguments; of a file of one's own also the code."""
    if run.network in ARCHITECTURES:
        return {"library": "yosinski", "model": run.network, "arguments": {"outputs": run.outputs}}
    name = Name.of(run.network)
    told = {"library": name.library, "model": name.model, "arguments": libraries.made(name, run.outputs)[1]}
    if is_own(run.network):
        code = own.resolve(run.network).code
        told |= {"file": code.main, "sources": code.texts(), "sha256": code.hashes()}
    return told


def preprocessing(run: Run, record: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """How an image becomes the model's input: resized (shorter side, or both), cropped, standardised from 0..1.

    BadInput if a mean image is subtracted, which has no place in a list of three numbers.
    """
    mean, std = (tensor / 255 for name, tensor in tensors.items() if STANDARDISE in name.split("."))
    if mean.shape[-1] > 1:
        raise BadInput(f"{run} subtracts a mean image; only networks with one mean per channel can be exported")
    side = architecture(run.network).side
    if run.is_trained:
        place = data.place(run.half.data)
        resize, interpolation = place.side if place.fit == "crop" else [place.side] * 2, place.interpolation
    else:
        saw = record["outside"]["preprocessing"]
        resize, interpolation = round(side * saw["resize"] / saw["crop"]), saw["interpolation"]
    channels = {"mean": mean.flatten().tolist(), "std": std.flatten().tolist()}
    return {**channels, "resize": resize, "crop": side, "interpolation": interpolation}
