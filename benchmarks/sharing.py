"""What a joint or a fused network takes beside the single networks of its tasks or inputs.

    python benchmarks/sharing.py [ROUNDS]

Seconds of training in one process, interleaved; the ratio is of one shared network to its two single ones together.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from sweeps.branch import branch
from sweeps.fuse import fuse
from yosinski import procedure
from yosinski.environment import Where
from yosinski.experiment.recipes import EMOJI
from yosinski.experiment.run import Run
from yosinski.records import specs, states

RECIPE = EMOJI.with_values({"epochs": 4.0, "evaluations": 1})
STORES = Path("stores")


def seconds(runs: Sequence[Run]) -> float:
    """Seconds that these runs caused, each trained alone in a directory of its own."""
    total = 0.0
    with tempfile.TemporaryDirectory() as folder:
        where = Where(Path(folder), STORES, "cpu", "float32")
        for run in runs:
            specs.enrol(where.runs, run)
            procedure.run_pack([run.id], where)
            record = states.read_record(specs.folder(where.runs, run.id))
            assert record is not None
            total += record["seconds"]
    return total


def main(rounds: int) -> None:
    """Print the ratios for each place."""
    for name, runs in {
        "joint": branch(recipe=RECIPE, controls=(), cuts=(1, 4, 7)),
        "fused": fuse(recipe=RECIPE, controls=(), cuts=(0, 3, 7)),
    }.items():
        singles, shared = runs[:2], runs[2:]
        ratios: dict[str, list[float]] = {run.name: [] for run in shared}
        for _ in range(rounds):
            for run in shared:
                ratios[run.name].append(seconds([run]) / seconds(singles))
        for run, found in ratios.items():
            spread = f"{min(found):.2f} to {max(found):.2f}"
            print(f"{name} {run}: {median(found):.2f} ({spread}) of its single networks")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
