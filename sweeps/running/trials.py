"""Trials: what a second's measurement says about a network on the cores of this machine. No torch.

It chooses what does not change the numbers of a run that has begun: the precision where nothing says otherwise, and the
number of workers. Each worker has one thread, whose number is part of the arithmetic. A trial is made once for a
processor and a network, and kept in the runs directory, so that later runs compute alike.
"""

import datetime
import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from yosinski import files
from yosinski.environment import cores, cpu_has_bfloat16, processor
from yosinski.experiment.cost import layers
from yosinski.experiment.run import Run
from yosinski.networks import catalogue

FLOPS = 6e9  # of a pass in a trial, if that many images fit into a batch
FEWEST = 8  # images of a pass
SLOWER = 1.1  # times as long as in float32: then bfloat16 is not chosen

Seconds = dict[str, dict[str, float]]  # by precision: of a forward pass and of a training step


@dataclass(frozen=True)
class Trial:
    """Processor seconds of passes of `images` images, with all cores at work, and with half of them."""

    network: str
    processor: str
    date: str
    cores: int
    images: int
    flops: float  # of a forward pass
    all: Seconds
    half: Seconds

    @property
    def precision(self) -> str:
        """bfloat16 if the processor has it and trains with it about as fast as in float32, or faster."""
        if "bfloat16" not in self.all:
            return "float32"
        slow = self.all["bfloat16"]["train"] > SLOWER * self.all["float32"]["train"]
        return "float32" if slow else "bfloat16"

    @property
    def workers(self) -> int:
        """All cores, or half of them if these train more images a second together."""
        fewer = max(1, self.cores // 2)
        takes, takes_half = (seconds[self.precision]["train"] for seconds in (self.all, self.half))
        return self.cores if self.cores / takes >= fewer / takes_half else fewer


def kept(runs: Path) -> dict[str, Trial]:
    """The trials of this machine's processor and number of cores in a runs directory, by network."""
    path = runs / "trials.json"
    trials = [Trial(**values) for values in files.read_json(path)["trials"]] if path.exists() else []
    here = processor(), cores()
    return {trial.network: trial for trial in trials if (trial.processor, trial.cores) == here}


def tried(runs: Path, wanted: Iterable[Run]) -> dict[str, Trial]:
    """The trials of these runs' networks, made now if they have not been made yet."""
    found = kept(runs)
    new = {run.network: measured(run, runs) for run in wanted if run.network not in found}
    if new:
        path = runs / "trials.json"
        others = files.read_json(path)["trials"] if path.exists() else []
        runs.mkdir(parents=True, exist_ok=True)
        files.write_json(path, {"trials": [*others, *map(asdict, new.values())]})
    return found | new


def measured(run: Run, runs: Path) -> Trial:
    """Measure passes of a run's network, in as many processes as there are cores, then in half as many.

    runs: the runs directory, from which these processes know networks that no package has.
    """
    catalogue.keep(runs, run.network)
    flops = sum(row.flops for row in layers(run.network, run.outputs))
    images = min(run.recipe.batch_size, max(FEWEST, int(FLOPS / (3 * flops))))
    precisions = ("float32", "bfloat16") if cpu_has_bfloat16() else ("float32",)
    number = cores()
    with ProcessPoolExecutor(number, multiprocessing.get_context("spawn")) as pool:

        def together(processes: int, precisions: Sequence[str] = precisions) -> Seconds:
            passes = [pool.submit(passed, runs, run.network, run.outputs, images, precisions) for _ in range(processes)]
            every = [each.result() for each in passes]
            kinds = "forward", "train"
            return {
                dtype: {kind: sum(seconds[dtype][kind] for seconds in every) / processes for kind in kinds}
                for dtype in precisions
            }

        together(number, ())  # starts the processes
        return Trial(
            run.network,
            processor(),
            datetime.datetime.now(datetime.UTC).date().isoformat(),
            number,
            images,
            images * flops,
            together(number),
            together(max(1, number // 2)),
        )


def passed(runs: Path, network: str, outputs: int, images: int, precisions: Sequence[str]) -> Seconds:
    """A trial in this process."""
    from yosinski.training.timing import trial

    catalogue.read_all(runs)
    return trial(network, outputs, images, precisions)
