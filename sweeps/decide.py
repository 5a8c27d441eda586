"""The runs of single cells of a sweep: what `yosinski decide` trains, round by round.

A cell is a place (a split, a division or a seed, as a number from 0) with a choice: a treatment and its cut n, or
("base", 0) for training from scratch. Files that `yosinski decide` writes call `of_cells`.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sweeps
from yosinski.errors import BadInput
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import relation

BASE = ("base", 0)
VARIED = ("splits", "divisions", "seeds")  # parameters that places may differ in, the first choice first
MOST = 30  # places of a sweep that names none


@dataclass(frozen=True)
class Choosing:
    """A sweep with its arguments, of which single cells are trained."""

    name: str
    values: Mapping[str, Any]

    @cached_property
    def sweep(self) -> sweeps.Sweep:
        """The sweep's function. BadInput if it has no cuts and treatments to choose from."""
        sweep = sweeps.find(self.name)
        lacks = [name for name in ("cuts", "treatments") if name not in inspect.signature(sweep).parameters]
        if lacks:
            raise BadInput(f"sweep {self.name} has no parameter {' and no '.join(lacks)}: there is nothing to decide")
        return sweep

    @cached_property
    def places(self) -> list[dict[str, tuple[Any, ...]]]:
        """The arguments of every place: the values of the parameter with several, or splits or seeds from 0 on."""
        parameters = inspect.signature(self.sweep).parameters
        varied = [name for name in VARIED if name in parameters]
        given = {name: tuple(self.values[name]) for name in varied if name in self.values}
        for name in varied:
            if len(given.get(name, ())) > 1:
                return [{name: (value,)} for value in given[name]]
        if "splits" in varied and all(split.startswith("random:") for split in given.get("splits", ())):
            first = int(given.get("splits", ("random:0",))[0].removeprefix("random:"))
            return [{"splits": (f"random:{k}",)} for k in range(first, first + MOST)]
        if "seeds" in varied:
            return [{"seeds": (seed,)} for seed in range(MOST)]
        raise BadInput(f"sweep {self.name} has no splits, divisions or seeds that could replicate it")

    @cached_property
    def choices(self) -> list[tuple[str, int]]:
        """All choices at one place, training from scratch first if the sweep has such bases."""
        runs = self._runs(self.places[0])
        copies = sorted({(run.treatment, run.cut) for run in runs if _is_transfer(run)}, key=lambda choice: choice[1])
        if not copies:
            raise BadInput(f"sweep {self.name} has no transfer copies: there is nothing to decide")
        targets = {run.half for run in runs if _is_transfer(run)}
        scratch = any(run.parent is None and run.is_trained and run.half in targets for run in runs)
        return [BASE] * scratch + copies

    def of_cells(self, cells: Iterable[tuple[int, tuple[str, int]]]) -> list[Run]:
        """The runs of cells, with the bases that copies are cut from; without selffers."""
        runs = []
        by_place: dict[int, list[tuple[str, int]]] = {}
        for place, choice in cells:
            by_place.setdefault(place, []).append((choice[0], choice[1]))
        for place, choices in by_place.items():
            every = self._runs(self.places[place])
            copies = [run for run in every if _is_transfer(run)]
            targets = {run.half for run in copies}
            if BASE in choices:
                runs += [run for run in every if run.parent is None and run.is_trained and run.half in targets]
            runs += [run for run in copies if (run.treatment, run.cut) in choices]
        return runs

    def _runs(self, place: Mapping[str, Any]) -> list[Run]:
        """All runs at one place; in one direction unless the user names some, since the other one is no replicate."""
        parameters = inspect.signature(self.sweep).parameters
        one_way = {"directions": ("AB",)} if "directions" in parameters and "directions" not in self.values else {}
        return self.sweep(**{**self.values, **one_way, **place})


def of_cells(name: str, texts: Sequence[str], cells: Iterable[tuple[int, tuple[str, int]]]) -> list[Run]:
    """The runs of cells of a sweep with these `name=value` texts as arguments."""
    return choosing(name, texts).of_cells(cells)


def choosing(name: str, texts: Sequence[str]) -> Choosing:
    """A sweep with these `name=value` texts as arguments."""
    return Choosing(name, sweeps.arguments(sweeps.find(name), texts))


def _is_transfer(run: Run) -> bool:
    return relation(run.spec) == "transfer"


FILE = '''"""Runs by which `yosinski decide {name}` decides where to cut, as far as it has got."""

from sweeps.decide import of_cells

CELLS = [
{cells}
]  # place, and (treatment, n)


def sweep():
    """The runs of CELLS, with the bases that copies are cut from."""
    return of_cells({name!r}, {texts!r}, CELLS)
'''


def as_file(name: str, texts: Sequence[str], cells: Iterable[tuple[int, tuple[str, int]]]) -> str:
    """A Python file with these cells as a sweep."""
    return FILE.format(name=name, texts=list(texts), cells="\n".join(f"    {cell!r}," for cell in cells))
