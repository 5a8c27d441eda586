"""A real SLURM of two nodes: grids go through preemption, time-outs, dead nodes, and end as if nothing had happened.

`make test-slurm` runs this; each worker of pytest-xdist has a SLURM of its own.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ended import all_numbers
from testbed import ROOT, Cluster, Grid, hang, in_front, wait

from yosinski.records import claims, specs

WHY = "needs a SLURM of its own: make test-slurm"

pytestmark = [
    pytest.mark.skipif(not os.environ.get("YOSINSKI_TEST_SLURM"), reason=WHY),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Cluster]:
    """A SLURM that lives as long as this worker."""
    cluster = Cluster(Path("/tmp") / f"yosinski-test-{os.getpid()}-{worker_id}")
    cluster.testbed("up")
    yield cluster
    cluster.testbed("down")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, stores: Path, sweep: list[str]) -> dict[str, Any]:
    """What every run of the grid ends with when nothing disturbs it, and no SLURM is there."""
    base = tmp_path_factory.getbasetemp()
    runs = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "undisturbed"

    with (runs.parent / "undisturbed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        line = [sys.executable, "-m", "yosinski", "run", *sweep, "--runs", str(runs), "--stores", str(stores)]
        subprocess.run([*line, "--device", "cpu", "--precision", "float32"], check=True, capture_output=True)
    return all_numbers(runs)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory, small_split_file: Path) -> list[str]:
    """Two bases that train for some seconds, and four copies."""
    # Both workers must name the same file: the split's name is part of what the sweep writes down.
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "small.json"
    shutil.copy(small_split_file, shared.with_suffix(f".{os.getpid()}"))
    shared.with_suffix(f".{os.getpid()}").rename(shared)
    values = {"splits": shared, "directions": "AB", "cuts": "3", "recipe": "sketch"}
    recipe = {"recipe.batch_size": 32, "recipe.epochs": 40, "recipe.evaluations": 10}
    return ["figure2", *(f"-p{name}={value}" for name, value in (values | recipe).items())]


@pytest.fixture
def grid(slurm: Cluster, tmp_path: Path, sweep: list[str], stores: Path, undisturbed: dict[str, Any]) -> Iterator[Grid]:
    """An empty runs directory and an empty queue."""
    wait(slurm.quiet, what="an empty queue")
    for node in ("1", "2"):
        slurm.testbed("start-node", node)
    yield Grid(slurm, tmp_path, sweep, stores)
    subprocess.run(["scancel", "--user=root"], env=slurm.environment, check=False)


# ----------------------------------------------------------------------------------------------------- what is promised


def test_bases_then_copies_from_the_code_that_was_submitted(grid: Grid, undisturbed: dict[str, Any]) -> None:
    source, staging = grid.folder / "source", grid.folder / "node-disk"
    for package in ("yosinski", "sweeps", "slurm"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    grid.environment["PYTHONPATH"] = str(source)
    in_front(grid, "sbatch", f'echo called >> {grid.folder}/calls; exec $REAL "$@"')
    output = grid.submit(staging=f"{grid.folder}/node-disk", setup=["export STAGED=yes"])
    assert "submits 6 runs in 4 packs as 3 arrays" in output
    assert (grid.folder / "calls").read_text().count("called") == 1 + 3  # the first one with --test-only
    (source / "yosinski" / "run.py").write_text("raise SystemExit('this was not submitted')\n")
    (source / "sweeps" / "running" / "job.py").write_text("raise SystemExit('this was not submitted')\n")
    del grid.environment["PYTHONPATH"]
    assert grid.states()["A3B"] in ("waiting", "queued", "running")
    grid.home()
    assert all_numbers(grid.runs) == undisturbed
    assert [claims.latest_attempt(path) for path in specs.scan(grid.runs)] == [1] * 6
    assert [path.name for path in staging.glob("emoji-*/store.json")] == ["store.json"]
    assert {path.stat().st_mode & 0o777 for path in [grid.runs / "jobs", *(grid.runs / "jobs").glob("?" * 12)]} == {
        0o700
    }
    shown = grid.yosinski("status", *grid.sweep, "--runs", grid.runs)
    assert "6 runs: 6 done" in shown
    assert "nothing is left to submit" in grid.submit()


SHARED = """
from sweeps.branch import branch
from sweeps.fuse import fuse
from yosinski.experiment.recipes import SKETCH, Recipe


