"""Listings: which images a data set consists of, found without decoding one, and how they are divided into three sets.

`train` is for learning, `select` for choices (curves, early answers, recommendations), `test` is evaluated once. Where
a data set has other sets than these three:

    train and one other       that one is `test`; a tenth of every class in train, at least one image, is `select`
    one set                   a tenth of every class is `select`, another tenth `test`, at least one image each

The tenth are the images whose SHA-256 over (seed, class, name) is the lowest: drawn at random as far as anybody can
tell, the same on every machine, and nearly the same when images are added.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from yosinski.data import some
from yosinski.data.store import SETS
from yosinski.spec import BadInput

SEED = 0
SHARE = 10  # one image of so many is drawn
PATIENCE = 0.1  # seconds of waiting before threads are worth their while
GENERATOR = {"version": 1, "seed": SEED, "share": SHARE}  # bump when stores of the same files would hold other images
SUFFIXES = (".jpeg", ".jpg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class File(NamedTuple):
    """An image before it is known to which set and class it belongs."""

    path: str  # where it lies within the data set's directory, or its number in a file of many
    size: int  # in bytes
    name: str  # what it is called within its class, whatever the layout
    sha256: str = ""  # of its bytes, if it is one of many in a file


class Image(NamedTuple):
    """A file at its place in the data set; `number` counts within its set and class."""

    set_name: str
    class_name: str
    number: int
    file: File

    @property
    def name(self) -> str:
        """What it is called in the whole data set: select/n01440764/ILSVRC2012_val_00000293.JPEG."""
        return f"{self.set_name}/{self.class_name}/{self.file.name}"


Sets = dict[str, dict[str, list[File]]]  # the files of each class, in each set


@dataclass(frozen=True)
class Listing:
    """All images of a data set, in the order of stores: by set, class and number."""

    root: Path  # files' paths are relative to this
    classes: tuple[str, ...]
    images: tuple[Image, ...]
    watched: Mapping[str, int]  # directories and label files, with their times of change in ns
    groups: tuple[str, ...] = ()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What a card needs: `classes`, `groups`, images `per_class` of each set, the SHA-256 of all `sources`."""
        place = {name: k for k, name in enumerate(self.classes)}
        per_class = {name: [0] * len(place) for name in SETS}
        hashed = hashlib.sha256()
        for image in self.images:
            per_class[image.set_name][place[image.class_name]] += 1
            hashed.update(f"{image.name} {image.file.size}{image.file.sha256}\0".encode())
        return {
            "classes": list(self.classes),
            "groups": list(self.groups),
            "per_class": per_class,
            "sources": hashed.hexdigest(),
        }


def listing(
    root: Path,
    sets: Sets,
    classes: Sequence[str],
    watched: Mapping[str, int],
    groups: Sequence[str] = (),
) -> Listing:
    """All images of the three sets, in the order of stores."""
    images = tuple(
        Image(set_name, class_name, number, file)
        for set_name in SETS
        for class_name in classes
        for number, file in enumerate(sets[set_name][class_name])
    )
    return Listing(root, tuple(classes), images, watched, tuple(groups))


def three_sets(found: Sets, told: str) -> Sets:
    """Divide what a data set has (train, and perhaps select and test) as the top of this module says.

    told: what the data set is called in a message. BadInput if the sets do not have the same classes, or if there are
    too few images in one.
    """
    train = found["train"]
    if len(train) < 2:
        raise BadInput(f"{told} has {len(train)} class(es); two are needed, one for either half")
    others = {name: classes for name, classes in found.items() if name != "train"}
    for classes in others.values():
        same_classes(train, classes, "the training images", "the others", told)
    if len(others) == 2:
        return found
    drawn = ("select",) if others else ("select", "test")
    few = sorted(name for name, files in train.items() if len(files) <= len(drawn))
    if few:
        whose = "training images" if others else "images"
        raise BadInput(
            f"{told}: {' and '.join(drawn)} images are drawn from the {whose} of each class, which takes at least "
            f"{len(drawn) + 1} of them; too few are in {some(few)}"
        )
    sets: Sets = {"train": {}, "select": {}, "test": dict(*others.values())}
    for class_name, files in train.items():
        count = max(1, round(len(files) / SHARE))
        lots = sorted(files, key=partial(_lot, class_name))
        set_of = {file: name for k, name in enumerate(drawn) for file in lots[k * count : (k + 1) * count]}
        for name in ("train", *drawn):
            sets[name][class_name] = [file for file in files if set_of.get(file, "train") == name]
    return sets


