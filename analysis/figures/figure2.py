"""The paper's Figure 2 for any number of cuts: every network as a point, and the means, taken apart."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.figures import marks
from analysis.figures.style import GREY, drawing_order, look, style
from analysis.frame import arithmetic, distinct
from analysis.paired import (
    FEWEST,
    METRICS,
    by_origin,
    compare,
    level,
    main_experiment,
    metric_for,
    one_row_per_run,
    relative,
)

SPREAD = 0.64  # how wide the series of one cut stand side by side
# The parts into which the paper takes the means apart: above, below, whose colour, hatch for grey print, and meaning.
PARTS = (
    ("base", ("BnB",), "BnB", "////", "drop: fragile co-adaptation\n(BnB below base)"),
    ("BnB", ("AnB",), "AnB", "\\\\\\\\", "drop: representation specificity\n(AnB below BnB)"),
    ("AnB+", ("BnB+", "base"), "AnB+", "....", "gain: better generalisation\n(AnB+ above BnB+ and base)"),
)


@dataclass
class _Drawn:
    """What is drawn of one origin: in accuracies, or, overlaid on another, in points from the base."""

    runs: pd.DataFrame
    numbers: pd.DataFrame
    bases: float  # where the means of the bases are drawn
    unit: float  # of what is drawn: 1, or 100 for points
    pale: bool


def draw(frame: pd.DataFrame, metric: str | None = None) -> tuple[Figure, pd.DataFrame]:
    """Accuracy of all copies over the cut n: points above; below, means as paired differences from the base.

    frame: of `analysis.frame`, `analysis.paper.networks` or both; published networks beside others are drawn pale, and
    all in points from the base of the same target. metric: `test_top1`, `select_top1` (of the last evaluation),
    `unseen_top1` or `best10_top1`; `paired.metric_for` has the defaults. Networks with preserved layers belong to
    another figure, and so do published ones that are not on random splits (unless there are no others).
    Returns the figure and the numbers behind its lower panel, one row per origin, series and n as `paired.compare` has
    them, and `drawn`: where the line passes, the mean of the bases plus the difference (overlaid: the difference in
    points). BadInput: an empty frame, nothing done, no base, or runs that must not be averaged.
    Source: Yosinski, Clune, Bengio and Lipson, NIPS 2014, Figure 2.
    """
    metric = metric_for(frame, metric)
    shown = main_experiment(frame)
    origins = [one_row_per_run(rows, metric) for rows in by_origin(shown)]
    overlaid = len(origins) > 1
    order = drawing_order(pd.concat([runs["series"].dropna() for runs in origins]))
    drawn = [_drawn(runs, order, overlaid, pale=overlaid and runs is origins[0]) for runs in origins]
    beside = _offsets(order)

    with style():
        figure = Figure(figsize=(9.4, 7.2))
        top, bottom = figure.subplots(2, 1, sharex=True)
        entries = _draw_points(top, drawn, beside)
        parts = _draw_means(bottom, drawn, beside)
        parts += _draw_ceiling((top, bottom), drawn)
        aside = frame.loc[frame["last"] & (frame["preserved"].fillna(0) > 0) & (frame["origin"] == "runs")]
        if len(aside):
            entries.append(Line2D([], [], linestyle="", label=f"{len(aside)} not shown: preserved layers"))
        _label(top, bottom, drawn, METRICS[metric])
        beyond = 1.03 if overlaid else 1.14  # of the second axis at the right
        for axes, handles in ((top, entries), (bottom, parts)):
            axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(beyond, 1.0), borderaxespad=0.0)
    return figure, pd.concat([origin.numbers for origin in drawn], ignore_index=True)


def _drawn(runs: pd.DataFrame, order: list[str], overlaid: bool, pale: bool) -> _Drawn:
    numbers = compare(runs)
    numbers = numbers.sort_values(["series", "n"], key=lambda c: c.map(order.index) if c.name == "series" else c)
    bases, unit = (0.0, 100.0) if overlaid else (level(runs), 1.0)
    numbers["drawn"] = bases + unit * numbers["difference"]
    numbers.insert(0, "origin", runs["origin"].iloc[0])
    return _Drawn(relative(runs, unit) if overlaid else runs, numbers.reset_index(drop=True), bases, unit, pale)


def _offsets(order: list[str]) -> dict[str, float]:
    """How far left or right of its cut each series of copies stands."""
    copies = [series for series in order if series != "base"]
    places = np.linspace(-SPREAD / 2, SPREAD / 2, len(copies)) if len(copies) > 1 else np.zeros(len(copies))
    return {"base": 0.0, **dict(zip(copies, places.tolist(), strict=True))}


def _draw_points(axes: Axes, drawn: list[_Drawn], beside: dict[str, float]) -> list[Line2D]:
    """Every network; what has no place in the means is marked as such. Returns the legend's entries."""
    width = min(0.15, 0.72 * SPREAD / max(1, len(beside) - 2)) / len(drawn)  # of one series of one origin
    placed = []
    for k, origin in enumerate(drawn):
        runs = origin.runs.dropna(subset=["series", "n"]).sort_values(["split", "target", "seed", "run"])
        cell = runs.groupby(["series", "n"])
        within = (cell.cumcount() + 0.5) / cell["run"].transform(
            "size"
        ) - 0.5  # side by side, lest they hide each other
        centre = runs["n"].astype(float) + [beside[series] for series in runs["series"]]
        placed.append(marks.dressed(runs.assign(x=centre + width * (within + k - (len(drawn) - 1) / 2)), origin.pale))
    everything = pd.concat(placed)
    floor, strip = marks.span(axes, everything)
    for bases in {origin.bases for origin in drawn}:
        axes.axhline(bases, color=look("base").colour, linestyle=look("base").line, linewidth=0.9, zorder=1)
    for runs in placed:
        marks.networks(axes, runs, floor, strip)

    entries = []
    for series in beside:
        dot = marks.edged(marker=look(series).marker, color=look(series).colour)
        entries.append(Line2D([], [], **dot, label=f"{series}  {look(series).meaning}"))
    if len(drawn) > 1:
        dot = marks.edged(marker=look("AnB").marker, color=look("AnB", pale=True).colour)
        entries.append(Line2D([], [], **dot, label="pale: the published networks"))
    return entries + marks.notes(pd.concat([origin.runs for origin in drawn]), floor)


