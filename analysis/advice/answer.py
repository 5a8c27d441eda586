"""Where to cut in a block of runs: every choice with its score, how far it may be from the best one, and its cost."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.advice import images
from analysis.advice.blocks import Block, metrics_of
from analysis.advice.choice import (
    CANCELLING,
    Posterior,
    behind,
    best,
    cells,
    luck,
    normal,
    not_told_from_best,
    overlapping,
    posterior,
)
from analysis.advice.classes import SETS, counts
from analysis.advice.contrasts import differences, intervals, split_means
from analysis.paired import FEWEST
from yosinski.errors import BadInput, count
from yosinski.experiment.treatments import notation
from yosinski.networks.architectures import ARCHITECTURES

COSTS = ["trained_parameters", "parameters", "flops", "seconds", "memory"]
OUTPUTS = 1000  # of the published networks' heads, on halves, too; records name their own
MATTERS = 1.0  # points, below which a difference does not matter
ENOUGH = 0.95  # probability with which a choice is recommended
FAILED = 0.2  # share of a choice's runs that may fail
OVER = ("stuck", "diverged")  # how trainings fail


@dataclass
class Answer:
    """`rows`: one per choice, the highest mean first; the names in the other fields are of its column `choice`.

    choice, n, cut            "A3B+": a fine-tuned copy that keeps 3 layers ("W3B+": of weights from outside); "base":
                              trained from scratch, n = 0
    treatment, series         as in the frame
    splits, targets, runs     how many count
    failed                    how many were trained, and got stuck or diverged
    points, low, high         difference from `reference` and its 95 % interval; without a model the interval is empty
    behind                    expected distance from the best choice, in points: the regret of taking this one
    within                    P(within): the probability that it is less than `matters` below the best one
    p_best, among             probability of being the best; not told from the best
    fragile                   whether too many of its runs failed for a recommendation
    trained_parameters, ...   `COSTS`, means over runs
    """

    rows: pd.DataFrame
    matters: float = MATTERS
    why_not: str = ""  # there is no comparison
    reference: str = ""  # what points are differences from: "base", or "" for the mean of all choices
    top: str = ""  # the highest mean of those that may be recommended
    cheapest: str = ""  # with P(within) of at least `ENOUGH`, if any
    by: str = ""  # which cost
    limit: float = float("nan")  # points, the smallest difference of which P(within) of `top` would be `ENOUGH`
    treatments: dict[str, float] = field(default_factory=dict)  # the probability that the best choice is of each series
    test: pd.DataFrame = field(default_factory=pd.DataFrame)  # of `top`: `test_top1` and its difference from the base
    trainings: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))  # draws without images, [draws, rows]
    images: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))  # covariance by them, points², [rows, rows]
    luck: float = 0.0  # points, by which the score of `top` is expected to be too high because it was chosen
    failed: dict[str, int] = field(default_factory=dict)  # choices of which every run failed, and how many
    shared: float = (
        0.0  # variance that more divisions leave: images measured by those trained on, 0 of other replicates
    )
    no_bits: float = 0.0  # standard error in points by images alone, where not all records have bits; NaN: unknown

    @property
    def among(self) -> pd.DataFrame:
        """The rows that are not told from the best; all of them without a comparison."""
        return self.rows.loc[self.rows["among"]] if self.top else self.rows

    @property
    def recommended(self) -> pd.DataFrame:
        """The rows with P(within) of at least `ENOUGH` that did not fail too often, the highest mean first."""
        return (
            self.rows.loc[(self.rows["within"] >= ENOUGH) & ~self.rows["fragile"]] if self.top else self.rows.iloc[:0]
        )

    def row(self, choice: str) -> Any:
        """The row of a choice."""
        return self.rows.loc[self.rows["choice"] == choice].iloc[0]


def answer(block: Block, matters: float = MATTERS, seed: int = 0) -> Answer:
    """What the runs of a block say of transfer copies at every cut, and of training from scratch.

    matters: points, the difference below which the user does not care. BadInput: not above 0.
    """
    if not 0 < matters < np.inf:
        raise BadInput(f"differences that matter must be above 0 points, not {matters:g}")
    runs = candidates(block)
    rows: Any = _counted(block, runs)
    failed = {str(k): int(v) for k, v in failures(block).items() if k not in set(rows["choice"])}
    if not (rows["series"] != "base").any():
        there = metrics_of(block.runs.loc[block.runs["relation"] == "transfer"])
        lacking = bool(there) and block.metric not in there
        why = f"no transfer copy has {block.metric}, only {', '.join(there)}" if lacking else "no transfer copy is done"
        return Answer(rows, matters, why, failed=failed)
    reference = "base" if "base" in set(rows["choice"]) else ""
    means = measurements(runs)
    measured = cache(partial(_measured, block, runs))  # reads all records, which not every block needs
    if why := _why_not(block, rows, means, measured):
        rows["points"] = _differences(runs, list(rows["choice"]), reference)
        rows = rows.sort_values("points", ascending=False, ignore_index=True)
        return Answer(rows, matters, why, reference, failed=failed)

    names = rows["choice"].to_numpy()
    fitted, of_images, no_bits = _fitted(block, runs, means, rows, measured)
    rng = np.random.default_rng(seed)
    trainings = fitted.draws(rng).astype(np.float32)
    draws = trainings + by_images(of_images, len(trainings), rng)
    from_reference = draws - (draws[:, [list(names).index("base")]] if reference else draws.mean(axis=1, keepdims=True))
    gap = behind(draws)
    of_choice: Any = {
        "points": from_reference.mean(axis=0),
        "behind": gap.mean(axis=0),
        "within": (gap < matters).mean(axis=0),
        "p_best": best(draws),
        "among": not_told_from_best(draws),
    }
    of_choice["low"], of_choice["high"] = np.quantile(from_reference, [0.025, 0.975], axis=0)
    rows = rows.assign(**of_choice)
    if reference:  # of the base itself there is no interval
        rows.loc[rows["choice"] == "base", ["low", "high"]] = np.nan
    order = rows["points"].to_numpy().argsort(kind="stable")[::-1]
    rows = rows.iloc[order].reset_index(drop=True)
    sound = rows.loc[~rows["fragile"]]
    by = next((cost for cost in ("flops", "trained_parameters") if rows[cost].notna().all()), "")
    top = str((sound if len(sound) else rows)["choice"].iloc[0])
    good = sound.loc[sound["within"] >= ENOUGH]
    priced = good.sort_values([by, "points"], ascending=[True, False]) if by else good
    winner = rows["series"].to_numpy()[np.argmax(draws[:, order], axis=1)]
    return Answer(
        rows,
        matters,
        reference=reference,
        top=top,
        cheapest=str(priced["choice"].iloc[0]) if by and len(priced) else "",
        by=by,
        limit=float(np.quantile(gap[:, list(names).index(top)], ENOUGH)),
        treatments={str(k): float(v) for k, v in pd.Series(winner).value_counts(normalize=True).items()},
        test=_test(block, runs, top),
        trainings=trainings[:, order],
        images=of_images[np.ix_(order, order)],
        luck=luck(trainings - (trainings[:, [list(names).index("base")]] if reference else 0)),
        failed=failed,
        shared=measured().images / measured().trained if block.replicates == "division" else 0.0,
        no_bits=no_bits,
    )


def _why_not(block: Block, rows: pd.DataFrame, means: pd.DataFrame, measured: Callable[[], "Measured"]) -> str:
    """Why there is no comparison; "" where there is one."""
    if block.number < FEWEST:
        return f"{count(block.number, block.replicates)}, and at least {FEWEST} are needed"
    if block.replicates == "division" and not np.isfinite(measured().images * measured().trained):
        return "no record says on how many images divisions were measured, and so how many they share"
    targets = len(means[["replicate", "target_half"]].drop_duplicates())
    spare = len(means) - targets - (len(rows) - 1)  # what levels of targets and choices leave to tell luck by
    if len(rows) > 1 and spare >= FEWEST - 1:
        return ""
    number = f"{count(len(means), 'measurement')} of {count(len(rows), 'choice')}"
    return f"{number} on {count(targets, 'target')} leave too little to tell luck by"


def measurements(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per replicate, target and choice: the mean `value` of its runs, their `number`, and its `extra` variance.

    runs: as from `candidates`. extra: in accuracy squared, of predicted values (column `error`), and of means over
    fewer runs than others have, where the spread within a cell is known: choices with fewer seeds weigh less.
    """
    cell: Any = runs.assign(predicted=runs["error"] ** 2).groupby(["replicate", "target_half", "choice"])
    means = cell.agg(
        value=("value", "mean"), number=("value", "size"), within=("value", "var"), predicted=("predicted", "mean")
    )
    means = means.reset_index()
    several = means.loc[means["number"] > 1]
    pooled = float(np.average(several["within"], weights=several["number"] - 1)) if len(several) else 0.0
    fewer = 1 / means["number"] - 1 / means["number"].max()
    return means.assign(extra=pooled * fewer + means["predicted"] / means["number"])


