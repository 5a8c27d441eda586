"""Files of weights: their kind, by content, and their tensors. Other files are named by what they are."""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from yosinski.errors import BadInput
from yosinski.pretrained import torch_files
from yosinski.pretrained.source import INDEX, parts
from yosinski.pretrained.torch_files import Tensor

BEGINNINGS = {
    b"version https://git-lfs": "it is a pointer of Git LFS to a file that was not fetched: git lfs pull",
    b"\x1f\x8b": "it is compressed (gzip): unpack it",
    b"BZh": "it is compressed (bzip2): unpack it",
    b"\xfd7zXZ": "it is compressed (xz): unpack it",
    b"\x28\xb5\x2f\xfd": "it is compressed (Zstandard): unpack it",
    b"7z\xbc\xaf": "it is compressed (7-Zip): unpack it",
    b"Rar!": "it is compressed (RAR): unpack it",
    b"\x89HDF": "it is an HDF5 file, as Keras writes them",
    b"\x93NUMPY": "it is an array of NumPy",
}
PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")
TAR = slice(257, 262)  # bytes that identify a tar archive
KINDS = {  # types in safetensors
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@contextmanager
def opened(path: Path) -> Iterator[tuple[dict[str, Tensor], Mapping[str, str]]]:
    """Context with the tensors of a file, or of all files in an index, and the metadata; they are read on demand.

    BadInput if it is not a file of weights, or damaged.
    """
    with ExitStack() as stack:
        tensors: dict[str, Tensor] = {}
        metadata: Mapping[str, str] = {}
        for part in parts(path)[1:] or [path]:  # an index comes before its files
            try:
                inner, metadata = stack.enter_context(_part(part))
            except BadInput as error:
                raise BadInput(f"{part} cannot be read as weights: {error}") from error
            tensors |= inner
        yield tensors, metadata


@contextmanager
def _part(path: Path) -> Iterator[tuple[dict[str, Tensor], Mapping[str, str]]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
        if why := _no_weights(head):
            raise BadInput(why)
    if 8 < int.from_bytes(head[:8], "little") + 8 <= size and head[8:9] == b"{":
        try:
            with safe_open(path, "pt") as opened:
                names: list[str] = list(opened.keys())
                yield {name: _of_safetensors(opened, name) for name in names}, opened.metadata() or {}
        except SafetensorError as error:
            raise BadInput(f"as safetensors: {error}") from error
        return
    if path.suffix == ".safetensors" and not head.startswith((b"PK", b"\x80")):
        raise BadInput("it does not begin as safetensors do, or it is cut off")
    with torch_files.opened(path) as tensors:
        yield tensors, {}


def _of_safetensors(opened: Any, name: str) -> Tensor:
    part = opened.get_slice(name)
    kind = KINDS.get(part.get_dtype())
    odd = "" if kind else f"of numbers of type {part.get_dtype()}"
    shape = tuple(part.get_shape())
    return Tensor(shape, kind or torch.float32, lambda: opened.get_tensor(name), odd, math.prod(shape))


def _no_weights(head: bytes) -> str:
    """What a file is that may be mistaken for weights; "" for others."""
    if not head:
        return "it is empty"
    for beginning, what in BEGINNINGS.items():
        if head.startswith(beginning):
            return what
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(PAGES):
        return "it is a web page: what was downloaded is not the file"
    if text.startswith(b"{"):
        return f"it is JSON, and only {INDEX} names files of weights"
    if head[TAR] == b"ustar":
        return "it is a tar archive: unpack it; if torch before 0.1.10 has written it, save it again with a newer one"
    return ""
