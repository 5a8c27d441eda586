"""Records: who may write a run's directory, what is read back from it, and what became of a run."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import synthetic

from sweeps import job as jobs
from yosinski import files
from yosinski.data.half import Half
from yosinski.environment import Where
from yosinski.errors import BadInput
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.files import Damaged
from yosinski.identity import digest
from yosinski.records import attempts, claims, specs, states
from yosinski.records.attempts import Attempt, Superseded, claim
from yosinski.records.specs import folder
from yosinski.records.states import state

A, B = synthetic.halves()
BASE = synthetic.base(A)
COPY = synthetic.copy(BASE, B, 3)
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


def mine(runs: Path, run: Run = BASE) -> Attempt:
    """Claim a run that must be free."""
    attempt = claim(runs, run)
    assert attempt is not None
    return attempt


def writes(text: str) -> Callable[[Path], None]:
    """Writes this text to a path."""

    def write(path: Path) -> None:
        path.write_text(text)

    return write


def told(process: "subprocess.Popen[str]") -> str:
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


def set_age(path: Path, seconds: float) -> None:
    """Make a file look as if it was written so long ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def another_hosts_claim(path: Path, attempt: int = 1, age: float = 0.0, job: str = "") -> Path:
    """The claim of a process elsewhere, written `age` seconds ago."""
    path.mkdir(parents=True, exist_ok=True)
    claim_file = path / f"claim.{attempt}.json"
    content = {"attempt": attempt, "job": job, "released": False, "host": "elsewhere", "pid": 1, "started": 0.0}
    claim_file.write_text(json.dumps({"format": 1, **content}))
    set_age(claim_file, age)
    return claim_file


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
    assert [told(process) for process in both] == ["ready", "ready"]
    (tmp_path / "start").touch()
    assert sorted(told(process) for process in both) == ["1", "None"]
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
    assert [told(other), told(other)] == ["ready", "1"]
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
    assert states.look(first.path) == (
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


# -------------------------------------------------------------------------------------------------------------- curves


def steps_and_top1(path: Path) -> list[tuple[float, float, float]]:
    return [(row["attempt"], row["step"], row["select_top1"]) for row in states.read_curve(path)]


def test_a_curve_is_read_as_it_was_written(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    rows = [synthetic.row(10, 0.1 + 0.2), synthetic.row(20, 1 / 3)]
    for row in rows:
        attempt.append(row)
    assert states.read_curve(attempt.path) == [{"attempt": 1, **row} for row in rows]
    head = (attempt.path / "curve.csv").read_text().splitlines()[0]
    assert head == "attempt,step,epoch,learning_rate,train_loss,select_loss,select_top1,seconds"
    assert states.read_curve(folder(tmp_path, COPY.id)) == []


def test_a_torn_last_line_is_ignored(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    attempt.append(synthetic.row(10, 0.5))
    attempt.append(synthetic.row(20, 0.75))
    curve = attempt.path / "curve.csv"
    whole = curve.read_text()
    second = whole.index("\n", whole.index("\n") + 1) + 1
    for cut in range(second, len(whole)):
        curve.write_text(whole[:cut])
        assert steps_and_top1(attempt.path) == [(1, 10, 0.5)]
    curve.write_text(whole[:10])
    assert steps_and_top1(attempt.path) == []


def test_of_a_step_written_twice_the_latest_attempt_counts(tmp_path: Path) -> None:
    first = mine(tmp_path)
    for step, top1 in ((10, 0.1), (20, 0.2)):
        first.append(synthetic.row(step, top1))
    first.release()
    second = mine(tmp_path)
    for step, top1 in ((20, 0.6), (30, 0.7)):
        second.append(synthetic.row(step, top1))
    wanted = [(1, 10, 0.1), (2, 20, 0.6), (2, 30, 0.7)]
    assert steps_and_top1(first.path) == wanted
    head, *lines = (first.path / "curve.csv").read_text().splitlines()
    (first.path / "curve.csv").write_text("\n".join([head, *reversed(lines)]) + "\n")
    assert steps_and_top1(first.path) == wanted


def test_rewinding_drops_what_lies_beyond_the_checkpoint_and_the_torn_line(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    for step in (10, 20, 30):
        attempt.append(synthetic.row(step, step / 100))
    curve = attempt.path / "curve.csv"
    before = curve.read_text().splitlines()
    curve.write_text(curve.read_text() + "1,40,0.")
    attempt.rewind(20)
    assert curve.read_text().splitlines() == before[:3]
    attempt.append(synthetic.row(30, 0.9))
    assert steps_and_top1(attempt.path) == [(1, 10, 0.1), (1, 20, 0.2), (1, 30, 0.9)]
    attempt.rewind(0)
    assert curve.read_text().splitlines() == before[:1]


def test_a_curve_damaged_in_its_middle_is_named(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    for step in (10, 20):
        attempt.append(synthetic.row(step, 0.5))
    curve = attempt.path / "curve.csv"
    head, first, second = curve.read_text().splitlines()
    for middle in (first[:9], first + ",7", first.replace("0.5", "0.#")):
        curve.write_text("\n".join([head, middle, second]) + "\n")
        with pytest.raises(BadInput, match=r"curve\.csv"):
            states.read_curve(attempt.path)


# -------------------------------------------------------------------------------------------------------------- states


def test_a_runs_states(tmp_path: Path) -> None:
    path = folder(tmp_path, BASE.id)
    assert state(path) == "missing"
    specs.enrol(tmp_path, BASE)
    assert state(path) == "missing"
    first = mine(tmp_path)
    assert state(path) == "running"
    first.release()
    assert state(path) == "interrupted"
    second = mine(tmp_path)
    assert state(path) == "running"
    second.fail("the cable was pulled")
    assert state(path) == "failed"
    assert files.read_json(path / "failure.json")["error"] == "the cable was pulled"
    third = mine(tmp_path)
    assert state(path) == "running"
    third.release()
    assert state(path) == "interrupted"  # the failure was an earlier attempt's
    mine(tmp_path).finish({"state": "blocked", "reason": "its base is stuck"})
    assert state(path) == "blocked"
    fifth = mine(tmp_path)
    assert state(path) == "running"
    fifth.finish({"state": "done"})
    assert state(path) == "done"
    assert states.read_record(path) == {"format": 1, "attempts": 5, "state": "done"}


def test_a_look_shows_the_state_and_the_record(tmp_path: Path) -> None:
    path = folder(tmp_path, COPY.id)
    assert states.look(path) == ("missing", None)
    specs.enrol(tmp_path, COPY)
    assert states.look(path) == ("missing", None)
    first = mine(tmp_path, COPY)
    assert states.look(path) == ("running", None)
    first.finish({"state": "blocked", "reason": "its base is stuck"})
    blocked = {"format": 1, "attempts": 1, "state": "blocked", "reason": "its base is stuck"}
    assert states.look(path) == ("blocked", blocked)
    second = mine(tmp_path, COPY)
    assert states.look(path) == ("running", blocked)
    assert states.look(path, lambda name: True) == ("running", blocked)  # nobody's job
    second.fail("the cable was pulled")
    assert states.look(path) == ("failed", blocked)
    third = mine(tmp_path, COPY)
    third.release()
    assert states.look(path) == ("interrupted", blocked)
    mine(tmp_path, COPY).finish({"state": "done"})
    assert states.look(path) == ("done", {"format": 1, "attempts": 4, "state": "done"})
    for left in ("claim.4.json", "failure.json"):
        (path / left).write_text("torn")  # of a run that ended nothing else is read
    assert states.look(path)[0] == "done"


def test_a_run_that_was_blocked_once_can_fail_and_be_interrupted(tmp_path: Path) -> None:
    mine(tmp_path, COPY).finish({"state": "blocked", "reason": "its base is stuck"})
    second = mine(tmp_path, COPY)
    second.release()
    assert state(second.path) == "interrupted"
    mine(tmp_path, COPY).fail("no space left")
    assert state(second.path) == "failed"


def test_a_finished_run_keeps_its_record_curve_and_claims_only(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    attempt.append(synthetic.row(10, 0.5))
    attempt.fail("for now")
    attempt = mine(tmp_path)
    attempt.beat(5, 10)
    beat = states.progress(attempt.path)
    assert beat is not None
    assert (beat["attempt"], beat["step"], beat["steps"]) == (2, 5, 10)
    for name in ("checkpoint.pt", "weights.safetensors"):
        attempt.save(name, writes("x"))
    attempt.finish({"state": "done"})
    kept = {"run.json", "curve.csv", "claim.1.json", "claim.2.json", "weights.safetensors", "record.json"}
    assert {file.name for file in attempt.path.iterdir()} == kept
    assert states.progress(attempt.path) is None


def test_a_heartbeat_says_where_and_when_its_attempt_began(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    attempt.beat(30, 100, first_step=10, began=1234.5)
    beat = files.read_json(attempt.path / "progress.json")
    assert beat.pop("time") == pytest.approx(time.time(), abs=60)
    assert beat == {"format": 1, "attempt": 1, "step": 30, "steps": 100, "first_step": 10, "began": 1234.5}
    attempt.beat(31, 100, first_step=10, began=1234.5)
    now = states.progress(attempt.path)
    assert now is not None
    assert (now["step"], now["first_step"]) == (31, 10)


def test_being_blocked_keeps_the_checkpoint(tmp_path: Path) -> None:
    attempt = mine(tmp_path, COPY)
    attempt.save("checkpoint.pt", writes("x"))
    attempt.finish({"state": "blocked", "reason": "its base is running"})
    assert (attempt.path / "checkpoint.pt").exists()


# ----------------------------------------------------------------------------------------------- writing and reading


@pytest.mark.parametrize(
    "run",
    [
        BASE,
        COPY,
        synthetic.copy(BASE, A, 7, plus=True, seed=5),
        replace(BASE, examples_per_class=10).copy(2, "random", below="gaussian"),
    ],
    ids=str,
)
def test_a_run_is_loaded_as_it_was_enrolled(run: Run, tmp_path: Path) -> None:
    path = specs.enrol(tmp_path, run)
    assert path == tmp_path / run.id[:2] / run.id
    loaded = specs.load(tmp_path, run.id)
    assert loaded == run
    assert loaded.id == run.id
    assert loaded.name == run.name
    assert (loaded.half.data, loaded.half.letter, loaded.half.split) == ("emoji", run.half.letter, "random:0")
    assert files.read_json(path / "run.json") == {"format": 1, "id": run.id, "name": run.name, "spec": run.spec}
    if run.parent:
        assert specs.load(tmp_path, run.parent.id) == run.parent


def test_enrolling_again_changes_nothing(tmp_path: Path) -> None:
    specs.enrol(tmp_path, COPY)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert len(before) == 4  # two runs, two halves
    specs.enrol(tmp_path, replace(COPY, half=replace(B, letter="Q")))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before
    assert specs.load(tmp_path, COPY.id).name == "A3B"


def test_scanning_finds_all_runs_in_order(tmp_path: Path) -> None:
    runs = synthetic.sweep([1, 2])
    for run in runs:
        specs.enrol(tmp_path, run)
    (tmp_path / "jobs").mkdir()
    (tmp_path / BASE.id[:2] / "stray").mkdir()
    assert [path.name for path in specs.scan(tmp_path)] == sorted(run.id for run in runs)
    with pytest.raises(BadInput, match=f"no runs directory {tmp_path / 'nowhere'}"):
        next(specs.scan(tmp_path / "nowhere"))


def test_known_are_the_ids_that_have_a_directory(tmp_path: Path) -> None:
    assert specs.ids(tmp_path) == set()
    assert specs.ids(tmp_path / "nowhere") == set()
    for run in (BASE, COPY):
        specs.enrol(tmp_path, run)
    for name in ("jobs", "sweeps", "submissions", ".clock-0123"):
        (tmp_path / name / "x").mkdir(parents=True)
    (tmp_path / "file").touch()
    assert specs.ids(tmp_path) == {BASE.id, COPY.id}
    (tmp_path / "ab" / "ab00000000000000").mkdir(parents=True)  # nothing is in it yet
    assert specs.ids(tmp_path) == {BASE.id, COPY.id, "ab00000000000000"}


@pytest.mark.parametrize("length", [4, 8, 15, 16])
def test_a_run_is_found_by_the_beginning_of_its_id(length: int, tmp_path: Path) -> None:
    for run in (BASE, COPY):
        specs.enrol(tmp_path, run)
    assert BASE.id[:4] != COPY.id[:4]
    assert specs.find(tmp_path, BASE.id[:length]) == BASE.id
    assert specs.find(tmp_path, COPY.id[:length]) == COPY.id


def test_the_beginning_of_several_ids_finds_none_and_names_some(tmp_path: Path) -> None:
    ids = [f"abcd{k:012x}" for k in range(7)]
    for run_id in reversed(ids):
        folder(tmp_path, run_id).mkdir(parents=True)
    with pytest.raises(BadInput, match=f"^'abcd' begins several runs: {', '.join(ids[:5])}$"):
        specs.find(tmp_path, "abcd")
    assert specs.find(tmp_path, ids[6]) == ids[6]


@pytest.mark.parametrize("text", ["", "abc", "abce", "ABCD", "wxyz", "abcd0000000000000", "*", "../x"])
def test_what_begins_no_run_is_named(text: str, tmp_path: Path) -> None:
    folder(tmp_path, "abcd000000000000").mkdir(parents=True)
    wanted = f"no run {text!r} in {tmp_path}; give the first digits of an id: yosinski status {tmp_path} lists them"
    with pytest.raises(BadInput, match=f"^{re.escape(wanted)}$"):
        specs.find(tmp_path, text)
    with pytest.raises(BadInput, match=f"^no runs directory {tmp_path / 'nowhere'}$"):
        specs.find(tmp_path / "nowhere", "abcd")


@pytest.mark.parametrize(
    ("text", "fits"),
    [("0123", True), ("abcdef0123456789", True), ("012", False), ("0" * 17, False), ("012G", False), ("01 3", False)],
)
def test_four_to_sixteen_hex_digits_may_begin_an_id(text: str, fits: bool) -> None:
    assert specs.is_id(text) == fits


def change(path: Path, *keys: str, value: Any) -> None:
    """Set one value inside a JSON file."""
    content = json.loads(path.read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(content))


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"no run 0123456789abcdef in {tmp_path}"):
        specs.load(tmp_path, "0123456789abcdef")


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("seed",), 1),
        (("recipe", "learning_rate"), 0.2),
        (("recipe", "rate"), 0.2),
        (("cut", "n"), 4),
        (("cut", "n"), 40),
        (("treatment",), "tuned"),
        (("examples_per_class",), 3),
    ],
)
def test_a_tampered_spec_is_refused_by_name(keys: tuple[str, ...], value: Any, tmp_path: Path) -> None:
    path = specs.enrol(tmp_path, COPY) / "run.json"
    change(path, "spec", *keys, value=value)
    with pytest.raises(BadInput, match=f"^{path} is damaged$"):
        specs.load(tmp_path, COPY.id)


def written_elsewhere(runs: Path, spec: dict[str, Any]) -> Path:
    """What another version leaves of a run on B: the id is the hash of its own spec."""
    specs.enrol(runs, BASE)
    specs.enrol_half(runs, B)
    path = folder(runs, digest(spec)) / "run.json"
    files.write_json(path, {"id": digest(spec), "name": "A3B", "spec": spec})
    return path


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (
            {**COPY.spec, "recipe": {**COPY.spec["recipe"], "swirl": 0.5, "grain": 1}},
            "needs a newer version of yosinski: recipe value grain, recipe value swirl",
        ),
        (
            {**COPY.spec, "width": 2, "recipe": {**COPY.spec["recipe"], "swirl": 0.5}},
            "needs a newer version of yosinski: value width, recipe value swirl",
        ),
        (
            {**COPY.spec, "recipe": {**COPY.spec["recipe"], "optimiser": "lion"}},
            "needs another version of yosinski: unknown recipe.optimiser 'lion'; choose from: sgd, adamw",
        ),
        ({**COPY.spec, "treatment": "fused"}, "needs another version of yosinski: unknown treatment 'fused'"),
        (
            {**COPY.spec, "recipe": {name: value for name, value in COPY.spec["recipe"].items() if name != "views"}},
            "needs an older version of yosinski: values are missing",
        ),
    ],
)
def test_what_only_another_version_knows_is_refused_by_name_and_not_called_damaged(
    spec: dict[str, Any], why: str, tmp_path: Path
) -> None:
    path = written_elsewhere(tmp_path, spec)
    with pytest.raises(BadInput, match=f"^{re.escape(f'{path} (format 1) {why}')}") as caught:
        specs.load(tmp_path, path.parent.name)
    assert not isinstance(caught.value, Damaged)


def test_a_run_that_an_earlier_version_wrote_is_loaded_by_its_id(tmp_path: Path) -> None:
    """As it was written before there were values that came later."""
    recipe = {
        **{"epochs": 4.0, "batch_size": 8, "learning_rate": 0.1, "warmup": 0.25, "momentum": 0.9, "clip": 1.0},
        **{"weight_decay": 0.0005, "augment": True, "shift": 2, "initialiser": "kaiming", "evaluations": 4},
        **{"iterations": 0, "schedule": "cosine", "step_every": 0, "gamma": 1.0, "solver": "nesterov", "views": 0},
        **{"bias_rate": 1.0, "bias_decay": 1.0, "mean": "channel", "scale": True, "outputs": 0, "thaw": 0.5},
        **{"dropout_below": False, "norm_below": "frozen", "affine_below": False, "layer_decay": 0.5, "probe": 0.5},
    }
    half = Half("emoji", "f00d", ("ant", "bat", "cat"), ("noto",), "A", "random:0")
    spec = {
        **{"semantics": 3, "network": "alexnet32", "half": half.digest, "source": None, "recipe": recipe, "seed": 1},
        **{"treatment": "base", "cut": None, "below": None, "preserved": 0, "examples_per_class": None, "parent": None},
    }
    specs.enrol_half(tmp_path, half)
    files.write_json(folder(tmp_path, "379d1b818b2d93c8") / "run.json", {"name": "baseA", "spec": spec})
    loaded = specs.load(tmp_path, "379d1b818b2d93c8")
    assert loaded.id == "379d1b818b2d93c8"
    assert loaded.recipe == Recipe(**recipe)
    assert (loaded.recipe.mirror, loaded.recipe.optimiser, loaded.recipe.least_area) == (True, "sgd", 0.0)


@pytest.mark.parametrize("missing", ["seed", "semantics", "half", "cut"])
def test_a_spec_that_lacks_something_is_refused_by_name(missing: str, tmp_path: Path) -> None:
    path = specs.enrol(tmp_path, COPY) / "run.json"
    content = json.loads(path.read_text())
    del content["spec"][missing]
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=f"^{path} is damaged$"):
        specs.load(tmp_path, COPY.id)


