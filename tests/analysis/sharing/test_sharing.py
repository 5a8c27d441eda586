"""Fused and joint networks in the frame, their contrasts, figures and advice. Records are made up."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic

from analysis.advice.report import advise
from analysis.draw import draw
from analysis.figures import curves
from analysis.frame import frame
from analysis.paired import compare, main_experiment, one_row_per_run
from analysis.sharing import figure
from analysis.sharing.contrasts import BRANCH, FUSE, KINDS, by_task, contrasts, runs_of, totals
from analysis.tables import table
from sweeps.branch import branch
from sweeps.fuse import fuse
from yosinski.cli.main import main
from yosinski.errors import BadInput
from yosinski.experiment.run import Run
from yosinski.records import attempts

SPLITS = ("random:0", "random:1", "random:2")
CUTS = (0, 3, 7)
POINTS = {"other": 12.0, "same": 3.0, "afresh": 5.0, "exchanged": -4.0, "twin": 1.0, "shuffled": -9.0}


def kind_of(run: Run) -> str:
    """What a run's partner is, "" for a base."""
    if not run.partners:
        return ""
    partner = run.partners[0]
    if partner.shuffled:
        return "shuffled"
    return partner.drawn if partner.drawn != "own" else "twin" if partner == run.half else "other"


def leave(runs: Path, wanted: list[Run]) -> None:
    """Records of these runs: the base at 50 %, partners worth `POINTS` that grow with n, and luck of 0.2 points."""
    for run in dict.fromkeys(wanted):
        luck = 0.2 * np.random.default_rng(int(run.id, 16)).standard_normal()
        top1 = 0.5 + (POINTS.get(kind_of(run), 0.0) * (1 + run.cut) / 8 + luck) / 100
        values: dict[str, object] = {}
        if len(run.tasks) > 1:
            metrics = {"train_loss": 0.1, "select_loss": 1.0, "select_top1": top1 - 0.1, "test_top1": top1 - 0.1}
            values["tasks"] = [{"state": "done", "metrics": metrics}] * len(run.partners)
        if len(run.inputs) > 1:
            emap = {"examples": 100, "pairs": 10_000, "full": top1, "additive": top1 - 0.02}
            values["fusion"] = {"exchanged": [0.1, 0.4], "emap": emap}
        synthetic.finish(runs, run, top1, [top1], **values)


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("fused")
    leave(runs, fuse(splits=SPLITS, cuts=CUTS))
    return runs


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("joint")
    leave(runs, branch(splits=SPLITS, cuts=(3, 7)))
    return runs


@pytest.mark.parametrize(("kind", "sums"), [(FUSE, ("KRI",)), (BRANCH, ("HG", "NL"))])
def test_contrasts_add_up_to_the_total(kind: object, sums: tuple[str, ...], fused: Path, joint: Path) -> None:
    own = FUSE if kind is FUSE else BRANCH
    rows: Any = contrasts(runs_of(frame(fused if own is FUSE else joint), own, "test_top1"), own)
    table: Any = rows.pivot(index="n", columns="contrast", values="points")
    for names in sums:
        np.testing.assert_allclose(table[list(names)].sum(axis=1), table["T"], rtol=0, atol=1e-12)
    assert (rows["splits"] == 3).all()
    assert rows[["low", "high"]].notna().to_numpy().all()


def test_contrasts_add_up_where_some_controls_are_not_trained(tmp_path: Path) -> None:
    """As `decide` leaves them: of some splits, and scored on one task. The totals rest on all."""
    fusing = [run for run in fuse(splits=(*SPLITS, "random:3"), cuts=CUTS) if not run.partners or run.cut]
    lacking = {run.id for run in fusing if run.half.split == "random:3" and kind_of(run) in ("same", "exchanged")}
    leave(tmp_path, [run for run in fusing if run.id not in lacking])
    leave(tmp_path, branch(splits=SPLITS, cuts=(3, 7), scored=("A",)))
    for kind, splits, pairs in ((FUSE, 3, (3, 4)), (BRANCH, 3, (3, 6))):
        runs = runs_of(frame(tmp_path), kind, "test_top1")
        rows: Any = contrasts(runs, kind)
        table: Any = rows.pivot(index="n", columns="contrast", values="points")
        for names in kind.sums:
            np.testing.assert_allclose(table[list(names)].sum(axis=1), table["T"], rtol=0, atol=1e-12)
        assert (rows["splits"] == splits).all()
        found = [of.loc[of["contrast"] == "T", "pairs"].unique().tolist() for of in (rows, totals(runs, kind))]
        assert found == [[count] for count in pairs]
    parts = advise(frame(tmp_path), directory=tmp_path).parts
    fused, joint = (" ".join(part.sections[0].text) for part in parts)
    assert "on the 3 of 4 pairs with controls" in fused
    assert "on the 3 of 6 pairs with controls" in joint
    fused, joint = (" ".join(part.sections[1].text) for part in parts)
    assert "Scored on" not in fused
    assert "Scored on A alone, which has controls." in joint