def _draw_means(axes: Axes, drawn: list[_Drawn], beside: dict[str, float]) -> list[Any]:
    """Lines through the means, the last with the paper's parts shaded. Returns the legend's entries for the parts."""
    heights, sure, plain = {}, False, False
    deepest = max([1, *(max(origin.numbers["n"]) for origin in drawn)])
    fine = np.linspace(0, deepest, 100 * deepest + 1)
    for origin in drawn:
        base = look("base", origin.pale)
        axes.plot(0, origin.bases, base.marker, color=base.colour, markersize=5.5, zorder=3)
        axes.axhline(origin.bases, color=look("base").colour, linestyle=base.line, linewidth=0.9, zorder=1)
        heights = {"base": np.full(len(fine), origin.bases)}
        for series in [name for name in beside if name != "base"]:
            rows = origin.numbers.loc[origin.numbers["series"] == series]
            # A copy cut at 0 is a base, where every line starts; it breaks at a cut of which there is no result.
            n, means = [0, *rows["n"]], [origin.bases, *rows["drawn"]]
            own = look(series, origin.pale)
            line: Any = {
                "color": own.colour,
                "linestyle": own.line,
                "marker": own.marker,
                "zorder": 2 if origin.pale else 3,
            }
            edge: Any = {"markeredgecolor": "white", "markeredgewidth": 0.4, "markevery": slice(1, None)}
            axes.plot(n, means, **line, **edge, markersize=5.5, linewidth=1.6)
            if (
                not origin.pale
                and (rows["origin"] == "paper").any()
                and ((rows["mean"] - rows["drawn"]).abs() > 0.001).any()
            ):
                axes.plot(n, [origin.bases, *rows["mean"]], color=own.colour, linestyle=":", linewidth=1, zorder=2)
                plain = True
            heights[series] = np.interp(fine, n, means, right=np.nan)
            for row in rows.dropna(subset=["low"]).itertuples():
                ends = [origin.bases + origin.unit * row.low, origin.bases + origin.unit * row.high]  # pyright: ignore
                axes.plot([row.n + beside[series] / 6] * 2, ends, color=own.colour, linewidth=1.2, zorder=2)  # pyright: ignore
                sure = True

    entries: list[Any] = []
    for above, below, whose, hatch, words in PARTS:
        if {above, *below} <= heights.keys():
            high, low = heights[above], np.max([heights[name] for name in below], axis=0)
            colour = look(whose).colour
            shade: Any = {"facecolor": (colour, 0.2), "edgecolor": (colour, 0.5), "hatch": hatch, "linewidth": 0}
            axes.fill_between(fine, high, low, where=high >= low, **shade)
            entries.append(Patch(**shade, label=words))
    if plain:
        dots: Any = {"color": GREY, "linestyle": ":", "linewidth": 1}
        entries.append(
            Line2D([], [], **dots, label="plain means, as the paper has them:\nnot every target has all copies")
        )
    if sure:
        entries.append(Line2D([], [], color=GREY, linewidth=1.2, label="95 % t interval over splits"))
    return entries


