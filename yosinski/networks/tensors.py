"""Hashes of tensors by their bytes: the identity of a run's weights. No torch."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, deserialize

from yosinski.files import Damaged

if TYPE_CHECKING:
    import torch

DTYPES = {  # names in safetensors and in torch
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8"},
}


def fingerprint(tensors: "Mapping[str, torch.Tensor]") -> str:
    """SHA-256 over names, types, shapes and bytes, in order of names: 64 hex digits."""
    return _hash(
        (name, str(tensor.dtype), tuple(tensor.shape), _bytes(tensor)) for name, tensor in sorted(tensors.items())
    )


def fingerprint_of_file(path: Path) -> str:
    """The same for a .safetensors file, without creating tensors. Damaged if it is no such file."""
    try:
        tensors = deserialize(path.read_bytes())
        return _hash(
            (name, f"torch.{DTYPES[tensor['dtype']]}", tuple(tensor["shape"]), tensor["data"])
            for name, tensor in sorted(tensors, key=lambda named: named[0])
        )
    except (SafetensorError, KeyError) as error:
        raise Damaged(path) from error


def _hash(rows: Iterable[tuple[str, str, tuple[int, ...], bytes | memoryview]]) -> str:
    hashed = hashlib.sha256()
    for name, dtype, shape, content in rows:
        hashed.update(f"{name} {dtype} {shape}\n".encode())
        hashed.update(content)
    return hashed.hexdigest()


def _bytes(tensor: "torch.Tensor") -> memoryview:
    """Those of the tensor itself if they lie in order on the CPU: a copy of large ones takes as long as the hash."""
    import torch

    return tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data
