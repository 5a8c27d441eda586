"""Packs that a command trains in a thread of the test's process, which need not load torch again.

That commands start processes for them, stop these and outlive their end is stated in tests/cli/test_command_line.py.
"""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import submitit

from sweeps.running import job, local
from yosinski.environment import Where


class Job:
    """A pack in the thread, as far as a queue knows jobs."""

    def __init__(self, folder: Path, number: int, asked: Event, future: "Future[None]") -> None:
        self.job_id = str(number)
        self.paths = SimpleNamespace(stderr=folder / f"{number}.log", result_pickle=folder / f"{number}.pkl")
        self.asked, self.future = asked, future

    def done(self) -> bool:
        return self.future.done()


@contextlib.contextmanager
def packs_in_this_process(pause: float = 0.0) -> Iterator[None]:
    """One pack after the other. pause: seconds at every look for a request to end, in which the command can decide."""
    numbers = count(1)

    def train(ids: tuple[str, ...], where: Where, number: int, asked: Event) -> None:
        with contextlib.suppress(SystemExit):  # after a failure, which the records have
            job.train(ids, where, str(number), lambda: asked.wait(pause) if pause else asked.is_set())

    class Executor:
        def __init__(self, folder: Path) -> None:
            self.folder = folder

        def update_parameters(self, **_: Any) -> None:
            """None matters here."""

        def submit(self, function: Any, ids: tuple[str, ...], where: Where, gpu: object) -> Job:
            assert (function, gpu) == (job.train_pack, None)
            number, asked = next(numbers), Event()
            return Job(self.folder, number, asked, thread.submit(train, ids, where, number, asked))

    with ThreadPoolExecutor(1) as thread, pytest.MonkeyPatch.context() as patch:
        patch.setattr(submitit, "LocalExecutor", Executor)
        patch.setattr(local, "_ask_to_end", lambda one: one.asked.set())
        patch.setattr(local, "POLL", 0.02)
        yield
