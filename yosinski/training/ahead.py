"""Reading ahead: what a step needs is read, and copied to the device, while the step before it is processed.

A GPU has a stream for these copies, so that they run beside the step's computation. There the first batch is read when
all that was asked of the GPU before is done; each later one, when the step that was asked for last is done. So memory
that a step has freed can hold the next batch, and nothing waits but the GPU itself.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Read = TypeVar("Read")


def ahead(read: Callable[[int], Read], steps: range, device: str = "cpu") -> Iterator[Read]:
    """The results of `read` for these steps, on `device`. Each is read in a thread, while the one before is in use."""
    beside = torch.cuda.Stream() if device == "cuda" else None

    def asked() -> torch.Event | None:
        """A mark behind all that this thread has asked of the GPU."""
        return torch.cuda.current_stream().record_event() if beside else None

    def reading(step: int, behind: torch.Event | None) -> tuple[Read, torch.Event | None]:
        if not beside or not behind:
            return read(step), None
        with torch.cuda.stream(beside):  # which is on the GPU of this process: a new thread would be on the first one
            beside.wait_event(behind)
            return read(step), beside.record_event()

    with ThreadPoolExecutor(1) as reader:
        coming = [reader.submit(reading, step, asked()) for step in steps[:1]]
        for step in steps:
            here, copied = coming.pop().result()  # the one before is freed after this, as `behind` takes for granted
            if copied:
                torch.cuda.current_stream().wait_event(copied)
            coming += [reader.submit(reading, following, asked()) for following in (step + 1,) if following in steps]
            yield here
