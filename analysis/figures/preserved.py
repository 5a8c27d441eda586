"""Whether layers preserved above the frozen ones, and trained, repair what freezing breaks."""

import math
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import marks
from analysis.figures.style import GREY, faded, look, style
from analysis.frame import distinct
from analysis.paired import METRICS, by_origin, compare, level, metric_for, one_row_per_run, relative, with_their_bases
from yosinski.errors import BadInput

SERIES = ("BnB", "AnB")
ASIDE = 0.08  # lest lines hide each other
MARKERS, DASHES = ("o", "s", "D", "^", "v", "P"), ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (8, 1, 1.5, 1)))


def draw(frame: pd.DataFrame, metric: str | None = None) -> tuple[Figure, pd.DataFrame]:
    """Accuracy of frozen copies over the cut n, one line per number of preserved layers; selffers are left.

    frame and metric: as for `figure2.draw`, but with published networks the metric is `select_top1`: of these, one
    number each is known, and no more. Published networks beside others are drawn pale, and all in points from the
    base of the same target. Returns the figure and the numbers behind it, one row per origin, series, number of
    preserved layers and n, the rest as in `paired.compare`. BadInput: no copies with preserved layers, no base, or
    runs that must not be averaged.
    Source: the notebook in the authors' repository yosinski/convnet_transfer; not in the paper.
    """
    metric = metric_for(frame, metric or ("select_top1" if "paper" in set(frame["origin"]) else None))
    origins = [one_row_per_run(runs, metric) for runs in by_origin(_of_this_figure(frame))]
    overlaid = len(origins) > 1
    numbers = pd.concat([_numbers(runs) for runs in origins], ignore_index=True)

    with style():
        figure = Figure(figsize=(11.2, 4.6))
        panels = figure.subplots(1, 2, sharey=True)
        kinds = sorted(numbers["preserved"].unique())
        drawn = [
            (axes, _draw_means(axes, runs, numbers, series, overlaid, pale=overlaid and runs is origins[0]))
            for axes, series in zip(panels, SERIES, strict=True)
            for runs in origins
        ]
        floor, strip = marks.span(panels[0], pd.concat([runs for _, runs in drawn]))
        for axes, runs in drawn:
            _draw_networks(axes, runs, floor, strip)
        for axes, series in zip(panels, SERIES, strict=True):
            _label(axes, series, numbers)
        what = "Points from base (same target)" if overlaid else "Mean top-1 accuracy"
        panels[0].set_ylabel(f"{what}\n({METRICS[metric]})")
        entries: list[Any] = [_entry(k, max(kinds)) for k in kinds]
        entries.append(Line2D([], [], color=look("base").colour, linestyle="--", linewidth=0.9, label="base"))
        if overlaid:
            dot = marks.edged(marker="o", color=look("AnB", pale=True).colour)
            entries.append(Line2D([], [], **dot, label="pale: the published networks"))
        networks = pd.concat(origins)
        if networks.query("series != 'base'").duplicated(["origin", "series", "n", "preserved"]).any():
            entries.append(Line2D([], [], linestyle="", marker="_", color=GREY, label="single networks"))
        entries += marks.notes(networks, floor)
        figure.legend(handles=entries, loc="outside right upper")
        about = "\n".join(
            f"{marks.subject(runs)}; {distinct(pd.Series(runs['split'].dropna()), 6)}" for runs in origins[::-1]
        )
        figure.suptitle(about, x=0.01, ha="left", fontsize=10.5)
    return figure, numbers


def _of_this_figure(frame: pd.DataFrame) -> pd.DataFrame:
    """Frozen copies on targets on which there are some with preserved layers, and the bases of these targets."""
    notebook = (frame["origin"] == "runs") | (frame["recipe"] == "paper-preserved")
    copies: Any = frame["series"].isin(SERIES) & notebook
    kept = frame.loc[copies & (frame["preserved"].fillna(0) > 0), "target_half"]
    if kept.empty:
        series = distinct(pd.Series(frame["series"].dropna())) or "none"
        raise BadInput(f"figure preserved needs copies with preserved layers; these runs have none: {series}")
    return with_their_bases(frame, copies & frame["target_half"].isin(kept))