def sweep(splits: tuple[str, ...], recipe: Recipe = SKETCH):
    fused = fuse(splits=splits, cuts=(0,), controls=(), recipe=recipe)
    return [run for run in [*fused, *branch(splits=splits, cuts=(3,), controls=(), recipe=recipe)] if run.partners]
"""


def test_networks_that_share_are_those_of_a_local_run(grid: Grid) -> None:
    (grid.folder / "shared.py").write_text(SHARED)
    short = ["recipe.batch_size=32", "recipe.epochs=2", "recipe.evaluations=1"]
    split = next(part for part in grid.sweep if part.startswith("-psplits="))
    grid.sweep = ["shared.py", split, *(f"-p{value}" for value in short)]
    assert "submits 2 runs in 2 packs" in grid.submit()
    options = ["--stores", grid.stores, "--device", "cpu", "--precision", "float32"]
    grid.yosinski("run", *grid.sweep, "--runs", "here", *options)
    grid.home()
    assert all_numbers(grid.runs) == all_numbers(grid.folder / "here")


def test_preempted_in_the_middle_of_a_base(grid: Grid, undisturbed: dict[str, Any]) -> None:
    grid.submit()
    grid.training()
    job, _ = grid.job()
    for _ in range(2):
        grid.cluster.ask(
            "sbatch", "--partition=urgent", "--exclusive", "--mem=0", "--output=/dev/null", "--wrap=sleep 3"
        )
    wait(lambda: grid.attempts("baseB") == 2, what="another attempt")
    grid.home()
    assert all_numbers(grid.runs) == undisturbed
    assert len(grid.restarts(job)) > 1


def test_over_the_time_limit_a_job_saves_and_is_queued_again(grid: Grid, undisturbed: dict[str, Any]) -> None:
    grid.submit(time="2", grace=75)
    pid = grid.training()
    job, _ = grid.job()
    psutil.Process(pid).suspend()  # until SLURM's warning wakes it
    wait(lambda: grid.attempts("baseB") == 2, what="another attempt")
    grid.home(240)
    assert all_numbers(grid.runs) == undisturbed
    assert "REQUEUED" in grid.restarts(job)


def test_a_job_that_hangs_is_healed_with_more_time(grid: Grid, undisturbed: dict[str, Any]) -> None:
    grid.submit(time="1", grace=5)
    hang(grid.training())
    grid.home(240)
    status = grid.status()
    assert {t["cause"]: len(t["failed"]) for t in status["troubles"]} == {"over the time limit": 1}
    assert sorted(len(t["blocked"]) for t in status["troubles"]) == [2]
    output = grid.heal()
    assert "1 base over the time limit, 2 copies blocked" in output
    assert "submits 1 run in 1 pack" in output
    assert "submits 2 runs in 1 pack" in output
    submissions = [json.loads(path.read_text()) for path in (grid.runs / "submissions").glob("*.json")]
    assert sorted(submission["profile"]["time"] for submission in submissions)[-1] == "2"
    grid.home()
    assert all_numbers(grid.runs) == undisturbed


def test_a_node_dies_under_a_job(grid: Grid, undisturbed: dict[str, Any]) -> None:
    grid.submit()
    grid.training()
    _, node = grid.job()
    number = node.removeprefix("node")
    grid.cluster.testbed("kill-node", number)
    wait(lambda: grid.attempts("baseB") == 2, what="another attempt")
    grid.cluster.testbed("start-node", number)
    grid.home()
    assert all_numbers(grid.runs) == undisturbed


def test_a_worker_whose_node_was_cut_off_writes_after_its_run_was_taken_over(
    grid: Grid, undisturbed: dict[str, Any]
) -> None:
    grid.submit()
    pid = grid.training()
    _, node = grid.job()
    number = node.removeprefix("node")
    zombie = psutil.Process(pid)
    grid.cluster.testbed("cut-node", number)
    zombie.suspend()  # so that it is not simply quicker than the one that takes over
    wait(lambda: grid.attempts("baseB") == 2, what="another attempt")
    log = next((grid.runs / "jobs").rglob(f"{grid.job()[0]}_0_log.err"))
    zombie.resume()
    zombie.wait(30)
    assert "attempt 1 was taken over by attempt 2" in log.read_text()
    grid.cluster.testbed("kill-node", number)
    grid.cluster.testbed("start-node", number)
    grid.home()
    assert all_numbers(grid.runs) == undisturbed


def test_the_controller_crashes_and_comes_back(grid: Grid, undisturbed: dict[str, Any]) -> None:
    """After it has saved that the jobs run: what it forgets it starts again, finds on the node already, and holds."""
    grid.submit()
    grid.training()
    saved = grid.cluster.folder / "state" / "job_state"
    before = saved.stat().st_mtime_ns
    grid.cluster.ask("scontrol", "reconfigure")
    wait(lambda: saved.stat().st_mtime_ns > before, what="a saved state")
    grid.cluster.testbed("stop-controller")
    shown = grid.yosinski("status", *grid.sweep, "--runs", grid.runs)
    assert "SLURM was not asked: the SLURM controller does not answer" in " ".join(shown.split())
    refused = grid.yosinski("submit", *grid.submitted(), status=2)
    assert "the SLURM controller does not answer" in refused
    grid.cluster.testbed("start-controller")
    grid.home()
    assert all_numbers(grid.runs) == undisturbed
    assert [claims.latest_attempt(path) for path in specs.scan(grid.runs)] == [1] * 6


def test_bases_out_of_memory_block_their_copies_until_healed(grid: Grid, undisturbed: dict[str, Any]) -> None:
    grid.submit(memory="200M", max_memory="2000M")  # less than a network needs, more than a look at its base
    grid.home()
    status = grid.status()
    assert status["counts"] == {"failed": 2, "blocked": 4}
    assert [(t["cause"], len(t["failed"]), len(t["blocked"])) for t in status["troubles"]] == [("out of memory", 2, 4)]
    shown = grid.yosinski("status", *grid.sweep, "--runs", grid.runs)
    assert "2 bases out of memory, 4 copies blocked" in shown
    assert "mend with: yosinski heal figure2" in shown
    assert "6 failed or blocked runs left out: yosinski heal" in grid.submit()
    grid.heal("--profile", str(grid.profile(memory="2000M", pack=1)))  # regroups the copies, too
    grid.home()
    assert all_numbers(grid.runs) == undisturbed
    assert "nothing to heal" in grid.heal()


def test_killed_while_it_writes_a_checkpoint(grid: Grid, undisturbed: dict[str, Any]) -> None:
    grid.submit()
    pid = grid.training()
    path = grid.path("baseB")

    def caught_writing() -> bool:
        if not any(name.startswith(".checkpoint.pt.") for name in os.listdir(path)):
            return False
        os.kill(pid, signal.SIGSTOP)
        if any(name.startswith(".checkpoint.pt.") for name in os.listdir(path)):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    deadline = time.monotonic() + 60
    while not caught_writing():
        assert time.monotonic() < deadline
        assert not (path / "record.json").exists(), "it was never caught writing"
    os.kill(pid, signal.SIGKILL)
    grid.home()
    assert grid.states() == {
        **{"baseB": "failed", "baseA": "done", "B3B": "blocked", "B3B+": "blocked", "A3B": "done", "A3B+": "done"}
    }
    grid.heal()
    grid.home()
    assert all_numbers(grid.runs) == undisturbed
    assert grid.attempts("baseB") == 2


def test_a_full_disk(grid: Grid, undisturbed: dict[str, Any]) -> None:
    grid.runs.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", grid.runs], check=True)
    try:
        grid.submit()
        grid.training()
        filler = grid.runs / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        grid.home()
        causes = {trouble["cause"] for trouble in grid.status()["troubles"]}
        assert causes == {"no space left on the disk"}
        filler.unlink()
        grid.heal()
        grid.home()
        grid.submit()  # what was not failed, but had no base to start from
        grid.home()
        assert all_numbers(grid.runs) == undisturbed
    finally:
        subprocess.run(["umount", "--lazy", grid.runs], check=True)


def test_the_reply_of_sbatch_is_lost(grid: Grid, undisturbed: dict[str, Any]) -> None:
    lost = grid.folder / "lost"
    in_front(
        grid,
        "sbatch",
        f'if [[ "$*" == *--test-only* || -e {lost} ]]; then exec $REAL "$@"; fi\n'
        f'touch {lost}; $REAL "$@" >/dev/null\n'
        'echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1',
    )
    assert "queued: 4 jobs" in grid.submit()
    assert lost.exists()
    assert len(grid.cluster.queue()) == 4
    grid.home()
    assert all_numbers(grid.runs) == undisturbed
    assert [claims.latest_attempt(path) for path in specs.scan(grid.runs)] == [1] * 6


def test_the_submission_is_killed_before_it_hears_of_its_jobs(grid: Grid, undisturbed: dict[str, Any]) -> None:
    in_front(
        grid,
        "sbatch",
        'if [[ "$*" == *--test-only* ]]; then exec $REAL "$@"; fi\n$REAL "$@" >/dev/null; kill -9 $PPID; sleep 1',
    )
    grid.yosinski("submit", *grid.submitted(), status=-signal.SIGKILL)
    del grid.environment["PATH"]
    assert len(grid.cluster.queue()) == 2
    output = grid.submit()  # takes the bases over, and queues the copies behind them
    assert "submits 4 runs" in output
    grid.home()
    assert all_numbers(grid.runs) == undisturbed
    assert [claims.latest_attempt(path) for path in specs.scan(grid.runs)] == [1] * 6


def test_accounting_that_lags_behind_makes_no_duplicates(grid: Grid, undisturbed: dict[str, Any]) -> None:
    in_front(grid, "sacct", "exit 0")
    grid.submit()
    wait(lambda: grid.states()["baseB"] == "done")
    before = len(list((grid.runs / "submissions").glob("*.json")))
    grid.submit()
    assert len(list((grid.runs / "submissions").glob("*.json"))) == before
    grid.home()
    assert set(grid.states().values()) == {"done"}
    assert all_numbers(grid.runs) == undisturbed


def test_two_submissions_at_once_and_a_local_worker_train_nothing_twice(
    grid: Grid, undisturbed: dict[str, Any]
) -> None:
    arguments = grid.submitted()
    both = [grid.start("submit", *arguments) for _ in range(2)]
    outputs = ["".join(process.communicate(timeout=120)) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum("queued: 4 jobs" in output for output in outputs) == 1
    assert sum("nothing is left to submit" in output for output in outputs) == 1
    local = ["--stores", str(grid.stores), "--device", "cpu", "--workers", "1", "--precision", "float32"]
    worker = grid.start("run", *grid.sweep, "--runs", grid.runs, *local)
    grid.training()
    assert "nothing is left to submit" in grid.submit()  # a second one while the first is running
    output = "".join(worker.communicate(timeout=240))
    assert worker.returncode == 0, output
    grid.home(240)
    assert all_numbers(grid.runs) == undisturbed
    assert [claims.latest_attempt(path) for path in specs.scan(grid.runs)] == [1] * 6


def test_cancelled_and_submitted_again(grid: Grid, undisturbed: dict[str, Any]) -> None:
    grid.submit()
    psutil.Process(grid.training()).suspend()  # until it is cancelled: SLURM wakes what it ends
    refused = grid.yosinski("cancel", *grid.sweep, "--runs", grid.runs, status=2)
    assert "cancels 4 jobs that train 6 runs" in refused
    assert "nobody to ask" in refused
    assert len(grid.cluster.queue()) == 4
    grid.yosinski("cancel", *grid.sweep, "--runs", grid.runs, "--yes")
    wait(grid.cluster.quiet, 20)
    assert set(grid.states().values()) <= {"interrupted", "missing", "done"}
    assert grid.states()["baseB"] == "interrupted"
    assert (grid.path("baseB") / "checkpoint.pt").exists()
    grid.submit()
    grid.home()
    assert all_numbers(grid.runs) == undisturbed


def test_arrays_and_quotas_smaller_than_the_grid(grid: Grid, undisturbed: dict[str, Any]) -> None:
    user = ["sacctmgr", "--immediate", "modify", "user", "root", "set"]
    grid.cluster.testbed("set", "MaxArraySize=2")
    grid.cluster.ask(*user, "MaxSubmitJobs=3")
    try:
        wait(lambda: "MaxSubmitJobs 3" in grid.yosinski("submit", *grid.submitted("--dry-run", pack=1)))
        output = grid.submit(pack=1)
        assert "submits 6 runs in 6 packs as 3 arrays" in output
        assert "queued: 3 jobs" in output
        assert "deferred: 3 jobs (MaxSubmitJobs of 3 is reached); the same command goes on" in output
        wait(lambda: grid.states()["baseA"] == "done" and grid.states()["baseB"] == "done")
        grid.home()
        grid.cluster.ask(*user, "MaxSubmitJobs=-1")
        assert "as 2 arrays" in grid.submit(pack=1)  # of two elements and one: no edges to bases that are done
        grid.home()
    finally:
        grid.cluster.ask(*user, "MaxSubmitJobs=-1")
        grid.cluster.testbed("set", "MaxArraySize=1001")
    assert all_numbers(grid.runs) == undisturbed


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({"partition": "nowhere"}, "unknown partition 'nowhere'; choose from: faraway, main, urgent"),
        ({"memory": "900G"}, r"SLURM refuses such a job: .*memory 900G.*its nodes have up to 4 CPUs, 6000 MB"),
        ({"gpus": 1}, r"SLURM refuses such a job: .*no GPUs"),
        ({"time": "3-00:00:00"}, "time 3-00:00:00 is over the partition's limit of 60 minutes"),
        ({"account": "nobody"}, "SLURM refuses such a job: .*[Ii]nvalid account"),
        ({"partition": "faraway"}, "which nodes such as .* do not share: choose another with --runs"),
        ({"colour": "red"}, "unknown key in profile profile: 'colour'; choose from: partition, account"),
        ({"grace": 0}, "grace must be at least 5"),
    ],
)
def test_bad_profiles_are_refused_before_anything_is_queued(grid: Grid, profile: dict[str, Any], message: str) -> None:
    refused = grid.yosinski("submit", *grid.submitted(**profile), status=2)
    assert re.search(message, refused), refused
    assert grid.cluster.quiet()
    assert not (grid.runs / "submissions").exists() or not list((grid.runs / "submissions").glob("*.json"))


def test_four_splits_take_nine_calls_of_sbatch(grid: Grid) -> None:
    grid.sweep = ["figure2", "-p", "splits=random:0,random:1,random:2,random:3"]
    output = grid.submit("--dry-run")
    assert "submits 232 runs in 24 packs as 9 arrays" in output
    assert output.count("#!/bin/bash") == 9
    assert grid.cluster.quiet()


def test_without_slurm(grid: Grid) -> None:
    folder = grid.folder / "bin"
    folder.mkdir()
    grid.environment["PATH"] = str(folder)
    refused = grid.yosinski("submit", *grid.submitted(), status=2)
    assert "no SLURM on this machine" in refused
    assert "yosinski run" in refused


def test_the_host_is_one_of_the_nodes(slurm: Cluster) -> None:
    assert socket.gethostname() in slurm.ask("sinfo", "-h", "-N", "-p", "main", "-o", "%n").split()
