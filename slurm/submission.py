"""Submissions: what is written of job arrays that were handed to SLURM, and which of their elements trains which runs.

A submission's file is written before sbatch is called and its jobs carry its token in their name. So a reply that was
lost is found again by name, and whoever looks next knows what is queued already.
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
    """What `submissions/<token>.json` holds."""

    token: str
    sweep: str
    created: float  # seconds since 1970
    user: str
    host: str
    profile: dict[str, Any]
    where: dict[str, Any]  # of the jobs, but for the runs directory
    code: dict[str, str | None]  # the snapshot that they import
    elements: tuple[tuple[str, ...], ...]  # run ids by index in the array
    waits_for: tuple[str, ...] = ()  # SLURM's jobs of the bases
    job: str | None = None  # SLURM's number; None: no reply yet
    cluster: str = ""  # to which it was handed; only that one knows its jobs

    @property
    def name(self) -> str:
        """The jobs' name, by which they are found."""
        return f"yosinski-{self.token}"

    @cached_property
    def index(self) -> dict[str, int]:
        """Which element trains which run."""
        return {run_id: k for k, ids in enumerate(self.elements) for run_id in ids}

    def element(self, run_id: str) -> str:
        """SLURM's name of the element that trains this run."""
        return f"{self.job}_{self.index[run_id]}" if len(self.elements) > 1 else str(self.job)


def jobs(runs: Path, token: str = "") -> Path:
    """Where submitit keeps its pickles and the logs of a submission: closed to others, for pickles are executed."""
    return runs / "jobs" / token


def closed(folder: Path) -> Path:
    """Make a folder that nobody else can read or write; BadInput if it is somebody else's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise somebody_elses(folder)
    folder.chmod(0o700)
    return folder


def somebody_elses(path: Path) -> BadInput:
    """What is said to a second user: jobs run under one name, and only that one can read their pickles."""
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
    """The job that a run was last given to. element: None where SLURM knows nothing of it.

    elsewhere: the name of another cluster, to which it was given, and which cannot be asked from here.
    """

    submission: Submission
    element: Element | None
    elsewhere: str = ""

    @property
    def live(self) -> bool:
        """Whether that job may still run."""
        return bool(self.elsewhere) or (self.element is not None and self.element.live)


def scheduled(runs: Path, wanted: Iterable[str], adopting: bool = False) -> dict[str, Scheduled]:
    """For those of the wanted run ids that were ever submitted, the last job, a live one if there is any.

    adopting: take over what sbatch accepted but nobody heard of, so that it can run.
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
    """Note the number of a job whose reply was lost, and put submitit's pickles where its elements look for them."""
    folder = jobs(runs, submission.token)
    pickles = [path for path in folder.glob("*.pkl") if "_" not in path.name]  # all alike, not yet given to anybody
    adopted = replace(submission, job=job)
    for ids in adopted.elements:
        target = folder / f"{adopted.element(ids[0])}_submitted.pkl"
        if pickles and not target.exists():
            shutil.copy(pickles[0], target.with_suffix(".tmp"))
            target.with_suffix(".tmp").rename(target)
    return write(runs, adopted)


@contextlib.contextmanager
def lock(runs: Path) -> Iterator[None]:
    """Let one process at a time submit to this runs directory; the next one then sees what is queued already."""
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
