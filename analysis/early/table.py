"""The early answer as a table: what scores so far said of final ones, what that would have cost, what is open now."""

import math
import warnings
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.early.backtest import backtest, calibration, correlation, standing, stopping
from analysis.early.model import IN_A_ROW, LOOKS, NUMBERED, Contest, comparable, contests
from analysis.frame import as_text
from analysis.tables import Table
from yosinski import files
from yosinski.errors import BadInput

EPSILONS = (0.01, 0.005, 0.002, 0.001)
ABOUT = ["origin", "network", "data", "recipe"]
PAIRS = [
    *("origin", "split", "division", "source", "target", "seed", "share", "step", "best", "final", "change", "changed"),
    *("regret", "lost", "learned", "why"),
]
STOPS = [
    *("sweep", "time", "epsilon", "looks", "split", "source", "target", "seed", "share", "best", "change", "regret"),
    *("learned", "runs"),
]


def early(
    frame: pd.DataFrame, at: str | None = None, metric: str | None = None, stopped: pd.DataFrame | None = None
) -> Table:
    """What an early answer is worth, from finished contests, and what it says of unfinished ones; see `analysis.early`.

    at: a share of the training ("0.33") or a number of steps ("150000"); None for the looks of a contest. stopped: of
    `stops`, if there is one. `rows`, one per kind of runs and time:

    networks, spearman   how many have a score by then; its rank correlation with the final one
    contests, settled    how many; in how many today's best choice is the final one
    change, changed      P(change), leave-one-split-out, mean over the contests; how many did change, as a share
    regret, lost, most   expected regret, likewise; what was lost, on average and at most

    `pairs`, one row per contest: the finished ones at `at`, then the others as far as they have got, with `change` and
    `regret` empty and a reason in `why` where nothing can be concluded. BadInput: nothing to compare, or no such time.
    """
    all_contests = contests(frame, metric)
    rows, pairs, notes = [], [], []
    for _, group in groupby(all_contests, lambda contest: contest.kind):
        alike = list(group)
        looks = sorted({share for contest in alike if contest.finished for share in contest.looks})
        shares = looks if at is None else [_share(at, alike)]
        tested = backtest(alike, shares)
        rows += [_row(alike, tested.loc[tested["share"] == share], share) for share in shares if len(tested)]
        if at is not None:
            pairs.append(tested.assign(origin=alike[0].about["origin"]))
            notes += [_said(row) for row in rows[-1:] if len(tested)]
        notes += _rule(alike, tested if at is None else backtest(alike)) if len(tested) else []
        pairs.append(standing(alike))
    both = pd.concat(pairs, ignore_index=True).reindex(columns=PAIRS)
    numbers = pd.DataFrame(rows, columns=[*ABOUT, *ROW])
    notes += _open(both, numbers, all_contests) + ([] if stopped is None else _stopped(stopped, all_contests))
    title = "The early answer: today's best choice of (n, treatment) against the final one, on select images"
    shown = _shown(numbers)
    return Table(title, numbers, shown, notes, both if len(both) else None, shown_pairs(both) if len(both) else None)


def still_open(
    frame: pd.DataFrame, metric: str | None = None, stopped: pd.DataFrame | None = None
) -> tuple[Table, list[str]] | None:
    """What can be said now of contests that are not finished, as rows of `pairs` of `early`, and sentences on stops.

    The sentences say, too, how far the stated regrets came true in finished contests. None if all contests are finished
    and none was ever stopped.
    """
    all_contests = comparable(frame, metric)
    rows = standing(all_contests).reindex(columns=PAIRS)
    said = [] if stopped is None else _stopped(stopped, all_contests)
    if not len(rows) and not said:
        return None
    for _, group in groupby(all_contests, lambda contest: contest.kind):
        alike = list(group)
        tested = backtest(alike)
        said += _rule(alike, tested) if len(tested) else []
    return Table("Contests that are not finished", rows, shown_pairs(rows)), said


ROW = [
    *("share", "step", "networks", "spearman", "contests", "settled", "change", "changed"),
    *("regret", "lost", "most"),
]


def _share(text: str, contests: Sequence[Contest]) -> float:
    """The share of the training that a user means."""
    steps = max(contest.steps for contest in contests)
    try:
        time = float(text)
    except ValueError:
        time = math.nan
    if not 0 < time <= max(steps, 1):
        raise BadInput(f"--at takes a share of the training, up to 1, or a step, up to {steps:,}, not {text!r}")
    return time if time <= 1 else time / steps


def _row(contests: Sequence[Contest], tested: Any, share: float) -> dict[str, Any]:
    """One row of the table, of the contests of a kind at one time."""
    networks, spearman = correlation(contests, share)
    return {
        **{name: contests[0].about[name] for name in ABOUT},
        "share": share,
        "step": round(share * max(contest.steps for contest in contests)),
        "networks": networks,
        "spearman": spearman,
        "contests": len(tested),
        "settled": int((~tested["changed"]).sum()),
        "change": tested["change"].mean(),
        "changed": tested["changed"].mean() if len(tested) else math.nan,
        "regret": tested["regret"].mean(),
        "lost": tested["lost"].mean(),
        "most": tested["lost"].max(),
    }


# ------------------------------------------------------------------------------------------------------------ sentences


def _said(row: dict[str, Any]) -> str:
    expected = "" if math.isnan(row["regret"]) else f" (expected: {row['regret']:.4f}, P(change) {row['change']:.2f})"
    return (
        f"{row['origin']}: at step {row['step']:,}, {row['share']:.3f} of the training, the scores so far of "
        f"{row['networks']} networks have a rank correlation of {row['spearman']:.3f} with the final ones; the "
        f"best choice is already the final one in {row['settled']} of {row['contests']} contests; stopping then "
        f"costs {row['lost']:.4f} of accuracy on average{expected}, {row['most']:.4f} at most"
    )


