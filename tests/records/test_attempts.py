"""Claims and attempts: one process at a time writes the directory of a run."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import synthetic
from claimed import BASE, COPY, another_hosts_claim, mine, set_age, writes

from sweeps.running import job as jobs
from yosinski import files
from yosinski.environment import Where
from yosinski.records import attempts, claims, specs, states
from yosinski.records.attempts import Attempt, Superseded, claim
from yosinski.records.specs import folder
from yosinski.records.states import state

CLAIM_IN_CHILD = """
import sys, time
from pathlib import Path
from yosinski.records import attempts, specs
runs, run_id, start = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
run = specs.load(runs, run_id)
print("ready", flush=True)
while not start.exists():
    pass
attempt = attempts.claim(runs, run)
print(attempt.number if attempt else None, flush=True)
time.sleep(60)
"""


def line_of(process: "subprocess.Popen[str]") -> str:
    """The next line that a child prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Starts a process that claims the base as soon as the file `start` appears, says its attempt, and waits."""
    started: list[subprocess.Popen[str]] = []
    specs.enrol(tmp_path, BASE)

    def begin() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", CLAIM_IN_CHILD, str(tmp_path), BASE.id, str(tmp_path / "start")]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


# ----------------------------------------------------------------------------------------------------------- claiming


def test_a_claim_is_exclusive_until_it_is_released(tmp_path: Path) -> None:
    first = mine(tmp_path)
    assert first == Attempt(folder(tmp_path, BASE.id), 1)
    assert claim(tmp_path, BASE) is None
    assert mine(tmp_path, COPY).number == 1  # another run's
    first.release()
    assert mine(tmp_path).number == 2


def test_a_claim_says_who_holds_it(tmp_path: Path) -> None:
    attempt = claim(tmp_path, BASE, job="77")
    assert attempt is not None
    content = json.loads((attempt.path / "claim.1.json").read_text())
    assert content.keys() == {"format", "attempt", "job", "released", "host", "pid", "started"}
    assert (content["format"], content["attempt"], content["job"], content["released"]) == (1, 1, "77", False)
    assert content["pid"] == os.getpid()
    attempt.release()
    assert json.loads((attempt.path / "claim.1.json").read_text()) == {**content, "released": True}


def test_of_two_processes_that_claim_at_once_one_gets_the_run(
    tmp_path: Path, child: Callable[[], "subprocess.Popen[str]"]
) -> None:
    both = [child(), child()]
    assert [line_of(process) for process in both] == ["ready", "ready"]
    (tmp_path / "start").touch()
    assert sorted(line_of(process) for process in both) == ["1", "None"]
    assert claim(tmp_path, BASE) is None
    assert state(folder(tmp_path, BASE.id)) == "running"


def test_a_claim_made_between_look_and_claim_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = mine(tmp_path)
    before = (first.path / "claim.1.json").read_bytes()
    monkeypatch.setattr(attempts, "latest_attempt", lambda path: 0)  # what the other one saw a moment ago
    assert claim(tmp_path, BASE, job="too late") is None
    assert (first.path / "claim.1.json").read_bytes() == before


def test_a_killed_processes_run_is_taken_over_at_once(
    tmp_path: Path, child: Callable[[], "subprocess.Popen[str]"]
) -> None:
    (tmp_path / "start").touch()
    other = child()
    assert [line_of(other), line_of(other)] == ["ready", "1"]
    assert claim(tmp_path, BASE) is None
    other.send_signal(signal.SIGKILL)
    # Dead, but not yet waited for: a zombie of the operating system counts as dead as well.
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(other.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
    assert state(folder(tmp_path, BASE.id)) == "interrupted"
    other.wait()
    assert state(folder(tmp_path, BASE.id)) == "interrupted"
    assert mine(tmp_path).number == 2


def test_another_process_with_the_dead_ones_number_does_not_hold_its_claim(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    claim_file = attempt.path / "claim.1.json"
    content = json.loads(claim_file.read_text())
    claim_file.write_text(json.dumps({**content, "started": content["started"] - 1000}))
    assert not claims.is_alive(attempt.path, 1)


def test_a_run_that_ended_cannot_be_claimed(tmp_path: Path) -> None:
    for k, final in enumerate(("done", "stuck", "diverged")):
        run = replace(BASE, seed=k)
        mine(tmp_path, run).finish({"state": final})
        assert claim(tmp_path, run) is None
    mine(tmp_path, COPY).finish({"state": "blocked", "reason": "its base is stuck"})
    assert mine(tmp_path, COPY).number == 2


def test_a_run_that_ends_between_look_and_claim_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = mine(tmp_path)
    first.finish({"state": "done"})
    looks = iter(["interrupted", "done"])
    monkeypatch.setattr(states, "state", lambda path: next(looks))
    assert claim(tmp_path, BASE) is None
    monkeypatch.undo()
    assert state(first.path) == "done"


def test_silence_of_another_host_counts_as_death_and_a_heartbeat_as_life(tmp_path: Path) -> None:
    path = folder(tmp_path, BASE.id)
    another_hosts_claim(path, age=200)
    assert claim(tmp_path, BASE) is None
    another_hosts_claim(path, age=400)
    assert not claims.is_alive(path, 1)
    (path / "progress.json").write_text("{}")  # now
    assert state(path) == "running"
    set_age(path / "progress.json", 400)
    assert state(path) == "interrupted"
    assert mine(tmp_path).number == 2


def test_a_claim_that_was_never_filled_in_holds_for_seconds_only(tmp_path: Path) -> None:
    path = folder(tmp_path, BASE.id)
    path.mkdir(parents=True)
    (path / "claim.1.json").touch()
    assert claim(tmp_path, BASE) is None
    set_age(path / "claim.1.json", 60)
    assert mine(tmp_path).number == 2


WRITES: dict[str, Callable[[Attempt], object]] = {
    "append": lambda attempt: attempt.append(synthetic.row(20, 0.9)),
    "rewind": lambda attempt: attempt.rewind(0),
    "save": lambda attempt: attempt.save("checkpoint.pt", writes("late")),
    "finish": lambda attempt: attempt.finish({"state": "done"}),
    "fail": lambda attempt: attempt.fail("late"),
    "beat": lambda attempt: attempt.beat(1, 2),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_zombies_late_writes_are_refused(name: str, tmp_path: Path) -> None:
    zombie = mine(tmp_path)
    zombie.append(synthetic.row(10, 0.5))
    zombie.save("checkpoint.pt", writes("early"))
    zombie.release()
    later = mine(tmp_path)
    before = {file.name: file.read_bytes() for file in later.path.iterdir()}
    with pytest.raises(Superseded, match=r"attempt 1 was taken over by attempt 2$"):
        WRITES[name](zombie)
    assert {file.name: file.read_bytes() for file in later.path.iterdir()} == before
    WRITES[name](later)


def test_a_file_that_was_long_in_writing_is_refused_if_the_run_was_taken_over_meanwhile(tmp_path: Path) -> None:
    zombie = mine(tmp_path)

    def write(path: Path) -> None:
        path.write_text("late")
        zombie.release()
        mine(tmp_path).save("weights.safetensors", writes("in time"))

    with pytest.raises(Superseded):
        zombie.save("weights.safetensors", write)
    assert (zombie.path / "weights.safetensors").read_text() == "in time"
    assert not list(zombie.path.glob(".*"))


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    attempt.save("checkpoint.pt", writes("old"))

    def full(path: Path) -> None:
        path.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        attempt.save("checkpoint.pt", full)
    assert (attempt.path / "checkpoint.pt").read_text() == "old"
    assert not list(attempt.path.glob(".*"))


# ----------------------------------------------------------------------------------------------------- what others know


def asked_about(names: list[str], answer: bool) -> claims.Ended:
    """A scheduler that says of every job whether it has ended, and notes the names that it was asked about."""

    def ended(name: str) -> bool:
        names.append(name)
        return answer

    return ended


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_claim_does_not_outlive_its_job(elsewhere: bool, tmp_path: Path) -> None:
    path = folder(tmp_path, BASE.id)
    if elsewhere:
        another_hosts_claim(path, job="slurm x 7_1")
    else:
        assert claim(tmp_path, BASE, "slurm x 7_1") is not None
    names: list[str] = []
    assert claim(tmp_path, BASE, "slurm x 8", asked_about(names, False)) is None
    assert set(names) == {"slurm x 7_1"}
    assert claims.is_alive(path, 1, asked_about(names, False))
    assert not claims.is_alive(path, 1, asked_about(names, True))
    assert (state(path), state(path, asked_about(names, True))) == ("running", "interrupted")
    later = claim(tmp_path, BASE, "slurm x 8", asked_about(names, True))
    assert later is not None
    assert later.number == 2
    assert set(names) == {"slurm x 7_1"}


def test_no_scheduler_is_asked_about_a_claim_without_a_job_or_a_run_that_ended(tmp_path: Path) -> None:
    names: list[str] = []
    attempt = mine(tmp_path)
    assert state(attempt.path, asked_about(names, True)) == "running"
    assert claim(tmp_path, BASE, "slurm x 8", asked_about(names, True)) is None
    attempt.release()
    assert state(attempt.path, asked_about(names, False)) == "interrupted"
    last = claim(tmp_path, BASE, "slurm x 8")
    assert last is not None
    last.finish({"state": "done"})
    assert state(attempt.path, asked_about(names, True)) == "done"
    assert names == []


def test_of_no_job_is_it_known_without_a_scheduler_that_it_has_ended(tmp_path: Path) -> None:
    path = folder(tmp_path, BASE.id)
    another_hosts_claim(path, job="slurm x 7")
    assert not claims.no_scheduler("slurm x 7")
    assert state(path) == "running"
    assert claim(tmp_path, BASE, "slurm x 8") is None


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_earlier_attempt_of_the_same_job_is_over_and_may_write_no_more(elsewhere: bool, tmp_path: Path) -> None:
    path = folder(tmp_path, BASE.id)
    first = Attempt(path, 1)
    if elsewhere:
        another_hosts_claim(path, job="slurm x 7")
    else:
        assert claim(tmp_path, BASE, "slurm x 7") == first
    for other in ("", "slurm x 70", "slurm y 7", "7"):
        assert claim(tmp_path, BASE, other) is None
    assert claim(tmp_path, BASE, "slurm x 7") == Attempt(path, 2)
    with pytest.raises(Superseded):
        first.beat(1, 2)


def test_two_processes_without_a_job_are_not_the_same_job(tmp_path: Path) -> None:
    another_hosts_claim(folder(tmp_path, BASE.id), job="")
    assert claim(tmp_path, BASE, "") is None


def test_a_local_job_of_another_host_is_not_this_hosts_job_of_the_same_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of local jobs are those of processes: in two containers that share a disk they are soon alike."""
    signed: list[str] = []
    monkeypatch.setattr(jobs, "train", lambda ids, where, job, *rest: signed.append(job))
    monkeypatch.setattr(jobs, "asked_to_stop", lambda: lambda: False)
    monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", "57")
    jobs.train_pack((BASE.id,), Where(tmp_path, tmp_path))
    (name,) = signed
    there = name.replace(os.uname().nodename, "elsewhere")
    another_hosts_claim(folder(tmp_path, BASE.id), job=there)
    assert claim(tmp_path, BASE, name) is None


