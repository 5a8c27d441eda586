"""Status, troubles and healing: what records and SLURM say of every run together, and what brings failures home."""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import synthetic
from rich.console import Console
from safetensors.numpy import save_file

from slurm import cluster, sending, status, submission
from slurm.cluster import Element
from slurm.heal import Healing, healing, set_aside, with_spoilt_bases
from slurm.job import STARTED
from slurm.profile import Profile
from slurm.sending import Array
from slurm.status import STATUSES, Sight
from slurm.submission import Submission
from sweeps.plan import Pack
from yosinski import files
from yosinski.cli import display
from yosinski.environment import Where
from yosinski.errors import BadInput
from yosinski.experiment.run import Run
from yosinski.files import Damaged
from yosinski.networks import tensors
from yosinski.records import attempts, specs

A, B = synthetic.halves()
BASE_A, BASE_B = synthetic.base(A), synthetic.base(B)
A2B, A3B, B2B, B2B_TUNED = (
    synthetic.copy(BASE_A, B, 2),
    synthetic.copy(BASE_A, B, 3),
    synthetic.copy(BASE_B, B, 2),
    synthetic.copy(BASE_B, B, 2, plus=True),
)
RUNS = BASE_A, BASE_B, A2B, A3B, B2B, B2B_TUNED
PROFILE = Profile("mine", memory="4G", time="1:00:00", pack=14)


def alone(*runs: Run) -> list[tuple[Run, ...]]:
    """Packs of one run each."""
    return [(run,) for run in runs]


@dataclass
class Sweep:
    """A runs directory, and a SLURM that says what it is told to say."""

    runs: Path
    answers: dict[str, dict[int, Element]] = field(default_factory=dict)
    created: float = 0.0

    def given(
        self, job: str, packs: Sequence[tuple[Run, ...]], *elements: str | Element, profile: Profile = PROFILE
    ) -> Submission:
        """A submission, and for each of its elements SLURM's word or all that SLURM knows of it."""
        self.created += 1
        array = Array(tuple(map(Pack, packs)), ())
        code: dict[str, str | None] = {"path": "/code", "hash": "", "commit": None}
        made = sending.draft(array, "figure2", profile, Where(self.runs, self.runs), code)
        made = submission.write(self.runs, replace(made, token=f"t{job}", job=job, created=self.created))
        names = [made.element(ids[0]) for ids in made.elements]
        self.answers[made.name] = {
            k: Element(names[k], told, exit="1:0" if told == "FAILED" else "") if isinstance(told, str) else told
            for k, told in enumerate(elements)
        }
        return made

    def claimed(self, run: Run, job: str, age: float = 0.0, attempt: int = 1) -> Path:
        """A claim of a job on another host, whose last heartbeat was so many seconds ago."""
        path = specs.enrol(self.runs, run)
        who = {"attempt": attempt, "job": f"slurm  {job}", "released": False}
        files.write_json(path / f"claim.{attempt}.json", {**who, "host": "node7 pid:[1]", "pid": 1, "started": 0.0})
        then = time.time() - age
        os.utime(path / f"claim.{attempt}.json", (then, then))
        return path

    def log(self, submitted: Submission, job: str, *lines: str) -> None:
        """What a job has written to its log of errors."""
        folder = submission.jobs(self.runs, submitted.token)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{job}_0_log.err").write_text("".join(f"{line}\n" for line in lines))

    def look(self, *runs: Run) -> list[Sight]:
        """What became of these runs (all where none is named)."""
        seen, silent = status.sights(self.runs, status.entries(runs or RUNS))
        assert silent == ""
        return seen

    def one(self, run: Run) -> Sight:
        """What became of one run, of which the base is known, too."""
        return self.look(*([run.parent] if run.parent else []), run)[-1]

    def states(self, *runs: Run) -> list[str]:
        return [sight.state for sight in self.look(*runs)]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    made = Sweep(tmp_path / "runs")
    made.runs.mkdir()
    monkeypatch.setattr(cluster, "elements", lambda names: {name: made.answers.get(name, {}) for name in names})
    monkeypatch.setattr(cluster, "name", lambda: "here")
    return made


def mine(runs: Path, run: Run, job: str = "") -> attempts.Attempt:
    """Claim a run that must be free."""
    attempt = attempts.claim(runs, run, job)
    assert attempt is not None
    return attempt


def told(sight: Sight) -> tuple[str, str]:
    return sight.state, sight.cause


# ------------------------------------------------------------------------------------------------------------- entries


def test_the_runs_of_a_directory_are_those_that_sweeps_list_and_those_that_are_there(tmp_path: Path) -> None:
    other = replace(BASE_A, seed=7)
    synthetic.manifest(tmp_path, "figure2", [A2B, BASE_A, BASE_B])
    synthetic.manifest(tmp_path, "again", [BASE_A, A2B])
    specs.enrol(tmp_path, A2B)
    specs.enrol(tmp_path, other)
    (tmp_path / "ab" / "stray").mkdir(parents=True)
    found = status.entries_of(tmp_path)
    assert {entry.id for entry in found} == {A2B.id, BASE_A.id, BASE_B.id, other.id}
    assert len(found) == 4
    assert [entry.id for entry in found][-1] == A2B.id  # bases come first
    assert {entry.id: entry for entry in found} == {
        entry.id: entry for entry in status.entries([BASE_A, BASE_B, A2B, other])
    }
    with pytest.raises(BadInput, match=f"no runs directory {tmp_path / 'nowhere'}"):
        status.entries_of(tmp_path / "nowhere")


def test_an_entry_says_where_a_run_belongs_in_the_figure() -> None:
    found = [(entry.name, entry.series, entry.n, entry.parent) for entry in status.entries(RUNS)]
    assert found == [
        ("baseA", "base", 0, None),
        ("baseB", "base", 0, None),
        ("A2B", "AnB", 2, BASE_A.id),
        ("A3B", "AnB", 3, BASE_A.id),
        ("B2B", "BnB", 2, BASE_B.id),
        ("B2B+", "BnB+", 2, BASE_B.id),
    ]