def test_contrasts_are_what_was_put_in(fused: Path) -> None:
    rows: Any = contrasts(runs_of(frame(fused), FUSE, "test_top1"), FUSE).set_index(["contrast", "n"])["points"]
    for name, points in {"K": 3.0, "R": 2.0, "I": 7.0, "D": -7.0, "T": 12.0}.items():
        assert rows[name, 7] == pytest.approx(points, abs=0.6)
        assert rows[name, 3] == pytest.approx(points / 2, abs=0.6)


def test_a_joint_network_has_a_row_for_each_of_its_tasks(joint: Path) -> None:
    last = frame(joint).query("last")
    both = last.loc[last["control"] == "other"]
    assert sorted(both["name"].unique()) == ["AB3A", "AB3B", "AB7A", "AB7B"]
    assert (both.groupby("run").size() == 2).all()
    one = both.loc[both["task"] == 1].iloc[0]
    assert (one["target"], one["partners"]) == ("B", "A")
    assert one["test_top1"] == pytest.approx(both.loc[both["run"] == one["run"], "test_top1"].max() - 0.1)
    assert set(last.loc[last["control"] != "other", "task"]) == {0}


def test_every_task_has_a_curve_of_its_own(tmp_path: Path, joint: Path) -> None:
    a, _, run, *_ = branch(cuts=(3,))
    attempt = attempts.claim(tmp_path, run)
    assert attempt is not None
    of_b = {"train_loss_1": 1.5, "select_loss_1": 1.0}
    for step, top1 in ((10, 0.2), (20, 0.6)):
        attempt.append(synthetic.row(step, top1) | of_b | {"select_top1_1": top1 / 2})
    attempt.finish(synthetic.record(0.6, weights="w", tasks=[{"state": "done", "metrics": {"test_top1": 0.31}}]))
    synthetic.finish(tmp_path, a, 0.5, [0.1, 0.5])
    chart, numbers = curves.draw(frame(tmp_path), ["AB3A", "AB3B"])
    lines = [line.get_ydata() for line in chart.axes[0].lines if len(np.asarray(line.get_ydata())) == 2]
    assert [np.asarray(line).tolist() for line in lines] == [[0.2, 0.6], [0.1, 0.3]]
    assert numbers["name"].tolist() == ["AB3A", "AB3A", "AB3B", "AB3B"]
    assert [text.get_text() for text in chart.legends[0].get_texts()][:2] == ["AB3A", "AB3B"]
    panels = curves.draw(frame(joint))[0].axes
    assert [axes.get_title("left") for axes in panels] == ["base  trained from scratch", "AA, BB", "AB", "A~B, B~A"]


def test_each_task_is_compared_with_its_own_base(joint: Path) -> None:
    rows = by_task(runs_of(frame(joint), BRANCH, "test_top1"), BRANCH)
    total = rows.loc[(rows["contrast"] == "T") & (rows["n"] == 7)].set_index("target")["points"]
    assert total["A"] - total["B"] == pytest.approx(10.0, abs=0.6)


def test_bases_of_other_recipes_are_not_compared(fused: Path, tmp_path: Path) -> None:
    before: Any
    (other,) = {run for run in fuse(cuts=CUTS) if run.name == "basexA"}
    leave(tmp_path, fuse(cuts=CUTS))
    before = contrasts(runs_of(frame(tmp_path), FUSE, "test_top1"), FUSE)
    synthetic.finish(tmp_path, replace(other, recipe=other.recipe.with_values({"epochs": 1.0})), 0.01, [0.01])
    pd.testing.assert_frame_equal(contrasts(runs_of(frame(tmp_path), FUSE, "test_top1"), FUSE), before)


