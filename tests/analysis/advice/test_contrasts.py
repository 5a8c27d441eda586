"""What a cut costs: pairs, intervals and moderated variances by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import polygamma, stdtrit

from analysis.advice.contrasts import decompose, holm, intervals, moderated, prior


def runs(*rows: tuple[str, int, str, str, float]) -> pd.DataFrame:
    """Rows of series, n, split, target half and value, all of one seed."""
    table = pd.DataFrame(rows, columns=["series", "n", "replicate", "target_half", "value"])
    return table.assign(seed="0")


def test_contrasts_by_hand() -> None:
    """Directions are averaged within a split first, and a target without a partner is in no pair."""
    its = runs(
        *(("base", 0, split, split + letter, 0.5) for split in "xy" for letter in "ab"),
        ("BnB", 3, "x", "xa", 0.48), ("BnB", 3, "x", "xb", 0.46), ("BnB", 3, "y", "ya", 0.40),
        ("AnB", 3, "x", "xa", 0.47), ("AnB+", 3, "y", "yb", 0.52),
    )  # fmt: skip
    rows = decompose(its).set_index(["contrast", "n"])
    assert rows.loc[("C", 3), "points"] == pytest.approx((3 + 10) / 2)
    assert list(rows.loc[("C", 3), ["pairs", "splits"]]) == [3, 2]
    assert rows.loc[("S", 3), "points"] == pytest.approx(1)
    assert rows.loc[("G", 3), "pairs"] == 0
    assert math.isnan(rows.loc[("G", 3), "points"])  # pyright: ignore
    assert rows.loc[("T", 3), "points"] == pytest.approx(2)
    assert rows[["low", "calm_low", "p_holm"]].isna().to_numpy().all()  # fewer than three splits


def test_intervals_by_hand() -> None:
    rows = intervals(pd.DataFrame({1: [1.0, 2.0, 3.0], 2: [1.0, 2.0, np.nan]}))
    assert rows.loc[1, "high"] - rows.loc[1, "low"] == pytest.approx(2 * stdtrit(2, 0.975) / math.sqrt(3))
    assert rows.loc[1, "calm_low"] == pytest.approx(rows.loc[1, "low"])  # a single variance has nothing to learn from
    assert rows.loc[2, ["low", "calm_low", "p"]].isna().all()
    assert list(rows["points"]) == [2.0, 1.5]


def test_prior_of_variances() -> None:
    """It is found again in variances that were drawn from it, and is infinite where they are all but equal."""
    rng = np.random.default_rng(0)
    df = np.full(20_000, 3.0)
    true = 0.5 * 6 / rng.chisquare(6, len(df))
    d0, s02 = prior(true * rng.chisquare(3, len(df)) / 3, df)
    assert d0 == pytest.approx(6, rel=0.1)
    assert s02 == pytest.approx(np.full(len(df), 0.5), rel=0.03)
    assert prior(np.array([1.0, 1.1, 0.9]), np.full(3, 3.0))[0] == math.inf
    e = np.log([1.0, 50.0, 0.02])
    d0, _ = prior(np.exp(e), np.full(3, 3.0))
    assert polygamma(1, d0 / 2) == pytest.approx(e.var(ddof=1) - polygamma(1, 1.5))  # its definition


def test_the_trend_of_variances_is_a_line_in_the_logarithm() -> None:
    """Exactly so where they lie on one: sampling explains what is left, so the prior is all that counts."""
    n, df = np.arange(1.0, 8.0), np.full(7, 3.0)
    d0, s02 = prior(np.exp(0.4 * n), df, n)
    assert d0 == math.inf
    assert np.diff(np.log(s02)) == pytest.approx(np.full(6, 0.4))
    gaps = np.array([1.0, 2, 4, 8, 16])
    assert np.diff(np.log(prior(np.exp(0.1 * gaps), df[:5], gaps)[1])) == pytest.approx(0.1 * np.diff(gaps))
    flat = prior(np.exp(0.4 * n[:3]), df[:3], n[:3])[1]
    assert np.ptp(flat) == 0  # three cuts have no trend


def test_moderated_variance_lies_between_its_own_and_the_trend() -> None:
    rng = np.random.default_rng(1)
    means = pd.DataFrame(rng.normal(size=(4, 7)) * [1, 1, 1, 1, 30, 0.03, 1], columns=range(1, 8))
    variance, df = moderated(means)
    trend = prior(means.var().to_numpy(), np.full(7, 3.0), np.arange(1.0, 8.0))[1]
    apart = (variance - means.var()) * (trend - means.var())
    assert (apart > 0).all()
    assert ((variance - means.var()).abs() < np.abs(trend - means.var())).all()
    assert df.between(3, 21).all()


def test_cuts_that_are_alike_have_no_more_freedom_than_one() -> None:
    same = pd.DataFrame(np.outer(np.random.default_rng(0).normal(size=4), np.ones(7)), columns=range(1, 8))
    assert moderated(same)[1].tolist() == pytest.approx([3] * 7)


def test_holm_by_hand() -> None:
    adjusted = holm(pd.Series([0.01, np.nan, 0.04, 0.03]))
    assert adjusted.iloc[[0, 2, 3]].tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(adjusted.iloc[1])
