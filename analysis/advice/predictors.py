"""Cheap predictors against the trained grid: how well they rank the cuts, and what following them would have cost.

Predictions are what `yosinski predict` leaves in `runs/predictions/`; nothing is computed from images here.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import ttest_1samp

from analysis.advice.blocks import Block, one_row_each
from analysis.advice.choice import SURE
from analysis.advice.contrasts import holm
from analysis.figures.style import look, style
from analysis.frame import distinct
from analysis.paired import FEWEST, METRICS
from analysis.tables import Table
from yosinski import files
from yosinski.errors import count
from yosinski.files import Damaged
from yosinski.records import specs, states

COLUMNS = ["base", "target_half", "version", "images", "n", "cut", "predictor", "score"]
RULES = {"first cut": -1, "last cut": 1}  # what needs no image at all: a score that is n, or -n
PAIR = ["series", "replicate", "target", "source", "target_half", "parent"]


def rows(prediction: Mapping[str, Any]) -> pd.DataFrame:
    """One row per cut and predictor, with the columns of `COLUMNS`; images: how many the predictors were fitted to."""
    about = [prediction[name] for name in ("base", "half", "version")]
    images, cuts = prediction["images"]["train"]["used"], prediction["cuts"]
    cells = [(*about, images, cut["n"], cut["name"], *scored) for cut in cuts for scored in cut["scores"].items()]
    return pd.DataFrame(cells, columns=COLUMNS)


def predictions(runs: Path, bases: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """The rows of the predictions for these bases, and sentences about what does not count.

    That is damaged files, and predictions from weights that their base no longer has. Of what was predicted more than
    once, the scores by the latest version from the most images count.
    """
    tables, stale, damaged = [pd.DataFrame(columns=COLUMNS)], [], []
    for path in sorted((runs / "predictions").glob("*.json")):
        try:
            prediction = files.read_json(path)
            if prediction["base"] not in bases:
                continue
            record = states.read_record(specs.folder(runs, prediction["base"])) or {}
            if record.get("weights") != prediction["weights"]:
                stale.append(prediction["base"][:8])
            else:
                tables.append(rows(prediction))
        except (KeyError, TypeError, AttributeError, Damaged):
            damaged.append(path.name)
    every: Any = pd.concat(tables[1:] or tables, ignore_index=True).sort_values(["version", "images"], kind="stable")
    table = every.drop_duplicates(["base", "target_half", "n", "predictor"], keep="last").reset_index(drop=True)
    said = []
    if stale:
        again = "made from weights that their base no longer has"
        said.append(f"Left out: {count(len(stale), 'prediction')} {again} ({', '.join(sorted(set(stale)))}).")
    if damaged:
        said.append(f"Left out: {count(len(damaged), 'damaged file')} ({', '.join(damaged)}).")
    if len(table) < len(every):
        said.append("Of what was predicted more than once, the scores from the most images count.")
    return table, said


def quality(runs: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """How good each predictor was: one row per treatment (series), pair of target and base, and predictor.

    runs: as from `blocks.one_row_each`. predicted: as from `predictions`. Two rules that look at no image stand beside
    the predictors. Accuracies are means over seeds of transfer copies that count; pairs with fewer than two cuts are
    left out.

    cuts            how many there are with an accuracy and a score
    tau             Kendall's tau-b between score and accuracy, 1: the same order; empty where all scores are equal
    best, chosen    the cut with the highest accuracy, and the one with the highest score (of equal ones the first)
    accuracy        of the best cut
    regret          what the chosen cut is worse than that; the best one is picked by the same accuracies, so that it
                    is somewhat too high, most where cuts differ little
    at_random       the expected regret of a cut drawn at random
    """
    copies: Any = runs.loc[runs["counts"] & (runs["relation"] == "transfer")]
    accuracy = copies.groupby([*PAIR, "n"], dropna=False)["value"].mean().rename("accuracy").reset_index()
    scored: Any = predicted.rename(columns={"base": "parent"})[["parent", "target_half", "n", "predictor", "score"]]
    cuts = scored[["parent", "target_half", "n"]].drop_duplicates()
    rules = [cuts.assign(predictor=name, score=sign * cuts["n"].astype(float)) for name, sign in RULES.items()]
    both = accuracy.merge(pd.concat([scored, *rules]), on=["parent", "target_half", "n"])

    judged = []
    for key, group in both.groupby([*PAIR, "predictor"], dropna=False, sort=False):
        if len(group) < 2:
            continue
        group = group.sort_values("n")
        best, chosen = group.loc[group["accuracy"].idxmax()], group.loc[group["score"].idxmax()]
        judged.append(
            {
                **dict(zip([*PAIR, "predictor"], key, strict=True)),
                "cuts": len(group),
                "tau": group["score"].corr(group["accuracy"], method="kendall"),
                "best": best["n"],
                "chosen": chosen["n"],
                "accuracy": best["accuracy"],
                "regret": best["accuracy"] - chosen["accuracy"],
                "at_random": best["accuracy"] - group["accuracy"].mean(),
            }
        )
    columns = [*PAIR, "predictor", "cuts", "tau", "best", "chosen", "accuracy", "regret", "at_random"]
    return pd.DataFrame(judged, columns=columns)


def summary(judged: pd.DataFrame) -> pd.DataFrame:
    """The rows of `quality` averaged within a replicate, then over them: one row per series and predictor, best first.

    tau_sd and regret_sd are standard deviations over replicates (splits, or seeds where there is one split), empty for
    a single one; pairs and replicates count them.
    """
    place = ["series", "predictor"]
    by_replicate: Any = judged.groupby([*place, "replicate"], dropna=False)[["tau", "regret", "at_random"]].mean()
    over_them: Any = by_replicate.groupby(place)
    means = over_them.mean().join(over_them[["tau", "regret"]].std().add_suffix("_sd"))
    counts: Any = judged.groupby(place).agg(pairs=("tau", "size"), replicates=("replicate", "nunique"))
    columns = ["pairs", "replicates", "tau", "tau_sd", "regret", "regret_sd", "at_random"]
    return counts.join(means)[columns].reset_index().sort_values(["series", "regret", "predictor"], ignore_index=True)


def judge(block: Block) -> tuple[list[str], Table | None]:
    """What a block's copies say about the predictions for their bases: sentences, and the `summary` as a table.

    On test images, unless the block is measured on unseen ones: probes were judged on the select images themselves.
    Nothing where there are no transfer copies.
    """
    assert block.directory is not None
    metric = "test_top1" if block.metric == "select_top1" else block.metric
    runs = one_row_each(block.frame, metric)
    bases = set(runs.loc[runs["relation"] == "transfer", "parent"])
    if not bases:
        return [], None
    predicted, said = predictions(block.directory, bases)
    judged = quality(runs, predicted)
    if judged.empty:
        how = "`yosinski predict --base RUN --split SPLIT --half B` ranks the cuts of a base from one forward pass."
        nothing = "Nothing was predicted for two cuts or more of a base and a target that copies were trained for"
        return [f"{nothing}: {how}", *said], None
    table = summary(judged)
    text = [
        "What scores from one forward pass would have been worth. Tau: Kendall's, between score and accuracy over the"
        f" cuts of one base on one target ({METRICS[metric]}). Regret: points lost by cutting where the score is"
        " highest instead of at the best cut; the same accuracies tell which that is, so regret is a little too high.",
        *(against_rules(str(series), group, block.replicates) for series, group in judged.groupby("series")),
    ]
    if len(set(judged["replicate"])) > 1:
        text.append(f"s.d.: the standard deviation over {block.replicates}s.")
    else:
        text.append(f"One {block.replicates}: no spread, and no more than a look at these very halves.")
    if block.examples is not None:
        seen = ", ".join(sorted({f"{number:,}" for number in predicted["images"]}))
        text.append(
            f"Copies saw {block.examples} images of each class in training; scores were fitted to {seen} in all."
        )
    without = bases - set(judged["parent"])
    if without:
        text.append(f"{len(without)} of {len(bases)} bases are not in this: nothing was predicted for their cuts.")
    return [*text, *said], Table("Predictors", table, shown_summary(table, block.replicates), pairs=judged)


def against_rules(series: str, judged: Any, replicates: str, place: str = "cut") -> str:
    """Which predictors have a lower regret than the better one of the rules, beyond what replicates differ.

    By paired t tests, two-sided, with p values adjusted over the predictors that were tried.
    """
    regret: Any = 100 * judged.pivot_table(index="replicate", columns="predictor", values="regret")
    rule = min(RULES, key=lambda name: regret[name].mean())
    said = (
        f"{series}: a {place} drawn at random costs {100 * judged['at_random'].mean():.1f} points, always the {rule}"
        f" {regret[rule].mean():.1f}"
    )
    if len(regret) < FEWEST:
        return f"{said}; it takes {FEWEST} {replicates}s to tell predictors apart from."
    ahead: Any = regret.drop(columns=[*RULES]).sub(regret[rule], axis=0)
    ahead = ahead.loc[:, (ahead.count() >= FEWEST) & (ahead != 0).any()]
    tested: Any = ttest_1samp(ahead, 0.0, nan_policy="omit")
    p = holm(pd.Series(np.atleast_1d(tested.pvalue), ahead.columns))
    lower = distinct(pd.Series(ahead.columns[(p < 1 - SURE) & (ahead.mean() < 0)])) or "none"
    return f"{said}; told apart from that as costing less (p < {1 - SURE:.2g} after Holm over predictors): {lower}."


def shown_summary(table: pd.DataFrame, replicates: str) -> pd.DataFrame:
    """The `summary` as text."""

    def spread(name: str, times: float, digits: int) -> list[str]:
        pairs = zip(times * table[name], times * table[f"{name}_sd"], strict=True)
        return [f"{m:.{digits}f}" + ("" if pd.isna(sd) else f" ± {sd:.{digits}f}") for m, sd in pairs]

    of_what = " ± s.d." if max(table["replicates"]) > 1 else ""
    return pd.DataFrame(
        {
            "series": table["series"],
            "predictor": table["predictor"],
            f"tau{of_what}": spread("tau", 1, 2),
            f"regret in points{of_what}": spread("regret", 100, 1),
            "pairs": table["pairs"].astype(str),
            f"{replicates}s": table["replicates"].astype(str),
        }
    )


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
            scores = predicted.loc[predicted["predictor"] == name]
            best = scores.loc[scores["score"].idxmax()]
            for _, of_base in scores.groupby("base", sort=False):
                panel.plot(of_base["n"], of_base["score"], color=colour, marker="o", mfc="white", linewidth=1.4)
            panel.plot(best["n"], best["score"], color=colour, marker="o", markersize=8)
            panel.set_title(name)
            panel.spines[["top", "right"]].set_visible(False)
            panel.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        for panel in panels.flat[max(0, len(names) - across) : len(names)]:  # the lowest of every column
            panel.tick_params(labelbottom=True)
        figure.supxlabel("Cut n")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    return figure
