"""The published networks: what is read of them, and every number that a reproduction of the paper must print."""

import math
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import frame
from analysis.paper import networks
from analysis.tables import table
from yosinski.errors import BadInput

ROOT = Path(__file__).parents[3]
STUCK = {"nolearn_1_3", *(f"reduced-{images:04d}" for images in (5, 10, 25, 50, 100))}


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    """All of them."""
    return networks()


@pytest.fixture(scope="module")
def last(published: pd.DataFrame) -> pd.DataFrame:
    """One row each, by published name."""
    return published.loc[published["last"]].set_index("run")


# --------------------------------------------------------------------------------------------------------- the networks


def test_the_columns_and_types_are_those_of_records(published: pd.DataFrame, tmp_path: Path) -> None:
    pd.testing.assert_series_equal(published.dtypes, frame(tmp_path).dtypes)
    assert set(published["origin"]) == {"paper"}


def test_there_are_the_papers_networks_and_the_notebooks(last: pd.DataFrame) -> None:
    assert last["recipe"].value_counts().to_dict() == {"paper": 158, "paper-preserved": 40, "paper-reduced": 12}
    part = last.loc[last["recipe"] == "paper"]
    random = part["split"].str.startswith("random:")
    assert part["series"][random].value_counts().to_dict() == {"base": 8, "AnB": 56, "BnB": 28, "AnB+": 28, "BnB+": 14}
    assert part["series"][part["split"] == "natman"].value_counts().to_dict() == {"AnB": 14, "base": 2}
    assert part["series"][part["split"] == "all"].value_counts().to_dict() == {"RnB": 7, "base": 1}
    assert last["state"].value_counts().to_dict() == {"done": 182, "missing": 22, "stuck": 6}
    assert set(part.loc[part["state"] == "missing", "series"]) == {"AnB+", "BnB+"}
    logged = part.loc[part["n"] > 0].groupby("series")["state"].apply(lambda states: int((states != "missing").sum()))
    assert logged.to_dict() == {"AnB": 70, "AnB+": 10, "BnB": 28, "BnB+": 10, "RnB": 7}


def test_names_halves_and_bases(last: pd.DataFrame) -> None:
    columns = ["name", "series", "n", "cut", "split", "source", "target", "parent", "target_half", "classes"]
    rows = last[columns].astype(object).where(last[columns].notna(), None)
    halves = ["random:1", "A", "B", "half1A", "half1B", 500]
    assert rows.loc["transfer1A1B_1_3"].tolist() == ["A3B", "AnB", 3, "conv3", *halves]
    assert rows.loc["transfer-ft1A1B_1_3"].tolist() == ["A3B+", "AnB+", 3, "conv3", *halves]
    whole = ["all", None, "All", None, "netbase", 1000]
    assert rows.loc["nolearn_1_6"].tolist() == ["R6All", "RnB", 6, "fc6", *whole]
    assert rows.loc["netbase"].tolist() == ["baseAll", "base", 0, None, *whole]
    assert rows.loc["preserved2-0A0B_1_3", "name"] == "A3+2B"
    assert last.loc["reduced-0250", "examples_per_class"] == 250
    parents = last["parent"].dropna()
    assert set(parents) <= set(last.index)
    assert (last.loc[parents, "target_half"].to_numpy() == last.loc[parents.index, "source_half"].to_numpy()).all()


def test_natural_is_b_as_in_the_paper_though_the_files_call_it_a(last: pd.DataFrame) -> None:
    natural, man_made = last.loc["halfnatmanA"], last.loc["halfnatmanB"]
    assert (natural["target"], natural["classes"]) == ("B", 449)
    assert (man_made["target"], man_made["classes"]) == ("A", 551)
    assert last.loc["transfernatmanAB_1_4", "name"] == "B4A"
    assert last.loc["transfernatmanAB_1_4", "target_half"] == "halfnatmanB"


def test_stuck_are_those_that_never_learned_and_no_others(last: pd.DataFrame) -> None:
    stuck = last.loc[last["state"] == "stuck"]
    assert set(stuck.index) == STUCK
    assert stuck["select_loss"].to_numpy() == pytest.approx(math.log(1000), rel=0.001)
    assert (stuck["select_top1"] < 0.00113).all()
    # Learned by heart, so that the loss on other images is enormous; and learned next to nothing, but not nothing.
    assert last.loc["reduced-0001", "select_loss"] > 2 * math.log(1000)
    assert last.loc["nolearn_1_7", "select_loss"] > 0.99 * math.log(1000)
    assert last.loc["nolearn_1_7", "select_top1"] > 0.014
    assert set(last.loc[["reduced-0001", "nolearn_1_7"], "state"]) == {"done"}


def test_logs_that_are_not_whole_are_marked_and_the_steps_that_are_left_are_kept(
    published: pd.DataFrame, last: pd.DataFrame
) -> None:
    expected = {"transfer0A0A_1_1": 13, "transfer2B2A_1_4": 360, "transfer2B2A_1_7": 370}
    assert last.loc[last["lost"].fillna(0) > 0, "lost"].to_dict() == expected
    assert set(last.loc[list(expected), "state"]) == {"done"}  # all of them ended at the last step
    assert set(last.loc[list(expected), "step"]) == {450_000}
    assert published.loc[published["run"] == "transfer2B2A_1_4", "step"].min() == 361_000
    assert set(last.loc[last["state"] == "missing", "lost"]) == {0}


