"""Making the store of image files: by as many processes as there are cores, resumable, checked.

Images go into `<store>.partial/`, a shard at a time: pixels first, then a note with their checksum. What is interrupted
goes on from the notes whose pixels still have their checksum. The folder is renamed when all is there and on the disk.
"""

import errno
import hashlib
import multiprocessing
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np

from yosinski import files
from yosinski.data import image_files, oddities, store
from yosinski.data.card import SETS, Card
from yosinski.data.place import RULE, Place
from yosinski.data.sources import kinds
from yosinski.data.sources.listing import Image, Listing
from yosinski.data.sources.scanning import each, suffixes
from yosinski.environment import cores
from yosinski.errors import BadInput, Failure, command, printable, some

ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"\x60\x82"}  # of JPEGs and PNGs, by how they begin
OTHERS = (b"RI", b"BM", b"GI", b"II", b"MM")  # how files of other kinds begin, which have no such end
SHOWN = 256  # files that are looked at before that is told
NOTES = 256  # bytes that are kept of an image beside its pixels, at most, as a rule


class Changed(Failure):
    """A file is not what it was when it was listed."""


@dataclass(frozen=True)
class Making:
    """A store that is made of listed files; `card` is that of all of them, or of what an earlier store left of them."""

    place: Place
    listing: Listing
    card: Card
    stores: Path

    @cached_property
    def path(self) -> Path:
        """Where the store lies once it is made, if nothing is skipped."""
        return store.location(self.card, self.stores)

    @property
    def partial(self) -> Path:
        """Where it lies until then."""
        return self.path.with_name(f"{self.path.name}.partial")

    @property
    def bytes(self) -> int:
        """What it needs in the end."""
        return len(self.listing.images) * (3 * self.place.side**2 + NOTES)

    @property
    def written(self) -> int:
        """What of that is there already."""
        images = self.partial / "images.npy"
        return 512 * images.stat().st_blocks if images.exists() else 0

    @property
    def free(self) -> int:
        """How much more the disk takes, in bytes."""
        return files.free(self.stores)

    @property
    def left(self) -> list[slice]:
        """The shards that are not done."""
        return [shard for shard in store.shards(len(self.listing.images)) if not _note(self.partial, shard).exists()]

    def seconds(self, workers: int, sample: int = 32) -> float:
        """Estimated seconds for the images that are left, with so many processes, from a sample of images."""
        left = sum(shard.stop - shard.start for shard in self.left)
        images = self.listing.images
        with _processes(1) as pool:
            pace = pool.submit(_pace, self.place, self.listing.root, images[:: -(-len(images) // sample)]).result()
        return left * pace / workers


def begin(text: str, stores: Path) -> Making | Path:
    """What it takes to make the store of a data set of files; the store itself if it is there already.

    BadInput if the files are not as they should be, if another store was made of them when they were others, or if the
    disk has too little space.
    """
    place = Place.of(text)
    if place.there and not any(stores.glob(f"{place.name}-*/store.json")):
        _server()  # torch is there when all files are listed
    listing = kinds.list_images(place) if place.there else None
    card = image_files.card(place, stores, listing)
    path = store.location(card, stores)
    if (path / "store.json").exists() or listing is None:
        return path
    if path.exists():
        raise BadInput(f"{path} is in the way: it is no finished store (no store.json)")
    making = Making(place, listing, card, stores)
    if making.bytes - making.written > making.free:
        raise BadInput(
            f"{making.path} needs {gigabytes(making.bytes)}, of which {gigabytes(making.written)} are written; "
            f"{stores.absolute()} has {gigabytes(making.free)} free: give another --stores, or a smaller side, such as "
            f"{replace(place, side=place.side // 2).text}"
        )
    return making


def gigabytes(size: float) -> str:
    """A size for people."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"


def fill(
    making: Making,
    skip_broken: bool = False,
    workers: int | None = None,
    advance: Callable[[str, int], None] = lambda work, images: None,
) -> Path:
    """Make the store, or go on making it; returns where it lies.

    advance: told of so many more images that were "looked at" or "stored" (or found to be stored already).

    Broken images are skipped if asked for; otherwise BadInput names them, and what this call has written is deleted.
    Most of them are found at the beginning, by how the files begin and end, before anything is written.
    """
    here, total = making.partial, len(making.listing.images)
    with files.lock(here):
        resumed = (here / "images.npy").exists()
        try:
            target = store.location(image_files.card(making.place, making.stores, making.listing), making.stores)
            if (target / "store.json").exists():
                return target  # another process has made it in the meantime
            broken = _glance(making, advance)
            refuse(making, broken, skip_broken)
            _make_room(here / "images.npy", total, making.place.side)
            _decode(making, set(broken), workers or cores(), advance)
            notes = [files.read_json(_note(here, shard)) for shard in store.shards(total)]
            for note in notes:
                broken |= note["broken"]
            refuse(making, broken, skip_broken)
            card = image_files.card_without(making.place, making.listing, broken)
            resumed = True
            return _finish(making, card, broken, notes)
        except Changed:
            (here / "broken.json").unlink(missing_ok=True)  # what was broken may be whole now
            raise
        except BadInput:
            if not resumed:
                shutil.rmtree(here)
            raise
        finally:
            if here.exists() and not (here / "images.npy").exists():
                shutil.rmtree(here)


def refuse(making: Making, broken: dict[str, str], skip_broken: bool) -> None:
    """BadInput if there are broken images that nobody said to skip."""
    if broken and not skip_broken:
        paths = {image.name: image.file.path for image in making.listing.images if image.name in broken}
        root = making.listing.root
        lines = [f"{printable(root / paths[name])} ({why})" for name, why in sorted(broken.items())]
        raise BadInput(
            f"{len(broken)} of {len(making.listing.images)} images are broken: {some(lines)}; mend them, or leave them "
            f"out: {command('data', 'store', making.place.text, '--skip-broken', stores=making.stores)}"
        )


# --------------------------------------------------------------------------------------------------------- one image


def _why_broken(place: Place, root: Path, image: Image) -> str | None:
    """Why an image is broken, if it is; BadInput if it cannot be read."""
    from yosinski.data.decoding import Broken, decode

    try:
        decode(kinds.content(place, root, image), place.side, place.fit, place.interpolation, place.depth)
    except Broken as error:
        return str(error)
    except OSError as error:
        raise BadInput(f"{printable(root / image.file.path)}: {error.strerror}") from error
    return None


def _pace(place: Place, root: Path, images: Sequence[Image]) -> float:
    """Seconds that an image takes, by some of them."""
    _why_broken(place, root, images[0])  # one file of many images may have to be read first
    began = time.perf_counter()
    for image in images:
        _why_broken(place, root, image)
    return (time.perf_counter() - began) / len(images)


def _glance(making: Making, advance: Callable[[str, int], None]) -> dict[str, str]:
    """Which images are broken, by name, and why, as far as the files' first and last bytes tell."""
    kept = making.partial / "broken.json"
    if kept.exists():
        return files.read_json(kept)["broken"]

    def why(image: Image) -> str | None:
        if image.file.state is None:  # not a file of its own
            return None
        with suppress(OSError):
            file = os.open(making.listing.where(image.file), os.O_RDONLY)
            try:
                begins, ends = os.pread(file, 2, 0), os.pread(file, 2, max(0, image.file.size - 2))
            finally:
                os.close(file)
            if begins in OTHERS or ENDS.get(begins) == ends:  # of others decoding will tell
                return None
        return _why_broken(making.place, making.listing.root, image)

    images = making.listing.images
    broken: dict[str, str] = {}
    for looked_at, (image, reason) in enumerate(zip(images, each(why, images), strict=True), 1):
        if reason:
            broken[image.name] = reason
        if looked_at % SHOWN == 0:
            advance("looked at", SHOWN)
    advance("looked at", len(images) % SHOWN)
    files.write_json(kept, {"broken": broken})
    return broken


# --------------------------------------------------------------------------------------------------------- all images


def _note(partial: Path, shard: slice) -> Path:
    return partial / "shards" / f"{shard.start}-{shard.stop}.json"


def _make_room(path: Path, total: int, side: int) -> None:
    """A file for all images, which takes up space only as it is filled."""
    if not path.exists():
        empty = path.with_name("empty.npy")
        np.lib.format.open_memmap(empty, "w+", np.uint8, shape=(total, side, side, 3))
        empty.rename(path)


def _decode(making: Making, broken: set[str], workers: int, advance: Callable[[str, int], None]) -> None:
    shards, images = store.shards(len(making.listing.images)), making.listing.images
    (making.partial / "shards").mkdir(exist_ok=True)
    try:
        with _processes(min(workers, len(shards))) as pool:
            jobs = [
                pool.submit(_shard, making.partial, making.place, making.listing.root, images[shard], shard, broken)
                for shard in shards
            ]
            for job in as_completed(jobs):
                advance("stored", job.result())
    except OSError as error:
        message = f"no space left on the disk of {making.stores}" if error.errno == errno.ENOSPC else str(error)
        raise Failure(f"{message}; what is done so far is kept, the same command goes on") from error


def _server() -> BaseContext:
    """What forks the processes that decode: from the first call on it loads torch, once for all of them."""
    context = multiprocessing.get_context("forkserver")
    # torch by its own name, too: Python 3.11 looks for both in installed packages only, not in the working directory.
    context.set_forkserver_preload(["torch", "yosinski.data.decoding"])
    forkserver.ensure_running()
    return context


@contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that decode."""
    pool = ProcessPoolExecutor(count, _server(), _start)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise Failure("a process that decodes images was killed; the same command goes on") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """In a new process: Ctrl-C is the parent's business, and when the parent is gone there is nothing more to do."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    suffixes()  # with it come decoders that are installed beside Pillow
    warnings.simplefilter("ignore")  # of odd but whole images
    torch.set_num_threads(1)  # there is a process for every core

    def end() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _shard(partial: Path, place: Place, root: Path, images: Sequence[Image], shard: slice, broken: set[str]) -> int:
    """Decode and write one shard, unless it is there with its checksum; broken images stay black."""
    from yosinski.data.decoding import Broken, fitted, read

    stored = np.load(partial / "images.npy", mmap_mode="r", allow_pickle=False)
    note = _note(partial, shard)
    if note.exists() and store.checksum(stored[shard]) == files.read_json(note)["sha256"]:
        return len(images)
    black = np.zeros(stored.shape[1:], np.uint8)
    faults: dict[str, str] = {}
    hashes: list[str] = []
    sizes: list[tuple[int, int] | None] = [None] * len(images)
    odd: list[oddities.Odd | None] = [None] * len(images)
    written = hashlib.sha256()
    with (partial / "images.npy").open("r+b") as file:
        file.seek(stored.offset + shard.start * black.nbytes)
        for k, image in enumerate(images):
            content = kinds.content(place, root, image)
            hashes.append(hashlib.sha256(content).hexdigest())
            if len(content) != image.file.size or image.file.sha256 not in ("", hashes[-1]):
                report = f"{printable(root / image.file.path)} has changed since it was listed"
                raise Changed(f"{report}; the same command looks again")
            pixels = black
            if image.name not in broken:
                try:
                    decoded, odd[k] = read(content, place.depth)
                    sizes[k] = decoded.shape[1], decoded.shape[0]
                    pixels = np.ascontiguousarray(fitted(decoded, place.side, place.fit, place.interpolation))
                except Broken as error:
                    faults[image.name] = str(error)
                except Exception as error:
                    report = f"{type(error).__name__}: {error}"
                    raise Failure(f"{printable(root / image.file.path)} cannot be stored: {report}") from error
            file.write(pixels.data)
            written.update(pixels.data)
    looks = oddities.looks(stored[shard], odd)
    report = {"sha256": written.hexdigest(), "sources": hashes, "sizes": sizes, "looks": looks, "broken": faults}
    files.write_json(note, report, durable=False, indent=None)
    return len(images)


def _finish(making: Making, card: Card, broken: dict[str, str], notes: Sequence[dict[str, Any]]) -> Path:
    """Write the index, where every image came from, and `store.json`; put the folder where stores lie."""
    import pandas as pd

    here, images = making.partial, making.listing.images
    at_last = {image.file: image for image in making.listing.without(broken).images}  # divided without the broken
    sizes = [size or (None, None) for note in notes for size in note["sizes"]]
    looks = [look or (None,) * 4 for note in notes for look in note["looks"]]
    least, greatest, mean, odd = zip(*looks, strict=True)
    origins = pd.DataFrame(
        {
            "image": [at_last.get(image.file, image).name for image in images],
            "file": [printable(image.file.path) for image in images],
            "bytes": [image.file.size for image in images],
            "sha256": [one for note in notes for one in note["sources"]],
            "width": pd.array([width for width, _ in sizes], "Int32"),
            "height": pd.array([height for _, height in sizes], "Int32"),
            "least": pd.array(least, "UInt8"),
            "greatest": pd.array(greatest, "UInt8"),
            "mean": pd.array(mean, "Float32"),
            "odd": odd,
            "broken": [broken.get(image.name) for image in images],
        }
    )
    with (here / "images.npy").open("rb") as file:
        os.fsync(file.fileno())
    files.replace(here / "sources.parquet", lambda temporary: origins.to_parquet(temporary, index=False))
    classes = {name: k for k, name in enumerate(card.classes)}
    index = np.zeros((4, len(images)), np.int32)
    index[0] = [SETS.index(at_last[image.file].set_name) if image.name not in broken else -1 for image in images]
    index[1] = [classes[image.class_name] for image in images]
    index[3] = [at_last.get(image.file, image).number for image in images]
    store.describe(
        here,
        card,
        index,
        [note["sha256"] for note in notes],
        fit=making.place.fit,
        interpolation=making.place.interpolation,
        decoder=", ".join(f"{name} {version(name)}" for name in ("Pillow", "simplejpeg", "torch")),
        skipped=broken,
        rule=RULE,
    )
    target = store.location(card, making.stores)
    here.rename(target)
    shutil.rmtree(target / "shards")
    for name in ("broken.json", "lock"):
        (target / name).unlink()
    return target
