"""The early answer over the share of the training: accuracy, what stopping would cost, and whether the best changes."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.early.backtest import backtest, standing
from analysis.early.model import contests
from analysis.figures.marks import subject
from analysis.figures.style import GREY, look, style
from analysis.frame import distinct
from yosinski.errors import BadInput

TIMES = 60  # at which the figure is computed
TODAY, END = look("BnB").colour, look("AnB").colour  # what is known today, and what came of it
NUMBERS = [
    *("split", "source", "target", "seed", "share", "step", "best", "final", "score", "ends", "highest"),
    *("change", "changed", "regret", "lost"),
]


def draw(frame: pd.DataFrame, metric: str | None = None) -> tuple[Figure, pd.DataFrame]:
    """What `analysis.early` predicts, leave-one-split-out, and what came of it, as means over the finished contests.

    Above: the score so far of today's best choice, what it ends at, and what the final best ends at; the band spans the
    contests. Middle: expected regret and what was lost. Below: P(change) and the share of contests that changed.
    Triangles are contests that are not finished. metric: as for `early.contests`. Returns the figure and the numbers
    behind it, one row per contest and share. BadInput: nothing to compare, several kinds of runs, or nothing that
    could be drawn.
    """
    all_contests = contests(frame, metric)
    kinds = {contest.kind: contest for contest in all_contests}
    if len(kinds) > 1:
        recipes = distinct(pd.Series([contest.about["recipe"] for contest in kinds.values()]))
        raise BadInput(f"an early answer is drawn of one kind of runs; choose with --where; recipes: {recipes}")
    tested: Any = backtest(all_contests, [k / TIMES for k in range(1, TIMES + 1)])
    now: Any = standing(all_contests).dropna(subset="regret")
    if tested.empty and now.empty:
        raise BadInput("no contest is finished and none has scores to learn from: there is nothing to draw yet")

    with style():
        figure = Figure(figsize=(7.6, 7.0))
        top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(1.15, 1, 1))
        by_share: Any = tested.groupby("share")
        _line(top, by_share["score"], TODAY, "-", band=True)
        _line(top, by_share["ends"], END, (0, (5, 1.5)))
        _line(top, by_share["highest"], GREY, ":")
        _line(middle, 100 * by_share["regret"].mean(), TODAY, "-")
        _line(middle, 100 * by_share["lost"].mean(), END, (0, (5, 1.5)))
        _line(bottom, by_share["change"].mean(), TODAY, "-")
        _line(bottom, by_share["changed"].mean(), END, (0, (5, 1.5)))
        open_ones: Any = {"linestyle": "", "marker": "^", "color": TODAY, "markersize": 6, "mfc": "white"}
        for axes, values in ((top, now["score"]), (middle, 100 * now["regret"]), (bottom, now["change"])):
            axes.plot(now["share"], values, **open_ones)
        top.set_ylabel("Top-1 accuracy\n(select images)")
        middle.set_ylabel("Regret of stopping\n(points)")
        bottom.set_ylabel("The best choice\nchanges")
        bottom.set_xlabel("Share of the training")
        # Before the first scores say anything the regret is so high that nothing else could be seen.
        middle.set_ylim(0, _room(100 * tested["lost"], 100 * now["regret"]))
        bottom.set_ylim(0, 1.02)
        bottom.set_xlim(0, 1)
        for axes in (top, middle, bottom):
            axes.spines[["top", "right"]].set_visible(False)
        _legends(top, middle, bottom, open_ones if len(now) else None, tested["contest"].nunique())
        drawn = frame.loc[frame["origin"] == all_contests[0].about["origin"]]
        figure.suptitle(f"{subject(drawn)}: the early answer", x=0.01, ha="left", fontsize=10.5)
    return figure, pd.concat([tested, now], ignore_index=True).reindex(columns=NUMBERS)


def _line(axes: Axes, of: Any, colour: str, line: Any, band: bool = False) -> None:
    """A line over shares: a series, or the mean of groups with a band from the lowest to the highest."""
    values = of if isinstance(of, pd.Series) else of.mean()
    axes.plot(values.index, values, color=colour, linestyle=line, linewidth=1.6)
    if band and len(values):
        axes.fill_between(values.index, of.min(), of.max(), color=colour, alpha=0.12, linewidth=0)


def _room(*regrets: pd.Series) -> float:
    """The upper end of the axis of regrets."""
    values = pd.concat(regrets).dropna()
    return max(0.1, 1.1 * float(np.quantile(values, 0.95))) if len(values) else 1.0


def _legends(top: Axes, middle: Axes, bottom: Axes, open_ones: Any, contests: int) -> None:
    def line(colour: str, style: Any, label: str) -> Line2D:
        return Line2D([], [], color=colour, linestyle=style, linewidth=1.6, label=label)

    dashed = (0, (5, 1.5))
    above = [
        line(TODAY, "-", "today's best, score so far\n(band: all contests)"),
        line(END, dashed, "what it ends at"),
        line(GREY, ":", "what the final best ends at"),
    ]
    if open_ones:
        above.append(Line2D([], [], **open_ones, label="contests not finished"))
    where: Any = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
    top.legend(handles=above, title=f"Mean of {contests} contests", alignment="left", **where)
    label = "expected, learned\nfrom other splits"
    middle.legend(handles=[line(TODAY, "-", label), line(END, dashed, "what was lost")], **where)
    bottom.legend(handles=[line(TODAY, "-", label), line(END, dashed, "share that did")], **where)
