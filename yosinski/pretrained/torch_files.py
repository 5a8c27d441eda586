"""Reading files of `torch.save` as data: checkpoints with any other content beside the weights.

Nothing in such a file is executed:

- No unpickler is used, neither Python's nor torch's. `pickles.plain` reads opcodes; a global stays a text, and a call
  becomes a note. No module is imported for a file, and no function or class is looked up.
- Calls that make a tensor are recognised by name, and reproduced here: a part of the file is read as numbers of a type
  listed below. Texts of the file are only compared with constants in this module.
- Every offset, size and stride is checked against its storage, and every storage against the bytes of the file, before
  memory is allocated. A tensor that is sparse, or repeats its numbers, may be larger than the file: its shape is known
  before it is made.

Classes that are not installed (of Lightning, OmegaConf, MMEngine, or the training script) are no problem. In a model
that was saved as an object, tensors are found in the dictionaries of its modules. Of a checkpoint with an optimiser
only the requested tensors are read.
"""

import math
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from yosinski.data.sources.pickles import Call, Name, Persistent, plain
from yosinski.errors import BadInput, some

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # first two pickles in files before torch 1.6
ZIP = b"PK"  # first bytes of a zip archive
DTYPES = {str(dtype): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}  # "torch.float32"
STORAGES = {  # types by class names
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "UntypedStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "QInt8Storage": torch.qint8,
    "QUInt8Storage": torch.quint8,
    "QInt32Storage": torch.qint32,
}
ODD = {  # descriptions of other objects, by the function that makes them
    "torch._utils _rebuild_qtensor": "quantised",
    "torch._utils _rebuild_meta_tensor_no_storage": "on the meta device, without numbers",
    "torch._utils _rebuild_nested_tensor": "nested",
    "numpy.core.multiarray _reconstruct": "an array of NumPy",
    "numpy._core.multiarray _reconstruct": "an array of NumPy",
    "numpy._core.numeric _frombuffer": "an array of NumPy",
}
SHARDS = ("DTensor", "ShardedTensor")  # each process saves its part
INNER = (  # calls with a tensor as first argument
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state",
    "torch._utils _rebuild_device_tensor_from_cpu_tensor",
    "torch.nn.parameter Parameter",
)
LAYOUTS = {  # number of index tensors of sparse tensors
    "torch.sparse_coo": 1,
    "torch.sparse_csr": 2,
    "torch.sparse_csc": 2,
    "torch.sparse_bsr": 2,
    "torch.sparse_bsc": 2,
}
MAPPINGS = ("collections OrderedDict", "collections defaultdict", "collections Counter")
LONGEST = 500  # maximum characters of a name with its parents
LARGEST = 2**63  # limit for sizes and offsets
AXES = 64  # maximum axes of a tensor
DEPTH = 4  # maximum nesting of calls that make a tensor
DENSEST = 20  # maximum compression ratio of an entry in an archive
MOST = 1_000_000  # maximum number of visited dictionaries, lists and tensors
ERRORS = (ValueError, LookupError, TypeError, AttributeError, OSError, EOFError, RuntimeError, MemoryError)
ERRORS = (*ERRORS, OverflowError, NotImplementedError, zipfile.BadZipFile)  # errors from damaged files


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file, not read yet.

    odd: why it cannot be read ("quantised"), else ""; if set, shape and kind are meaningless. stored: count of its
    numbers in the file, smaller than its size if it is sparse or repeats numbers.
    """

    shape: tuple[int, ...]
    kind: torch.dtype
    make: Callable[[], torch.Tensor]
    odd: str = ""
    stored: int = 0

    @classmethod
    def of(cls, tensor: torch.Tensor) -> "Tensor":
        """For a tensor in memory."""
        return cls(tuple(tensor.shape), tensor.dtype, lambda: tensor, stored=tensor.numel())

    def read(self) -> torch.Tensor:
        """Read the tensor. BadInput if the file is damaged."""
        try:
            return self.make()
        except ERRORS as error:
            raise BadInput(_line(error)) from error


class Saved(NamedTuple):
    """Content of a file: the saved object as plain data, and a function that reads the bytes of a storage."""

    content: Any
    storage: Callable[[str], bytes]


@contextmanager
def opened(path: Path) -> Iterator[dict[str, Tensor]]:
    """Context with all tensors of a file by their keys, joined by dots; they are read on demand.

    BadInput if the file is not from torch, or if it is damaged.
    """
    with path.open("rb") as file:
        try:
            zipped = zipfile.is_zipfile(file)
            file.seek(0)
            if not zipped and file.read(len(ZIP)) == ZIP:
                raise BadInput("it is cut off: a zip archive, as torch saves one, without its end")
            saved = _archive(file) if zipped else _stream(file)
            tensors = dict(_found(saved))
        except BadInput:
            raise
        except ERRORS as error:
            raise BadInput(f"as what torch has saved it is cut off or damaged: {_line(error)}") from error
        if not tensors:
            keys = sorted(shown(key) for key, _ in _pairs(saved.content) if isinstance(key, str))
            raise BadInput("it holds no tensors" + (f", but {some(keys)}" if keys else ""))
        yield tensors


def _line(error: Exception) -> str:
    return shown(str(error).partition("\n")[0]) or type(error).__name__


def shown(text: str) -> str:
    """A text from a file for a message: shortened, without control characters."""
    return "".join(sign if sign.isprintable() else "?" for sign in text[:LONGEST])


# Content of a file


def _archive(file: IO[bytes]) -> Saved:
    """A file since torch 1.6: a zip archive with a pickle, and an uncompressed entry for each storage."""
    archive = zipfile.ZipFile(file)
    names = archive.namelist()
    roots = {name.removesuffix("data.pkl") for name in names if name.count("/") == 1 and name.endswith("/data.pkl")}
    if len(roots) != 1:
        raise BadInput(f"it is a zip archive that torch.save has not written, of {some([*map(shown, names)], 3)}")
    (root,) = roots
    if f"{root}constants.pkl" in names:
        raise BadInput("it is a program (TorchScript): save model.state_dict() where it comes from")

    @lru_cache(maxsize=1)
    def entry(name: str) -> bytes:
        member: Any = archive.getinfo(root + name)
        if member.file_size > DENSEST * member.compress_size + 1_000_000:
            raise ValueError(f"{name} is {member.file_size:,} bytes packed into {member.compress_size:,}")
        member.CRC = member.CRC or None  # torch has an option to omit it
        return archive.open(member).read()

    if f"{root}byteorder" in names and entry("byteorder") != b"little":
        raise BadInput("it was saved on a big-endian machine")
    return Saved(plain(entry("data.pkl")), lambda key: entry(f"data/{key}"))


def _stream(file: IO[bytes]) -> Saved:
    """A file before torch 1.6: five pickles (two numbers, system, object, keys of storages), then the storages."""
    file.seek(0)
    if plain(file) != MAGIC or plain(file) != PROTOCOL:
        raise ValueError("torch.save begins otherwise")
    if not plain(file)["little_endian"]:
        raise BadInput("it was saved on a big-endian machine")
    references: list[Persistent] = []
    content, keys = plain(file, references), plain(file)
    storages = [one.id for one in references if isinstance(one.id, tuple) and one.id[0] == "storage"]
    widths = {_key(key): _kind(of).itemsize for _, of, key, *_ in storages}
    places: dict[str, tuple[int, int]] = {}
    for key in map(_key, keys):
        size = int.from_bytes(file.read(8), "little") * widths[key]
        places[key] = file.tell(), size
        file.seek(size, os.SEEK_CUR)

    @lru_cache(maxsize=1)
    def storage(key: str) -> bytes:
        start, size = places[key]
        file.seek(start)
        return file.read(size)

    return Saved(content, storage)


def _found(saved: Saved) -> Iterator[tuple[str, Tensor]]:
    """Tensors in dictionaries, lists and modules, in the order of the file. Cycles end at the longest name."""
    waiting, looked_at, held = [("", saved.content)], 0, 0
    while waiting:
        name, value = waiting.pop()
        if (tensor := _tensor(saved, value)) is not None:
            yield name, tensor
            continue
        entries = _entries(value)
        looked_at += len(entries)
        inner = [(f"{name}.{key}" if name else str(key), part) for key, part in entries if _holds(key, part)]
        waiting += reversed([(key, part) for key, part in inner if len(key) <= LONGEST])
        held += len(inner)
        if held > MOST or looked_at > 20 * MOST:  # a file may contain the same dictionary many times
            raise ValueError(f"it holds more than {MOST:,} dictionaries, lists and tensors")


def _holds(key: Any, value: Any) -> bool:
    """Whether a value may contain tensors, and its key may be part of their names."""
    if not isinstance(value, dict | list | tuple | Call):
        return False
    if isinstance(key, str):
        return len(key) <= LONGEST and key.isprintable()
    return isinstance(key, int) and abs(key) < LARGEST


def _entries(value: Any) -> list[tuple[Any, Any]]:
    """The content of a dictionary, a list or a module by keys; for a module the content of its state dict."""
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    state = value.state[-1] if isinstance(value, Call) and value.state else None
    if not isinstance(state, dict) or "_modules" not in state:
        return _pairs(value)
    passing = state.get("_non_persistent_buffers_set")
    lists = passing.arguments[:1] if isinstance(passing, Call) else (passing,)
    left_out = {name for names in lists if isinstance(names, list) for name in names if isinstance(name, str)}
    pairs = [pair for name in ("_parameters", "_buffers", "_modules") for pair in _pairs(state.get(name))]
    return [(key, part) for key, part in pairs if key not in left_out]


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    """The keys and values of a dictionary, or of a call that would make one."""
    if isinstance(value, dict):
        return list(value.items())
    if not isinstance(value, Call):
        return []
    content = value.arguments[0] if value.name in MAPPINGS and value.arguments else None
    pairs = content if isinstance(content, list | tuple) else []
    return [*(tuple(pair) for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2), *value.items.items()]


# One tensor


def _tensor(saved: Saved, value: Any, depth: int = 0) -> Tensor | None:
    """The tensor that a call in the file would make, or None; an odd one if it does not fit the file."""
    if not isinstance(value, Call):
        return None
    try:
        return _by_call(saved, value, depth)
    except ERRORS as error:
        return _odd(f"damaged ({_line(error)})")


def _by_call(saved: Saved, call: Call, depth: int) -> Tensor | None:
    if call.name in ODD:
        return _odd(ODD[call.name])
    if depth > DEPTH:
        raise ValueError("a tensor in a tensor in a tensor")
    if call.name in INNER:
        return _tensor(saved, call.arguments[0], depth + 1)
    match call.name, call.arguments:
        case "torch._utils _rebuild_tensor", (storage, offset, shape, strides):
            return _strided(saved, storage, offset, shape, strides)
        case "torch._utils _rebuild_tensor_v2", (storage, offset, shape, strides, _, _, *flags):
            view = _strided(saved, storage, offset, shape, strides)
            return replace(view, odd="a conjugated or negated view") if any(flags) else view
        case "torch._utils _rebuild_tensor_v3", (storage, offset, shape, strides, _, _, Name() as kind, *_):
            return _strided(saved, storage, offset, shape, strides, DTYPES[kind.replace(" ", ".")])
        case "torch._utils _rebuild_sparse_tensor", (Call(arguments=(str() as layout,)), list() | tuple() as parts):
            return _sparse(saved, layout, parts)
        case "torch._tensor _rebuild_from_type_v2", (Name() as function, kind, tuple() as arguments, *_):
            inner = _tensor(saved, Call(function, arguments), depth + 1)
            return inner if inner and not inner.odd else _odd(_described(kind))
    return _odd(_described(call.name)) if call.name.endswith("Tensor") else None


def _last(name: str) -> str:
    """The last part of a global's name, without the module."""
    return name.split(" ")[-1]


