"""Encoders of texts on their way out: a directory as transformers saves it, with the tokenizer.

With the library's own head it is a model for classification. A sentence encoder, which averages over tokens, is saved
as the library sentence-transformers does it: the encoder, the pooling, and the classifier as a dense layer.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from yosinski import files
from yosinski.errors import BadInput
from yosinski.networks.encoders import modules
from yosinski.networks.encoders.directory import POOLING
from yosinski.networks.encoders.encoder import Encoder

NOTE = "yosinski.json"  # what the network was trained for, beside the library's files
DENSE = "2_Dense"
CLASSIFIER = "classifier."
MODULES = {"": "Transformer", "1_Pooling": "Pooling", DENSE: "Dense"}


def check(out: Path, force: bool) -> None:
    """BadInput if a directory cannot be written there. With `force` one that was exported before is replaced."""
    if out.suffix == ".safetensors":
        raise BadInput(f"{out}: a network of transformers is exported as a directory: leave out {out.suffix}")
    if out.exists() and not force:
        raise BadInput(f"{out} is there already; --force replaces it")
    if out.exists() and not (out / NOTE).is_file():
        raise BadInput(f"{out} has no {NOTE}, and is no directory that was exported: it is not replaced")
    files.check_writable(out / NOTE)


def save(encoder: Encoder, tensors: Mapping[str, torch.Tensor], told: Mapping[str, Any], out: Path) -> None:
    """Write an encoder as a directory that is complete, or not there.

    tensors: of our network; told: what `NOTE` says, with the names of the classes.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        temporary.chmod(0o755)
        _write(encoder, {encoder.plain(name): tensor for name, tensor in tensors.items()}, told, temporary)
        if out.exists():
            shutil.rmtree(out)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(encoder: Encoder, state: Mapping[str, torch.Tensor], told: Mapping[str, Any], folder: Path) -> None:
    outputs = len(list(state.values())[-1])
    names = dict(enumerate([*told["classes"], *(f"unused {k}" for k in range(len(told["classes"]), outputs))]))
    config, kind = modules.library_config(encoder, names), modules.library_class(encoder)
    config.architectures = [kind]
    config.save_pretrained(folder)
    for name, content in encoder.tokenizer.items():
        (folder / name).write_bytes(content)
    files.write_json(folder / NOTE, dict(told), durable=False)
    if encoder.pooling == "mean":
        below = {name: tensor for name, tensor in state.items() if not name.startswith(CLASSIFIER)}
        _as_sentence_encoder(encoder, state, told["length"], folder)
    else:
        inside = (*{f"{cut.split('.')[0]}." for cut in encoder.cuts}, "pooler.")
        below = {f"{encoder.family.base}.{name}" if name.startswith(inside) else name: t for name, t in state.items()}
    save_file(
        {name: tensor.contiguous() for name, tensor in below.items()}, folder / "model.safetensors", {"format": "pt"}
    )


def _as_sentence_encoder(encoder: Encoder, state: Mapping[str, torch.Tensor], length: int, folder: Path) -> None:
    rows = [
        {"idx": k, "name": str(k), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for k, (path, kind) in enumerate(MODULES.items())
    ]
    modes = {f"pooling_mode_{mode}": mode == "mean_tokens" for mode in ("cls_token", "mean_tokens", "max_tokens")}
    dense = {"in_features": encoder.width, "out_features": len(state[f"{CLASSIFIER}bias"]), "bias": True}
    written = {
        "modules.json": rows,
        "sentence_bert_config.json": {"max_seq_length": length, "do_lower_case": False},
        POOLING: {"word_embedding_dimension": encoder.width, **modes},
        f"{DENSE}/config.json": {**dense, "activation_function": "torch.nn.modules.linear.Identity"},
    }
    for name, content in written.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    head = {f"linear.{name}": state[f"{CLASSIFIER}{name}"].contiguous() for name in ("weight", "bias")}
    save_file(head, folder / DENSE / "model.safetensors", {"format": "pt"})
