"""What a worker process does: train one pack, and save and end when it is asked to.

On a cluster the job asks to be queued again when it was stopped, or when somebody else is still training what it needs.
Nothing is handed over in memory: whatever starts it again, it goes on from the records.
"""

import faulthandler
import fcntl
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sweeps import cluster
from sweeps.ends import SAYS
from yosinski import claims, files, records
from yosinski.data import store
from yosinski.environment import Where
from yosinski.spec import BadInput, Failure, Half

STARTED = f"{SAYS}started "  # begins what each turn of a job writes to its log


def train_pack(ids: tuple[str, ...], where: Where, gpu: int | str | None = None) -> None:
    """A job on this machine, and on this GPU of it. SIGTERM asks it to save its checkpoints and to end."""
    faulthandler.enable()  # a crash in a library's code leaves its name in the log
    if gpu is not None:  # before torch is loaded
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    train(ids, where, os.environ.get("SUBMITIT_LOCAL_JOB_ID", ""), asked_to_stop())


def train_element(runs: Path, token: str) -> None:
    """A job on a cluster: that element of a submission which SLURM says it is.

    SIGUSR2 (the time limit, or preemption where the cluster warns so) and SIGTERM ask it to save and to end.
    """
    stopping = asked_to_stop()
    job, index = cluster.this_job()
    submission = files.read_json(runs / "submissions" / f"{token}.json")
    ids = tuple(submission["elements"][index])
    where = Where(runs, **{**submission["where"], "stores": Path(submission["where"]["stores"])})
    print(f"{STARTED}{job} on {os.uname().nodename}", file=sys.stderr, flush=True)
    print(f"{job} on {os.uname().nodename}: {' '.join(records.load(runs, run_id).name for run_id in ids)}", flush=True)
    left = trainable(runs, ids, cluster.claimant(job))
    if left and submission["profile"]["staging"]:
        half = records.load(runs, left[0]).half
        where = replace(where, stores=stage(half, where.stores, submission["profile"]["staging"]))
    if left:
        train(left, where, cluster.claimant(job), stopping, cluster.has_ended)
    ended = [records.state(records.folder(runs, run_id)) in (*records.FINAL, "blocked") for run_id in ids]
    print(f"{job}: {sum(ended)} of {len(ended)} ended", flush=True)
    if not all(ended):
        queue_again(job, "was stopped" if stopping() else "waits for another process that trains the rest, or its base")
    sys.exit(0)  # what submitit would still pickle is in the records


def trainable(runs: Path, ids: tuple[str, ...], job: str) -> tuple[str, ...]:
    """Write down which copies have lost their base, before anything heavy is loaded; returns the others."""
    left = []
    for run in [records.load(runs, run_id) for run_id in ids]:
        base = records.state(records.folder(runs, run.parent.id), cluster.has_ended) if run.parent else "done"
        attempt = None if base in ("done", "running") else records.claim(runs, run, job, cluster.has_ended)
        if attempt is None or not records.blocked(attempt, run, runs, cluster.has_ended):
            left.append(run.id)
    return tuple(left)


def train(
    ids: tuple[str, ...],
    where: Where,
    job: str,
    stopping: Callable[[], bool],
    ended: claims.Ended = claims.no_scheduler,
) -> None:
    """Train a pack; a failure is one line at the end of the log, and exit status 1."""
    from yosinski.run import run_pack

    try:
        run_pack(ids, where, job, stopping, ended)
    except (BadInput, Failure) as error:
        print(f"{SAYS}{error}", file=sys.stderr)
        sys.exit(1)


def asked_to_stop() -> Callable[[], bool]:
    """Whether somebody has asked this process to save and end, from now on."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda *_: stop.set())
    return stop.is_set


def queue_again(job: str, why: str) -> None:
    """Ask for another turn, unless SLURM has already decided: what is being cancelled must not come back.

    As long as the controller does not answer, only the end of the grace time ends this.
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
    """Copy the store of a half's images to the node's own disk, once per node; returns the directory that holds it."""
    node = os.uname().nodename
    there = Path(os.path.expandvars(staging))
    if "$" in str(there):
        raise BadInput(f"staging = {staging!r}: no such variable on {node}")
    there.mkdir(parents=True, exist_ok=True)
    source, target = store.location(half, stores), store.location(half, there)
    with (there / f".{source.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # jobs of one node: the first one copies
        if target.exists():
            return there
        for left in there.glob(f".{source.name}.*/"):  # by a job that was killed while it copied
            shutil.rmtree(left, ignore_errors=True)
        needed = sum(file.stat().st_size for file in source.iterdir())
        free = shutil.disk_usage(there).free
        if needed > free:
            raise BadInput(
                f"staging = {staging!r}: {source.name} needs {needed / 1e9:.1f} GB, {there} on {node} has "
                f"{free / 1e9:.1f} GB free"
            )
        temporary = Path(tempfile.mkdtemp(prefix=f".{source.name}.", dir=there))
        try:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
            temporary.chmod(0o755)
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return there
