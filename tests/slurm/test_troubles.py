"""What went wrong with the runs of a sweep, counted, shown and written as JSON."""

import contextlib
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
import synthetic
from rich.console import Console
from watched import A2B, A3B, B2B, B2B_TUNED, BASE_A, BASE_B, RUNS, Sweep, alone, mine

from slurm import status
from slurm.cluster import Element
from slurm.status import STATUSES, Sight
from yosinski import files
from yosinski.cli import display

# ------------------------------------------------------------------------------------------------------------ troubles


def grouped(seen: Sequence[Sight]) -> list[tuple[str, list[str], list[str]]]:
    """The troubles, by names of runs."""
    return [
        (found.cause, [s.entry.name for s in found.failed], [s.entry.name for s in found.blocked])
        for found in status.troubles(seen)
    ]


def test_troubles_are_grouped_by_cause_with_the_copies_that_they_block(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A, BASE_B), "OUT_OF_MEMORY", "COMPLETED")
    synthetic.finish(sweep.runs, BASE_B, 0.7)
    sweep.submitted("6", alone(B2B, B2B_TUNED), "TIMEOUT", "PENDING")
    seen = sweep.look()
    assert [sight.state for sight in seen] == ["failed", "done", "blocked", "blocked", "failed", "queued"]
    assert grouped(seen) == [("out of memory", ["baseA"], ["A2B", "A3B"]), ("over the time limit", ["B2B"], [])]
    assert [display.trouble(found) for found in status.troubles(seen)] == [
        "1 base out of memory, 2 copies blocked",
        "1 copy over the time limit",
    ]


def test_one_cause_is_one_trouble_and_the_largest_comes_first(sweep: Sweep) -> None:
    sweep.submitted("5", alone(BASE_A, BASE_B), "NODE_FAIL", "COMPLETED")
    synthetic.finish(sweep.runs, BASE_B, 0.7)
    sweep.submitted("6", alone(B2B, B2B_TUNED), "NODE_FAIL", "NODE_FAIL")
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
    sweep.submitted("5", alone(BASE_A, BASE_B), "RUNNING", "CANCELLED")
    assert status.troubles(sweep.look()) == []


def test_the_matrix_counts_every_run_once_by_series_and_cut(sweep: Sweep) -> None:
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    other = replace(A2B, seed=5)
    synthetic.finish(sweep.runs, other, 0.7)
    sweep.submitted("5", alone(A2B, BASE_B), "PENDING", "FAILED")
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


def test_what_is_shared_has_a_row_for_each_control(sweep: Sweep) -> None:
    x = replace(BASE_A.half, domain=("twemoji",), input="x")
    y = replace(x, domain=("noto",), input="y")
    fused = [
        replace(synthetic.base(x), treatment="fused", cut=n, partners=(partner,))
        for partner in (y, replace(x, drawn="same"), replace(y, drawn="exchanged"))
        for n in (0, 3)
    ]
    joint = [
        replace(BASE_B, treatment="joint", cut=3, partners=(partner,))
        for partner in (BASE_A.half, BASE_B.half, replace(BASE_A.half, shuffled=True))
    ]
    nameless = replace(BASE_A, half=replace(BASE_A.half, letter=""))  # called by digits of its digest
    joint.append(replace(nameless, treatment="joint", cut=3, partners=(BASE_B.half,)))
    fourth = nameless.half.name
    synthetic.finish(sweep.runs, fused[0], 0.5)
    seen = sweep.look(BASE_A, *joint, *fused)
    matrix = status.matrix(seen)
    assert list(matrix) == ["base", "BA", "BB", "B~A", f"{fourth}B", "xy", "xx", "x~y"]
    assert matrix["xy"] == {0: {"done": 1}, 3: {"missing": 1}}
    assert {sight.entry.together for sight in status.sights(sweep.runs, status.entries_of(sweep.runs))[0]} == {"xy"}
    lines = rendered(seen)
    assert lines[0].split() == ["0", "3"]
    assert lines[6].split() == ["xy", "1/1", "0/1", "-1"]
    mine(sweep.runs, joint[0]).fail("the cable was pulled")
    assert display.trouble(status.troubles(sweep.look(joint[0]))[0]) == "1 network the cable was pulled"


# ---------------------------------------------------------------------------------------------------- JSON and display


def mixed(sweep: Sweep) -> list[Sight]:
    """One done, one running, one failed with its copies blocked, one stale."""
    synthetic.finish(sweep.runs, BASE_A, 0.7)
    synthetic.finish(sweep.runs, A2B, 0.7, parent_weights="others")
    sweep.submitted("5", alone(BASE_B, A3B), "OUT_OF_MEMORY", Element("5_1", "RUNNING", node="node3"))
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
        **{"id": A2B.id, "name": "A2B", "series": "AnB", "n": 2, "preserved": 0, "parent": BASE_A.id, "together": ""},
        **{"half": A2B.half.digest, "division": 0, "state": "done", "stale": True},
        **nothing,
    }
    assert {**nothing, **listed[3]} == {
        **{"id": A3B.id, "name": "A3B", "series": "AnB", "n": 3, "preserved": 0, "parent": BASE_A.id, "together": ""},
        **{"half": A3B.half.digest, "division": 0, "state": "running"},
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
    sweep.submitted("5", alone(*many), *["RUNNING"] * 25)
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
