"""Sending: group packs into job arrays, write their batch scripts through submitit, and hand them to sbatch."""

import contextlib
import getpass
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from slurm import cluster
from slurm.cluster import Limits
from slurm.job import train_element
from slurm.profile import Profile
from slurm.snapshot import snapshot
from slurm.submission import Submission, adopt, closed, jobs, write
from sweeps.running.plan import Pack
from yosinski.environment import Where
from yosinski.errors import Failure
from yosinski.experiment.run import Run

if TYPE_CHECKING:
    import submitit

# Messages of sbatch for an exhausted quota: the same submission will be accepted when some jobs have ended.
QUOTA = re.compile(r"MaxSubmit|GrpSubmit|MaxJobCount|temporarily unable to accept", re.IGNORECASE)
# SIGTERM and SIGUSR2 would end Python while it starts, so they are ignored until the job has its own handlers.
PATIENT = 'sh -c \'trap "" TERM USR2; exec "$0" "$@"\''


@dataclass(frozen=True)
class Array:
    """Packs that are submitted together as the elements of one job array; all wait for the same bases."""

    packs: tuple[Pack, ...]
    parents: tuple[Run, ...]  # unfinished bases
    processes: int = 1  # that train each of its packs, with a GPU each


def arrays(packs: Iterable[Pack], ended: Iterable[str], largest: int, gpus: int = 1) -> list[Array]:
    """Group packs by the bases that they wait for, with at most `largest` packs each; first those that need not wait.

    ended: ids of bases that are finished; gpus: of a base that several processes can train.
    """
    ended = set(ended)
    groups: dict[tuple[tuple[str, ...], int], list[Pack]] = defaultdict(list)
    waiting: dict[tuple[str, ...], tuple[Run, ...]] = {}
    for pack in packs:
        parents = tuple(parent for parent in pack.parents if parent.id not in ended)
        key = tuple(parent.id for parent in parents)
        groups[key, pack.processes(max(1, gpus))].append(pack)
        waiting[key] = parents
    return [
        Array(tuple(group[start : start + largest]), waiting[key], processes)
        for (key, processes), group in sorted(groups.items(), key=lambda item: len(item[0][0]) > 0)
        for start in range(0, len(group), largest)
    ]


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
            **({"processes": array.processes} if array.processes > 1 else {}),
        },
        code=code,
        elements=tuple(tuple(run.id for run in pack.runs) for pack in array.packs),
    )


def waiting(submission: Submission, others: Iterable[str]) -> Submission:
    """The submission with dependencies on the end of these jobs, successful or not."""
    return replace(submission, waits_for=tuple(sorted(set(others))))


def executor(runs: Path, submission: Submission, profile: Profile) -> "submitit.SlurmExecutor":
    """Submitit's executor with this profile's parameters."""
    import submitit

    folder = jobs(runs, submission.token)
    python = profile.python or shlex.quote(sys.executable)
    slurm_executor = submitit.SlurmExecutor(folder=folder, python=f"{PATIENT} {python}")
    optional = {"partition": profile.partition, "account": profile.account, "qos": profile.qos}
    gpus = submission.where.get("processes", 1) if profile.gpus else 0
    optional |= {"constraint": profile.constraint, "gpus_per_node": gpus}
    optional |= {"mem": f"{profile.mebibytes('memory')}M" if profile.memory else None}
    waits_for = ":".join(("afterany", *submission.waits_for)) if submission.waits_for else None
    slurm_executor.update_parameters(
        job_name=submission.name,
        comment=f"yosinski {submission.sweep}",
        time=profile.minutes("time"),
        cpus_per_task=profile.cpus,
        ntasks_per_node=1,
        signal_delay_s=profile.grace,
        array_parallelism=profile.throttle or len(submission.elements),
        dependency=waits_for,
        setup=[*profile.setup, f"export PYTHONPATH={shlex.quote(str(submission.code['path']))}"],
        srun_args=[f"--cpus-per-task={profile.cpus}"],  # since 22.05 srun does not inherit it from sbatch
        # Python looks for modules in the working directory first, so it must not be a checkout.
        additional_parameters={"requeue": True, "chdir": str(folder), **profile.options},
        **{name: value for name, value in optional.items() if value},
    )
    return slurm_executor