def test_a_tampered_or_missing_half_is_refused_by_name(tmp_path: Path) -> None:
    specs.enrol(tmp_path, COPY)
    path = tmp_path / "halves" / f"{B.digest}.json"
    change(path, "classes", value=["x", "y", "z"])
    with pytest.raises(BadInput, match=f"{path}"):
        specs.load(tmp_path, COPY.id)
    path.unlink()
    with pytest.raises(BadInput, match=f"{path}"):
        specs.load(tmp_path, COPY.id)


def test_other_semantics_are_refused(tmp_path: Path) -> None:
    path = specs.enrol(tmp_path, BASE) / "run.json"
    change(path, "spec", "semantics", value=1)
    with pytest.raises(BadInput, match=f"{path} was made with semantics 1; this version computes 3"):
        specs.load(tmp_path, BASE.id)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"format": "1"}', "{\x00", '"format"'])
def test_damaged_files_are_named(content: str, tmp_path: Path) -> None:
    path = specs.enrol(tmp_path, BASE)
    for name, read in {"run.json": lambda: specs.load(tmp_path, BASE.id), "record.json": lambda: state(path)}.items():
        file = path / name
        file.write_text(content)
        with pytest.raises(Damaged, match=f"^{file} is damaged$") as caught:
            read()
        assert caught.value.path == file


