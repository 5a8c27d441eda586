"""The figures of fused and joint networks: accuracy over n with all controls, and what it is made of."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from analysis.figures import marks
from analysis.figures.style import COLOURS, CONTROLS, GREY, style
from analysis.frame import distinct
from analysis.paired import FEWEST, METRICS
from analysis.sharing.contrasts import (
    BASE,
    BRANCH,
    FUSE,
    Kind,
    check_bases,
    contrasts,
    described,
    explained,
    runs_of,
    scored_in,
)

HATCHES = ("////", "\\\\\\\\", "....")
WIDTH = 0.5  # of the parts at a lone n
SPREAD = 0.5  # how wide the controls of one n stand side by side


def fuse(frame: pd.DataFrame, metric: str | None = None) -> tuple[Figure, pd.DataFrame]:
    """Accuracy of fused networks over n with their controls; below, the gain over x alone, taken apart.

    Beside it what the networks make of their inputs: accuracy with one exchanged on test images, and that of the
    additive part (EMAP). Arguments, result and errors as of `branch`.
    """
    return _draw(frame, FUSE, metric)


def branch(frame: pd.DataFrame, metric: str | None = None) -> tuple[Figure, pd.DataFrame]:
    """Accuracy of joint networks over n with their controls; below, the gain over the task alone, taken apart.

    frame: of `analysis.frame`. metric: a column of `paired.METRICS`, by default `test_top1`. Parameters and FLOPs,
    which change with n, stand below the axis. Returns the figure and the contrasts, one row per contrast and n.
    BadInput: no such runs, no base, or runs that must not be averaged.
    """
    return _draw(frame, BRANCH, metric)


def _draw(frame: pd.DataFrame, kind: Kind, metric: str | None) -> tuple[Figure, pd.DataFrame]:
    metric = metric or "test_top1"
    runs: Any = runs_of(frame, kind, metric)
    check_bases(runs)
    runs = runs.loc[runs["target"].isin(explained(runs))]
    kind = scored_in(runs, kind)
    rows = contrasts(runs, kind)
    names = [name for name in kind.controls if (runs["series"] == name).any()]
    inputs = kind is FUSE and runs["exchanged_top1"].notna().any()
    with style():
        figure = Figure(figsize=(18.4 if inputs else 9.4, 7.6))
        grid: Any = figure.subplots(2, 2 if inputs else 1, sharex=True, squeeze=False)
        top, bottom = grid[:, 0]
        _beside(top, _points(top, runs, names, kind))
        _beside(bottom, _parts(bottom, rows, kind))
        _label(top, bottom, runs, kind, metric)
        if inputs:
            for axes, what in zip(grid[:, 1], ("exchanged", "additive"), strict=True):
                _beside(axes, _inputs(axes, runs, what))
    return figure, rows


def _beside(axes: Axes, entries: list[Any]) -> None:
    axes.legend(handles=entries, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0)


def _points(axes: Axes, runs: Any, names: list[str], kind: Kind) -> list[Any]:
    """Every network as a point, and lines through the means."""
    good: Any = runs.loc[runs["counts"]]
    several = good.loc[good["series"] != BASE].groupby(["series", "n"]).size().gt(1).any()
    spread = SPREAD if several else 0.0  # a lone point stands on its line
    beside = dict(zip(names, np.linspace(-spread / 2, spread / 2, len(names)).tolist(), strict=True))
    for name in names:
        look, own = CONTROLS[name], good.loc[good["series"] == name]
        if name == BASE:
            axes.axhline(own["value"].mean(), color=look.colour, linestyle=look.line, linewidth=0.9, zorder=1)
            continue
        line: Any = own.groupby("n")["value"].mean()
        axes.plot(line.index, line.to_numpy(), color=look.colour, linestyle=look.line, linewidth=1.4, zorder=2)
    colours = runs["series"].map({name: CONTROLS[name].colour for name in names})
    placed = runs.assign(
        x=runs["n"].astype(float) + runs["series"].map({**beside, BASE: 0.0}).astype(float),
        colour=colours,
        marker=runs["series"].map({name: CONTROLS[name].marker for name in names}),
    )
    floor, strip = marks.span(axes, placed)
    marks.networks(axes, placed, floor, strip)
    entries = [
        Line2D(
            [],
            [],
            color=CONTROLS[name].colour,
            marker=CONTROLS[name].marker,
            linestyle=CONTROLS[name].line,
            label=label,
        )
        for name, label in zip(names, described(kind, names), strict=True)
    ]
    return entries + marks.notes(placed, floor)


def _parts(axes: Axes, rows: Any, kind: Kind) -> list[Any]:
    """The contrasts that add up to the total, shaded one on another in points from the base, with intervals."""
    axes.axhline(0, color=CONTROLS[BASE].colour, linestyle="--", linewidth=0.9, zorder=1)
    every = [contrast.name for contrast in kind.contrasts]  # of which some may have no runs
    table: Any = rows.pivot(index="n", columns="contrast", values="points").reindex(columns=every)
    entries, below = [], pd.Series(0.0, table.index)
    chain = [contrast for contrast in kind.contrasts if contrast.name in kind.chain]
    for contrast, hatch in zip(chain, HATCHES, strict=False):
        if table[contrast.name].isna().all():
            continue
        above = below + table[contrast.name]
        colour = CONTROLS[contrast.above].colour
        shade: Any = {"facecolor": (colour, 0.2), "edgecolor": (colour, 0.6), "hatch": hatch, "linewidth": 0}
        ends: Any = pd.DataFrame({"below": below, "above": above}, dtype=float).dropna()
        if len(ends) == 1:  # as `decide` leaves controls
            axes.bar(ends.index, ends["above"] - ends["below"], WIDTH, ends["below"], **shade)
        else:
            axes.fill_between(ends.index.astype(float), ends["below"], ends["above"], **shade)
        entries.append(Patch(**shade, label=f"{contrast.name}: {contrast.meaning}"))
        below = above
    shown = [kind.total, *(contrast for contrast in kind.contrasts if contrast.name in ("D", "N"))]
    for contrast in shown:
        own, look = rows.loc[rows["contrast"] == contrast.name].dropna(subset=["points"]), CONTROLS[contrast.above]
        if contrast.name == "D":  # D is less xx, and is drawn from the base like the others
            own = own.assign(points=own["points"] + own["n"].map(table["K"]), low=np.nan, high=np.nan)
        if own.empty:
            continue
        line: Any = {"color": look.colour, "linestyle": look.line, "marker": look.marker, "markersize": 5}
        axes.plot(own["n"], own["points"], **line, linewidth=1.6, zorder=3)
        for row in own.dropna(subset=["low"]).itertuples():
            axes.plot([row.n, row.n], [row.low, row.high], color=look.colour, linewidth=1.2, zorder=3)  # pyright: ignore
        words = "D + K: another example's y" if contrast.name == "D" else f"{contrast.name}: {contrast.meaning}"
        entries.append(Line2D([], [], **line, label=words))
    if rows["low"].notna().any():
        entries.append(Line2D([], [], color=GREY, linewidth=1.2, label="95 % t interval"))
    return entries


def _label(top: Axes, bottom: Axes, runs: Any, kind: Kind, metric: str) -> None:
    """Say what was measured, on what, how often, where, and at what cost."""
    shared, tasks = runs.loc[runs["series"] != BASE], sorted(runs["target"].dropna().unique())
    top.set_title(f"{marks.subject(runs)}: {kind.question}; {distinct(runs['split'], 3)}")
    replicates, number = runs["replicates"].iloc[0], runs.loc[runs["counts"], "replicate"].nunique()
    few = ": no intervals" if number < FEWEST else ""
    bottom.set_title(f"Differences paired by target ({number} {replicates}{'s' * (number != 1)}{few})")
    of_task = "" if kind is FUSE else f" on {' and '.join(tasks)}"
    top.set_ylabel(f"Top-1 accuracy{of_task}\n({METRICS[metric]})")
    bottom.set_ylabel("Points from the base\n(same target)")
    costs = runs.loc[runs["counts"] & (runs["series"] == "other")].groupby("n")[["parameters", "flops"]].first()
    labels = {0: "input" if kind is FUSE else "apart"} | dict(shared.loc[shared["n"] > 0].groupby("n")["cut"].first())
    large, ticks = EngFormatter(), []
    for n, name in labels.items():
        lines = [str(n), str(name)]
        if n in costs.index:
            lines += [large(float(f"{costs.loc[n, name]:.3g}")) for name in costs]
        ticks.append("\n".join(lines))
    bottom.set_xticks(list(labels), ticks)
    bottom.set_xlim(-0.5, max(labels) + 0.5)
    where = "inputs meet after" if kind is FUSE else "tasks share"
    bottom.set_xlabel(f"n: {where} the first n layers; parameters, and FLOPs of the training")
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)


def _inputs(axes: Axes, runs: pd.DataFrame, what: str) -> list[Line2D]:
    """Accuracies on test images: whole, and with an input exchanged; or of the additive part. Returns the legend."""
    own: Any = runs.loc[runs["counts"] & (runs["series"] == "other")]
    columns = {
        "exchanged": {
            "test_top1": ("both inputs", COLOURS[1], "v"),
            "exchanged_top1": ("y exchanged", COLOURS[2], "<"),
            "exchanged_own_top1": ("x exchanged", COLOURS[4], ">"),
        },
        "additive": {"full_top1": ("full", COLOURS[1], "v"), "additive_top1": ("additive part", COLOURS[5], "P")},
    }[what]
    lines = []
    for column, (label, colour, marker) in columns.items():
        line = own.groupby("n")[column].mean()
        lines += axes.plot(line.index, line.to_numpy(), color=colour, marker=marker, markersize=5, label=label)
    axes.set_ylabel("Top-1 accuracy\n(test images)")
    titles = {
        "exchanged": "One input exchanged for another example's",
        "additive": f"EMAP, from all pairs of {distinct(own['emap_examples'].dropna())} examples' inputs",
    }
    axes.set_title(titles[what])
    axes.spines[["top", "right"]].set_visible(False)
    if what == "additive":
        axes.set_xlabel("n")
    return lines
