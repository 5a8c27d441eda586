"""What a cut costs and why: differences between runs on the same target, their means over splits, and intervals.

All numbers are in points of accuracy. `docs/where-to-cut.md` has the formulas with their sources.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import polygamma, psi, stdtr, stdtrit

from analysis.paired import FEWEST


@dataclass(frozen=True)
class Contrast:
    """One series less another on the same target, at every cut n; a base has no cut and is beside all of them."""

    name: str
    meaning: str
    above: str
    below: str


CONTRASTS = (
    Contrast("C", "fragile co-adaptation", "base", "BnB"),
    Contrast("S", "representation specificity", "BnB", "AnB"),
    Contrast("G", "gain of fine-tuned transfer over the selffer", "AnB+", "BnB+"),
    Contrast("T", "fine-tuned transfer against the base", "AnB+", "base"),
)
TREND = 4  # cuts, from which on variances may have a trend over n
PAIRED_BY = ["replicate", "target_half", "seed"]


def decompose(runs: pd.DataFrame, contrasts: Sequence[Contrast] = CONTRASTS) -> pd.DataFrame:
    """The contrasts at every cut, one row per contrast and n.

    runs: one row per run with `value`, `series`, `n`, `target_half`, `seed` and `replicate` (the split, or what stands
    for it), those that count only. Columns, in points:

    contrast, n      its name; the cut
    pairs            of runs on the same target, split and seed
    splits           how many replicates these pairs come from
    points           mean over splits of the mean over a split's pairs, NaN for 0 pairs
    low, high        points -+ the 95 % t margin of the split means, NaN for fewer than three splits
    calm_low, calm_high, df   the same with variances moderated over the cuts of one contrast; degrees of freedom
    p, p_holm        two-sided p value of the moderated t; Holm's adjustment over the cuts of one contrast
    """
    rows = pd.concat([_one(runs, contrast) for contrast in contrasts], ignore_index=True)
    return rows.astype(dict.fromkeys(("n", "pairs", "splits"), int))  # empty contrasts made them floats


def differences(runs: pd.DataFrame, above: str, below: str) -> pd.DataFrame:
    """Every pair of runs on the same target, split, seed and n: `replicate`, `target_half`, `seed`, `n`, `points`.

    Where several sources make several runs in one place, their mean is taken first.
    """
    sides = []
    for series in (above, below):
        key = PAIRED_BY if series == "base" else [*PAIRED_BY, "n"]
        rows = runs.loc[runs["series"] == series]
        sides.append(rows.groupby(key, dropna=False)["value"].mean().rename(series).reset_index())
    key = [name for name in [*PAIRED_BY, "n"] if name in sides[0] and name in sides[1]]
    pairs = sides[0].merge(sides[1], on=key)
    return pairs.assign(points=100 * (pairs[above] - pairs[below]))[[*PAIRED_BY, "n", "points"]]


def split_means(pairs: pd.DataFrame) -> pd.DataFrame:
    """The mean of every split at every n, [splits, cuts], NaN where there is no pair; targets weigh the same."""
    by_target: Any = pairs.groupby(["replicate", "target_half", "n"])["points"].mean()
    return by_target.groupby(["replicate", "n"]).mean().unstack("n")


def _one(runs: pd.DataFrame, contrast: Contrast) -> pd.DataFrame:
    pairs = differences(runs, contrast.above, contrast.below)
    compared = sorted({contrast.above, contrast.below} - {"base"})
    cuts = sorted(runs.loc[runs["series"].isin(compared), "n"].unique())
    means = split_means(pairs).reindex(columns=cuts)
    rows = pd.DataFrame({"contrast": contrast.name, "n": cuts})
    rows["pairs"] = pairs.groupby("n").size().reindex(cuts, fill_value=0).to_numpy()
    return pd.concat([rows, intervals(means).reset_index(drop=True)], axis=1)


def intervals(means: pd.DataFrame) -> pd.DataFrame:
    """Plain and moderated 95 % t intervals of the columns of [splits, cuts]; `decompose` names the columns."""
    number = means.notna().sum()
    rows = pd.DataFrame({"splits": number, "points": means.mean()})
    error = means.std() / np.sqrt(number)
    margin = (error * stdtrit((number - 1).clip(lower=1), 0.975)).where(number >= FEWEST)
    rows["low"], rows["high"] = rows["points"] - margin, rows["points"] + margin

    variance, df = moderated(means)
    error = np.sqrt(variance / number)
    margin = error * stdtrit(df, 0.975)
    rows["calm_low"], rows["calm_high"], rows["df"] = rows["points"] - margin, rows["points"] + margin, df
    rows["p"] = 2 * stdtr(df, -(rows["points"] / error).abs())
    rows["p_holm"] = holm(pd.Series(rows["p"]))
    return rows


def moderated(means: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Of every column of [splits, cuts] its variance, squeezed towards the trend over cuts, and degrees of freedom.

    With d degrees of freedom and variance s2 at a cut, d0 those of the prior and s02 its trend there: (d0 s02 + d s2) /
    (d0 + d), with d0 + d degrees of freedom, but no more than all cuts have together. Cuts share bases and pictures,
    so together they have fewer than their sum: k cuts with mean squared correlation r2 count as
    k / (1 + (k - 1) r2) independent ones. NaN for columns of fewer than three splits.
    Source: Smyth, Stat. Appl. Genet. Mol. Biol. 3 (2004), article 3, with the trend of limma's `trend=TRUE`; the limit
    is limma's, but for the correlation.
    """
    own = means.loc[:, means.notna().sum() >= FEWEST]
    df = (own.notna().sum() - 1).astype(float)
    if own.shape[1] == 0:
        nothing = pd.Series(math.nan, means.columns)
        return nothing, nothing
    variance = own.var()
    d0, s02 = prior(variance.to_numpy(), df.to_numpy(), np.asarray(own.columns, float))
    squeezed = (d0 * s02 + df * variance) / (d0 + df) if math.isfinite(d0) else df * 0 + s02
    k = own.shape[1]
    r2 = own.corr(min_periods=FEWEST).to_numpy()[~np.eye(k, dtype=bool)] ** 2
    alike = float(np.nanmean(r2)) if np.isfinite(r2).any() else 1.0
    most = np.maximum(df, df.mean() * k / (1 + (k - 1) * alike))
    return squeezed.reindex(means.columns), np.minimum(df + d0, most).reindex(means.columns)


