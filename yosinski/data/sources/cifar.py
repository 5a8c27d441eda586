"""CIFAR-10 and CIFAR-100 as distributed, in the python or the binary version: `cifar10:PATH`, `cifar100:PATH`.

PATH is the archive, the unpacked folder, or a folder with either in it. Nothing is unpickled. The training images are
divided into `train` and `select`. CIFAR-100's fine labels are the classes, its coarse labels their groups.
"""

import hashlib
import tarfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yosinski.data.place import Place
from yosinski.data.sources.listing import File, Listing, Sets, drawn, listing
from yosinski.data.sources.pickles import array, plain
from yosinski.data.sources.scanning import State
from yosinski.errors import BadInput

SIDE = 32
HEADER = b"P6 32 32 255\n"  # of a PPM image; the RGB values of the pixels follow


class Version(NamedTuple):
    """How a version is distributed: its folder and archive, and the files of train, of test and of class names."""

    folder: str
    archive: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: tuple[str, ...]


TENTHS = tuple(f"data_batch_{k}" for k in range(1, 6))
VERSIONS = {
    "cifar10": (
        Version("cifar-10-batches-py", "cifar-10-python.tar.gz", TENTHS, ("test_batch",), ("batches.meta",)),
        Version(
            "cifar-10-batches-bin",
            "cifar-10-binary.tar.gz",
            tuple(f"{name}.bin" for name in TENTHS),
            ("test_batch.bin",),
            ("batches.meta.txt",),
        ),
    ),
    "cifar100": (
        Version("cifar-100-python", "cifar-100-python.tar.gz", ("train",), ("test",), ("meta",)),
        Version(
            "cifar-100-binary",
            "cifar-100-binary.tar.gz",
            ("train.bin",),
            ("test.bin",),
            ("fine_label_names.txt", "coarse_label_names.txt"),
        ),
    ),
}


class Cifar(NamedTuple):
    """pixels: uint8 [N, 3, 32, 32] of each set; fine, coarse: labels, int [N] (no coarse labels in CIFAR-10)."""

    pixels: dict[str, np.ndarray]
    fine: dict[str, np.ndarray]
    coarse: dict[str, np.ndarray]
    classes: list[str]
    groups: list[str]


def list_images(place: Place) -> Listing:
    """List all images. Both versions, packed or unpacked, give the same listing."""
    path = place.path
    assert path is not None
    _read.cache_clear()
    data = _read(place)
    sets: Sets = {}
    for set_name, pixels in data.pixels.items():
        sets[set_name] = {name: [] for name in data.classes}
        for k, label in enumerate(data.fine[set_name].tolist()):
            content = _ppm(pixels[k])
            file = File(f"{set_name}/{k}", len(content), f"{set_name}-{k:05d}", hashlib.sha256(content).hexdigest())
            sets[set_name][data.classes[label]].append(file)
    empty = [name for files in sets.values() for name, of_class in files.items() if not of_class]
    if empty:
        raise BadInput(f"{place.source}: no images of {empty[0]}")
    group_of = dict(zip(data.fine["train"].tolist(), (data.coarse.get("train", np.empty(0))).tolist(), strict=False))
    groups = [data.groups[group_of[k]] for k in range(len(data.classes))] if data.groups else []
    return listing(path, sets, data.classes, drawn(place.source), groups)


def read_from(place: Place) -> list[tuple[str, Path, State]]:
    """The files that a listing is read from: name, path and state."""
    return [(path.name, path, State.of(path.stat())) for path in _found(place)[1]]


def content(place: Place, file: File) -> bytes:
    """The bytes of one image as an image file."""
    set_name, k = file.path.split("/")
    return _ppm(_read(place).pixels[set_name][int(k)])


def _ppm(pixels: np.ndarray) -> bytes:
    return HEADER + pixels.transpose(1, 2, 0).tobytes()


def _found(place: Place) -> tuple[Version, list[Path]]:
    """The version that is present, and its files: the archive, or the unpacked files."""
    path = place.path
    assert path is not None
    for version in VERSIONS[place.kind]:
        files = [*version.train, *version.test, *version.names]
        for folder in (path, path / version.folder):
            if all((folder / name).is_file() for name in files):
                return version, [folder / name for name in files]
        for archive in (path, path / version.archive):
            if archive.name == version.archive and archive.is_file():
                return version, [archive]
    folders = " or ".join(f"{version.folder}/ or {version.archive}" for version in VERSIONS[place.kind])
    raise BadInput(f"{place.source}: {path} is neither {folders} as distributed, nor does it hold one of them whole")


@lru_cache(maxsize=1)
def _read(place: Place) -> Cifar:
    version, files = _found(place)
    if files[0].name == version.archive:
        try:
            with tarfile.open(files[0]) as archive:
                members = {Path(one.name).name: one for one in archive.getmembers() if one.isfile()}
                names = (*version.train, *version.test, *version.names)
                opened = {name: archive.extractfile(members[name]) for name in names}
                contents = {name: file.read() for name, file in opened.items() if file}
        except (tarfile.TarError, OSError, EOFError, KeyError) as error:
            raise BadInput(f"{files[0]} is damaged: {error}") from error
    else:
        contents = {file.name: file.read_bytes() for file in files}
    read: Callable[..., Any] = _binary if version.train[0].endswith(".bin") else _python
    try:
        return read(place.kind, version, contents)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        message = f"{type(error).__name__}: {error}"
        raise BadInput(f"{files[0].parent}: not {place.kind} as it is distributed ({message})") from error


def _binary(kind: str, version: Version, contents: dict[str, bytes]) -> Cifar:
    """One row of bytes per image: its label or labels (the coarse one first), then red, green and blue."""
    labels = 1 if kind == "cifar10" else 2
    rows = {
        name: np.frombuffer(b"".join(contents[file] for file in files), np.uint8).reshape(-1, labels + 3 * SIDE**2)
        for name, files in (("train", version.train), ("test", version.test))
    }
    names = [[line for line in contents[file].decode().splitlines() if line] for file in version.names]
    return Cifar(
        {name: of_set[:, labels:].reshape(-1, 3, SIDE, SIDE) for name, of_set in rows.items()},
        {name: of_set[:, labels - 1] for name, of_set in rows.items()},
        {name: of_set[:, 0] for name, of_set in rows.items()} if labels == 2 else {},
        names[0],
        names[1] if labels == 2 else [],
    )


def _python(kind: str, version: Version, contents: dict[str, bytes]) -> Cifar:
    """Pickled Python 2 dictionaries."""
    ten = kind == "cifar10"
    batches = {
        name: [plain(contents[file]) for file in files]
        for name, files in (("train", version.train), ("test", version.test))
    }

    def column(key: str) -> dict[str, np.ndarray]:
        return {name: np.concatenate([array(batch[key]) for batch in parts]) for name, parts in batches.items()}

    names = plain(contents[version.names[0]])
    return Cifar(
        {name: pixels.reshape(-1, 3, SIDE, SIDE) for name, pixels in column("data").items()},
        column("labels" if ten else "fine_labels"),
        {} if ten else column("coarse_labels"),
        names["label_names" if ten else "fine_label_names"],
        [] if ten else names["coarse_label_names"],
    )
