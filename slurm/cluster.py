"""What SLURM says, and what it is asked for, through its own programs: never through a shell."""

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
NAMES_AT_ONCE = 500  # of jobs in one question
SACCT = ("--allusers", "--allocations", "--noheader", "--parsable2", "--starttime=1970-01-02")
SQUEUE = ("--array", "--noheader", "--states=all", "--format=%j|%i|%T|%r|%N")


class NoAnswer(Failure):
    """SLURM's controller does not answer."""


@dataclass(frozen=True)
class Element:
    """One job, or one element of a job array, as the queue or the accounting last showed it."""

    job: str  # 123_4, or 123 for a job that is no array
    state: str  # SLURM's word: PENDING, RUNNING, OUT_OF_MEMORY, ...
    reason: str = ""  # why it is pending
    node: str = ""
    exit: str = ""  # exit status and signal, as the accounting has them: 1:0

    @property
    def live(self) -> bool:
        """Whether it may still run."""
        return self.state in LIVE


def ask(*command: str) -> str:
    """What one of SLURM's programs prints; NoAnswer if its controller cannot be reached, Failure if it complains."""
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
    """How much may be queued: elements of an array, and jobs of this user (None: no limit is known)."""

    array: int
    submit: int | None
    queued: int  # this user's jobs and array elements now

    @property
    def room(self) -> float:
        """How many more elements this user may queue."""
        return float("inf") if self.submit is None else max(0, self.submit - self.queued)

    def after(self, more: int) -> "Limits":
        """The same once so many more are queued."""
        return replace(self, queued=self.queued + more)


def limits(account: str = "") -> Limits:
    """The cluster's MaxArraySize, and MaxSubmitJobs of the user's association where accounting knows one."""
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
    """For each node of a partition (of all where none is given) its host name and address."""
    return [set(line.split()) for line in _nodes(partition, "%n %o")]


def largest(partition: str) -> str:
    """For people: what the largest nodes of a partition have."""
    shown = [line.split() for line in _nodes(partition, "%c %m %G")]
    if not shown:
        return "the partition has no nodes"
    cpus, memory = max(int(row[0]) for row in shown), max(int(row[1].rstrip("+")) for row in shown)
    gpus = sorted({row[2] for row in shown} - {"(null)"})
    return f"its nodes have up to {cpus} CPUs, {memory} MB of memory, {' or '.join(gpus) or 'no GPUs'}"


def time_limit(partition: str) -> float:
    """How many minutes a partition (the default one where none is given) lets a job run."""
    chosen = [f"--partition={partition}"] if partition else []
    for line in ask("sinfo", "--noheader", *chosen, "--format=%P %l").splitlines():
        name, limit = line.split()
        if partition or name.endswith("*"):
            return float("inf") if limit in ("infinite", "n/a") else minutes(limit)
    return float("inf")


def minutes(text: str) -> int:
    """Minutes, rounded up, of a time as SLURM writes it: 90, 30:00, 1:30:00, 2-12, 2-12:00:00; ValueError otherwise."""
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
    """The jobs of these names: for each the array's elements by index (0 for a job that is no array).

    The queue knows those that wait, run or ended a few minutes ago; the accounting, where there is one, all others.
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
            if "[" not in job:  # elements that have not started yet are the queue's to tell
                state = state.split()[0]  # "CANCELLED by 1000"
                shown = "LOST" if state in LIVE else state  # if it were live, the queue would show it below
                by_name[name][_index(job)] = Element(job, shown, exit=code)
        for line in ask("squeue", *SQUEUE, some).splitlines():
            name, job, state, reason, node = line.split("|")
            before = by_name[name].get(_index(job))
            code = before.exit if before and state != "PENDING" else ""
            by_name[name][_index(job)] = Element(job, state, reason if state == "PENDING" else "", node, code)
    return by_name


def accounts() -> bool:
    """Whether this cluster keeps accounts."""
    return bool(shutil.which("sacct")) and not _settings().get("AccountingStorageType", "none").endswith("none")


def name() -> str:
    """The name of the cluster that this machine belongs to."""
    return _settings().get("ClusterName", "")


@cache
def _settings() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)\s*= (.*?)\s*$", ask("scontrol", "show", "config"), re.MULTILINE))


def _index(job: str) -> int:
    return int(job.partition("_")[2] or 0)


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs or elements; those that have ended meanwhile are no error."""
    for start in range(0, len(jobs), NAMES_AT_ONCE):
        ask("scancel", "--quiet", *jobs[start : start + NAMES_AT_ONCE])


# ------------------------------------------------------------------------------------------------- from inside a job


def this_job() -> tuple[str, int]:
    """What this process runs in, as Element.job names it, and its index in the array (0 if it is none)."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array is None:
        return os.environ["SLURM_JOB_ID"], 0
    index = int(os.environ["SLURM_ARRAY_TASK_ID"])
    return f"{array}_{index}", index


def state(job: str) -> str:
    """SLURM's word for the state of one job, GONE when the queue has forgotten it."""
    try:
        states = ask("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").split()
    except NoAnswer:
        raise
    except Failure:  # Invalid job id
        return "GONE"
    return states[0] if states else "GONE"


def claimant(job: str) -> str:
    """How a job of this cluster signs its claims: its number may be another job's on another cluster."""
    return signature(os.environ.get("SLURM_CLUSTER_NAME", ""), job)


def signature(cluster: str, job: str) -> str:
    """How a job of that cluster signs its claims."""
    return f"slurm {cluster} {job}"


def has_ended(name: str) -> bool:
    """Whether the job that signed a claim with this name has ended, as far as this cluster knows."""
    job = name.split()[-1]
    try:
        return name == claimant(job) and state(job) not in LIVE
    except Failure:
        return False


def requeue() -> None:
    """Put this job, which is about to end, back into the queue."""
    ask("scontrol", "requeue", os.environ["SLURM_JOB_ID"])
