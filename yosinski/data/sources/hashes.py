"""A cache of the SHA-256 of files, valid as long as a file's `State` is unchanged.

The state includes the time of change, which no user can set. A hash is cached only if that time was long enough before
the file was read: otherwise a second change might have the same time. On file systems without true times of change
(some network file systems), changes in place may be missed.
"""

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from yosinski import files
from yosinski.data.reading import reading
from yosinski.data.sources.scanning import PARTS, State, each
from yosinski.errors import BadInput, Failure, printable
from yosinski.identity import digest

SETTLED = 2.0  # seconds between two changes that certainly have different times of change
AT_ONCE = 2**22  # maximum size of files that are read at once, in bytes
MUCH = 2**30  # size from which reading is announced, in bytes
KEY, HASH = PARTS.size, 32  # sizes of a state and of a hash, in bytes


def sha256(source: str, paths: Sequence[str], states: Sequence[State]) -> list[str]:
    """The SHA-256 of files, in hex. Files that are not in the cache with their present state are read.

    source: the data set of these files; the cache keeps the files of its last call. Failure if a file is written to
    while it is read.
    """
    note = files.caches() / f"hashes-{digest(source)}.npy"
    memory = _cached(note)
    digests = [memory.get(state) for state in states]
    unread = [k for k, sha in enumerate(digests) if sha is None]
    if (size := sum(states[k].size for k in unread)) > MUCH:
        count = f"{len(unread):,} file{'s' * (len(unread) > 1)}"
        reading().tell(f"reading {count} of {source}, {size / 1e9:,.1f} GB, once: then only what changes")
    fresh = set(unread)
    now = time.time_ns()
    try:
        for k, content in zip(unread, each(lambda k: _read_whole(paths[k], states[k]), unread), strict=True):
            digests[k] = content
            if states[k].changed < now - SETTLED * 1e9:
                fresh.remove(k)
    finally:  # keep the hashes of the files that were read, even after an error
        if len(fresh) < len(unread):
            _remember(note, {states[k]: content for k, content in enumerate(digests) if content and k not in fresh})
    return [content.hex() for content in digests if content]


def _read_whole(path: str, state: State) -> bytes:
    """The SHA-256 of a file. Failure if it is not in this state before and after reading."""
    try:
        with Path(path).open("rb", buffering=0) as file:
            before = State.of(os.fstat(file.fileno()))
            small = state.size <= AT_ONCE
            hashed = (hashlib.sha256(file.read()) if small else hashlib.file_digest(file, "sha256")).digest()
            after = State.of(os.fstat(file.fileno()))
    except OSError as error:
        raise BadInput(f"{printable(path)}: {error.strerror}") from error
    if not before == after == state:
        raise Failure(f"{printable(path)} was written to while it was read; the same command looks again")
    return hashed


def _cached(note: Path) -> dict[bytes, bytes]:
    """The cached hashes by states."""
    try:
        rows = np.load(note, allow_pickle=False)
        keys, hashes = (np.ascontiguousarray(part) for part in np.split(rows, [KEY], axis=1))
        return dict(zip(keys.view(f"V{KEY}").ravel().tolist(), hashes.view(f"V{HASH}").ravel().tolist(), strict=True))
    except (OSError, ValueError, EOFError, IndexError):  # missing or damaged cache
        return {}


def _remember(note: Path, memory: dict[bytes, bytes]) -> None:
    rows = np.frombuffer(b"".join(key + content for key, content in memory.items()), np.uint8)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, rows.reshape(-1, KEY + HASH))

    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        files.replace(note, write, durable=False)
