"""Runs paired with the bases of their targets: what may be compared, the mean differences and their intervals."""

from typing import Any

import pandas as pd
from scipy.special import stdtrit

from analysis.frame import distinct
from yosinski.data.halves import kind
from yosinski.errors import BadInput, choose
from yosinski.experiment.treatments import with_partners

METRICS = {  # column -> what it was measured on
    "test_top1": "test images",
    "select_top1": "select images",
    "unseen_top1": "unseen images",
    "best10_top1": "select images, mean of 10 best",
}
FEWEST = 3  # splits; an interval over fewer says nothing


def metric_for(frame: pd.DataFrame, metric: str | None = None) -> str:
    """The metric asked for, or else the paper's own where published networks are among the runs, or `test_top1`.

    BadInput: one that the published networks, which have a single set of images, do not have.
    """
    published = "paper" in set(frame["origin"])
    if metric is None:
        return "best10_top1" if published else "test_top1"
    choose("metric", metric, METRICS)
    if published and metric in ("test_top1", "unseen_top1"):
        raise BadInput(f"published networks have no {metric}, only one set of images; choose: best10_top1, select_top1")
    return metric


def main_experiment(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows without preserved layers and partners; of published networks those on random splits, if any.

    Nor are bases among them that ask other questions, or see one input, for networks with partners.
    """
    frame = frame.loc[(frame["preserved"].fillna(0) == 0) & ~frame["treatment"].isin(with_partners())]
    frame = _without_others(frame)
    published = (frame["origin"] == "paper") & (frame["recipe"] == "paper")
    random = published & (kind_of_split(frame) == "random")
    return frame.loc[(frame["origin"] == "runs") | (random if len(frame.loc[random]) else published)]


def _without_others(frame: pd.DataFrame) -> pd.DataFrame:
    if not {"asks", "input"} <= set(frame.columns):
        return frame  # published networks
    copied = frame.loc[frame["parent"].notna(), "target_half"]
    others = ((frame["asks"] != "class") | frame["input"].notna()).fillna(False)
    return frame.loc[~others | frame["target_half"].isin(copied)]


def outside(frame: pd.DataFrame) -> dict[str, str]:
    """By the ids of the bases that somebody else has trained, where their weights were found."""
    theirs = frame.loc[(frame["treatment"] == "outside").fillna(False)]
    return {run: str(data).removeprefix("weights:") for run, data in zip(theirs["run"], theirs["data"], strict=True)}


def trained(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows without bases from outside: nothing of them was measured here."""
    return frame.loc[~frame["run"].isin(list(outside(frame)))]


def kind_of_split(frame: pd.DataFrame) -> pd.Series:
    """The kind of the split of every row, as `yosinski.data.halves.kind` names it."""
    kinds = {split: kind(split) for split in frame["split"].dropna().unique()}
    return pd.Series([kinds.get(split) for split in frame["split"]], frame.index, dtype="string")


def by_origin(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of the published networks and those of records, where there are any, the published ones first."""
    if frame.empty:
        raise BadInput("there are no runs to draw")
    origins = [frame.loc[frame["origin"] == origin] for origin in ("paper", "runs")]
    return [rows for rows in origins if len(rows)]


def one_row_per_run(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The last row of every run, with two more columns.

    `value`: the metric, NaN unless the run has got so far. `counts`: whether it enters means, that is whether the run
    is done and has a value. Random features of several initialisers are told apart in `series`: "RnB kaiming".
    BadInput: an empty frame, or records that mix what must not be averaged.
    """
    choose("metric", metric, METRICS)
    if frame.empty:
        raise BadInput("there are no runs to draw")
    runs: Any = trained(frame.loc[frame["last"]]).reset_index(drop=True)
    _refuse_mixtures(runs.loc[runs["origin"] == "runs"])
    if len(weights := outside(frame)) > 1:
        mixed = ", ".join(sorted(weights.values()))
        raise BadInput(f"these runs mix weights from outside: {mixed}; give each a runs directory of its own")
    if runs["below"].nunique() > 1:
        runs["series"] += (" " + runs["below"]).fillna("")
    runs["value"] = runs[metric]
    runs["counts"] = (runs["state"] == "done") & runs["value"].notna()
    if not runs["counts"].any():
        states = ", ".join(f"{count} {state}" for state, count in runs["state"].value_counts().items())
        few = " with fewer than 10 evaluations; choose another --metric" * (
            metric == "best10_top1" and "done" in set(runs["state"])
        )
        raise BadInput(f"no run is done and has {metric}: {states}{few}")
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
    runs = with_base(runs)
    runs["used"] = runs["counts"] & runs["base"].notna()

    place = ["series", "n"]
    by_target = runs.loc[runs["used"]].groupby([*place, "split", "target_half"], dropna=False)[["value", "base"]].mean()
    by_target["difference"] = by_target["value"] - by_target["base"]
    by_split = by_target.groupby([*place, "split"], dropna=False).mean()
    over_splits = by_split.groupby(place, dropna=False)

    rows = over_splits.mean().rename(columns={"value": "mean"})
    rows["splits"] = over_splits.size()
    margin = over_splits["difference"].sem() * stdtrit(rows["splits"] - 1, 0.975)
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


def with_their_bases(frame: pd.DataFrame, copies: pd.Series) -> pd.DataFrame:
    """The rows marked as copies, and those of bases on the same targets with as many images per class.

    So that other bases on the same targets, such as those of figure S1, are not mixed in.
    """
    key = ["target_half", "examples_per_class"]
    bases = (frame["series"] == "base") & frame.set_index(key).index.isin(frame.loc[copies].set_index(key).index)
    return frame.loc[copies | bases]


def with_base(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with one more column, `base`: the mean of the bases of the same target, NaN where none counts."""
    own = runs.loc[runs["counts"] & (runs["series"] == "base")].groupby("target_half")["value"].mean()
    return runs.assign(base=runs["target_half"].map(own).astype("float64"))


def relative(runs: pd.DataFrame, unit: float) -> pd.DataFrame:
    """The runs with their `value` as the difference from the base of the same target, in units of 1 / unit.

    Without such a base there is nothing to be said of a run: it no longer counts.
    """
    paired = with_base(runs)
    value = unit * (paired["value"] - paired["base"])
    return runs.assign(value=value, counts=runs["counts"] & value.notna())


def level(runs: pd.DataFrame) -> float:
    """The mean of the bases of those targets that have copies, averaged as in `compare`; of all bases without copies.

    A difference is added to this where it is to be read as an accuracy.
    """
    bases = runs.loc[runs["counts"] & (runs["series"] == "base")]
    copied = bases.loc[bases["target_half"].isin(runs.loc[runs["counts"] & (runs["series"] != "base"), "target_half"])]
    return compare(copied if len(copied) else bases)["mean"].item()


def _refuse_mixtures(runs: pd.DataFrame) -> None:
    """Raise BadInput where a mean over these runs would be one over unlike things."""
    described = runs.loc[runs["treatment"].notna()]  # of a run whose files are damaged nothing may be known
    recipes = [name for name in runs.columns if name.startswith("recipe_")]
    for name in ("network", "data", "semantics", *recipes, "recipe", "examples_per_class"):
        values = described[name] if name == "examples_per_class" else described[name].dropna()
        if values.nunique(dropna=False) > 1:
            raise BadInput(f"these runs mix {name}: {distinct(values)}; choose one with --where {name}=VALUE")
    splits = described["split"].dropna()
    if kind_of_split(described).nunique() > 1:
        raise BadInput(f"these runs mix kinds of split: {distinct(splits)}; choose with --sweep or --where split=VALUE")
