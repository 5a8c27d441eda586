"""Scanning folders for images by suffix, and counting all files that are not used.

Linked folders are followed, each folder once. Hidden files, and folders that systems create, are not used.
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

PATIENCE = 0.1  # seconds of waiting before threads are used
SYSTEM = {"@eadir", "#recycle", "__macosx", "$recycle.bin", "lost+found", "system volume information"}  # folders
NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}  # formats of Pillow that are no images of pixels
PARTS = Struct("<5Q")  # layout of a state
HEIF = {".heic", ".heif", ".hif"}


class State(bytes):
    """The result of `stat` for a file: device, inode, size, time of modification and time of change, in ns.

    As long as it stays the same, the file has not been written to: users can set the time of modification, but not the
    time of change. It is a single bytes object to save memory, because there may be a million.
    """

    __slots__ = ()

    @classmethod
    def of(cls, status: os.stat_result) -> "State":
        """From the result of `stat`. Times before 1970 and after 2554 wrap around."""
        times = status.st_mtime_ns % 2**64, status.st_ctime_ns % 2**64
        return cls(PARTS.pack(status.st_dev, status.st_ino, status.st_size, *times))

    @property
    def size(self) -> int:
        """Size in bytes."""
        return PARTS.unpack(self)[2]

    @property
    def changed(self) -> int:
        """Time of the last change, in ns."""
        return PARTS.unpack(self)[4]


class Unused:
    """Files that are not used, by kind, with number and first example; and other notes for the user."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, str]] = {}
        self.told: list[str] = []

    def add(self, what: str, example: str, count: int = 1) -> None:
        """Count files of a kind."""
        before, first = self.found.get(what, (0, example))
        self.found[what] = before + count, min(first, example)

    def say(self, text: str) -> None:
        """Add a note that is not a count."""
        self.told.append(text)

    def merge(self, other: "Unused", within: str = "") -> None:
        """Add the counts and notes of a folder `within` this one."""
        for what, (count, example) in other.found.items():
            self.add(what, f"{within}{example}", count)
        self.told += other.told

    @property
    def lines(self) -> tuple[str, ...]:
        """Notes for the user, then counts, the most frequent kinds first."""
        kinds = sorted(self.found.items(), key=lambda kind: (-kind[1][0], kind[0]))
        counts = [f"not used: {what}: {count:,} ({printable(example)})" for what, (count, example) in kinds]
        return (*self.told, *counts)


class Scan(NamedTuple):
    """The images in a folder and below, by relative paths, in order; and the folders, as (device, inode)."""

    images: list[tuple[str, State]]
    folders: set[tuple[int, int]]
    unused: Unused


class Top(NamedTuple):
    """The direct content of a folder: folders, including links to folders, and images, both in order."""

    folders: list[str]
    images: list[str]
    unused: Unused


@cache
def suffixes() -> tuple[str, ...]:
    """Suffixes of images of pixels that the installed Pillow opens, in order; with pillow-heif also HEIF's."""
    import PIL.Image

    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    extensions = PIL.Image.registered_extensions()
    opened = PIL.Image.OPEN.keys() - NO_PICTURES | {"MPO"}  # MPO is opened as JPEG
    return tuple(sorted(suffix for suffix, kind in extensions.items() if kind in opened))


def suffix_of(name: str) -> str:
    """The suffix of a file's name in lower case, with the dot; empty if there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def told(of: Sequence[str]) -> str:
    """Suffixes for a message."""
    return ", ".join(of) if len(of) < 9 else "files that Pillow opens"


def is_folder(entry: os.DirEntry) -> bool:
    """Whether it is a folder or a link to one. A circular link is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def no_image(entry: os.DirEntry, folder: bool) -> str | None:
    """The kind of a file or folder that is never used: hidden, created by a system, or a broken link. Else None."""
    if entry.name.startswith("."):
        return "hidden folders" if folder else "hidden files"
    if folder and entry.name.lower() in SYSTEM:
        return f"folders {entry.name}"
    if entry.is_symlink() and not Path(entry.path).exists():
        return "links that lead nowhere"
    return None


def not_taken(suffix: str) -> str:
    """The kind of files with a suffix that is not an image's."""
    if suffix in HEIF:
        return f"files {suffix}, which cannot be read: that needs pillow-heif"
    return f"files {printable(suffix)}" if suffix else "files without a suffix"


