"""What is wrong, and whose business it is: the user's (`BadInput`, exit status 2) or the run's (`Failure`, 1)."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


class BadInput(ValueError):
    """The user asked for something that cannot be: one line, exit status 2."""


class Failure(RuntimeError):
    """Something went wrong while running: one line, exit status 1."""


def choose(what: str, given: str, valid: Mapping[str, Any] | list[str] | tuple[str, ...]) -> str:
    """Return `given` if it is among the valid choices, else raise BadInput that lists them."""
    if given not in valid:
        raise BadInput(f"unknown {what} {given!r}; choose from: {', '.join(valid)}")
    return given


def nearest(what: str, given: str, valid: Iterable[str]) -> BadInput:
    """The error for an unknown name where too many are valid to list them all: it names the nearest ones."""
    near = get_close_matches(given, list(valid), n=5, cutoff=0.5)
    return BadInput(f"unknown {what} {given!r}" + (f"; near it: {', '.join(near)}" if near else ""))