def test_the_score_is_the_mean_of_the_ten_best_evaluations(published: pd.DataFrame, last: pd.DataFrame) -> None:
    part = published.loc[published["run"] == "transfer0A0B_1_5", "select_top1"]
    assert len(part) == 450
    assert last.loc["transfer0A0B_1_5", "best10_top1"] == pytest.approx(np.sort(part)[-10:].mean(), abs=1e-12)
    assert last.loc[last["recipe"] == "paper-preserved", "best10_top1"].isna().all()


def test_where_chooses_and_says_what_there_is() -> None:
    assert set(networks({"state": "stuck"})["run"]) == STUCK
    with pytest.raises(BadInput, match="no row has split=random:7; split holds: all, natman, random:0, random:1"):
        networks({"split": "random:7"})


def test_the_package_takes_every_file_along() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    there = {path.name for path in (ROOT / "analysis" / "paper").iterdir() if path.suffix not in (".py", ".pyc")}
    assert there - {"__pycache__"} == set(project["package-data"]["analysis.paper"])


# ----------------------------------------------------------------------------------------------------------- the digits


def test_bases(published: pd.DataFrame) -> None:
    rows = table("bases", published).rows.set_index("halves")
    assert rows["bases"].to_dict() == {"random": 8, "natman": 2, "all": 1}
    random = rows.loc["random"]
    assert [round(random[name], 3) for name in ("lowest", "highest")] == [0.615, 0.634]
    assert [round(rows.loc[halves, "mean"], 4) for halves in ("random", "all")] == [0.6251, 0.5763]


def test_paired_drops(published: pd.DataFrame) -> None:
    rows = table("drops", published).rows.set_index(["series", "n"])
    for series, count, points in (
        ("BnB", 4, [0.35, 0.03, -0.21, -1.85, -2.97, -0.45, 0.00]),
        ("AnB", 8, [0.31, -0.12, -0.62, -2.53, -4.71, -4.45, -8.26]),
    ):
        part = rows.loc[series]
        assert part["points"].round(2).tolist() == points
        assert part["runs"].tolist() == [count] * 7
        assert part["splits"].tolist() == [4] * 7
        assert ((part["low"] < part["points"]) & (part["points"] < part["high"])).all()
    assert rows.loc["AnB+", "low"].isna().all()


def test_table_1_prints_the_papers_digits_and_the_paired_ones_beside_them(published: pd.DataFrame) -> None:
    made = table("1", published)
    rows = made.rows.set_index(["copies", "reference"])
    over_base, over_selffers = rows.loc[("AnB+", "base")], rows.loc[("AnB+", "BnB+")]
    assert over_base["first"].tolist() == [1, 3, 5]
    assert over_base["unpaired"].round(2).tolist() == [1.60, 1.80, 2.06]
    assert over_base["printed"].tolist() == [1.6, 1.8, 2.1]
    assert over_base["paired"].round(2).tolist() == [0.97, 1.17, 1.16]
    assert over_base["pairs"].tolist() == [10, 7, 3]
    assert over_base["splits"].tolist() == [2, 2, 1]
    assert over_selffers["unpaired"].round(2).tolist() == [1.38, 1.40, 1.73]
    assert over_selffers["printed"].tolist() == [1.4, 1.4, 1.7]
    assert over_selffers["pairs"].tolist() == [0, 0, 0]
    assert over_selffers["paired"].isna().all()
    assert rows.loc[("BnB+", "base"), "paired"].round(2).tolist() == [0.97, 1.10, 1.01]
    assert made.rows[["low", "high"]].dropna(how="all").empty

    assert made.pairs is not None
    part = made.pairs.loc[made.pairs["copies"] == "AnB+"]
    assert part["points"].mean() == pytest.approx(over_base["paired"].iloc[0])
    assert part.groupby("split")["n"].apply(list).to_dict() == {
        "random:0": [1, 2, 3, 4, 5, 6, 7],
        "random:1": [2, 3, 4],
    }
    shown = made.shown["paired with the same target"].tolist()
    assert shown[:4] == [
        "+0.97, 10 pairs, 2 splits",
        "+1.17, 7 pairs, 2 splits",
        "+1.16, 3 pairs, 1 split",
        "not identifiable: 0 pairs",
    ]
    assert len(made.notes) == 2
    assert "7 of 10 published AnB+ have half B of random:0 as target, whose base is number 1 of 8" in made.notes[0]
    assert "fewer than 3 splits allow no interval" in made.notes[1]


def test_health_lists_what_did_not_end_well_and_what_a_short_log_costs(published: pd.DataFrame) -> None:
    made = table("health", published)
    assert "division" not in made.shown
    assert "division" in table("health", published.assign(division=published["n"] % 2)).shown
    rows = made.rows.set_index("run")
    assert rows["state"].value_counts().to_dict() == {"missing": 22, "stuck": 6, "done": 3}
    assert rows.loc["transfer2B2A_1_4", ["evaluations", "lost"]].tolist() == [90, 360]
    loses = rows["peers_lose"].dropna()
    assert loses.index.tolist() == ["transfer0A0A_1_1", "transfer2B2A_1_4", "transfer2B2A_1_7"]
    assert max(loses) < 0.001  # a tenth of a point: such scores can be used
    by_hand = []
    for name, part in published.loc[published["series"].eq("AnB") & published["n"].eq(4)].groupby("run"):
        if len(part) == 450:
            top1 = part["select_top1"].to_numpy()
            by_hand.append(np.sort(top1)[-10:].mean() - np.sort(top1[-90:])[-10:].mean())
        else:
            assert name == "transfer2B2A_1_4" or str(name).startswith("preserved")
    assert loses.to_dict()["transfer2B2A_1_4"] == pytest.approx(max(by_hand))
    assert "210 runs: 182 done, 22 missing, 6 stuck." in made.notes
