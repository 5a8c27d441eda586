"""Which classes lose most where much is copied and frozen: per class, and natural against man-made."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr
from scipy.stats import false_discovery_control

from analysis.advice.blocks import Block
from analysis.advice.contrasts import differences
from yosinski import files
from yosinski.errors import BadInput
from yosinski.records import specs, states

SETS = {"select_top1": "select", "best10_top1": "select", "test_top1": "test", "unseen_top1": "unseen"}


def counts(directory: Path, runs: pd.DataFrame, image_set: str) -> tuple[pd.DataFrame, int]:
    """Per run and class `images` and `correct`, from records and halves; and how many runs have no such counts."""
    halves: dict[str, tuple[str, ...]] = {}
    parts, without = [], 0
    for run, half in runs[["run", "target_half"]].itertuples(index=False):
        try:
            per_class = ((states.read_record(specs.folder(directory, run)) or {}).get("per_class") or {}).get(image_set)
            if half not in halves:
                halves[half] = specs.load_half(directory, half).classes
        except (files.Damaged, BadInput):
            per_class = None
        if not per_class or not len(per_class["images"]) == len(per_class["correct"]) == len(halves[half]):
            without += 1
            continue
        of_run = {"run": run, "class": halves[half], "images": per_class["images"], "correct": per_class["correct"]}
        parts.append(pd.DataFrame(of_run))
    return (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()), without


def losses(block: Block) -> tuple[pd.DataFrame, int, int]:
    """One row per class, the greatest loss first, at the deepest cut with AnB; that cut; runs without counts.

    class, images     its images in one evaluation; `networks`: evaluations of copies that are pooled
    base, copy        share of its images that are right
    loss, error       base - copy, in points, and its binomial standard error, as if images were drawn apart
    shrunk, shrunk_error   towards the mean loss of all classes (`shrink`)
    q                 false discovery rate (Benjamini and Hochberg) of "loses as much as the mean of all classes"
    """
    good = block.good
    frozen = good.loc[good["series"] == "AnB"]
    paired = differences(good, "AnB", "base")
    if block.directory is None or paired.empty:
        return pd.DataFrame(), 0, 0
    n = int(paired["n"].to_numpy().max())
    targets = list(paired.loc[paired["n"] == n, "target_half"].unique())
    copies = frozen.loc[(frozen["n"] == n) & frozen["target_half"].isin(targets)]
    bases = good.loc[(good["series"] == "base") & good["target_half"].isin(targets)]
    both = pd.concat([copies, bases])
    counted, without = counts(block.directory, both, SETS[block.metric])
    if counted.empty:
        return counted, n, without
    counted = counted.merge(both[["run", "series", "target_half"]], on="run")
    sums: Any = counted.groupby(["target_half", "class", "series"])[["images", "correct"]].sum()
    per_class: Any = sums.unstack("series").dropna()
    per_class = per_class.groupby("class").sum()
    if "AnB" not in per_class["images"] or "base" not in per_class["images"]:
        return pd.DataFrame(), n, without
    right = (per_class["correct"] / per_class["images"]).loc[(per_class["images"] > 0).all(axis=1)]
    images = per_class["images"].loc[right.index]
    smooth = (per_class["correct"].loc[right.index] + 1) / (images + 2)  # no error is 0 because all images are right
    rows = pd.DataFrame({"base": right["base"], "copy": right["AnB"], "loss": 100 * (right["base"] - right["AnB"])})
    rows["error"] = 100 * np.sqrt((smooth * (1 - smooth) / images).sum(axis=1))
    most: Any = counted.groupby("class")["images"].max()
    rows["images"] = rows.index.map(most.to_dict())
    rows["networks"] = rows.index.map(dict(counted.loc[counted["series"] == "AnB"].groupby("class").size()))
    rows["shrunk"], rows["shrunk_error"], mean = shrink(rows["loss"].to_numpy(), rows["error"].to_numpy())
    rows["q"] = false_discovery_control(2 * ndtr(-(rows["loss"] - mean).abs() / rows["error"]))
    rows["group"] = rows.index.map(dict(block.groups)).astype("string")
    return rows.sort_values("shrunk", ascending=False).reset_index(), n, without


def shrink(values: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Values [k] moved towards their weighted mean, their new errors, and that mean: empirical Bayes, normal.

    With tau2 the variance between true values (DerSimonian and Laird, Control. Clin. Trials 7, 1986), a value keeps
    the share tau2 / (tau2 + error2) of its distance. Source: Efron and Morris, JASA 70 (1975).
    """
    weights = errors**-2.0
    mean = float(weights @ values / weights.sum())
    scale = weights.sum() - (weights**2).sum() / weights.sum()
    beyond = float(weights @ (values - mean) ** 2) - (len(values) - 1)
    tau2 = max(0.0, beyond / scale) if scale > 0 else 0.0
    weights = 1 / (tau2 + errors**2)
    mean = float(weights @ values / weights.sum())
    share = tau2 / (tau2 + errors**2)
    return mean + share * (values - mean), np.sqrt(share) * errors, mean


def by_group(rows: pd.DataFrame) -> pd.DataFrame:
    """Per `group` how many `classes`, their mean `loss` and its standard `error` between classes."""
    grouped = rows.dropna(subset=["group"]).groupby("group")["loss"]
    return grouped.agg(
        classes="size", loss="mean", error=lambda group: group.std() / math.sqrt(len(group))
    ).reset_index()