# ----------------------------------------------------------------------------------------------------- records, no jobs


def test_what_was_never_submitted_is_as_its_records_say(sweep: Sweep) -> None:
    assert set(sweep.states()) == {"missing"}
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    synthetic.finish(sweep.runs, BASE_B, None, state="stuck")
    synthetic.finish(sweep.runs, A2B, 0.6)
    mine(sweep.runs, A3B).release()
    assert sweep.states() == ["done", "stuck", "done", "interrupted", "blocked", "blocked"]
    assert told(sweep.one(B2B)) == ("blocked", "its base baseB is stuck")
    assert [sight.job for sight in sweep.look()] == [None] * 6


def test_copies_of_a_failed_base_are_blocked_and_those_of_an_interrupted_one_are_not(sweep: Sweep) -> None:
    mine(sweep.runs, BASE_A).fail("the cable was pulled")
    mine(sweep.runs, BASE_B).release()
    assert sweep.states() == ["failed", "interrupted", "blocked", "blocked", "missing", "missing"]
    assert told(sweep.one(A2B)) == ("blocked", "its base baseA is failed")


def test_a_copy_that_was_cut_from_other_weights_is_done_and_stale(sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    synthetic.finish(sweep.runs, A2B, 0.6)
    synthetic.finish(sweep.runs, A3B, 0.6, parent_weights="others")
    assert [(sight.state, sight.stale) for sight in sweep.look(BASE_A, A2B, A3B)] == [
        ("done", False),
        ("done", False),
        ("done", True),
    ]


def test_the_progress_of_a_run_and_when_it_ends_are_told_by_its_heartbeat(sweep: Sweep) -> None:
    attempt = mine(sweep.runs, BASE_A)
    assert (sweep.one(BASE_A).progress, sweep.one(BASE_A).ends_in) == (0.0, None)
    attempt.beat(10, 100, first_step=10, began=time.time() - 40)
    assert (sweep.one(BASE_A).progress, sweep.one(BASE_A).ends_in) == (0.1, None)  # no step was made yet
    attempt.beat(30, 100, first_step=10, began=time.time() - 40)
    sight = sweep.one(BASE_A)
    assert (sight.state, sight.progress) == ("running", 0.3)
    assert sight.ends_in == pytest.approx(70 * 40 / 20, abs=1)  # at the pace since this attempt began
    assert sight.host == os.uname().nodename


def test_a_heartbeat_without_a_beginning_gives_no_end(sweep: Sweep) -> None:
    attempt = mine(sweep.runs, BASE_A)
    attempt.beat(30, 100)
    assert (sweep.one(BASE_A).progress, sweep.one(BASE_A).ends_in) == (0.3, None)


def test_a_heartbeat_of_an_older_version_gives_no_end(sweep: Sweep) -> None:
    attempt = mine(sweep.runs, BASE_A)
    beat = {"attempt": 1, "step": 30, "steps": 100, "time": time.time()}
    files.write_json(attempt.path / "progress.json", beat)
    assert (sweep.one(BASE_A).progress, sweep.one(BASE_A).ends_in) == (0.3, None)


# --------------------------------------------------------------------------------------------------- records and SLURM


def test_queued_copies_wait_until_their_base_has_ended(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A, BASE_B), "PENDING", "RUNNING")
    sweep.given("6", alone(A2B, A3B), "PENDING", "PENDING")
    sweep.given("7", alone(B2B, B2B_TUNED), "PENDING", "PENDING")
    assert sweep.states() == ["queued", "running", "waiting", "waiting", "waiting", "waiting"]
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    assert sweep.states() == ["done", "running", "queued", "queued", "waiting", "waiting"]
    synthetic.finish(sweep.runs, A2B, 0.7)
    assert sweep.states() == ["done", "running", "done", "queued", "waiting", "waiting"]


def test_a_record_says_more_than_slurm(sweep: Sweep) -> None:
    for k, (slurms, ours) in enumerate((("OUT_OF_MEMORY", "done"), ("RUNNING", "stuck"), ("PENDING", "diverged"))):
        run = replace(BASE_A, seed=k)
        sweep.given(f"{k}", alone(run), slurms)
        synthetic.finish(sweep.runs, run, None, state=ours)
        assert told(sweep.one(run)) == (ours, "")


def test_a_job_that_has_not_claimed_its_run_yet_runs_all_the_same(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), Element("5", "RUNNING", node="node3"))
    sight = sweep.one(BASE_A)
    assert (sight.state, sight.progress, sight.ends_in, sight.host) == ("running", 0.0, None, "node3")
    assert sight.job is not None
    assert sight.job.element == Element("5", "RUNNING", node="node3")


def test_the_heartbeat_of_another_host_shows_progress(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), "RUNNING")
    path = sweep.claimed(BASE_A, "5")
    beat = {"attempt": 1, "step": 50, "steps": 100, "time": 1000.0, "first_step": 0, "began": 900.0}
    files.write_json(path / "progress.json", beat)
    sight = sweep.one(BASE_A)
    assert (sight.state, sight.progress, sight.ends_in, sight.host) == ("running", 0.5, 100.0, "node7")


def test_a_young_heartbeat_of_a_job_that_is_over_is_no_life(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A, BASE_B), "RUNNING", "RUNNING")
    sweep.claimed(BASE_A, "5_0")
    sweep.claimed(BASE_B, "5_1")
    assert sweep.states(BASE_A, BASE_B) == ["running", "running"]
    sweep.answers["yosinski-t5"] = {0: Element("5_0", "OUT_OF_MEMORY"), 1: Element("5_1", "RUNNING")}
    assert [told(sight) for sight in sweep.look(BASE_A, BASE_B)] == [("failed", "out of memory"), ("running", "")]
    sweep.answers["yosinski-t5"][0] = Element("5_0", "CANCELLED")
    assert sweep.states(BASE_A, BASE_B) == ["interrupted", "running"]


