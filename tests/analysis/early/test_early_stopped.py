"""Copies that were stopped stay in the advice: predicted finals by hand, and what blocks make of them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic

from analysis import frame
from analysis.advice.blocks import blocks, caveats
from analysis.early.model import variances
from analysis.early.stopped import finals
from analysis.early.table import STOPS, stops
from yosinski import files
from yosinski.experiment.recipes import EMOJI
from yosinski.experiment.run import Run
from yosinski.records import attempts, specs

RECIPE = EMOJI.with_values({"epochs": 4.0, "evaluations": 4})
EARLY = {"random:0": ([0.3, 0.4, 0.5, 0.6], [0.31, 0.4, 0.52, 0.61]), "random:1": ([0.2, 0.4, 0.5, 0.7], [0.3] * 4)}
LATE = {"random:0": ([0.5, 0.6, 0.6, 0.7], [0.5, 0.61, 0.62, 0.7]), "random:1": ([0.5, 0.5, 0.7, 0.8], [0.4] * 4)}
NOW = [0.3, 0.5, 0.5, 0.8]


def copies(split: str) -> list[list[Run]]:
    """Of both directions, four choices each."""
    a, b = (synthetic.base(half, recipe=RECIPE) for half in synthetic.halves(split))
    pairs = ((a, b.half), (b, a.half))
    return [[synthetic.copy(base, half, n, plus) for n in (2, 5) for plus in (False, True)] for base, half in pairs]


def interrupt(runs: Path, run: Run, curve: list[float]) -> None:
    attempt = attempts.claim(runs, run)
    assert attempt is not None
    for k, value in enumerate(curve, 1):
        attempt.append(synthetic.row(10 * k, value))
    attempt.release()


def note(runs: Path, stopped: list[Run]) -> None:
    """What `run --stop-when-sure` leaves of a stop."""
    stop = {name: None for name in STOPS if name != "sweep"} | {"runs": [run.id for run in stopped]}
    (runs / "stopped").mkdir(exist_ok=True)
    files.write_json(runs / "stopped" / "mine-1.json", {"sweep": "mine", "parameters": {}, "stops": [stop]})


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two finished splits and one whose first contest was stopped after two of four evaluations."""
    for split, early in EARLY.items():
        for contest, at_two, at_end in zip(copies(split), early, LATE[split], strict=True):
            for run, two, end in zip(contest, at_two, at_end, strict=True):
                synthetic.finish(tmp_path, run, end, (0.1, two, two, end))
    first, second = copies("random:2")
    for run, now in zip(first, NOW, strict=True):
        interrupt(tmp_path, run, [0.1, now])
    for run in second:
        synthetic.finish(tmp_path, run, 0.6, (0.1, 0.5, 0.5, 0.6))
    note(tmp_path, first)
    return tmp_path


def test_finals_are_those_of_the_formulas(runs: Path) -> None:
    made: Any = finals(frame(runs), stops(runs)).set_index("run")
    s, f = (np.array([*table["random:0"], *table["random:1"]]) for table in (EARLY, LATE))
    rest = lambda t: t - t.mean(1, keepdims=True) - t.mean(0) + t.mean()  # noqa: E731
    level = (np.array(NOW) - s.mean(0)).mean()
    x = np.array(NOW) - s.mean(0) - level
    slope = min(1, (rest(s) * rest(f)).sum() / (rest(s) ** 2).sum())
    assert 0 < slope < 1
    common = (f - s).mean(1).var(ddof=1)
    error = np.sqrt(variances(f - slope * s)[0] * (1.25 + x**2 / (rest(s) ** 2).sum()) + 1.25 * common)
    ids = [run.id for run in copies("random:2")[0]]
    assert made.loc[ids, "final"].to_numpy() == pytest.approx((f.mean(0) + level + slope * x).clip(0, 1))
    assert made.loc[ids, "error"].to_numpy() == pytest.approx(error)
    assert set(made["learned"]) == {4}
    assert len(made) == 4


