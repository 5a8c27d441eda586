"""A treatment is one entry of a table: what is added there is planned, trained, shown, drawn and advised."""

import math
from pathlib import Path

import pytest
import synthetic
import torch
from safetensors.torch import load_file

import sweeps
from analysis.advice.report import advise
from analysis.figures.figure2 import draw
from analysis.frame import frame
from slurm import status
from sweeps.figure2 import figure2
from sweeps.running.plan import plan
from yosinski import procedure
from yosinski.environment import Where
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.treatments import TREATMENTS, Treatment, every_series, notation
from yosinski.records import specs


@pytest.fixture
def halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lower half of what is copied never changes; the upper half is trained like all that is new."""
    entry = Treatment(
        "halved",
        mark="+halved",
        meaning="lower half frozen",
        advice="freeze the lower half of what is below",
        begins=lambda cut, n: math.inf if 2 * n <= cut.n else 0.0,
    )
    monkeypatch.setitem(TREATMENTS, entry.name, entry)


@pytest.mark.usefixtures("halved")
def test_it_is_planned_and_trained(small_split_file: Path, small_recipe: Recipe, stores: Path, tmp_path: Path) -> None:
    chosen = sweeps.arguments(figure2, [f"splits={small_split_file}", "directions=AB", "treatments=halved", "cuts=4"])
    runs = figure2(**{**chosen, "recipe": small_recipe})
    assert [run.name for run in runs] == ["baseB", "baseA", "B4B+halved", "A4B+halved"]
    planned = plan(runs, tmp_path, workers=1)
    for pack in planned.packs:
        for run in pack.runs:
            specs.enrol(tmp_path, run)
        procedure.run_pack([run.id for run in pack.runs], Where(tmp_path, stores, "cpu", "float32"))
    base, copy = (load_file(specs.folder(tmp_path, run.id) / "weights.safetensors") for run in (runs[1], runs[3]))
    same = [name for name in base if name.endswith("weight") and torch.equal(base[name], copy[name])]
    assert same == ["conv1.conv.weight", "conv2.conv.weight"]
    assert planned.costs[runs[3].id].trained_parameters < planned.costs[runs[1].id].trained_parameters
    seen = status.sights(tmp_path, status.entries(runs))[0]
    assert {name: cells[4]["done"] for name, cells in status.matrix(seen).items() if name != "base"} == {
        "BnB+halved": 1,
        "AnB+halved": 1,
    }


@pytest.mark.usefixtures("halved")
def test_it_is_drawn_and_advised(tmp_path: Path) -> None:
    for k in range(3):
        bases = [synthetic.base(half) for half in synthetic.halves(f"random:{k}")]
        for target, source in (bases, bases[::-1]):
            synthetic.finish(tmp_path, target, 0.7 + 0.001 * k, [0.7])
            synthetic.finish(tmp_path, target.copy(3, "halved", source), 0.8, [0.8 + 0.001 * k])
    table = frame(tmp_path)
    figure, numbers = draw(table)
    assert "AnB+halved" in set(numbers["series"])
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    labels += [text.get_text() for axes in figure.axes if (key := axes.get_legend()) for text in key.get_texts()]
    assert "AnB+halved  transfer, lower half frozen" in labels
    sentence = advise(table, directory=tmp_path).parts[0].sections[0].text[0]
    assert "Freeze the lower half of what is below (P > 0.99). Cut at n = 3 (conv3): A3B+halved is highest" in sentence


def test_the_notation_is_the_papers() -> None:
    assert notation("A", 3, "B", "tuned") == "A3B+"
    assert every_series()[:6] == ["base", "outside", "BnB", "BnB+", "BnB+decayed", "BnB+probed"]
    assert every_series()[-3:] == ["RnB", "joint", "fused"]
