"""The figures of the report on where to cut."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.advice.answer import ENOUGH, Answer
from analysis.advice.contrasts import CONTRASTS
from analysis.figures.style import GREY, drawing_order, look, style
from analysis.paired import FEWEST

COSTS = {  # column of the frame -> what it is called, and its unit
    "trained_parameters": ("trained parameters (million)", 1e6),
    "flops": ("training FLOPs (1e12)", 1e12),
    "seconds": ("seconds", 1.0),
}
_OF_CONTRAST = {"C": "BnB", "S": "AnB", "G": "AnB+", "T": "BnB+"}  # whose colour


def choices(answer: Answer) -> Figure:
    """Every choice: its difference from the base with its 95 % interval, and P(within).

    Open markers: choices on fewer than three replicates, whose errors are those of the others.
    """
    rows: Any = answer.rows.iloc[::-1].reset_index(drop=True)
    with style():
        figure = Figure(figsize=(8.4, 0.8 + 0.27 * len(rows)))
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
        for k, row in enumerate(rows.itertuples()):
            choice: Any = row
            own = look(choice.series)
            few = choice.splits < FEWEST
            left.plot(choice.points, k, own.marker, color=own.colour, mfc="white" if few else own.colour)
            left.hlines(k, choice.low, choice.high, color=own.colour)
            right.barh(k, choice.within, color=own.colour)
        left.axvline(0, color=GREY, linewidth=0.8, linestyle="--")
        left.set_yticks(range(len(rows)), rows["choice"])
        left.set_xlabel(f"Points from {answer.reference or 'the mean'}, with 95 % intervals")
        if (rows["splits"] < FEWEST).any():
            left.set_title(f"Open: on fewer than {FEWEST} replicates")
        right.axvline(ENOUGH, color=GREY, linewidth=0.8, linestyle=":")
        right.set_xlabel(f"P(within {answer.matters:g})")
        right.set_xlim(0, 1)
    return figure


def decomposition(rows: pd.DataFrame) -> Figure:
    """The contrasts over n with their intervals: plain ones thin, moderated ones thick."""
    with style():
        figure = Figure(figsize=(8.4, 4.2))
        axes = figure.subplots()
        contrasts = [
            contrast for contrast in CONTRASTS if rows.loc[rows["contrast"] == contrast.name, "points"].notna().any()
        ]
        for k, contrast in enumerate(contrasts):
            own, estimates = look(_OF_CONTRAST[contrast.name]), rows.loc[rows["contrast"] == contrast.name]
            x = estimates["n"].to_numpy(float) + 0.12 * (k - (len(contrasts) - 1) / 2)
            label = f"{contrast.name} = {contrast.above} - {contrast.below}\n{contrast.meaning}"
            axes.plot(
                x, estimates["points"], own.marker, color=own.colour, label=label, linestyle=own.line, linewidth=0.8
            )
            axes.vlines(x, estimates["low"], estimates["high"], color=own.colour, linewidth=0.8)
            axes.vlines(x, estimates["calm_low"], estimates["calm_high"], color=own.colour, linewidth=2.6, alpha=0.6)
        axes.axhline(0, color=GREY, linewidth=0.8, linestyle="--")
        axes.set_xticks(sorted(rows["n"].unique()))
        axes.set_xlabel("Cut n")
        axes.set_ylabel("Points of accuracy")
        axes.set_title("95 % intervals: thin plain t, thick moderated over cuts")
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1))
    return figure


def cost(answer: Answer, measured: list[str]) -> Figure:
    """Points against each cost; a line through the choices that nothing beats in both."""
    rows = answer.rows.dropna(subset=["points"])
    with style():
        figure = Figure(figsize=(4.2 * min(2, len(measured)), 3.4 * -(-len(measured) // 2)))
        panels = figure.subplots(-(-len(measured) // 2), min(2, len(measured)), squeeze=False, sharey=True).ravel()
        for axes, name in zip(panels, measured, strict=False):
            words, unit = COSTS[name]
            priced = rows.dropna(subset=[name])
            # Packs are timed, not copies: a difference of one percent means nothing.
            share = (priced[name] / priced[name].max()).round(2)
            front = pareto(share.to_numpy(float), priced["points"].to_numpy(float))
            edge = priced.loc[front].sort_values(name)
            axes.plot(edge[name] / unit, edge["points"], color=GREY, linewidth=0.8, drawstyle="steps-post", zorder=1)
            for series, some in priced.groupby("series"):
                own = look(str(series))
                axes.plot(some[name] / unit, some["points"], own.marker, color=own.colour, label=str(series))
            _label(axes, [(str(row.choice), getattr(row, name) / unit, row.points) for row in edge.itertuples()])
            axes.set_xlabel(words[:1].upper() + words[1:])
        for axes in panels[len(measured) :]:
            axes.set_axis_off()
        panels[0].set_ylabel(f"Points from {answer.reference or 'the mean'}")
        panels[0].legend(loc="lower right")
    return figure


def _label(axes: Any, points: list[tuple[str, float, float]]) -> None:
    """Write names beside points: inside the axes, and none over another one, moved up or down as far as it takes."""
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    line = 0.055 * (top - bottom)
    taken: list[float] = []
    for name, x, y in sorted(points, key=lambda point: -point[2]):
        at = min(y, taken[-1] - line) if taken else min(y, top - line)
        taken.append(at)
        right = x > low + 0.75 * (high - low)
        axes.annotate(
            name, (x, y), xytext=(-6 if right else 6, at), textcoords=("offset points", "data"), fontsize=7.5,
            va="center", ha="right" if right else "left", bbox={"pad": 1, "alpha": 0}, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": GREY} if abs(at - y) > line / 2 else None,
        )  # fmt: skip


def pareto(cost: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Whether nothing is as cheap and better, or cheaper and as good, [k]."""
    cheaper = cost[:, None] <= cost
    better = value[:, None] >= value
    strictly = (cost[:, None] < cost) | (value[:, None] > value)
    return np.logical_not(np.any(cheaper & better & strictly, axis=0))


