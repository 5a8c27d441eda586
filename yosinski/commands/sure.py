"""run --stop-when-sure: looks at the partial curves of a sweep while it is trained, and writes down what it stops."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yosinski import files, records
from yosinski.errors import BadInput
from yosinski.spec import COPIES, Run

PAUSE = 1.0  # seconds between two looks at the disk, at least
BUSY = 0.1  # share of the time that looking may take


def check(epsilon: float, wanted: Iterable[Run], runs: Path) -> None:
    """BadInput if nothing could ever be stopped: no such epsilon, no two choices, or never enough to learn from."""
    from analysis.early import needed

    if not 0 < epsilon < 1:
        raise BadInput(f"--stop-when-sure takes a regret in accuracy, between 0 and 1, not {epsilon:g}")
    choices: dict[tuple[Any, ...], set[tuple[Any, ...]]] = defaultdict(set)
    for run in wanted:
        if run.treatment in COPIES and run.parent is not None:
            alike = run.network, run.selffer, run.recipe.digest, run.examples_per_class
            choices[(*alike, run.parent.id, run.half.digest, run.seed)].add((run.cut, run.treatment, run.preserved))
    several = [(contest[:4], len(its)) for contest, its in choices.items() if len(its) > 1]
    if not several:
        raise BadInput(
            "--stop-when-sure compares copies of one base on one target, with several cuts or treatments: this sweep has "
            "no two of them"
        )
    enough = any(number > needed(its) for (_, its), number in Counter(several).items())
    if not enough and not _finished(runs, {run.id for run in wanted}):
        (_, its), number = Counter(several).most_common(1)[0]
        raise BadInput(
            f"--stop-when-sure learns from {needed(its)} finished contests (copies of one base on one target) with the "
            f"same {its} choices before it stops another one; this sweep has {number} in all, and {runs} no others: add "
            "splits or seeds"
        )


def _finished(runs: Path, wanted: set[str]) -> bool:
    """Whether there are finished contests outside of a sweep."""
    from analysis import frame
    from analysis.early import contests

    table = frame(runs)
    done = table.loc[(table["state"] == "done") & ~table["run"].isin(wanted)]
    try:
        return any(contest.finished for contest in contests(done))
    except BadInput:
        return False


@dataclass
class Watch:
    """Called again and again while a sweep is trained, it returns the ids of runs that need no more training.

    It looks when there are new evaluations. `analysis.early.sure` has the rule, and how many looks it allows.
    """

    runs: Path
    wanted: Sequence[Run]
    epsilon: float
    listed: Path  # the file that lists the sweep
    tell: Callable[[str], None]
    decided: set[str] = field(default_factory=set)
    _seen: int = -1  # bytes of all curves at the last look
    _next: float = 0.0

    @property
    def path(self) -> Path:
        """The file that says what was stopped, see docs/formats.md."""
        return self.runs / "stopped" / self.listed.name

    def __call__(self) -> set[str]:
        if time.monotonic() >= self._next and (size := self._size()) != self._seen:
            self._seen, began = size, time.monotonic()
            self._look()
            now = time.monotonic()
            self._next = now + max(PAUSE, (now - began) / BUSY)
        return self.decided

    def _size(self) -> int:
        curves = (records.folder(self.runs, run.id) / "curve.csv" for run in self.wanted)
        return sum(curve.stat().st_size for curve in curves if curve.exists())

    def _look(self) -> None:
        from analysis import frame
        from analysis.early import contests, sure

        table = frame(self.runs)
        ids = {run.id for run in self.wanted}
        try:
            found = contests(table.loc[table["run"].isin(ids) | (table["state"] == "done")])
        except BadInput:  # whatever could have been compared is stuck or blocked
            return
        for contest in found:
            open_ones = sorted(run for run in contest.runs.values() if run in ids - self.decided)
            answer = None if contest.finished or not open_ones else sure(contest, found, self.epsilon)
            if answer is None:
                continue
            its, looks = answer
            about = {name: contest.about[name] for name in ("split", "source", "target", "seed")}
            told = {name: getattr(its, name) for name in ("share", "best", "change", "regret", "learned", "same_split")}
            self._write({"time": time.time(), "epsilon": self.epsilon, "looks": looks, **about, **told, "runs": open_ones})
            self.decided |= set(open_ones)
            self.tell(
                f"decided: {contest}: {its.best} is best at {100 * its.share:.0f} % of the training, after {looks} looks; "
                f"expected regret {its.regret:.2g}, P(change) {its.change:.2g}"
            )

    def _write(self, stop: dict[str, Any]) -> None:
        """Add what is stopped to the file, unless an earlier command has stopped it at the same place."""
        try:
            stops = files.read_json(self.path)["stops"] if self.path.exists() else []
        except files.Damaged:
            files.set_aside(self.path)
            stops = []
        known = ("epsilon", "share", "runs")
        if not any(all(earlier[name] == stop[name] for name in known) for earlier in stops):
            sweep = files.read_json(self.listed)
            about = {name: sweep[name] for name in ("sweep", "parameters")}
            files.write_json(self.path, {**about, "stops": [*stops, stop]})
