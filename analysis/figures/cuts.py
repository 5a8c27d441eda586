"""A network on paper: what lies in each of its segments, from the images at the top to the head at the bottom."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from analysis.figures.style import GREY, look, style

PANELS = {"parameters": "Parameters", "flops": "FLOPs per image", "features": "Numbers in its output"}


def draw(table: pd.DataFrame, title: str) -> Figure:
    """Three bars per segment: parameters, FLOPs of one image, and how many numbers its output has.

    table: one row per segment in order, the head last, with the columns `n` (empty for the head), `name` and those of
    `PANELS`.
    """
    labels = [name if pd.isna(n) else f"{name}  {n:.0f}" for n, name in zip(table["n"], table["name"], strict=True)]
    with style():
        figure = Figure(figsize=(8, 1.2 + 0.19 * len(table)))
        panels = figure.subplots(1, len(PANELS), sharey=True)
        looks = [look(series) for series in ("BnB", "AnB+", "RnB")]
        for axes, (column, words), own in zip(panels, PANELS.items(), looks, strict=True):
            colours = [GREY if pd.isna(n) else own.colour for n in table["n"]]
            axes.barh(range(len(table)), table[column], height=0.72, color=colours)
            axes.set_xlabel(words)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x", color="0.9", linewidth=0.6)
            axes.set_axisbelow(True)
        panels[0].set_yticks(range(len(table)), labels)
        panels[0].set_ylim(len(table) - 0.4, -0.6)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    return figure
