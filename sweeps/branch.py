"""Down to which layer two tasks share one network, with the controls that make the curve honest."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from string import ascii_uppercase
from typing import Literal

from sweeps.grid import card_for, half_named, meetings_of, none_empty
from yosinski.data import halves
from yosinski.data.half import Half
from yosinski.errors import BadInput, choose
from yosinski.experiment.recipes import Recipe, usual
from yosinski.experiment.run import Run

Control = Literal["twin", "shuffled"]


def branch(
    data: str = "emoji",
    network: str = "alexnet32",
    splits: tuple[str, ...] = ("random:0",),
    asks: tuple[str, ...] = (),
    scored: tuple[str, ...] = ("A", "B"),
    seeds: tuple[int, ...] = (0,),
    cuts: tuple[int | str, ...] | None = None,
    controls: tuple[Control, ...] = ("twin", "shuffled"),
    recipe: Recipe | None = None,
    examples_per_class: int | None = None,
) -> list[Run]:
    """Bases A and B; ABn, which is scored on both, at every n = 1..N; then for each scored task its controls.

    Tasks are the two halves of a split; with asks=class,domain they are questions about the pictures of half A, of
    which there may be more than two (ABCnA). controls: AAnA, the same task for all, and A~BnA, with the labels of
    others shuffled. At n = 0 nothing is shared, and a
    joint network is two bases, bit for bit: it is not trained unless it is among `cuts`. recipe: of the joint networks;
    the bases have the same without `step`, `gradient` and `weighting`.
    """
    card = card_for(data, network)
    wanted = meetings_of(network, cuts)
    wanted = [n for n in wanted if n or cuts]
    recipe = recipe or usual(network)
    none_empty(splits=splits, scored=scored, seeds=seeds)
    if asks and not 1 < len(set(asks)) == len(asks):
        raise BadInput(f"parameter asks takes different questions, such as class,domain, not {','.join(asks)}")
    letters = list(ascii_uppercase[: len(asks) or 2])
    for letter in scored:
        choose("task in parameter scored", letter, letters)
    runs = []
    for seed, split in product(seeds, splits):
        halves_of_split = [half_named(card, f"{split}:{letter}") for letter in ("A", "B")]
        asked = [
            replace(halves.asking(card, halves_of_split[0], question), letter=letter)
            for question, letter in zip(asks, letters, strict=False)
        ]
        bases = {
            half.letter: Run(network, half, recipe.alone, seed, examples_per_class=examples_per_class)
            for half in asked or halves_of_split
        }
        runs += bases.values()
        runs += [_joint(bases["A"], recipe, n, _others(bases, "A")) for n in wanted]
        for control, letter in product(controls, scored):
            target, others = bases[letter], _others(bases, letter)
            partners = [target.half if control == "twin" else replace(half, shuffled=True) for half in others]
            runs += [_joint(target, recipe, n, partners) for n in wanted]
    return runs


def _others(bases: Mapping[str, Run], letter: str) -> list[Half]:
    return [base.half for other, base in bases.items() if other != letter]


def _joint(base: Run, recipe: Recipe, n: int, partners: Sequence[Half]) -> Run:
    return replace(base, recipe=recipe, treatment="joint", cut=n, partners=tuple(partners))
