"""Submissions: job arrays handed to SLURM, and which of their elements trains which runs.

A submission's file is written before sbatch is called and its jobs carry its token in their name. So a reply that was
lost is found again by name, and whoever looks next knows what is queued already.
"""

import contextlib
import fcntl
import getpass
import hashlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sweeps import cluster
from sweeps.cluster import Element, Limits
from sweeps.job import train_element
from sweeps.plan import Pack
from sweeps.profile import Profile
from yosinski import files
from yosinski.environment import Where
from yosinski.spec import Failure, Run

if TYPE_CHECKING:
    import submitit

# What sbatch says when a quota is used up: the same submission is accepted once some jobs have ended.
QUOTA = re.compile(r"MaxSubmit|GrpSubmit|MaxJobCount|temporarily unable to accept", re.IGNORECASE)
# SIGTERM and SIGUSR2 end a Python that is only starting; ignored until the job has its own handlers, they do not.
PATIENT = 'sh -c \'trap "" TERM USR2; exec "$0" "$@"\''


@dataclass(frozen=True)
class Array:
    """Packs that are submitted together, as the elements of one job array; all wait for the same bases."""

    packs: tuple[Pack, ...]
    parents: tuple[Run, ...]  # bases that have not ended yet


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
    """Make a folder that nobody else can read or write."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


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
    """The job that a run was last given to. element: None where SLURM knows nothing of it."""

    submission: Submission
    element: Element | None

    @property
    def live(self) -> bool:
        """Whether that job may still run."""
        return self.element is not None and self.element.live


def scheduled(runs: Path, wanted: Iterable[str], adopting: bool = False) -> dict[str, Scheduled]:
    """For those of the wanted run ids that were ever submitted, the last job, a live one if there is any.

    adopting: take over what sbatch accepted but nobody heard of, so that it can run.
    """
    wanted = set(wanted)
    chosen = [submission for submission in submissions(runs) if not wanted.isdisjoint(submission.index)]
    if not chosen:
        return {}
    shown = cluster.elements([submission.name for submission in chosen])
    found: dict[str, Scheduled] = {}
    for submission in chosen:
        elements = shown[submission.name]
        if submission.job is None and elements and adopting:
            submission = adopt(runs, submission, next(iter(elements.values())).job.partition("_")[0])
        for run_id in wanted & submission.index.keys():
            job = Scheduled(submission, elements.get(submission.index[run_id]))
            if run_id not in found or job.live or not found[run_id].live:
                found[run_id] = job
    return found


def adopt(runs: Path, submission: Submission, job: str) -> Submission:
    """Note the number of a job whose reply was lost, and put submitit's pickles where its elements look for them."""
    folder = jobs(runs, submission.token)
    pickles = [path for path in folder.glob("*.pkl") if "_" not in path.name]  # all alike, not yet given to anybody
    found = replace(submission, job=job)
    for ids in found.elements:
        target = folder / f"{found.element(ids[0])}_submitted.pkl"
        if pickles and not target.exists():
            shutil.copy(pickles[0], target.with_suffix(".tmp"))
            target.with_suffix(".tmp").rename(target)
    return write(runs, found)


@contextlib.contextmanager
def lock(runs: Path) -> Iterator[None]:
    """Let one process at a time submit to this runs directory; the next one then sees what is queued already."""
    path = runs / "submissions" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
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


def arrays(packs: Iterable[Pack], ended: Iterable[str], largest: int) -> list[Array]:
    """Group packs by the bases that they wait for, those that wait for none first; none has more than `largest`.

    ended: ids of bases that need not be waited for.
    """
    ended = set(ended)
    groups: dict[tuple[str, ...], list[Pack]] = defaultdict(list)
    waiting: dict[tuple[str, ...], tuple[Run, ...]] = {}
    for pack in packs:
        parents = tuple(parent for parent in pack.parents if parent.id not in ended)
        key = tuple(parent.id for parent in parents)
        groups[key].append(pack)
        waiting[key] = parents
    return [
        Array(tuple(group[at : at + largest]), waiting[key])
        for key, group in sorted(groups.items(), key=lambda item: len(item[0]) > 0)
        for at in range(0, len(group), largest)
    ]


