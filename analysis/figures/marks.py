"""Networks as marks: filled if they count, hollow if they failed, a cross without a result; and the legend for it."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.figures.style import GREY, counted, look
from yosinski.errors import BadInput

FAILED = ("stuck", "diverged")


def subject(runs: pd.DataFrame) -> str:
    """What was trained on what, for a title: "caffenet on imagenet (published)"."""
    network = ", ".join(runs["network"].dropna().unique())
    return f"{network} on {trained_on(runs)}{' (published)' if 'paper' in set(runs['origin']) else ''}"


def trained_on(runs: pd.DataFrame, brief: bool = False) -> str:
    """The names of the runs' data sets; `brief`: of those that lie somewhere the last folder alone, for an axis."""
    names = runs["data"].dropna().unique()
    return ", ".join(name.rpartition("/")[2] if brief else name for name in names) or "unknown data"


def edged(**dot: Any) -> Any:
    """A filled marker with a thin white edge, so that overlapping ones can be told apart."""
    return {"linestyle": "", "markersize": 6, "markeredgecolor": "white", "markeredgewidth": 0.4, **dot}


def dressed(runs: pd.DataFrame, pale: bool) -> pd.DataFrame:
    """The runs with the `colour` and `marker` of their series."""
    looks = {series: look(series, pale) for series in runs["series"].unique()}
    colour = [looks[series].colour for series in runs["series"]]
    return runs.assign(colour=colour, marker=[looks[series].marker for series in runs["series"]])


def span(axes: Axes, runs: pd.DataFrame) -> tuple[float, float]:
    """Make the axis span the runs that count, above a strip for what failed far away or has no result.

    Returns the strip's upper edge and its height. BadInput if none of the runs counts.
    """
    good, failed = runs.loc[runs["counts"]], runs.loc[runs["state"].isin(FAILED)]
    if good.empty:
        raise BadInput("none of the copies that this figure shows is done yet")
    lowest, highest = good["value"].min(), good["value"].max()
    room = max(highest - lowest, 0.02)
    floor = lowest - 0.08 * room
    strip = 0.16 * room if len(failed) or len(good) < len(runs) else 0.0
    axes.set_ylim(floor - strip, highest + 0.08 * room)
    return floor, strip


def networks(axes: Axes, runs: pd.DataFrame, floor: float = -np.inf, strip: float = 0.0) -> None:
    """Every run at its `x` and `value`, with its `colour` and `marker`; floor and strip are those of `span`.

    Without a strip, runs without a result are not drawn. A white dot marks a log that is not whole, a ring a copy whose
    base has changed since.
    """
    kind: Any
    for kind, group in runs.groupby(["colour", "marker"], sort=False):
        colour, marker = kind
        good, failed = group.loc[group["counts"]], group.loc[group["state"].isin(FAILED)]
        axes.plot(good["x"], good["value"], **edged(marker=marker, color=colour), zorder=3)
        height = failed["value"].where(failed["value"] >= floor, floor - 0.25 * strip)
        hollow: Any = {"linestyle": "", "marker": marker, "color": colour, "markersize": 6, "mfc": "white"}
        axes.plot(failed["x"], height, **hollow, zorder=3)
    absent = runs.loc[~runs["counts"] & ~runs["state"].isin(FAILED)]
    if strip:
        place = np.full(len(absent), floor - 0.7 * strip)
        axes.plot(absent["x"], place, "x", color=GREY, markersize=5.5, zorder=3)
    good = runs.loc[runs["counts"]]
    part, stale = good.loc[good["lost"].fillna(0) > 0], good.loc[good["stale"]]
    axes.plot(part["x"], part["value"], ".", color="white", markersize=3.5, zorder=4)
    axes.plot(stale["x"], stale["value"], **_RING, zorder=4)


def notes(runs: pd.DataFrame, floor: float = -np.inf) -> list[Line2D]:
    """Legend entries for whatever is not simply a filled marker."""
    grey: Any = {"linestyle": "", "color": GREY, "markersize": 6}
    good, failed = runs.loc[runs["counts"]], runs.loc[runs["state"].isin(FAILED)]
    entries = []
    if len(failed):
        far = "\n(below the axis: at its lower edge)" if (failed["value"].fillna(0) < floor).any() else ""
        label = f"{counted(failed)}: not in the means{far}"
        entries.append(Line2D([], [], marker="s", mfc="white", **grey, label=label))
    without = runs.loc[~runs["counts"] & ~runs["state"].isin(FAILED)]
    if len(without):
        absent = without.assign(state=without["state"].replace("done", "done without it"))
        entries.append(Line2D([], [], marker="x", **grey, label=f"no result: {counted(absent)}"))
    unpaired = good.loc[~good["target_half"].isin(good.loc[good["series"] == "base", "target_half"])]
    if len(unpaired):
        entries.append(Line2D([], [], linestyle="", label=f"{len(unpaired)} not in the means: no base of their target"))
    if part := len(good.loc[good["lost"].fillna(0) > 0]):
        dot: Any = {"linestyle": "", "marker": "o", "markersize": 4.5, "mfc": "white", "mec": GREY, "mew": 2.0}
        words = f"{part} whose log is lost in part:\nscored by what is left"
        entries.append(Line2D([], [], **dot, label=words))
    if stale := good["stale"].sum():
        entries.append(Line2D([], [], **_RING, label=f"{stale} stale: base changed since"))
    return entries


_RING: Any = {"linestyle": "", "marker": "o", "color": "0.1", "mfc": "none", "markersize": 11, "mew": 0.8}
