"""What runs ended with, and how they are stopped on the way."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from yosinski.environment import Where
from yosinski.experiment.run import Run
from yosinski.records import specs, states

RESULTS = ("state", "metrics", "per_class", "right", "weights", "certificate", "steps")


def after(looks: int) -> Callable[[], bool]:
    """A `stopping` that says so from that look on; there is one after each step and in each batch of an evaluation."""
    made: Iterator[int] = iter(range(10**9))
    return lambda: next(made) >= looks - 1


def numbers(where: Where, run: Run) -> dict[str, Any]:
    """All of a run's results that must not depend on how it was trained."""
    path = specs.folder(where.runs, run.id)
    record = states.read_record(path)
    assert record is not None
    kept = {name: record[name] for name in RESULTS}
    curve = [{k: v for k, v in row.items() if k not in ("attempt", "seconds")} for row in states.read_curve(path)]
    return {**kept, "curve": curve}


def all_numbers(runs: Path) -> dict[str, Any]:
    """What every run in the directory ended with, curves included."""
    found = {}
    for path in specs.scan(runs):
        record = states.read_record(path)
        assert record is not None
        curve = [{k: v for k, v in row.items() if k not in ("attempt", "seconds")} for row in states.read_curve(path)]
        found[path.name] = record["state"], record["metrics"], record["weights"], record["certificate"], curve
    return found
