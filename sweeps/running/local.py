"""Run a plan on this machine: submitit's local executor behind a queue.

(submitit starts all local jobs at once.) There are as many packs at a time as GPUs, or as cores with one thread each.
Other processes may work on the same runs directory: runs that they have claimed are waited for, and taken over if they
die.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.running.ends import of_worker
from sweeps.running.job import train_pack
from sweeps.running.plan import Pack, Plan, state
from yosinski import files
from yosinski.environment import Where, no_gpu_found, visible_gpus
from yosinski.errors import BadInput, count
from yosinski.experiment.run import Run
from yosinski.records import specs
from yosinski.records.states import FINAL, State

if TYPE_CHECKING:
    import submitit

POLL = 0.25  # seconds between two checks of the jobs
YEAR = 365 * 24 * 60  # minutes; local jobs have no time limit
MOST = 8  # workers on one core or GPU; more than one is seldom faster


Gpu = int | str  # number, or UUID of a GPU or of a part of one (MIG), as in CUDA_VISIBLE_DEVICES


def gpus() -> list[Gpu]:
    """The GPUs that this process may use, found without loading torch in it."""
    named = visible_gpus()
    if named is not None:
        return [int(name) if name.isdecimal() else name for name in named]
    if shutil.which("nvidia-smi"):
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
        if devices := listed_gpus(listing.stdout):
            return devices
    return list(range(counted_by_torch())) if signs() else []


def signs() -> list[str]:
    """Device files of GPU drivers in /dev."""
    return sorted(str(path) for sign in ("nvidia[0-9]*", "dxg", "kfd") for path in Path("/dev").glob(sign))


def listed_gpus(text: str) -> list[Gpu]:
    """The GPUs in the output of `nvidia-smi -L`: whole GPUs by number, parts of divided ones (MIG) by UUID."""
    devices: list[Gpu] = []
    for k, part in enumerate(re.split(r"^GPU ", text, flags=re.MULTILINE)[1:]):
        devices += re.findall(r"\(UUID: (MIG-[^)]+)\)", part) or [k]
    return devices


def counted_by_torch() -> int:
    """Number of GPUs by torch, in a process of its own because torch takes seconds to load."""
    command = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    number = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return int(number) if number.isdecimal() else 0


def check_gpus(devices: Sequence[Gpu | None]) -> None:
    """BadInput if GPUs are assigned to this process but torch finds none, before workers are started."""
    if any(device is not None for device in devices) and not shutil.which("nvidia-smi") and not counted_by_torch():
        raise BadInput(no_gpu_found())


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Queue:
    """The waiting packs and the running jobs. Each call of `turn` updates them."""

    plan: Plan
    where: Where
    devices: list[Gpu | None]  # one entry per worker: a GPU, or None for the CPU
    precisions: Mapping[str, str] = field(default_factory=dict)  # by network, where it is not that of `where`
    waiting: list[Pack] = field(default_factory=list)
    running: dict[tuple[int, ...], tuple["submitit.Job[None]", Pack]] = field(default_factory=dict)  # by workers
    failures: list[str] = field(default_factory=list)  # messages for the user
    failed: set[str] = field(default_factory=set)  # ids of runs whose job failed in this session
    stopped: set[str] = field(default_factory=set)  # ids of runs that need no more training

    def __post_init__(self) -> None:
        self.waiting = list(self.plan.packs)
        self.folder = self.where.runs / "jobs"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)  # submitit unpickles files of this folder

    def turn(self) -> None:
        """Collect finished jobs, then start packs that are ready."""
        for workers, (job, pack) in list(self.running.items()):
            if job.done():
                del self.running[workers]
                self._collect(job, pack)
        for pack in list(self.waiting):
            busy = set().union(*self.running)
            free = [worker for worker in range(len(self.devices)) if worker not in busy]
            needed = pack.processes(self.where.processes)
            if len(free) < needed:
                break
            states = {run.id: self.state(run) for run in pack.runs}
            open_runs = [run for run in pack.runs if states[run.id] not in (*FINAL, "blocked")]
            startable = [run for run in open_runs if states[run.id] != "running"]
            if not open_runs:
                self.waiting.remove(pack)
            elif startable and all(self.state(parent) in FINAL for parent in pack.parents):
                self.waiting.remove(pack)
                if len(startable) < len(open_runs):  # another process trains the others; checked again later
                    self.waiting.append(Pack(tuple(run for run in open_runs if run not in startable)))
                self._start(tuple(free[:needed]), Pack(tuple(startable)))
            elif any(parent.id in self.failed for parent in pack.parents):
                self.waiting.remove(pack)

    def end_early(self, decided: Collection[str]) -> None:
        """End the training of these runs (ids): their packs save and end, or are not started."""
        self.stopped |= set(decided)
        self.waiting = [pack for pack in self.waiting if not self._is_decided(pack)]
        for job, pack in self.running.values():
            if self._is_decided(pack):
                _ask_to_end(job)

    def _is_decided(self, pack: Pack) -> bool:
        return self.stopped.issuperset(run.id for run in pack.runs)

    def state(self, run: Run) -> State:
        """The present state of a run."""
        return state(run, self.where.runs)

    def stop(self) -> None:
        """Ask all jobs to save and end, and wait."""
        self.waiting.clear()
        while self.running:
            for workers, (job, _) in list(self.running.items()):
                if job.done():
                    del self.running[workers]
                else:
                    _ask_to_end(job)
            time.sleep(0.5)

    def _start(self, workers: tuple[int, ...], pack: Pack) -> None:
        import submitit

        executor = submitit.LocalExecutor(folder=self.folder)
        named = [str(self.devices[worker]) for worker in workers if self.devices[worker] is not None]
        device = ",".join(named) or None
        executor.update_parameters(timeout_min=YEAR)  # visible_gpus accepts only numbers
        ids = tuple(run.id for run in pack.runs)
        # The terminal sends Ctrl-C to the whole process group; jobs must save first, and are stopped by `stop`.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            precision = self.precisions.get(pack.runs[0].network, self.where.precision)
            where = replace(self.where, precision=precision)
            self.running[workers] = executor.submit(train_pack, ids, where, device), pack
        finally:
            signal.signal(signal.SIGINT, handler)

    def _collect(self, job: "submitit.Job[None]", pack: Pack) -> None:
        left = [run for run in pack.runs if self.state(run) not in (*FINAL, "blocked")]
        elsewhere = [run for run in left if self.state(run) == "running"]
        if elsewhere:
            self.waiting.append(Pack(tuple(elsewhere)))
        ended = [run for run in left if run.id in self.stopped and self.state(run) != "failed"]
        lost = [run for run in left if run not in (*elsewhere, *ended)]
        if lost:
            self.failed |= {run.id for run in lost}
            self.failures.append(f"{Pack(tuple(lost)).name}: {reason(self.where.runs, lost, job)}")


def _ask_to_end(job: "submitit.Job[None]") -> None:
    """Send SIGTERM repeatedly, because a job that is starting may miss a signal."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(job.job_id), signal.SIGTERM)


