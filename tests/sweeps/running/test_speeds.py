"""How long runs take: estimated from records of others, or from an assumed speed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic

from sweeps.running.plan import START, plan
from sweeps.running.speeds import A_STEP, ASSUMED_GPU_SPEED, ASSUMED_SPEED, Device, expected, measured
from yosinski.data import find
from yosinski.experiment.cost import cost, in_pack
from yosinski.experiment.run import Run

pytestmark = pytest.mark.usefixtures("card_of_emoji")

A, B = synthetic.halves()
BASE_A, BASE_B = synthetic.base(A), synthetic.base(B)
BASES = BASE_A, BASE_B


def test_without_records_the_estimate_rests_on_an_assumed_speed(tmp_path: Path) -> None:
    made = plan([BASE_A], tmp_path, 1)
    assert made.speeds.basis == "an assumed 30 GFLOP/s per worker; nothing has been measured yet"
    assert made.seconds(BASE_A) == made.costs[BASE_A.id].flops / ASSUMED_SPEED
    assert made.total_seconds == made.seconds(BASE_A) + START


def test_estimates_rest_on_the_median_of_this_sweeps_records_by_treatment(tmp_path: Path) -> None:
    copies = [synthetic.copy(BASE_A, B, n) for n in (1, 2, 3, 4)]
    synthetic.finish(tmp_path, BASE_A, 0.7, flops=10**12, seconds=10.0)
    for copy, seconds in zip(copies, (10.0, 20.0, 100.0), strict=False):
        synthetic.finish(tmp_path, copy, 0.7, flops=10**13, seconds=seconds)
    synthetic.finish(tmp_path, replace(BASE_B, seed=9), 0.7, flops=10**15, seconds=1.0)  # of another sweep
    made = plan([BASE_A, BASE_B, *copies, replace(copies[0], treatment="tuned")], tmp_path, 1)
    assert made.speeds.measured == {("alexnet32", "base"): 1e11, ("alexnet32", "frozen"): 5e11}
    assert made.speeds.basis == f"4 finished runs in {tmp_path}"
    assert made.seconds(BASE_B) == made.costs[BASE_B.id].flops / 1e11
    assert made.speeds.of(made.runs[-1]) == 3e11  # no tuned one yet: the median of the others

    fresh = plan([BASE_B], tmp_path, 1)  # nothing of this sweep is done: any record will do
    assert fresh.speeds.basis == f"5 finished runs in {tmp_path}"


def test_runs_that_did_not_end_well_do_not_count_as_measured(tmp_path: Path) -> None:
    synthetic.finish(tmp_path, BASE_A, 0.2, state="stuck", seconds=1e-9)
    assert plan(BASES, tmp_path, 1).speeds.measured == {}


def timed(runs: Path, run: Run, pack: list[Run], flop: float, step: float, **values: Any) -> None:
    """A record of a run that took so long for every FLOP that it caused in its pack, and for every step."""
    card = find.card("emoji")
    pack_flops, alone = in_pack(pack, card)[pack.index(run)], cost(run, card)
    seconds = flop * pack_flops + step * alone.steps
    measures = {
        "flops": alone.flops,
        "pack_flops": pack_flops,
        "steps": alone.steps,
        "seconds": seconds,
        "seconds_by": "time",
    }
    synthetic.finish(runs, run, 0.7, **{**measures, "pack": len(pack), **values})


def test_frozen_and_tuned_copies_are_estimated_from_records_of_both(tmp_path: Path) -> None:
    """By what they cause in their packs: half as much below the cuts in one pack of frozen copies as in two."""
    a, b = (replace(half, classes=find.card("emoji").classes[k::20]) for k, half in enumerate((A, B)))
    bases = synthetic.base(a), synthetic.base(b)
    mixed = [synthetic.copy(bases[0], b, n, plus) for n in range(1, 8) for plus in (False, True)]
    for base in bases:
        timed(tmp_path, base, [base], 2e-11, 3e-3)
    for copy in mixed:
        timed(tmp_path, copy, mixed, 2e-11, 3e-3)
    for plus in (False, True):
        others = [replace(copy, seed=1) for copy in mixed if (copy.treatment == "tuned") == plus]
        made = plan([*bases, *mixed, *others], tmp_path, 1)
        truly = [
            2e-11 * flops + 3e-3 * cost(run, find.card("emoji")).steps
            for pack in made.packs
            for run, flops in zip(pack.runs, in_pack(pack.runs, find.card("emoji")), strict=True)
        ]
        assert [made.seconds(run) for run in made.left] == pytest.approx(truly, rel=0.05)


def test_bases_alone_cannot_tell_steps_from_flops(tmp_path: Path) -> None:
    a, b = (replace(half, classes=find.card("emoji").classes[k::20]) for k, half in enumerate((A, B)))
    bases = synthetic.base(a), synthetic.base(b)
    for base in bases:
        timed(tmp_path, base, [base], 2e-11, 0.0)
    made = plan([*bases, synthetic.copy(bases[0], b, 7)], tmp_path, 1)
    speed = made.speeds.fits["alexnet32"]
    assert speed.step == pytest.approx(A_STEP, rel=0.1)
    assert made.seconds(bases[0]) == pytest.approx(2e-11 * made.costs[bases[0].id].flops, rel=0.01)


def test_even_shares_of_earlier_versions_do_not_mix_with_what_runs_caused(tmp_path: Path) -> None:
    copies = [synthetic.copy(BASE_A, B, n) for n in (1, 2, 3)]
    synthetic.finish(tmp_path, BASE_A, 0.7, flops=10**12, seconds=10.0)
    assert plan([BASE_A], tmp_path, 1).speeds.measured == {("alexnet32", "base"): 1e11}
    timed(tmp_path, copies[0], copies, 2e-11, 3e-3)
    resumed = {"seconds": 1e9, "seconds_by": "pack"}  # from a checkpoint of an earlier version
    timed(tmp_path, copies[1], copies, 2e-11, 3e-3, **resumed)
    made = plan([BASE_A, *copies], tmp_path, 1)
    assert made.speeds.measured == {}
    assert made.speeds.fits["alexnet32"].flop < 1e-10


def device(kind: str, precision: str, name: str) -> dict[str, Any]:
    where = {"processor": "a CPU", "gpu": name} if kind == "cuda" else {"processor": name}
    return {"arithmetic": {"dtype": precision, "device": kind, "threads": 1}, "environment": where}


def test_speeds_are_those_of_the_device_that_a_plan_is_for(tmp_path: Path) -> None:
    for k, (seconds, kind) in enumerate(
        [(1.0, ("cuda", "bfloat16", "H")), (10.0, ("cpu", "bfloat16", "X")), (30.0, ("cpu", "float32", "X"))]
    ):
        run = replace(BASE_A, seed=k)
        synthetic.finish(tmp_path, run, 0.7, flops=10**12, seconds=seconds, **device(*kind))
    speed = lambda *kind: measured(tmp_path, [], Device(*kind)).of(BASE_A)  # noqa: E731
    assert speed("cuda", None, None) == speed("cuda", "bfloat16", "H") == 1e12
    assert speed("cpu", "bfloat16", "X") == 1e11
    assert speed("cpu", "float32", "X") == pytest.approx(1e12 / 30)
    assert measured(tmp_path, [], Device("cpu", "bfloat16", "Y")).basis == (
        f"1 finished runs in {tmp_path}, all on other processors"
    )
    assert "in another precision" in measured(tmp_path, [], Device("cuda", "float32")).basis
    nothing = measured(tmp_path, [], Device("mps", "float32"))
    assert nothing.of(BASE_A) == ASSUMED_GPU_SPEED
    assert nothing.basis == "an assumed 2,500 GFLOP/s per GPU; nothing has been measured yet on such a device"
    assert len(measured(tmp_path, []).measured) == 1  # where nothing is known of the plan's device, all count


def test_the_device_of_a_plan_is_known_as_far_as_it_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.running.speeds.processor", lambda: "X")
    for fast, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("sweeps.running.speeds.cpu_has_bfloat16", lambda fast=fast: fast)
        assert expected("cpu") == Device("cpu", precision, "X")
    assert expected("cpu", "bfloat16") == Device("cpu", "bfloat16", "X")
    assert expected("cuda") == Device("cuda")
    assert expected("cpu", here=False) == Device("cpu")
