"""Stored features: the output of the frozen segments below a cut for a half's images, computed once, memory-mapped.

They are identified by everything that they depend on, including the tensors below the cut. All treatments, heads and
seeds that begin with the same segments share them; a base that is trained anew has new ones. Layout in
`docs/formats.md`.
"""

import contextlib
import hashlib
import itertools
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from yosinski import files
from yosinski.errors import Failure
from yosinski.identity import digest

AT_A_TIME = 256  # images per batch: fixed, because the last bits of a feature may depend on it
CHUNK = 1 << 24  # bytes that are read at once for a checksum
FILES = {"float32": "features.npy", "uint16": "bfloat16.npy"}  # by NumPy's type, which has no bfloat16: its bits

Beat = Callable[[], None]  # reports that the process is alive, and raises an exception to end the work


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """array: [V, N, ...], memory-mapped, for V views of N images; maps are channels-last.

    float32, or uint16 with the bits of bfloat16.
    """

    cut: int
    array: np.ndarray

    def at(self, views: np.ndarray | int, images: np.ndarray | slice) -> torch.Tensor:
        """The features of these images, float32 or bfloat16 [b, ...], as input of the network above the cut."""
        found = torch.from_numpy(np.array(self.array[views, images]))
        return as_computed(found.view(torch.bfloat16) if found.dtype == torch.uint16 else found)


def as_stored(features: torch.Tensor) -> torch.Tensor:
    """[b, c, h, w] -> [b, h, w, c], the order in memory; other shapes are unchanged. bfloat16 stays, as bits."""
    last = features.movedim(1, -1) if features.ndim == 4 else features
    return last.contiguous().view(torch.uint16) if last.dtype == torch.bfloat16 else last.float()


def as_computed(features: torch.Tensor) -> torch.Tensor:
    """The inverse of `as_stored`."""
    return features.movedim(-1, 1) if features.ndim == 4 else features


def stored(
    stores: Path,
    keys: Sequence[Mapping[str, Any]],
    compute: Callable[[list[int]], Iterable[Sequence[torch.Tensor]]],
    beat: Beat = lambda: None,
) -> list[StoredFeatures]:
    """The features of these keys, memory-mapped. Missing and damaged ones are made first, all in one pass.

    keys: JSON values that identify features; `cut` contains the cut's number `n`, `views` is V and `images` is N. Keys
    may be equal. compute: for the indices of the missing keys, yields the features of each for every batch of images,
    view by view. beat: called regularly; an exception in it ends the work and leaves no incomplete files. If another
    process makes the same features, this waits for it. BadInput if the disk has too little space, or if features have a
    newer format.
    """
    paths = [folder(stores, key) for key in keys]
    key_of = dict(zip(paths, keys, strict=True))
    by_path = {path: opened(path, key, beat) for path, key in key_of.items()}
    with contextlib.ExitStack() as locks:
        for path in sorted(
            path for path in by_path if by_path[path] is None
        ):  # in a fixed order, to avoid deadlocks between processes
            locks.enter_context(files.lock(_partial(path), beat))
            locks.callback(shutil.rmtree, _partial(path), ignore_errors=True)
            by_path[path] = opened(path, key_of[path], beat)  # another process may have made it meanwhile
        missing = [path for path in by_path if by_path[path] is None]
        if missing:
            _make(
                stores, {path: key_of[path] for path in missing}, compute([paths.index(path) for path in missing]), beat
            )
        by_path |= {path: opened(path, key_of[path], beat) for path in missing}
    complete = [features for features in (by_path[path] for path in paths) if features is not None]
    if len(complete) < len(keys):
        raise Failure(f"features in {stores / 'features'} are damaged as soon as they are written: is the disk sound?")
    return complete


def folder(stores: Path, key: Mapping[str, Any]) -> Path:
    """Path of features, which need not exist."""
    return stores / "features" / digest(key)


def opened(path: Path, key: Mapping[str, Any], beat: Beat = lambda: None) -> StoredFeatures | None:
    """The features in this folder. None if there are none, if they are damaged, or if their key is another one."""
    try:
        described = files.read_json(path / "features.json")
    except (FileNotFoundError, files.Damaged):
        return None
    file = _file(path)
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        if described["of"] != key or described["sha256"] != checksum(file, beat):
            return None
    except (FileNotFoundError, ValueError, KeyError):  # ValueError: not a file of numpy, or incomplete
        return None
    return StoredFeatures(key["cut"]["n"], array)


def checksum(path: Path, beat: Beat = lambda: None) -> str:
    """SHA-256 of a file, in hex. The cost is small: training reads the whole file several times."""
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            hashed.update(chunk)
            beat()
    return hashed.hexdigest()


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _file(path: Path) -> Path:
    """The file of the numbers in a folder; where there is none, the name of one of float32."""
    return next((path / name for name in FILES.values() if (path / name).exists()), path / FILES["float32"])


def _make(
    stores: Path, wanted: Mapping[Path, Mapping[str, Any]], batches: Iterable[Sequence[torch.Tensor]], beat: Beat
) -> None:
    """Write the features of all batches in one pass. Folders are renamed when they are complete."""
    for path, name in itertools.product(wanted, FILES.values()):
        (_partial(path) / name).unlink(missing_ok=True)  # of a process that was killed
    out: list[BinaryIO] = []
    with contextlib.ExitStack() as writing:
        for batch in batches:
            arrays = [as_stored(features).cpu().contiguous().numpy() for features in batch]
            if not out:
                shapes = [
                    (key["views"], key["images"], *array.shape[1:])
                    for key, array in zip(wanted.values(), arrays, strict=True)
                ]
                sizes = (math.prod(shape) * array.itemsize for shape, array in zip(shapes, arrays, strict=True))
                files.check_space(stores, sum(sizes), "stored features")
                for path, shape, array in zip(wanted, shapes, arrays, strict=True):
                    file = writing.enter_context((_partial(path) / FILES[array.dtype.name]).open("wb"))
                    header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                    out.append(file)
            for file, values in zip(out, arrays, strict=True):
                file.write(values.data)
            beat()
    for path, key in wanted.items():
        array = _file(_partial(path))
        content = {"of": dict(key), "bytes": array.stat().st_size, "sha256": checksum(array, beat)}
        files.write_json(_partial(path) / "features.json", content)
        if path.exists():  # damaged
            shutil.rmtree(path)
        _partial(path).rename(path)