def _subset(runs: pd.DataFrame, series: str, preserved: int) -> pd.DataFrame:
    """The copies of one line, and the bases of their targets."""
    copies = runs.loc[(runs["series"] == series) & (runs["preserved"] == preserved)]
    bases = runs.loc[(runs["series"] == "base") & runs["target_half"].isin(copies["target_half"])]
    return pd.concat([copies, bases])


def _numbers(runs: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for series in SERIES:
        for k in sorted(runs.loc[runs["series"] == series, "preserved"].unique()):
            means = compare(_subset(runs, series, k)).query("series != 'base'").sort_values("n")
            means.insert(0, "origin", runs["origin"].iloc[0])
            means.insert(2, "preserved", k)
            rows.append(means)
    return pd.concat(rows)


def _colour(series: str, k: int, most: int, pale: bool = False) -> str:
    """Of a line: the series' own, darker the more layers are preserved."""
    colour = to_hex(sns.dark_palette(look(series).colour, most + 2, reverse=True)[k])
    return faded(colour) if pale else colour


def _entry(k: int, most: int) -> Line2D:
    colour = str(0.62 - 0.5 * k / max(most, 1))
    dot: Any = marks.edged(marker=MARKERS[k % len(MARKERS)], color=colour, linestyle=DASHES[k % len(DASHES)])
    kept = f"n frozen, the next {k} kept and trained" if k else "n frozen, all above anew"
    return Line2D([], [], **dot, label=kept)


def _draw_means(
    axes: Axes, runs: pd.DataFrame, numbers: pd.DataFrame, series: str, overlaid: bool, pale: bool
) -> pd.DataFrame:
    """One line per number of preserved layers. Returns the networks behind them with their place, colour and marker."""
    rows = numbers.loc[(numbers["origin"] == runs["origin"].iloc[0]) & (numbers["series"] == series)]
    kinds = rows["preserved"].unique()
    everything = pd.concat([runs.iloc[:0], *(_subset(runs, series, k) for k in kinds)]).drop_duplicates("run")
    bases, unit = (0.0, 100.0) if overlaid else (level(everything) if len(everything) else math.nan, 1.0)
    axes.axhline(bases, color=look("base").colour, linestyle="--", linewidth=0.9, zorder=1)
    networks = [runs.iloc[:0].assign(x=0.0, colour="", marker="")]
    for k in kinds:
        means, aside = rows.loc[rows["preserved"] == k], ASIDE * (k - 1)
        colour, marker = _colour(series, k, max(numbers["preserved"]), pale), MARKERS[k % len(MARKERS)]
        dot = marks.edged(marker=marker, color=colour, linestyle=DASHES[k % len(DASHES)])
        axes.plot(means["n"] + aside, bases + unit * means["difference"], **dot, linewidth=1.5, zorder=2 if pale else 3)
        copies = _subset(runs, series, k)
        copies = (relative(copies, unit) if overlaid else copies).query("series != 'base'")
        networks.append(copies.assign(x=copies["n"] + aside, colour=colour, marker=marker))
    return pd.concat(networks)


def _draw_networks(axes: Axes, runs: pd.DataFrame, floor: float, strip: float) -> None:
    """Small bars for the networks that count, since the means have the markers; the others as in every figure."""
    for colour, networks in runs.loc[runs["counts"]].groupby("colour"):
        axes.plot(networks["x"], networks["value"], "_", color=colour, markersize=6, markeredgewidth=1, zorder=1.5)
    marks.networks(axes, runs.loc[~runs["counts"]], floor, strip)


def _label(axes: Axes, series: str, numbers: pd.DataFrame) -> None:
    axes.set_title(f"{series}: {look(series).meaning}")
    cuts = numbers.drop_duplicates("n").set_index("n")["cut"].sort_index()
    axes.set_xticks(cuts.index.tolist(), [f"{n}\n{name}" for n, name in cuts.items()])
    axes.set_xlim(min(cuts.index) - 0.5, max(cuts.index) + 0.5)
    axes.set_xlabel("Cut n: the first n layers are frozen")
    axes.spines[["top", "right"]].set_visible(False)
