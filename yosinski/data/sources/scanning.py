"""What lies in folders: images by their suffixes, and a count of everything that is not taken for one.

Linked folders are followed, each folder once. Hidden things, and what systems put beside images, are no images.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from struct import Struct
from typing import NamedTuple, TypeVar

from yosinski.errors import BadInput, printable, some

PATIENCE = 0.1  # seconds of waiting before threads are worth their while
SYSTEM = {"@eadir", "#recycle", "__macosx", "$recycle.bin", "lost+found", "system volume information"}  # folders
NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}  # what Pillow knows beside images of pixels
PARTS = Struct("<5Q")  # of a state
HEIF = {".heic", ".heif", ".hif"}


class State(bytes):
    """What `stat` says of a file: device, inode, size, time of modification and time of change, in ns.

    As long as all of it stays the same, nobody has written to the file: a time of modification can be set to any value,
    that of change is the system's own. One object of bytes, as there may be a million.
    """

    __slots__ = ()

    @classmethod
    def of(cls, status: os.stat_result) -> "State":
        """From what the system says; times before 1970 and after 2554 are counted round."""
        times = status.st_mtime_ns % 2**64, status.st_ctime_ns % 2**64
        return cls(PARTS.pack(status.st_dev, status.st_ino, status.st_size, *times))

    @property
    def size(self) -> int:
        """In bytes."""
        return PARTS.unpack(self)[2]

    @property
    def changed(self) -> int:
        """When it was last changed, in ns."""
        return PARTS.unpack(self)[4]


class Unused:
    """What is not taken, by kind: how many, and the first example; and whatever else a user should know."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, str]] = {}
        self.told: list[str] = []

    def add(self, what: str, example: str, count: int = 1) -> None:
        """Count more files of a kind."""
        before, first = self.found.get(what, (0, example))
        self.found[what] = before + count, min(first, example)

    def say(self, text: str) -> None:
        """Something that is not a count."""
        self.told.append(text)

    def merge(self, other: "Unused", within: str = "") -> None:
        """What was found in a folder, too."""
        for what, (count, example) in other.found.items():
            self.add(what, f"{within}{example}", count)
        self.told += other.told

    @property
    def lines(self) -> tuple[str, ...]:
        """Lines for people, the most frequent kinds first."""
        kinds = sorted(self.found.items(), key=lambda kind: (-kind[1][0], kind[0]))
        counts = [f"not used: {what}: {count:,} ({printable(example)})" for what, (count, example) in kinds]
        return (*self.told, *counts)


class Scan(NamedTuple):
    """What is in a folder and below: images by their paths within it, in order; and the folders, as (device, inode)."""

    images: list[tuple[str, State]]
    folders: set[tuple[int, int]]
    unused: Unused


class Top(NamedTuple):
    """What is directly in a folder: the folders in order, links to such included, and images by their names."""

    folders: list[str]
    images: list[str]
    unused: Unused


@cache
def suffixes() -> tuple[str, ...]:
    """Of files that the installed Pillow opens as images of pixels, in order; with pillow-heif those of HEIF, too."""
    import PIL.Image

    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    extensions = PIL.Image.registered_extensions()
    opened = PIL.Image.OPEN.keys() - NO_PICTURES | {"MPO"}  # which is opened as JPEG
    return tuple(sorted(suffix for suffix, kind in extensions.items() if kind in opened))


def suffix_of(name: str) -> str:
    """The suffix of a file's name in small letters, with its dot; empty if there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def told(of: Sequence[str]) -> str:
    """Suffixes for a message."""
    return ", ".join(of) if len(of) < 9 else "files that Pillow opens"


def is_folder(entry: os.DirEntry) -> bool:
    """Whether it is a folder, or a link to one; a link that leads round in circles is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def no_image(entry: os.DirEntry, folder: bool) -> str | None:
    """What something is that is left aside whatever it holds: hidden, put there by a system, or gone."""
    if entry.name.startswith("."):
        return "hidden folders" if folder else "hidden files"
    if folder and entry.name.lower() in SYSTEM:
        return f"folders {entry.name}"
    if entry.is_symlink() and not Path(entry.path).exists():
        return "links that lead nowhere"
    return None


def not_taken(suffix: str) -> str:
    """What files of a suffix are that are not taken for images."""
    if suffix in HEIF:
        return f"files {suffix}, which cannot be read: that needs pillow-heif"
    return f"files {printable(suffix)}" if suffix else "files without a suffix"