def test_what_is_joined_otherwise_is_compared_with_the_same_bases(tmp_path: Path) -> None:
    recipe = synthetic.RECIPE.with_values({"join": "mean"})
    wanted = fuse(cuts=CUTS, recipe=recipe)
    assert {run.id for run in fuse(cuts=CUTS, recipe=recipe.alone)[:2]} == {run.id for run in wanted[:2]}
    leave(tmp_path, wanted)
    rows: Any = contrasts(runs_of(frame(tmp_path), FUSE, "test_top1"), FUSE)
    assert rows["points"].notna().all()


def test_unlike_runs_are_refused(tmp_path: Path) -> None:
    leave(tmp_path, [*fuse(cuts=CUTS), *fuse(cuts=CUTS, y="emojione")])
    with pytest.raises(BadInput, match="these runs have several partners"):
        runs_of(frame(tmp_path), FUSE, "test_top1")
    leave(tmp_path / "swapped", [*fuse(cuts=(3,)), *fuse(cuts=(3,), x="noto", y="twemoji")])
    with pytest.raises(BadInput, match="several first inputs x of one task; choose those of one sweep with --sweep"):
        runs_of(frame(tmp_path / "swapped"), FUSE, "test_top1")
    leave(tmp_path / "kinds", branch(cuts=(3,), splits=("random:0", "natman")))
    with pytest.raises(BadInput, match="these runs mix kinds of split: natman, random:0"):
        runs_of(frame(tmp_path / "kinds"), BRANCH, "test_top1")
    with pytest.raises(BadInput, match="there are no joint runs here; the sweep branch makes them"):
        runs_of(frame(tmp_path), BRANCH, "test_top1")


def test_figures_show_every_control(fused: Path, joint: Path) -> None:
    for figure_of, runs, marks in (
        (figure.fuse, fused, ("x", "xx", "xz", "xy", "x~y")),
        (figure.branch, joint, ("A", "AA")),
    ):
        drawn, rows = figure_of(frame(runs))
        legend = drawn.axes[0].get_legend()
        assert legend is not None
        words = [text.get_text().partition(":")[0] for text in legend.get_texts()]
        assert set(marks) <= set(words)
        assert len(rows)
        drawn.draw_without_rendering()


def test_the_parts_at_a_lone_place_are_drawn(tmp_path: Path) -> None:
    leave(tmp_path, [*branch(splits=SPLITS, cuts=(3, 7), controls=()), *branch(splits=SPLITS, cuts=(7,))])
    drawn, rows = figure.branch(frame(tmp_path))
    points: Any = rows.set_index(["contrast", "n"])["points"]
    tops = [bar.get_y() + bar.get_height() for bar in drawn.axes[1].patches]  # pyright: ignore
    assert tops == pytest.approx([points["H", 7], points["T", 7]])


def test_a_figure_is_in_the_words_of_the_tasks_that_have_controls(joint: Path, tmp_path: Path) -> None:
    halves, questions = branch(cuts=(3,), scored=("A",)), branch(cuts=(3,), asks=("class", "domain"))
    leave(tmp_path, [*halves, *questions])
    synthetic.manifest(tmp_path, "branch", halves)
    synthetic.manifest(tmp_path, "questions", questions)
    with pytest.raises(BadInput, match="these runs mix asks: class, domain; choose one with --where asks=VALUE, or"):
        figure.branch(frame(tmp_path))
    both = {"A": frame(tmp_path, f"branch-{len(halves)}"), "B": frame(tmp_path, where={"asks": "domain"})}
    for task, chosen in both.items():
        drawn, _ = figure.branch(chosen)
        legend = drawn.axes[0].get_legend()
        assert legend is not None
        assert legend.get_texts()[0].get_text() == f"{task}: {task} alone"
        assert drawn.axes[0].get_ylabel() == f"Top-1 accuracy on {task}\n(test images)"
        drawn.draw_without_rendering()
    assert figure.branch(frame(joint))[0].axes[0].get_ylabel().startswith("Top-1 accuracy on A and B")


