"""Runs paired with the bases of their targets: what may be compared, the mean differences and their intervals."""

import numpy as np
import pandas as pd
from scipy import stats

from analysis.frame import listed
from yosinski.spec import BadInput, choose

METRICS = {"test_top1": "test", "select_top1": "select", "unseen_top1": "unseen"}  # column -> set of images
FEWEST = 3  # splits; an interval over fewer says nothing


def one_row_per_run(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The last row of every run, with two more columns.

    `value`: the metric, NaN unless the run has got so far. `counts`: whether it enters means, that is whether the run
    is done and has a value. Random features of several initialisers are told apart in `series`: "RnB kaiming".
    BadInput: an empty frame, or one that mixes what must not be averaged.
    """
    choose("metric", metric, METRICS)
    if frame.empty:
        raise BadInput("there are no runs to draw")
    runs = frame.loc[frame["last"]].reset_index(drop=True)
    _refuse_mixtures(runs)
    if runs["below"].nunique() > 1:
        runs["series"] += (" " + runs["below"]).fillna("")
    runs["value"] = runs[metric]
    runs["counts"] = (runs["state"] == "done") & runs["value"].notna()
    if not runs["counts"].any():
        states = ", ".join(f"{count} {state}" for state, count in runs["state"].value_counts().items())
        raise BadInput(f"no run is done and has {metric}: {states}")
    if not (runs["counts"] & (runs["series"] == "base")).any():
        raise BadInput("no base is done, so that there is nothing to compare with; widen --where or --sweep")
    return runs


def compare(runs: pd.DataFrame) -> pd.DataFrame:
    """Means of the runs of `one_row_per_run` and their differences from the bases, one row per series and n.

    Averages go over sources and seeds within a target, then over targets (directions) within a split, then over splits.

    runs, left_out   how many runs the row rests on; how many it lacks (not done, stuck, without a base of their target)
    targets, splits  how many of them
    mean, base       of the series; of the bases of the same targets
    difference       mean - base
    low, high        95 % t interval of the difference over the splits, empty for fewer than three
    """
    own = runs.loc[runs["counts"] & (runs["series"] == "base")].groupby("target_half")["value"].mean()
    runs = runs.assign(base=runs["target_half"].map(own).astype("float64"))
    runs["used"] = runs["counts"] & runs["base"].notna()

    place = ["series", "n"]
    by_target = runs.loc[runs["used"]].groupby([*place, "split", "target_half"], dropna=False)[["value", "base"]].mean()
    by_target["difference"] = by_target["value"] - by_target["base"]
    by_split = by_target.groupby([*place, "split"], dropna=False).mean()
    over_splits = by_split.groupby(place, dropna=False)

    rows = over_splits.mean().rename(columns={"value": "mean"})
    rows["splits"] = over_splits.size()
    margin = over_splits["difference"].sem() * stats.t.ppf(0.975, rows["splits"] - 1)
    margin = margin.where((rows["splits"] >= FEWEST) & (rows.index.get_level_values("series") != "base"))
    rows["low"], rows["high"] = rows["difference"] - margin, rows["difference"] + margin
    rows["targets"] = by_target.groupby(place, dropna=False).size()

    everything = runs.dropna(subset=["series", "n"]).groupby(place, dropna=False)["used"]
    rows["runs"] = everything.sum()
    rows = rows.reindex(everything.size().index)
    rows["left_out"] = everything.size() - everything.sum()
    counts = ["splits", "targets", "runs"]
    rows[counts] = rows[counts].fillna(0).astype("int64")
    names = runs.dropna(subset=["n"]).groupby("n")["cut"].first()
    rows["cut"] = rows.index.get_level_values("n").map(names)
    columns = ["cut", "runs", "left_out", "targets", "splits", "mean", "base", "difference", "low", "high"]
    return rows.loc[:, columns].reset_index()


def level(runs: pd.DataFrame) -> float:
    """The mean of the bases of those targets that have copies, averaged as in `compare`; of all bases without copies.

    A difference is added to this where it is to be read as an accuracy.
    """
    bases = runs.loc[runs["counts"] & (runs["series"] == "base")]
    copied = bases.loc[bases["target_half"].isin(runs.loc[runs["counts"] & (runs["series"] != "base"), "target_half"])]
    return compare(copied if len(copied) else bases)["mean"].item()


def _refuse_mixtures(runs: pd.DataFrame) -> None:
    """Raise BadInput where a mean over these runs would be one over unlike things."""
    known = runs.loc[runs["treatment"].notna()]  # of a run whose files are damaged nothing may be known
    recipes = [name for name in runs.columns if name.startswith("recipe_")]
    for name in ("network", "data", "semantics", *recipes, "recipe", "examples_per_class"):
        values = known[name] if name == "examples_per_class" else known[name].dropna()
        if values.nunique(dropna=False) > 1:
            raise BadInput(f"these runs mix {name}: {listed(values)}; choose one with --where {name}=VALUE")
    splits = known["split"].dropna()
    kinds = np.where(splits.str.endswith(".json"), "file", splits.str.partition(":")[0])
    if len(set(kinds)) > 1:
        raise BadInput(f"these runs mix kinds of split: {listed(splits)}; choose with --sweep or --where split=VALUE")
