"""Who took how long: the seconds of a pack, shared out among the members that caused them."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Protocol


class Timed(Protocol):
    """A member of a pack."""

    seconds: float


class Clock:
    """Adds to the members' `seconds` what has passed from one lap to the next.

    All of it is divided as the work within it was: by the seconds that each piece took where the device works while we
    wait (the CPU), otherwise by its FLOPs, since there nobody knows when a piece is finished. A piece that several
    members need is theirs evenly. So what belongs to nobody, such as reading a batch, goes by the work done on it.
    """

    def __init__(self, device: str) -> None:
        self.by = "time" if device == "cpu" else "flops"
        self.work: dict[Timed, float] = defaultdict(float)
        self.start()

    def start(self) -> None:
        """Begin a lap now: the time since the last lap is assigned to no member."""
        self.began = time.perf_counter()

    @contextlib.contextmanager
    def of(self, members: Collection[Timed], flops: float) -> Iterator[None]:
        """Time a piece of work that these members need; `flops` is its number of FLOPs."""
        began = time.perf_counter()
        yield
        amount = time.perf_counter() - began if self.by == "time" else flops
        for member in members:
            self.work[member] += amount / len(members)

    def lap(self, members: Collection[Timed]) -> None:
        """Give these members what has passed since the last lap; evenly, if none of them has done anything."""
        now = time.perf_counter()
        total = sum(self.work[member] for member in members)
        for member in members:
            share = self.work[member] / total if total else 1 / len(members)
            member.seconds += (now - self.began) * share
        self.work.clear()
        self.start()
