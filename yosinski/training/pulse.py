"""The pulse of a pack: its active members, heartbeats, and times of checkpoints."""

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence

from yosinski.errors import Failure
from yosinski.records.attempts import Superseded
from yosinski.training import checkpoints
from yosinski.training.arithmetic import Arithmetic
from yosinski.training.pack import Member

BEAT_EVERY = 2.0  # seconds between heartbeats
SAVE_EVERY = 600.0  # maximum seconds between checkpoints, if evaluations are further apart
QUICK = 0.2  # seconds that checkpoints may take after every evaluation
SAVE_SHARE = 20  # slower ones take at most one in this number of seconds


class Pulse:
    """The active `members` of a pack. The list is replaced, never changed in place: another thread reads it.

    failures: receives the reasons of members that fail; stopping: whether a stop was requested; stepped: called after
    each step.
    """

    def __init__(
        self,
        pack: Sequence[Member],
        steps: int,
        arithmetic: Arithmetic,
        failures: list[str],
        stopping: Callable[[], bool],
        stepped: Callable[[], object] = lambda: None,
    ) -> None:
        self.members = list(pack)
        self.steps, self.arithmetic, self.failures, self.stopping = steps, arithmetic, failures, stopping
        self.stepped = stepped
        self.began, self.first = time.time(), {member.run.id: member.step for member in pack}
        self.beaten = self.saved = time.monotonic()
        self.writing = 0.0  # seconds that the last checkpoints took, if they were slow

    def leave(self, member: Member) -> None:
        """Remove a member from the pack."""
        self.members = [other for other in self.members if other is not member]

    def each(self, members: Iterable[Member], work: Callable[[Member], object]) -> None:
        """Call `work` for each of these members that is still in the pack.

        A member that fails, or is taken over by another process, leaves the pack. The others are not affected.
        """
        for member in members:
            if member not in self.members:
                continue
            try:
                work(member)
            except Failure as failure:
                self.failures.append(str(failure))
                self.leave(member)
                with contextlib.suppress(Superseded):
                    member.attempt.fail(str(failure))

    def stop(self) -> bool:
        """Write heartbeats at intervals, and return whether to stop."""
        if time.monotonic() - self.beaten > BEAT_EVERY:
            self.beaten = time.monotonic()
            self.each(self.members, lambda it: it.attempt.beat(it.step, self.steps, self.first[it.run.id], self.began))
        return self.stopping()

    def save(self, members: Iterable[Member], now: bool, evaluated: bool = False) -> None:
        """Write checkpoints of these members: `now`, or after an evaluation, or long after the last checkpoint."""
        moment = time.monotonic()
        if not now and moment - self.saved < min(SAVE_EVERY, SAVE_SHARE * self.writing if evaluated else SAVE_EVERY):
            return
        self.saved = moment
        self.each(members, lambda member: checkpoints.save(member, self.arithmetic))
        took = time.monotonic() - moment
        self.writing = took if took > QUICK else 0.0