def _described(kind: Any) -> str:
    """A description of a tensor by its class."""
    name = shown(_last(str(kind))) if isinstance(kind, Name | Call) else "tensor"
    return f"a {name}" + (": one process's part, gather the state dict before it is saved" if name in SHARDS else "")


def _odd(why: str) -> Tensor:
    return Tensor((), torch.float32, lambda: torch.empty(0), why)


def _kind(storage: str) -> torch.dtype:
    """The type of numbers in a class of storages."""
    return STORAGES[_last(storage)]


def _key(value: Any) -> str:
    """The key of a storage. ValueError if it is invalid."""
    if not isinstance(value, str) and not (isinstance(value, int) and abs(value) < LARGEST):
        raise ValueError("keys of storages that are none")
    return str(value)


def _whole(numbers: Any, most: int = AXES) -> tuple[int, ...]:
    """Sizes or offsets. ValueError unless they are non-negative integers."""
    numbers = numbers.arguments[0] if isinstance(numbers, Call) else numbers  # of torch.Size
    good = isinstance(numbers, list | tuple) and len(numbers) <= most
    if not good or not all(type(number) is int and 0 <= number < LARGEST for number in numbers):
        raise ValueError("places and sizes that are none")
    return tuple(numbers)


def _strided(
    saved: Saved, storage: Persistent, offset: Any, shape: Any, strides: Any, kind: torch.dtype | None = None
) -> Tensor:
    """A view of a storage. ValueError if it reaches beyond the storage."""
    tag, storage_class, key, _, count, *view = storage.id
    key, shape, strides, (offset, count) = _key(key), _whole(shape), _whole(strides), _whole([offset, count])
    total, first = count * _kind(storage_class).itemsize, 0  # in bytes
    part_size = total
    if any(view):  # before torch 1.6: part of a storage, by first number and count
        first, part_size = (number * _kind(storage_class).itemsize for number in _whole(view[0][1:], 2))
    kind = kind or _kind(storage_class)
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if tag != "storage" or first + part_size > total or (0 not in shape and (last + 1) * kind.itemsize > part_size):
        raise ValueError("it reaches beyond its storage")

    def make() -> torch.Tensor:
        content = saved.storage(key)
        if len(content) != total:
            raise ValueError(f"a storage of {total:,} bytes has {len(content):,}")
        if 0 in shape:
            return torch.empty(shape, dtype=kind)
        begin, end = first + offset * kind.itemsize, first + (last + 1) * kind.itemsize
        return torch.frombuffer(bytearray(content[begin:end]), dtype=kind).as_strided(shape, strides).contiguous()

    return Tensor(shape, kind, make, stored=part_size // kind.itemsize)


def _sparse(saved: Saved, layout: str, parts: list[Any] | tuple[Any, ...]) -> Tensor:
    """A sparse tensor, read as a dense one."""
    if layout not in LAYOUTS or len(parts) > AXES:
        raise ValueError(f"of layout {shown(layout)}")
    parsed = [_by_call(saved, part, DEPTH) for part in parts if isinstance(part, Call) and part.name != "torch Size"]
    shape = next(_whole(part) for part in parts if not isinstance(part, Call) or part.name == "torch Size")
    *places, numbers = (part for part in parsed if part and not part.odd)
    if len(places) != LAYOUTS[layout] or any(
        math.prod(part.shape) > math.prod(shape) * (len(shape) + 1) for part in (*places, numbers)
    ):
        raise ValueError("its places and numbers are none")

    def make() -> torch.Tensor:
        indices, values = [part.make() for part in places], numbers.make()
        if layout == "torch.sparse_coo":
            return torch.sparse_coo_tensor(indices[0], values, shape, check_invariants=True).to_dense()
        kind = getattr(torch, layout.removeprefix("torch."))
        return torch.sparse_compressed_tensor(
            indices[0], indices[1], values, shape, layout=kind, check_invariants=True
        ).to_dense()

    return Tensor(shape, numbers.kind, make, stored=numbers.stored)
