"""Runs that somebody has claimed."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import synthetic

from yosinski.experiment.run import Run
from yosinski.records.attempts import Attempt, claim

A, B = synthetic.halves()


BASE = synthetic.base(A)


COPY = synthetic.copy(BASE, B, 3)


def mine(runs: Path, run: Run = BASE) -> Attempt:
    """Claim a run that must be free."""
    attempt = claim(runs, run)
    assert attempt is not None
    return attempt


def writes(text: str) -> Callable[[Path], None]:
    """Writes this text to a path."""

    def write(path: Path) -> None:
        path.write_text(text)

    return write


def set_age(path: Path, seconds: float) -> None:
    """Make a file look as if it was written so long ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def another_hosts_claim(path: Path, attempt: int = 1, age: float = 0.0, job: str = "") -> Path:
    """The claim of a process elsewhere, written `age` seconds ago."""
    path.mkdir(parents=True, exist_ok=True)
    claim_file = path / f"claim.{attempt}.json"
    content = {"attempt": attempt, "job": job, "released": False, "host": "elsewhere", "pid": 1, "started": 0.0}
    claim_file.write_text(json.dumps({"format": 1, **content}))
    set_age(claim_file, age)
    return claim_file


def change(path: Path, *keys: str, value: Any) -> None:
    """Set one value inside a JSON file."""
    content = json.loads(path.read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(content))