def of_classes(rows: pd.DataFrame, n: int, mean: float, spread: float) -> Figure:
    """What every class loses, in order: plain with one standard error, and shrunk unless no spread is seen."""
    with style():
        figure = Figure(figsize=(8.4, 3.4))
        axes = figure.subplots()
        x = np.arange(1, len(rows) + 1)
        groups = rows["group"].fillna("").to_numpy()
        axes.errorbar(x, rows["loss"], rows["error"], fmt="none", ecolor="0.8", elinewidth=0.8, zorder=1)
        for k, group in enumerate(sorted(set(groups))):
            members = groups == group
            colour, marker = look(("AnB", "BnB", "AnB+", "BnB+")[k % 4]).colour, "os^D"[k % 4]
            within: Any = {"linestyle": "none", "marker": marker, "color": colour}
            named = f", {group}" if group else ""
            axes.plot(
                x[members], rows["loss"][members], markersize=3.2, mfc="white", mew=0.7, **within,
                label=f"plain mean, one standard error{named}",
            )  # fmt: skip
            if spread:
                axes.plot(x[members], rows["shrunk"][members], markersize=3.6, **within, label=f"shrunk{named}")
        differ = (rows["q"] < 0.05).to_numpy()
        if differ.any():
            axes.plot(
                x[differ], rows["loss"][differ], linestyle="none", marker="o", markersize=8, mfc="none", color="black",
                mew=0.8, label="differs from the mean of all (q < 0.05)",
            )  # fmt: skip
        axes.axhline(mean, color="black", linewidth=0.8, label="mean of all")
        axes.axhline(0, color=GREY, linewidth=0.8, linestyle="--")
        axes.set_xlabel("Classes, those that lose most first")
        axes.set_ylabel(f"base - A{n}B, points")
        if not (spread or differ.any()):
            axes.set_title("No class differs detectably from the mean of all: the order may be chance")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1))
    return figure


def volume(rows: pd.DataFrame) -> Figure:
    """Heat maps of n against images per class, one per treatment: points from the base; a star on the best choice."""
    columns = list(dict.fromkeys(rows["images"]))
    panels = drawing_order(series for series in rows["series"] if series != "base")
    reach = max(float(rows["from_base"].abs().to_numpy().max()), 0.1)
    cuts = sorted(rows["n"].unique())
    with style():
        figure = Figure(figsize=(1.6 + (0.9 + 0.62 * len(columns)) * len(panels), 1.4 + 0.42 * len(cuts)))
        for axes, series in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
            cells = rows.loc[rows["series"].isin([series, "base"])]
            grid = cells.pivot_table(index="n", columns="images", values="from_base")
            grid = grid.reindex(index=cuts, columns=columns)
            image = axes.imshow(grid, cmap="RdBu_r", vmin=-reach, vmax=reach, origin="lower", aspect="auto")
            for row in cells.itertuples():
                own: Any = row
                place = columns.index(own.images), cuts.index(own.n)
                if own.best or own.among:
                    axes.plot(*place, "*" if own.best else ".", color="black", markersize=9 if own.best else 5)
            axes.set_xticks(range(len(columns)), columns)
            axes.set_title(f"{series}: {look(series).meaning}", fontsize=8.5)
            axes.set_xlabel("Images per class")
        figure.axes[0].set_ylabel("Cut n (0: from scratch)")
        figure.axes[0].set_yticks(range(len(cuts)), cuts)
        figure.colorbar(image, ax=figure.axes, label="Points from the base\n(star: best, dot: may be)")  # pyright: ignore
    return figure
