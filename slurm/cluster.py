"""Calls of SLURM's programs, never through a shell, and parsing of their output."""

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from yosinski.errors import BadInput, Failure

PROGRAMS = ("sbatch", "squeue", "scontrol", "scancel", "srun")
# States in which a job may still run, or run again; all others are final.
LIVE = {
    *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"),
    *("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
}
AT_WORK = {"RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "RESIZING"}
PAUSED = {"SUSPENDED", "STOPPED"}
SILENT = "[Uu]nable to contact|Connection refused|Socket timed out|Zero Bytes|[Cc]ommunication|configuration source"
NAMES_AT_ONCE = 500  # maximum number of job names in one query
SACCT = ("--allusers", "--allocations", "--noheader", "--parsable2", "--starttime=1970-01-02")
SQUEUE = ("--array", "--noheader", "--states=all", "--format=%j|%i|%T|%r|%N")


class NoAnswer(Failure):
    """SLURM's controller does not answer."""


@dataclass(frozen=True)
class Element:
    """A job, or an element of a job array, as last shown by the queue or the accounting."""

    job: str  # 123_4, or 123 for a job without array
    state: str  # SLURM's name: PENDING, RUNNING, OUT_OF_MEMORY, ...
    reason: str = ""  # why it is pending
    node: str = ""
    exit: str = ""  # exit status and signal from the accounting: 1:0

    @property
    def live(self) -> bool:
        """Whether it may still run."""
        return self.state in LIVE


def ask(*command: str) -> str:
    """The output of one of SLURM's programs. NoAnswer if its controller cannot be reached, Failure for other errors."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except subprocess.TimeoutExpired as error:
        raise NoAnswer(f"{command[0]} had no answer in {error.timeout:.0f} s") from error
    message = " ".join(done.stderr.split())
    if done.returncode:
        if re.search(SILENT, message):
            raise NoAnswer(
                f"the SLURM controller does not answer ({message}); what is recorded is kept, try again later"
            )
        raise Failure(f"{command[0]}: {message or f'exit status {done.returncode}'}")
    return done.stdout


def there() -> bool:
    """Whether SLURM's programs are on this machine."""
    return all(shutil.which(program) for program in PROGRAMS)


def check_there() -> None:
    """BadInput if there is no SLURM on this machine, or if its controller does not answer."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        raise BadInput(
            f"no SLURM on this machine ({', '.join(missing)} not found): submit from a login node, "
            "or train here with `yosinski run`"
        )
    if subprocess.run(["scontrol", "ping"], capture_output=True, check=False).returncode:
        raise BadInput(
            "the SLURM controller does not answer (scontrol ping says it is down): try again later; "
            "what is recorded is kept, and jobs that run go on"
        )


@dataclass(frozen=True)
class Limits:
    """Limits of the queue: elements of an array, and jobs of this user (None: unknown or unlimited)."""

    array: int
    submit: int | None
    queued: int  # present number of this user's jobs and array elements

    @property
    def room(self) -> float:
        """Number of elements that this user can still queue."""
        return float("inf") if self.submit is None else max(0, self.submit - self.queued)

    def after(self, more: int) -> "Limits":
        """The limits after queueing this number of further elements."""
        return replace(self, queued=self.queued + more)


def limits(account: str = "") -> Limits:
    """The cluster's MaxArraySize, and MaxSubmitJobs of the user's association if the accounting has one."""
    queued = ask("squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i").split()
    return Limits(int(_settings().get("MaxArraySize", 1001)), _max_submit(account), len(queued))


def _max_submit(account: str) -> int | None:
    command = ["sacctmgr", "--noheader", "--parsable2", "show", "association"]
    command += ["where", f"user={getpass.getuser()}", *([f"account={account}"] if account else [])]
    command += [f"cluster={name()}"] if name() else []
    try:
        lines = ask(*command, "format=maxsubmitjobs,grpsubmitjobs").splitlines()
    except (Failure, FileNotFoundError):
        return None  # no accounting here
    maxima = [int(text) for line in lines for text in line.split("|") if text.isdecimal()]
    return min(maxima, default=None)


def partitions() -> list[str]:
    """The partitions of the cluster."""
    return sorted({line.strip() for line in ask("sinfo", "--all", "--noheader", "--format=%R").splitlines()})


def hosts(partition: str) -> list[set[str]]:
    """Host name and address of each node in a partition; without a partition, of all nodes."""
    return [set(line.split()) for line in _nodes(partition, "%n %o")]


def largest(partition: str) -> str:
    """Text on the resources of a partition's largest nodes."""
    shown = [line.split() for line in _nodes(partition, "%c %m %G")]
    if not shown:
        return "the partition has no nodes"
    cpus, memory = max(int(row[0]) for row in shown), max(int(row[1].rstrip("+")) for row in shown)
    gpus = sorted({row[2] for row in shown} - {"(null)"})
    return f"its nodes have up to {cpus} CPUs, {memory} MB of memory, {' or '.join(gpus) or 'no GPUs'}"


def time_limit(partition: str) -> float:
    """Time limit of a partition (by default the default partition) in minutes."""
    chosen = [f"--partition={partition}"] if partition else []
    for line in ask("sinfo", "--noheader", *chosen, "--format=%P %l").splitlines():
        name, limit = line.split()
        if partition or name.endswith("*"):
            return float("inf") if limit in ("infinite", "n/a") else minutes(limit)
    return float("inf")


def minutes(text: str) -> int:
    """Minutes, rounded up, of a time in SLURM's formats: 90, 30:00, 1:30:00, 2-12, 2-12:00:00; else ValueError."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not match:
        raise ValueError(text)
    days, *parts = match.groups()
    first, second, third = (int(part or 0) for part in parts)
    if days is not None:
        seconds = 86400 * int(days) + 3600 * first + 60 * second + third  # days-hours[:minutes[:seconds]]
    elif parts[2] is not None:
        seconds = 3600 * first + 60 * second + third
    else:
        seconds = 60 * first + second  # minutes[:seconds]
    return -(-seconds // 60)


def _nodes(partition: str, columns: str) -> list[str]:
    chosen = f"--partition={partition}" if partition else "--all"
    return ask("sinfo", chosen, "--Node", "--noheader", f"--format={columns}").splitlines()


def elements(names: Iterable[str]) -> dict[str, dict[int, Element]]:
    """The jobs with these names: for each name the array's elements by index (0 for a job without array).

    The queue knows jobs that wait, run or ended a few minutes ago; the accounting, if there is one, knows the others.
    NoAnswer if the controller cannot be reached.
    """
    wanted = sorted(names)
    by_name: dict[str, dict[int, Element]] = {name: {} for name in wanted}
    for start in range(0, len(wanted), NAMES_AT_ONCE):
        some = f"--name={','.join(wanted[start : start + NAMES_AT_ONCE])}"
        for line in (
            ask("sacct", *SACCT, "--format=JobName,JobID,State,ExitCode", some).splitlines() if accounts() else ()
        ):
            name, job, state, code = line.split("|")
            if "[" not in job:  # elements that have not started are only in the queue
                state = state.split()[0]  # "CANCELLED by 1000"
                ended_state = "LOST" if state in LIVE else state  # a live one is in the queue, read below
                by_name[name][_index(job)] = Element(job, ended_state, exit=code)
        for line in ask("squeue", *SQUEUE, some).splitlines():
            name, job, state, reason, node = line.split("|")
            before = by_name[name].get(_index(job))
            code = before.exit if before and state != "PENDING" else ""
            by_name[name][_index(job)] = Element(job, state, reason if state == "PENDING" else "", node, code)
    return by_name


def accounts() -> bool:
    """Whether this cluster has accounting."""
    return bool(shutil.which("sacct")) and not _settings().get("AccountingStorageType", "none").endswith("none")


def name() -> str:
    """The name of this machine's cluster."""
    return _settings().get("ClusterName", "")


@cache
def _settings() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)\s*= (.*?)\s*$", ask("scontrol", "show", "config"), re.MULTILINE))


def _index(job: str) -> int:
    return int(job.partition("_")[2] or 0)


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs or elements. Jobs that have ended meanwhile cause no error."""
    for start in range(0, len(jobs), NAMES_AT_ONCE):
        ask("scancel", "--quiet", *jobs[start : start + NAMES_AT_ONCE])


# -------------------------------------------------------------------------------------------------------- inside a job


def this_job() -> tuple[str, int]:
    """The job of this process, as in Element.job, and its index in the array (0 without array)."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array is None:
        return os.environ["SLURM_JOB_ID"], 0
    index = int(os.environ["SLURM_ARRAY_TASK_ID"])
    return f"{array}_{index}", index


def state(job: str) -> str:
    """SLURM's name for the state of a job; GONE if the queue does not know it any more."""
    try:
        states = ask("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").split()
    except NoAnswer:
        raise
    except Failure:  # Invalid job id
        return "GONE"
    return states[0] if states else "GONE"


def claimant(job: str) -> str:
    """The signature of this cluster's job in claims. It includes the cluster, because numbers are not unique."""
    return signature(os.environ.get("SLURM_CLUSTER_NAME", ""), job)


def signature(cluster: str, job: str) -> str:
    """The signature of a cluster's job in claims."""
    return f"slurm {cluster} {job}"


def has_ended(name: str) -> bool:
    """Whether the job with this signature has ended, as far as this cluster knows."""
    job = name.split()[-1]
    try:
        return name == claimant(job) and state(job) not in LIVE
    except Failure:
        return False


def requeue() -> None:
    """Requeue this job, which is about to end."""
    ask("scontrol", "requeue", os.environ["SLURM_JOB_ID"])
