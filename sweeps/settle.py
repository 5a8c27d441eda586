"""Runs that settle an open question: the copies that may be best, in every half, with bases for comparison.

Files written by `yosinski advise` call these functions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

from sweeps.grid import pairs
from sweeps.transfer import transfer
from yosinski.data import find
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import CopiesTreatment

Choices = Iterable[tuple[CopiesTreatment, int]]  # pairs of a treatment and a cut n


def settle(
    choices: Choices,
    data: str,
    network: str,
    splits: Sequence[str],
    seeds: Sequence[int],
    recipe: Recipe,
    examples: int | None = None,
    of_bases: int | None = None,
    divisions: Sequence[int] = (0,),
) -> list[Run]:
    """These copies on every split, division and seed, in both directions, with bases on the same number of images.

    examples: images per class for copies; of_bases: for the bases that they are cut from; None: all.
    """
    card, runs = find.card(data), []
    for division, seed, split in product(divisions, seeds, splits):
        for source, target in pairs(card, split, ("AB", "BA"), network, recipe, seed, division=division):
            target = replace(target, examples_per_class=examples)
            source = replace(source, examples_per_class=of_bases)
            runs += [target, source, *(target.copy(n, treatment, source) for treatment, n in choices)]
    return runs


def settle_weights(
    choices: Choices,
    data: str,
    network: str,
    weights: str,
    halves: Sequence[str],
    seeds: Sequence[int],
    recipe: Recipe,
    examples: int | None = None,
    divisions: Sequence[int] = (0,),
) -> list[Run]:
    """These copies of weights from outside on every half, division and seed, with bases on the same images."""
    runs = []
    for half in halves:
        for treatment, n in choices:
            options = {"recipe": recipe, "examples_per_class": examples, "half": half, "divisions": tuple(divisions)}
            runs += transfer(data, network, weights, (n,), (treatment,), tuple(seeds), **options)
    return runs