def test_bytes_that_are_no_text_are_damage(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_bytes(b'{"format": 1, "state": "\xff"}')
    with pytest.raises(Damaged, match=r"record\.json is damaged"):
        files.read_json(file)


def test_a_record_with_an_unknown_state_is_damaged(tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    attempt.finish({"state": "done"})
    change(attempt.path / "record.json", "state", value="splendid")
    with pytest.raises(Damaged, match=r"record\.json is damaged"):
        state(attempt.path)


@pytest.mark.parametrize("name", ["run.json", "record.json", "halves"])
def test_files_of_a_newer_format_are_named_and_not_called_damaged(name: str, tmp_path: Path) -> None:
    attempt = mine(tmp_path)
    attempt.finish({"state": "done"})
    file = tmp_path / "halves" / f"{A.digest}.json" if name == "halves" else attempt.path / name
    change(file, "format", value=2)
    wanted = f"^{file} is of format 2; this version reads up to format 1: update yosinski$"
    with pytest.raises(BadInput, match=wanted) as caught:
        _ = state(attempt.path), specs.load(tmp_path, BASE.id)
    assert not isinstance(caught.value, Damaged)


def test_damaged_files_are_set_aside_under_the_first_free_number(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    for k in (1, 2, 3):
        file.write_text(f"damage {k}")
        assert files.set_aside(file) == tmp_path / f"record.json.damaged-{k}"
    assert not file.exists()
    assert [(tmp_path / f"record.json.damaged-{k}").read_text() for k in (1, 2, 3)] == [
        "damage 1",
        "damage 2",
        "damage 3",
    ]
    (tmp_path / "record.json.damaged-2").unlink()
    file.write_text("damage 4")
    assert files.set_aside(file).name == "record.json.damaged-2"


def test_numbers_that_json_lacks_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_two_machines_with_equal_process_numbers_do_not_share_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a shared disk (or in containers) process numbers repeat; both writers must come through."""
    real, file = Path.replace, tmp_path / "half.json"
    nested = False

    def replace_after_another(self: Path, target: Path) -> Path:
        nonlocal nested
        if not nested:
            nested = True
            files.write_json(file, {"who": "other"})
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace_after_another)
    files.write_json(file, {"who": "me"})
    assert files.read_json(file)["who"] == "me"
