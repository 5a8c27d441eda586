"""Accuracy over training, one curve per run."""

from itertools import cycle
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures.marks import subject, trained_on
from analysis.figures.style import CONTROLS, GREY, counted, drawing_order, look, style
from analysis.frame import distinct
from analysis.paired import by_origin
from yosinski.errors import BadInput

COLUMNS = [
    *("origin", "run", "name", "state", "series", "control", "task", "n", "cut", "target", "seed"),
    *("step", "epoch", "select_top1", "test_top1"),
]
TOGETHER = 8  # more runs than these get one panel per series
DASHES: list[Any] = ["-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5))]


def draw(frame: pd.DataFrame, runs: list[str] | None = None) -> tuple[Figure, pd.DataFrame]:
    """Accuracy on the select images over epochs; markers at the right show the accuracy on the test images.

    frame: of `analysis.frame`, `analysis.paper.networks` or both. Published networks are drawn over iterations, since
    of their epochs nothing is known; beside others they are pale, and all are drawn over the share of their training.
    runs: names (A3B), ids or beginnings of ids; None for all. Colour stands for the series, of joint and fused networks
    for the control; shade for n. A network with several tasks has a curve for each. Returns the figure and the numbers
    behind it, one row per run, task and evaluation in the columns `COLUMNS`.
    BadInput: an unknown run, or no evaluations.
    """
    chosen = frame if runs is None else frame.loc[_are(frame, runs)]
    drawn, over = _placed(chosen.dropna(subset=["series", "n", "step"]))
    if len(drawn) == 0:
        raise BadInput("there are no evaluations to draw")
    data = trained_on(drawn, brief=True)

    with style():
        together = len(set(drawn["run"])) <= TOGETHER
        figure, left, entries = _one_panel(drawn) if together else _panel_per_series(drawn)
        for axes in figure.axes:
            axes.set_xlabel(over if axes.get_xlabel() else "")
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            axes.spines[["top", "right"]].set_visible(False)
        for axes in left:
            axes.set_ylabel(f"Top-1 accuracy\n({data}, select images)")
        if not together and True in set(drawn["pale"]):
            dot: Any = {"color": look("base", pale=True).colour, "linewidth": 2}
            entries.append(Line2D([], [], **dot, label="pale: the published networks"))
        figure.legend(handles=entries + _notes(chosen, drawn), loc="outside right upper")
        about = "\n".join(subject(rows) for rows in by_origin(drawn)[::-1])
        figure.suptitle(about, x=0.01, ha="left", fontsize=10.5)
    return figure, chosen.loc[:, COLUMNS].reset_index(drop=True)


def _placed(drawn: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The evaluations with the columns `x`, `pale`, `shade` and `divided` (the division in words, of several).

    `shade` counts from 1 on from the shallowest cut, and is 0 for bases. Their `series` is the control where networks
    are shared, and `run` tells tasks apart. Also what x is.
    """
    published = drawn["origin"] == "paper"
    origins = set(drawn["origin"])
    overlaid = len(origins) > 1
    if overlaid:
        last = drawn.groupby(["origin", "recipe"], dropna=False)["step"].transform("max")
        x, over = drawn["step"].astype(float) / last.astype(float), "Share of the training"
    elif origins == {"paper"}:
        x, over = drawn["step"].astype(float) / 1000, "Iteration (thousands)"
    else:
        x, over = drawn["epoch"], "Epoch"
    divisions: Any = drawn["division"]
    divided = "" if divisions.nunique() < 2 else (", division " + divisions.astype("string")).fillna("")
    task = drawn["task"].astype("string").fillna("0")
    run = drawn["run"].where(task == "0", drawn["run"] + " " + task)
    shared: Any = drawn["control"].notna()
    shade: Any = drawn["n"] + int(shared.any())  # what is shared may have n = 0, as bases have
    shade = shade.where(shared | (drawn["n"] > 0), 0)
    drawn = drawn.assign(run=run, series=drawn["control"].fillna(drawn["series"]), shade=shade)
    return drawn.assign(x=x, pale=published & overlaid, divided=divided).dropna(subset=["x"]), over


def _are(frame: pd.DataFrame, runs: list[str]) -> pd.Series:
    """Which rows belong to runs with these names or beginnings of ids."""
    rows = pd.Series(False, index=frame.index)
    for wanted in runs:
        matches = (frame["name"].fillna("") == wanted) | frame["run"].str.startswith(wanted)
        if not wanted or not matches.any():
            names = distinct(pd.Series(frame["name"].dropna()), 60)
            raise BadInput(f"unknown run {wanted!r}; choose from these or give an id: {names}")
        rows |= matches
    return rows


def _one_panel(drawn: pd.DataFrame) -> tuple[Figure, list[Axes], list[Line2D]]:
    """All runs in one panel, each named in the legend; returns also the panels at the left and the legend's entries."""
    figure = Figure(figsize=(7.6, 4.2))
    axes = figure.subplots()
    entries = _draw_runs(axes, drawn, _last(drawn, "shade"), _last(drawn, "x"), every=3)
    axes.set_xlabel("Epoch")
    return figure, [axes], entries


def _panel_per_series(drawn: pd.DataFrame) -> tuple[Figure, list[Axes], list[Line2D]]:
    """One panel per series, in up to three columns; the legend says which shade is which n."""
    groups = {series: drawn.loc[drawn["series"] == series] for series in drawing_order(drawn["series"])}
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(2.2 + 2.5 * columns, 0.9 + 2.4 * rows))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for k, (axes, (series, evaluations)) in enumerate(zip(grid.flat, groups.items(), strict=False)):
        _draw_runs(axes, evaluations, _last(drawn, "shade"), _last(drawn, "x"))
        axes.set_title(_title(series, evaluations), fontsize=9)
        if k + columns >= len(groups):  # nothing beneath it
            axes.set_xlabel("Epoch")
            axes.tick_params(labelbottom=True)
    for axes in grid.flat[len(groups) :]:
        axes.remove()
    cuts = drawn.loc[drawn["shade"] > 0].groupby("shade")[["n", "cut"]].first()
    entries = [
        Line2D([], [], color=_shade("0.1", k, _last(drawn, "shade")), linewidth=2, label=f"n = {n}  {cut or 'input'}")
        for k, n, cut in zip(cuts.index.tolist(), cuts["n"], cuts["cut"].fillna(""), strict=True)
    ]
    return figure, list(grid[:, 0]), entries


def _title(series: str, evaluations: pd.DataFrame) -> str:
    """A series and its meaning, or the tasks or inputs that share a network: AA, BB."""
    if series not in CONTROLS or series == "base":
        return f"{series}  {look(series).meaning}"
    first = evaluations.loc[evaluations["task"] == 0]  # of the others the partners stand in another order
    own = first["input"].fillna(first["target"])
    return ", ".join(sorted(set(own + first["partners"].str.replace(" ", ""))))


def _last(drawn: pd.DataFrame, column: str) -> Any:
    return drawn[column].max()


def _draw_runs(axes: Axes, drawn: pd.DataFrame, deepest: int, end: float, every: int = 0) -> list[Line2D]:
    """One curve per run, with a marker at every so many evaluations; returns the legend's entries.

    Runs of the same series and n differ in their dashes.
    """
    runs = [run for _, run in drawn.groupby("run", sort=False)]
    rank = drawing_order(drawn["series"]).index
    runs.sort(key=lambda run: (rank(run["series"].iloc[0]), run["n"].iloc[0]))
    names = [_name(run.iloc[0]) for run in runs]
    dashes: dict[Any, Any] = {}
    entries = []
    for k, run in enumerate(runs):
        about: Any = run.iloc[-1]
        series = look(about["series"], about["pale"])
        colour = _shade(series.colour, about["shade"], deepest)
        dash = next(dashes.setdefault((about["series"], about["n"]), cycle(DASHES)))
        line: Any = {
            "color": colour,
            "linestyle": dash,
            "linewidth": 1.3,
            "zorder": 1.8 if about["pale"] else 2,
            "marker": series.marker,
            "markersize": 4,
        }
        axes.plot(
            run["x"],
            run["select_top1"],
            **line,
            markevery=max(every, len(run) // 20) if every else [],
            markeredgewidth=0,
        )

        finished = about["state"] == "done"
        beyond = end * (1.02 + 0.07 * (k + 0.5) / len(runs))  # side by side, lest the markers hide each other
        hollow: Any = {"color": colour, "markerfacecolor": "white", "markersize": 6}
        if finished:
            filled: Any = {"color": colour, "markeredgecolor": "white", "markersize": 6, "markeredgewidth": 0.4}
            axes.plot(beyond, about["test_top1"], series.marker, **filled)
        elif about["state"] in ("stuck", "diverged"):  # one that diverged was not evaluated on the test images
            height = about["select_top1"] if pd.isna(about["test_top1"]) else about["test_top1"]
            axes.plot(beyond, height, series.marker, **hollow)
        else:
            axes.plot(about["x"], about["select_top1"], ">", **hollow)
        name = _name(about)
        label = name if names.count(name) == 1 else f"{name} ({about['run'][:8]})"
        entries.append(Line2D([], [], **line, label=label if finished else f"{label}, {about['state']}"))
    return entries


def _name(about: Any) -> str:
    """What a run is called in the legend; among the published networks A3B may be of any split."""
    return about["run"] if about["origin"] == "paper" else about["name"] + about["divided"]


def _shade(colour: str, shade: int, deepest: int) -> tuple[float, float, float]:
    """A series' colour, paler the shallower the cut; bases have the colour itself."""
    palest = sns.light_palette(colour, 10)[3]
    return sns.blend_palette([palest, colour], deepest)[shade - 1] if shade else sns.color_palette([colour])[0]


def _notes(chosen: pd.DataFrame, drawn: pd.DataFrame) -> list[Line2D]:
    """Legend entries for the markers and for the runs that have no curve."""
    dot: Any = {"linestyle": "", "color": GREY, "markersize": 6}
    runs = drawn.drop_duplicates("run")
    failed = runs.loc[runs["state"].isin(["stuck", "diverged"])]
    unfinished = runs.loc[~runs["state"].isin(["done", "stuck", "diverged"])]
    absent = chosen.loc[~chosen["run"].isin(drawn["run"].str.split().str[0])].drop_duplicates("run")
    notes = []
    if len(runs["test_top1"].dropna()):
        notes.append(Line2D([], [], marker="o", **dot, label="on the test images"))
    if len(failed):
        notes.append(Line2D([], [], marker="o", markerfacecolor="white", **dot, label=counted(failed)))
    if len(unfinished):
        notes.append(Line2D([], [], marker=">", markerfacecolor="white", **dot, label=counted(unfinished)))
    if len(absent):
        notes.append(Line2D([], [], linestyle="", label=f"no curve: {counted(absent)}"))
    return notes