def test_a_young_heartbeat_of_a_job_that_is_over_is_no_life_when_the_next_one_is_queued(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), "OUT_OF_MEMORY")
    sweep.claimed(BASE_A, "5", age=10)
    assert told(sweep.one(BASE_A)) == ("failed", "out of memory")
    sweep.given("9", alone(BASE_A), "PENDING")
    assert sweep.one(BASE_A).state == "queued"


def test_a_claim_that_slurm_did_not_make_is_not_slurms_to_judge(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), "CANCELLED")
    mine(sweep.runs, BASE_A)  # `yosinski run`, here
    assert sweep.one(BASE_A).state == "running"


def test_a_heartbeat_counts_where_slurm_has_forgotten_the_job(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A))
    sweep.claimed(BASE_A, "5", age=10)
    assert sweep.one(BASE_A).state == "running"
    sweep.claimed(BASE_A, "5", age=400)
    assert told(sweep.one(BASE_A)) == ("interrupted", "")


@pytest.mark.parametrize("reason", ["JobHeldUser", "JobHeldAdmin", "job requeued in held state"])
def test_a_held_job_is_queued_and_says_so(reason: str, sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), Element("5", "PENDING", reason))
    sweep.given("6", alone(BASE_B), Element("6", "PENDING", "Resources"))
    assert told(sweep.one(BASE_A)) == ("queued", f"held by SLURM ({reason})")
    assert told(sweep.one(BASE_B)) == ("queued", "")


def test_a_job_that_is_suspended_or_ending_is_at_work(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A, BASE_B), "SUSPENDED", "COMPLETING")
    assert [told(sight) for sight in sweep.look(BASE_A, BASE_B)] == [("running", "suspended by SLURM"), ("running", "")]
    sweep.claimed(BASE_A, "5_0")
    assert told(sweep.one(BASE_A)) == ("running", "suspended by SLURM")


def test_what_was_given_to_another_cluster_is_that_ones_to_tell(sweep: Sweep) -> None:
    """Its job has the number of one that has ended here."""
    sweep.given("5", alone(BASE_A), "FAILED")
    there = sweep.given("6", alone(BASE_B))
    submission.write(sweep.runs, replace(there, job="5", cluster="there"))
    assert told(sweep.one(BASE_B)) == ("queued", "on cluster there, which must be asked there")
    assert sweep.one(BASE_A).state == "failed"
    path = sweep.claimed(BASE_B, "5")
    claim = json.loads((path / "claim.1.json").read_text())
    files.write_json(path / "claim.1.json", {**claim, "job": "slurm there 5"})
    assert sweep.one(BASE_B).state == "running"


def test_what_is_preempted_and_queued_again_is_queued(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), "REQUEUED")
    mine(sweep.runs, BASE_A).release()
    assert told(sweep.one(BASE_A)) == ("queued", "")


# ------------------------------------------------------------------------------------------------------------ failures

ENDS = {
    "OUT_OF_MEMORY": "out of memory",
    "TIMEOUT": "over the time limit",
    "NODE_FAIL": "lost with its node",
    "BOOT_FAIL": "lost with its node",
    "PREEMPTED": "preempted and not queued again",
    "DEADLINE": "over its deadline",
    "LOST": "lost: neither queue nor accounting know how its job ended",
}


@pytest.mark.parametrize("end", ENDS)
def test_slurms_word_for_an_end_is_the_cause(end: str, sweep: Sweep) -> None:
    made = sweep.given("5", alone(BASE_A, BASE_B), end, end)
    sweep.log(made, "5_0", "something else")
    sweep.claimed(BASE_A, "5_0")  # killed while it trained; the other one before it began
    assert [told(sight) for sight in sweep.look(BASE_A, BASE_B)] == [("failed", ENDS[end])] * 2
    assert told(sweep.one(A2B)) == ("blocked", "its base baseA is failed")


def test_all_runs_of_a_pack_share_its_end_but_those_that_were_finished_before(sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    sweep.given("5", [(A2B, A3B)], "TIMEOUT")
    sweep.claimed(A3B, "5")
    synthetic.finish(sweep.runs, A2B, 0.7)
    assert [told(sight) for sight in sweep.look(BASE_A, A2B, A3B)][1:] == [
        ("done", ""),
        ("failed", "over the time limit"),
    ]


ERRORS = {
    "the cable was pulled": "the cable was pulled",
    "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB": "out of GPU memory",
    "too large for this GPU, even alone: out of GPU memory: CUDA out of memory": "out of GPU memory, even alone",
    "MemoryError: cannot allocate": "out of memory",
    "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory": "out of memory",
    "OSError: [Errno 12] Cannot allocate memory": "out of memory",
    "no space left on the disk of /runs; what is trained so far is kept": "no space left on the disk",
    "OSError: [Errno 28] No space left on device": "no space left on the disk",
    "OSError: [Errno 122] Disk quota exceeded": "no space left on the disk",
}


@pytest.mark.parametrize("error", ERRORS)
def test_a_failure_says_its_cause_itself(error: str, sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), "FAILED")
    mine(sweep.runs, BASE_A, "slurm  5").fail(error)
    assert told(sweep.one(BASE_A)) == ("failed", ERRORS[error])


@pytest.mark.parametrize("error", ERRORS)
def test_without_a_failure_the_log_of_the_job_says_the_cause(error: str, sweep: Sweep) -> None:
    made = sweep.given("5", alone(BASE_A, BASE_B), "FAILED", "FAILED")
    own = ["Traceback (most recent call last):", f"  {error}", ""]
    sweep.log(made, "5_0", *own, "srun: error: node1: task 0: Exited with exit code 1", "  ")
    sweep.log(made, "5_1", "of another element")
    assert told(sweep.one(BASE_A)) == ("failed", ERRORS[error])
    assert told(sweep.one(BASE_B)) == ("failed", "of another element")


