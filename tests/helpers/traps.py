"""What hostile pickles name: a class that must never be made."""

from pathlib import Path
from typing import Any


class Trap:
    """Whoever makes or builds one springs it."""

    def __new__(cls, *_: Any) -> "Trap":
        Path("sprung").touch()
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        Path("sprung").touch()