def candidates(block: Block) -> pd.DataFrame:
    """The runs among which there is a choice: transfer copies and bases of their targets, with their `choice`."""
    runs = _named(block, block.good)
    copies = runs.loc[runs["relation"] == "transfer"]
    bases = runs.loc[(runs["relation"] == "base") & runs["target_half"].isin(copies["target_half"])]
    return pd.concat([bases, copies])


def failures(block: Block) -> pd.Series:
    """How many runs of each choice were trained and got stuck or diverged, by choice."""
    failed = block.runs["state"].isin(OVER) & block.runs["relation"].isin(["base", "transfer"]) & ~block.runs["stale"]
    return _named(block, block.runs.loc[failed]).groupby("choice").size()


def _named(block: Block, runs: Any) -> Any:
    source, target = ("W" if block.weights else "A"), "B"  # W: copies of weights from outside
    if block.sharing:
        source, target = block.sharing
    of_runs = zip(runs["relation"], runs["treatment"], runs["n"], strict=True)
    return runs.assign(
        choice=["base" if to == "base" else notation(source, n, target, treatment) for to, treatment, n in of_runs]
    )


def _fitted(
    block: Block, runs: Any, means: Any, rows: Any, measured: Callable[[], "Measured"]
) -> tuple[Posterior, np.ndarray, float]:
    """The posterior of the choices in the order of rows, in points; their covariance by images; `no_bits`."""
    codes = {name: k for k, name in enumerate(rows["choice"])}
    where = cells(
        pd.factorize(means["replicate"])[0],
        pd.factorize(means["replicate"] + "\n" + means["target_half"])[0],
        means["choice"].map(codes).to_numpy(int),
        pd.factorize(rows["series"])[0],
        rows["n"].to_numpy(float),
        1e4 * means["extra"].to_numpy(float),
    )
    cancelling = (0.0,) if block.weights or block.sharing else CANCELLING
    fitted = posterior(where, 100 * means["value"].to_numpy(float), cancelling)
    nothing = np.zeros((len(rows),) * 2)
    if block.replicates == "division":
        return overlapping(fitted, block.number, measured().trained, measured().images), nothing, 0.0
    if block.directory is None:
        return fitted, nothing, np.nan
    found = images.bits(block.directory, runs, SETS[block.metric])
    if set(found.runs["choice"]) != set(codes):
        return fitted, nothing, measured().worth or np.nan
    few = len(found.images) < 2 * len(found.images.drop_duplicates(["data", "class"]))
    of_images = images.covariance(found, within_classes=not few).beyond_replicates
    return fitted, 1e4 * of_images.loc[list(codes), list(codes)].to_numpy(float), 0.0


