"""The frame says what the records say, and nothing is dropped in silence."""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from synthetic import RECIPE, base, copy, damage, finish, halves, manifest, row

from analysis import frame
from analysis.frame import COLUMNS, write
from yosinski import files
from yosinski.errors import BadInput
from yosinski.experiment.run import Run
from yosinski.identity import digest
from yosinski.records import attempts, specs

A, B = halves()
BASE_A, BASE_B = base(A), base(B, seed=1)
RUNS = {
    "baseA": BASE_A,
    "baseB": BASE_B,
    "A1B": copy(BASE_A, B, 1),
    "A1B+": copy(BASE_A, B, 1, plus=True),
    "B1B": copy(BASE_B, B, 1),
    "B2B+": copy(BASE_B, B, 2, plus=True),
    "A2B": copy(BASE_A, B, 2),
    "A3B": copy(BASE_A, B, 3),
    "A4B": copy(BASE_A, B, 4),
    "B3B": copy(BASE_B, B, 3),
    "R2B": Run("alexnet32", B, RECIPE, 0, "random", 2, below="xavier"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run in every state."""
    runs = tmp_path_factory.mktemp("runs")
    finish(runs, BASE_A, 0.7, [0.5, 0.7])
    finish(runs, BASE_B, 0.6)
    finish(runs, RUNS["A1B"], 0.5, [0.2, 0.4, 0.6])
    finish(runs, RUNS["A1B+"], 0.1, [0.1], state="stuck")
    finish(runs, RUNS["B1B"], None, [0.1], state="diverged", parent_weights=None)
    finish(runs, RUNS["B2B+"], 0.65, [0.3], parent_weights="older weights")
    finish(runs, RUNS["A2B"], None, state="blocked", metrics={}, arithmetic={}, parent_weights=None)
    finish(runs, RUNS["R2B"], 0.3)
    failing = attempts.claim(runs, RUNS["A3B"])
    assert failing is not None
    failing.fail("no disk")

    first = attempts.claim(runs, RUNS["B3B"])
    assert first is not None
    first.append(row(10, 0.1))
    first.append(row(20, 0.2))
    first.release()
    second = attempts.claim(runs, RUNS["B3B"])
    assert second is not None
    second.append(row(20, 0.25))
    with (second.path / "curve.csv").open("a") as file:
        file.write("2,30,3.0,0.")
    second.release()

    manifest(runs, "all", RUNS.values())
    manifest(runs, "two", [BASE_A, RUNS["A4B"]])
    return runs


def rows(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table.loc[table["name"] == name]


def test_columns_are_those_of_the_documentation(runs: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    lines = text.split("## The frame")[1].split("\n## ")[0].splitlines()
    cells = [line.split("|")[1] for line in lines if line.startswith("| `")]
    documented = [name for cell in cells for name in re.findall("`([^`]+)`", cell)]
    assert set(documented) == {*COLUMNS, "recipe_<value>"}
    table = frame(runs)
    assert [name for name in table.columns if not name.startswith("recipe_")] == list(COLUMNS)
    after = list(table.columns).index("recipe") + 1
    assert table.columns[after] == "recipe_epochs"
    assert set(table["recipe_epochs"]) == {40.0}


def test_states_and_number_of_rows(runs: Path) -> None:
    table = frame(runs)
    last = table.loc[table["last"]]
    assert dict(zip(last["name"], last["state"], strict=True)) == {
        "baseA": "done",
        "baseB": "done",
        "A1B": "done",
        "A1B+": "stuck",
        "B1B": "diverged",
        "B2B+": "done",
        "A2B": "blocked",
        "A3B": "failed",
        "A4B": "missing",
        "B3B": "interrupted",
        "R2B": "done",
    }
    assert len(last) == table["run"].nunique() == len(RUNS)
    assert len(rows(table, "A1B")) == 3
    assert rows(table, "A4B")["step"].isna().tolist() == [True]
    assert table["run"].is_monotonic_increasing


def test_what_a_run_is(runs: Path) -> None:
    table = frame(runs)
    columns = ["treatment", "relation", "series", "n", "cut", "target", "source", "split", "data", "seed", "classes"]
    last = table.loc[table["last"]].set_index("name")[columns]
    shared = ["random:0", "emoji"]
    assert last.loc["A1B"].tolist() == ["frozen", "transfer", "AnB", 1, "conv1", "B", "A", *shared, 0, 3]
    assert last.loc["A1B+"].tolist() == ["tuned", "transfer", "AnB+", 1, "conv1", "B", "A", *shared, 0, 3]
    assert last.loc["B1B"].tolist() == ["frozen", "selffer", "BnB", 1, "conv1", "B", "B", *shared, 0, 3]
    assert last.loc["B2B+"].tolist() == ["tuned", "selffer", "BnB+", 2, "conv2", "B", "B", *shared, 0, 3]
    assert last.loc["baseB"].fillna("").tolist() == ["base", "base", "base", 0, "", "B", "", *shared, 1, 3]
    assert last.loc["R2B"].fillna("").tolist() == ["random", "random", "RnB", 2, "conv2", "B", "", *shared, 0, 3]
    assert rows(table, "R2B")["below"].item() == "xavier"
    assert rows(table, "A1B")["parent"].iloc[0] == BASE_A.id
    assert rows(table, "A1B")["recipe"].iloc[0] == RECIPE.digest


def test_evaluations_and_metrics(runs: Path) -> None:
    evaluations = rows(frame(runs), "A1B")
    assert evaluations["step"].tolist() == [10, 20, 30]
    assert evaluations["select_top1"].tolist() == [0.2, 0.4, 0.6]
    assert evaluations["last"].tolist() == [False, False, True]
    assert evaluations["test_top1"].tolist() == [0.5] * 3
    assert evaluations["flops"].tolist() == [10**12] * 3
    assert evaluations["dtype"].tolist() == ["float32"] * 3


def test_of_a_step_written_twice_the_later_attempt_counts_and_a_torn_line_does_not(runs: Path) -> None:
    evaluations = rows(frame(runs), "B3B")
    assert evaluations["step"].tolist() == [10, 20]
    assert evaluations["select_top1"].tolist() == [0.1, 0.25]


def test_a_copy_of_other_weights_than_the_base_has_is_stale_even_if_its_base_is_not_asked_for(runs: Path) -> None:
    table = frame(runs)
    assert set(table.loc[table["stale"], "name"]) == {"B2B+"}
    manifest(runs, "copies", [RUNS["B2B+"], RUNS["A1B"]])
    table = frame(runs, "copies")
    assert set(table.loc[table["stale"], "name"]) == {"B2B+"}
    (runs / "sweeps" / "copies-2.json").unlink()


def test_types_do_not_depend_on_what_is_there(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    empty = frame(tmp_path / "empty")
    assert len(empty) == 0
    pd.testing.assert_series_equal(empty.dtypes, frame(runs).dtypes)


def test_sweep_and_where(runs: Path) -> None:
    assert set(frame(runs, "two")["name"]) == set(frame(runs, "two-2")["name"]) == {"baseA", "A4B"}
    assert set(frame(runs, where={"n": "1", "state": "done"})["name"]) == {"A1B"}
    assert set(frame(runs, where={"source": "", "recipe_epochs": "40"})["name"]) == {"baseA", "baseB", "R2B"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sweep": "three"}, "unknown sweep 'three'; choose from: all, two"),
        ({"where": {"layer": "1"}}, "unknown column 'layer'; choose from: origin, run, name, state"),
        ({"where": {"n": "9"}}, "no row has n=9; n holds: 0, 1, 2, 3, 4"),
        ({"where": {"series": "AnB", "n": "0"}}, "no row has n=0; n holds: 1, 2, 3, 4"),
    ],
)
def test_bad_choices_are_refused_with_the_good_ones(runs: Path, options: dict, message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        frame(runs, **options)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no runs directory"):
        frame(tmp_path / "none")


@pytest.mark.parametrize("name", ["record.json", "run.json", "curve.csv"])
def test_a_damaged_file_is_told_and_makes_the_run_failed(tmp_path: Path, name: str) -> None:
    finish(tmp_path, BASE_A, 0.7, [0.5])
    finish(tmp_path, BASE_B, 0.6)
    path = specs.folder(tmp_path, BASE_A.id) / name
    if name == "curve.csv":
        path.write_text(path.read_text() + "1,two\n")
    else:
        damage(path)
    with pytest.warns(UserWarning, match=f"{name} is damaged: run {BASE_A.id} is shown as failed"):
        table = frame(tmp_path).set_index("run")
    assert table.loc[BASE_A.id, "state"] == "failed"
    assert table.loc[BASE_B.id, "state"] == "done"


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    finish(tmp_path, BASE_A, 0.7)
    damage(specs.folder(tmp_path, BASE_A.id) / "record.json", lambda value: value.update(format=99))
    with pytest.raises(BadInput, match="format 99"):
        frame(tmp_path)


def test_a_missing_run_whose_half_was_never_stored(tmp_path: Path) -> None:
    manifest(tmp_path, "all", [RUNS["A4B"]])
    table = frame(tmp_path)
    assert table["state"].tolist() == ["missing"]
    assert table["target"].tolist() == [B.digest[:4]]
    assert table["name"].tolist() == ["A4B"]


def test_several_recipes(tmp_path: Path) -> None:
    finish(tmp_path, BASE_A, 0.7)
    finish(tmp_path, base(A, recipe=replace(RECIPE, epochs=80.0)), 0.8)
    assert sorted(frame(tmp_path)["recipe_epochs"]) == [40.0, 80.0]


def test_a_value_that_a_record_leaves_out_is_as_it_was_before(tmp_path: Path) -> None:
    finish(tmp_path, BASE_A, 0.7)
    finish(tmp_path, base(A, recipe=replace(RECIPE, mirror=False)), 0.8)
    table = frame(tmp_path)
    for name, value in (("recipe_mirror", True), ("recipe_optimiser", "sgd"), ("recipe_aspect", 1.0)):
        assert table.set_index("run")[name].to_dict()[BASE_A.id] == value
    assert sorted(table["recipe_mirror"]) == [False, True]
    assert sorted(table["recipe_mirror"].tolist()) == [False, True]
    assert frame(tmp_path, where={"recipe_mirror": "True"})["run"].tolist() == [BASE_A.id]


def newer(runs: Path, change: Callable[[dict], None]) -> Path:
    """The base as a newer version would have written it."""
    finish(runs, BASE_A, 0.7)
    value = files.read_json(specs.folder(runs, BASE_A.id) / "run.json")
    change(value["spec"])
    path = specs.folder(runs, digest(value["spec"]))
    path.parent.mkdir(exist_ok=True)
    specs.folder(runs, BASE_A.id).rename(path)
    files.write_json(path / "run.json", value)
    return path


def test_values_of_a_newer_versions_recipe_have_columns(tmp_path: Path) -> None:
    newer(tmp_path, lambda spec: spec["recipe"].update(swirl=0.5))
    table = frame(tmp_path)
    assert table["state"].tolist() == ["done"]
    assert table["recipe_swirl"].tolist() == [0.5]
    assert table["recipe"].tolist() != [RECIPE.digest]


def test_other_values_of_a_newer_version_are_refused_by_name(tmp_path: Path) -> None:
    """They have no column, so runs that differ in them would be mixed."""
    path = newer(tmp_path, lambda spec: spec.update(width=2))
    with pytest.raises(BadInput, match=f"^{path}/run.json .* needs a newer version of yosinski: value width$"):
        frame(tmp_path)


@pytest.mark.parametrize(("at_a_time", "part"), [(1, 1), (3, 5), (10**6, 10**6)])
def test_runs_that_are_typed_in_parts_give_the_same_table(
    runs: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int, part: int
) -> None:
    """Whatever a part lacks, and also where columns of one text share their memory."""
    whole = frame(runs)
    of_frame = importlib.import_module("analysis.frame")
    monkeypatch.setattr(of_frame, "AT_A_TIME", at_a_time)
    monkeypatch.setattr(of_frame, "PART", part)
    parts = frame(runs)
    pd.testing.assert_frame_equal(parts, whole)
    assert parts["origin"].tolist() == ["runs"] * len(whole)
    chosen = parts.loc[parts["name"] == "A1B"].reset_index(drop=True)
    pd.testing.assert_frame_equal(chosen, whole.loc[whole["name"] == "A1B"].reset_index(drop=True))


def test_written_and_read_again(runs: Path, tmp_path: Path) -> None:
    table = frame(runs)
    write(table, tmp_path / "frame.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "frame.parquet"), table)
    write(table, tmp_path / "frame.csv")
    assert len(pd.read_csv(tmp_path / "frame.csv")) == len(table)
    with pytest.raises(BadInput, match=r"'.xlsx'; choose from: .csv, .parquet"):
        write(table, tmp_path / "frame.xlsx")


def test_importing_analysis_is_light() -> None:
    code = """if True:
        import sys, analysis
        assert not {"torch", "sweeps", "matplotlib"} & set(sys.modules)
        import analysis.draw
        assert not {"torch", "sweeps"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)
