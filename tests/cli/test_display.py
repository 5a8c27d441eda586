"""What plans and states of runs look like on a terminal."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from watched import BASE_A, BASE_B

from slurm import status
from sweeps.running.plan import plan
from sweeps.running.speeds import expected
from yosinski.cli import display
from yosinski.data.find import card
from yosinski.data.halves import split
from yosinski.experiment.run import Run


@pytest.mark.parametrize("divisions", [(0,), (0, 1)])
def test_divisions_are_shown_where_runs_of_several_are_listed(divisions: tuple[int, ...], tmp_path: Path) -> None:
    """The runs of all of them are called baseA."""
    halves = [split(card("emoji"), "random:0", division).a for division in divisions]
    runs = [Run("alexnet32", half, BASE_A.recipe) for half in halves]
    shown = display.table(plan(runs, tmp_path, 1, expected("cpu", "float32", here=False)))
    columns = {str(column.header): list(column.cells) for column in shown.columns}
    assert columns["run"] == ["baseA"] * len(divisions)
    assert columns.get("division") == (list(map(str, divisions)) if len(divisions) > 1 else None)


def test_the_division_stands_beside_the_id_of_what_failed() -> None:
    entries = status.entries([BASE_A, BASE_B, replace(BASE_A, half=replace(BASE_A.half, division=2))])
    console = Console(width=200)

    def said(some: list[status.Entry]) -> str:
        seen = [status.Sight(entry, "failed", "out of memory") for entry in some]
        with console.capture() as captured:
            console.print(display.status(seen, "", "yosinski heal"))
        return captured.get()

    assert f"out of memory: baseA ({entries[0].id[:8]}), baseB ({entries[1].id[:8]})" in said(entries[:2])
    assert f"baseA (division 0, {entries[0].id[:8]})" in said(entries)
    assert f"baseA (division 2, {entries[2].id[:8]})" in said(entries)
