"""How long planning, status and the frame take with many runs: 100,000 planned, some finished (made up, not trained).

    python benchmarks/many_runs.py [--finished 10000] [DIRECTORY]

A finished run has 20 evaluations. Seconds of the clock, and of computing, since others may be at work; and the most
memory. Targets on two cores: planning at most 10 s, status at most 2 s, both with 10,000 finished; the frame of 100,000
at most 40 s and 2 GB.
"""

import argparse
import resource
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
PLANNED = 100_000
STEPS, EVALUATIONS = 1840, 20
CURVE = "attempt,step,epoch,learning_rate,train_loss,select_loss,select_top1,seconds\n" + "".join(
    f"1,{step},{step / 46},0.1,{3 / (k + 1)},{4 / (k + 1)},{k / 25},{k * 1.0}\n"
    for k, step in enumerate(range(STEPS // EVALUATIONS, STEPS + 1, STEPS // EVALUATIONS), 1)
)


def made_up(run: Run) -> dict[str, Any]:
    """A record of the usual size."""
    counts = {"images": [20] * len(run.half.classes), "correct": [16] * len(run.half.classes)}
    return {
        "attempts": 1,
        "state": "done",
        "reason": None,
        "steps": STEPS,
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


def fill(runs: Path, finished: int) -> None:
    """The runs of the first seeds, finished."""
    listed = parents_first(figure2(seeds=tuple(range(finished // PER_SEED + 1))))[:finished]
    for run in listed:
        path = specs.folder(runs, run.id)
        claim = {"attempt": 1, "job": "", "released": True, "host": "elsewhere", "pid": 1, "started": 0.0}
        for name, value in {
            "run.json": {"id": run.id, "name": run.name, "spec": run.spec},
            "claim.1.json": claim,
            "record.json": made_up(run),
        }.items():
            files.write_json(path / name, value, durable=False)
        (path / "curve.csv").write_text(CURVE, encoding="utf-8")
    entries = [{"id": run.id, "name": run.name, "spec": run.spec} for run in listed]
    files.write_json(runs / "sweeps" / "figure2-0.json", {"sweep": "figure2", "parameters": {}, "runs": entries})


def took(*arguments: str) -> str:
    """Of one command, start included."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    memory = after.ru_maxrss / 1e6  # of the largest process so far: commands are in the order of their memory
    return f"{time.perf_counter() - began:.1f} s ({busy:.1f} s of computing), {memory:.2f} GB"


def main() -> None:
    """Print what each command takes, twice."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("directory", nargs="?", type=Path, help="of the made-up records (default: a temporary one)")
    options.add_argument("--finished", type=int, default=10_000)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory) as temporary:
        runs, finished = Path(temporary) / "runs", f"{given.finished:,}"
        fill(runs, given.finished)
        seeds = ",".join(map(str, range(PLANNED // PER_SEED + 1)))
        framed = f"from pathlib import Path; from analysis.frame import frame; print(len(frame(Path('{runs}'))))"
        planning = ("plan", "figure2", "-p", f"seeds={seeds}", "--runs", str(runs))
        for what, command in {
            f"status of {finished} records": ("-m", "yosinski", "status", str(runs)),
            f"status of {finished} records as JSON": ("-m", "yosinski", "status", str(runs), "--json"),
            f"plan {PLANNED:,} runs": ("-m", "yosinski", *planning),
            f"frame of {finished} records": ("-c", framed),
        }.items():
            print(f"{what}: {'; '.join(took(*command) for _ in range(2))}", flush=True)


if __name__ == "__main__":
    main()
