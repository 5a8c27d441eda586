"""What files hold: the SHA-256 of their bytes, remembered as long as nobody can have written to them.

A hash is remembered for a file's whole `State`, in which the time of change cannot be set by anybody, and only if that
time was long enough ago when the file was read: otherwise a second change might have the same time. Where a file system
tells no true time of change (some that are mounted over a network), neither does this.
"""

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from yosinski import files
from yosinski.data.look import look
from yosinski.data.sources.scanning import PARTS, State, each
from yosinski.errors import BadInput, Failure, printable
from yosinski.identity import digest

SETTLED = 2.0  # seconds after which a second change has another time of change than the first
AT_ONCE = 2**22  # bytes of a file that is read in one go
MUCH = 2**30  # bytes whose reading is told beforehand
KEY, HASH = PARTS.size, 32  # bytes of a state and of a hash


def sha256(source: str, paths: Sequence[str], states: Sequence[State]) -> list[str]:
    """The SHA-256 of files, in hex; those that have not been read in their present state are read.

    source: what the files belong to: what is remembered of it are the files that were asked for last. Failure if a file
    is written to meanwhile.
    """
    note = files.caches() / f"hashes-{digest(source)}.npy"
    memory = _known(note)
    digests = [memory.get(state) for state in states]
    unread = [k for k, one in enumerate(digests) if one is None]
    if (size := sum(states[k].size for k in unread)) > MUCH:
        count = f"{len(unread):,} file{'s' * (len(unread) > 1)}"
        look().tell(f"reading {count} of {source}, {size / 1e9:,.1f} GB, once: then only what changes")
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
    """The SHA-256 of a file that is and stays in a state."""
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


def _known(note: Path) -> dict[bytes, bytes]:
    """The hashes that are remembered, by states."""
    try:
        rows = np.load(note, allow_pickle=False)
        keys, hashes = (np.ascontiguousarray(part) for part in np.split(rows, [KEY], axis=1))
        return dict(zip(keys.view(f"V{KEY}").ravel().tolist(), hashes.view(f"V{HASH}").ravel().tolist(), strict=True))
    except (OSError, ValueError, EOFError, IndexError):  # none yet, or damaged: it is only a cache
        return {}


def _remember(note: Path, memory: dict[bytes, bytes]) -> None:
    rows = np.frombuffer(b"".join(key + content for key, content in memory.items()), np.uint8)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, rows.reshape(-1, KEY + HASH))

    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        files.replace(note, write, durable=False)