def top_of(path: Path, wanted: tuple[str, ...] | None = None) -> Top:
    """The direct content of a folder."""
    suffixes_wanted = frozenset(suffixes() if wanted is None else wanted)
    folders, images, unused = [], [], Unused()
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                folder = is_folder(entry)
                kind = no_image(entry, folder)
                if kind is None and folder:
                    folders.append(entry.name)
                elif kind is None and suffix_of(entry.name) in suffixes_wanted:
                    images.append(entry.name)
                else:
                    unused.add(kind or not_taken(suffix_of(entry.name)), entry.name)
    except OSError as error:
        raise BadInput(f"{printable(path)}: {error.strerror}") from error
    return Top(sorted(folders), sorted(images), unused)


def walk(
    folder: Path, nested: bool, unused: Unused, seen: set[tuple[int, int]]
) -> Iterator[tuple[str, os.DirEntry, str | None]]:
    """All files in a folder and, if `nested`, below it, including linked folders.

    Yields the relative path of the file's folder, its entry, and its kind if it is never used; folders that are never
    used are yielded, too. seen: the visited folders, as (device, inode); this adds to them. They are not visited again
    through links, nor are the folders around `folder`.
    """
    outer = [parent.stat() for parent in folder.resolve().parents]
    around = {(status.st_dev, status.st_ino) for status in outer}
    waiting, links = [""], []
    while waiting or links:
        links.sort(reverse=True)
        inner = (waiting or links).pop()  # linked folders last: their targets may be visited before
        status = (folder / inner).stat()
        here = status.st_dev, status.st_ino
        if here in seen or here in around:
            unused.add("linked folders that lead back, or to what was looked into already", inner)
            continue
        seen.add(here)
        with os.scandir(folder / inner) as entries:
            for entry in entries:
                is_dir = is_folder(entry)
                kind = no_image(entry, is_dir)
                if kind or not is_dir:
                    yield inner, entry, kind
                elif nested:
                    (links if entry.is_symlink() else waiting).append(f"{inner}{entry.name}/")
                else:
                    unused.add("folders within those of classes", inner + entry.name)


def scan(folder: Path, wanted: tuple[str, ...] | None = None, nested: bool = True) -> Scan:
    """The images in a folder and, if `nested`, below it. BadInput if something cannot be read."""
    suffixes_wanted = frozenset(suffixes() if wanted is None else wanted)
    images, seen, unused = [], set(), Unused()
    try:
        for inner, entry, kind in walk(folder, nested, unused, seen):
            suffix = suffix_of(entry.name)
            if kind is None and suffix in suffixes_wanted:
                status = entry.stat()
                if stat.S_ISREG(status.st_mode):
                    images.append((inner + entry.name, State.of(status)))
                    continue
                kind = f"things {suffix} that are no files"
            unused.add(kind or not_taken(suffix), inner + entry.name)
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
    """All files in a folder and below, except in hidden folders: relative paths, in order."""
    entries = [(inner + entry.name, entry.stat()) for inner, entry, _ in walk(folder, True, Unused(), set())]
    return sorted((path, State.of(status)) for path, status in entries if stat.S_ISREG(status.st_mode))


One = TypeVar("One")
Found = TypeVar("Found")


def each(read: Callable[[One], Found], items: Sequence[One]) -> Iterator[Found]:
    """Call `read` for every item and yield the results in order, with threads if most of the time is waiting.

    This is so on network file systems. On a local disk threads would only slow each other down, because one thread runs
    Python at a time.
    """
    took = waited = 0.0
    done = 0
    while done < len(items) and waited <= max(PATIENCE, took / 2):
        began, busy = time.perf_counter(), time.thread_time()
        result = read(items[done])
        lasted = time.perf_counter() - began
        took, waited, done = took + lasted, waited + lasted - (time.thread_time() - busy), done + 1
        yield result
    batch_size = min(256, 1 + len(items) // 256)
    batches = [items[start : start + batch_size] for start in range(done, len(items), batch_size)]
    with ThreadPoolExecutor(16) as threads:
        for several in threads.map(lambda batch: [read(item) for item in batch], batches):
            yield from several