def reason(runs: Path, lost: list[Run], job: "submitit.Job[None]") -> str:
    """Why a job did not finish its runs, from the runs' failure.json or the end of the job's log."""
    if shutil.disk_usage(runs).free < 1 << 20:
        return f"no space left on the disk of {runs}; what is trained so far is kept"
    errors = set()
    for run in lost:
        failure = specs.folder(runs, run.id) / "failure.json"
        if failure.exists():
            errors.add(files.read_json(failure)["error"])
    log = job.paths.stderr
    lines = [line for line in log.read_text().splitlines() if line.strip()] if log.exists() else []
    return "; ".join(sorted(errors)) or f"{of_worker(lines, job.paths.result_pickle.exists())} (log: {log})"


def run_here(
    plan: Plan,
    where: Where,
    devices: list[Gpu | None],
    decided: Callable[[], Collection[str]] = tuple,
    precisions: Mapping[str, str] | None = None,
) -> Generator[Queue]:
    """Train the remaining runs of a plan. Yields the queue after every turn; closing the iterator stops all jobs.

    decided: called at every turn; returns the ids of runs that need no more training. precisions: see `Queue`.
    """
    queue = Queue(plan, where, devices, precisions or {})
    try:
        while queue.waiting or queue.running:
            queue.end_early(decided())
            queue.turn()
            yield queue
            time.sleep(POLL)
    finally:
        queue.stop()


def workers(device: str, wanted: int | None) -> list[Gpu | None]:
    """One entry per worker: the GPUs if there are any (unless device is "cpu"), else one per core.

    BadInput if a GPU is requested, or assigned by SLURM, and there is none.
    """
    devices = gpus() if device in ("auto", "cuda") else []
    if device == "cuda" and not devices:
        raise BadInput("no GPU found for --device cuda; choose from: auto, cpu")
    if device == "mps" and sys.platform != "darwin":
        raise BadInput("--device mps is the GPU of an Apple machine, which this is not; choose from: auto, cpu, cuda")
    assigned = os.environ.get("SLURM_STEP_GPUS") or os.environ.get("SLURM_JOB_GPUS")
    if device == "auto" and not devices and assigned and visible_gpus() is None:
        raise BadInput(f"SLURM gave this job GPU {assigned}, but none is found here; --device cpu computes on the CPU")
    # Apple's machines have one GPU, which cannot be detected without torch.
    places: list[Gpu | None] = [None] if device == "mps" else list(devices) or [None] * cores()
    if wanted is not None and not 1 <= wanted <= MOST * len(places):
        what = count(len(places), "core" if places[0] is None and device != "mps" else "GPU")
        raise BadInput(f"--workers must be 1 to {MOST * len(places)}, {MOST} times the {what} here, not {wanted}")
    return [places[k % len(places)] for k in range(wanted or len(places))]


def check_writable(runs: Path, stores: Path) -> None:
    """BadInput if the runs directory is not writable, or that of stores is none, before anything is trained."""
    try:
        stores.mkdir(parents=True, exist_ok=True)  # it may be read-only, if what is needed is there
    except OSError as error:
        raise BadInput(f"cannot make the stores directory {stores}: {error.strerror}") from error
    try:
        runs.mkdir(parents=True, exist_ok=True)
        probe = runs / f".write-probe-{os.getpid()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise BadInput(f"cannot write to the runs directory {runs}: {error.strerror}") from error
