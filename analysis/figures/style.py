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

GREY = "0.45"
_COLOURS = [to_hex(colour) for colour in sns.color_palette("colorblind")]


@dataclass(frozen=True)
class Look:
    """Of one series."""

    meaning: str
    colour: str
    marker: str
    line: Any  # as matplotlib names line styles


LOOKS = {
    "base": Look("trained from scratch", "#222222", "o", "--"),
    "BnB": Look("selffer, frozen", _COLOURS[0], "s", "-"),
    "BnB+": Look("selffer, fine-tuned", _COLOURS[9], "D", (0, (2.5, 1))),
    "AnB": Look("transfer, frozen", _COLOURS[3], "^", (0, (8, 1, 1.5, 1))),
    "AnB+": Look("transfer, fine-tuned", _COLOURS[1], "v", (0, (5, 1.5))),
    **{
        f"{copy}+{treatment}": Look(f"{relation}, {meaning}", _COLOURS[colour], marker, line)
        for copy, relation, line in (("BnB", "selffer", ":"), ("AnB", "transfer", (0, (4, 1, 1, 1, 1, 1))))
        for treatment, (meaning, colour, marker) in {
            "decayed": ("slower the deeper", 5, "<"),
            "probed": ("probed, then fine-tuned", 6, ">"),
            "thawed": ("unfrozen one by one", 7, "p"),
            "single": ("one segment fine-tuned", 8, "h"),
        }.items()
    },
    "outside": Look("trained elsewhere", "#222222", "*", "--"),
    "RnB": Look("random features, frozen", _COLOURS[2], "X", (0, (1, 1))),
}
UNLIKE = _COLOURS[4]  # of transfer between unlike halves, beside AnB on random splits
_RANDOM = {"kaiming": (2, "X"), "xavier": (4, "P"), "orthogonal": (5, "*"), "gaussian": (7, "p")}


def look(series: str, pale: bool = False) -> Look:
    """The look of a series; that of random features varies with their initialiser ("RnB xavier").

    pale: as published networks are drawn beneath a user's own.
    """
    known, _, initialiser = series.partition(" ")
    its = LOOKS[known]
    if initialiser:
        colour, marker = _RANDOM[initialiser]
        its = Look(its.meaning, _COLOURS[colour], marker, its.line)
    return replace(its, colour=faded(its.colour)) if pale else its


def faded(colour: str) -> str:
    """The colour in a pale, greyish tone."""
    return to_hex(sns.blend_palette([sns.desaturate(colour, 0.6), "white"], 20)[10])


def in_order(series: Iterable[str]) -> list[str]:
    """Each series once, in the order of legends."""
    return sorted(set(series), key=lambda name: (list(LOOKS).index(name.partition(" ")[0]), name))


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
