"""Which classes lose most where much is copied and frozen: per class, and natural against man-made."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls
from scipy.special import stdtr
from scipy.stats import false_discovery_control, skellam

from analysis.advice.blocks import VARIED, Block
from analysis.advice.contrasts import PAIRED_BY, differences, prior
from analysis.advice.images import Bits, bits, covariance
from analysis.paired import FEWEST
from yosinski import files
from yosinski.errors import BadInput
from yosinski.records import specs, states
from yosinski.records.right import of_task

SETS = {"select_top1": "select", "best10_top1": "select", "test_top1": "test", "unseen_top1": "unseen"}
LEAST = 1e-3  # ratio of variances: none is 0 by chance
HEAVY = 3  # degrees of freedom, at most, where trainings may vary far more for some classes than for others
FOUND = 0.05  # false discovery rate below which a class is said to differ


@dataclass
class Losses:
    """What frozen copies lose at cut `n`, class by class; points of accuracy, errors are standard errors.

    rows         of `estimate`, with the class's `group`; empty if there is nothing to compare
    mean         loss of all classes
    spread       standard deviation between the true losses of classes, 0 where none is seen
    replicates   how often the training was repeated: over a "split", "division" or "seed", and how many
    without      runs that have no numbers per class
    """

    rows: Any = field(default_factory=pd.DataFrame)
    n: int = 0
    mean: float = math.nan
    spread: float = 0.0
    replicates: tuple[str, int] = ("split", 0)
    without: int = 0


def losses(block: Block) -> Losses:
    """Base - AnB at the deepest cut that has both, on the images that the block's metric is measured on."""
    good = block.good
    paired = differences(good, "AnB", "base")
    if paired.empty:
        return Losses()
    n = int(paired["n"].to_numpy().max())
    both: Any = good.loc[(good["series"] == "base") | ((good["series"] == "AnB") & (good["n"] == n))]
    both = both.merge(paired.loc[paired["n"] == n, PAIRED_BY], on=PAIRED_BY)
    if block.directory is None:
        return Losses(n=n, without=len(both))
    counted, without = counts(block.directory, both, SETS[block.metric])
    replicate = next((name for name in VARIED if both[name].nunique() > 1), "split")
    cells = paired_shares(counted, both.assign(replicate=both[replicate]))
    if cells.empty:
        return Losses(n=n, without=without)
    try:
        seen = bits(block.directory, both.assign(replicate=both[replicate], choice=both["series"]), SETS[block.metric])
        of_images = loss_by_images(seen)
    except BadInput:
        of_images = math.nan
    rows, mean, spread = estimate(cells, of_images)
    rows["group"] = rows["class"].map(lambda name: block.groups.get(name)).astype("string")
    return Losses(rows, n, mean, spread, (replicate, len(set(cells["replicate"]))), without)


def counts(directory: Path, runs: pd.DataFrame, image_set: str) -> tuple[pd.DataFrame, int]:
    """Per `run` and `class` `images` and `correct`, from records and halves; how many runs have no such counts."""
    halves: dict[str, tuple[str, ...]] = {}
    parts, without = [pd.DataFrame(columns=["run", "class", "images", "correct"])], 0
    asked = runs.reindex(columns=["run", "target_half", "task"]).fillna({"task": 0})
    for run, half, task in asked.itertuples(index=False):
        try:
            record = of_task(states.read_record(specs.folder(directory, run)) or {}, int(task))
            per_class = (record.get("per_class") or {}).get(image_set)
            if half not in halves:
                halves[half] = specs.load_half(directory, half).labels
            images, correct = (per_class or {}).get("images", ()), (per_class or {}).get("correct", ())
        except (files.Damaged, BadInput):
            images, correct = (), ()
        if images and len(images) == len(correct) == len(halves[half]):
            parts.append(pd.DataFrame({"run": run, "class": halves[half], "images": images, "correct": correct}))
        else:
            without += 1
    return pd.concat(parts, ignore_index=True), without


def paired_shares(counted: Any, runs: Any) -> pd.DataFrame:
    """One row per `replicate`, `target_half` and `class`: `images`, and the shares that `base` and `copy` have right.

    counted: of `counts`. runs: bases and copies, with `replicate`. Bases and copies of the same replicate, target and
    seed are paired; the means over copies of several sources, and over seeds, are shares of the same images.
    """
    key = [*PAIRED_BY, "class"]
    counted = counted.loc[counted["images"] > 0].merge(runs[["run", "series", *PAIRED_BY]], on="run")
    counted = counted.assign(share=(counted["correct"] / counted["images"]).astype(float))
    sides: Any = counted.groupby([*key, "series"])["share"].mean().unstack("series")
    sides = sides.reindex(columns=["base", "AnB"]).dropna().rename(columns={"AnB": "copy"})
    sides = sides.join(counted.groupby(key)["images"].max().astype(int))
    key.remove("seed")
    return sides.groupby(key).agg({"images": "max", "base": "mean", "copy": "mean"}).reset_index()


