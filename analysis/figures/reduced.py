"""Figure S1 of the paper's supplement: what a base reaches with few training images per class."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures import marks
from analysis.figures.style import GREY, look, style
from analysis.frame import distinct
from analysis.paired import METRICS, by_origin, metric_for, one_row_per_run
from yosinski.errors import BadInput

COLUMNS = ["origin", "network", "data", "split", "target", "examples_per_class", "classes", "runs", "left_out", "mean"]
MARKERS = ("o", "s", "D", "^", "v", "P")


def draw(frame: pd.DataFrame, metric: str | None = None) -> tuple[Figure, pd.DataFrame]:
    """Accuracy of bases over the number of training images per class, on a linear and on a logarithmic axis.

    frame and metric: as for `figure2.draw`; published networks beside others are drawn pale. One line per target
    through the means over seeds of those that learned; it breaks where none did. A dashed line is the base of the same
    target with all images, a dotted one chance. Returns the figure and the numbers behind it, one row per target and
    number of images (empty: all of them). BadInput: no bases with `examples_per_class`, none that learned, or runs
    that must not be averaged.
    Source: Yosinski, Clune, Bengio and Lipson, NIPS 2014, supplement, Figure S1.
    """
    metric = metric_for(frame, metric)
    bases = frame.loc[(frame["treatment"] == "base")]
    few = bases.loc[bases["examples_per_class"].notna()]
    if few.empty:
        treatments = distinct(pd.Series(frame["treatment"].dropna()))
        raise BadInput(f"figure S1 needs bases with examples_per_class; these runs are: {treatments}, on all images")
    origins = [_few(rows, metric) for rows in by_origin(few)]
    whole = bases.loc[
        bases["examples_per_class"].isna() & bases["target_half"].isin(few["target_half"]) & bases["last"]
    ]
    whole = whole.assign(value=whole[metric], counts=(whole["state"] == "done") & whole[metric].notna())
    numbers = pd.concat([_numbers(runs) for runs in [*origins, whole] if len(runs)], ignore_index=True)

    with style():
        figure = Figure(figsize=(10.2, 4.4))
        axes = figure.subplots(1, 2, sharey=True)
        entries: list[Any] = []
        for runs in origins:
            entries = [*_lines(axes, runs, whole, pale=runs is not origins[-1]), *entries]
        entries += marks.notes(pd.concat(origins))
        if len(whole.loc[whole["counts"]]):
            entries.append(Line2D([], [], color=GREY, linestyle="--", linewidth=0.9, label="base with all images"))
        entries.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1.1, label="chance: 1/K"))
        _label(axes, origins, METRICS[metric])
        figure.legend(handles=entries, loc="outside right upper")
    return figure, numbers


def _few(bases: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row per base; those with different numbers of images are not averaged, so they are checked one by one."""
    for _, rows in bases.assign(examples_per_class=0).groupby("origin"):
        one_row_per_run(rows, metric)  # refuses mixtures of anything else
    last = bases.loc[bases["last"]]
    counts = (last["state"] == "done") & last[metric].notna()
    return last.assign(value=last[metric], counts=counts).sort_values(["split", "target", "examples_per_class"])


def _numbers(runs: pd.DataFrame) -> pd.DataFrame:
    key = [name for name in COLUMNS if name not in ("runs", "left_out", "mean")]
    groups = runs.assign(mean=runs["value"].where(runs["counts"])).groupby([*key, "target_half"], dropna=False)
    rows = groups.agg(runs=("counts", "sum"), listed=("counts", "size"), mean=("mean", "mean")).reset_index()
    return rows.assign(left_out=rows["listed"] - rows["runs"]).loc[:, COLUMNS]


def _lines(axes: Any, runs: pd.DataFrame, whole: pd.DataFrame, pale: bool) -> list[Line2D]:
    """One line and its networks per target, in both panels. Returns the legend's entries."""
    colour = look("base", pale).colour if pale or set(runs["origin"]) == {"paper"} else look("BnB").colour
    entries = []
    for k, (_, bases) in enumerate(runs.groupby("target_half", sort=False)):
        marker = MARKERS[k % len(MARKERS)]
        rows = _numbers(bases)
        full = whole.loc[whole["counts"] & (whole["target_half"] == bases["target_half"].iloc[0]), "value"].mean()
        about: Any = bases.iloc[0]
        whose = "" if about["split"] == "all" else f", half {about['target']} of {about['split']}"
        for panel in axes:
            panel.plot(rows["examples_per_class"].astype(float), rows["mean"], color=colour, linewidth=1.4, zorder=2)
            marks.networks(
                panel, bases.assign(x=bases["examples_per_class"].astype(float), colour=colour, marker=marker)
            )
            panel.axhline(1 / about["classes"], color=colour, linestyle=":", linewidth=1.1, zorder=1)
            if pd.notna(full):
                panel.axhline(full, color=colour, linestyle="--", linewidth=0.9, zorder=1)
        dot: Any = marks.edged(color=colour, marker=marker, linestyle="-", linewidth=1.4)
        entries.append(Line2D([], [], **dot, label=f"{marks.subject(bases)}{whose}"))
    return entries


def _label(axes: Any, origins: list[pd.DataFrame], measured: str) -> None:
    linear, logarithmic = axes
    panel: Axes
    for panel, title in ((linear, "Linear"), (logarithmic, "Logarithmic")):
        panel.set_title(title)
        panel.set_xlabel("Training images per class")
        panel.spines[["top", "right"]].set_visible(False)
    linear.set_ylabel(f"Top-1 accuracy of the base\n({measured})")
    linear.set_xlim(left=-0.02 * linear.get_xlim()[1])
    linear.set_ylim(bottom=-0.02 * linear.get_ylim()[1])
    linear.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    logarithmic.set_xscale("log")
    ticks = sorted({int(k) for runs in origins for k in runs["examples_per_class"]})
    apart = [k for i, k in enumerate(ticks) if i == 0 or k >= 1.6 * ticks[i - 1] or i == len(ticks) - 1]
    logarithmic.set_xticks(apart, [f"{k}" for k in apart])
    logarithmic.minorticks_off()
