"""Submissions as `yosinski submit` leaves them, of small made-up packs, and programs that stand in front of SLURM's."""

import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import synthetic

from slurm import sending, submission
from slurm.cluster import Element, Limits
from slurm.profile import Profile
from slurm.sending import Array
from slurm.submission import Submission
from sweeps.running.plan import Pack
from yosinski.environment import Where
from yosinski.experiment.run import Run

Answers = dict[str, dict[int, Element]]

A, B = synthetic.halves()
BASE_A, BASE_B = synthetic.base(A), synthetic.base(B)
A2B, B2B, A3B, B2A = (synthetic.copy(*of) for of in ((BASE_A, B, 2), (BASE_B, B, 2), (BASE_A, B, 3), (BASE_B, A, 2)))
PROFILE = Profile("mine")
CODE: dict[str, str | None] = {"path": "/code", "hash": "0" * 16, "commit": None}
FREE = Limits(1001, None, 0)


def alone(*runs: Run) -> tuple[Pack, ...]:
    """Packs of one run each."""
    return tuple(Pack((run,)) for run in runs)


def drafted(runs: Path, made: Sequence[Pack], profile: Profile = PROFILE, **changes: Any) -> Submission:
    """A submission of these packs that waits for nothing."""
    found = sending.draft(Array(tuple(made), ()), "figure2", profile, Where(runs, runs / "stores"), CODE)
    return replace(found, **changes)


def names(array: Array) -> list[str]:
    return [run.name for pack in array.packs for run in pack.runs]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def executable(path: Path, text: str = "") -> Path:
    """A program, in a folder that is made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def written(runs: Path, answers: Answers, made: Sequence[Pack], job: str, created: float, *states: str) -> Submission:
    """A submission on file, and SLURM's word for each of its elements (none: SLURM knows nothing of it)."""
    found = submission.write(runs, drafted(runs, made, job=job, created=created, token=f"t{job}"))
    elements = [found.element(pack.runs[0].id) for pack in made]
    answers[found.name] = {k: Element(elements[k], state) for k, state in enumerate(states)}
    return found