def _draw_ceiling(axes: tuple[Axes, Axes], drawn: list[_Drawn]) -> list[Any]:
    """A line where the best classifier of shared words is, the mean over targets. Returns the legend's entry."""
    runs: Any = drawn[0].runs
    if len(drawn) > 1 or "ceiling" not in runs or not runs["ceiling"].notna().any():
        return []
    copies = runs.loc[runs["n"] > 0]  # a half that is a source alone is no target here
    ceiling = float((copies if len(copies) else runs).groupby("target_half")["ceiling"].first().mean())
    line: Any = {"color": "black", "linestyle": (0, (1, 3)), "linewidth": 1.2}
    for one in axes:
        one.axhline(ceiling, **line, zorder=1)
    return [Line2D([], [], **line, label=f"{ceiling:.3f}: the best of all classifiers,\nsince classes share words")]


def _label(top: Axes, bottom: Axes, drawn: list[_Drawn], measured: str) -> None:
    """Say what was measured, on what, how often, and where the cuts are."""
    top.set_title("\n".join(_about(origin) for origin in reversed(drawn)))
    bottom.set_title(f"Means paired by target ({'; '.join(map(_how_often, reversed(drawn)))})")
    if len(drawn) > 1:
        for axes in (top, bottom):
            axes.set_ylabel(f"Points from base (same target)\n({measured})")
    else:
        data = marks.trained_on(drawn[0].runs, brief=True)
        top.set_ylabel(f"Top-1 accuracy\n({data}, {measured})")
        bottom.set_ylabel(f"Mean top-1 accuracy\n({data}, {measured})")
        bases = drawn[0].bases
        both = (lambda accuracy: 100 * (accuracy - bases), lambda points: bases + points / 100)
        bottom.secondary_yaxis("right", functions=both).set_ylabel("Points from base (same target)")

    cuts = {0: "base"}
    for origin in drawn:
        cuts |= origin.numbers.loc[origin.numbers["n"] > 0].set_index("n")["cut"].to_dict()
    bottom.set_xticks(list(cuts), [f"{n}\n{name}" for n, name in cuts.items()])
    bottom.set_xlim(-0.5, max(cuts) + 0.5)
    bottom.set_xlabel("Cut n: the first n layers come from a base")
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)


def _about(origin: _Drawn) -> str:
    """Network, data, splits and, where it is mixed, arithmetic of one origin."""
    runs = origin.runs
    per_class = runs["examples_per_class"].dropna().unique()
    few = f", {per_class[0]} images per class" if len(per_class) else ""
    kinds = arithmetic(runs).dropna().value_counts().sort_index()
    mixed = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) if len(kinds) > 1 else ""
    splits = distinct(pd.Series(runs["split"].dropna()), 6)
    return f"{marks.subject(runs)}{few}; {splits}" + (f"\nmixed arithmetic: {mixed}" if mixed else "")


def _how_often(origin: _Drawn) -> str:
    """Over how many splits the means go, and whether there can be intervals."""
    rows = origin.numbers.loc[origin.numbers["splits"] > 0]
    copies = rows.loc[rows["series"] != "base"]
    per_row = (copies if len(copies) else rows)["splits"]
    least, most = per_row.min(), per_row.max()
    many = f"{most} split{'s' if most != 1 else ''}" if least == most else f"{least} to {most} splits"
    none = ": no intervals" if most < FEWEST else f": no intervals below {FEWEST}" if least < FEWEST else ""
    return f"{'pale: ' * origin.pale}{many}{none}"
