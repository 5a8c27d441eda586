"""The paper's Figure 2 for any number of cuts: every network as a point, and the means, taken apart."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.frame import listed
from analysis.paired import FEWEST, METRICS, compare, level, one_row_per_run
from analysis.style import GREY, counted, in_order, look, style

SPREAD = 0.64  # how wide the series of one cut stand side by side
# The parts into which the paper takes the means apart: above, below, whose colour, hatch for grey print, and meaning.
PARTS = (
    ("base", ("BnB",), "BnB", "////", "drop: fragile co-adaptation\n(BnB below base)"),
    ("BnB", ("AnB",), "AnB", "\\\\\\\\", "drop: representation specificity\n(AnB below BnB)"),
    ("AnB+", ("BnB+", "base"), "AnB+", "....", "gain: better generalisation\n(AnB+ above BnB+ and base)"),
)


def draw(frame: pd.DataFrame, metric: str = "test_top1") -> tuple[Figure, pd.DataFrame]:
    """Accuracy of all copies over the cut n: points above; below, means as paired differences from the base.

    frame: of `analysis.frame`. metric: `test_top1`, `select_top1` (of the last evaluation) or `unseen_top1`.
    Returns the figure and the numbers behind its lower panel, one row per series and n as `paired.compare` has them,
    and `drawn`: the mean of the bases plus the difference, which is where the line passes. BadInput: an empty frame,
    nothing done, no base, or runs that must not be averaged.
    Source: Yosinski, Clune, Bengio and Lipson, NIPS 2014, Figure 2.
    """
    runs = one_row_per_run(frame, metric)
    numbers = compare(runs)
    bases = level(runs)
    numbers["drawn"] = bases + numbers["difference"]
    order = in_order(numbers["series"])
    numbers = numbers.sort_values(["series", "n"], key=lambda c: c.map(order.index) if c.name == "series" else c)
    numbers = numbers.reset_index(drop=True)
    beside = _offsets(order)

    with style():
        figure = Figure(figsize=(9.4, 7.2))
        top, bottom = figure.subplots(2, 1, sharex=True)
        networks = _draw_points(top, runs, bases, beside)
        parts = _draw_means(bottom, numbers, bases, beside)
        _label(top, bottom, runs, numbers, bases, METRICS[metric])
        for axes, entries in ((top, networks), (bottom, parts)):
            axes.legend(handles=entries, loc="upper left", bbox_to_anchor=(1.14, 1.0), borderaxespad=0.0)
    return figure, numbers


def _offsets(order: list[str]) -> dict[str, float]:
    """How far left or right of its cut each series of copies stands."""
    copies = [series for series in order if series != "base"]
    places = np.linspace(-SPREAD / 2, SPREAD / 2, len(copies)) if len(copies) > 1 else np.zeros(len(copies))
    return {"base": 0.0, **dict(zip(copies, places.tolist(), strict=True))}


def _draw_points(axes: Axes, runs: pd.DataFrame, bases: float, beside: dict[str, float]) -> list[Line2D]:
    """Every network; what has no place in the means is marked as such. Returns the legend's entries."""
    placed = runs.dropna(subset=["series", "n"]).sort_values(["split", "target", "seed", "run"])
    cell = placed.groupby(["series", "n"])
    within = (cell.cumcount() + 0.5) / cell["run"].transform("size") - 0.5  # side by side, lest they hide each other
    centre = placed["n"].astype(float) + [beside[series] for series in placed["series"]]
    placed = placed.assign(x=centre + 0.75 * SPREAD / len(beside) * within)
    good = placed.loc[placed["counts"]]
    failed = placed.loc[placed["state"].isin(["stuck", "diverged"])]
    absent = placed.loc[~placed["counts"] & ~placed["state"].isin(["stuck", "diverged"])]
    stale = good.loc[good["stale"]]

    # The axis spans the good networks; a strip below them takes what failed far away or has no value at all.
    lowest, highest = good["value"].min(), good["value"].max()
    room = max(highest - lowest, 0.02)
    floor = lowest - 0.08 * room
    strip = 0.16 * room if len(failed) + len(absent) else 0.0
    axes.set_ylim(floor - strip, highest + 0.08 * room)

    axes.axhline(bases, color=look("base").colour, linestyle=look("base").line, linewidth=0.9, zorder=1)
    entries = []
    for series in beside:
        dot: Any = {"linestyle": "", "marker": look(series).marker, "color": look(series).colour, "markersize": 6}
        filled: Any = {**dot, "markeredgecolor": "white", "markeredgewidth": 0.4}
        its = good.loc[good["series"] == series]
        axes.plot(its["x"], its["value"], **filled, zorder=3)
        its = failed.loc[failed["series"] == series]
        height = its["value"].where(its["value"] >= floor, floor - 0.25 * strip)
        axes.plot(its["x"], height, **dot, mfc="white", zorder=3)
        entries.append(Line2D([], [], **filled, label=f"{series}  {look(series).meaning}"))
    axes.plot(absent["x"], np.full(len(absent), floor - 0.7 * strip), "x", color=GREY, markersize=5.5, zorder=3)
    ring: Any = {"linestyle": "", "marker": "o", "color": "0.1", "mfc": "none", "markersize": 11, "mew": 0.8}
    axes.plot(stale["x"], stale["value"], **ring, zorder=4)

    grey: Any = {"linestyle": "", "color": GREY, "markersize": 6}
    if len(failed):
        far = "\n(below the axis: at its lower edge)" if (failed["value"].fillna(0) < floor).any() else ""
        label = f"{counted(failed)}: not in the means{far}"
        entries.append(Line2D([], [], marker="s", mfc="white", **grey, label=label))
    without = runs.loc[~runs["counts"] & ~runs.index.isin(failed.index)]
    if len(without):
        told = without.assign(state=without["state"].replace("done", "done without it"))
        entries.append(Line2D([], [], marker="x", **grey, label=f"no result: {counted(told)}"))
    unpaired = good.loc[~good["target_half"].isin(good.loc[good["series"] == "base", "target_half"])]
    if len(unpaired):
        entries.append(Line2D([], [], linestyle="", label=f"{len(unpaired)} not in the means: no base of their target"))
    if len(stale):
        entries.append(Line2D([], [], **ring, label=f"{len(stale)} stale: base changed since"))
    return entries


