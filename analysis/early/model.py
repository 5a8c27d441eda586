"""The early answer: what stopping now would cost, from partial curves.

A contest is what one chooses among: all transfer copies of one base on one target with one seed; its choices are (n,
treatment). Selffers and random features are controls, among which nobody chooses: they are no contest. A choice's score
is its accuracy on the select images so far (published networks: the mean of the 10 highest so far, the paper's score).
The best choice of today is the one with the highest score. Of it we want

    P(change)         that another choice ends higher
    expected regret   E[final score of the final best - final score of today's best]

The model: final score = score now + drift + noise. The drift of a choice at a share of the training is its mean D_.j in
m finished contests of *other* splits (the same network, data and recipe); what all J choices of a contest have in
common makes no difference between them. What drifts leave unexplained is

    e_kj = D_kj - D_k. - D_.j + D_..,   D_kj = final - score of choice j in contest k,   f = (m - 1)(J - 1),

so that choice j has the variance s_j^2 = sum_k e_kj^2 J / f with f / J degrees of freedom. It is squeezed towards those
of the other choices as in `analysis.advice.contrasts.moderated`, to (d0 s0^2 + f / J s_j^2) / (d0 + f / J), with
d0 + f / J degrees of freedom, but no more than f and no fewer than `FREEDOM`; where sampling explains all differences
between variances (d0 infinite), it is their mean. The noise is independent between choices. P(change) and regret are
means over draws of the finals, clipped to [0, 1],

    score + D_.j + s_j sqrt(1 + 1 / m) sqrt(df / chi2_df) t_3

chi2_df being what is not known of the variance, and s_j / sqrt(m) the error of the mean drift (Gelman et al., *Bayesian
Data Analysis*, 2013, section 3.2, with the flat prior). t_3 has `TAILS` degrees of freedom and is not scaled to a
variance of 1. That is no estimate but caution: normal noise knows of no late collapse that finished contests do not
have, scores so far are best partly by luck, and looking again and again stops where a variance is estimated low.
With normal noise and one variance two to five times the stated regret was lost in simulations, now about what is stated
(docs/where-to-cut.md has the numbers).

When it misleads: if the recipe's schedule makes the finished contests drift otherwise than the one that is asked about
(the reason why only the same recipe counts, and why no published network says anything of yours); with few finished
contests, where tails are long and regrets overestimated; and if contests were stopped, since those that are left to
learn from were the hard ones. `sure` looks at most `LOOKS` times in a training, wants `IN_A_ROW` looks in a row, and
learns from other splits only; `analysis.early.backtest` tells what that rule would have cost in the finished contests.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.advice.contrasts import prior
from analysis.frame import distinct
from analysis.paired import kind_of_split, main_experiment
from yosinski.errors import BadInput, choose

KIND = ["origin", "network", "data", "kind", "semantics", "recipe", "examples_per_class"]
CONTEST = [*KIND, "split", "parent", "target_half", "seed"]
NUMBERED = ("division", "seed")  # what is told of a contest where it is not 0, or where several are listed
METRICS = ("select_top1", "best10_top1")  # choices are never made on test images
LOOKS = 20  # in a whole training, at most
IN_A_ROW = 2
FREEDOM = 3  # degrees of freedom of variances: the predictive distribution has no mean with fewer
TAILS = 3  # degrees of freedom of the noise
DRAWS = 4000
OUT = ("stuck", "diverged", "blocked")  # states of copies that nobody will choose


@dataclass(frozen=True, eq=False)
class Contest:
    """The choices of one base, target and seed.

    about: origin, network, data, recipe, split, division, source, target and seed. kind: equal for contests that may
    learn from each other. runs: ids by choice, such as "3 tuned". curves: accuracy on the select images, a row per
    share of the training (0 to 1) and a column per choice; NaN where it was not evaluated. steps: of all the training.
    """

    about: dict[str, Any]
    kind: tuple[Any, ...]
    runs: dict[str, str]
    curves: pd.DataFrame
    steps: int
    metric: str
    finished: bool
    _drifts: dict[float, dict[Any, float]] = field(default_factory=dict, repr=False)

    @cached_property
    def so_far(self) -> pd.DataFrame:
        """The score of every choice (columns) after every evaluation (rows), NaN where there is none yet."""
        if self.metric == "select_top1":
            return self.curves.ffill()
        highest = np.full((10, self.curves.shape[1]), -np.inf)
        scores = []
        for row in self.curves.fillna(-np.inf).to_numpy():
            highest = np.sort(np.vstack([highest, row]), axis=0)[1:]
            scores.append(highest.mean(axis=0))
        return pd.DataFrame(scores, self.curves.index, self.curves.columns).replace(-np.inf, np.nan)

    def scores(self, share: float) -> pd.Series:
        """The score of every choice when so much of the training is done."""
        before = int(self.so_far.index.searchsorted(share + 1e-9, side="right"))
        return self.so_far.iloc[before - 1] if before else pd.Series(np.nan, self.curves.columns)

    def drifts(self, share: float) -> dict[Any, float]:
        """Final score - score at this share, of every choice; kept, since many others learn from it."""
        if share not in self._drifts:
            self._drifts[share] = (self.scores(1.0) - self.scores(share)).to_dict()
        return self._drifts[share]

    @cached_property
    def reached(self) -> float:
        """The share of the training that all choices have behind them; 0 if one was never evaluated."""
        last = [self.curves[choice].last_valid_index() for choice in self.curves]
        return 0.0 if None in last else float(min(last))  # pyright: ignore

    @cached_property
    def looks(self) -> list[float]:
        """When this contest is looked at: after the last evaluation of every twentieth of the training."""
        shares = self.curves.index.to_numpy()
        shares = shares[shares <= self.reached + 1e-9]
        last = [shares[shares <= k / LOOKS + 1e-9] for k in range(1, LOOKS + 1)]
        return sorted({float(before[-1]) for before in last if len(before)})

    def __str__(self) -> str:
        """As in "A to B, random:0, division 2, seed 1"; 0 is not named."""
        about = self.about
        others = "".join(f", {name} {about[name]}" for name in NUMBERED if about[name])
        return f"{about['source']} to {about['target']}, {about['split']}{others}"


def contests(frame: pd.DataFrame, metric: str | None = None) -> list[Contest]:
    """The contests with at least two choices in a frame of records, of published networks, or of both.

    Selffers and random features are no choices, nor are copies that are stuck, diverged or blocked. Of the published
    networks frozen copies are compared (unless only fine-tuned ones are asked for): of most fine-tuned ones there is no
    log. metric: `select_top1` or `best10_top1`, which published networks have by default. BadInput: another metric, or
    no such contest.
    """
    all_contests = comparable(frame, metric)
    if not all_contests:
        copies = frame.loc[frame["relation"] == "transfer", "name"].dropna()
        among = f" among {distinct(copies)}" if len(copies) else ": there are no transfer copies"
        raise BadInput(f"no base was cut in two ways for one target and seed, so that nothing can be compared{among}")
    return all_contests


def comparable(frame: pd.DataFrame, metric: str | None = None) -> list[Contest]:
    """As `contests`, for whom none at all is no error."""
    if metric is not None:
        choose("metric of an early answer", metric, METRICS)
    rows = _candidates(frame)
    if rows.empty:
        return []
    rows = _with_shares(rows.assign(kind=kind_of_split(rows), choice=_choices(rows)))
    groups = (group for _, group in rows.groupby(CONTEST, dropna=False, sort=True))
    return [_contest(group, metric) for group in groups if len(set(group["choice"])) > 1]


def _candidates(frame: pd.DataFrame) -> Any:
    """The rows of all copies that can be chosen: no controls, and none that failed."""
    papers, own = frame["origin"] == "paper", frame["origin"] == "runs"
    published = main_experiment(frame.loc[papers])
    if "frozen" in set(published["treatment"]):
        published = published.loc[published["treatment"] == "frozen"]
    rows = pd.concat([published, frame.loc[own]], ignore_index=True)
    rows = rows.loc[(rows["relation"] == "transfer") & ~rows["state"].isin(OUT)]
    return rows.loc[(rows["origin"] == "runs") | rows["step"].notna()]  # the other logs are lost for ever


def _choices(rows: Any) -> pd.Series:
    """What one chooses: "3 frozen", "3+2 frozen" with two preserved layers."""
    kept = [f"+{k}" if k else "" for k in rows["preserved"].fillna(0)]
    return rows["n"].astype(str) + kept + " " + rows["treatment"]


def _with_shares(rows: Any) -> pd.DataFrame:
    """The rows with `steps`, of the whole training, and `share`: how much of it an evaluation has behind it.

    Halves of unlike sizes have their k-th evaluation at nearly the same share; these become equal.
    """
    of_run = rows.groupby("run", sort=False)
    step, epoch = of_run["step"].transform("max").astype("float64"), of_run["epoch"].transform("max")
    by_epochs = (step * (rows["recipe_epochs"] / epoch)).round()
    longest = rows.groupby(KIND, dropna=False)["step"].transform("max").astype("float64")
    iterations = rows["recipe_iterations"].astype("float64")
    steps = iterations.where(iterations > 0).fillna(by_epochs.where(by_epochs > 0)).fillna(longest)
    steps = step.where((rows["state"] == "done") & (rows["origin"] == "runs"), steps)
    most = rows.groupby(KIND, dropna=False)["step"].transform("nunique").astype("float64")
    evaluations = rows["recipe_evaluations"].astype("float64").fillna(most)
    share = (rows["step"].astype("float64") / steps * evaluations).round() / evaluations
    return rows.assign(steps=steps, share=share)


def _contest(evaluations: Any, metric: str | None) -> Contest:
    first: Any = evaluations.iloc[0]
    about = ["origin", "network", "data", "recipe", "split", "source", "target"]
    curves = evaluations.pivot_table(index="share", columns="choice", values="select_top1", aggfunc="last", sort=False)
    curves = curves.reindex(columns=evaluations["choice"].unique()).sort_index().astype("float64")
    return Contest(
        {name: None if pd.isna(first[name]) else str(first[name]) for name in about}
        | {name: None if pd.isna(first[name]) else int(first[name]) for name in NUMBERED},
        tuple(None if pd.isna(first[name]) else first[name] for name in KIND),
        dict(zip(evaluations["choice"], evaluations["run"], strict=True)),
        curves,
        0 if evaluations["steps"].isna().all() else int(evaluations["steps"].max()),
        metric or ("best10_top1" if first["origin"] == "paper" else "select_top1"),
        bool((evaluations["state"] == "done").all()),
    )


# ----------------------------------------------------------------------------------------------------------- the model


@dataclass(frozen=True)
class Verdict:
    """Of one contest at one share: today's best choice, P(change), the expected regret, and what they rest on.

    change and regret are None where nothing can be concluded; `why` says why.
    """

    share: float
    best: str | None
    change: float | None
    regret: float | None
    learned: int = 0  # from so many finished contests
    same_split: bool = False  # there were too few of other splits
    why: str = ""


def verdict(contest: Contest, others: Iterable[Contest], share: float | None = None) -> Verdict:
    """What stopping would cost at a share of the training (as far as all choices have got), learned from others.

    others: any contests; those of the same kind that are finished count, of other splits or, where these are fewer than
    `needed`, of the same split, too (`same_split`). Of a finished contest, choices without a score then (of which the
    log is lost) are left out.
    """
    share = contest.reached if share is None else share
    scores = contest.scores(share)
    if contest.finished:
        scores = scores.dropna()
    if len(scores) < 2 or scores.isna().any() or share == 0:
        waiting = int(scores.isna().sum()) if len(scores) else len(contest.runs)
        return Verdict(share, None, None, None, why=f"{waiting} of {len(contest.runs)} choices have no score yet")
    best = str(scores.idxmax())
    if share >= 1:
        return Verdict(1.0, best, 0.0, 0.0)
    alike = [other for other in others if other is not contest and other.finished and other.kind == contest.kind]
    elsewhere = [other for other in alike if other.about["split"] != contest.about["split"]]
    for group in (elsewhere, alike):
        table = drifts(group, list(scores.index), share)
        if len(table) >= needed(len(scores)):
            change, regret = _draw(scores.to_numpy(float), table, int(scores.argmax()))
            return Verdict(share, best, change, regret, len(table), group is not elsewhere)
    why = f"{len(table)} finished contests have these choices and the same recipe; {needed(len(scores))} are needed"
    return Verdict(share, best, None, None, len(table), why=why)


def needed(choices: int) -> int:
    """How many finished contests with so many choices, at least 2, it takes to learn from: (m - 1)(J - 1) >= 3."""
    return 1 + max(1, -(-FREEDOM // (choices - 1)))


def drifts(contests: Sequence[Contest], choices: list[str], share: float) -> np.ndarray:
    """Final score - score at this share, a row per contest that has all choices and a column per choice."""
    rows = [
        [of_choice.get(choice, np.nan) for choice in choices]
        for of_choice in (contest.drifts(share) for contest in contests)
    ]
    table = np.array(rows, float).reshape(-1, len(choices))
    return table[~np.isnan(table).any(axis=1)]


def interaction(table: np.ndarray) -> np.ndarray:
    """What is left of a table without the means of its rows and columns."""
    return table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()


def variances(table: np.ndarray) -> tuple[np.ndarray, float]:
    """Of drifts [contests, choices], at least two of each: the variance of every choice, moderated, and their freedom.

    What all choices of a contest have in common is taken out first. That leaves a part of the others' variance in each:
    without moderation it is ((J - 2) own + mean of all) / (J - 1), the same for both of two choices.
    """
    contests, choices = table.shape
    freedom = (contests - 1) * (choices - 1)
    own, of_one = (interaction(table) ** 2).sum(axis=0) * choices / freedom, freedom / choices
    d0, s02 = prior(own, np.full(choices, of_one))
    if not math.isfinite(d0):
        return np.full(choices, own.mean()), freedom
    return (d0 * s02 + of_one * own) / (d0 + of_one), min(max(d0 + of_one, FREEDOM), freedom)


@cache
def _noise(choices: int) -> np.ndarray:
    """Draws of the noise, [DRAWS, choices], the same for all contests: what differs is the contest."""
    return np.random.default_rng(0).standard_t(TAILS, (DRAWS, choices))


def _draw(scores: np.ndarray, table: np.ndarray, best: int) -> tuple[float, float]:
    """P(change) and the expected regret of today's best, by the model above."""
    contests, choices = table.shape
    variance, freedom = variances(table)
    unknown = freedom / np.random.default_rng(1).chisquare(freedom, (DRAWS, 1)) * (1 + 1 / contests)
    finals = np.clip(scores + table.mean(axis=0) + np.sqrt(variance * unknown) * _noise(choices), 0, 1)
    regret = finals.max(axis=1) - finals[:, best]
    return float((regret > 0).mean()), float(regret.mean())


def sure(contest: Contest, others: Sequence[Contest], epsilon: float) -> tuple[Verdict, int] | None:
    """The last look at a contest and how many there were, if the last `IN_A_ROW` expected a regret below epsilon.

    None, too, where that is known from the same split alone, and at the end, when there is nothing left to be stopped.
    """
    looks = contest.looks
    if len(looks) < IN_A_ROW or looks[-1] >= 1:
        return None
    last = [verdict(contest, others, share) for share in looks[-IN_A_ROW:]]
    below = [
        prediction.regret is not None and prediction.regret < epsilon and not prediction.same_split
        for prediction in last
    ]
    return (last[-1], len(looks)) if all(below) else None
