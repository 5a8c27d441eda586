"""Means, differences and intervals are exact; figures say what they leave out and are the same to the byte."""

import math
import warnings
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats
from synthetic import finish, manifest, row, sweep

from analysis import frame
from analysis.draw import draw
from analysis.figures.curves import draw as draw_curves
from analysis.figures.figure2 import draw as draw_figure2
from analysis.frame import arithmetic
from analysis.paired import compare, level, one_row_per_run
from yosinski.errors import BadInput
from yosinski.records import attempts

TREATMENTS = {"base": "base", "BnB": "frozen", "BnB+": "tuned", "AnB": "frozen", "AnB+": "tuned", "RnB": "random"}


def table(*rows: tuple, **same: object) -> pd.DataFrame:
    """A frame from (series, n, split, target, test_top1[, other columns]), one finished run a row."""
    columns = {"state": "done", "network": "alexnet32", "data": "emoji", "recipe": "r", "recipe_epochs": 40.0}
    columns |= {
        "semantics": 1,
        "seed": 0,
        "examples_per_class": None,
        "below": None,
        "dtype": "float32",
        "device": "cpu",
    }
    columns |= {"origin": "runs", "preserved": 0, "lost": 0, "best10_top1": None}
    columns |= {"stale": False, "last": True, "step": 10, "epoch": 1.0, "select_top1": 0.5, **same}
    return pd.DataFrame(
        [
            {
                **columns,
                "run": f"{k:016x}",
                "name": f"{series}-{n}",
                "series": series,
                "treatment": TREATMENTS[series],
                "n": n,
                "cut": f"conv{n}" if n else None,
                "split": split,
                "target": target,
                "target_half": f"{split}-{target}",
                "test_top1": top1,
                **(others[0] if others else {}),
            }
            for k, (series, n, split, target, top1, *others) in enumerate(rows)
        ]
    )


def compared(frame: pd.DataFrame) -> pd.DataFrame:
    return compare(one_row_per_run(frame, "test_top1")).set_index(["series", "n"])


def words_in(figure: Figure) -> str:
    """All words in a figure."""
    legends = [legend for axes in figure.axes if (legend := axes.get_legend())] + list(figure.legends)
    words = [axes.get_title(loc="left") + axes.get_ylabel() for axes in figure.axes]
    words += [text.get_text() for legend in legends for text in legend.get_texts()]
    return "\n".join(words).replace("\xa0", " ")


# ------------------------------------------------------------------------------------------------------------- numbers


def test_a_mean_is_compared_with_the_bases_of_the_same_targets() -> None:
    rows = compared(
        table(
            ("base", 0, "s", "A", 0.8),
            ("base", 0, "s", "B", 0.6),
            ("AnB", 1, "s", "A", 0.7),
            ("AnB", 1, "s", "B", 0.5),
            ("AnB", 2, "s", "B", 0.55),  # of the easier target there is no copy: no drop of 0.15
        )
    )
    assert rows.loc[("AnB", 1), ["mean", "base", "difference"]].tolist() == pytest.approx([0.6, 0.7, -0.1])
    assert rows.loc[("AnB", 2), ["mean", "base", "difference"]].tolist() == pytest.approx([0.55, 0.6, -0.05])
    assert rows.loc[("AnB", 1), ["runs", "left_out", "targets", "splits"]].tolist() == [2, 0, 2, 1]
    assert rows.loc[("AnB", 2), ["runs", "left_out", "targets", "splits"]].tolist() == [1, 0, 1, 1]
    assert rows.loc[("base", 0), ["mean", "difference"]].tolist() == pytest.approx([0.7, 0.0])


def test_seeds_and_directions_are_averaged_within_a_split_first() -> None:
    rows = compared(
        table(
            ("base", 0, "random:0", "A", 0.5),
            ("base", 0, "random:1", "A", 0.5),
            ("BnB", 1, "random:0", "A", 0.5),
            ("BnB", 1, "random:0", "A", 0.7),
            ("BnB", 1, "random:1", "A", 0.4),
        )
    )
    assert rows.loc[("BnB", 1), "mean"] == pytest.approx(0.5)  # not 0.533, the mean over the three runs
    assert rows.loc[("BnB", 1), "splits"] == 2