def _lot(class_name: str, file: File) -> bytes:
    return hashlib.sha256(f"{SEED} {class_name} {file.name}".encode()).digest()


def same_classes(one: Iterable[str], other: Iterable[str], here: object, there: object, told: str = "") -> None:
    """BadInput if there is a class in one of two places only."""
    for missing, has, lacks in (
        (sorted(set(one) - set(other)), here, there),
        (sorted(set(other) - set(one)), there, here),
    ):
        if missing:
            prefix = f"{told}: " if told else ""
            raise BadInput(f"{prefix}classes that are in {has} but not in {lacks}: {some(missing)}")


def times(root: Path, watched: Iterable[Path]) -> dict[str, int]:
    """Times of change in ns, by paths relative to a root."""
    return {os.path.relpath(one, root): one.stat().st_mtime_ns for one in watched}


One = TypeVar("One")
Found = TypeVar("Found")


def each(look: Callable[[One], Found], items: Sequence[One]) -> Iterator[Found]:
    """What a look at every item finds, in order: by threads as soon as most of the time is waiting.

    So it is on a network's file system. On a disk of one's own threads would only hold each other up, as one of them
    runs Python at a time.
    """
    took = waited = 0.0
    done = 0
    while done < len(items) and waited <= max(PATIENCE, took / 2):
        began, busy = time.perf_counter(), time.thread_time()
        found = look(items[done])
        lasted = time.perf_counter() - began
        took, waited, done = took + lasted, waited + lasted - (time.thread_time() - busy), done + 1
        yield found
    some_at_a_time = min(256, 1 + len(items) // 256)
    batches = [items[at : at + some_at_a_time] for at in range(done, len(items), some_at_a_time)]
    with ThreadPoolExecutor(16) as threads:
        for several in threads.map(lambda batch: [look(item) for item in batch], batches):
            yield from several


def folders(path: Path) -> list[str]:
    """The names of the folders in a directory that are not hidden, in order."""
    try:
        return sorted(one.name for one in os.scandir(path) if not one.name.startswith(".") and one.is_dir())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error


class Scan(NamedTuple):
    """What is in a folder: images, as (path within it, bytes), in order; and all folders that were looked into."""

    images: list[tuple[str, int]]
    folders: list[Path]


def scan(folder: Path, suffixes: tuple[str, ...] = SUFFIXES, nested: bool = True) -> Scan:
    """The images in a folder and, if they may be `nested`, in those below it; nothing hidden, no linked folders."""
    images, seen, waiting = [], [], [""]
    try:
        while waiting:
            inner = waiting.pop()
            seen.append(folder / inner)
            with os.scandir(seen[-1]) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting += [f"{inner}{entry.name}/"] * nested
                    elif entry.name.lower().endswith(suffixes):
                        images.append((inner + entry.name, entry.stat().st_size))
    except OSError as error:
        raise BadInput(f"{error.filename or folder}: {error.strerror}") from error
    return Scan(sorted(images), seen)


def files_in(folder: Path, root: Path, images: Iterable[tuple[str, int]]) -> list[File]:
    """The images that a scan of a folder has found, with their paths within the data set's root."""
    within = folder.relative_to(root)
    return [File(f"{within}/{name}", size, name) for name, size in images]


def scans(all_folders: Sequence[Path], suffixes: tuple[str, ...] = SUFFIXES, nested: bool = True) -> dict[Path, Scan]:
    """Scan folders. BadInput if one is empty."""
    found = each(lambda folder: scan(folder, suffixes, nested), all_folders)
    scanned = dict(zip(all_folders, found, strict=True))
    empty = [str(folder) for folder, one in scanned.items() if not one.images]
    if empty:
        raise BadInput(f"no images ({', '.join(suffixes)}) in {some(empty)}")
    return scanned
