"""Files that appear whole: a reader, or a machine that crashed, sees either the old content or the new one."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from yosinski.spec import BadInput

FORMAT = 1  # of every file in a runs directory; outside of the id, so that it can be migrated


def write_json(path: Path, value: dict[str, Any], durable: bool = True) -> None:
    """Write a JSON object so that a reader sees either the old file or the new one, whole.

    durable: even after the machine has crashed; a heartbeat can do without.
    """

    def write(temporary: Path) -> None:
        temporary.write_text(json.dumps({"format": FORMAT, **value}, indent=1, allow_nan=False) + "\n")

    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, write, durable)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object written by `write_json`; BadInput if it is damaged or of a newer format."""
    try:
        value = json.loads(path.read_text())
        newest = value["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(path) from error
    if not isinstance(newest, int):
        raise Damaged(path)
    if newest > FORMAT:
        raise BadInput(f"{path} is of format {newest}; this version reads up to format {FORMAT}: update yosinski")
    return value


class Damaged(BadInput):
    """A file that cannot be read; it is set aside, never overwritten."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is damaged")
        self.path = path


def set_aside(path: Path, why: str = "damaged") -> Path:
    """Rename a file to `<name>.<why>-<k>`, the first k that is free."""
    k = 1
    while (aside := path.with_name(f"{path.name}.{why}-{k}")).exists():
        k += 1
    return path.rename(aside)


def replace(path: Path, write: Callable[[Path], object], durable: bool = True) -> None:
    """Write a file under a temporary name, then put it in place of the old one."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:12]}.tmp")
    try:
        write(temporary)
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def caches() -> Path:
    """The directory of what can be deleted at any time: $XDG_CACHE_HOME/yosinski, else ~/.cache/yosinski."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "yosinski"