def _rule(contests: Sequence[Contest], tested: Any) -> list[str]:
    """What `yosinski run --stop-when-sure` would have done with the finished contests, tested at their looks."""
    if tested["regret"].where(tested["share"] < 1).isna().all():
        return [
            f"{contests[0].about['origin']}: nothing can be calibrated: each finished contest would have to learn from "
            "others on other splits, with the same choices and recipe: from 2, or 4 if there are two choices only"
        ]
    total = int(tested["contest"].nunique())
    sentences = []
    for epsilon in EPSILONS:
        number, stated, lost = calibration(tested, epsilon)
        if not number:
            sentences.append(f"below {epsilon:g}, it stops none of {total}")
            continue
        where = stopping(tested, epsilon)
        too_sure = f", {lost / stated:.1f} times as much as stated" if lost > stated > 0 else ""
        sentences.append(
            f"below {epsilon:g}, it stops {number} of {total} early, all at {where['share'].mean():.2f} of the "
            f"training on average; these state {stated:.4f} and lose {lost:.4f}{too_sure}, "
            f"{where['lost'].max():.4f} at most"
        )
    rule = f"{IN_A_ROW} looks in a row, of at most {LOOKS} in a training, expect a regret below a limit"
    return [f"{contests[0].about['origin']}: if each contest is stopped when {rule}: {'; '.join(sentences)}"]


def _open(pairs: Any, rows: Any, contests: Sequence[Contest]) -> list[str]:
    """What these curves cannot say."""
    sentences = []
    if rows.empty and any(contest.finished for contest in contests):
        sentences.append("no finished contest has two choices with a score by then; ask for a later time")
    elif rows.empty:
        sentences.append(
            "no contest is finished, so that nothing is known of how choices drift until the end: neither P(change) "
            "nor an expected regret can be given. Published networks are no substitute: they had another schedule"
        )
    papers = rows.loc[rows["origin"] == "paper", "networks"]
    absent = (
        sum(len(contest.runs) for contest in contests if contest.about["origin"] == "paper") - papers.min()
        if len(papers)
        else 0
    )
    if absent:
        sentences.append(
            f"paper: {absent} networks whose logs lack the beginning are compared from their first score on"
        )
    if len(pairs) and (pairs["why"] == "learned from the same split").any():
        sentences.append(
            "contests that learn from their own split share its halves with what they learn from: less sure"
        )
    return sentences


def stops(runs: Path) -> pd.DataFrame:
    """What `yosinski run --stop-when-sure` stopped in a runs directory: one row per contest, in the columns `STOPS`."""
    rows = []
    for path in sorted((runs / "stopped").glob("*.json")):
        try:
            value = files.read_json(path)
        except files.Damaged as error:
            warnings.warn(f"{error}: what it says was stopped is not shown", stacklevel=2)
            continue
        rows += [{"sweep": value["sweep"], **stop} for stop in value["stops"]]
    return pd.DataFrame(rows, columns=STOPS)


def _stopped(stopped: pd.DataFrame, contests: Sequence[Contest]) -> list[str]:
    """A sentence for each contest that was stopped, and what came of it where it went on later."""
    sentences = []
    for stop in stopped.to_dict("records"):
        since = ""
        for contest in contests:
            if contest.finished and set(stop["runs"]) <= set(contest.runs.values()):
                finals = contest.scores(1.0)
                since = (
                    f"; it went on since, and that choice ends {finals.max() - finals[stop['best']]:.4f} below the best"
                )
        sentences.append(
            f"sweep {stop['sweep']}: {stop['source']} to {stop['target']} of {stop['split']} was stopped at "
            f"{stop['share']:.2f} of its training with {stop['best']} as the best choice, after {stop['looks']} looks; "
            f"expected regret {stop['regret']:.4f}, limit {stop['epsilon']:g}{since}"
        )
    return sentences


# ----------------------------------------------------------------------------------------------------------- for people


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "of": rows["origin"],
            "share": rows["share"].map("{:.2f}".format),
            "step": rows["step"].map("{:,}".format),
            "networks": rows["networks"].astype(str),
            "Spearman": rows["spearman"].map(_three),
            "already best": rows["settled"].astype(str) + " of " + rows["contests"].astype(str),
            "P(change)": rows["change"].map(_three),
            "changed": rows["changed"].map(_three),
            "expected regret": rows["regret"].map(_four),
            "lost": rows["lost"].map(_four),
            "at most": rows["most"].map(_four),
        }
    )


def shown_pairs(pairs: Any) -> pd.DataFrame:
    """A row of texts per contest; divisions and seeds where there are several."""
    numbers = {name: pairs[name].fillna(0).astype(int) for name in NUMBERED}
    several = {name: column.astype(str) for name, column in numbers.items() if column.nunique() > 1}
    return pd.DataFrame(
        {
            "split": as_text(pairs["split"]),
            "from": pairs["source"],
            "to": pairs["target"],
            **several,
            "share": pairs["share"].map("{:.2f}".format),
            "best": as_text(pairs["best"]),
            "P(change)": pairs["change"].map(_three),
            "expected regret": pairs["regret"].map(_four),
            "final best": as_text(pairs["final"]),
            "lost": pairs["lost"].map(_four),
            "": as_text(pairs["why"]),
        }
    )


def _three(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def _four(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.4f}"
