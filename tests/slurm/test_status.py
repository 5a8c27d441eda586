"""Status: what records and SLURM say of every run together."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic
from watched import A2B, A3B, B2B, B2B_TUNED, BASE_A, BASE_B, RUNS, Sweep, alone, mine, state_and_cause

from slurm import cluster, status, submission
from slurm.cluster import Element
from slurm.job import STARTED
from yosinski import files
from yosinski.errors import BadInput
from yosinski.files import Damaged
from yosinski.records import specs

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
    divided = replace(BASE_A, half=replace(BASE_A.half, division=3))
    specs.enrol(tmp_path, divided)
    assert [entry.division for entry in status.entries_of(tmp_path) if entry.id == divided.id] == [3]
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
    assert state_and_cause(sweep.one(B2B)) == ("blocked", "its base baseB is stuck")
    assert [sight.job for sight in sweep.look()] == [None] * 6


def test_copies_of_a_failed_base_are_blocked_and_those_of_an_interrupted_one_are_not(sweep: Sweep) -> None:
    mine(sweep.runs, BASE_A).fail("the cable was pulled")
    mine(sweep.runs, BASE_B).release()
    assert sweep.states() == ["failed", "interrupted", "blocked", "blocked", "missing", "missing"]
    assert state_and_cause(sweep.one(A2B)) == ("blocked", "its base baseA is failed")


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
    sweep.submitted("5", alone(BASE_A, BASE_B), "PENDING", "RUNNING")
    sweep.submitted("6", alone(A2B, A3B), "PENDING", "PENDING")
    sweep.submitted("7", alone(B2B, B2B_TUNED), "PENDING", "PENDING")
    assert sweep.states() == ["queued", "running", "waiting", "waiting", "waiting", "waiting"]
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    assert sweep.states() == ["done", "running", "queued", "queued", "waiting", "waiting"]
    synthetic.finish(sweep.runs, A2B, 0.7)
    assert sweep.states() == ["done", "running", "done", "queued", "waiting", "waiting"]


def test_a_record_says_more_than_slurm(sweep: Sweep) -> None:
    for k, (slurms, ours) in enumerate((("OUT_OF_MEMORY", "done"), ("RUNNING", "stuck"), ("PENDING", "diverged"))):
        run = replace(BASE_A, seed=k)
        sweep.submitted(f"{k}", alone(run), slurms)
        synthetic.finish(sweep.runs, run, None, state=ours)
        assert state_and_cause(sweep.one(run)) == (ours, "")


def test_a_job_that_has_not_claimed_its_run_yet_runs_all_the_same(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A), Element("5", "RUNNING", node="node3"))
    sight = sweep.one(BASE_A)
    assert (sight.state, sight.progress, sight.ends_in, sight.host) == ("running", 0.0, None, "node3")
    assert sight.job is not None
    assert sight.job.element == Element("5", "RUNNING", node="node3")


def test_the_heartbeat_of_another_host_shows_progress(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A), "RUNNING")
    path = sweep.claimed(BASE_A, "5")
    beat = {"attempt": 1, "step": 50, "steps": 100, "time": 1000.0, "first_step": 0, "began": 900.0}
    files.write_json(path / "progress.json", beat)
    sight = sweep.one(BASE_A)
    assert (sight.state, sight.progress, sight.ends_in, sight.host) == ("running", 0.5, 100.0, "node7")


def test_a_young_heartbeat_of_a_job_that_is_over_is_no_life(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A, BASE_B), "RUNNING", "RUNNING")
    sweep.claimed(BASE_A, "5_0")
    sweep.claimed(BASE_B, "5_1")
    assert sweep.states(BASE_A, BASE_B) == ["running", "running"]
    sweep.answers["yosinski-t5"] = {0: Element("5_0", "OUT_OF_MEMORY"), 1: Element("5_1", "RUNNING")}
    assert [state_and_cause(sight) for sight in sweep.look(BASE_A, BASE_B)] == [
        ("failed", "out of memory"),
        ("running", ""),
    ]
    sweep.answers["yosinski-t5"][0] = Element("5_0", "CANCELLED")
    assert sweep.states(BASE_A, BASE_B) == ["interrupted", "running"]


def test_a_young_heartbeat_of_a_job_that_is_over_is_no_life_when_the_next_one_is_queued(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A), "OUT_OF_MEMORY")
    sweep.claimed(BASE_A, "5", age=10)
    assert state_and_cause(sweep.one(BASE_A)) == ("failed", "out of memory")
    sweep.submitted("9", alone(BASE_A), "PENDING")
    assert sweep.one(BASE_A).state == "queued"


def test_a_claim_that_slurm_did_not_make_is_not_slurms_to_judge(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A), "CANCELLED")
    mine(sweep.runs, BASE_A)  # `yosinski run`, here
    assert sweep.one(BASE_A).state == "running"


def test_a_heartbeat_counts_where_slurm_has_forgotten_the_job(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A))
    sweep.claimed(BASE_A, "5", age=10)
    assert sweep.one(BASE_A).state == "running"
    sweep.claimed(BASE_A, "5", age=400)
    assert state_and_cause(sweep.one(BASE_A)) == ("interrupted", "")


@pytest.mark.parametrize(
    "reason", ["JobHeldUser", "JobHeldAdmin", "job requeued in held state", "launch failed requeued held"]
)
def test_a_held_job_is_queued_and_says_so(reason: str, sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A), Element("5", "PENDING", reason))
    sweep.submitted("6", alone(BASE_B), Element("6", "PENDING", "Resources"))
    assert state_and_cause(sweep.one(BASE_A)) == ("queued", f"held by SLURM ({reason}), until: scontrol release 5")
    assert state_and_cause(sweep.one(BASE_B)) == ("queued", "")


def test_a_job_that_is_suspended_or_ending_is_at_work(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A, BASE_B), "SUSPENDED", "COMPLETING")
    assert [state_and_cause(sight) for sight in sweep.look(BASE_A, BASE_B)] == [
        ("running", "suspended by SLURM"),
        ("running", ""),
    ]
    sweep.claimed(BASE_A, "5_0")
    assert state_and_cause(sweep.one(BASE_A)) == ("running", "suspended by SLURM")


def test_what_was_given_to_another_cluster_is_that_ones_to_tell(sweep: Sweep) -> None:
    """Its job has the number of one that has ended here."""
    sweep.submitted("5", alone(BASE_A), "FAILED")
    there = sweep.submitted("6", alone(BASE_B))
    submission.write(sweep.runs, replace(there, job="5", cluster="there"))
    assert state_and_cause(sweep.one(BASE_B)) == ("queued", "on cluster there, which must be asked there")
    assert sweep.one(BASE_A).state == "failed"
    path = sweep.claimed(BASE_B, "5")
    claim = json.loads((path / "claim.1.json").read_text())
    files.write_json(path / "claim.1.json", {**claim, "job": "slurm there 5"})
    assert sweep.one(BASE_B).state == "running"


def test_what_is_preempted_and_queued_again_is_queued(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A), "REQUEUED")
    mine(sweep.runs, BASE_A).release()
    assert state_and_cause(sweep.one(BASE_A)) == ("queued", "")


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
    made = sweep.submitted("5", alone(BASE_A, BASE_B), end, end)
    sweep.log(made, "5_0", "something else")
    sweep.claimed(BASE_A, "5_0")  # killed while it trained; the other one before it began
    assert [state_and_cause(sight) for sight in sweep.look(BASE_A, BASE_B)] == [("failed", ENDS[end])] * 2
    assert state_and_cause(sweep.one(A2B)) == ("blocked", "its base baseA is failed")


def test_all_runs_of_a_pack_share_its_end_but_those_that_were_finished_before(sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    sweep.submitted("5", [(A2B, A3B)], "TIMEOUT")
    sweep.claimed(A3B, "5")
    synthetic.finish(sweep.runs, A2B, 0.7)
    assert [state_and_cause(sight) for sight in sweep.look(BASE_A, A2B, A3B)][1:] == [
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
    sweep.submitted("5", alone(BASE_A), "FAILED")
    mine(sweep.runs, BASE_A, "slurm  5").fail(error)
    assert state_and_cause(sweep.one(BASE_A)) == ("failed", ERRORS[error])


@pytest.mark.parametrize("error", ERRORS)
def test_without_a_failure_the_log_of_the_job_says_the_cause(error: str, sweep: Sweep) -> None:
    made = sweep.submitted("5", alone(BASE_A, BASE_B), "FAILED", "FAILED")
    own = ["Traceback (most recent call last):", f"  {error}", ""]
    sweep.log(made, "5_0", *own, "srun: error: node1: task 0: Exited with exit code 1", "  ")
    sweep.log(made, "5_1", "of another element")
    assert state_and_cause(sweep.one(BASE_A)) == ("failed", ERRORS[error])
    assert state_and_cause(sweep.one(BASE_B)) == ("failed", "of another element")


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
    made = sweep.submitted("5", alone(BASE_A), Element("5", "FAILED", exit=exit_status))
    sweep.log(made, "5", *logged)
    assert state_and_cause(sweep.one(BASE_A)) == ("failed", "killed (signal 9)")
    sweep.log(made, "5", "slurmstepd: error: Detected 1 oom_kill event in StepId=5.0", *logged)
    assert sweep.one(BASE_A).cause == "out of memory"  # the accounting does not say why


def test_a_killed_worker_that_left_no_log_is_known_by_its_status(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A), Element("5", "FAILED", exit="0:9"))
    assert state_and_cause(sweep.one(BASE_A)) == ("failed", "killed (signal 9)")


def test_of_a_log_only_the_last_turn_of_a_job_counts(sweep: Sweep) -> None:
    job = sweep.submitted("5", alone(BASE_A), "FAILED")
    sweep.log(job, "5", f"{STARTED}5", "CUDA out of memory", f"{STARTED}5 on node2", "the cable was pulled")
    assert sweep.one(BASE_A).cause == "the cable was pulled"
    sweep.log(job, "5", f"{STARTED}5", "the cable was pulled", f"{STARTED}5 on node2", "MemoryError")
    assert sweep.one(BASE_A).cause == "out of memory"


@pytest.mark.parametrize("logged", [None, (), ("", "  ")])
def test_without_a_word_there_is_a_cause_nevertheless(logged: tuple[str, ...] | None, sweep: Sweep) -> None:
    made = sweep.submitted("5", alone(BASE_A), Element("5", "FAILED", exit="9:0"))
    if logged is not None:
        sweep.log(made, "5", *logged)
    state, cause = state_and_cause(sweep.one(BASE_A))
    assert state == "failed"
    assert cause in ("ended with 9:0", "it ended without a word")


def test_without_log_and_accounting_the_cause_is_a_whole_sentence(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A), Element("5", "FAILED"))
    assert sweep.one(BASE_A).cause.strip() not in ("", "ended with")


def test_a_failure_of_the_job_before_is_none_of_the_one_that_is_queued(sweep: Sweep) -> None:
    mine(sweep.runs, BASE_A, "slurm  5").fail("the cable was pulled")
    sweep.submitted("5", alone(BASE_A), "FAILED")
    sweep.submitted("9", alone(BASE_A), "PENDING")
    assert state_and_cause(sweep.one(BASE_A)) == ("queued", "")


def test_what_was_cancelled_is_interrupted_or_missing(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A, BASE_B), "CANCELLED", "CANCELLED")
    sweep.claimed(BASE_A, "5_0")
    assert [state_and_cause(sight) for sight in sweep.look(BASE_A, BASE_B, A2B)] == [
        ("interrupted", ""),
        ("missing", ""),
        ("missing", ""),
    ]


def test_a_job_that_completed_without_its_run_has_not_failed(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A, BASE_B), "COMPLETED", "COMPLETED")
    mine(sweep.runs, BASE_A, "slurm  5_0").release()
    assert sweep.states(BASE_A, BASE_B) == ["interrupted", "missing"]


def test_a_failed_job_is_no_cause_where_somebody_else_had_the_run_since(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A), "TIMEOUT")
    sweep.claimed(BASE_A, "5", age=500)
    assert sweep.one(BASE_A).state == "failed"
    mine(sweep.runs, BASE_A).release()  # `yosinski run`, stopped
    assert state_and_cause(sweep.one(BASE_A)) == ("interrupted", "")


def test_a_job_that_failed_before_it_could_claim_has_failed_although_an_earlier_one_had_claimed(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A), "CANCELLED")
    sweep.claimed(BASE_A, "5", age=3600)
    assert sweep.one(BASE_A).state == "interrupted"
    sweep.created = time.time()  # submitted anew, an hour after that claim
    sweep.submitted("9", alone(BASE_A), "OUT_OF_MEMORY")
    assert state_and_cause(sweep.one(BASE_A)) == ("failed", "out of memory")


def test_a_copy_that_found_its_base_not_good_is_missing_again_when_the_base_is_not_lost(sweep: Sweep) -> None:
    mine(sweep.runs, A2B).finish({"state": "blocked", "reason": "its base baseA is running"})
    sweep.submitted("5", alone(BASE_A), "RUNNING")
    sweep.submitted("6", alone(A2B), "COMPLETED")
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
    sweep.submitted("5", alone(BASE_A, BASE_B), "COMPLETED", "FAILED")
    sweep.submitted("6", alone(A2B, A3B), "RUNNING", "OUT_OF_MEMORY")


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
    Sweep(runs).submitted("5", alone(BASE_A), "COMPLETED")
    seen, silent = status.sights(runs, status.entries([BASE_A, A2B]), adopting=True)
    assert ([sight.state for sight in seen], silent) == (["done", "missing"], "")
