"""Figures and tables of the published networks, of records, and of both: what they show, leave out and refuse."""

import json
import math
import warnings
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest
from commands import yosinski
from matplotlib.figure import Figure
from scipy import stats
from synthetic import RECIPE, base, finish, halves, manifest, sweep

from analysis import frame
from analysis.draw import FIGURES, draw
from analysis.figures import figure2, figure3, preserved, reduced
from analysis.paper import networks
from analysis.sharing.contrasts import KINDS
from analysis.tables import table, write
from yosinski.errors import BadInput
from yosinski.experiment.run import Run

DROPS = {"base": 0.0, "BnB": -0.01, "BnB+": 0.03, "AnB": -0.02, "AnB+": 0.04, "RnB": -0.3}
LEVELS = {"random:0": 0.80, "random:1": 0.82, "random:2": 0.84, "natman": 0.7}


def words_in(figure: Figure) -> str:
    """All words in a figure."""
    legends = [legend for axes in figure.axes if (legend := axes.get_legend())] + list(figure.legends)
    words = [axes.get_title(loc="left") + axes.get_ylabel() for axes in figure.axes]
    words += [text.get_text() for axes in figure.axes for text in axes.texts]
    words += [text.get_text() for legend in legends for text in legend.get_texts()]
    return "\n".join([figure.get_suptitle(), *words]).replace("\xa0", " ")


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    """All of the published networks."""
    return networks()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three random splits; natman with random features, one of them stuck; bases with few images."""
    runs = tmp_path_factory.mktemp("runs")
    random, unlike = sweep([2, 5], ["random:0", "random:1", "random:2"]), sweep([2, 5], ["natman"])
    features = [
        Run("alexnet32", half, RECIPE, 0, "random", n, below="xavier") for half in halves("natman") for n in (2, 5)
    ]
    for run in random + unlike + features:
        of = {"base": "base", "random": "RnB"}.get(run.treatment, "BnB" if run.selffer else "AnB")
        top1 = LEVELS[run.half.split] + DROPS[of + "+" * (run.treatment == "tuned")] * (run.cut or 1)
        state = "stuck" if run.name == "R5B" else "done"
        finish(runs, run, top1, [top1 - 0.1, *[top1] * 10], state=state)
    few = [base(halves("random:0")[0], examples_per_class=k) for k in (5, 50)]
    for run, top1 in zip(few, (0.35, 0.6), strict=True):
        finish(runs, run, top1, [top1] * 10)
    for name, listed in {"figure2": random, "figure3": random + unlike + features, "reduced": few}.items():
        manifest(runs, name, listed)
    return runs


def both(published: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([published, own], ignore_index=True)


def keeping(own: pd.DataFrame, layers: Sequence[int] = (1, 2)) -> pd.DataFrame:
    """Records as those of a sweep in which frozen copies also keep further layers: each is a point better."""
    copies = own.loc[own["series"].isin(["BnB", "AnB"])]
    kept = [
        copies.assign(preserved=k, run=copies["run"] + f"+{k}", test_top1=copies["test_top1"] + k / 100) for k in layers
    ]
    return pd.concat([own, *kept], ignore_index=True).astype(own.dtypes)


# ------------------------------------------------------------------------------------------------------------- figure 2


def test_figure_2_of_the_published_networks(published: pd.DataFrame) -> None:
    figure, numbers = figure2.draw(published)
    rows = numbers.set_index(["series", "n"])
    assert rows.loc[("base", 0), ["runs", "mean"]].tolist() == pytest.approx([8, 0.6251], abs=5e-5)
    assert (100 * rows.loc["AnB", "difference"]).round(2).tolist() == [0.31, -0.12, -0.62, -2.53, -4.71, -4.45, -8.26]
    assert rows.loc[("AnB", 7), "drawn"] == pytest.approx(0.6251 - 0.0826, abs=1e-4)
    words = words_in(figure)
    for expected in (
        "caffenet on imagenet (published); random:0, random:1, random:2, random:3",
        "no result: 22 missing",
        "3 whose log is lost in part",
        "plain means, as the paper has them",
        "select images, mean of 10 best",
        "1 to 4 splits: no intervals below 3",
    ):
        assert expected in words
    assert "stuck" not in words  # none of these is


def test_figure_2_overlaid_is_in_points_and_each_origin_is_paired_by_itself(
    published: pd.DataFrame, runs: Path
) -> None:
    own = frame(runs, "figure2")
    figure, numbers = figure2.draw(both(published, own))
    alone = pd.concat([figure2.draw(published)[1], figure2.draw(own, "best10_top1")[1]], ignore_index=True)
    pd.testing.assert_frame_equal(numbers.drop(columns="drawn"), alone.drop(columns="drawn"))
    assert numbers["drawn"].tolist() == pytest.approx((100 * numbers["difference"]).tolist(), nan_ok=True)
    words = words_in(figure)
    assert "alexnet32 on emoji; random:0, random:1, random:2\ncaffenet on imagenet (published)" in words
    assert "pale: the published networks" in words
    assert "Points from base (same target)" in words


def test_preserved_layers_are_not_mixed_into_figure_2(runs: Path) -> None:
    own = frame(runs, "figure2")
    figure, numbers = figure2.draw(keeping(own))
    pd.testing.assert_frame_equal(numbers, figure2.draw(own)[1])
    assert "48 not shown: preserved layers" in words_in(figure)
    pd.testing.assert_frame_equal(table("drops", keeping(own)).rows, table("drops", own).rows)


# ------------------------------------------------------------------------------------------------------------- figure 3


def test_figure_3_of_the_published_networks(published: pd.DataFrame) -> None:
    figure, numbers = figure3.draw(published)
    rows = numbers.set_index(["panel", "series", "n"])
    assert rows.loc[("top left", "to natural", 0), "mean"] == pytest.approx(0.6534, abs=5e-5)
    assert rows.loc[("top left", "to man-made", 0), "mean"] == pytest.approx(0.5372, abs=5e-5)
    assert rows.loc[("top right", "base", 0), "mean"] == pytest.approx(0.5763, abs=5e-5)  # netbase
    assert rows.loc[("top right", "RnB", 2), "difference"] == pytest.approx(0.4026 - 0.5763, abs=1e-4)
    assert rows.loc[("top right", "RnB", 3), ["runs", "left_out"]].tolist() == [0, 1]  # it never learned
    assert rows.loc[("bottom", figure3.RANDOM, 7), "difference"] == pytest.approx(-0.0826, abs=5e-5)
    unlike = rows.loc[("bottom", figure3.NATMAN, 7)]
    assert unlike["difference"] == pytest.approx((0.3990 - 0.6534 + 0.2914 - 0.5372) / 2, abs=1e-4)
    assert unlike[["targets", "splits"]].tolist() == [2, 1]
    words = words_in(figure)
    assert "1 stuck: not in the means" in words
    assert "\N{MINUS SIGN}56" in words  # random features far below the axis


def test_figure_3_of_records_has_random_features_beside_their_own_bases(runs: Path, published: pd.DataFrame) -> None:
    own = frame(runs)  # with bases on few images in it, too
    figure, numbers = figure3.draw(own)
    rows = numbers.set_index(["panel", "series", "n"])
    assert rows.loc[("bottom", figure3.FEATURES, 2), "difference"] == pytest.approx(-0.6)
    assert rows.loc[("bottom", figure3.FEATURES, 5), ["runs", "left_out"]].tolist() == [1, 1]
    assert rows.loc[("bottom", figure3.NATMAN, 5), "difference"] == pytest.approx(-0.1)
    assert rows.loc[("bottom", figure3.RANDOM, 5), ["splits", "difference"]].tolist() == pytest.approx([3, -0.1])
    assert "1 stuck" in words_in(figure)
    overlaid = figure3.draw(both(published, own))[1]
    assert overlaid["origin"].value_counts().to_dict() == {
        "paper": len(figure3.draw(published)[1]),
        "runs": len(numbers),
    }


def test_figures_in_the_middle_of_a_sweep_show_what_is_done_or_say_that_nothing_is(runs: Path) -> None:
    own = frame(runs)
    features = (own["treatment"] == "random") | (own["target"] == "All")
    left = own.assign(state=own["state"].mask(features, "missing"), test_top1=own["test_top1"].mask(features))
    numbers = figure3.draw(left)[1]
    assert set(numbers["panel"]) == {"top left", "bottom"}
    assert figure3.FEATURES not in set(numbers["series"])
    copies = own["treatment"] != "base"
    bare = own.assign(state=own["state"].mask(copies, "missing"), test_top1=own["test_top1"].mask(copies))
    with pytest.raises(BadInput, match="none of the copies that this figure shows is done yet"):
        figure3.draw(bare)


def test_the_papers_splits_are_of_its_two_kinds_by_whatever_name(runs: Path) -> None:
    own = frame(runs)
    renamed = own.assign(split=own["split"].replace({"natman": "paper:natman", "random:1": "paper:1"}))
    pd.testing.assert_frame_equal(figure3.draw(renamed)[1], figure3.draw(own)[1])
    for records in (own, renamed):
        assert table("bases", records).rows.set_index("halves")["bases"].to_dict() == {"random": 6, "natman": 2}


def test_figure_3_needs_natman_and_says_which_splits_there_are(runs: Path, published: pd.DataFrame) -> None:
    message = r"figure 3 needs frozen copies AnB on split natman; .*: random:0, random:1, random:2$"
    with pytest.raises(BadInput, match=message):
        figure3.draw(frame(runs, "figure2"))
    without = published.loc[published["treatment"] != "random"]
    assert "no random features" in words_in(figure3.draw(without)[0])


# ------------------------------------------------------------------------------------------------ figures S1, preserved


def test_reduced_data_of_the_published_networks(published: pd.DataFrame) -> None:
    figure, numbers = reduced.draw(published)
    few = numbers.dropna(subset=["examples_per_class"])
    assert few["examples_per_class"].tolist() == [1, 2, 5, 10, 25, 50, 100, 250, 500, 750, 1000, 1300]
    assert few.loc[few["left_out"] == 1, "examples_per_class"].tolist() == [5, 10, 25, 50, 100]
    assert few["mean"].isna().tolist() == (few["left_out"] == 1).tolist()
    assert few["mean"].iloc[-1] == pytest.approx(0.5518, abs=5e-5)
    whole = numbers.loc[numbers["examples_per_class"].isna()]
    assert whole["mean"].tolist() == pytest.approx([0.5763], abs=5e-5)
    words = words_in(figure)
    assert "5 stuck: not in the means" in words
    assert "base with all images" in words
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "log"]


def test_reduced_data_of_records_and_both(runs: Path, published: pd.DataFrame) -> None:
    own = frame(runs)
    numbers = reduced.draw(own)[1]
    assert numbers["examples_per_class"].fillna(0).tolist() == [5, 50, 0]
    assert numbers["mean"].tolist() == pytest.approx([0.35, 0.6, 0.8])
    assert "alexnet32 on emoji, half A of random:0" in words_in(reduced.draw(both(published, own))[0])
    with pytest.raises(
        BadInput, match="figure S1 needs bases with examples_per_class; these runs are: base, frozen, tuned"
    ):
        reduced.draw(frame(runs, "figure2"))
    other = base(halves("random:0")[0], recipe=RECIPE.with_values({"epochs": 80.0}), examples_per_class=20)
    mixed = own.loc[own["examples_per_class"] == 5].assign(recipe=other.recipe.digest, recipe_epochs=80.0)
    with pytest.raises(BadInput, match="mix recipe_epochs: 40, 80"):
        reduced.draw(pd.concat([own, mixed], ignore_index=True))


def test_preserved_of_the_published_networks(published: pd.DataFrame) -> None:
    figure, numbers = preserved.draw(published)
    published_rows = pd.read_csv(str(files("analysis.paper") / "preserved.csv"))
    drawn = numbers.set_index(["series", "preserved", "n"])["mean"]
    for series, kept, n, top1 in published_rows.itertuples(index=False):
        assert drawn[series, kept, n] == top1
    assert len(drawn) == len(published_rows) == 40
    assert set(numbers.loc[numbers["series"] == "BnB", "base"].round(4)) == {0.6146}  # half0A at its last evaluation
    assert "the next 2 kept and trained" in words_in(figure)


def test_preserved_of_records_and_both(runs: Path, published: pd.DataFrame) -> None:
    own = keeping(frame(runs, "figure2"))
    figure, numbers = preserved.draw(own)
    rows = numbers.set_index(["series", "preserved", "n"])
    for kept in (0, 1, 2):
        assert rows.loc[("AnB", kept, 5), "difference"] == pytest.approx(-0.1 + kept / 100)
        assert rows.loc[("BnB", kept, 2), "difference"] == pytest.approx(-0.02 + kept / 100)
    assert rows["splits"].tolist() == [3] * 12
    assert "single networks" in words_in(figure)
    natman = frame(runs, where={"split": "natman"})  # without preserved layers: nothing to be compared
    pd.testing.assert_frame_equal(preserved.draw(pd.concat([own, natman], ignore_index=True))[1], numbers)
    overlaid, numbers = preserved.draw(both(published, own))
    assert set(numbers["origin"]) == {"paper", "runs"}
    assert "Points from base (same target)\n(select images)" in words_in(overlaid)
    with pytest.raises(BadInput, match=r"needs copies with preserved layers; these runs have none: AnB, AnB\+, BnB"):
        preserved.draw(frame(runs, "figure2"))


# --------------------------------------------------------------------------------------------------------------- curves


def test_curves_of_published_networks_are_over_iterations_and_beside_others_over_shares(
    published: pd.DataFrame, runs: Path
) -> None:
    chosen = ["transfer2B2A_1_4", "half0A", "nolearn_1_3"]
    figure, numbers = FIGURES["curves"](published, chosen)
    assert figure.axes[0].get_xlabel() == "Iteration (thousands)"
    assert numbers.groupby("run")["step"].count().to_dict() == {
        "transfer2B2A_1_4": 90,
        "half0A": 450,
        "nolearn_1_3": 450,
    }
    words = words_in(figure)
    assert "transfer2B2A_1_4" in words
    assert "nolearn_1_3, stuck" in words
    figure, _ = FIGURES["curves"](both(published, frame(runs, "figure2")))
    assert figure.axes[-1].get_xlabel() == "Share of the training"
    assert "pale: the published networks" in words_in(figure)


@pytest.mark.parametrize("name", sorted(set(FIGURES) - set(KINDS)))  # of which there are no published networks
def test_every_figure_is_drawn_without_a_warning_and_to_the_same_bytes(
    name: str, published: pd.DataFrame, tmp_path: Path
) -> None:
    files = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            options = {"runs": ["netbase"]} if name == "curves" else {}
            files.append(draw(name, published, [folder / f"{name}.png"], **options))
    assert [path.name for path in files[0]] == [f"{name}.png", f"{name}.csv"]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


# ----------------------------------------------------------------------------------------------- tables, of records too


def test_table_1_of_records_has_pairs_and_over_three_splits_an_interval(runs: Path, published: pd.DataFrame) -> None:
    own = frame(runs, "figure2")
    own.loc[(own["split"] == "random:2") & (own["series"] == "AnB+"), "test_top1"] += 0.03
    rows = table("1", own).rows.set_index(["copies", "reference", "first"])
    assert rows.index.get_level_values("first").unique().tolist() == [1, 3, 5]
    # AnB+ gains 8 points at n = 2 and 20 at n = 5, three more in one split of three; BnB+ gains 6 and 15.
    over_base, over_selffers = rows.loc[("AnB+", "base", 1)], rows.loc[("AnB+", "BnB+", 1)]
    assert over_base[["paired", "unpaired"]].tolist() == pytest.approx([15, 15])
    assert over_selffers[["paired", "unpaired"]].tolist() == pytest.approx([4.5, 4.5])
    assert over_base[["pairs", "splits", "networks", "references"]].tolist() == [12, 3, 12, 6]
    margin = stats.t.ppf(0.975, 2) * stats.sem([14, 14, 17])
    assert over_base[["low", "high"]].tolist() == pytest.approx([15 - margin, 15 + margin])
    assert table("1", both(published, own)).rows["origin"].value_counts().to_dict() == {"paper": 9, "runs": 9}


def test_unpaired_gains_hold_what_targets_differ_by_and_paired_ones_do_not(runs: Path) -> None:
    own = frame(runs, "figure2")
    easiest = own.loc[(own["series"] != "AnB+") | (own["split"] == "random:2")]
    row = table("1", easiest).rows.iloc[0]
    assert [row["unpaired"], row["paired"]] == pytest.approx([16, 14])  # its bases are two points above the mean


def test_best10_needs_ten_evaluations(tmp_path: Path) -> None:
    a, b = halves()
    finish(tmp_path, base(a), 0.5, [0.1, 0.2, *[0.4, 0.6] * 5])
    finish(tmp_path, base(b), 0.5, [0.5] * 9)
    rows = frame(tmp_path).query("last").set_index("name")
    assert rows.loc["baseA", "best10_top1"] == pytest.approx(0.5)
    assert math.isnan(rows.loc["baseB", "best10_top1"])
    short = frame(tmp_path, where={"target": "B"})
    with pytest.raises(BadInput, match="1 done with fewer than 10 evaluations; choose another --metric"):
        figure2.draw(short, "best10_top1")


def test_refusals(runs: Path, published: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown table '2'; choose from: 1, bases, drops, health"):
        table("2", published)
    with pytest.raises(BadInput, match=r"published networks have no test_top1, .* choose: best10_top1, select_top1"):
        table("1", both(published, frame(runs)), "test_top1")
    with pytest.raises(BadInput, match="unknown metric 'top5'; choose from: test_top1, select_top1"):
        figure3.draw(published, "top5")
    with pytest.raises(BadInput, match="table 1 needs fine-tuned transfers AnB"):
        table("1", published.loc[~published["series"].isin(["AnB+"])])
    with pytest.raises(BadInput, match="no base on all images is done"):
        table("bases", published.loc[published["series"] != "base"])
    with pytest.raises(BadInput, match="there are no copies"):
        table("drops", published.loc[published["series"] == "base"])
    with pytest.raises(BadInput, match="there are no runs"):
        table("health", published.iloc[:0])
    with pytest.raises(BadInput, match=r"no run is done and has best10_top1: 5 stuck$"):
        reduced.draw(published.loc[(published["state"] == "stuck") & (published["treatment"] == "base")])
    with pytest.raises(BadInput, match=r"choose from: \.csv, \.json"):
        write(table("bases", published), tmp_path / "bases.xlsx")
    for name in ("2", "3", "S1", "preserved", "curves"):
        with pytest.raises(BadInput):
            draw(name, published.iloc[:0], [tmp_path / "empty.png"])
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------------------- the command line


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_paper_alone_needs_no_records(here: Path) -> None:
    status, out, _ = yosinski("table", "1", "--paper", "--out", "table1.csv")
    assert status == 0
    for words in ("+1.60", "+2.1", "+0.97, 10 pairs, 2 splits", "not identifiable: 0 pairs", "random:0, target B"):
        assert words in out
    assert pd.read_csv(here / "table1.csv")["unpaired"].round(2).tolist()[:3] == [1.60, 1.80, 2.06]
    content = json.loads(yosinski("table", "1", "--paper", "--json").out)
    assert [row["paired"] for row in content["rows"][3:6]] == [None] * 3
    assert len(content["pairs"]) == 20
    status, out, _ = yosinski("draw", "S1", "--paper")
    assert (status, out.split()) == (0, [f"figures/S1.{kind}" for kind in ("png", "pdf", "svg", "csv")])


def test_tables_print_every_digit_whatever_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    printed = yosinski("table", "drops", "--paper").out
    assert "-8.26   -8.57 to -7.95" in printed
    assert "…" not in printed


def test_records_beside_the_paper_are_those_that_sweep_and_where_choose(runs: Path, here: Path) -> None:
    paper = ["--paper", "--runs", runs, "--sweep", "figure2", "--where", "split=random:0"]
    status, _, errors = yosinski("frame", *paper, "--out", "both.parquet")
    assert status == 0, errors
    rows = pd.read_parquet(here / "both.parquet").query("last")
    assert rows["origin"].value_counts().to_dict() == {"paper": 210, "runs": 18}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("table 1", "no runs directory runs"),
        ("table 9 --paper", "unknown table '9'; choose from: 1, bases, drops, health"),
        ("draw 4 --paper", "unknown figure '4'; choose from: 2, 3, S1, preserved, curves"),
        ("draw 2 --paper --metric test_top1", "published networks have no test_top1"),
        ("draw 2 --paper --sweep figure2", "--sweep chooses among records: give --runs DIR beside --paper"),
        ("draw 2 --paper --runs none", "no runs directory none"),
        ("draw 3 --paper --where split=random:0", "figure 3 needs frozen copies AnB on split natman"),
        ("table bases --paper --out bases.txt", "choose from: .csv, .json"),
        ("draw 2 --paper --out figure.jpeg", "choose from: .png, .pdf, .svg"),
        ("draw 2 3 --paper --out one.png", "several figures do not fit into one.png: give a directory to --out"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments: str, message: str, here: Path) -> None:
    status, out, errors = yosinski(*arguments.split())
    assert (status, out) == (2, "")
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not list(here.iterdir())
