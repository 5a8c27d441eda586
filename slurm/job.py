"""A job on a cluster: one element of a submission, requeued until its runs have ended."""

import fcntl
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from slurm import cluster
from sweeps.ends import SAYS
from sweeps.job import asked_to_stop, train
from yosinski import files
from yosinski.data import store
from yosinski.data.half import Half
from yosinski.environment import Where
from yosinski.errors import BadInput, Failure
from yosinski.records import attempts, specs, states

STARTED = f"{SAYS}started "  # first line of each execution of a job in its log


def train_element(runs: Path, token: str) -> None:
    """A job on a cluster: the element of a submission that SLURM's variables name.

    SIGUSR2 (at the time limit, or before preemption) and SIGTERM request that it saves checkpoints and ends.
    """
    stopping = asked_to_stop()
    job, index = cluster.this_job()
    submission = files.read_json(runs / "submissions" / f"{token}.json")
    ids = tuple(submission["elements"][index])
    where = Where(runs, **{**submission["where"], "stores": Path(submission["where"]["stores"])})
    print(f"{STARTED}{job} on {os.uname().nodename}", file=sys.stderr, flush=True)
    print(f"{job} on {os.uname().nodename}: {' '.join(specs.load(runs, run_id).name for run_id in ids)}", flush=True)
    left = trainable(runs, ids, cluster.claimant(job))
    if left and submission["profile"]["staging"]:
        halves, staging = specs.load(runs, left[0]).halves, submission["profile"]["staging"]
        staged = [stage(half, where.stores, staging) for half in halves]  # in one directory
        where = replace(where, stores=staged[0])
    if left:
        train(left, where, cluster.claimant(job), stopping, cluster.has_ended)
    ended = [states.state(specs.folder(runs, run_id)) in (*states.FINAL, "blocked") for run_id in ids]
    print(f"{job}: {sum(ended)} of {len(ended)} ended", flush=True)
    if not all(ended):
        queue_again(job, "was stopped" if stopping() else "waits for another process that trains the rest, or its base")
    sys.exit(0)  # skips submitit's pickle of a result: results are in the records


def trainable(runs: Path, ids: tuple[str, ...], job: str) -> tuple[str, ...]:
    """Mark copies without a good base as blocked, before torch is loaded. Returns the others."""
    left = []
    for run in [specs.load(runs, run_id) for run_id in ids]:
        base = states.state(specs.folder(runs, run.parent.id), cluster.has_ended) if run.parent else "done"
        attempt = None if base in ("done", "running") else attempts.claim(runs, run, job, cluster.has_ended)
        if attempt is None or not attempts.blocked(attempt, run, runs, cluster.has_ended):
            left.append(run.id)
    return tuple(left)


def queue_again(job: str, why: str) -> None:
    """Requeue the job, unless SLURM has already decided: a cancelled job must not return.

    If the controller does not answer, this repeats until the grace time ends.
    """
    while True:
        try:
            state = cluster.state(job)
            if state == "RUNNING":
                cluster.requeue()
            print(f"{job} {why}; {'queued again' if state == 'RUNNING' else state.lower()}", flush=True)
            return
        except Failure as error:
            print(f"{job}: {error}", file=sys.stderr, flush=True)
            time.sleep(5)


def stage(half: Half, stores: Path, staging: str) -> Path:
    """Copy the store of a half's images to the node's own disk, once per node. Returns the directory of the copy."""
    node = os.uname().nodename
    folder = Path(os.path.expandvars(staging))
    if "$" in str(folder):
        raise BadInput(f"staging = {staging!r}: no such variable on {node}")
    folder.mkdir(parents=True, exist_ok=True)
    source, target = store.location(half, stores), store.location(half, folder)
    with (folder / f".{source.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first job on a node copies
        if target.exists():
            return folder
        for left in folder.glob(f".{source.name}.*/"):  # from a job that was killed while copying
            shutil.rmtree(left, ignore_errors=True)
        needed = sum(file.stat().st_size for file in source.iterdir())
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise BadInput(
                f"staging = {staging!r}: {source.name} needs {needed / 1e9:.1f} GB, {folder} on {node} has "
                f"{free / 1e9:.1f} GB free"
            )
        temporary = Path(tempfile.mkdtemp(prefix=f".{source.name}.", dir=folder))
        try:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
            temporary.chmod(0o755)
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder
