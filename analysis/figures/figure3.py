"""The paper's Figure 3: transfer between unlike halves, random features, and both beside the random splits."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from analysis.figures import marks
from analysis.figures.style import GREY, INITIALISERS, UNLIKE, drawing_order, faded, look, style
from analysis.frame import distinct
from analysis.paired import METRICS, by_origin, compare, kind_of_split, metric_for, one_row_per_run, with_their_bases
from yosinski.errors import BadInput

TARGETS = {"B": ("to natural", "o", "-"), "A": ("to man-made", "s", (0, (5, 1.5)))}  # letter -> words, marker, line
NATMAN, RANDOM, FEATURES = "AnB, natural / man-made", "AnB, random splits", "RnB, random features"
OF_FEATURES = {  # by series, what the lower panel calls random features, of several initialisers perhaps
    "RnB": FEATURES,
    **{f"RnB {initialiser}": f"{FEATURES} {initialiser}" for initialiser in INITIALISERS},
}


@dataclass
class _Part:
    """One origin: its runs on natman, on random splits, and its random features, each with the bases it needs."""

    natman: pd.DataFrame
    random: pd.DataFrame | None
    features: pd.DataFrame | None
    pale: bool

    def colour(self, series: str) -> str:
        """Of copies between unlike halves, or of bases."""
        return _looks(NATMAN, self.pale)[0] if series == "AnB" else look(series, self.pale).colour


def draw(frame: pd.DataFrame, metric: str | None = None) -> tuple[Figure, pd.DataFrame]:
    """Frozen copies between man-made and natural classes, random features, and both relative to base.

    frame and metric: as for `figure2.draw`; published networks beside others are drawn pale. Top left, AnB on split
    `natman`, one line per target; top right, RnB of any half; bottom, paired differences from the base of the same
    target, with AnB on random splits beside them. Random features far below the axis are marked at its edge with their
    difference. Returns the figure and the numbers behind it, one row per origin, panel, series (`to natural`, ...) and
    n, the rest as in `paired.compare`. BadInput: no copies or no base on `natman`, or runs that must not be averaged.
    Source: Yosinski, Clune, Bengio and Lipson, NIPS 2014, Figure 3.
    """
    metric = metric_for(frame, metric)
    origins = by_origin(frame.loc[frame["preserved"].fillna(0) == 0])
    parts = [_part(rows, metric, pale=rows is not origins[-1]) for rows in origins]
    numbers = pd.concat([rows for part in parts for rows in _numbers(part)], ignore_index=True)

    with style():
        figure = Figure(figsize=(9.4, 7.6))
        grid = figure.add_gridspec(2, 2, height_ratios=(1, 1.15))
        left, right = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
        bottom = figure.add_subplot(grid[1, :])
        for part in parts:
            _draw_targets(left, part, numbers)
            if part.features is not None:
                _draw_features(right, part, part.features, numbers)
        if all(part.features is None for part in parts):
            words = "no random features\namong these runs"
            right.text(0.5, 0.5, words, transform=right.transAxes, ha="center", color=GREY)
        _draw_differences(bottom, parts, numbers)
        _label(left, right, bottom, parts, numbers, METRICS[metric])
    return figure, numbers


def _part(frame: pd.DataFrame, metric: str, pale: bool) -> _Part:
    """The three comparisons of one origin; each is refused by itself if it mixes what must not be averaged."""
    frame = frame.loc[(frame["origin"] == "runs") | (frame["recipe"] == "paper")]
    natman, random = kind_of_split(frame) == "natman", kind_of_split(frame) == "random"
    copies, features = frame["series"] == "AnB", frame["treatment"] == "random"
    if frame.loc[natman & copies].empty:
        splits = distinct(pd.Series(frame.loc[copies, "split"].dropna())) or "none"
        raise BadInput(f"figure 3 needs frozen copies AnB on split natman; the splits of such copies here: {splits}")
    kinds = [natman & copies, random & copies, features]
    ended = frame["state"].isin(["done", *marks.FAILED])  # what has no result yet leaves the others as they are
    shown = [kinds[0], *(kind if (kind & ended).any() else None for kind in kinds[1:])]
    runs = [None if kind is None else one_row_per_run(with_their_bases(frame, kind), metric) for kind in shown]
    assert runs[0] is not None
    return _Part(runs[0], runs[1], runs[2], pale)


def _numbers(part: _Part) -> Iterator[pd.DataFrame]:
    """The rows behind each line of the figure."""
    origin = part.natman["origin"].iloc[0]
    for target, (words, *_) in TARGETS.items():
        rows = compare(part.natman.loc[part.natman["target"] == target])
        yield rows.assign(series=words).pipe(_placed, origin, "top left")
    if part.features is not None:
        yield compare(part.features).pipe(_placed, origin, "top right")
    for words, runs in {NATMAN: part.natman, RANDOM: part.random, FEATURES: part.features}.items():
        if runs is not None:
            rows = compare(runs).query("series != 'base'")
            series = rows["series"].map(OF_FEATURES.get) if words == FEATURES else words
            yield rows.assign(series=series).pipe(_placed, origin, "bottom")


def _placed(rows: pd.DataFrame, origin: str, panel: str) -> pd.DataFrame:
    rows = rows.sort_values(["series", "n"])
    rows.insert(0, "origin", origin)
    rows.insert(1, "panel", panel)
    return rows


def _draw_targets(axes: Axes, part: _Part, numbers: pd.DataFrame) -> None:
    """AnB on natman: all networks, and one line per target from its base."""
    rows = _rows(numbers, part.natman, "top left")
    colour = part.colour("AnB")
    for target, (words, marker, line) in TARGETS.items():
        means = rows.loc[rows["series"] == words]
        axes.plot(means["n"], means["mean"], color=colour, linestyle=line, linewidth=1.6, zorder=2)
        runs = part.natman.loc[part.natman["target"] == target]
        colours = [part.colour(series) for series in runs["series"]]
        marks.networks(axes, _beside(runs).assign(colour=colours, marker=marker))


def _draw_features(axes: Axes, part: _Part, runs: pd.DataFrame, numbers: pd.DataFrame) -> None:
    """Random features: all networks, and the means of those that learned, from the mean of their bases."""
    rows = _rows(numbers, runs, "top right")
    bases = rows.loc[rows["series"] == "base", "mean"].item()
    for series in drawing_order(rows["series"]):
        if series != "base":
            means, own = rows.loc[rows["series"] == series], look(series, part.pale)
            axes.plot(
                [0, *means["n"]], [bases, *means["mean"]], color=own.colour, linestyle=own.line, linewidth=1.6, zorder=2
            )
    marks.networks(axes, marks.dressed(_beside(runs), part.pale))


def _beside(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with their place, side by side where several stand at one n, lest they hide each other."""
    runs = runs.sort_values(["split", "target", "seed", "run"])
    cell = runs.groupby(["series", "n"])
    return runs.assign(x=runs["n"] + 0.3 * ((cell.cumcount() + 0.5) / cell["run"].transform("size") - 0.5))


