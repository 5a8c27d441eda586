"""The clock: the seconds of a pack, divided among the members that caused them."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Protocol


class Timed(Protocol):
    """A member of a pack."""

    seconds: float


class Clock:
    """Adds the time from one lap to the next to the members' `seconds`.

    It is divided like the work within the lap: on the CPU by the seconds of each piece of work, on other devices, which
    work asynchronously, by its FLOPs. A piece that several members need is divided evenly among them, or in given
    proportions. Time without members, such as reading a batch, is divided like the rest.
    """

    def __init__(self, device: str) -> None:
        self.by = "time" if device == "cpu" else "flops"
        self.work: dict[Timed, float] = defaultdict(float)
        self.start()

    def start(self) -> None:
        """Begin a lap now. The time since the last lap belongs to no member."""
        self.began = time.perf_counter()

    @contextlib.contextmanager
    def of(self, members: Collection[Timed], flops: float, parts: Sequence[float] = ()) -> Iterator[None]:
        """Time a piece of work for these members. flops: its number of FLOPs; parts: what each of them causes of it."""
        began = time.perf_counter()
        yield
        amount = time.perf_counter() - began if self.by == "time" else flops
        total = sum(parts)
        for k, member in enumerate(members):
            self.work[member] += amount * (parts[k] / total if total else 1 / len(members))

    def lap(self, members: Collection[Timed]) -> None:
        """Assign the time since the last lap to these members; evenly, if none of them has worked."""
        now = time.perf_counter()
        total = sum(self.work[member] for member in members)
        for member in members:
            share = self.work[member] / total if total else 1 / len(members)
            member.seconds += (now - self.began) * share
        self.work.clear()
        self.start()
