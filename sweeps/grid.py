"""Helpers for sweeps: pairs of bases, copies at all cuts, and halves."""

from collections.abc import Sequence
from typing import Any

from yosinski.data import find, halves, place
from yosinski.data.card import Card
from yosinski.data.half import Half
from yosinski.errors import BadInput, choose
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import CopiesTreatment
from yosinski.experiment.treatments import copies as that_have_a_parent
from yosinski.networks.catalogue import architecture, tokens_of
from yosinski.networks.cuts import chosen


def copies(
    target: Run, parents: Sequence[Run], cuts: Sequence[int], treatments: Sequence[CopiesTreatment]
) -> list[Run]:
    """Copies with this target: all combinations of bases, cuts and treatments. BadInput for one without a parent."""
    check_treatments(treatments)
    return [target.copy(n, treatment, parent) for treatment in treatments for parent in parents for n in cuts]


def check_treatments(treatments: Sequence[CopiesTreatment]) -> None:
    """BadInput for a treatment without a parent, which needs another function."""
    for treatment in treatments:
        choose("treatment", treatment, that_have_a_parent())


def random_features(target: Run, source: Run, cuts: Sequence[int], initialisers: Sequence[str]) -> list[Run]:
    """RnB for each of these initialisers; `matched` ones are drawn like the weights of the source."""
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
    division: int = 0,
) -> list[tuple[Run, Run]]:
    """For every direction the bases of source and target, of the same division: (A, B) for AB."""
    for direction in directions:
        choose("direction", direction, ("AB", "BA"))
    halves_of_split = halves.split(card, split, division)
    bases = {
        letter: Run(network, half, recipe, seed, examples_per_class=examples_per_class)
        for letter, half in {"A": halves_of_split.a, "B": halves_of_split.b}.items()
    }
    return [(bases[source], bases[target]) for source, target in directions]


def card_for(data: str, network: str) -> Card:
    """The card of a data set. If its text leaves the side of stored images open, it is chosen for the network."""
    return find.card(place.suited(data, architecture(network).side, tokens=tokens_of(network)))


def all_classes(card: Card) -> Half:
    """A half with all classes of a data set, in the default domain; the letter is All."""
    return Half(card.name, card.fingerprint, card.classes, card.default_domain, "All", "all", card.rule)


def cuts_of(network: str, cuts: Sequence[int | str] | None) -> list[int]:
    """The selected cuts by number, name or word (see `yosinski.networks.cuts`); None: all."""
    none_empty(cuts=cuts)
    return chosen(network, cuts)


def meetings_of(network: str, cuts: Sequence[int | str] | None) -> list[int]:
    """The selected places of networks with partners: cuts, or 0 for the input; None: all, from 0."""
    none_empty(cuts=cuts)
    if cuts is None:
        return [0, *cuts_of(network, None)]
    zero = [0] if any(str(cut) == "0" for cut in cuts) else []
    others = [cut for cut in cuts if str(cut) != "0"]
    try:
        return zero + (cuts_of(network, others) if others else [])
    except BadInput as error:
        raise BadInput(f"{error}; or 0, the input") from error


def none_empty(**parameters: Sequence[Any] | None) -> None:
    """BadInput if one of these parameters is an empty list."""
    for name, value in parameters.items():
        if value is not None and not value:
            raise BadInput(f"parameter {name} is empty")


def half_named(card: Card, name: str, division: int = 0) -> Half:
    """`all` classes, or a half by its split and letter, such as random:0:A."""
    if name == "all":
        return halves.divided(card, all_classes(card), division)
    split, _, letter = name.rpartition(":")
    choose("end of parameter half", letter, ("A", "B"))
    halves_of_split = halves.split(card, split, division)
    return {"A": halves_of_split.a, "B": halves_of_split.b}[letter]
