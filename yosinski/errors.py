"""What is wrong, and whose business it is: the user's (`BadInput`, exit status 2) or the run's (`Failure`, 1).

Also what messages are made of: names that can be printed, and commands that can be repeated.
"""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any


class BadInput(ValueError):
    """The user asked for something that cannot be: one line, exit status 2."""


class Failure(RuntimeError):
    """Something went wrong while running: one line, exit status 1."""


def choose(what: str, value: str, valid: Mapping[str, Any] | list[str] | tuple[str, ...]) -> str:
    """Return `value` if it is among the valid choices, else raise BadInput that lists them."""
    if value not in valid:
        raise BadInput(f"unknown {what} {value!r}; choose from: {', '.join(valid)}")
    return value


def nearest(what: str, name: str, valid: Iterable[str]) -> BadInput:
    """The error for an unknown name where too many are valid to list them all: it names the nearest ones."""
    near = get_close_matches(name, list(valid), n=5, cutoff=0.5)
    return BadInput(f"unknown {what} {name!r}" + (f"; near it: {', '.join(near)}" if near else ""))


def printable(name: object) -> str:
    """A name from a disk as text that can be printed and stored: bytes that are no UTF-8 become such as \\xe9."""
    text = str(name)
    return text if text.isascii() else os.fsencode(text).decode("utf-8", "backslashreplace")


def command(*words: object, stores: Path | None = None, runs: Path | None = None) -> str:
    """A command to repeat, as a shell takes it: quoted, and with the directories that it would not take by itself.

    stores, runs: the directories that are meant, where the command has such an option. An environment that names a
    place of stores may be that of this process only: then it is said, too.
    """
    line = ["yosinski", *map(str, words)]
    if stores is not None and ("YOSINSKI_STORES" in os.environ or stores.absolute() != Path("stores").absolute()):
        line += ["--stores", str(stores)]
    if runs is not None and runs.absolute() != Path("runs").absolute():
        line += ["--runs", str(runs)]
    return shlex.join(line)


def some(names: Sequence[str], most: int = 20) -> str:
    """Names for a message, not too many of them."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
