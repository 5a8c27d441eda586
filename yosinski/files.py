"""Atomic files: a reader, also after a crash, sees either the old content or the new content."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from yosinski.errors import BadInput

FORMAT = 1  # of every file in a runs directory; not part of ids, so that files can be migrated


def write_json(path: Path, value: dict[str, Any], durable: bool = True, indent: int | None = 1) -> None:
    """Write a JSON object atomically: a reader sees either the old file or the new one.

    durable: also after a crash of the machine, which a heartbeat does not need.
    indent: None for no line breaks, which is faster.
    """

    def write(temporary: Path) -> None:
        temporary.write_text(json.dumps({"format": FORMAT, **value}, indent=indent, allow_nan=False) + "\n")

    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, write, durable)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of `write_json`. BadInput if it is damaged or of a newer format."""
    try:
        value = json.loads(path.read_bytes())
        newest = value["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(path) from error
    if not isinstance(newest, int):
        raise Damaged(path)
    if newest > FORMAT:
        raise BadInput(f"{path} is of format {newest}; this version reads up to format {FORMAT}: update yosinski")
    return value


class Damaged(BadInput):
    """A file that cannot be read. It is renamed, never overwritten."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is damaged")
        self.path = path


def set_aside(path: Path, why: str = "damaged") -> Path:
    """Rename a file to `<name>.<why>-<k>` with the first free k."""
    k = 1
    while (aside := path.with_name(f"{path.name}.{why}-{k}")).exists():
        k += 1
    return path.rename(aside)


def replace(path: Path, write: Callable[[Path], object], durable: bool = True) -> None:
    """Write a file under a temporary name, then rename it; its mode is the usual one for new files."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:12]}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # safetensors creates files that only the owner may read
        write(temporary)
        temporary.chmod(mode)
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """BadInput if a file cannot be written at this path, in folders that may have to be made. Leaves nothing behind."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        folder = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
        with tempfile.TemporaryFile(dir=folder):
            pass
        if path.exists():
            with path.open("ab"):  # which changes nothing
                pass
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from error


def lock(folder: Path, waiting: Callable[[], object] = lambda: None) -> IO[str]:
    """Make a folder and lock it, waiting for other processes; closing the file unlocks it.

    The lock moves with the folder. waiting: called several times a second while waiting.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = (folder / "lock").open("w")
            while not _locked(handle):
                waiting()
                time.sleep(0.2)
            if os.path.samestat(os.fstat(handle.fileno()), (folder / "lock").stat()):
                return handle
            handle.close()
        except FileNotFoundError:  # another process has just renamed or deleted the folder
            continue


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def free(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(parent).free


def check_space(folder: Path, needed: int, what: str) -> None:
    """BadInput if the disk of a folder, which need not exist yet, has fewer free bytes than needed."""
    if needed > (room := free(folder)):
        raise BadInput(f"{what} need {needed / 1e9:,.2g} GB, {folder.absolute()} has {room / 1e9:,.2g} GB free")


def caches() -> Path:
    """The directory of caches, which can be deleted at any time: $XDG_CACHE_HOME/yosinski, else ~/.cache/yosinski."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "yosinski"


@contextlib.contextmanager
def whole_folder(target: Path, prefix: str) -> Iterator[Path]:
    """A new folder beside `target` to write to, which gets that name at the end, unless another process was first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        temporary.chmod(0o755)
        yield temporary
        with contextlib.suppress(OSError):  # another process has written it
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