def _rows(numbers: pd.DataFrame, runs: pd.DataFrame, panel: str) -> pd.DataFrame:
    return numbers.loc[(numbers["origin"] == runs["origin"].iloc[0]) & (numbers["panel"] == panel)]


def _draw_differences(axes: Axes, parts: list[_Part], numbers: pd.DataFrame) -> None:
    """Paired differences in points; the axis spans the copies, random features beyond it stand at its edge."""
    rows = numbers.loc[numbers["panel"] == "bottom"]
    points = 100 * rows["difference"]
    copies = points.loc[~rows["series"].isin(list(OF_FEATURES.values()))].dropna()
    if copies.empty:
        raise BadInput("none of the copies that this figure shows is done yet")
    room = max(copies.max(), 0) - min(copies.min(), 0)
    floor = min(copies.min(), 0) - 0.1 * max(room, 1)
    strip = 0.2 * max(room, 1) if points.min() < floor else 0.0
    axes.set_ylim(floor - strip, max(copies.max(), 0) + 0.1 * max(room, 1))
    axes.axhline(0, color=look("base").colour, linestyle=look("base").line, linewidth=0.9, zorder=1)

    for k, part in enumerate(parts):
        aside = 0.28 * (k - (len(parts) - 1) / 2)  # lest what two origins have beyond the axis overlaps
        origin_rows = _rows(numbers, part.natman, "bottom")
        for words in dict.fromkeys(origin_rows["series"]):
            colour, marker, line = _looks(words, part.pale)
            means = origin_rows.loc[origin_rows["series"] == words]
            n, heights = np.array([0, *means["n"]], float), np.array([0, *(100 * means["difference"])], float)
            dot: Any = {"marker": marker, "markeredgecolor": "white", "markeredgewidth": 0.4, "markersize": 6.5}
            seen = np.where(heights >= floor, heights, np.nan)
            (drawn,) = axes.plot(n, heights, color=colour, linestyle=line, linewidth=1.6, zorder=2)
            drawn.set_clip_path(Rectangle((-1, floor), max(n) + 2, 1e3, transform=axes.transData))
            axes.plot(n[1:], seen[1:], color=colour, linestyle="", **dot, zorder=3)
            sure = means.dropna(subset=["low"])
            axes.vlines(sure["n"], 100 * sure["low"], 100 * sure["high"], color=colour, linewidth=1.2, zorder=2)
            for place, height in zip(n[heights < floor], heights[heights < floor], strict=True):
                axes.plot(place + aside, floor - 0.8 * strip, "v", color=colour, markersize=5, zorder=4)
                text: Any = {"ha": "center", "va": "bottom", "fontsize": 8.5, "color": colour, "zorder": 4}
                axes.text(place + aside, floor - 0.62 * strip, f"{height:.0f}".replace("-", "\N{MINUS SIGN}"), **text)