def test_without_noise_the_final_score_is_known(tmp_path: Path) -> None:
    """Also where packs of a contest have got unequally far."""
    drift = [0.1, 0.2, 0.0, 0.3]
    for split in ("random:0", "random:1"):
        for contest in copies(split):
            for run, d in zip(contest, drift, strict=True):
                synthetic.finish(tmp_path, run, 0.3 + d, (0.1, 0.3, 0.3 + d / 2, 0.3 + d))
    stopped = copies("random:2")[0]
    for k, (run, d) in enumerate(zip(stopped, drift, strict=True)):
        interrupt(tmp_path, run, [0.1, 0.4, 0.4 + d / 2][: 2 + k // 2])
    note(tmp_path, stopped)
    made: Any = finals(frame(tmp_path), stops(tmp_path)).set_index("run")
    assert made.loc[[run.id for run in stopped], "final"].tolist() == pytest.approx([0.4 + d for d in drift])
    assert made["error"].to_numpy() == pytest.approx(0, abs=1e-9)


def test_blocks_count_what_was_stopped_with_its_prediction(runs: Path) -> None:
    table = frame(runs)
    predicted: Any = finals(table, stops(runs)).set_index("run")
    (block,) = blocks(table, directory=runs)
    rows: Any = block.runs.set_index("run")
    assert rows.loc[predicted.index, "value"].tolist() == predicted["final"].tolist()
    assert rows.loc[predicted.index, "error"].tolist() == predicted["error"].tolist()
    assert rows.loc[predicted.index, ["counts", "predicted"]].to_numpy().all()
    others = rows.drop(predicted.index)
    assert set(others["error"]) == {0.0}
    assert not others["predicted"].any()
    assert others["value"].equals(others["select_top1"])  # nothing, of bases that are not there
    assert len(block.good) == 24
    assert any(text.startswith("4 of these runs were stopped early and stand in") for text in caveats(block))


def test_what_cannot_be_predicted_is_left_out_and_said(runs: Path) -> None:
    table = frame(runs)
    (by_test,) = blocks(table, "test_top1", runs)  # nothing is known of test images before the end
    alone = table.loc[table["split"] == "random:2"].reset_index(drop=True)  # nothing to learn from
    (of_one,) = blocks(alone, directory=runs)
    for block in (by_test, of_one):
        stopped: Any = block.runs.loc[block.runs["stopped"]]
        assert len(stopped) == 4
        assert stopped["value"].isna().all()
        assert not stopped["counts"].any()
        (caveat,) = [text for text in caveats(block) if "stopped early, and not predicted" in text]
        assert caveat.startswith("Left out: 2 AnB, 2 AnB+, ")
    unnoted: Any = blocks(table)[0].runs
    assert not unnoted["stopped"].any()  # without a directory there are no notes of stops


def test_what_went_on_to_its_end_has_its_own_score(runs: Path) -> None:
    (run, *others), _ = copies("random:2")
    attempt = attempts.claim(runs, run)
    assert attempt is not None
    for step, top1 in ((30, 0.4), (40, 0.42)):
        attempt.append(synthetic.row(step, top1))
    attempt.finish(synthetic.record(0.42, weights="w", parent_weights=None))
    assert set(finals(frame(runs), stops(runs))["run"]) == {other.id for other in others}
    rows: Any = blocks(frame(runs), directory=runs)[0].runs.set_index("run")
    assert rows.loc[run.id, ["value", "error", "counts", "predicted"]].tolist() == [0.42, 0.0, True, False]


def test_a_copy_without_an_evaluation_is_not_predicted(runs: Path) -> None:
    run = copies("random:2")[0][0]
    (specs.folder(runs, run.id) / "curve.csv").unlink()
    made = finals(frame(runs), stops(runs))
    assert run.id not in set(made["run"])
    assert len(made) == 3
    assert finals(frame(runs), pd.DataFrame(columns=STOPS)).empty
    assert not any(math.isnan(error) for error in made["error"])
