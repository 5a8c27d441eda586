"""Networks that share on a cluster: they wait for nobody, and are healed and taken over as others are."""

from dataclasses import replace

import pytest
from watched import BASE_A, PROFILE, A, B, Sweep, alone

from slurm import submission
from slurm.heal import healing
from yosinski.experiment.run import Run

X, Y = replace(A, input="x"), replace(A, drawn="exchanged", input="y")
SHARED = (
    replace(BASE_A, treatment="joint", cut=3, partners=(B,)),
    replace(BASE_A, half=X, treatment="fused", cut=3, partners=(Y,)),
)


@pytest.mark.parametrize("run", SHARED, ids=str)
def test_they_do_not_wait_for_their_single_networks(run: Run, sweep: Sweep) -> None:
    sweep.submitted("1", alone(BASE_A), "FAILED")
    sweep.submitted("2", alone(run), "PENDING")
    assert sweep.states(BASE_A, run) == ["failed", "queued"]


@pytest.mark.parametrize("run", SHARED, ids=str)
def test_what_ran_out_of_memory_is_healed_with_more(run: Run, sweep: Sweep) -> None:
    sweep.submitted("1", alone(run), "OUT_OF_MEMORY")
    found = healing(sweep.look(run), None)
    (key,) = found.runs
    assert [sight.entry.id for sight in found.runs[key]] == [run.id]
    assert found.profiles[key].mebibytes("memory") == 2 * PROFILE.mebibytes("memory")


def test_jobs_whose_submission_did_not_hear_of_them_are_adopted(sweep: Sweep) -> None:
    made = sweep.submitted("7", alone(*SHARED), "RUNNING", "PENDING")
    submission.write(sweep.runs, replace(made, job=None))
    found = submission.scheduled(sweep.runs, [run.id for run in SHARED], adopting=True)
    assert {found[run.id].live for run in SHARED} == {True}
