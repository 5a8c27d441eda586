"""A trace of a pack's steps."""

from dataclasses import replace

import pytest
from packs import brief, train

from yosinski.environment import Where
from yosinski.experiment.run import Run
from yosinski.training import timing


def test_a_trace_names_the_operations_of_some_steps(
    where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "SKIPPED", 1)
    monkeypatch.setattr(timing, "TRACED", 2)
    copy = brief(bases[1], 1.0).copy(7, "tuned", bases[0])
    train(replace(where, trace=True), [copy])
    (path,) = (where.runs / "traces").iterdir()
    assert path.name == f"{copy.id}.txt"
    table = path.read_text()
    assert table.startswith("2 steps, with the evaluations between them\n")
    assert "aten::mkldnn_convolution" in table or "aten::_slow_conv2d_forward" in table
    calls = next(line for line in table.splitlines() if "aten::convolution_backward" in line).split()[-1]
    assert int(calls) == 2 * 5  # convolutions in two steps