@pytest.mark.parametrize("name", KINDS)
def test_the_same_data_give_the_same_bytes(name: str, fused: Path, joint: Path, tmp_path: Path) -> None:
    table = frame({"fuse": fused, "branch": joint}[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, other = (draw(name, table, [tmp_path / folder / f"{name}.png"]) for folder in ("one", "other"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_advice_names_the_place_and_what_it_is_made_of(fused: Path) -> None:
    report = advise(frame(fused), directory=fused)
    (part,) = report.parts
    text = " ".join(part.sections[0].text)
    assert "Let the inputs meet after n = 7: xy7A is highest" in text
    assert "the other input" in text
    assert [section.title for section in part.sections][-1] == "What this rests on"
    assert "51 of 51" not in text


def test_advice_on_tasks_has_a_table_of_tasks(joint: Path) -> None:
    (part,) = advise(frame(joint), directory=joint).parts
    titles = [section.title for section in part.sections]
    assert "Each task" in titles
    assert "Share (P" in part.sections[0].text[0]


def test_each_question_has_a_part_in_the_words_of_its_task(tmp_path: Path) -> None:
    """Twins, which ask what their task asks, belong to every part of that task."""
    halves, questions = branch(splits=SPLITS, cuts=(3,)), branch(splits=SPLITS, cuts=(3,), asks=("class", "domain"))
    leave(tmp_path, [*halves, *questions])
    parts = advise(frame(tmp_path), directory=tmp_path).parts
    titles = [part.title.partition(":")[0] for part in parts]
    assert titles == [f"Where to branch, {of}" for of in ("class beside class", "class beside domain", "domain")]
    for part, (top, twin, shuffled) in zip(
        parts, (("AB3A", "AA", "A~B"), ("AB3A", "AA", "A~B"), ("AB3B", "BB", "B~A")), strict=True
    ):
        text = "\n".join(sentence for section in part.sections for sentence in section.text)
        assert f"How to read this: {top}: tasks A and B share the first 3 layers, scored on {top[-1]}" in text
        assert f"H = {twin} - {twin[0]}: two heads for one task." in text
        assert f"L = AB - {shuffled}: labels of the other task." in text
        assert ("on average over the tasks" in text) == (part is parts[0])


def test_bases_of_other_questions_and_inputs_are_no_part_of_what_cuts_cost(tmp_path: Path) -> None:
    recipe = synthetic.RECIPE
    a, b = branch(cuts=(3,), controls=(), recipe=recipe)[:2]
    leave(tmp_path, [a, b, a.copy(3, "frozen", b), b.copy(3, "frozen", a)])
    before = compare(one_row_per_run(main_experiment(frame(tmp_path)), "test_top1"))
    others = [
        *fuse(cuts=(3,), controls=(), recipe=recipe),
        *branch(cuts=(3,), controls=(), recipe=recipe, asks=("class", "domain")),
    ]
    for run in others:
        synthetic.finish(tmp_path, run, 0.9) if run != a else None
    after = frame(tmp_path)
    pd.testing.assert_frame_equal(compare(one_row_per_run(main_experiment(after), "test_top1")), before)
    rows = table("bases", after, "test_top1").rows
    assert rows[["asks", "input", "bases"]].fillna("").to_numpy().tolist() == [
        ["class", "x", 1],
        ["class", "y", 1],
        ["class", "", 2],
        ["domain", "", 1],
    ]


def test_networks_of_their_own_are_those_of_all_tasks(tmp_path: Path) -> None:
    """So that the parts of both tasks say the same of their network."""
    parameters = {"baseA": 1000, "baseB": 600, "AB3A": 1200}
    for run in branch(cuts=(3,), controls=(), asks=("class", "domain")):
        tasks = [{"state": "done", "metrics": {"select_top1": 0.5}}] if run.partners else []
        synthetic.finish(tmp_path, run, 0.5, [0.5], parameters=parameters[run.name], tasks=tasks)
    for part in advise(frame(tmp_path), directory=tmp_path).parts:
        (section,) = [section for section in part.sections if section.title == "At equal cost"]
        rows: Any = section.tables[0].rows
        assert rows["parameters"].tolist() == pytest.approx([0.75])


def test_a_second_tower_of_another_kind_is_not_called_equal(tmp_path: Path) -> None:
    wanted = fuse(x="emoji", y="words:en", cuts=(3,), controls=("same",))
    parameters = {"basexA": 1000, "baseyA": 500, "xy3A": 1500, "xx3A": 1800}
    for run in wanted:
        synthetic.finish(tmp_path, run, 0.5, [0.5], parameters=parameters[run.name])
    (part,) = advise(frame(tmp_path), directory=tmp_path).parts
    (section,) = [section for section in part.sections if section.title == "At equal cost"]
    rows: Any = section.tables[0].rows
    assert rows["parameters"].tolist() == pytest.approx([1.0])
    assert "At equal FLOPs" not in " ".join(section.text)


def test_more_than_two_tasks_are_compared_with_as_many_networks(tmp_path: Path) -> None:
    asks = ("class", "domain", "group")
    leave(tmp_path, branch(splits=SPLITS, cuts=(3,), asks=asks, scored=("A", "B", "C")))
    parts = advise(frame(tmp_path), directory=tmp_path).parts
    assert [part.title.partition(":")[0] for part in parts] == [f"Where to branch, {question}" for question in asks]
    text = "\n".join(sentence for section in parts[1].sections for sentence in section.text)
    for words in (
        "ABC3B: tasks A and B and C share the first 3 layers, scored on B",
        "BBB = the same task 3 times",
        "B~A~C = A and C with shuffled labels",
        "H = BBB - B: three heads for one task.",
        "Three networks of their own are n = 0",
    ):
        assert words in text
    (costs,) = [section for section in parts[0].sections if section.title == "At equal cost"]
    rows: Any = costs.tables[0].rows
    assert rows["parameters"].tolist() == pytest.approx([1 / 3])  # made-up records have as many in every network


def test_where_sharing_harms_the_advice_is_not_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POINTS, "other", -12.0)
    leave(tmp_path, fuse(splits=SPLITS, cuts=CUTS))
    (part,) = advise(frame(tmp_path), directory=tmp_path).parts
    assert part.sections[0].text[0].startswith("Share nothing (P > 0.99): one input is as good.")


def test_copies_and_shared_networks_stand_apart(joint: Path, tmp_path: Path) -> None:
    leave(tmp_path, fuse(splits=SPLITS, cuts=CUTS, controls=()))
    for k, run in enumerate(synthetic.sweep((3, 5), SPLITS)):
        synthetic.finish(tmp_path, run, 0.5 + 0.001 * k, [0.5])
    titles = [part.title for part in advise(frame(tmp_path), directory=tmp_path).parts]
    assert titles[0].startswith("Where to fuse")
    assert len(titles) == 2


@pytest.mark.parametrize(("name", "rows"), [("fused", ["xx", "xy", "xz", "x~y"]), ("joint", ["AA", "AB", "A~B"])])
def test_status_counts_them(
    name: str, rows: list[str], request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = request.getfixturevalue(name)
    assert main(["status", str(runs)]) == 0
    output = capsys.readouterr().out
    shown = {line.split(" ")[0] for line in output.splitlines()}
    assert {"base", *rows} <= shown
    assert " done" in output


def test_with_one_split_nothing_is_recommended(tmp_path: Path) -> None:
    leave(tmp_path, fuse(cuts=CUTS))
    report = advise(frame(tmp_path), directory=tmp_path)
    assert report.parts[0].sections[0].text[0].startswith("No recommendation: ")


def test_a_figure_needs_no_controls_and_inputs_may_be_of_two_data_sets(tmp_path: Path) -> None:
    leave(tmp_path, fuse(x="emoji", y="words:en", cuts=CUTS, controls=("exchanged",)))
    table = frame(tmp_path)
    drawn, rows = figure.fuse(table)
    assert set(rows["contrast"]) >= {"T"}
    assert len(drawn.axes) >= 2
    words = table.loc[table["network"] == "textnet"]
    assert words["ceiling"].tolist() == pytest.approx([0.7574] * len(words), abs=1e-4)
    assert table.loc[table["network"] != "textnet", "ceiling"].isna().all()
