"""Copies that were stopped early: the final scores that they would have had, predicted, with their errors.

Without them only the contests that were hard would be left, and the means over splits would be biased. Learned from m
finished contests of other splits with the same J choices, scores S_kj at the share that the copy has reached and finals
F_kj: with a level l = mean over j of (score - S_.j) that the choices of its contest share,

    final = F_.j + l + b x_j,   x_j = score - S_.j - l
    error^2 = s_j^2 (1 + 1 / m + x_j^2 / sum_kj a_kj^2) + c^2 (1 + 1 / m),   c^2 = variance over k of F_k. - S_k.

That is the score now and the mean drift of the choice, but for the slope b in [0, 1]: of what a choice is ahead of
where it usually stands in a contest, that part is expected to last. The rest is luck, of which stopped contests have
more than others, since they are stopped when one choice is well ahead. With e a table without the means of its rows and
columns, b is the regression of e(F) on a = e(S), and 1 where all a are 0; s_j^2 is the moderated variance of
e(F - b S), as in `analysis.early.model`. c is what all choices of a contest drift by in common: errors of copies of one
contest share it, so that their differences are known better than `error` says.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.early.model import METRICS, Contest, comparable, interaction, needed, variances

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
            rows += predictions(contest, ids, all_contests)
    return pd.DataFrame(rows, columns=["run", "final", "error", "learned"]).sort_values("run", ignore_index=True)


def predictions(contest: Contest, ids: set[str], others: Sequence[Contest]) -> list[tuple[str, float, float, int]]:
    """Run, final, error and learned, as in `finals`, of those runs of a contest that are in ids."""
    elsewhere = [
        other
        for other in others
        if other.finished and other.kind == contest.kind and other.about["split"] != contest.about["split"]
    ]
    last: dict[str, Any] = {choice: contest.curves[choice].last_valid_index() for choice in contest.runs}
    reached = {choice: float(share) for choice, share in last.items() if share is not None}
    rows = []
    for share in sorted({share for choice, share in reached.items() if contest.runs[choice] in ids}):
        beside = [choice for choice, theirs in reached.items() if theirs >= share]  # packs may have got unequally far
        now, final = _learned(elsewhere, beside, share)
        if len(now) < needed(max(2, len(beside))):
            continue
        ends, errors = _predict(contest.scores(share).reindex(beside).to_numpy(float), now, final)
        for choice, end, error in zip(beside, ends, errors, strict=True):
            if contest.runs[choice] in ids and reached[choice] == share:
                rows.append((contest.runs[choice], float(end), float(error), len(now)))
    return rows


def _learned(contests: Sequence[Contest], choices: list[str], share: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores at this share and final ones, [contests, choices], of the contests that have all of these choices."""
    now = np.array([other.scores(share).reindex(choices) for other in contests], float).reshape(-1, len(choices))
    final = np.array([other.scores(1.0).reindex(choices) for other in contests], float).reshape(-1, len(choices))
    known = ~np.isnan(now + final).any(axis=1)
    return now[known], final[known]


def _predict(scores: np.ndarray, now: np.ndarray, final: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finals and errors of the choices of a contest, [J], from tables [m, J] of others; the formulas are above."""
    contests, choices = now.shape
    ahead = scores - now.mean(axis=0)
    level = ahead.mean()
    usual, x = interaction(now), ahead - level
    square = float((usual**2).sum())
    slope = float(np.clip((usual * interaction(final)).sum() / square, 0, 1)) if square > 0 else 1.0
    # Of one choice the level is all there is.
    own = variances(final - slope * now)[0] if choices > 1 else np.zeros(1)
    common = (final - now).mean(axis=1).var(ddof=1) * (1 + 1 / contests)
    error = np.sqrt(own * (1 + 1 / contests + (x**2 / square if square > 0 else 0)) + common)
    return np.clip(final.mean(axis=0) + level + slope * x, 0, 1), error