def _draw_means(axes: Axes, numbers: pd.DataFrame, bases: float, beside: dict[str, float]) -> list[Any]:
    """Lines through the means with the paper's parts shaded. Returns the legend's entries for the parts."""
    deepest = max([1, *numbers["n"]])
    fine = np.linspace(0, deepest, 100 * deepest + 1)
    heights = {"base": np.full(len(fine), bases)}
    axes.plot(0, bases, look("base").marker, color=look("base").colour, markersize=5.5, zorder=3)
    axes.axhline(bases, color=look("base").colour, linestyle=look("base").line, linewidth=0.9, zorder=1)
    for series in [name for name in beside if name != "base"]:
        its = numbers.loc[numbers["series"] == series]
        # A copy cut at 0 is a base, where every line starts; it breaks at a cut of which there is no result.
        n, accuracy = [0, *its["n"]], [bases, *its["drawn"]]
        line: Any = {"color": look(series).colour, "linestyle": look(series).line, "marker": look(series).marker}
        edge: Any = {"markeredgecolor": "white", "markeredgewidth": 0.4}
        axes.plot(n, accuracy, **line, **edge, markersize=5.5, linewidth=1.6, markevery=slice(1, None), zorder=3)
        heights[series] = np.interp(fine, n, accuracy, right=np.nan)
    sure = numbers.dropna(subset=["low"])
    for series, n, low, high in zip(sure["series"], sure["n"], sure["low"], sure["high"], strict=True):
        x = n + beside[series] / 6
        axes.plot([x, x], [bases + low, bases + high], color=look(series).colour, linewidth=1.2, zorder=2)

    entries: list[Any] = []
    for above, below, whose, hatch, words in PARTS:
        if {above, *below} <= heights.keys():
            high, low = heights[above], np.max([heights[name] for name in below], axis=0)
            colour = look(whose).colour
            shade: Any = {"facecolor": (colour, 0.2), "edgecolor": (colour, 0.5), "hatch": hatch, "linewidth": 0}
            axes.fill_between(fine, high, low, where=high >= low, **shade)
            entries.append(Patch(**shade, label=words))
    if len(sure):
        entries.append(Line2D([], [], color=GREY, linewidth=1.2, label="95 % t interval over splits"))
    return entries


def _label(top: Axes, bottom: Axes, runs: pd.DataFrame, numbers: pd.DataFrame, bases: float, images: str) -> None:
    """Say what was measured, on what, how often, and where the cuts are."""
    data = ", ".join(runs["data"].dropna().unique()) or "unknown data"
    network = ", ".join(runs["network"].dropna().unique())
    per_class = runs["examples_per_class"].dropna().unique()
    few = f", {per_class[0]} images per class" if len(per_class) else ""
    arithmetic = (runs["dtype"] + " on " + runs["device"]).dropna().value_counts().sort_index()
    mixed = ", ".join(f"{count} {kind}" for kind, count in arithmetic.items()) if len(arithmetic) > 1 else ""
    splits = listed(pd.Series(runs["split"].dropna()), 6)
    top.set_title(f"{network} on {data}{few}; {splits}" + (f"\nmixed arithmetic: {mixed}" if mixed else ""))
    top.set_ylabel(f"Top-1 accuracy\n({data}, {images} images)")

    there = numbers.loc[numbers["splits"] > 0]
    copies = there.loc[there["series"] != "base"]
    per_row = (copies if len(copies) else there)["splits"]
    least, most = per_row.min(), per_row.max()
    many = f"{most} split{'s' if most != 1 else ''}" if least == most else f"{least} to {most} splits"
    none = "no intervals" if most < FEWEST else f"no intervals below {FEWEST}" if least < FEWEST else ""
    bottom.set_title(f"Means paired by target ({many}{': ' * bool(none)}{none})")
    bottom.set_ylabel(f"Mean top-1 accuracy\n({data}, {images} images)")

    def in_points(accuracy: Any) -> Any:
        return 100 * (accuracy - bases)

    def from_points(points: Any) -> Any:
        return bases + points / 100

    points = bottom.secondary_yaxis("right", functions=(in_points, from_points))
    points.set_ylabel("Points from base (same target)")

    cuts = {0: "base", **numbers.loc[numbers["n"] > 0].set_index("n")["cut"].to_dict()}
    bottom.set_xticks(list(cuts), [f"{n}\n{name}" for n, name in cuts.items()])
    bottom.set_xlim(-0.5, max(cuts) + 0.5)
    bottom.set_xlabel("Cut n: the first n layers come from a base")
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
