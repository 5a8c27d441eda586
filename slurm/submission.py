"""Submissions: files on the job arrays that were handed to SLURM, with the runs of every element.

A submission's file is written before sbatch is called, and its jobs have its token in their name. So a job is found by
name if sbatch's reply was lost, and every process knows what is queued.
"""

import contextlib
import fcntl
import getpass
import os
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from slurm import cluster
from slurm.cluster import Element
from yosinski import files
from yosinski.errors import BadInput


@dataclass(frozen=True)
class Submission:
    """The content of `submissions/<token>.json`."""

    token: str
    sweep: str
    created: float  # seconds since 1970
    user: str
    host: str
    profile: dict[str, Any]
    where: dict[str, Any]  # of the jobs, without the runs directory
    code: dict[str, str | None]  # of the snapshot that they import
    elements: tuple[tuple[str, ...], ...]  # run ids by index in the array
    waits_for: tuple[str, ...] = ()  # SLURM's jobs of the bases
    job: str | None = None  # SLURM's number; None: no reply yet
    cluster: str = ""  # name of the cluster, which alone knows its jobs

    @property
    def name(self) -> str:
        """The jobs' name, used to find them."""
        return f"yosinski-{self.token}"

    @cached_property
    def index(self) -> dict[str, int]:
        """The index of the element for each run."""
        return {run_id: k for k, ids in enumerate(self.elements) for run_id in ids}

    def element(self, run_id: str) -> str:
        """SLURM's name for the element that trains this run."""
        return f"{self.job}_{self.index[run_id]}" if len(self.elements) > 1 else str(self.job)


def jobs(runs: Path, token: str = "") -> Path:
    """Directory of submitit's pickles and logs of a submission. Only the user has access: pickles are executed."""
    return runs / "jobs" / token


def closed(folder: Path) -> Path:
    """Make a folder without access for other users. BadInput if it belongs to another user."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise somebody_elses(folder)
    folder.chmod(0o700)
    return folder


def somebody_elses(path: Path) -> BadInput:
    """The error for a second user: all jobs run under one user, who alone can read their pickles."""
    return BadInput(
        f"{path} is {path.owner()}'s, who alone may submit for this runs directory: "
        "use one of your own, and bring both together with `yosinski merge`"
    )


def write(runs: Path, submission: Submission) -> Submission:
    """Write a submission's file."""
    files.write_json(runs / "submissions" / f"{submission.token}.json", asdict(submission))
    return submission


def read(path: Path) -> Submission:
    """Read a submission's file."""
    value = files.read_json(path)
    try:
        elements = tuple(map(tuple, value.pop("elements")))
        return Submission(
            **{k: v for k, v in value.items() if k not in ("format", "waits_for")},
            elements=elements,
            waits_for=tuple(value["waits_for"]),
        )
    except (KeyError, TypeError) as error:
        raise files.Damaged(path) from error


def submissions(runs: Path) -> list[Submission]:
    """All submissions of a runs directory, the oldest first."""
    return sorted(map(read, (runs / "submissions").glob("*.json")), key=lambda submission: submission.created)


@dataclass(frozen=True)
class Scheduled:
    """The last job of a run. element: None if SLURM does not know it.

    elsewhere: name of another cluster that has the job, and that cannot be queried from here.
    """

    submission: Submission
    element: Element | None
    elsewhere: str = ""

    @property
    def live(self) -> bool:
        """Whether the job may still run."""
        return bool(self.elsewhere) or (self.element is not None and self.element.live)


def scheduled(runs: Path, wanted: Iterable[str], adopting: bool = False) -> dict[str, Scheduled]:
    """The last job of every submitted run among these ids; a live job if there is one.

    adopting: complete submissions whose reply from sbatch was lost, so that their jobs can run.
    """
    wanted = set(wanted)
    chosen = [submission for submission in submissions(runs) if not wanted.isdisjoint(submission.index)]
    if not chosen:
        return {}
    elsewhere = {submission.cluster for submission in chosen} - {"", cluster.name()}
    shown = cluster.elements([submission.name for submission in chosen if submission.cluster not in elsewhere])
    last_jobs: dict[str, Scheduled] = {}
    for submission in chosen:
        elements = shown.get(submission.name, {})
        place = submission.cluster if submission.cluster in elsewhere else ""
        if submission.job is None and elements and adopting:
            submission = adopt(runs, submission, next(iter(elements.values())).job.partition("_")[0])
        for run_id in wanted & submission.index.keys():
            job = Scheduled(submission, elements.get(submission.index[run_id]), place)
            if run_id not in last_jobs or job.live or not last_jobs[run_id].live:
                last_jobs[run_id] = job
    return last_jobs


def adopt(runs: Path, submission: Submission, job: str) -> Submission:
    """Write the number of a job whose reply was lost, and put submitit's pickles where its elements expect them."""
    folder = jobs(runs, submission.token)
    pickles = [path for path in folder.glob("*.pkl") if "_" not in path.name]  # not assigned to elements yet
    adopted = replace(submission, job=job)
    for ids in adopted.elements:
        target = folder / f"{adopted.element(ids[0])}_submitted.pkl"
        if pickles and not target.exists():
            shutil.copy(pickles[0], target.with_suffix(".tmp"))
            target.with_suffix(".tmp").rename(target)
    return write(runs, adopted)


@contextlib.contextmanager
def lock(runs: Path) -> Iterator[None]:
    """Lock submissions to this runs directory for one process; the next one then sees what is queued."""
    path = runs / "submissions" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        opened = path.open("a+")
    except PermissionError as error:
        raise somebody_elses(path if path.exists() else path.parent) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            print(f"waiting for another submission to this directory, by {file.read().strip()}", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{getpass.getuser()} on {socket.gethostname()}")
        file.flush()
        yield
