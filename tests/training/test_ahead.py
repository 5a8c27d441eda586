"""Reading ahead: in order, one step ahead, and on a GPU beside what it computes.

No GPU is needed: `Gpu` is a made-up one that keeps, for every stream, the order of what it is asked for.
"""

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from yosinski.networks.batch import moved
from yosinski.training.ahead import ahead


@dataclass
class Gpu:
    """A GPU that does not work before it must: a list for each stream, of what it is asked for in order."""

    streams: list["Queue"] = field(default_factory=list)
    here: threading.local = field(default_factory=threading.local)

    def stream(self) -> "Queue":
        """A new stream."""
        self.streams.append(Queue())
        return self.streams[-1]

    def current(self) -> "Queue":
        """The stream of this thread; by default the first one."""
        return getattr(self.here, "stream", self.streams[0])

    @contextmanager
    def using(self, stream: "Queue") -> Any:
        """Context in which that is another one."""
        before, self.here.stream = self.current(), stream
        yield
        self.here.stream = before

    def order(self) -> list[str]:
        """The earliest order in which the second stream may work, followed by the first: names of what is done."""
        done: list[str] = []
        at = {id(stream): 0 for stream in self.streams}

        def work(stream: Queue, until: int) -> None:
            while at[id(stream)] < until:
                kind, what = stream.asked[at[id(stream)]]
                at[id(stream)] += 1
                if kind == "wait":
                    work(*what)
                else:
                    done.append(what)

        for stream in reversed(self.streams):
            work(stream, len(stream.asked))
        return done


@dataclass
class Queue:
    """A stream: its asked entries are ("do", name) or ("wait", (stream, number of entries))."""

    asked: list[tuple[str, Any]] = field(default_factory=list)

    def record_event(self) -> tuple["Queue", int]:
        """A mark behind what was asked for so far."""
        return self, len(self.asked)

    def wait_event(self, mark: tuple["Queue", int]) -> None:
        """What is asked for after this waits for that mark."""
        self.asked.append(("wait", mark))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A made-up GPU in place of torch's."""
    made = Gpu()
    made.stream()
    fake = SimpleNamespace(Stream=made.stream, current_stream=made.current, stream=made.using)
    monkeypatch.setattr("yosinski.training.ahead.torch", SimpleNamespace(cuda=fake, Event=object))
    return made


@pytest.mark.parametrize("steps", [range(0), range(3, 4), range(2, 7)])
def test_steps_are_read_in_order_and_once(steps: range) -> None:
    read: list[int] = []
    assert list(ahead(lambda step: read.append(step) or -step, steps)) == [-step for step in steps]
    assert read == list(steps)


def test_the_next_step_is_read_while_one_is_in_use() -> None:
    read = [threading.Event() for _ in range(4)]
    for step, _ in enumerate(ahead(lambda step: read[step].set(), range(4))):
        if step < 3:
            assert read[step + 1].wait(10)


def test_on_a_gpu_a_batch_is_copied_beside_the_step_before_it_and_after_the_one_before_that(gpu: Gpu) -> None:
    """Computing a step waits for its copy; a copy may use the memory of a step that is done, and of no other."""
    for step in ahead(lambda step: (gpu.current().asked.append(("do", f"copy {step}")), step)[1], range(5), "cuda"):
        gpu.current().asked.append(("do", f"compute {step}"))
    order = gpu.order()
    assert sorted(order) == sorted(f"{what} {step}" for what in ("copy", "compute") for step in range(5))
    for step in range(5):
        assert order.index(f"copy {step}") < order.index(f"compute {step}")
        if step < 4:
            assert order.index(f"copy {step + 1}") < order.index(f"compute {step}"), "a copy waits for its step"
        if step < 3:
            assert order.index(f"compute {step}") < order.index(f"copy {step + 2}"), "memory is written too early"


def test_an_error_in_reading_reaches_the_training() -> None:
    def read(step: int) -> int:
        if step == 2:
            raise ValueError("the file is gone")
        return step

    with pytest.raises(ValueError, match="gone"):
        list(ahead(read, range(4)))


def test_to_a_gpu_tensors_go_from_page_locked_memory_and_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: (asked.append("page-locked"), self)[1])
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *args, **values: (asked.append((args, values)), self)[1])
    moved(torch.zeros(3), "cuda")
    assert asked == ["page-locked", (("cuda",), {"non_blocking": True})]
    del asked[:]
    moved(torch.zeros(3), "cpu")
    assert asked == [(("cpu",), {})]
