"""Pruning: files of runs and stored features that are not needed any more; never results, claims or failures."""

import contextlib
import os
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from slurm import submission
from yosinski import files
from yosinski.errors import Failure
from yosinski.records import claims, specs
from yosinski.records import states as recorded

HOUR, DAY = 3600.0, 86400.0  # seconds
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")  # temporary files of yosinski.files
TOKEN = re.compile(r"[0-9a-f]{12}")
OF_LOCAL_JOB = re.compile(r"(\d+)_.+")  # submitit names a local job by its process


@dataclass(frozen=True)
class Surplus:
    """A file or directory that can be deleted. size: of all its files, in bytes."""

    path: Path
    size: int
    why: str


def prunable(runs: Path, live: Collection[str], now: float | None = None, stores: Path | None = None) -> list[Surplus]:
    """Files and directories that can be deleted, in order. BadInput if a file that decides this is damaged.

    live: tokens of the submissions with jobs that may still run; now: seconds since 1970; stores: directory of stored
    features, None to keep them.
    """
    states: dict[Path, recorded.State] = {path: recorded.state(path) for path in specs.scan(runs)}
    now = time.time() + claims.ahead(runs) if now is None else now
    reasons = [
        *_in_runs(states, now),
        *_of_submissions(runs, live, {path.name for path, state in states.items() if state in recorded.FINAL}, now),
        *_of_local_jobs(runs, {_job(path) for path, state in states.items() if state == "running"}, now),
        *(_features(stores, states) if stores else ()),
    ]
    return [Surplus(path, _size(path), why) for path, why in reasons]


def prune(runs: Path, live: Collection[str], agreed: Iterable[Surplus], stores: Path | None = None) -> list[Surplus]:
    """Delete the agreed items, unless they are needed again. Returns the deleted ones.

    Holds `submission.lock`, so that nothing is submitted meanwhile. Failure if something cannot be deleted.
    """
    paths = {surplus.path for surplus in agreed}
    with submission.lock(runs):
        gone = [surplus for surplus in prunable(runs, live, stores=stores) if surplus.path in paths]
        for path in (surplus.path for surplus in gone):
            try:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            except OSError as error:
                raise Failure(f"cannot delete {error.filename or path}: {error.strerror}") from error
    return gone


def by_reason(items: Iterable[Surplus]) -> dict[str, list[int]]:
    """The sizes of items by the reason for deleting them."""
    sizes: dict[str, list[int]] = defaultdict(list)
    for surplus in items:
        sizes[surplus.why].append(surplus.size)
    return dict(sizes)


def _in_runs(states: dict[Path, recorded.State], now: float) -> Iterator[tuple[Path, str]]:
    for folder, state in states.items():
        for name in sorted(os.listdir(folder)):
            if state in recorded.FINAL and name in ("checkpoint.pt", "progress.json"):
                yield folder / name, "checkpoint or heartbeat of a finished run"
            elif TEMPORARY.fullmatch(name) and state != "running" and _age(folder / name, now) > HOUR:
                yield folder / name, "file that was never completed"


def _of_submissions(runs: Path, live: Collection[str], finished: set[str], now: float) -> Iterator[tuple[Path, str]]:
    needed = set()  # by name: the runs directory may have had another path on the submitting machine
    for sent in submission.submissions(runs):
        if sent.token in live or not sent.index.keys() <= finished:
            needed.add(Path(str(sent.code["path"])).name)
            continue
        if submission.jobs(runs, sent.token).exists():
            yield submission.jobs(runs, sent.token), "logs and pickles of a finished submission"
        yield runs / "submissions" / f"{sent.token}.json", "note of a finished submission"
    for path in sorted([*submission.jobs(runs).glob("code-*"), *submission.jobs(runs).glob(".code-*")]):
        if path.name not in needed and _age(path, now) > HOUR:  # a recent one may be about to be submitted
            yield path, "code that no submission needs"
    noted = {sent.token for sent in submission.submissions(runs)}
    for path in sorted(submission.jobs(runs).glob("*")):
        if TOKEN.fullmatch(path.name) and path.name not in noted and _age(path, now) > DAY:
            yield path, "logs and pickles without a submission"


def _of_local_jobs(runs: Path, busy: set[str], now: float) -> Iterator[tuple[Path, str]]:
    files = defaultdict(list)
    for path in sorted(submission.jobs(runs).glob("*_*")):
        if (name := OF_LOCAL_JOB.fullmatch(path.name)) and path.is_file():
            files[name[1]].append(path)
    for job, paths in files.items():
        if job not in busy and min(_age(path, now) for path in paths) > DAY:
            yield from ((path, "log or pickle of a local job") for path in paths)


def _features(stores: Path, states: dict[Path, recorded.State]) -> Iterator[tuple[Path, str]]:
    """Features of bases in this directory that have no copy left to train; others may belong to other directories."""
    left = [path for path, state in states.items() if state not in recorded.FINAL]
    needed = {files.read_json(path / "run.json")["spec"]["parent"] for path in left}
    ours = {path.name for path in states} - needed
    for path in sorted((stores / "features").glob("*/features.json")):
        if files.read_json(path)["of"]["parent"] in ours:
            yield path.parent, "stored features of a base without unfinished copies"


def _job(path: Path) -> str:
    """The name of the job that trains a run."""
    claim = claims.read_claim(path, claims.latest_attempt(path))
    return claim["job"] if claim else ""


def _age(path: Path, now: float) -> float:
    with contextlib.suppress(FileNotFoundError):  # deleted just now
        return now - path.stat().st_mtime
    return 0.0


def _size(path: Path) -> int:
    inside = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in inside if file.is_file())
