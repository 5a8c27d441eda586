"""Stopping early where the truth is known and the model is not true: what is stated against what is lost."""

import dataclasses
import math
from typing import Any, Literal

import curves
import numpy as np
import pandas as pd
import pytest

from analysis.early.backtest import backtest, stopping
from analysis.early.stopped import predictions

WORLDS = [(4, 2, "tuned", 20), (3, 2, "frozen", 20), (4, 5, "tuned", 8)]


@pytest.mark.slow
@pytest.mark.parametrize(("splits", "cuts", "noisy", "number"), WORLDS)
def test_what_is_stated_is_lost_and_what_is_stopped_is_predicted(
    splits: int, cuts: int, noisy: Literal["frozen", "tuned"], number: int
) -> None:
    """20 looks, two in a row, learned from other splits: regrets within three errors or above, and honest finals."""
    stops, ends = [], []
    for seed in range(number):
        made = curves.contests(np.random.default_rng(seed), splits, cuts, noisy)
        tested = backtest(made)
        for epsilon in (0.01, 0.005, 0.002):
            stops.append(stopping(tested, epsilon).assign(epsilon=epsilon, seed=seed))
        for stop in stops[-3].query("share < 1").to_dict("records"):
            whole = made[stop["contest"]]
            seen = whole.curves.loc[: stop["share"] + 1e-9]
            part = dataclasses.replace(whole, curves=seen, finished=False, _drifts={})
            finals = dict(zip(whole.runs.values(), whole.scores(1.0), strict=True))
            for run, final, error, _ in predictions(part, set(finals), made):
                off = finals[run] - final
                ends.append((off, off / error, run == whole.runs[stop["best"]]))

    rows: Any = pd.concat(stops)
    for _, group in rows.query("share < 1").groupby("epsilon"):
        per_seed = (group["lost"] - group["regret"]).groupby(group["seed"]).sum().reindex(range(number), fill_value=0)
        assert per_seed.mean() < 3 * per_seed.std() / math.sqrt(number)
    predicted: Any = pd.DataFrame(ends, columns=["off", "errors", "best"])
    assert (predicted["errors"].abs() < 2).mean() > 0.88
    assert abs(predicted["off"].mean()) < 0.005
    assert predicted.loc[predicted["best"], "off"].mean() > -0.01  # not by the luck of those that are ahead
