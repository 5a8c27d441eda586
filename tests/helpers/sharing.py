"""What workers of pytest-xdist share."""

from collections.abc import Callable
from pathlib import Path

Shared = Callable[[str, Callable[[Path], object]], Path]  # see the fixture `shared`
