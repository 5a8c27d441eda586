"""A sweep on a SLURM that says what it is told to say, and what is then seen of its runs."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import synthetic

from slurm import sending, status, submission
from slurm.cluster import Element
from slurm.profile import Profile
from slurm.sending import Array
from slurm.status import Sight
from slurm.submission import Submission
from sweeps.running.plan import Pack
from yosinski import files
from yosinski.environment import Where
from yosinski.experiment.run import Run
from yosinski.records import attempts, specs

A, B = synthetic.halves()


BASE_A, BASE_B = synthetic.base(A), synthetic.base(B)


A2B, A3B, B2B, B2B_TUNED = (
    synthetic.copy(BASE_A, B, 2),
    synthetic.copy(BASE_A, B, 3),
    synthetic.copy(BASE_B, B, 2),
    synthetic.copy(BASE_B, B, 2, plus=True),
)


RUNS = BASE_A, BASE_B, A2B, A3B, B2B, B2B_TUNED


PROFILE = Profile("mine", memory="4G", time="1:00:00", pack=14)


def alone(*runs: Run) -> list[tuple[Run, ...]]:
    """Packs of one run each."""
    return [(run,) for run in runs]


@dataclass
class Sweep:
    """A runs directory, and a SLURM that says what it is told to say."""

    runs: Path
    answers: dict[str, dict[int, Element]] = field(default_factory=dict)
    created: float = 0.0

    def submitted(
        self, job: str, packs: Sequence[tuple[Run, ...]], *elements: str | Element, profile: Profile = PROFILE
    ) -> Submission:
        """A submission, and for each of its elements SLURM's word or all that SLURM knows of it."""
        self.created += 1
        array = Array(tuple(map(Pack, packs)), ())
        code: dict[str, str | None] = {"path": "/code", "hash": "", "commit": None}
        made = sending.draft(array, "figure2", profile, Where(self.runs, self.runs), code)
        made = submission.write(self.runs, replace(made, token=f"t{job}", job=job, created=self.created))
        names = [made.element(ids[0]) for ids in made.elements]
        self.answers[made.name] = {
            k: Element(names[k], word, exit="1:0" if word == "FAILED" else "") if isinstance(word, str) else word
            for k, word in enumerate(elements)
        }
        return made

    def claimed(self, run: Run, job: str, age: float = 0.0, attempt: int = 1) -> Path:
        """A claim of a job on another host, whose last heartbeat was so many seconds ago."""
        path = specs.enrol(self.runs, run)
        who = {"attempt": attempt, "job": f"slurm  {job}", "released": False}
        files.write_json(path / f"claim.{attempt}.json", {**who, "host": "node7 pid:[1]", "pid": 1, "started": 0.0})
        then = time.time() - age
        os.utime(path / f"claim.{attempt}.json", (then, then))
        return path

    def log(self, submitted: Submission, job: str, *lines: str) -> None:
        """What a job has written to its log of errors."""
        folder = submission.jobs(self.runs, submitted.token)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{job}_0_log.err").write_text("".join(f"{line}\n" for line in lines))

    def look(self, *runs: Run) -> list[Sight]:
        """What became of these runs (all where none is named)."""
        seen, silent = status.sights(self.runs, status.entries(runs or RUNS))
        assert silent == ""
        return seen

    def one(self, run: Run) -> Sight:
        """What became of one run, of which the base is known, too."""
        return self.look(*([run.parent] if run.parent else []), run)[-1]

    def states(self, *runs: Run) -> list[str]:
        return [sight.state for sight in self.look(*runs)]


def mine(runs: Path, run: Run, job: str = "") -> attempts.Attempt:
    """Claim a run that must be free."""
    attempt = attempts.claim(runs, run, job)
    assert attempt is not None
    return attempt


def state_and_cause(sight: Sight) -> tuple[str, str]:
    return sight.state, sight.cause
