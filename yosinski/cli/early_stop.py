"""run --stop-when-sure: watches the partial curves of a running sweep, and records what it stops."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yosinski import files
from yosinski.errors import BadInput
from yosinski.experiment.run import Run
from yosinski.records import specs

if TYPE_CHECKING:
    from analysis.early.model import Contest

PAUSE = 1.0  # minimum seconds between two looks at the disk
BUSY = 0.1  # maximum share of time for looking


def check(epsilon: float, wanted: Sequence[Run], runs: Path) -> None:
    """BadInput if nothing can be stopped: invalid epsilon, fewer than two choices, or too few contests."""
    from analysis.early.model import contests, needed
    from analysis.frame import expected, frame

    if not 0 < epsilon < 1:
        raise BadInput(f"--stop-when-sure takes a regret in accuracy, between 0 and 1, not {epsilon:g}")
    planned = contests(expected(wanted))
    splits = {contest.about["split"] for contest in planned}
    further = [contest for contest in done(frame(runs)) if contest.about["split"] not in splits]
    most = 0
    for contest in planned:
        others = [other for other in (*planned, *further) if other.kind == contest.kind]
        elsewhere = sum(other.about["split"] != contest.about["split"] for other in others)
        if elsewhere >= needed(len(contest.runs)):
            return
        most = max(most, elsewhere)
    fewest = min(needed(len(contest.runs)) for contest in planned)
    raise BadInput(
        f"--stop-when-sure learns from {fewest} or more contests (copies of one base on one target) with the same "
        f"choices and recipe on other splits; this sweep and {runs} will have {most}: add splits"
    )


def done(table: Any) -> "list[Contest]":
    """The contests of finished runs, regardless of other planned runs for the same bases."""
    from analysis.early.model import comparable

    return comparable(table.loc[table["state"] == "done"])


@dataclass
class Watch:
    """Called regularly while a sweep is trained; returns the ids of runs that need no more training.

    It looks when there are new evaluations. `analysis.early.sure` has the rule, and the allowed number of looks.
    """

    runs: Path
    wanted: Sequence[Run]
    epsilon: float
    listed: Path  # the file with the sweep's runs
    tell: Callable[[str], None]
    decided: set[str] = field(default_factory=set)
    _seen: int = -1  # total bytes of the curves at the last look
    _next: float = 0.0

    @property
    def path(self) -> Path:
        """The file of stopped runs, see docs/formats.md."""
        return self.runs / "stopped" / self.listed.name

    def __call__(self) -> set[str]:
        if time.monotonic() >= self._next and (size := self._size()) != self._seen:
            self._seen, began = size, time.monotonic()
            self._look()
            now = time.monotonic()
            self._next = now + max(PAUSE, (now - began) / BUSY)
        return self.decided

    def _size(self) -> int:
        curves = (specs.folder(self.runs, run.id) / "curve.csv" for run in self.wanted)
        return sum(curve.stat().st_size for curve in curves if curve.exists())

    def _look(self) -> None:
        from analysis import frame
        from analysis.early.model import comparable, sure

        table = frame(self.runs)
        finished = done(table)
        ids = {run.id for run in self.wanted}
        going = set(table.loc[table["state"] != "done", "run"]) - self.decided
        for contest in comparable(table.loc[table["run"].isin(list(ids))]):
            open_ones = sorted(going & set(contest.runs.values()))
            answer = sure(contest, finished, self.epsilon) if open_ones else None
            if answer is None:
                continue
            verdict, looks = answer
            place = {name: contest.about[name] for name in ("split", "source", "target", "seed")}
            values = {name: getattr(verdict, name) for name in ("share", "best", "change", "regret", "learned")}
            self._write(
                {"time": time.time(), "epsilon": self.epsilon, "looks": looks, **place, **values, "runs": open_ones}
            )
            self.decided |= set(open_ones)
            self.tell(
                f"decided: {contest}: {verdict.best} is best at {100 * verdict.share:.0f} % of the training, after "
                f"{looks} looks; expected regret {verdict.regret:.2g}, P(change) {verdict.change:.2g}"
            )

    def _write(self, stop: dict[str, Any]) -> None:
        """Add a stop to the file, unless an earlier command has added it."""
        try:
            stops = files.read_json(self.path)["stops"] if self.path.exists() else []
        except files.Damaged:
            files.set_aside(self.path)
            stops = []
        keys = ("epsilon", "share", "runs")
        if not any(all(earlier[name] == stop[name] for name in keys) for earlier in stops):
            sweep = files.read_json(self.listed)
            sweep_values = {name: sweep[name] for name in ("sweep", "parameters")}
            files.write_json(self.path, {**sweep_values, "stops": [*stops, stop]})