def test_the_level_is_that_of_bases_with_copies() -> None:
    frame = table(("base", 0, "s", "A", 0.8), ("base", 0, "s", "B", 0.6), ("BnB", 1, "s", "B", 0.5))
    assert level(one_row_per_run(frame, "test_top1")) == pytest.approx(0.6)
    assert level(one_row_per_run(frame.iloc[:2], "test_top1")) == pytest.approx(0.7)
    _, numbers = draw_figure2(frame)
    assert numbers["drawn"].tolist() == pytest.approx([0.6, 0.5])


def test_an_interval_over_three_splits_is_students() -> None:
    drops = [0.1, 0.2, 0.6]
    rows = [("base", 0, f"random:{k}", "A", 0.8) for k in range(3)]
    rows += [("AnB", 1, f"random:{k}", "A", 0.8 - drop) for k, drop in enumerate(drops)]
    found = compared(table(*rows)).loc[("AnB", 1)]
    # By hand: mean 0.3, standard deviation sqrt((0.04 + 0.01 + 0.09) / 2), t(0.975, 2) = 4.3027.
    margin = 4.302652729911275 * math.sqrt(0.14 / 2) / math.sqrt(3)
    assert found[["difference", "low", "high"]].tolist() == pytest.approx([-0.3, -0.3 - margin, -0.3 + margin])
    expected = stats.t.interval(0.95, 2, loc=-0.3, scale=stats.sem([-drop for drop in drops]))
    assert found[["low", "high"]].tolist() == pytest.approx(expected)
    two = compared(table(*[row for row in rows if row[2] != "random:2"])).loc[("AnB", 1)]
    assert two[["low", "high"]].isna().all()


