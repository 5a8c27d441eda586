"""Cheap predictors against the trained grid: how well they rank the cuts, and what following them would have cost.

Predictions are what `yosinski predict` leaves in `runs/predictions/`; nothing is computed from images here.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.paired import METRICS
from analysis.style import look, style
from yosinski import files, records
from yosinski.files import Damaged
from yosinski.spec import choose

COLUMNS = ["base", "target_half", "images", "n", "cut", "predictor", "score"]
RULES = {"first cut": -1, "last cut": 1}  # what needs no image at all: a score that is n, or -n
PAIR = ["split", "target", "source", "target_half", "parent", "recipe", "examples_per_class", "series"]


def rows(prediction: Mapping[str, Any]) -> pd.DataFrame:
    """One row per cut and predictor, with the columns of `COLUMNS`; images: how many the predictors were fitted to."""
    about = prediction["base"], prediction["half"], prediction["images"]["train"]["used"]
    cuts = prediction["cuts"]
    found = [(*about, cut["n"], cut["name"], *scored) for cut in cuts for scored in cut["scores"].items()]
    return pd.DataFrame(found, columns=COLUMNS)


def predictions(runs: Path) -> pd.DataFrame:
    """The rows of all predictions in a runs directory; of what was predicted twice those that saw the most images.

    Left out with a warning: damaged files, and predictions from weights that their base no longer has.
    """
    found = [pd.DataFrame(columns=COLUMNS)]
    for path in sorted((runs / "predictions").glob("*.json")):
        try:
            prediction = files.read_json(path)
            record = records.read_record(records.folder(runs, prediction["base"])) or {}
            if record.get("weights") not in (None, prediction["weights"]):
                warnings.warn(f"{path} was made from other weights than its base has now: left out", stacklevel=2)
                continue
            found.append(rows(prediction))
        except (KeyError, TypeError, Damaged) as error:
            told = error if isinstance(error, Damaged) else Damaged(path)
            warnings.warn(f"{told}: left out", stacklevel=2)
    table: Any = pd.concat(found[1:] or found, ignore_index=True).sort_values("images", kind="stable")
    return table.drop_duplicates(["base", "target_half", "n", "predictor"], keep="last").reset_index(drop=True)


def quality(frame: pd.DataFrame, predicted: pd.DataFrame, metric: str = "test_top1") -> pd.DataFrame:
    """How good each predictor was: one row per pair of target and base, treatment (series) and predictor.

    frame: of records. predicted: as from `predictions`. Two rules that look at no image stand beside the predictors.
    Accuracies are means over seeds of transfer copies that are done; pairs with fewer than two cuts are left out.

    cuts            how many there are with an accuracy and a score
    tau             Kendall's tau-b between score and accuracy, 1: the same order; empty where all scores are equal
    best, chosen    the cut with the highest accuracy, and the one with the highest score (of equal ones the first)
    accuracy        of the best cut
    regret          what the chosen cut is worse than that; the best one is picked by the same accuracies, so that it
                    is somewhat too high, most where cuts differ little
    at_random       the expected regret of a cut drawn at random
    """
    choose("metric", metric, METRICS)
    copies: Any = frame.loc[frame["last"] & (frame["relation"] == "transfer") & (frame["preserved"].fillna(0) == 0)]
    copies = copies.loc[(copies["state"] == "done") & copies[metric].notna() & ~copies["stale"]]
    accuracy = copies.groupby([*PAIR, "n"], dropna=False)[metric].mean().rename("accuracy").reset_index()
    scored: Any = predicted.rename(columns={"base": "parent"})[["parent", "target_half", "n", "predictor", "score"]]
    cuts = scored[["parent", "target_half", "n"]].drop_duplicates()
    rules = [cuts.assign(predictor=name, score=sign * cuts["n"].astype(float)) for name, sign in RULES.items()]
    both = accuracy.merge(pd.concat([scored, *rules]), on=["parent", "target_half", "n"])

    judged = []
    for key, its in both.groupby([*PAIR, "predictor"], dropna=False, sort=False):
        if len(its) < 2:
            continue
        its = its.sort_values("n")
        best, chosen = its.loc[its["accuracy"].idxmax()], its.loc[its["score"].idxmax()]
        judged.append(
            {
                **dict(zip([*PAIR, "predictor"], key, strict=True)),
                "cuts": len(its),
                "tau": its["score"].corr(its["accuracy"], method="kendall"),
                "best": best["n"],
                "chosen": chosen["n"],
                "accuracy": best["accuracy"],
                "regret": best["accuracy"] - chosen["accuracy"],
                "at_random": best["accuracy"] - its["accuracy"].mean(),
            }
        )
    columns = [*PAIR, "predictor", "cuts", "tau", "best", "chosen", "accuracy", "regret", "at_random"]
    return pd.DataFrame(judged, columns=columns)


def summary(judged: pd.DataFrame) -> pd.DataFrame:
    """The rows of `quality` averaged within a split, then over splits: one row per series and predictor, best first.

    tau_sd and regret_sd are standard deviations over splits, empty for a single one; pairs and splits count them.
    """
    place = ["series", "predictor"]
    by_split: Any = judged.groupby([*place, "split"], dropna=False)[["tau", "regret", "at_random"]].mean()
    over_splits: Any = by_split.groupby(place)
    means = over_splits.mean().join(over_splits[["tau", "regret"]].std().add_suffix("_sd"))
    counts: Any = judged.groupby(place).agg(pairs=("tau", "size"), splits=("split", "nunique"))
    columns = ["pairs", "splits", "tau", "tau_sd", "regret", "regret_sd", "at_random"]
    return counts.join(means)[columns].reset_index().sort_values(["series", "regret", "predictor"], ignore_index=True)


def judge(frame: pd.DataFrame, runs: Path, metric: str = "test_top1") -> tuple[pd.DataFrame, list[str]]:
    """The `summary` of a runs directory, and sentences that say what it means; no rows where nothing can be judged."""
    predicted = predictions(runs)
    table = summary(quality(frame, predicted, metric))
    if predicted.empty:
        return table, ["Nothing was predicted for these runs; `yosinski predict --base RUN` does it."]
    if table.empty:
        return table, ["No base for which cuts were predicted has transfer copies at two cuts or more."]
    said = []
    its: Any
    for series, its in table.groupby("series"):
        cheap, rules = (its.loc[its["predictor"].isin(RULES) == of_rules] for of_rules in (False, True))
        order = [*cheap.iloc[[0, -1]].itertuples(), *rules.itertuples()]
        about = f"{its['pairs'].max()} pair(s) of {its['splits'].max()} split(s), {METRICS[metric]}"
        better = cheap.loc[cheap["regret"] < rules["regret"].min(), "predictor"]
        said.append(
            f"{series} ({about}): to follow {'; '.join(map(_cost, order))}; a cut drawn at random costs "
            f"{100 * its['at_random'].max():.1f} points. Better than both of these rules: {', '.join(better) or 'none'}."
        )
    return table, said


def _cost(row: Any) -> str:
    spread = "" if pd.isna(row.regret_sd) else f" +- {100 * row.regret_sd:.1f}"
    tau = "undefined" if pd.isna(row.tau) else f"{row.tau:.2f}"
    return f"{row.predictor} costs {100 * row.regret:.1f}{spread} points (tau {tau})"


def draw(predicted: pd.DataFrame, title: str) -> Figure:
    """One small panel per predictor: its score over the cuts, the best one filled. predicted: as `rows` makes it."""
    names = predicted["predictor"].unique()
    across = min(4, len(names))
    down = -(-len(names) // across)
    colour = look("AnB").colour
    with style():
        figure = Figure(figsize=(2.5 * across + 0.4, 2.1 * down + 0.5))
        panels: Any = figure.subplots(down, across, squeeze=False, sharex=True)
        for panel in panels.flat[len(names) :]:
            panel.remove()
        for panel, name in zip(panels.flat, names, strict=False):
            its = predicted.loc[predicted["predictor"] == name]
            best = its.loc[its["score"].idxmax()]
            panel.plot(its["n"], its["score"], color=colour, marker="o", mfc="white", linewidth=1.4)
            panel.plot(best["n"], best["score"], color=colour, marker="o", markersize=8)
            panel.set_title(name)
            panel.spines[["top", "right"]].set_visible(False)
            panel.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        figure.supxlabel("Cut n")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    return figure