@pytest.mark.parametrize("fast", [-1000.0, 0.0, 1000.0])
def test_another_hosts_heartbeat_is_judged_by_the_file_servers_clock(
    fast: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "time", SimpleNamespace(time=lambda: time.time() + fast))
    path = folder(tmp_path, BASE.id)
    for age, alive in ((0, True), (200, True), (400, False)):
        another_hosts_claim(path, age=age)
        assert claims.is_alive(path, 1) == alive
    (path / "progress.json").write_text("{}")
    for age, alive in ((0, True), (200, True), (400, False)):
        set_age(path / "progress.json", age)
        assert claims.is_alive(path, 1) == alive
    claim_file = path / "claim.1.json"
    claim_file.write_text("")  # not yet filled
    assert claims.is_alive(path, 1)
    set_age(claim_file, 60)
    assert not claims.is_alive(path, 1)
    assert claims.ahead(tmp_path) == pytest.approx(-fast, abs=2)


def test_the_clock_that_dates_files_is_looked_at_without_a_trace(tmp_path: Path) -> None:
    assert claims.ahead(tmp_path) == pytest.approx(0, abs=2)
    assert list(tmp_path.iterdir()) == []
    assert claims.ahead(tmp_path / "nowhere") == 0
    assert not (tmp_path / "nowhere").exists()


def test_a_copy_is_blocked_unless_its_base_is_done(tmp_path: Path) -> None:
    first = mine(tmp_path, COPY)
    mine(tmp_path).release()
    assert attempts.blocked(first, COPY, tmp_path)
    assert states.state_and_record(first.path) == (
        "blocked",
        {"format": 1, "attempts": 1, "state": "blocked", "reason": f"its base {BASE} is interrupted"},
    )
    last = claim(tmp_path, BASE, "slurm x 7")
    assert last is not None
    assert attempts.blocked(mine(tmp_path, COPY), COPY, tmp_path)
    assert files.read_json(first.path / "record.json")["reason"] == f"its base {BASE} is running"
    assert attempts.blocked(mine(tmp_path, COPY), COPY, tmp_path, lambda name: name == "slurm x 7")
    assert files.read_json(first.path / "record.json")["reason"] == f"its base {BASE} is interrupted"
    last.finish({"state": "done"})
    assert not attempts.blocked(mine(tmp_path, COPY), COPY, tmp_path)
    assert state(first.path) == "running"


def test_a_base_is_never_blocked(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    assert not attempts.blocked(attempt, BASE, tmp_path)
    assert state(attempt.path) == "running"
