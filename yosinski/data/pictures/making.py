"""Making the store of image files: in parallel, resumable, with checksums.

Images are written to `<store>.partial/` in shards: first the pixels, then a note with their checksum. After an
interruption, shards with a note and the right checksum are kept. The finished folder is synced to disk and renamed.
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
from yosinski.data import store
from yosinski.data.card import Card
from yosinski.data.pictures import image_files, oddities
from yosinski.data.place import RULE, Place
from yosinski.data.sources import kinds
from yosinski.data.sources.listing import Image, Listing
from yosinski.data.sources.scanning import each, suffixes
from yosinski.environment import cores
from yosinski.errors import BadInput, Failure, command, printable, some

ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"\x60\x82"}  # last bytes of JPEGs and PNGs, by their first bytes
OTHERS = (b"RI", b"BM", b"GI", b"II", b"MM")  # first bytes of other kinds of file, which have no fixed end
SHOWN = 256  # number of files between two reports of progress
NOTES = 256  # bytes per image besides its pixels, an upper estimate


class Changed(Failure):
    """A file has changed since it was listed."""


@dataclass(frozen=True)
class Making:
    """A store to be made of listed files; `card` is without the images that an earlier store has skipped."""

    place: Place
    listing: Listing
    card: Card
    stores: Path

    @cached_property
    def path(self) -> Path:
        """Path of the finished store, if no images are skipped."""
        return store.location(self.card, self.stores)

    @property
    def partial(self) -> Path:
        """Path of the unfinished store."""
        return self.path.with_name(f"{self.path.name}.partial")

    @property
    def bytes(self) -> int:
        """Size of the finished store."""
        return len(self.listing.images) * (3 * self.place.side**2 + NOTES)

    @property
    def written(self) -> int:
        """Number of bytes that are already on the disk."""
        images = self.partial / "images.npy"
        return 512 * images.stat().st_blocks if images.exists() else 0

    @property
    def free(self) -> int:
        """Free space on the disk, in bytes."""
        return files.free(self.stores)

    @property
    def left(self) -> list[slice]:
        """The shards that are not finished."""
        return [shard for shard in store.shards(len(self.listing.images)) if not _note(self.partial, shard).exists()]

    def seconds(self, workers: int, sample: int = 32) -> float:
        """Estimated seconds for the remaining images with this number of processes, from a sample."""
        left = sum(shard.stop - shard.start for shard in self.left)
        images = self.listing.images
        with _processes(1) as pool:
            pace = pool.submit(_pace, self.place, self.listing.root, images[:: -(-len(images) // sample)]).result()
        return left * pace / workers


def begin(text: str, stores: Path) -> Making | Path:
    """Prepare to make the store of a data set of files. Returns the path of the store if it exists already.

    BadInput if the files are not as they should be, if they have changed since a store was made of them, or if there is
    too little space on the disk.
    """
    place = Place.of(text)
    if place.there and not any(stores.glob(f"{place.name}-*/store.json")):
        _server()  # loads torch while files are listed
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
    """A size in bytes as text."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"


def fill(
    making: Making,
    skip_broken: bool = False,
    workers: int | None = None,
    advance: Callable[[str, int], None] = lambda work, images: None,
) -> Path:
    """Make the store, or continue making it. Returns its path.

    advance: called with "looked at" or "stored" and a number of images, including those that were stored before.

    Broken images are skipped if `skip_broken`; otherwise BadInput names them, and the files that this call has written
    are deleted. Most of them are found by their first and last bytes, before anything is written.
    """
    here, total = making.partial, len(making.listing.images)
    with files.lock(here):
        resumed = (here / "images.npy").exists()
        try:
            target = store.location(image_files.card(making.place, making.stores, making.listing), making.stores)
            if (target / "store.json").exists():
                return target  # another process has made it meanwhile
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
            (here / "broken.json").unlink(missing_ok=True)  # broken files may have been repaired
            raise
        except BadInput:
            if not resumed:
                shutil.rmtree(here)
            raise
        finally:
            if here.exists() and not (here / "images.npy").exists():
                shutil.rmtree(here)


def refuse(making: Making, broken: dict[str, str], skip_broken: bool) -> None:
    """BadInput if there are broken images, unless they are skipped."""
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
    """Why an image is broken, or None. BadInput if the file cannot be read."""
    from yosinski.data.pictures.decoding import Broken, decode

    try:
        decode(kinds.content(place, root, image), place.side, place.fit, place.interpolation, place.depth)
    except Broken as error:
        return str(error)
    except OSError as error:
        raise BadInput(f"{printable(root / image.file.path)}: {error.strerror}") from error
    return None


def _pace(place: Place, root: Path, images: Sequence[Image]) -> float:
    """Mean seconds per image, from a sample."""
    _why_broken(place, root, images[0])  # without the time to read a file of many images
    began = time.perf_counter()
    for image in images:
        _why_broken(place, root, image)
    return (time.perf_counter() - began) / len(images)


def _glance(making: Making, advance: Callable[[str, int], None]) -> dict[str, str]:
    """The broken images that are found by the first and last bytes of files: names and reasons."""
    record = making.partial / "broken.json"
    if record.exists():
        return files.read_json(record)["broken"]

    def why(image: Image) -> str | None:
        if image.file.state is None:  # not a file of its own
            return None
        with suppress(OSError):
            file = os.open(making.listing.where(image.file), os.O_RDONLY)
            try:
                begins, ends = os.pread(file, 2, 0), os.pread(file, 2, max(0, image.file.size - 2))
            finally:
                os.close(file)
            if begins in OTHERS or ENDS.get(begins) == ends:  # faults within the file are found in decoding
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
    files.write_json(record, {"broken": broken})
    return broken


# --------------------------------------------------------------------------------------------------------- all images


def _note(partial: Path, shard: slice) -> Path:
    return partial / "shards" / f"{shard.start}-{shard.stop}.json"


def _make_room(path: Path, total: int, side: int) -> None:
    """Create a sparse file for all images."""
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
    """The fork server of decoding processes. The first call loads torch, once for all of them."""
    context = multiprocessing.get_context("forkserver")
    # "torch" explicitly: Python 3.11 preloads from installed packages only, not from the working directory.
    context.set_forkserver_preload(["torch", "yosinski.data.pictures.decoding"])
    forkserver.ensure_running()
    return context


@contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of decoding processes."""
    pool = ProcessPoolExecutor(count, _server(), _start)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise Failure("a process that decodes images was killed; the same command goes on") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """Prepare a decoding process: it ignores Ctrl-C, which the parent handles, and ends when the parent has ended."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    suffixes()  # registers decoders that are installed beside Pillow
    warnings.simplefilter("ignore")  # of odd but complete images
    torch.set_num_threads(1)  # one process per core

    def end() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _shard(partial: Path, place: Place, root: Path, images: Sequence[Image], shard: slice, broken: set[str]) -> int:
    """Decode and write one shard, unless it is stored with the right checksum. Broken images stay black."""
    from yosinski.data.pictures.decoding import Broken, fitted, read

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
    """Write the index, the origins of images and `store.json`, and rename the folder."""
    import pandas as pd

    here, images = making.partial, making.listing.images
    divided = making.listing.without(broken)
    at_last = {image.file: image for image in divided.images}
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
    store.describe(
        here,
        card,
        checksums=[note["sha256"] for note in notes],
        **image_files.index(card, making.listing, divided),
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