def script(runs: Path, submission: Submission, profile: Profile) -> str:
    """The batch script that submitit hands to sbatch."""
    slurm_executor = executor(runs, submission, profile)
    if len(submission.elements) > 1:
        slurm_executor.parameters["map_count"] = len(submission.elements)
    return slurm_executor._make_submission_file_text(slurm_executor._submitit_command_str, submission.token)


class Refused(Failure):
    """SLURM does not accept more jobs of this user now."""


def send(runs: Path, submission: Submission, profile: Profile) -> Submission:
    """Hand a submission to SLURM. Refused if a quota is exhausted, Failure for other errors of sbatch."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    closed(jobs(runs, submission.token))
    path = runs / "submissions" / f"{submission.token}.json"
    submission = write(runs, replace(submission, cluster=cluster.name()))
    slurm_executor = executor(runs, submission, profile)
    count = len(submission.elements)
    try:
        sent = slurm_executor.map_array(train_element, [runs] * count, [submission.token] * count)
        return write(runs, replace(submission, job=sent[0].job_id.partition("_")[0]))
    except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError) as error:
        message = " ".join(str(error).split())
        # After "Socket timed out" the job may have been queued nevertheless.
        job = _find(submission.name)
        if job is not None:
            print(f"that reply was lost, or wrong: {submission.name} is queued as job {job}", file=sys.stderr)
            return adopt(runs, submission, job)
        path.unlink()
        shutil.rmtree(jobs(runs, submission.token))
        complaint = message.partition("sbatch: error: ")[2] or message
        raise (Refused if QUOTA.search(message) else Failure)(f"sbatch: {complaint}") from error


def _find(name: str) -> str | None:
    """The number of the job with this name; None if there is none. NoAnswer if that is unknown."""
    for pause in (0, 1, 5):
        time.sleep(pause)
        with contextlib.suppress(cluster.NoAnswer):
            elements = cluster.elements([name])[name]
            return next(iter(elements.values())).job.partition("_")[0] if elements else None
    raise cluster.NoAnswer(
        "SLURM does not answer, and may have queued the last array or not: give the same command again when it does"
    )


@dataclass(frozen=True)
class Sent:
    """Result of submitting arrays: queued ones, and deferred ones for which SLURM had no room."""

    queued: tuple[Submission, ...] = ()
    deferred: tuple[Array, ...] = ()
    reason: str = ""  # for the first deferred array

    def __add__(self, later: "Sent") -> "Sent":
        """The sum of two results."""
        return Sent(self.queued + later.queued, self.deferred + later.deferred, self.reason or later.reason)


def send_all(
    runs: Path,
    sweep: str,
    planned: Sequence[Array],
    profile: Profile,
    where: Where,
    flying: Mapping[str, str],
    limits: Limits,
) -> Sent:
    """Submit arrays in order, as long as there is room.

    flying: jobs by id of the base that they train, for bases that are queued or running. Copies of a deferred base are
    deferred, too, and so is everything after a refusal.
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
            reason = reason or (full if not fitting else "their bases are not queued here")
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
        except Failure as failure:
            numbers = ", ".join(str(before.job) for before in queued)
            raise Failure(f"{failure}{f' (before that, these were queued: {numbers})' if numbers else ''}") from failure
        room -= len(fitting)
        flying |= {run_id: queued[-1].element(run_id) for run_id in submission.index}
        if len(fitting) < len(array.packs):
            reason = f"MaxSubmitJobs of {limits.submit} is reached"
            deferred.append(Array(array.packs[len(fitting) :], array.parents))
    return Sent(tuple(queued), tuple(deferred), reason)