def _looks(words: str, pale: bool) -> tuple[str, str, Any]:
    """Colour, marker and line of a series of the lower panel."""
    if words == NATMAN:
        return faded(UNLIKE) if pale else UNLIKE, "o", "-"
    own = look(next((series for series, name in OF_FEATURES.items() if name == words), "AnB"), pale)
    return own.colour, own.marker, own.line


def _label(left: Axes, right: Axes, bottom: Axes, parts: list[_Part], numbers: pd.DataFrame, measured: str) -> None:
    """Titles, axes and legends."""
    own = parts[-1]
    left.set_title("Between unlike halves")
    right.set_title("Random features, frozen")
    bottom.set_title("Relative to the base of the same target")
    low, high = right.get_ylim()
    right.set_ylim(min(-0.02 * high, low), 1.03 * high)
    for axes in (left, right):
        axes.set_ylabel(f"Top-1 accuracy\n({measured})")
        axes.set_xlabel("Cut n")
    bottom.set_ylabel(f"Points from base\n({measured})")
    bottom.set_xlabel("Cut n: the first n layers come from a base, or are random")

    def dot(**values: Any) -> Line2D:
        return Line2D([], [], **marks.edged(**values))

    entries = [
        dot(color=own.colour("base"), marker=marker, label=f"base, {words[3:]}")
        for words, marker, _ in TARGETS.values()
    ]
    for words, marker, line in TARGETS.values():
        entry = {"color": own.colour("AnB"), "marker": marker, "label": f"AnB {words}"}
        entries.append(dot(**entry | {"linestyle": line}))
    runs = pd.concat(
        [appearance for part in parts for appearance in (part.natman, part.features) if appearance is not None]
    )
    left.legend(handles=entries + marks.notes(pd.concat([part.natman for part in parts])), loc="best")
    features = [part.features for part in parts if part.features is not None]
    if features:
        series = [name for name in drawing_order(pd.concat(features)["series"]) if name != "base"]
        entries = [dot(color=own.colour("base"), marker="o", label="base")]
        for name in series:
            appearance = look(name)
            entries.append(
                dot(color=appearance.colour, marker=appearance.marker, linestyle=appearance.line, label=name)
            )
        right.legend(handles=entries + marks.notes(pd.concat(features)), loc="best")
    entries = []
    for words in dict.fromkeys(numbers.loc[numbers["panel"] == "bottom", "series"]):
        colour, marker, line = _looks(words, pale=False)
        entries.append(dot(color=colour, marker=marker, linestyle=line, label=words))
    if len(parts) > 1:
        entries.append(dot(color=parts[0].colour("AnB"), marker="o", label="pale: the published networks"))
    if numbers.loc[numbers["panel"] == "bottom", "low"].notna().any():
        entries.append(Line2D([], [], color=GREY, linewidth=1.2, label="95 % t interval over splits"))
    bottom.legend(handles=entries, loc="lower left", bbox_to_anchor=(0.0, 0.14))

    cuts = {0: "base", **runs.loc[runs["n"] > 0].drop_duplicates("n").set_index("n")["cut"].sort_index().to_dict()}
    for axes in (left, right, bottom):
        axes.set_xticks(list(cuts), [f"{n}\n{name}" if axes is bottom else f"{n}" for n, name in cuts.items()])
        axes.set_xlim(-0.4, max(cuts) + 0.4)
        axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
        axes.spines[["top", "right"]].set_visible(False)
    title = "\n".join(marks.subject(part.natman) for part in reversed(parts))
    left.figure.suptitle(title, x=0.01, ha="left", fontsize=10.5)