@pytest.mark.parametrize("exit_status", ["0:9", "137:0", ""])
@pytest.mark.parametrize(
    "logged",
    [
        ["/var/spool/slurmd/job5/slurm_script: line 23:   411 Killed                  srun --unbuffered python"],
        ["UserWarning: something is slow", "srun: error: node1: task 0: Killed", "srun: Terminating StepId=5.0"],
        ["slurmstepd: error: *** STEP 5.0 ON node1 ***", "srun: error: node1: task 0: Exited with exit code 137"],
    ],
)
def test_a_killed_worker_is_said_to_be_whatever_slurms_script_wrote(
    exit_status: str, logged: list[str], sweep: Sweep
) -> None:
    made = sweep.given("5", alone(BASE_A), Element("5", "FAILED", exit=exit_status))
    sweep.log(made, "5", *logged)
    assert told(sweep.one(BASE_A)) == ("failed", "killed (signal 9)")
    sweep.log(made, "5", "slurmstepd: error: Detected 1 oom_kill event in StepId=5.0", *logged)
    assert sweep.one(BASE_A).cause == "out of memory"  # the accounting does not say why


def test_a_killed_worker_that_left_no_log_is_known_by_its_status(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), Element("5", "FAILED", exit="0:9"))
    assert told(sweep.one(BASE_A)) == ("failed", "killed (signal 9)")


def test_of_a_log_only_the_last_turn_of_a_job_counts(sweep: Sweep) -> None:
    job = sweep.given("5", alone(BASE_A), "FAILED")
    sweep.log(job, "5", f"{STARTED}5", "CUDA out of memory", f"{STARTED}5 on node2", "the cable was pulled")
    assert sweep.one(BASE_A).cause == "the cable was pulled"
    sweep.log(job, "5", f"{STARTED}5", "the cable was pulled", f"{STARTED}5 on node2", "MemoryError")
    assert sweep.one(BASE_A).cause == "out of memory"


@pytest.mark.parametrize("logged", [None, (), ("", "  ")])
def test_without_a_word_there_is_a_cause_nevertheless(logged: tuple[str, ...] | None, sweep: Sweep) -> None:
    made = sweep.given("5", alone(BASE_A), Element("5", "FAILED", exit="9:0"))
    if logged is not None:
        sweep.log(made, "5", *logged)
    state, cause = told(sweep.one(BASE_A))
    assert state == "failed"
    assert cause in ("ended with 9:0", "it ended without a word")


def test_without_log_and_accounting_the_cause_is_a_whole_sentence(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), Element("5", "FAILED"))
    assert sweep.one(BASE_A).cause.strip() not in ("", "ended with")


def test_a_failure_of_the_job_before_is_none_of_the_one_that_is_queued(sweep: Sweep) -> None:
    mine(sweep.runs, BASE_A, "slurm  5").fail("the cable was pulled")
    sweep.given("5", alone(BASE_A), "FAILED")
    sweep.given("9", alone(BASE_A), "PENDING")
    assert told(sweep.one(BASE_A)) == ("queued", "")


def test_what_was_cancelled_is_interrupted_or_missing(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A, BASE_B), "CANCELLED", "CANCELLED")
    sweep.claimed(BASE_A, "5_0")
    assert [told(sight) for sight in sweep.look(BASE_A, BASE_B, A2B)] == [
        ("interrupted", ""),
        ("missing", ""),
        ("missing", ""),
    ]


def test_a_job_that_completed_without_its_run_has_not_failed(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A, BASE_B), "COMPLETED", "COMPLETED")
    mine(sweep.runs, BASE_A, "slurm  5_0").release()
    assert sweep.states(BASE_A, BASE_B) == ["interrupted", "missing"]


def test_a_failed_job_is_no_cause_where_somebody_else_had_the_run_since(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), "TIMEOUT")
    sweep.claimed(BASE_A, "5", age=500)
    assert sweep.one(BASE_A).state == "failed"
    mine(sweep.runs, BASE_A).release()  # `yosinski run`, stopped
    assert told(sweep.one(BASE_A)) == ("interrupted", "")


def test_a_job_that_failed_before_it_could_claim_has_failed_although_an_earlier_one_had_claimed(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), "CANCELLED")
    sweep.claimed(BASE_A, "5", age=3600)
    assert sweep.one(BASE_A).state == "interrupted"
    sweep.created = time.time()  # submitted anew, an hour after that claim
    sweep.given("9", alone(BASE_A), "OUT_OF_MEMORY")
    assert told(sweep.one(BASE_A)) == ("failed", "out of memory")


def test_a_copy_that_found_its_base_not_good_is_missing_again_when_the_base_is_not_lost(sweep: Sweep) -> None:
    mine(sweep.runs, A2B).finish({"state": "blocked", "reason": "its base baseA is running"})
    sweep.given("5", alone(BASE_A), "RUNNING")
    sweep.given("6", alone(A2B), "COMPLETED")
    assert sweep.states(BASE_A, A2B) == ["running", "missing"]


def test_a_damaged_failure_is_named(sweep: Sweep) -> None:
    attempt = mine(sweep.runs, BASE_A)
    attempt.fail("the cable was pulled")
    synthetic.damage(attempt.path / "failure.json")
    with pytest.raises(Damaged, match=r"failure\.json is damaged"):
        sweep.look(BASE_A)


# -------------------------------------------------------------------------------------------------------- SLURM silent


@pytest.fixture
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without SLURM."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    cluster._settings.cache_clear()
    yield
    cluster._settings.cache_clear()


def everything(sweep: Sweep) -> None:
    """One run of every sort, with jobs for all."""
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    mine(sweep.runs, BASE_B, "slurm  5_1").fail("the cable was pulled")
    sweep.claimed(A2B, "6_0")
    sweep.claimed(A3B, "6_1", age=400)
    sweep.given("5", alone(BASE_A, BASE_B), "COMPLETED", "FAILED")
    sweep.given("6", alone(A2B, A3B), "RUNNING", "OUT_OF_MEMORY")


BY_RECORDS = ["done", "failed", "running", "interrupted", "blocked", "blocked"]


