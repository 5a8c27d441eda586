"""One reading: the cards that one command has found, so that all its steps see data sets in the same state."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from yosinski.data.card import Card


class Reading(NamedTuple):
    """cards: the cards found, by the texts of data sets; stores: their directory; tell: called before slow work."""

    cards: dict[str, Card]
    stores: Path
    tell: Callable[[str], object]


_READING: ContextVar[Reading | None] = ContextVar("reading", default=None)


def usual_stores() -> Path:
    """The default directory of stores: $YOSINSKI_STORES, or `stores` in the working directory."""
    return Path(os.environ.get("YOSINSKI_STORES", "stores"))


@contextmanager
def one_reading(stores: Path | None = None, tell: Callable[[str], object] = lambda text: None) -> Iterator[None]:
    """Context in which every data set is read once.

    stores: the directory of stores; tell: called with a message before slow work.
    """
    token = _READING.set(Reading({}, stores or usual_stores(), tell))
    try:
        yield
    finally:
        _READING.reset(token)


def reading() -> Reading:
    """The current reading, or a new one that is not kept."""
    return _READING.get() or Reading({}, usual_stores(), lambda text: None)
