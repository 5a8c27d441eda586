"""The runs of single cells of a sweep: what `yosinski decide` trains, round by round.

A cell is a place (a split, a division or a seed, as a number from 0) with a choice: a treatment and its cut n, or
("base", 0) for training from scratch. Of networks that share (sweeps fuse and branch) the choices are those with the
other input or task; their controls, which explain an answer but are no choices, are cells as well, with what the
partner is in place of the treatment: ("same", 3). Files that `yosinski decide` writes call `of_cells`.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import sweeps
from yosinski.data.halves import kind
from yosinski.errors import BadInput
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import control, relation

BASE = ("base", 0)
VARIED = ("splits", "divisions", "seeds")  # parameters that places may differ in, the first choice first
MOST = 30  # places of a sweep that names none
FEWEST = 3  # places that an answer takes: `analysis.paired`
ONCE = {"directions": ("AB",), "scored": ("A",)}  # the other direction is no replicate, nor are B's controls
ALIKE: dict[str, Callable[[Run], Any]] = {  # what choices must agree in to be compared: `analysis.advice.blocks`
    "network": lambda run: run.network,
    "examples_per_class": lambda run: run.examples_per_class,
    "preserved": lambda run: run.preserved,
    "recipe": lambda run: run.recipe.digest,
    "kind of split": lambda run: kind(run.half.split),
    "base": lambda run: _kind_of_base(run.parent),
}


@dataclass(frozen=True)
class Choosing:
    """A sweep with its arguments, of which single cells are trained."""

    name: str
    values: Mapping[str, Any]

    @cached_property
    def sweep(self) -> sweeps.Sweep:
        """The sweep's function. BadInput if it has no cuts and treatments (or controls) to choose from."""
        sweep = sweeps.find(self.name)
        parameters = inspect.signature(sweep).parameters
        lacks = [name for name in ("cuts", "treatments") if name not in parameters]
        if lacks and not {"cuts", "controls"} <= parameters.keys():
            raise BadInput(f"sweep {self.name} has no parameter {' and no '.join(lacks)}: there is nothing to decide")
        return sweep

    @cached_property
    def places(self) -> list[dict[str, tuple[Any, ...]]]:
        """The arguments of every place, which differ in one parameter only.

        That is the first of `VARIED` of which the user names several values; or else the splits, or, where these are
        not random, the seeds, `MOST` of them from the first on that the user or the sweep names.
        """
        of_sweep = inspect.signature(self.sweep).parameters
        named = {name: tuple(self.values[name]) for name in VARIED if name in self.values and name in of_sweep}
        usual = {name: of_sweep[name].default for name in VARIED if name in of_sweep}
        found = {name: named.get(name) or (value if isinstance(value, tuple) else ()) for name, value in usual.items()}
        several = [name for name, values in named.items() if len(values) > 1]
        random = all(re.fullmatch("random:[0-9]+", split) for split in found.get("splits", ()))
        if several or (len(found.get("splits", ())) > 1 and not random):
            varied = several[0] if several else "splits"
            values = found[varied]
        elif "splits" in found and random:
            varied, first = "splits", int(next(iter(found["splits"]), "random:0").removeprefix("random:"))
            values = tuple(f"random:{k}" for k in range(first, first + MOST))
        elif "seeds" in found:
            varied, first = "seeds", next(iter(found["seeds"]), 0)
            values = tuple(range(first, first + MOST))
        else:
            raise BadInput(f"sweep {self.name} has no splits, divisions or seeds that could replicate it")
        if len(set(values)) < FEWEST:
            raise BadInput(f"{len(set(values))} {varied} decide nothing: name at least {FEWEST}, or one, or none")
        # What a sweep replicates by itself, such as its usual seeds, is once enough at each place.
        once = {name: values[:1] for name, values in found.items() if name not in named and len(values) > 1}
        return [{**once, varied: (value,)} for value in dict.fromkeys(values)]

    @property
    def varied(self) -> str:
        """The parameter that places differ in."""
        return list(self.places[0])[-1]

    def named(self, places: Sequence[int]) -> str:
        """Places in words, such as "splits random:1, random:2"."""
        values = ", ".join(str(self.places[place][self.varied][0]) for place in places)
        return f"{self.varied.removesuffix('s')}{'s' * (len(places) > 1)} {values}"

    @cached_property
    def choices(self) -> list[tuple[str, int]]:
        """All choices at one place, training from scratch first if the sweep has such bases.

        BadInput if there are fewer than two, or if some cannot be compared with others.
        """
        runs = self._runs(0)
        copies = [run for run in runs if _is_choice(run)]
        kinds = {name: {about(run) for run in copies} for name, about in ALIKE.items()}
        kinds["kind of split"] |= {kind(split) for place in self.places for split in place.get("splits", ())}
        for name, values in kinds.items():
            if len(values) > 1:
                found = ", ".join(sorted(map(str, values)))
                what = "networks" if self.shares else "copies"
                raise BadInput(f"sweep {self.name} mixes {what} that cannot be compared, by {name}: {found}")
        scratch = bool(_bases(runs))
        chosen = list(dict.fromkeys(map(_cell, copies)))
        if len(chosen) + scratch < 2 or not chosen:
            what = "shared networks" if self.shares else "transfer copies"
            raise BadInput(f"sweep {self.name} has {len(chosen)} {what} to choose from: nothing is to decide")
        return [BASE] * scratch + chosen

    @cached_property
    def shares(self) -> str:
        """The treatment of networks that share: "fused" or "joint"; "" for a sweep of copies."""
        return next((run.treatment for run in self._runs(0) if run.partners), "")

    @cached_property
    def controls(self) -> list[tuple[str, int]]:
        """What explains an answer at its n and is no choice: (what the partner is, n), in the order of the sweep."""
        return list(dict.fromkeys(_cell(run) for run in self._runs(0) if run.partners and not _is_choice(run)))

    def of_cells(self, cells: Iterable[tuple[int, tuple[str, int]]]) -> list[Run]:
        """The runs of cells, with the bases that copies are cut from; without selffers.

        With the controls of networks that share come the bases of further inputs: what each is worth alone.
        """
        runs = []
        by_place: dict[int, list[tuple[str, int]]] = {}
        for place, choice in cells:
            by_place.setdefault(place, []).append((choice[0], choice[1]))
        for place, choices in by_place.items():
            every = self._runs(place)
            runs += _bases(every) if BASE in choices else []
            if self.shares and set(choices) & set(self.controls):
                runs += [run for run in every if run.is_base]
            runs += [run for run in every if not run.is_base and not run.selffer and _cell(run) in choices]
        return list(dict.fromkeys(runs))

    def _runs(self, place: int) -> list[Run]:
        """All runs at one place; what is no replicate (`ONCE`) only if the user names it."""
        if place not in self._made:
            parameters = inspect.signature(self.sweep).parameters
            once = {name: value for name, value in ONCE.items() if name in parameters}
            self._made[place] = sweeps.made(self.name, self.sweep, {**once, **self.values, **self.places[place]})
        return self._made[place]

    @cached_property
    def _made(self) -> dict[int, list[Run]]:
        return {}


