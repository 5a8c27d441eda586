"""Training made up: what `yosinski run` would leave, with accuracies that a test chooses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import synthetic

from sweeps.running.plan import parents_first, plan
from yosinski.cli.prepare import list_runs, sweep_runs
from yosinski.experiment.run import Run


class Trainer:
    """Trains by making records up: `points` above 50 % by treatment and cut, with normal noise of `error` points.

    fails: which runs get stuck. stop_after: so many runs more, then it is stopped as by Ctrl-C.
    """

    def __init__(self) -> None:
        self.points: Callable[[Run], float] = lambda run: {("tuned", 4): 10.0}.get(
            (run.treatment, run.cut), -5.0 * run.cut
        )
        self.error = 0.1
        self.fails: Callable[[Run], bool] = lambda run: False
        self.stop_after: int | None = None
        self.trained: list[Run] = []

    def __call__(self, options: Any) -> int:
        runs, parameters = sweep_runs(options)
        list_runs(options.runs, options.sweep, parameters, runs)
        print(f"plan of {len(parents_first(runs))} runs")
        for run in plan(runs, options.runs, 1).left:
            if self.stop_after is not None and len(self.trained) >= self.stop_after:
                raise KeyboardInterrupt
            noise = self.error * np.random.default_rng(int(run.id, 16)).standard_normal()
            top1 = 0.5 + (self.points(run) + noise) / 100
            state: dict[str, Any] = {"state": "stuck", "chance": 0.01} if self.fails(run) else {}
            classes = len(run.half.labels)
            right = {"images": [100] * classes, "correct": [round(100 * top1)] * classes}
            per_class = {"select": right}
            if len(run.tasks) > 1:  # each as good as the first
                metrics = {"train_loss": 0.1, "select_loss": 1.0, "select_top1": top1, "test_top1": top1}
                state["tasks"] = [{"state": "done", "metrics": metrics, "per_class": per_class} for _ in run.partners]
            synthetic.finish(options.runs, run, top1, [top1], **state, seconds=0.0, per_class=per_class)
            self.trained.append(run)
        return 0
