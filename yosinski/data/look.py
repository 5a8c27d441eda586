"""One look at data sets: all that a command says and does rests on it. It knows the stores, and whom to tell."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from yosinski.data.card import Card


class Look(NamedTuple):
    """cards: those that were found, by their texts; stores: the directory; tell: is told what takes long."""

    cards: dict[str, Card]
    stores: Path
    tell: Callable[[str], object]


_LOOK: ContextVar[Look | None] = ContextVar("look", default=None)


def usual_stores() -> Path:
    """The stores directory where nothing else is said: $YOSINSKI_STORES, or `stores` in the working directory."""
    return Path(os.environ.get("YOSINSKI_STORES", "stores"))


@contextmanager
def one_look(stores: Path | None = None, tell: Callable[[str], object] = lambda text: None) -> Iterator[None]:
    """Within it every data set is looked at once.

    stores: the directory whose stores are known to it; tell: is told what takes long, before it begins.
    """
    token = _LOOK.set(Look({}, stores or usual_stores(), tell))
    try:
        yield
    finally:
        _LOOK.reset(token)


def look() -> Look:
    """The look of today, or one for this moment only."""
    return _LOOK.get() or Look({}, usual_stores(), lambda text: None)