def snapshot(runs: Path) -> dict[str, str | None]:
    """Copy the code that jobs import, so that they run what was submitted, whatever becomes of it meanwhile.

    Returns where it lies, the hash of its files and, if they are those of a commit, that.
    """
    root = Path(__file__).resolve().parent.parent
    found = [path for package in ("yosinski", "sweeps") for path in sorted((root / package).rglob("*"))]
    code = [path for path in found if path.is_file() and "__pycache__" not in path.parts]
    hashed = hashlib.sha256()
    for path in code:
        hashed.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    digest = hashed.hexdigest()[:16]
    target = closed(jobs(runs)) / f"code-{digest}"
    if not target.exists():
        temporary = Path(tempfile.mkdtemp(prefix=".code-", dir=jobs(runs)))
        for path in code:
            copy = temporary / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        with contextlib.suppress(OSError):  # somebody else was quicker
            temporary.rename(target)
        shutil.rmtree(temporary, ignore_errors=True)
    return {"path": str(target.absolute()), "hash": digest, "commit": _commit(root)}


def _commit(root: Path) -> str | None:
    """The commit that the code is at, None if it has been changed since or is not under git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    with contextlib.suppress(subprocess.CalledProcessError, FileNotFoundError):
        if Path(git("rev-parse", "--show-toplevel")) == root and not git("status", "--porcelain", "yosinski", "sweeps"):
            return git("rev-parse", "HEAD")
    return None


def draft(array: Array, sweep: str, profile: Profile, where: Where, code: dict[str, str | None]) -> Submission:
    """A submission that is not sent yet."""
    return Submission(
        token=uuid4().hex[:12],
        sweep=sweep,
        created=time.time(),
        user=getpass.getuser(),
        host=socket.gethostname(),
        profile=profile.as_json(),
        where={
            "stores": str(where.stores),
            "device": "cuda" if profile.gpus else "cpu",
            "precision": profile.precision,
            "threads": profile.threads,
            "change_arithmetic": where.change_arithmetic,
        },
        code=code,
        elements=tuple(tuple(run.id for run in pack.runs) for pack in array.packs),
    )


def waiting(submission: Submission, others: Iterable[str]) -> Submission:
    """The same, to start when these jobs have ended in whatever way: that is no proof that they left a good base."""
    return replace(submission, waits_for=tuple(sorted(set(others))))


def executor(runs: Path, submission: Submission, profile: Profile) -> "submitit.SlurmExecutor":
    """Submitit's executor with this profile's parameters."""
    import submitit

    folder = jobs(runs, submission.token)
    python = profile.python or shlex.quote(sys.executable)
    found = submitit.SlurmExecutor(folder=folder, python=f"{PATIENT} {python}")
    optional = {"partition": profile.partition, "account": profile.account, "qos": profile.qos}
    optional |= {"constraint": profile.constraint, "gpus_per_node": profile.gpus}
    optional |= {"mem": f"{profile.mebibytes('memory')}M" if profile.memory else None}
    waits_for = ":".join(("afterany", *submission.waits_for)) if submission.waits_for else None
    found.update_parameters(
        job_name=submission.name,
        comment=f"yosinski {submission.sweep}",
        time=profile.minutes("time"),
        cpus_per_task=profile.cpus,
        ntasks_per_node=1,
        signal_delay_s=profile.grace,
        array_parallelism=profile.throttle or len(submission.elements),
        dependency=waits_for,
        setup=[*profile.setup, f"export PYTHONPATH={shlex.quote(str(submission.code['path']))}"],
        srun_args=[f"--cpus-per-task={profile.cpus}"],  # since 22.05 srun no longer takes it from sbatch
        # Python looks for modules in the working directory first: it must not be a checkout.
        additional_parameters={"requeue": True, "chdir": str(folder), **profile.options},
        **{name: value for name, value in optional.items() if value},
    )
    return found


def script(runs: Path, submission: Submission, profile: Profile) -> str:
    """The batch script that submitit hands to sbatch."""
    made = executor(runs, submission, profile)
    if len(submission.elements) > 1:
        made.parameters["map_count"] = len(submission.elements)
    return made._make_submission_file_text(made._submitit_command_str, submission.token)


class Refused(Failure):
    """SLURM takes no more of this user's jobs now."""