def look(path: Path, wanted: tuple[str, ...] | None = None) -> Top:
    """What lies directly in a folder."""
    taken = frozenset(suffixes() if wanted is None else wanted)
    folders, images, unused = [], [], Unused()
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                folder = is_folder(entry)
                what = no_image(entry, folder)
                if what is None and folder:
                    folders.append(entry.name)
                elif what is None and suffix_of(entry.name) in taken:
                    images.append(entry.name)
                else:
                    unused.add(what or not_taken(suffix_of(entry.name)), entry.name)
    except OSError as error:
        raise BadInput(f"{printable(path)}: {error.strerror}") from error
    return Top(sorted(folders), sorted(images), unused)


def walk(
    folder: Path, nested: bool, unused: Unused, seen: set[tuple[int, int]]
) -> Iterator[tuple[str, os.DirEntry, str | None]]:
    """All files in a folder and, if `nested`, in those below it, linked ones too.

    Of each the path of its folder within this one, and what it is if it is left aside whatever it holds; folders that
    are left aside come as well. seen: the folders that were looked into, as (device, inode), to which this adds.
    Neither those nor the ones that the folder itself lies in are looked into again, to which a link may lead.
    """
    outer = [one.stat() for one in folder.resolve().parents]
    around = {(status.st_dev, status.st_ino) for status in outer}
    waiting, links = [""], []
    while waiting or links:
        links.sort(reverse=True)
        inner = (waiting or links).pop()  # linked folders last: what they lead to may be seen by then
        status = (folder / inner).stat()
        here = status.st_dev, status.st_ino
        if here in seen or here in around:
            unused.add("linked folders that lead back, or to what was looked into already", inner)
            continue
        seen.add(here)
        with os.scandir(folder / inner) as entries:
            for entry in entries:
                is_dir = is_folder(entry)
                what = no_image(entry, is_dir)
                if what or not is_dir:
                    yield inner, entry, what
                elif nested:
                    (links if entry.is_symlink() else waiting).append(f"{inner}{entry.name}/")
                else:
                    unused.add("folders within those of classes", inner + entry.name)


def scan(folder: Path, wanted: tuple[str, ...] | None = None, nested: bool = True) -> Scan:
    """The images in a folder and, if they may be `nested`, in those below it. BadInput if something cannot be read."""
    taken = frozenset(suffixes() if wanted is None else wanted)
    images, seen, unused = [], set(), Unused()
    try:
        for inner, entry, what in walk(folder, nested, unused, seen):
            suffix = suffix_of(entry.name)
            if what is None and suffix in taken:
                status = entry.stat()
                if stat.S_ISREG(status.st_mode):
                    images.append((inner + entry.name, State.of(status)))
                    continue
                what = f"things {suffix} that are no files"
            unused.add(what or not_taken(suffix), inner + entry.name)
    except OSError as error:
        raise BadInput(f"{printable(error.filename or folder)}: {error.strerror}") from error
    return Scan(sorted(images), seen, unused)


def scans(folders: Sequence[Path], wanted: tuple[str, ...] | None = None, nested: bool = True) -> dict[Path, Scan]:
    """Scan folders. BadInput if one is empty."""
    scanned = dict(zip(folders, each(lambda folder: scan(folder, wanted, nested), folders), strict=True))
    empty = [folder for folder, content in scanned.items() if not content.images]
    if empty:
        of = told(suffixes() if wanted is None else wanted)
        notes = " / ".join(dict.fromkeys(line for folder in empty[:3] for line in scanned[folder].unused.lines))
        raise BadInput(f"no images ({of}) in {some([printable(one) for one in empty])}{notes and f' ({notes})'}")
    return scanned


def files_below(folder: Path) -> list[tuple[str, State]]:
    """All files in a folder and below, but for hidden folders, by their paths within it, in order."""
    entries = [(inner + entry.name, entry.stat()) for inner, entry, _ in walk(folder, True, Unused(), set())]
    return sorted((path, State.of(one)) for path, one in entries if stat.S_ISREG(one.st_mode))


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
        result = look(items[done])
        lasted = time.perf_counter() - began
        took, waited, done = took + lasted, waited + lasted - (time.thread_time() - busy), done + 1
        yield result
    some_at_a_time = min(256, 1 + len(items) // 256)
    batches = [items[start : start + some_at_a_time] for start in range(done, len(items), some_at_a_time)]
    with ThreadPoolExecutor(16) as threads:
        for several in threads.map(lambda batch: [look(item) for item in batch], batches):
            yield from several
