"""What the early answer is worth: finished contests, each predicted without its split, and what came of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.early.model import IN_A_ROW, Contest, verdict

ABOUT = ("split", "division", "source", "target", "seed")  # of a contest


def backtest(contests: Sequence[Contest], shares: Sequence[float] | None = None) -> pd.DataFrame:
    """Every finished contest at these shares (its own looks without any), predicted without its split, and its end.

    share, step; best and final: today's best choice and the final one; change, regret: predicted, NaN where nothing can
    be concluded or only from the same split; changed, lost: what came of it; score, ends, highest: the score of
    today's best, what it ends at, and what the final best ends at. contest: index into contests.
    """
    rows = []
    for k, contest in enumerate(contests):
        for share in (contest.looks if shares is None else shares) if contest.finished else []:
            prediction, finals = verdict(contest, contests, share), contest.scores(1.0)
            if prediction.best is None:
                continue
            finals = finals.loc[contest.scores(share).notna()]
            is_known = not prediction.same_split and prediction.change is not None
            rows.append(
                {
                    "contest": k,
                    **{name: contest.about[name] for name in ABOUT},
                    "share": share,
                    "step": round(share * contest.steps),
                    "best": prediction.best,
                    "final": str(finals.idxmax()),
                    "change": prediction.change if is_known else np.nan,
                    "changed": bool(finals.max() > finals[prediction.best]),
                    "regret": prediction.regret if is_known else np.nan,
                    "lost": finals.max() - finals[prediction.best],
                    "score": contest.scores(share)[prediction.best],
                    "ends": finals[prediction.best],
                    "highest": finals.max(),
                }
            )
    columns = ["contest", *ABOUT, "share", "step", "best", "final", "change", "changed"]
    return pd.DataFrame(rows, columns=[*columns, "regret", "lost", "score", "ends", "highest"])


def standing(contests: Sequence[Contest]) -> pd.DataFrame:
    """Where the contests that are not finished stand, as far as all their choices have got: one row each.

    best: today's, None where a choice has no score yet; score: what it has now; change, regret: None where nothing can
    be concluded, which `why` explains; learned: from so many finished contests among `contests`.
    """
    about = ["origin", *ABOUT]
    fields = ["share", "best", "change", "regret", "learned"]
    rows = []
    for contest in contests:
        if contest.finished:
            continue
        prediction = verdict(contest, contests)
        rows.append(
            {
                **{name: contest.about[name] for name in about},
                **{name: getattr(prediction, name) for name in fields},
                "step": round(prediction.share * contest.steps),
                "score": np.nan if prediction.best is None else contest.scores(prediction.share)[prediction.best],
                "why": prediction.why or ("learned from the same split" if prediction.same_split else ""),
            }
        )
    return pd.DataFrame(rows, columns=[*about, *fields, "step", "score", "why"])


def stopping(tested: pd.DataFrame, epsilon: float) -> pd.DataFrame:
    """Where the rule of `sure` would have stopped each contest of a backtest at its own looks: one row of it each."""
    below = tested.assign(below=tested["regret"] < epsilon).sort_values(["contest", "share"], ignore_index=True)
    streak: Any = below.groupby("contest")["below"].rolling(IN_A_ROW).sum().reset_index(drop=True)
    return below.loc[(streak == IN_A_ROW) | (below["share"] >= 1)].drop_duplicates("contest").drop(columns="below")


def calibration(tested: pd.DataFrame, epsilon: float) -> tuple[int, float, float]:
    """What the rule of `sure` states and what it loses, in the finished contests that it stops before their end.

    tested: of `backtest`, at the contests' own looks. How many it stops, the mean of the regrets that it stated then,
    and the mean of what was lost, in accuracy (NaN if it stops none). lost / stated is how much it is too sure.
    """
    early: Any = stopping(tested, epsilon).query("share < 1")
    return len(early), float(early["regret"].mean()), float(early["lost"].mean())


def correlation(contests: Sequence[Contest], share: float) -> tuple[int, float]:
    """How many choices of finished contests have a score at this share, and its rank correlation with the final one.

    Spearman's; NaN for fewer than two.
    """
    finished = [contest for contest in contests if contest.finished]
    both: Any = pd.concat(
        [pd.DataFrame({"now": contest.scores(share), "end": contest.scores(1.0)}) for contest in finished]
    ).dropna()
    ranks = both.rank()
    return len(both), float(ranks["now"].corr(ranks["end"])) if len(both) > 1 else np.nan
