"""What sharing costs and why: joint and fused networks, their controls and the bases, on the same target.

All numbers are in points of accuracy. `docs/where-to-fuse.md` and `docs/where-to-branch.md` have formulas and sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.advice.blocks import replicates_of
from analysis.advice.contrasts import PAIRED_BY, Contrast, decompose
from analysis.frame import distinct
from analysis.paired import METRICS, kind_of_split, trained
from yosinski.errors import BadInput, choose
from yosinski.experiment.recipes import SHARING

BASE = "base"
WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Kind:
    """One of the two questions.

    treatment: of its runs; controls: what partners are, in the order of legends, with their marks in notation and their
    meanings; contrasts: the last is the total; sums: those that add up to it, one after the other; scored: the task;
    number: of tasks or inputs.
    """

    treatment: str
    question: str
    controls: dict[str, tuple[str, str]]
    contrasts: tuple[Contrast, ...]
    sums: tuple[tuple[str, ...], ...]
    scored: str = "A"
    number: int = 2

    @property
    def several(self) -> str:
        """The number of tasks or inputs as a word."""
        return _word(self.number)

    @property
    def total(self) -> Contrast:
        """The shared network against the base."""
        return self.contrasts[-1]

    @property
    def chain(self) -> tuple[str, ...]:
        """The contrasts that figures and sentences take the total apart into."""
        return self.sums[0]

    @property
    def adding(self) -> str:
        """What adds up: "H + G = N + L = T"."""
        return " = ".join([*map(" + ".join, self.sums), self.total.name])


def _word(number: int) -> str:
    return WORDS[number] if number < len(WORDS) else str(number)


FUSE = Kind(
    "fused",
    "where two inputs meet",
    {
        BASE: ("x", "x alone"),
        "same": ("xx", "the same pixels twice"),
        "afresh": ("xz", "another view of the same picture"),
        "other": ("xy", "both inputs"),
        "exchanged": ("x~y", "another example's y"),
    },
    (
        Contrast("K", "capacity of a second tower", "same", BASE),
        Contrast("R", "a second look", "afresh", "same"),
        Contrast("I", "the other input", "other", "afresh"),
        Contrast("E", "the other input at equal cost", "other", "same"),
        Contrast("D", "distraction by a useless input", "exchanged", "same"),
        Contrast("T", "both inputs against x alone", "other", BASE),
    ),
    (("K", "R", "I"),),
)


def branch(scored: str = "A", tasks: Sequence[str] = ("A", "B")) -> Kind:
    """The question of joint networks, scored on one of their tasks."""
    others, number = [name for name in tasks if name != scored], len(tasks)
    other, its, every, times = ("task", "its", "both", "twice")
    if number > 2:
        other, its, every, times = ("tasks", "their", "all", f"{number} times")
    return Kind(
        "joint",
        "down to which layer tasks share a network",
        {
            BASE: (scored, f"{scored} alone"),
            "twin": (scored * number, f"the same task {times}"),
            "other": ("".join(tasks), f"{every} tasks"),
            "shuffled": ("~".join([scored, *others]), f"{' and '.join(others)} with shuffled labels"),
        },
        (
            Contrast("H", f"{_word(number)} heads for one task", "twin", BASE),
            Contrast("G", f"content of the other {other}", "other", "twin"),
            Contrast("N", f"load of the other {other} without {its} labels", "shuffled", BASE),
            Contrast("L", f"labels of the other {other}", "other", "shuffled"),
            Contrast("T", f"{every} tasks against {scored} alone", "other", BASE),
        ),
        (("H", "G"), ("N", "L")),
        scored,
        number,
    )


BRANCH = branch()
KINDS = {"fuse": FUSE, "branch": BRANCH}
_BY_SWEEP = "one sweep with --sweep, by its name or that of its file in runs/sweeps"
_ALIKE = ("network", "data", "semantics", "examples_per_class")


def runs_of(frame: pd.DataFrame, kind: Kind, metric: str) -> pd.DataFrame:
    """The runs of one question, with the bases on their targets: one row per run and task.

    Columns beside those of the frame: `value` (the metric), `counts` (whether the run is done and has a value),
    `series` (base, or what the partner is), `replicate` (the split, division or seed), and `replicates` (which of
    these; see `advice.blocks.replicates_of`).
    BadInput: no such runs, or runs that mix what must not be averaged.
    """
    choose("metric", metric, METRICS)
    last: Any = trained(frame.loc[frame["last"]])
    shared: Any = last.loc[(last["treatment"] == kind.treatment).fillna(False)]
    if shared.empty:
        raise BadInput(f"there are no {kind.treatment} runs here; the sweep {_sweep(kind)} makes them")
    _refuse_mixtures(shared, kind)
    values = [f"recipe_{name}" for name in SHARING]
    recipe = [name for name in last.columns if name.startswith("recipe_") and name not in values]
    alike = pd.Series(True, last.index)
    for name in (*_ALIKE, *recipe):
        one = shared[name].iloc[0]
        alike &= last[name].isna() if pd.isna(one) else (last[name] == one).fillna(False)
    base = alike & (last["treatment"] == "base") & last["target_half"].isin(shared["target_half"])
    runs: Any = pd.concat([last.loc[base], shared], ignore_index=True)
    runs["series"] = runs["control"].fillna(BASE)
    runs["value"] = runs[metric]
    runs["counts"] = (runs["state"] == "done") & runs["value"].notna()
    as_copies = runs.assign(relation=runs["series"].where(runs["series"] == BASE, "transfer"), treatment=runs["series"])
    runs["replicates"] = replicates_of(as_copies)
    runs["replicate"] = runs[runs["replicates"].iloc[0]].astype("string")
    return runs


def scored_in(runs: pd.DataFrame, kind: Kind) -> Kind:
    """The question, in the words of the task that these runs are scored on; of several tasks those of the first."""
    if kind is FUSE:
        return kind
    scored = min(runs["target"])
    shared: Any = runs.loc[(runs["series"] == "other") & (runs["target"] == scored), "partners"].dropna()
    return branch(scored, sorted([scored, *shared.iloc[0].split()])) if len(shared) else branch(scored)


def check_bases(runs: pd.DataFrame) -> None:
    """BadInput if no base is done."""
    done: Any = runs["counts"] & (runs["series"] == BASE)
    if not done.any():
        raise BadInput("no base is done, so that there is nothing to compare with; widen --where or --sweep")


def contrasts(runs: pd.DataFrame, kind: Kind) -> pd.DataFrame:
    """The contrasts at every n, as `advice.contrasts.decompose` has them; of several targets the mean over targets.

    So that parts add up to their total, all of them are means over the targets and seeds that have, at this n, every
    control of `kind.sums` that any of them has there.
    """
    good: Any = runs.loc[runs["counts"]]
    added = {name for names in kind.sums for name in names}
    parts = [contrast for contrast in kind.contrasts if contrast.name in added]
    among = {series for contrast in parts for series in (contrast.above, contrast.below)}
    own: Any = good.loc[good["series"].isin(among - {BASE})]
    controls = own.groupby([*PAIRED_BY, "n"], dropna=False)["series"].transform("nunique")
    whole = controls == own.groupby("n")["series"].transform("nunique")
    whole |= ~whole.groupby(own["n"]).transform("any")  # where no target has all, nothing adds up
    alike = good.drop(index=own.index[~whole])
    tables = [
        decompose(alike if {contrast.above, contrast.below} <= among else good, [contrast])
        for contrast in kind.contrasts
    ]
    return pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)


def totals(runs: pd.DataFrame, kind: Kind) -> pd.DataFrame:
    """The contrasts, each over all of its pairs, whatever controls are missing: they need not add up."""
    return decompose(runs.loc[runs["counts"]], kind.contrasts)


def explained(runs: pd.DataFrame) -> list[str]:
    """The tasks that have controls; all of them, where none has any."""
    controls = runs.loc[runs["counts"] & ~runs["series"].isin([BASE, "other"])]
    return sorted(set((controls if len(controls) else runs)["target"].dropna()))


def by_task(runs: pd.DataFrame, kind: Kind) -> pd.DataFrame:
    """The totals of each target apart, with a column `target`: what sharing costs each task."""
    rows = [totals(group, kind).assign(target=name) for name, group in runs.groupby("target")]
    return pd.concat(rows, ignore_index=True)


def _sweep(kind: Kind) -> str:
    return next(name for name, other in KINDS.items() if other is kind)


def _refuse_mixtures(shared: Any, kind: Kind) -> None:
    """Raise BadInput where a mean over these runs would be one over unlike things."""
    for name in ("network", "data", "semantics", "recipe", "examples_per_class", "asks"):
        values = shared[name] if name == "examples_per_class" else shared[name].dropna()
        if values.nunique(dropna=False) > 1:
            one = f"choose one with --where {name}=VALUE"
            raise BadInput(f"these runs mix {name}: {distinct(values)}; {one}, or {_BY_SWEEP}")
    if kind_of_split(shared).nunique() > 1:
        splits = distinct(shared["split"].dropna())
        raise BadInput(f"these runs mix kinds of split: {splits}; choose with --where split=VALUE, or {_BY_SWEEP}")
    tasks, partners = ["split", "division", "target"], ["target_half", "split", "division", "control"]
    if kind is FUSE and (shared.groupby(tasks, dropna=False)["target_half"].nunique() > 1).any():
        raise BadInput(f"these runs have several first inputs x of one task; choose those of {_BY_SWEEP}")
    if (shared.groupby(partners, dropna=False)["partner_half"].nunique() > 1).any():
        raise BadInput(f"these runs have several partners; choose those of {_BY_SWEEP}")


def meanings() -> dict[str, str]:
    """What each control means, by what its partner is."""
    return {name: meaning for kind in KINDS.values() for name, (_, meaning) in kind.controls.items() if name != BASE}


def described(kind: Kind, names: Sequence[str]) -> list[str]:
    """Marks and meanings of controls, for a legend: "xy: both inputs"."""
    return [": ".join(kind.controls[name]) for name in names]
