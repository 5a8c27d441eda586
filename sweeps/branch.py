"""Down to which layer two tasks share one network, with the controls that make the curve honest."""

from dataclasses import replace
from itertools import product
from typing import Literal

from sweeps.grid import card_for, half_named, meetings_of, none_empty
from yosinski.data import halves
from yosinski.data.half import Half
from yosinski.errors import BadInput
from yosinski.experiment.recipes import Recipe, usual
from yosinski.experiment.run import Run

Control = Literal["twin", "shuffled"]


def branch(
    data: str = "emoji",
    network: str = "alexnet32",
    splits: tuple[str, ...] = ("random:0",),
    asks: tuple[str, ...] = (),
    scored: tuple[Literal["A", "B"], ...] = ("A", "B"),
    seeds: tuple[int, ...] = (0,),
    cuts: tuple[int | str, ...] | None = None,
    controls: tuple[Control, ...] = ("twin", "shuffled"),
    recipe: Recipe | None = None,
    examples_per_class: int | None = None,
) -> list[Run]:
    """Bases A and B; ABn, which is scored on both, at every n = 1..N; then for each scored task its controls.

    Tasks are the two halves of a split; with asks=class,domain they are two questions about the pictures of half A.
    controls: AAnA, the same task twice, and A~BnA, with the labels of B shuffled. At n = 0 nothing is shared, and a
    joint network is two bases, bit for bit: it is not trained unless it is among `cuts`. recipe: of the joint networks;
    the bases have the same without `step`, `gradient` and `weighting`.
    """
    card = card_for(data, network)
    wanted = meetings_of(network, cuts)
    wanted = [n for n in wanted if n or cuts]
    recipe = recipe or usual(network)
    none_empty(splits=splits, scored=scored, seeds=seeds)
    if asks and len(set(asks)) != 2:
        raise BadInput(f"parameter asks takes two different questions, such as class,domain, not {','.join(asks)}")
    runs = []
    for seed, split in product(seeds, splits):
        pair = [half_named(card, f"{split}:{letter}") for letter in ("A", "B")]
        if asks:
            pair = [
                replace(halves.asking(card, pair[0], question), letter=letter)
                for question, letter in zip(asks, ("A", "B"), strict=True)
            ]
        bases = {
            half.letter: Run(network, half, recipe.alone, seed, examples_per_class=examples_per_class) for half in pair
        }
        runs += bases.values()
        runs += [_joint(bases["A"], recipe, n, bases["B"].half) for n in wanted]
        for control, letter in product(controls, scored):
            target, other = bases[letter], bases["B" if letter == "A" else "A"].half
            partner = target.half if control == "twin" else replace(other, shuffled=True)
            runs += [_joint(target, recipe, n, partner) for n in wanted]
    return runs


def _joint(base: Run, recipe: Recipe, n: int, partner: Half) -> Run:
    return replace(base, recipe=recipe, treatment="joint", cut=n, partners=(partner,))
