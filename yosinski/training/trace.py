"""A trace: which operations take the time of a few steps of a pack, as a table of torch's profiler."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import profiler

SKIPPED, TRACED = 5, 20  # steps: the first ones take longer
ROWS = 40


@contextlib.contextmanager
def tracing(path: Path | None, device: str) -> Iterator[Callable[[], object]]:
    """Context in which some steps are traced, and written to this file; None: none. Its value is to be called after
    each step.
    """
    if path is None:
        yield lambda: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = [profiler.ProfilerActivity.CPU, *([profiler.ProfilerActivity.CUDA] if device == "cuda" else [])]
    order = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"

    def write(traced: profiler.profile) -> None:
        path.write_text(traced.key_averages().table(sort_by=order, row_limit=ROWS), encoding="utf-8")

    schedule = profiler.schedule(wait=SKIPPED - 1, warmup=1, active=TRACED, repeat=1)
    with profiler.profile(activities=kinds, schedule=schedule, on_trace_ready=write) as traced:
        yield traced.step
