"""Figures by name, written to files: the same data give the same bytes."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.early import figure
from analysis.figures import curves, figure2, figure3, preserved, reduced
from analysis.figures.style import style
from analysis.sharing import figure as sharing
from yosinski.errors import BadInput, choose

FIGURES = {
    **{"2": figure2.draw, "3": figure3.draw, "S1": reduced.draw, "preserved": preserved.draw, "curves": curves.draw},
    "early": figure.draw,
    **{"fuse": sharing.fuse, "branch": sharing.branch},
}
# What matplotlib would write of its own version and the time of day.
METADATA = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
}


def draw(name: str, frame: pd.DataFrame, outs: Sequence[Path], **options: Any) -> list[Path]:
    """Draw the figure `name` of `FIGURES` and write it to every path in outs (.png, .pdf or .svg).

    The numbers behind it go beside the first, as CSV under the same stem. options are those of the figure's `draw`.
    Returns the paths written. BadInput, before anything is drawn: an unknown figure, option or kind of file.
    """
    figure_of = FIGURES[choose("figure", name, FIGURES)]
    for path in outs:
        choose(f"kind of file ({path})", path.suffix, METADATA)
    names = list(inspect.signature(figure_of).parameters)[1:]
    for option in options:
        choose(f"option of figure {name}", option, names)
    if not outs:
        raise BadInput(f"figure {name} needs a path to be written to")

    figure, numbers = figure_of(frame, **options)
    beside = outs[0].with_suffix(".csv")
    save(figure, outs)
    numbers.to_csv(beside, index=False)
    return [*outs, beside]


def save(figure: Figure, outs: Sequence[Path]) -> None:
    """Write a figure to .png, .pdf or .svg files, in folders that are made where they are missing."""
    with style():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, the same for all kinds of file
        for path in outs:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, metadata=METADATA[path.suffix])