def loss_by_images(seen: Bits) -> float:
    """The variance of a loss over the images of a class, mean over classes, in accuracy squared; NaN if not known.

    seen: of bases and copies (choices `base` and `AnB`). From pairs of different replicates (`images.covariance`), so
    that what is by chance in one training is no part of it: known where all runs have bits, and trainings were
    repeated.
    """
    runs: Any = seen.runs
    if seen.without or runs["replicate"].nunique() < 2 or set(runs["choice"]) != {"base", "AnB"}:
        return math.nan
    over = covariance(seen, within_classes=True).estimate.loc[["base", "AnB"], ["base", "AnB"]].to_numpy(float)
    return float(over[0, 0] - 2 * over[0, 1] + over[1, 1])


def estimate(cells: Any, of_images: float = math.nan) -> tuple[pd.DataFrame, float, float]:
    """One row per class, the greatest estimate first; the mean loss of all; the spread between true losses.

    cells: of `paired_shares`. of_images: of `loss_by_images`. It is below what `unpaired` says by some share; half of
    that share is taken off. All of it makes classes look different that are not (`docs/where-to-cut.md`).

    class, images    in one evaluation: an image counts once, however many networks saw it
    networks         replicates, over which everything is averaged first
    base, copy       share of its images that are right
    loss             base - copy
    apart, error     loss less the mean of the halves that the class was in, and its error (`docs/where-to-cut.md`)
    shrunk, shrunk_error   mean of all + apart, moved towards 0 (`shrink`)
    q                false discovery rate (Benjamini and Hochberg) of "loses as much as the mean of all classes"
    """
    cells = cells.assign(loss=100 * (cells["base"] - cells["copy"]))
    by_half = cells.groupby(["replicate", "target_half"])["loss"]
    cells["apart"], cells["size"] = cells["loss"] - by_half.transform("mean"), by_half.transform("size")
    cells = cells.loc[cells["size"] > 1]
    once = cells.groupby(["class", "replicate"])[["base", "copy", "loss", "apart"]].mean()
    grouped: Any = once.groupby("class")
    rows: Any = grouped.mean()
    rows["networks"] = grouped.size()
    rows["images"] = cells.groupby("class")["images"].max()
    free = 1 - float((1 / cells["size"]).mean())  # share of the variance that taking off the half's mean leaves
    mean = float(rows["loss"].mean())
    images, number = rows["images"].to_numpy(float), rows["networks"].to_numpy()
    by_images = unpaired(rows, mean)
    if not math.isnan(of_images):
        by_images *= (1 + np.clip(1e4 * of_images / np.mean(by_images * images), 0, 1)) / 2
    by_training, df = between_trainings(grouped["apart"].var().to_numpy() / free, number, by_images, images)
    values, found = rows["apart"].to_numpy() / math.sqrt(free), np.zeros(len(rows), bool)
    again, variance = number.max() > 1, by_images + by_training
    freedom = variance**2 / (by_training**2 / df) if again else np.full(len(rows), (len(rows) - 1) * free)
    freedom = np.where(number < FEWEST, np.minimum(freedom, HEAVY), freedom)
    while True:
        variance = variance if again else from_spread(values, by_images, ~found)
        p = np.maximum(2 * stdtr(freedom, -np.abs(values) / np.sqrt(variance)), lattice(values, variance, images, mean))
        rows["q"] = false_discovery_control(p)
        more = found | (rows["q"].to_numpy() < FOUND)
        if again or (more == found).all():
            break
        found = more
    rows["error"] = np.sqrt(variance if again else from_spread(values, by_images, ~found, itself=True))
    moved, rows["shrunk_error"], _, spread = shrink(rows["apart"].to_numpy(), rows["error"].to_numpy())
    rows["shrunk"] = mean + moved
    rows = rows.sort_values(["shrunk", "loss"], ascending=False).reset_index()
    return rows, mean, spread