def prior(variance: np.ndarray, df: np.ndarray, n: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """d0 and s02 [k] of the scaled inverse chi-squared prior of variances [k] at cuts n with df [k] degrees of freedom.

    From log s2, whose distribution is a shifted log F: its mean is a line over n from four cuts on (deep cuts may be
    noisier), constant otherwise or without n; trigamma(d0 / 2) is its variance around that beyond what sampling
    explains. d0 is infinite where sampling explains it all, and 0 for a single variance.
    Source: Smyth (2004), section 6.2.
    """
    if len(variance) < 2:
        return 0.0, variance
    floor = 1e-5 * np.median(variance) or np.finfo(float).tiny  # equal values by chance; as in limma
    e = np.log(np.maximum(variance, floor)) - psi(df / 2) + np.log(df / 2)
    line = np.vander(np.arange(len(e)) if n is None else n, 2 if n is not None and len(e) >= TREND else 1)
    trend = line @ np.linalg.lstsq(line, e, rcond=None)[0]
    beyond = ((e - trend) ** 2).sum() / (len(e) - line.shape[1]) - polygamma(1, df / 2).mean()
    if beyond <= 0:
        return math.inf, np.exp(trend)
    d0 = 2 * trigamma_inverse(beyond)
    return d0, np.exp(trend + psi(d0 / 2) - math.log(d0 / 2))


def trigamma_inverse(y: float) -> float:
    """The x > 0 with trigamma(x) = y, bracketed by 1/x < trigamma(x) < 1/x + 1/x^2."""
    return float(brentq(lambda x: float(polygamma(1, x)) - y, 1 / (y + 1), 2 / y + 2 / math.sqrt(y)))  # pyright: ignore


def holm(p: pd.Series) -> pd.Series:
    """Holm's step-down adjustment of p values; NaNs stay, and are not counted."""
    ordered = p.dropna().sort_values()
    factors = np.arange(len(ordered), 0, -1)
    return (ordered * factors).cummax().clip(upper=1).reindex(p.index)