def of_cells(name: str, texts: Sequence[str], cells: Iterable[tuple[int, tuple[str, int]]]) -> list[Run]:
    """The runs of cells of a sweep with these `name=value` texts as arguments."""
    return choosing(name, texts).of_cells(cells)


def choosing(name: str, texts: Sequence[str]) -> Choosing:
    """A sweep with these `name=value` texts as arguments."""
    return Choosing(name, sweeps.arguments(sweeps.find(name), texts))


def _is_choice(run: Run) -> bool:
    """Whether it is a transfer copy, or shares with another task or input."""
    return _control(run) == "other" if run.partners else relation(run.spec) == "transfer"


def _control(run: Run) -> str:
    return control(run.half, run.partners[0])


def _cell(run: Run) -> tuple[str, int]:
    """The treatment with n; of a control what its partner is."""
    return run.treatment if _is_choice(run) or not run.partners else _control(run), run.cut


def _kind_of_base(base: Run | None) -> str:
    if base is None or not base.is_trained:
        return base.id if base else ""
    return f"recipe {base.recipe.digest}, {base.examples_per_class or 'all'} images per class"


def _bases(runs: Iterable[Run]) -> list[Run]:
    """Those that choices are compared with: trained from scratch on the same images with the same recipe."""
    beside = set()
    for run in filter(_is_choice, runs):
        alone = {"treatment": "base", "cut": 0, "parent": None, "preserved": 0, "partners": ()}
        beside |= {replace(run, **alone, half=task, recipe=run.recipe.alone) for task in run.tasks}
    return [run for run in runs if run in beside]


FILE = '''"""Runs by which `yosinski decide {name}` decides, as far as it has got."""

from sweeps.decide import of_cells

CELLS = [
{cells}
]  # place, and (treatment, n)


def sweep():
    """The runs of CELLS, with the bases that copies are cut from."""
    return of_cells({name!r}, {texts!r}, CELLS)
'''


def as_file(name: str, texts: Sequence[str], cells: Iterable[tuple[int, tuple[str, int]]]) -> str:
    """A Python file with these cells as a sweep. Of a user's own sweep it has the whole path."""
    name = str(Path(name).absolute()) if name.endswith(".py") else name
    return FILE.format(name=name, texts=list(texts), cells="\n".join(f"    {cell!r}," for cell in cells))
