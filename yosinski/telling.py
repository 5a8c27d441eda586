"""What people read: names that can be printed whatever their bytes, and commands that can be repeated as they stand."""

import os
import shlex
from pathlib import Path


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