def test_without_slurm_the_records_alone_say_what_became_of_runs(
    tmp_path: Path, no_programs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    everything(Sweep(runs))
    seen, silent = status.sights(runs, status.entries(RUNS))
    assert [sight.state for sight in seen] == BY_RECORDS
    assert [sight.job for sight in seen] == [None] * 6
    assert silent == "no SLURM on this machine"
    with pytest.raises(FileNotFoundError):
        status.sights(runs, status.entries(RUNS), adopting=True)


def test_where_the_controller_does_not_answer_the_records_alone_say_what_became_of_runs(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything(sweep)
    assert sweep.states() == ["done", "failed", "running", "failed", "blocked", "blocked"]

    def silent_elements(names: object) -> None:
        raise cluster.NoAnswer("the SLURM controller does not answer (so it says)")

    monkeypatch.setattr(cluster, "elements", silent_elements)
    seen, silent = status.sights(sweep.runs, status.entries(RUNS))
    assert [sight.state for sight in seen] == BY_RECORDS
    assert silent == "the SLURM controller does not answer (so it says)"
    with pytest.raises(cluster.NoAnswer):
        status.sights(sweep.runs, status.entries(RUNS), adopting=True)


def test_slurm_is_not_asked_about_what_is_done_or_was_never_submitted(tmp_path: Path, no_programs: None) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    synthetic.finish(runs, BASE_A, 0.7)
    Sweep(runs).given("5", alone(BASE_A), "COMPLETED")
    seen, silent = status.sights(runs, status.entries([BASE_A, A2B]), adopting=True)
    assert ([sight.state for sight in seen], silent) == (["done", "missing"], "")


# ------------------------------------------------------------------------------------------------------------ troubles


def grouped(seen: Sequence[Sight]) -> list[tuple[str, list[str], list[str]]]:
    """The troubles, by names of runs."""
    return [
        (found.cause, [s.entry.name for s in found.failed], [s.entry.name for s in found.blocked])
        for found in status.troubles(seen)
    ]


def test_troubles_are_grouped_by_cause_with_the_copies_that_they_block(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A, BASE_B), "OUT_OF_MEMORY", "COMPLETED")
    synthetic.finish(sweep.runs, BASE_B, 0.7)
    sweep.given("6", alone(B2B, B2B_TUNED), "TIMEOUT", "PENDING")
    seen = sweep.look()
    assert [sight.state for sight in seen] == ["failed", "done", "blocked", "blocked", "failed", "queued"]
    assert grouped(seen) == [("out of memory", ["baseA"], ["A2B", "A3B"]), ("over the time limit", ["B2B"], [])]
    assert [display.trouble(found) for found in status.troubles(seen)] == [
        "1 base out of memory, 2 copies blocked",
        "1 copy over the time limit",
    ]


def test_one_cause_is_one_trouble_and_the_largest_comes_first(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A, BASE_B), "NODE_FAIL", "COMPLETED")
    synthetic.finish(sweep.runs, BASE_B, 0.7)
    sweep.given("6", alone(B2B, B2B_TUNED), "NODE_FAIL", "NODE_FAIL")
    assert grouped(sweep.look()) == [("lost with its node", ["baseA", "B2B", "B2B+"], ["A2B", "A3B"])]
    assert [display.trouble(found) for found in status.troubles(sweep.look())] == [
        "1 base and 2 copies lost with its node, 2 copies blocked"
    ]
    sweep.answers["yosinski-t5"][0] = Element("5_0", "TIMEOUT")  # with two copies that are blocked it is the larger
    assert [cause for cause, *_ in grouped(sweep.look())] == ["over the time limit", "lost with its node"]


@pytest.mark.parametrize("bad", ["stuck", "diverged"])
def test_a_base_without_a_good_end_is_a_trouble_with_the_copies_that_it_blocks(bad: str, sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_A, None, state=bad)
    seen = sweep.look()
    assert grouped(seen) == [(bad, ["baseA"], ["A2B", "A3B"])]
    assert display.trouble(status.troubles(seen)[0]) == f"1 base {bad}, 2 copies blocked"


def test_without_failures_there_is_no_trouble(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A, BASE_B), "RUNNING", "CANCELLED")
    assert status.troubles(sweep.look()) == []