def send(runs: Path, submission: Submission, profile: Profile) -> Submission:
    """Hand a submission to SLURM; Refused if a quota is used up, Failure for all else that sbatch complains of."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    closed(jobs(runs, submission.token))
    path = runs / "submissions" / f"{submission.token}.json"
    write(runs, submission)
    made = executor(runs, submission, profile)
    count = len(submission.elements)
    try:
        sent = made.map_array(train_element, [runs] * count, [submission.token] * count)
        return write(runs, replace(submission, job=sent[0].job_id.partition("_")[0]))
    except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError) as error:
        told = " ".join(str(error).split())
        # "Socket timed out" does not say that nothing was queued.
        found = _find(submission.name)
        if found is not None:
            return adopt(runs, submission, found)
        path.unlink()
        shutil.rmtree(jobs(runs, submission.token))
        complaint = told.partition("sbatch: error: ")[2] or told
        raise (Refused if QUOTA.search(told) else Failure)(f"sbatch: {complaint}") from error


def _find(name: str) -> str | None:
    """The number of the job of this name, None if there is none; NoAnswer where that cannot be found out."""
    for pause in (0, 1, 5):
        time.sleep(pause)
        with contextlib.suppress(cluster.NoAnswer):
            found = cluster.elements([name])[name]
            return next(iter(found.values())).job.partition("_")[0] if found else None
    raise cluster.NoAnswer(
        "SLURM does not answer, and may have queued the last array or not: give the same command again when it does"
    )


@dataclass(frozen=True)
class Sent:
    """What came of submitting arrays: those that are queued now, and those that SLURM had no room for."""

    queued: tuple[Submission, ...]
    deferred: tuple[Array, ...]
    reason: str = ""


def send_all(
    runs: Path,
    sweep: str,
    planned: Sequence[Array],
    profile: Profile,
    where: Where,
    flying: Mapping[str, str],
    limits: Limits,
) -> Sent:
    """Submit arrays in order, as far as there is room.

    flying: by id of a base that is queued or running, the job that trains it. An array of copies whose base found no
    room is deferred, too; so is what comes after a refusal.
    """
    flying, room = dict(flying), limits.room
    queued: list[Submission] = []
    deferred: list[Array] = []
    code = snapshot(runs) if planned else {}
    reason = ""
    for array in planned:
        fitting = array.packs[: int(min(room, len(array.packs)))]
        ready = not reason or reason.startswith("MaxSubmitJobs")
        if not fitting or not ready or any(parent.id not in flying for parent in array.parents):
            full = f"MaxSubmitJobs of {limits.submit} is reached"
            reason = reason or (full if not fitting else "their bases are not queued")
            deferred.append(array)
            continue
        fitted = Array(fitting, array.parents)
        submission = waiting(
            draft(fitted, sweep, profile, where, code), [flying[parent.id] for parent in array.parents]
        )
        try:
            queued.append(send(runs, submission, profile))
        except Refused as refusal:
            reason = str(refusal)
            deferred.append(array)
            continue
        room -= len(fitting)
        flying |= {run_id: queued[-1].element(run_id) for run_id in submission.index}
        if len(fitting) < len(array.packs):
            reason = f"MaxSubmitJobs of {limits.submit} is reached"
            deferred.append(Array(array.packs[len(fitting) :], array.parents))
    return Sent(tuple(queued), tuple(deferred), reason)
