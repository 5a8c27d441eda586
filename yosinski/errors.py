"""Errors: of the user (`BadInput`, exit status 2) and of a run (`Failure`, exit status 1).

Also helpers for messages: printable names, and commands to repeat.
"""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any


class BadInput(ValueError):
    """An impossible request of the user: one line, exit status 2."""


class Failure(RuntimeError):
    """An error while running: one line, exit status 1."""


def choose(what: str, value: str, valid: Mapping[str, Any] | list[str] | tuple[str, ...]) -> str:
    """Return `value` if it is a valid choice, else raise BadInput with the list of choices."""
    if value not in valid:
        raise BadInput(f"unknown {what} {value!r}; choose from: {', '.join(valid)}")
    return value


def nearest(what: str, name: str, valid: Iterable[str]) -> BadInput:
    """The error for an unknown name with too many valid ones to list: it names the most similar ones."""
    near = get_close_matches(name, list(valid), n=5, cutoff=0.5)
    return BadInput(f"unknown {what} {name!r}" + (f"; near it: {', '.join(near)}" if near else ""))


def printable(name: object) -> str:
    """A file name as text that can be printed and stored; bytes that are not UTF-8 are escaped, such as \\xe9."""
    text = str(name)
    return text if text.isascii() else os.fsencode(text).decode("utf-8", "backslashreplace")


def command(*words: object, stores: Path | None = None, runs: Path | None = None) -> str:
    """A command line to repeat, quoted for a shell, with options for directories that are not the defaults.

    stores, runs: the directories, for commands with such options. A default from the environment variable is written
    out, too, because it may be set for this process only.
    """
    line = ["yosinski", *map(str, words)]
    if stores is not None and ("YOSINSKI_STORES" in os.environ or stores.absolute() != Path("stores").absolute()):
        line += ["--stores", str(stores)]
    if runs is not None and runs.absolute() != Path("runs").absolute():
        line += ["--runs", str(runs)]
    return shlex.join(line)


def some(names: Sequence[str], most: int = 20) -> str:
    """A limited number of names for a message."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def count(number: int, what: str) -> str:
    """1 run, 2 runs, 3 copies."""
    plural = f"{what[:-1]}ies" if what.endswith(("py", "cy")) else f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{number} {what if number == 1 else plural}"