def test_the_matrix_counts_every_run_once_by_series_and_cut(sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    other = replace(A2B, seed=5)
    synthetic.finish(sweep.runs, other, 0.7)
    sweep.given("5", alone(A2B, BASE_B), "PENDING", "FAILED")
    assert status.matrix(sweep.look(*RUNS, other)) == {
        "base": {0: {"done": 1, "failed": 1}},
        "AnB": {2: {"queued": 1, "done": 1}, 3: {"missing": 1}},
        "BnB": {2: {"blocked": 1}},
        "BnB+": {2: {"blocked": 1}},
    }


def test_copies_with_preserved_layers_have_rows_of_their_own(sweep: Sweep) -> None:
    kept = [replace(A2B, preserved=k) for k in (0, 2, 1)]
    matrix = status.matrix(sweep.look(BASE_A, BASE_B, B2B_TUNED, *kept))
    assert list(matrix) == ["base", "BnB+", "AnB", "An+1B", "An+2B"]
    assert matrix["An+2B"] == {2: {"missing": 1}}


# ---------------------------------------------------------------------------------------------------- JSON and display


def mixed(sweep: Sweep) -> list[Sight]:
    """One done, one running, one failed with its copies blocked, one stale."""
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    synthetic.finish(sweep.runs, A2B, 0.7, parent_weights="others")
    sweep.given("5", alone(BASE_B, A3B), "OUT_OF_MEMORY", Element("5_1", "RUNNING", node="node3"))
    path = sweep.claimed(A3B, "5_1")
    beat = {"attempt": 1, "step": 25, "steps": 100, "time": 1000.0, "first_step": 0, "began": 900.0}
    files.write_json(path / "progress.json", beat)
    return sweep.look()


def test_status_as_json_is_plain_json_and_says_all(sweep: Sweep) -> None:
    seen = mixed(sweep)
    content = status.as_json(seen, "")
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content.pop("time") == pytest.approx(time.time(), abs=60)
    listed = content.pop("runs")
    assert content == {
        "slurm": None,
        "counts": {"done": 2, "failed": 1, "running": 1, "blocked": 2},
        "stale": 1,
        "troubles": [{"cause": "out of memory", "failed": [BASE_B.id], "blocked": [B2B.id, B2B_TUNED.id]}],
    }
    assert [run["id"] for run in listed] == [run.id for run in RUNS]
    nothing = {"cause": None, "progress": None, "ends_in": None, "host": None, "job": None, "job_state": None}
    assert listed[2] == {
        **{"id": A2B.id, "name": "A2B", "series": "AnB", "n": 2, "preserved": 0, "parent": BASE_A.id},
        **{"half": A2B.half.digest, "state": "done", "stale": True},
        **nothing,
    }
    assert {**nothing, **listed[3]} == {
        **{"id": A3B.id, "name": "A3B", "series": "AnB", "n": 3, "preserved": 0, "parent": BASE_A.id},
        **{"half": A3B.half.digest, "state": "running"},
        **{"cause": None, "progress": 0.25, "ends_in": 300.0, "host": "node7", "stale": False},
        **{"job": "5_1", "job_state": "RUNNING"},
    }
    assert (listed[1]["state"], listed[1]["cause"], listed[1]["job_state"]) == (
        *("failed", "out of memory"),
        "OUT_OF_MEMORY",
    )
    assert status.as_json(seen, "no SLURM")["slurm"] == "no SLURM"
    assert status.as_json([], "")["counts"] == {}


def rendered(seen: Sequence[Sight], silent: str = "") -> list[str]:
    """What a wide terminal shows."""
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    with contextlib.closing(console.file):
        console.print(display.status(seen, silent, "yosinski heal figure2"))
        return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_display_shows_the_matrix_what_runs_and_what_mends_it(sweep: Sweep) -> None:
    lines = rendered(mixed(sweep))
    cells = [re.split(r"  +", line.strip()) for line in lines[:5]]
    assert cells[0] == ["2", "3"]
    assert cells[1:] == [["base", "1/2 ✗1"], ["BnB", "0/1 ⊘1"], ["BnB+", "0/1 ⊘1"], ["AnB", "1/1", "0/1 ▶1"]]
    assert lines[6:] == [
        "6 runs: 2 done, 1 running, 1 failed, 2 blocked",
        f"  ▶ A3B ({A3B.id[:8]})  25%, ends in 5 min, on node7",
        f"  ✗ 1 base out of memory, 2 copies blocked: baseB ({BASE_B.id[:8]})",
        f"  1 copy stale, base trained anew since: A2B ({A2B.id[:8]})",
        "  mend with: yosinski heal figure2",
    ]


def test_the_display_says_why_slurm_was_not_asked(sweep: Sweep) -> None:
    assert "SLURM was not asked: no SLURM on this machine" in rendered(sweep.look(), "no SLURM on this machine")
    assert not any("SLURM" in line or "mend" in line for line in rendered(sweep.look()))


def test_the_display_offers_no_mending_for_what_ends_so_every_time(sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_A, None, state="diverged")
    lines = rendered(sweep.look())
    assert f"  ✗ 1 base diverged, 2 copies blocked: baseA ({BASE_A.id[:8]})" in lines
    assert "  stuck and diverged runs end so every time: change their recipe" in lines
    assert not any("mend" in line for line in lines)


def test_the_display_names_a_few_of_many(sweep: Sweep) -> None:
    many = [replace(BASE_A, seed=seed) for seed in range(25)]
    sweep.given("5", alone(*many), *["RUNNING"] * 25)
    lines = rendered(sweep.look(*many))
    assert sum(line.startswith("  ▶ baseA") for line in lines) == 20
    assert "  ▶ and 5 more" in lines
    sweep.answers["yosinski-t5"] = {k: Element(f"5_{k}", "TIMEOUT") for k in range(25)}
    (shown,) = (line for line in rendered(sweep.look(*many)) if "✗ 25 bases" in line)
    assert shown.startswith("  ✗ 25 bases over the time limit: baseA (")
    assert shown.endswith(" and 21 more")
    assert shown.count("baseA") == 4


def test_every_state_has_a_mark_of_its_own(sweep: Sweep) -> None:
    assert display.MARKS.keys() == set(STATUSES)
    assert len({mark for mark, _ in display.MARKS.values()}) == len(STATUSES)
    entry = status.entries([BASE_A])[0]
    seen = [Sight(entry, state) for state in reversed(STATUSES)]
    assert display.counted(seen) == ", ".join(f"1 {state}" for state in STATUSES)
    assert display.counted([]) == "nothing"
    assert any("0/0" not in line and f"1/{len(STATUSES)} ▶1 ·1" in line for line in rendered(seen))


# ------------------------------------------------------------------------------------------------------------- healing


def healed(found: Healing) -> dict[str, Profile]:
    """By name of a run that is submitted again, with what."""
    assert found.runs.keys() == found.profiles.keys()
    pairs = [(sight.entry.name, found.profiles[key]) for key, sights in found.runs.items() for sight in sights]
    assert len(dict(pairs)) == len(pairs), "a run is submitted twice"
    return dict(pairs)


def test_what_ran_out_of_memory_gets_twice_as_much_of_last_time_up_to_the_cap(sweep: Sweep) -> None:
    given = PROFILE
    for job, memory in enumerate((8, 16), 1):
        sweep.given(f"{job}", alone(BASE_A), "OUT_OF_MEMORY", profile=given)
        (given,) = healed(healing(sweep.look(BASE_A), None)).values()
        assert given.mebibytes("memory") == memory * 1024
        assert replace(given, memory="4G", max_memory="") == PROFILE
    sweep.given("9", alone(BASE_A), "OUT_OF_MEMORY", profile=given)
    found = healing(sweep.look(BASE_A), None)
    assert found.runs == {}
    assert [(sight.entry.name, reason) for sight, reason in found.hopeless] == [
        ("baseA", "out of memory at the profile's max_memory; raise it")
    ]


def test_what_ran_out_of_time_gets_twice_as_much_of_last_time_up_to_the_cap(sweep: Sweep) -> None:
    given = replace(PROFILE, max_time="3:00:00")
    for job, minutes in enumerate((120, 180), 1):
        sweep.given(f"{job}", alone(BASE_A), "TIMEOUT", profile=given)
        (given,) = healed(healing(sweep.look(BASE_A), None)).values()
        assert given.minutes("time") == minutes
        assert replace(given, time="1:00:00", max_time="") == PROFILE
    sweep.given("9", alone(BASE_A), "TIMEOUT", profile=given)
    found = healing(sweep.look(BASE_A), None)
    assert found.runs == {}
    assert [reason for _, reason in found.hopeless] == ["over the time limit at the profile's max_time; raise it"]


def test_what_ran_out_of_gpu_memory_is_trained_in_smaller_packs(sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    copies = tuple(synthetic.copy(BASE_A, B, n, plus) for n in range(1, 8) for plus in (False, True))
    sweep.given("5", [copies], "FAILED")
    for copy in copies:
        mine(sweep.runs, copy, "slurm  5").fail("CUDA out of memory")
    again = healed(healing(sweep.look(BASE_A, *copies), None))
    assert len(again) == 14
    assert set(map(repr, again.values())) == {repr(replace(PROFILE, pack=7))}


@pytest.mark.parametrize(("given", "last", "wanted"), [(14, 4, 2), (4, 14, 4), (14, 14, 7)])
def test_a_given_profile_with_larger_packs_than_last_time_does_not_make_them_larger(
    given: int, last: int, wanted: int, sweep: Sweep
) -> None:
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    copies = tuple(synthetic.copy(BASE_A, B, n, plus) for n in range(1, 8) for plus in (False, True))[:last]
    sweep.given("5", [copies], "FAILED", profile=replace(PROFILE, pack=last))
    for copy in copies:
        mine(sweep.runs, copy, "slurm  5").fail("CUDA out of memory")
    again = healed(healing(sweep.look(BASE_A, *copies), replace(PROFILE, pack=given)))
    assert {profile.pack for profile in again.values()} == {wanted}


def test_a_pack_that_was_smaller_than_the_profile_allows_is_made_smaller_than_it_was(sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    copies = tuple(synthetic.copy(BASE_A, B, n) for n in range(1, 5))
    sweep.given("5", [copies], "FAILED", profile=PROFILE)  # 4 runs, although 14 were allowed
    for copy in copies:
        mine(sweep.runs, copy, "slurm  5").fail("CUDA out of memory")
    (profile,) = {repr(each): each for each in healed(healing(sweep.look(BASE_A, *copies), None)).values()}.values()
    assert profile.pack < 4


def test_a_run_that_was_too_large_alone_is_tried_again_on_other_gpus_only(sweep: Sweep) -> None:
    """The job itself has trained its pack in ever smaller parts."""
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    copies = (A2B, A3B)
    sweep.given("5", [copies], "FAILED")
    for copy in copies:
        mine(sweep.runs, copy, "slurm  5").fail("too large for this GPU, even alone: out of GPU memory: CUDA ...")
    for given in (None, replace(PROFILE, pack=1), replace(PROFILE, time="2:00:00")):
        found = healing(sweep.look(BASE_A, *copies), given)
        assert found.runs == {}
        assert {reason.split(";")[0] for _, reason in found.hopeless} == {"out of GPU memory though trained alone"}
    larger = replace(PROFILE, constraint="h200")
    assert set(map(repr, healed(healing(sweep.look(BASE_A, *copies), larger)).values())) == {repr(larger)}


def test_a_run_that_was_alone_cannot_be_trained_in_a_smaller_pack(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), "FAILED", profile=replace(PROFILE, pack=1))
    mine(sweep.runs, BASE_A, "slurm  5").fail("CUDA out of memory")
    found = healing(sweep.look(BASE_A), None)
    assert found.runs == {}
    assert [sight.entry.name for sight, _ in found.hopeless] == ["baseA"]
    assert "GPU memory" in found.hopeless[0][1]
    assert "max_" not in found.hopeless[0][1]


def test_what_failed_otherwise_is_submitted_as_last_time(sweep: Sweep) -> None:
    other = replace(PROFILE, name="other", memory="9G")
    sweep.given("5", alone(BASE_A), "NODE_FAIL", profile=other)
    sweep.given("6", alone(BASE_B), "FAILED")
    mine(sweep.runs, BASE_B, "slurm  6").fail("the cable was pulled")
    seen = sweep.look(BASE_A, BASE_B)
    assert healed(healing(seen, None)) == {"baseA": other, "baseB": PROFILE}
    given = replace(PROFILE, name="given", partition="there")
    assert healed(healing(seen, given)) == {"baseA": given, "baseB": given}


def test_a_given_profile_with_more_than_last_time_is_taken_as_it_is(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A, BASE_B), "OUT_OF_MEMORY", "TIMEOUT")
    given = replace(PROFILE, memory="4097M", time="61")
    assert healed(healing(sweep.look(BASE_A, BASE_B), given)) == {"baseA": given, "baseB": given}


@pytest.mark.parametrize("memory", ["1G", "4G"])
def test_a_given_profile_with_no_more_than_last_time_is_raised(memory: str, sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), "OUT_OF_MEMORY")
    given = replace(PROFILE, name="given", memory=memory, max_memory="64G")
    (found,) = healed(healing(sweep.look(BASE_A), given)).values()
    assert found.mebibytes("memory") == 8192
    assert (found.name, found.mebibytes("max_memory")) == ("given", 65536)
    found = healing(sweep.look(BASE_A), replace(given, max_memory="4G"))
    assert [sight.entry.name for sight, _ in found.hopeless] == ["baseA"]


