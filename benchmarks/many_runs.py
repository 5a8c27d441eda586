"""How long planning and status take with many runs: 100,000 planned, 10,000 of them finished (made up, not trained).

    python benchmarks/many_runs.py [DIRECTORY]

Targets on two cores: planning at most 10 s, status at most 2 s.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sweeps.figure2 import figure2
from sweeps.running.plan import parents_first
from yosinski import files
from yosinski.experiment.run import Run
from yosinski.records import specs

PER_SEED = 58
FINISHED, PLANNED = 10_000, 100_000


def made_up(run: Run) -> dict[str, Any]:
    """A record of the usual size."""
    counts = {"images": [20] * len(run.half.classes), "correct": [16] * len(run.half.classes)}
    return {
        "attempts": 1,
        "state": "done",
        "reason": None,
        "steps": 1840,
        "seconds": 20.0,
        "metrics": {"train_loss": 0.1, "select_loss": 1.0, "select_top1": 0.8, "test_loss": 1.0, "test_top1": 0.8},
        "per_class": {"select": counts, "test": counts, "unseen": counts},
        "parameters": 180_000,
        "trained_parameters": 90_000,
        "flops": 10**12,
        "memory": 10**9,
        "pack": 14,
        "arithmetic": {"dtype": "float32", "device": "cpu", "threads": 1},
        "weights": run.id * 4,
        "parent_weights": run.parent.id * 4 if run.parent else None,
    }


def fill(runs: Path) -> None:
    """The runs of the first seeds, finished."""
    listed = parents_first(figure2(seeds=tuple(range(FINISHED // PER_SEED + 1))))[:FINISHED]
    for run in listed:
        path = specs.folder(runs, run.id)
        claim = {"attempt": 1, "job": "", "released": True, "host": "elsewhere", "pid": 1, "started": 0.0}
        for name, value in {
            "run.json": {"id": run.id, "name": run.name, "spec": run.spec},
            "claim.1.json": claim,
            "record.json": made_up(run),
        }.items():
            files.write_json(path / name, value, durable=False)
    entries = [{"id": run.id, "name": run.name, "spec": run.spec} for run in listed]
    files.write_json(runs / "sweeps" / "figure2-0.json", {"sweep": "figure2", "parameters": {}, "runs": entries})


def seconds(*arguments: str) -> float:
    """Of one command, start included."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "yosinski", *arguments], capture_output=True, text=True, check=True)
    took = time.perf_counter() - began
    if "--json" in arguments:
        found = json.loads(done.stdout)
        assert found.get("done", FINISHED) == FINISHED, found["done"]
    return took


def main() -> None:
    """Print both times, the better of two each."""
    with tempfile.TemporaryDirectory() as temporary:
        runs = Path(sys.argv[1] if len(sys.argv) > 1 else temporary) / "runs"
        fill(runs)
        seeds = ",".join(map(str, range(PLANNED // PER_SEED + 1)))
        planning = ("plan", "figure2", "-p", f"seeds={seeds}", "--runs", str(runs))
        for what, command in {
            "plan 100,000 runs": planning,
            "status of 10,000 records": ("status", str(runs)),
            "status of 10,000 records as JSON": ("status", str(runs), "--json"),
        }.items():
            print(f"{what}: {min(seconds(*command) for _ in range(2)):.1f} s", flush=True)


if __name__ == "__main__":
    main()
