"""The paper's main experiment: both halves of a split, cut at every layer, frozen and fine-tuned, with selffers."""

from collections.abc import Sequence
from typing import Any

from yosinski import data as data_sets
from yosinski import halves
from yosinski.catalogue import architecture
from yosinski.cuts import chosen
from yosinski.data import Card
from yosinski.recipes import usual
from yosinski.spec import COPIES, BadInput, Half, Recipe, Run, Treatment, choose


def figure2(
    data: str = "emoji",
    network: str = "alexnet32",
    splits: tuple[str, ...] = ("random:0",),
    directions: tuple[str, ...] = ("AB", "BA"),
    seeds: tuple[int, ...] = (0,),
    cuts: tuple[int | str, ...] | None = None,
    treatments: tuple[Treatment, ...] = ("frozen", "tuned"),
    random: tuple[str, ...] = (),
    recipe: Recipe | None = None,
    examples_per_class: int | None = None,
) -> list[Run]:
    """Bases A and B; for direction AB the copies AnB, AnB+ and their selffer controls BnB, BnB+ at every cut.

    treatments: of copies, see `Run`. random: initialisers of random frozen features RnB, if any, or `matched`, which
    draws them like the weights of the source's base. cuts: None for all. The order is that in which they are wanted:
    one complete thin curve first, replicates later.
    """
    card, wanted = card_for(data, network), cuts_of(network, cuts)
    recipe = recipe or usual(network)
    none_empty(splits=splits, directions=directions, seeds=seeds)
    if not random:
        none_empty(treatments=treatments)
    runs = []
    for seed in seeds:
        for split in splits:
            for source, target in pairs(card, split, directions, network, recipe, seed, examples_per_class):
                runs += [target, source, *copies(target, (target, source), wanted, treatments)]
                runs += random_features(target, source, wanted, random)
    return runs


def copies(target: Run, parents: Sequence[Run], cuts: Sequence[int], treatments: Sequence[Treatment]) -> list[Run]:
    """Copies with this target, cut from these bases, in all these ways; BadInput for a treatment without a parent."""
    for treatment in treatments:
        choose("treatment", treatment, list(COPIES))
    return [target.copy(n, treatment, parent) for treatment in treatments for parent in parents for n in cuts]


def random_features(target: Run, source: Run, cuts: Sequence[int], initialisers: Sequence[str]) -> list[Run]:
    """RnB with each of these initialisers; `matched` ones are drawn like the weights of the source."""
    return [
        target.copy(n, "random", source if initialiser == "matched" else None, initialiser)
        for initialiser in initialisers
        for n in cuts
    ]


def pairs(
    card: Card,
    split: str,
    directions: Sequence[str],
    network: str,
    recipe: Recipe,
    seed: int = 0,
    examples_per_class: int | None = None,
) -> list[tuple[Run, Run]]:
    """For every direction the base of its source and that of its target: (A, B) for AB."""
    for direction in directions:
        choose("direction", direction, ("AB", "BA"))
    both = halves.split(card, split)
    bases = {
        letter: Run(network, half, recipe, seed, examples_per_class=examples_per_class)
        for letter, half in {"A": both.a, "B": both.b}.items()
    }
    return [(bases[source], bases[target]) for source, target in directions]


def card_for(data: str, network: str) -> Card:
    """The card of a data set; where its text leaves open how large images are stored, as the network wants them."""
    return data_sets.card(data_sets.suited(data, architecture(network).side))


def all_classes(card: Card) -> Half:
    """A task of all classes of a data set, in the domain of its halves; the letter is All."""
    return Half(card.name, card.fingerprint, card.classes, card.default_domain, "All", "all", card.rule)


def cuts_of(network: str, cuts: Sequence[int | str] | None) -> list[int]:
    """The cuts that are asked for by number, name or word (see `yosinski.cuts`), or all of the network's."""
    none_empty(cuts=cuts)
    return chosen(network, cuts)


def none_empty(**given: Sequence[Any] | None) -> None:
    """BadInput if one of these parameters is an empty list."""
    for name, value in given.items():
        if value is not None and not value:
            raise BadInput(f"parameter {name} is empty")
