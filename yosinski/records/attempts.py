"""Attempts: the right of one process to write to a run's directory.

An attempt claims the run by creating its claim file exclusively. All writing goes through it, and every write checks
that no later attempt has taken over. Files are complete when they appear (temporary name, fsync, rename);
`record.json` is written last.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yosinski.errors import Failure
from yosinski.experiment.run import Run
from yosinski.files import FORMAT, replace, write_json
from yosinski.records.claims import Ended, is_alive, latest_attempt, no_scheduler, this_process
from yosinski.records.specs import enrol, folder
from yosinski.records.states import FINAL, read_curve, state

CURVE = ("attempt", "step", "epoch", "learning_rate", "train_loss", "select_loss", "select_top1", "seconds")


class Superseded(Failure):
    """A later attempt has taken the run over: further writes of this process are refused."""


def claim(runs: Path, run: Run, job: str = "", ended: Ended = no_scheduler) -> "Attempt | None":
    """Claim a run for this process; None if it is done or another live process has it.

    job: the scheduler's name for this job. Earlier attempts of the same job, from before a requeue, count as ended.
    """
    path = enrol(runs, run)
    latest = latest_attempt(path)
    if state(path) in FINAL or (
        latest and is_alive(path, latest, lambda other: (other == job and job.startswith("slurm ")) or ended(other))
    ):
        return None
    attempt = Attempt(path, latest + 1)
    try:
        with (path / f"claim.{attempt.number}.json").open("x") as file:
            json.dump(
                {"format": FORMAT, "attempt": attempt.number, "job": job, "released": False, **this_process()}, file
            )
    except FileExistsError:
        return None
    if state(path) in FINAL:  # the earlier attempt finished just before our claim
        attempt.release()
        return None
    return attempt


def blocked(attempt: "Attempt", run: Run, runs: Path, ended: Ended = no_scheduler) -> bool:
    """Whether a copy cannot be cut from its base, because the base is not good. The copy's record then says so.

    A job's dependency in a plan does not prove that the base is good.
    """
    base = state(folder(runs, run.parent.id), ended) if run.parent else "done"
    if base != "done":
        attempt.finish({"state": "blocked", "reason": f"its base {run.parent} is {base}"})
    return base != "done"


@dataclass(frozen=True)
class Attempt:
    """The right to write to one run's directory, until a later attempt takes over."""

    path: Path
    number: int

    def check(self) -> None:
        """Raise Superseded if a later attempt has claimed the run."""
        latest = latest_attempt(self.path)
        if latest != self.number:
            raise Superseded(f"{self.path}: attempt {self.number} was taken over by attempt {latest}")

    def beat(self, step: int, steps: int, first_step: int = 0, began: float = 0.0) -> None:
        """Write a heartbeat with the present step, and the first step and time (seconds since 1970) of this attempt."""
        self.check()
        beat = {"attempt": self.number, "step": step, "steps": steps, "time": time.time()}
        beat |= {"first_step": first_step, "began": began}
        write_json(self.path / "progress.json", beat, durable=False)

    def show_life(self) -> None:
        """Write a heartbeat while waiting, with no progress."""
        self.check()
        os.utime(self.path / f"claim.{self.number}.json")

    def append(self, row: dict[str, float]) -> None:
        """Add one evaluation to the curve: the columns of `CURVE`, then others (of further tasks).

        A curve that an earlier version began keeps its columns.
        """
        self.check()
        with (self.path / "curve.csv").open("a+") as file:
            file.seek(0)
            begun = file.readline()
            names = begun.strip().split(",") if begun else [*CURVE, *(name for name in row if name not in CURVE)]
            if not begun:
                file.write(",".join(names) + "\n")
            file.write(",".join(str(self.number) if name == "attempt" else repr(row[name]) for name in names) + "\n")

    def rewind(self, step: int) -> None:
        """Drop the rows of the curve beyond a checkpoint's step."""
        self.check()
        rows = [row for row in read_curve(self.path) if row["step"] <= step]
        lines = [",".join(row) for row in rows[:1]]
        for row in rows:
            lines.append(",".join(str(int(row[k])) if k in ("attempt", "step") else repr(row[k]) for k in row))
        text = "".join(f"{line}\n" for line in lines)
        replace(self.path / "curve.csv", lambda temporary: _write_text(temporary, text))

    def save(self, name: str, write: Callable[[Path], None]) -> None:
        """Write a file (checkpoint or weights) atomically."""

        def write_if_current(temporary: Path) -> None:
            write(temporary)
            self.check()

        replace(self.path / name, write_if_current)

    def finish(self, record: dict[str, Any]) -> None:
        """Write the record, the last of all files, and delete temporary ones."""
        self.check()
        write_json(self.path / "record.json", {"attempts": self.number, **record})
        over = ("checkpoint.pt", "progress.json", "failure.json") if record["state"] in FINAL else ()
        for name in over:
            (self.path / name).unlink(missing_ok=True)
        self.release()

    def fail(self, error: str) -> None:
        """Write the reason of a failure. The run can be claimed again."""
        self.check()
        write_json(self.path / "failure.json", {"attempt": self.number, "error": error, "time": time.time()})
        self.release()

    def release(self) -> None:
        """Release the run, so that the next attempt need not wait until the heartbeat is old."""
        claim_file = self.path / f"claim.{self.number}.json"
        write_json(claim_file, {**json.loads(claim_file.read_text()), "released": True})


def _write_text(path: Path, text: str) -> None:
    path.write_text(text)
