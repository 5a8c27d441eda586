"""How figures look: one palette that the colour-blind can read, and a marker and line for each series in grey print."""

import contextlib
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_hex

from yosinski.experiment.treatments import TREATMENTS, copies, of_relation

GREY = "0.45"
COLOURS = [to_hex(colour) for colour in sns.color_palette("colorblind")]


@dataclass(frozen=True)
class Look:
    """Of one series."""

    meaning: str
    colour: str
    marker: str
    line: Any  # as matplotlib names line styles


UNLIKE = COLOURS[4]  # of transfer between unlike halves, beside AnB on random splits
_OF_THE_PAPER = {  # colour, marker and line of the series that the paper has
    "base": ("#222222", "o", "--"),
    "outside": ("#222222", "*", "--"),
    "BnB": (COLOURS[0], "s", "-"),
    "BnB+": (COLOURS[9], "D", (0, (2.5, 1))),
    "AnB": (COLOURS[3], "^", (0, (8, 1, 1.5, 1))),
    "AnB+": (COLOURS[1], "v", (0, (5, 1.5))),
    "RnB": (COLOURS[2], "X", (0, (1, 1))),
}
_OTHERS = ((5, "<"), (6, ">"), (7, "p"), (8, "h"), (2, "8"), (4, "H"), (0, "d"))  # of further treatments, in turn
_LINES = {"selffer": ":", "transfer": (0, (4, 1, 1, 1, 1, 1))}
CONTROLS = {  # of joint and fused networks, by what the partner is
    "base": Look("", "#222222", "o", "--"),
    "same": Look("", COLOURS[0], "s", "-"),
    "twin": Look("", COLOURS[0], "s", "-"),
    "afresh": Look("", COLOURS[9], "D", (0, (2.5, 1))),
    "other": Look("", COLOURS[1], "v", (0, (5, 1.5))),
    "exchanged": Look("", COLOURS[3], "^", (0, (8, 1, 1.5, 1))),
    "shuffled": Look("", COLOURS[3], "^", (0, (8, 1, 1.5, 1))),
}
INITIALISERS = {  # colour and marker of random features, where several initialisers have drawn them
    **{"gaussian": (7, "p"), "kaiming": (2, "X"), "matched": (0, "d"), "orthogonal": (5, "*"), "own": (6, "v")},
    **{"paper": (8, "h"), "xavier": (4, "P")},
}


def looks() -> dict[str, Look]:
    """The looks of all series, in the order of legends; random features vary with their initialiser ("RnB xavier").

    Joint and fused networks have those of their controls.
    """
    further = [name for name in copies() if of_relation("transfer", name) not in _OF_THE_PAPER]
    first = [name for name in copies() if name not in further]
    pairs = [(to, name) for names in (first, further) for to in _LINES for name in names]
    by_series, series = {}, ""
    for to, name in [("base", "base"), *pairs, ("outside", "outside"), ("random", "random")]:
        series, meaning = of_relation(to, name), TREATMENTS[name].meaning
        colour, marker, line = _OF_THE_PAPER.get(series) or ("", "", _LINES[to])
        if name in further:
            number, marker = _OTHERS[further.index(name) % len(_OTHERS)]
            colour = COLOURS[number]
        by_series[series] = Look(f"{to}, {meaning}" if to in _LINES else meaning, colour, marker, line)
    random = by_series[series]
    for initialiser, (number, marker) in INITIALISERS.items():
        by_series[f"{series} {initialiser}"] = replace(random, colour=COLOURS[number], marker=marker)
    return by_series | {name: own for name, own in CONTROLS.items() if name not in by_series}


def look(series: str, pale: bool = False) -> Look:
    """The look of a series. pale: as published networks are drawn beneath a user's own."""
    own = looks()[series]
    return replace(own, colour=faded(own.colour)) if pale else own


def faded(colour: str) -> str:
    """The colour in a pale, greyish tone."""
    return to_hex(sns.blend_palette([sns.desaturate(colour, 0.6), "white"], 20)[10])


def drawing_order(series: Iterable[str]) -> list[str]:
    """Each series once, in the order of legends."""
    return sorted(set(series), key=list(looks()).index)


def counted(runs: pd.DataFrame) -> str:
    """How many runs (one row each) are in which state, for a legend: "1 blocked, 2 missing"."""
    states = runs["state"].value_counts().sort_index()
    return textwrap.fill(", ".join(f"{count}\N{NO-BREAK SPACE}{state}" for state, count in states.items()), 32)


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Settings under which figures are made and saved: the same on every machine, whatever its matplotlibrc says."""
    own: dict[str, object] = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9.5,
        "axes.titlesize": 10.5,
        "axes.labelsize": 10,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
        "legend.title_fontsize": 9,
        "legend.frameon": False,
        "hatch.linewidth": 0.4,
        "axes.titlelocation": "left",
        "figure.constrained_layout.use": True,
        "savefig.dpi": 200,
        "svg.hashsalt": "yosinski",  # otherwise the ids in an SVG differ from one writing to the next
        "pdf.fonttype": 42,  # fonts that journals accept
    }
    with mpl.rc_context():
        rc: Any = mpl.rcParams
        rc.update({name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith("backend")})
        rc.update({**sns.axes_style("ticks"), **own})
        yield
