"""Where to cut in a block of runs: every choice with its score, its probability of being best, and its cost."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from analysis.advice.blocks import Block
from analysis.advice.choice import Cells, best, not_told_from_best, one_standard_error, posterior
from analysis.advice.contrasts import differences, intervals, split_means
from analysis.paired import FEWEST
from yosinski.experiment.treatments import notation
from yosinski.networks.architectures import ARCHITECTURES

COSTS = ["trained_parameters", "parameters", "flops", "seconds", "memory"]
OUTPUTS = 1000  # of the published networks' heads, on halves, too; records name their own
POWER = 4.0  # standard errors at which a worse choice is left out of the set; docs/where-to-cut.md has how often
TELL = 1.0  # points that should be told apart


@dataclass
class Answer:
    """`rows`: one per choice, the highest mean first; the names in the other fields are of its column `choice`.

    choice, n, cut            "A3B+": a fine-tuned copy that keeps 3 layers ("W3B+": of weights from outside); "base":
                              trained from scratch, n = 0
    treatment, series         as in the frame
    splits, targets, runs     how many count
    points, error             difference from `top` and its standard error, of the model; without it the difference
                              from the base, and NaN
    p_best, among, within     probability of being the best; not told from the best; within one standard error of it
    trained_parameters, ...   `COSTS`, means over runs
    """

    rows: pd.DataFrame
    why_not: str = ""  # there is no comparison
    top: str = ""
    cheapest: str = ""  # of those not told from the best
    modest: str = ""  # the cheapest within one standard error
    by: str = ""  # which cost
    splits_needed: int = 0  # to tell choices apart that differ by `TELL` points
    test: pd.DataFrame = field(default_factory=pd.DataFrame)  # of `top`: `test_top1` and its difference from the base

    @property
    def among(self) -> pd.DataFrame:
        """The rows that are not told from the best; all of them without a comparison."""
        return self.rows.loc[self.rows["among"]] if self.top else self.rows


def answer(block: Block, seed: int = 0) -> Answer:
    """What the runs of a block say of transfer copies at every cut, and of training from scratch."""
    runs = candidates(block)
    rows: Any = _counted(block, runs)
    if not (rows["n"] > 0).any():
        return Answer(rows, "no transfer copy is done")
    of_cell: Any = runs.groupby(["replicate", "target_half", "choice"])["value"].mean()
    means = of_cell.reset_index()
    few = block.number < FEWEST
    spare = len(means) - len(rows)
    if few or len(rows) < 2 or spare < FEWEST:
        why = (
            f"{block.number} {block.replicates}(s), and at least {FEWEST} are needed"
            if few
            else f"{len(means)} measurements of {len(rows)} choices leave nothing to tell luck by"
        )
        points: Any = 100 * (runs["value"] - runs["target_half"].map(_bases(runs)))
        rows["points"] = rows["choice"].map(points.groupby(runs["choice"]).mean())
        return Answer(rows.sort_values("points", ascending=False, ignore_index=True), why)

    codes = {name: np.unique(means[name], return_inverse=True) for name in ("replicate", "target_half", "choice")}
    names, choice = codes["choice"]
    fitted = posterior(Cells(codes["replicate"][1], codes["target_half"][1], choice), 100 * means["value"].to_numpy())
    draws = fitted.draws(np.random.default_rng(seed))
    expected = draws.mean(axis=0)
    behind = draws - draws[:, [int(expected.argmax())]]
    of_choice = pd.DataFrame(
        {
            "points": behind.mean(axis=0),
            "error": behind.std(axis=0),
            "p_best": best(draws),
            "among": not_told_from_best(draws),
            "within": one_standard_error(draws),
        },
        index=names,
    )
    rows = rows.drop(columns=["points", "error", "p_best", "among", "within"]).join(of_choice, on="choice")
    rows = rows.sort_values("points", ascending=False, ignore_index=True)
    by = next((cost for cost in ("flops", "trained_parameters") if rows[cost].notna().all()), "")
    priced = rows.sort_values([by, "points"], ascending=[True, False]) if by else rows
    targets = means.groupby("replicate")["target_half"].nunique().median()
    return Answer(
        rows,
        top=str(rows["choice"].iloc[0]),
        cheapest=str(priced.loc[priced["among"], "choice"].iloc[0]),
        modest=str(priced.loc[priced["within"], "choice"].iloc[0]),
        by=by,
        splits_needed=max(FEWEST, int(np.ceil((POWER * fitted.per_replicate(targets) / TELL) ** 2))),
        test=_test(block, runs, str(rows["choice"].iloc[0])),
    )


def candidates(block: Block) -> pd.DataFrame:
    """The runs among which there is a choice: transfer copies and bases of their targets, with their `choice`."""
    good = block.good
    copies = good.loc[good["relation"] == "transfer"]
    bases = good.loc[(good["relation"] == "base") & good["target_half"].isin(copies["target_half"])]
    runs = pd.concat([bases, copies])
    source = "W" if block.weights else "A"  # as the copies of weights from outside are called
    return runs.assign(
        choice=[
            notation(source, n, "B", treatment) if n else "base"
            for treatment, n in zip(runs["treatment"], runs["n"], strict=True)
        ]
    )


def _bases(runs: pd.DataFrame) -> Any:
    return runs.loc[runs["series"] == "base"].groupby("target_half")["value"].mean()


def _counted(block: Block, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per choice: how often it was trained, and what it cost."""
    priced = _priced(runs)
    grouped = priced.groupby(["choice", "series", "n"])
    rows = grouped.agg(
        treatment=("treatment", "first"),
        cut=("cut", "first"),
        splits=("replicate", "nunique"),
        targets=("target_half", "nunique"),
        runs=("run", "size"),
        **{name: (name, "mean") for name in COSTS},
    ).reset_index()
    rows["n"] = rows["n"].astype("int64")
    empty = {"points": np.nan, "error": np.nan, "p_best": np.nan, "among": False, "within": False}
    return rows.assign(**empty).sort_values(["series", "n"], ignore_index=True)


def _priced(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with parameters from their network's description where they have none of their own."""
    runs = runs.astype(dict.fromkeys(COSTS, "float64"))
    for row in runs.loc[runs["parameters"].isna() & runs["network"].isin(list(ARCHITECTURES))].itertuples():
        own: Any = row
        layers = _layers(own.network, OUTPUTS if own.origin == "paper" else int(own.recipe_outputs or own.classes))
        runs.loc[own.Index, "parameters"] = sum(layers)
        runs.loc[own.Index, "trained_parameters"] = sum(layers[own.n if own.treatment == "frozen" else 0 :])
    return runs


@cache
def _layers(network: str, outputs: int) -> list[int]:
    return [layer.parameters for layer in ARCHITECTURES[network].costs(outputs)]


def _test(block: Block, runs: pd.DataFrame, choice: str) -> pd.DataFrame:
    """The mean `test_top1` of a choice, and its paired difference from the base in points: one row, or none."""
    tested = runs.assign(value=runs["test_top1"])
    rows = tested.loc[(tested["choice"] == choice) & tested["value"].notna()]
    if rows.empty or block.metric == "test_top1":
        return pd.DataFrame()
    mean = rows.groupby(["replicate", "target_half"])["value"].mean().groupby("replicate").mean().mean()
    if choice == "base":
        return pd.DataFrame({"test_top1": [mean]})
    pairs = differences(tested.loc[tested["choice"].isin([choice, "base"])], str(rows["series"].iloc[0]), "base")
    between = intervals(split_means(pairs.dropna())).reset_index(drop=True)
    return between[["splits", "points", "low", "high"]].assign(test_top1=mean)