def test_the_same_profile_given_again_and_again_does_not_lead_beyond_its_cap(sweep: Sweep) -> None:
    """Without max_memory there is fourfold of the profile's memory, not of what it has become meanwhile."""
    sweep.given("5", alone(BASE_A), "OUT_OF_MEMORY", profile=replace(PROFILE, memory="16384M", max_memory="16384M"))
    found = healing(sweep.look(BASE_A), PROFILE)
    assert [profile.memory for profile in found.profiles.values()] == []
    assert [sight.entry.name for sight, _ in found.hopeless] == ["baseA"]


def test_time_is_raised_without_losing_the_memory_that_was_raised_before(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), "TIMEOUT", profile=replace(PROFILE, memory="8192M", max_memory="16384M"))
    (found,) = healed(healing(sweep.look(BASE_A), None)).values()
    assert (found.mebibytes("memory"), found.minutes("time")) == (8192, 120)


def test_a_given_profile_does_not_take_back_what_was_raised_before(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A), "TIMEOUT", profile=replace(PROFILE, memory="8192M", max_memory="16384M"))
    given = replace(PROFILE, name="given", partition="there")
    (found,) = healed(healing(sweep.look(BASE_A), given)).values()
    assert (found.partition, found.mebibytes("memory"), found.minutes("time")) == ("there", 8192, 120)
    (found,) = healed(healing(sweep.look(BASE_A), replace(given, max_memory="6G"))).values()
    assert (found.mebibytes("memory"), found.mebibytes("max_memory")) == (6144, 6144)


