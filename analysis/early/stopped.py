"""Copies that were stopped early: the final scores that they would have had, predicted, with their errors.

Without them only the contests that were hard would be left, and the means over splits would be biased. A copy keeps the
drift of its choice, learned from m finished contests of other splits,

    final = score now + D_.j
    error^2 = (s_j^2 + c^2) (1 + 1 / m),   c^2 = variance over k of D_k.

in the words of `analysis.early.model`. Here the level counts: c is what all choices of a contest drift by in common,
and the errors of copies of one contest share it, so that their differences are known better than `error` says. A score
that is best today is so partly by luck; docs/where-to-cut.md says how much too high that leaves it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.early.model import METRICS, Contest, comparable, drifts, needed, variances

OVER = ("done", "failed")  # states of copies of which nothing is predicted, beside those that nobody will choose


def finals(frame: pd.DataFrame, stopped: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """The predicted final score of every copy that was stopped and is not done: one row each, in order of run ids.

    frame: of records, with the finished contests to learn from. stopped: of `table.stops`. metric: as for
    `model.contests`; of another one, such as `test_top1`, nothing is known before the end. Copies without an
    evaluation, or with fewer than `model.needed` finished contests on other splits, have no row.

    run       its id
    final     predicted, within [0, 1], in accuracy
    error     its standard error, in accuracy
    learned   from so many finished contests
    """
    over: Any = frame.loc[frame["state"].isin(OVER), "run"]
    ids = {run for runs in stopped["runs"] for run in runs} - set(over)
    rows = []
    if ids and (metric is None or metric in METRICS):
        all_contests = comparable(frame, metric)
        for contest in all_contests:
            open_ones = {choice: run for choice, run in contest.runs.items() if run in ids}
            rows += _of_contest(contest, open_ones, all_contests)
    return pd.DataFrame(rows, columns=["run", "final", "error", "learned"]).sort_values("run", ignore_index=True)


def _of_contest(contest: Contest, open_ones: dict[str, str], others: Sequence[Contest]) -> list[tuple]:
    elsewhere = [
        other
        for other in others
        if other.finished and other.kind == contest.kind and other.about["split"] != contest.about["split"]
    ]
    last: dict[str, Any] = {choice: contest.curves[choice].last_valid_index() for choice in contest.runs}
    reached = {choice: float(share) for choice, share in last.items() if share is not None}
    rows = []
    for choice, run in open_ones.items():
        if (share := reached.get(choice)) is None:
            continue
        beside = [other for other, theirs in reached.items() if theirs >= share]  # packs may have got unequally far
        table = drifts(elsewhere, beside, share)
        if len(table) < needed(max(2, len(beside))):
            continue
        j, m = beside.index(choice), len(table)
        own = variances(table)[0][j] if len(beside) > 1 else 0.0  # of one choice the level is all there is
        level = float(table.mean(axis=1).var(ddof=1))
        final = float(np.clip(contest.scores(share)[choice] + table[:, j].mean(), 0, 1))
        rows.append((run, final, float(np.sqrt((own + level) * (1 + 1 / m))), m))
    return rows