@dataclass(frozen=True)
class Measured:
    """Means over runs: images that a run was trained on, and those that it was measured on, NaN where not known.

    worth: the standard error of an accuracy by these images alone, in points; 0 where their number is not known.
    """

    trained: float
    images: float
    worth: float


def _measured(block: Block, runs: Any) -> Measured:
    trained = float((runs["step"] / runs["epoch"] * runs["recipe_batch_size"]).astype(float).mean())
    per_class: Any = counts(block.directory, runs, SETS[block.metric])[0] if block.directory else pd.DataFrame()
    if per_class.empty:
        return Measured(trained, np.nan, 0.0)
    number = per_class.groupby("run")["images"].sum().mean()
    accuracy = per_class["correct"].sum() / per_class["images"].sum()
    return Measured(trained, float(number), float(images.worth(accuracy, number)))


def noise(block: Block) -> float:
    """The standard error of a difference of two accuracies by images alone, in points, at most; 0 if not known."""
    return float(np.sqrt(2)) * _measured(block, candidates(block)).worth


def by_images(covariance: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draws [number, p] of what other images would add to the means of the choices, float32, points."""
    return normal(rng, number, covariance).astype(np.float32)


def _differences(runs: pd.DataFrame, choices: list[str], reference: str) -> np.ndarray:
    """Points [choices] from the reference, or from the mean of all, by least squares of choice + target with its seed.

    So a choice that is beside others, but not beside the base, is compared through these. NaN where nothing compares.
    """
    means: Any = runs.groupby(["target_half", "seed", "choice"], as_index=False)["value"].mean()
    code = means["choice"].map({name: k for k, name in enumerate(choices)}).to_numpy(int)
    level = pd.factorize(means["target_half"] + "\n" + means["seed"])[0]
    design = np.hstack([np.eye(len(choices))[code], np.eye(level.max() + 1)[level]])
    inverse = np.linalg.pinv(design)
    wanted = np.eye(len(choices), design.shape[1])
    wanted = wanted - (wanted[choices.index(reference)] if reference else wanted.mean(axis=0))
    compared = np.isclose(wanted @ inverse @ design, wanted, atol=1e-6).all(axis=1)
    return np.where(compared, 100 * wanted @ inverse @ means["value"].to_numpy(float), np.nan)


def _counted(block: Block, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per choice: how often it was trained, and what it cost."""
    priced = _priced(runs)
    grouped = priced.groupby(["choice", "series", "n"])
    rows: Any = grouped.agg(
        treatment=("treatment", "first"),
        cut=("cut", "first"),
        splits=("replicate", "nunique"),
        targets=("target_half", "nunique"),
        runs=("run", "size"),
        **{name: (name, "mean") for name in COSTS},
    ).reset_index()
    rows["n"] = rows["n"].astype("int64")
    rows["failed"] = rows["choice"].map(failures(block).to_dict()).fillna(0).astype("int64")
    share = rows["failed"] / (rows["failed"] + rows["runs"])
    rows["fragile"] = (share > FAILED) | ((rows["failed"] > 0) & (rows["splits"] < FEWEST))
    empty = dict.fromkeys(("points", "low", "high", "behind", "within", "p_best"), np.nan)
    return rows.assign(**empty, among=False).sort_values(["series", "n"], ignore_index=True)


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
    if pairs.dropna().empty:
        return pd.DataFrame({"test_top1": [mean]})
    between = intervals(split_means(pairs.dropna())).reset_index(drop=True)
    return between[["splits", "points", "low", "high"]].assign(test_top1=mean)