def test_what_did_not_learn_or_has_no_base_is_left_out_and_counted() -> None:
    frame = table(
        ("base", 0, "s", "A", 0.8),
        ("base", 0, "s", "B", 0.01, {"state": "stuck"}),
        ("AnB", 1, "s", "A", 0.7),
        ("AnB", 1, "s", "A", 0.01, {"state": "stuck"}),
        ("AnB", 1, "s", "B", 0.6),  # its base is stuck
        ("AnB", 2, "s", "A", float("nan"), {"state": "missing"}),
    )
    rows = compared(frame)
    assert rows.loc[("AnB", 1), ["runs", "left_out"]].tolist() == [1, 2]
    assert rows.loc[("AnB", 1), "difference"] == pytest.approx(-0.1)
    assert rows.loc[("AnB", 2), ["runs", "left_out", "splits"]].tolist() == [0, 1, 0]
    assert math.isnan(rows.loc[("AnB", 2), "mean"])
    words = words_in(draw_figure2(frame)[0])
    assert "2 stuck: not in the means" in words
    assert "no result: 1 missing" in words
    assert "1 not in the means: no base of their target" in words


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("network", ["alexnet32", "other"], "mix network: alexnet32, other; choose one with --where network=VALUE"),
        ("data", ["emoji", "photos"], "mix data: emoji, photos"),
        ("recipe_epochs", [40.0, 80.0], "mix recipe_epochs: 40, 80"),
        ("recipe", ["r", "q"], "mix recipe: q, r"),
        ("examples_per_class", [None, 10], "mix examples_per_class: 10, (empty)"),
        ("split", ["random:0", "natman"], "mix kinds of split: natman, random:0"),
        ("split", ["paper:0", "paper:natman"], "mix kinds of split: paper:0, paper:natman"),
    ],
)
def test_unlike_runs_are_not_averaged(column: str, values: list, message: str) -> None:
    frame = table(("base", 0, "s", "A", 0.8), ("BnB", 1, "s", "A", 0.7))
    frame[column] = pd.Series(values).convert_dtypes()
    with pytest.raises(BadInput) as error:
        draw_figure2(frame)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (table(("base", 0, "s", "A", 0.8)).iloc[:0], "there are no runs to draw"),
        (table(("base", 0, "s", "A", None), state="running"), "no run is done and has test_top1: 1 running"),
        (table(("BnB", 1, "s", "A", 0.8)), "no base is done"),
    ],
)
def test_nothing_to_compare(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        draw_figure2(frame)


def test_unknown_figures_options_metrics_and_suffixes(tmp_path: Path) -> None:
    frame = table(("base", 0, "s", "A", 0.8))
    with pytest.raises(BadInput, match="unknown figure '9'; choose from: 2, 3, S1, preserved, curves"):
        draw("9", frame, [tmp_path / "a.png"])
    with pytest.raises(BadInput, match="unknown option of figure 2 'runs'; choose from: metric"):
        draw("2", frame, [tmp_path / "a.png"], runs=["A3B"])
    with pytest.raises(
        BadInput, match="unknown metric 'top5'; choose from: test_top1, select_top1, unseen_top1, best10_top1"
    ):
        draw("2", frame, [tmp_path / "a.png"], metric="top5")
    with pytest.raises(BadInput, match=r"choose from: \.png, \.pdf, \.svg"):
        draw("2", frame, [tmp_path / "a.png", tmp_path / "a.bmp"])
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------------- drawings


@pytest.mark.parametrize(("splits", "words"), [(1, "(1 split: no"), (2, "(2 splits: no intervals)"), (3, "(3 splits)")])
def test_the_figure_says_over_how_many_splits(splits: int, words: str) -> None:
    rows = [(series, n, f"random:{k}", "A", 0.5 + k / 10 + n / 100) for k in range(splits) for series, n in
            (("base", 0), ("BnB", 1), ("AnB", 1))]  # fmt: skip
    text = words_in(draw_figure2(table(*rows))[0])
    assert words in text
    assert ("95 % t interval" in text) == (splits >= 3)
    assert "emoji, test images" in text


def test_several_seeds_of_one_split_are_one_split() -> None:
    rows = [(series, n, "s", "A", 0.5 + seed / 10, {"seed": seed}) for seed in range(4) for series, n in
            (("base", 0), ("AnB", 1))]  # fmt: skip
    figure, numbers = draw_figure2(table(*rows))
    assert "(1 split: no intervals)" in words_in(figure)
    assert numbers["low"].dropna().tolist() == []


def test_mixed_arithmetic_stale_runs_and_random_features_are_labelled() -> None:
    frame = table(
        ("base", 0, "s", "A", 0.8),
        ("AnB", 1, "s", "A", 0.7, {"stale": True, "dtype": "bfloat16"}),
        ("RnB", 1, "s", "A", 0.6, {"below": "kaiming"}),
        ("RnB", 1, "s", "A", 0.5, {"below": "xavier"}),
    )
    figure, numbers = draw_figure2(frame)
    text = words_in(figure)
    assert "mixed arithmetic: 1 bfloat16 on cpu, 3 float32 on cpu" in text
    assert "1 stale: base changed since" in text
    assert numbers["series"].tolist() == ["base", "AnB", "RnB kaiming", "RnB xavier"]
    assert numbers["mean"].tolist() == pytest.approx([0.8, 0.7, 0.6, 0.5])


def of(**values: object) -> dict[str, object]:
    unknown = dict.fromkeys(("head", "processor", "processes"))
    return {"dtype": "float32", "device": "cpu", "threads": 1, **unknown, **values}


@pytest.mark.parametrize(
    ("runs", "kinds"),
    [
        ([of(), of(head="float32", processor="AVX2")], {"float32 on cpu"}),  # one of them of an earlier version
        ([of(threads=1, device="cuda"), of(threads=8, device="cuda")], {"float32 on cuda"}),
        ([of(threads=1), of(threads=2)], {"float32 on cpu with 1 thread(s)", "float32 on cpu with 2 thread(s)"}),
        (
            [of(), of(processor="AVX2"), of(processor="AVX512")],
            {"float32 on cpu", "float32 on cpu (AVX2)", "float32 on cpu (AVX512)"},
        ),
        ([of(processor="AVX2"), of(processor="H100", device="cuda")], {"float32 on cpu", "float32 on cuda"}),
        (
            [of(dtype="bfloat16"), of(dtype="bfloat16", head="float32")],
            {"bfloat16 on cpu with a bfloat16 head", "bfloat16 on cpu with a float32 head"},
        ),
        ([of(), of(processes=2)], {"float32 on cpu in 1 process(es)", "float32 on cpu in 2 process(es)"}),
        ([of(dtype="bfloat16"), of(dtype=None, device=None, threads=None)], {"bfloat16 on cpu"}),
        ([of(dtype=None, device=None, threads=None)] * 2, set()),  # the published networks
    ],
)
def test_kinds_of_arithmetic_are_told_apart_as_far_as_they_are_known(
    runs: list[dict[str, object]], kinds: set[str]
) -> None:
    for types in ({}, {"dtype": "string", "device": "string", "threads": "Int64", "processes": "Int64"}):
        assert set(arithmetic(pd.DataFrame(runs).astype(types)).dropna()) == kinds


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A partial sweep: one run stuck, one interrupted, one missing."""
    runs = tmp_path_factory.mktemp("runs")
    listed = sweep([2, 5])
    for k, run in enumerate(listed):
        if run.name == "A5B":
            finish(runs, run, 0.01, [0.01, 0.01, 0.01], state="stuck")
        elif run.name == "B5A":
            attempt = attempts.claim(runs, run)
            assert attempt is not None
            attempt.append(row(10, 0.3))
            attempt.release()
        elif run.name != "A2B+":
            finish(runs, run, 0.6 + k / 100, [0.3, 0.5, 0.6 + k / 100])
    manifest(runs, "partial", listed)
    return runs


def test_the_name_of_a_data_set_deep_in_folders_fits_beside_the_axes() -> None:
    rows = [(series, n, "all", "all", 0.5) for series, n in (("base", 0), ("AnB", 1), ("AnB+", 1))]
    where = "imagefolder-256-crop:/scratch/groups/birds/2026/november/pictures"
    figure, _ = draw_figure2(table(*rows, data=where))
    assert where in words_in(figure)
    figure.draw_without_rendering()
    top, bottom = (axes.yaxis.label.get_window_extent() for axes in figure.axes[:2])
    assert figure.bbox.y0 < bottom.y0 < bottom.y1 < top.y0 < top.y1 < figure.bbox.y1


def test_curves_of_chosen_runs(runs: Path) -> None:
    table = frame(runs)
    figure, numbers = draw_curves(table, ["A2B", "A5B", "B5A", "A2B+"])
    text = words_in(figure)
    for words in ("A2B\n", "A5B, stuck", "B5A, interrupted", "no curve: 1 missing", "emoji, select images"):
        assert words in text
    assert numbers.groupby("name")["step"].count().to_dict() == {"A2B": 3, "A2B+": 0, "A5B": 3, "B5A": 1}
    run = table.loc[table["name"] == "B2B", "run"].iloc[0]
    assert set(draw_curves(table, [run[:8]])[1]["name"]) == {"B2B"}
    assert len(draw_curves(table)[0].axes) == 5
    with pytest.raises(BadInput, match=r"unknown run 'A9B'; choose from these or give an id: A2A, A2A\+, A2B"):
        draw_curves(table, ["A9B"])
    with pytest.raises(BadInput, match="no evaluations"):
        draw_curves(table, ["A2B+"])
    divided = table.assign(division=(table["name"] == "B5A").astype("Int64"))
    assert "B5A, division 1, interrupted" in words_in(draw_curves(divided, ["A2B", "A5B", "B5A"])[0])


@pytest.mark.parametrize(("name", "kinds"), [("2", [".png", ".pdf", ".svg"]), ("curves", [".svg"])])
def test_the_same_data_give_the_same_bytes(runs: Path, tmp_path: Path, name: str, kinds: list[str]) -> None:
    files = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            files.append(draw(name, frame(runs), [folder / f"figure{kind}" for kind in kinds]))
    assert [path.name for path in files[0]] == [f"figure{kind}" for kind in (*kinds, ".csv")]
    for one, two in zip(*files, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert b"Date" not in one.read_bytes()


@pytest.mark.parametrize(("targets", "expected"), [("A", 0.75), ("AB", 0.76)])
def test_the_ceiling_of_words_is_a_line_at_the_mean_of_what_copies_are_trained_on(
    targets: str, expected: float
) -> None:
    frame = table(
        ("base", 0, "random:0", "A", 0.70, {"ceiling": 0.75}),
        ("base", 0, "random:0", "B", 0.72, {"ceiling": 0.77}),
        *(("BnB", 1, "random:0", target, 0.69, {"ceiling": {"A": 0.75, "B": 0.77}[target]}) for target in targets),
    )
    figure, _ = draw_figure2(frame)
    for axes in figure.axes[:2]:
        assert expected in [line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1]  # pyright: ignore
    told = [
        text.get_text() for axes in figure.axes for legend in [axes.get_legend()] if legend for text in legend.texts
    ]
    assert any(text.startswith(f"{expected:.3f}: the best of all classifiers") for text in told)
    plain, _ = draw_figure2(frame.assign(ceiling=None))
    told = [text.get_text() for axes in plain.axes for legend in [axes.get_legend()] if legend for text in legend.texts]
    assert not any("best of all classifiers" in text for text in told)
