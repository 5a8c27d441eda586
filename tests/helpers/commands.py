"""Commands of `yosinski` in the process of a test, which need not load everything again."""

import contextlib
import io
import signal
from pathlib import Path
from typing import NamedTuple

from yosinski.cli.main import main


class Ended(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    errors: str


def yosinski(*words: str | Path) -> Ended:
    """Run a command in this directory; handlers of signals are afterwards what they were."""
    out, errors = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            status = main(list(map(str, words)))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Ended(status, out.getvalue(), errors.getvalue())