def test_copies_that_a_healed_base_blocked_come_along(sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_B, None, state="stuck")
    sweep.given("5", alone(BASE_A), "OUT_OF_MEMORY")
    copies = replace(PROFILE, name="copies", pack=3)
    sweep.given("6", [(A2B,)], "CANCELLED", profile=copies)
    seen = sweep.look()
    assert [sight.state for sight in seen] == ["failed", "stuck", "blocked", "blocked", "blocked", "blocked"]
    found = healed(healing(seen, None))
    assert found.keys() == {"baseA", "A2B", "A3B"}  # what a stuck base blocks stays blocked
    assert found["baseA"].mebibytes("memory") == 8192
    assert found["A2B"] == copies
    assert found["A3B"] == copies  # never submitted: as the latest submission of these runs


def test_what_is_blocked_by_a_blocked_one_comes_along(sweep: Sweep) -> None:
    """No sweep has copies of copies yet; the law is that of any chain."""
    base, middle, last = status.entries([BASE_A, A2B, A3B])
    seen = [Sight(base, "failed", "x"), Sight(middle, "blocked"), Sight(replace(last, parent=middle.id), "blocked")]
    assert healed(healing(seen, PROFILE)).keys() == {"baseA", "A2B", "A3B"}


def test_copies_of_a_base_that_is_beyond_help_are_left_out_with_it(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A, BASE_B), "OUT_OF_MEMORY", "NODE_FAIL", profile=replace(PROFILE, max_memory="4G"))
    found = healing(sweep.look(), None)
    assert "baseA" in [sight.entry.name for sight, _ in found.hopeless]
    assert healed(found).keys() == {"baseB", "B2B", "B2B+"}


def test_a_base_whose_weights_were_damaged_is_trained_again_with_the_copies_that_found_out(sweep: Sweep) -> None:
    for base in (BASE_A, BASE_B):
        synthetic.finish(sweep.runs, base, 0.7)
        path = specs.folder(sweep.runs, base.id)
        save_file({"w": np.ones(3)}, path / "weights.safetensors")
        if base == BASE_B:
            whole = tensors.fingerprint_of_file(path / "weights.safetensors")
            synthetic.damage(path / "record.json", lambda record, whole=whole: record.update(weights=whole))
    for copy in (A2B, B2B):
        mine(sweep.runs, copy).fail("weights.safetensors does not hold the weights that the record of a base names")
    seen = with_spoilt_bases(sweep.runs, sweep.look())
    assert told(seen[0]) == ("failed", "with damaged weights")
    assert seen[1].state == "done"
    assert healed(healing(seen, PROFILE)).keys() == {"baseA", "A2B", "B2B"}
    set_aside(sweep.runs, seen)
    path = specs.folder(sweep.runs, BASE_A.id)
    assert {file.name for file in path.glob("*damaged*")} == {"record.json.damaged-1", "weights.safetensors.damaged-1"}
    assert sweep.states(BASE_A, BASE_B) == ["interrupted", "done"]


def test_stale_copies_come_along_and_what_goes_on_does_not(sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    synthetic.finish(sweep.runs, A2B, 0.6)
    synthetic.finish(sweep.runs, A3B, 0.6, parent_weights="others")
    sweep.given("5", alone(BASE_B), "RUNNING")
    sweep.given("6", alone(B2B, B2B_TUNED), "PENDING", "CANCELLED")
    assert healed(healing(sweep.look(), PROFILE)) == {"A3B": PROFILE}


def test_a_stale_copy_is_submitted_as_last_time(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A, A3B), "COMPLETED", "COMPLETED")
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    synthetic.finish(sweep.runs, A3B, 0.6, parent_weights="others")
    assert healed(healing(sweep.look(BASE_A, A3B), None)) == {"A3B": PROFILE}


def test_what_was_never_submitted_needs_a_profile(sweep: Sweep) -> None:
    mine(sweep.runs, BASE_A).fail("the cable was pulled")
    seen = sweep.look()
    with pytest.raises(BadInput, match=r"^these runs were never submitted to a cluster: give --profile, or train here"):
        healing(seen, None)
    assert healed(healing(seen, PROFILE)) == dict.fromkeys(("baseA", "A2B", "A3B"), PROFILE)


def test_where_nothing_failed_there_is_nothing_to_heal(sweep: Sweep) -> None:
    sweep.given("5", alone(BASE_A, BASE_B), "RUNNING", "CANCELLED")
    found = healing(sweep.look(), None)
    assert (found.runs, found.profiles, found.hopeless) == ({}, {}, [])


def test_runs_with_the_same_profile_are_submitted_together(sweep: Sweep) -> None:
    others = [replace(BASE_A, seed=seed) for seed in (1, 2)]
    sweep.given("5", alone(BASE_A, BASE_B, *others), "NODE_FAIL", "OUT_OF_MEMORY", "NODE_FAIL", "OUT_OF_MEMORY")
    found = healing(sweep.look(BASE_A, BASE_B, *others), None)
    assert [[sight.entry.id for sight in sights] for sights in found.runs.values()] == [
        [BASE_A.id, others[0].id],
        [BASE_B.id, others[1].id],
    ]