def unpaired(rows: Any, mean: float) -> np.ndarray:
    """Variance [classes] of a loss over images, in points squared, as if base and copy saw different images: a bound.

    At most, since what a copy has right its base has right more often than not. Under "loses as much as all", so that
    a class does not look surer for being off: shares are half the mean loss above and below the middle of both, to
    which one image of the mean of all classes is added.
    """
    images, half = rows["images"].to_numpy(float), mean / 200
    middle = (rows["base"] + rows["copy"]).to_numpy() / 2
    middle = (middle * images + middle.mean()) / (images + 1)
    base, copy = (np.clip(middle + off, 0, 1) for off in (half, -half))
    variance = (base * (1 - base) + copy * (1 - copy)) / images
    return 1e4 * np.maximum(variance, 1 / (12 * images**2))  # no surer than shares of so many images can tell


def between_trainings(
    variance: np.ndarray, number: np.ndarray, by_images: np.ndarray, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Variance of a loss averaged over trainings, and its degrees of freedom, [classes]; 0 if nothing was repeated.

    variance: between `number` replicates, NaN for one. What is usual for a class is by_images (a + b images), by least
    squares over classes; the ratios to it are squeezed towards each other (`contrasts.prior`).
    """
    again = number > 1
    if not again.any():
        return np.zeros(len(number)), np.full(len(number), math.inf)
    df = number - 1.0
    seen = np.where(again, variance, 0)
    weights = np.sqrt(df / images)
    (a, b), _ = nnls(np.column_stack([weights, weights * images]), weights * seen / by_images)
    usual = by_images * np.maximum(a + b * images, LEAST)
    ratio = np.maximum(seen / usual, LEAST)
    d0, s02 = prior(ratio[again], df[again])
    squeezed = np.where(again, (d0 * s02 + df * ratio) / (d0 + df), s02) if math.isfinite(d0) else s02
    return squeezed * usual / number, np.minimum(d0 + df, df.sum())


def from_spread(values: np.ndarray, by_images: np.ndarray, kept: np.ndarray, itself: bool = False) -> np.ndarray:
    """Variance of values [classes], by images and by training together, where no training was repeated.

    by_images times what the squares of the classes that are `kept` say; of the others only unless `itself`, so that no
    class hides behind itself.
    """
    squares, left = np.where(kept, values**2 / by_images, 0), kept & (not itself)
    share = (squares.sum() - squares * left) / np.maximum(kept.sum() - left, 1)
    return np.maximum(share, LEAST) * by_images


def lattice(values: np.ndarray, variance: np.ndarray, images: np.ndarray, mean: float) -> np.ndarray:
    """Two-sided p values [classes] for few images: a loss of whole images, the difference of two Poisson numbers.

    Their mean is that of all classes (points), their variance that of the values, or the least that they can have.
    """
    expected = images * mean / 100
    total = np.maximum(variance * images**2 / 1e4, np.abs(expected) + LEAST)
    up, down = (total + expected) / 2, (total - expected) / 2
    seen = expected + values * images / 100
    high, low = skellam.sf(np.ceil(seen - 1e-6) - 1, up, down), skellam.cdf(np.floor(seen + 1e-6), up, down)
    return np.clip(2 * np.minimum(high, low), 0, 1)


def shrink(values: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Values [k] moved towards their weighted mean, their new errors, that mean, tau: empirical Bayes, normal.

    With tau2 the variance between true values (DerSimonian and Laird, Control. Clin. Trials 7, 1986), a value keeps
    the share tau2 / (tau2 + error2) of its distance. Source: Efron and Morris, JASA 70 (1975).
    """
    weights = errors**-2.0
    mean = float(weights @ values / weights.sum())
    scale = weights.sum() - (weights**2).sum() / weights.sum()
    beyond = float(weights @ (values - mean) ** 2) - (len(values) - 1)
    tau2 = max(0.0, beyond / scale) if scale > 0 else 0.0
    weights = 1 / (tau2 + errors**2)
    mean = float(weights @ values / weights.sum())
    share = tau2 / (tau2 + errors**2)
    return mean + share * (values - mean), np.sqrt(share) * errors, mean, math.sqrt(tau2)


def by_group(rows: pd.DataFrame) -> pd.DataFrame:
    """Per `group` how many `classes`, their mean `loss` and its standard `error` between classes, NaN for one class."""
    grouped = rows.dropna(subset=["group"]).groupby("group")["loss"]
    return grouped.agg(
        classes="size", loss="mean", error=lambda group: group.std() / math.sqrt(len(group))
    ).reset_index()
