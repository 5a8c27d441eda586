"""Packs that are trained in the process of a test."""

from collections.abc import Callable
from dataclasses import replace

from yosinski import procedure
from yosinski.environment import Where
from yosinski.experiment.run import Run
from yosinski.records import specs


def train(where: Where, runs: list[Run], stopping: Callable[[], bool] = lambda: False) -> None:
    for run in runs:
        specs.enrol(where.runs, run)
    procedure.run_pack([run.id for run in runs], where, stopping=stopping)


def with_views(runs: list[Run], views: int) -> list[Run]:
    """The same copies on so many views of every image, or on ever new ones."""
    return [replace(run, recipe=run.recipe.with_values({"views": views})) for run in runs]


def brief(target: Run, epochs: float = 3.0) -> Run:
    """The same base, whose copies are trained for less: where it does not matter what they have learned."""
    return replace(target, recipe=target.recipe.with_values({"epochs": epochs}))
