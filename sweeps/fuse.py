"""Where two inputs of one example meet: towers of n segments, joined, with the controls that make the curve honest."""

from dataclasses import replace
from itertools import product
from typing import Literal

from sweeps.grid import card_for, half_named, meetings_of, none_empty
from yosinski.data.card import Card
from yosinski.data.half import Half
from yosinski.data.halves import pictured
from yosinski.data.place import FORMS, Place, is_text
from yosinski.data.sources.columns import GREY
from yosinski.errors import BadInput, choose, some
from yosinski.experiment.recipes import Recipe, usual
from yosinski.experiment.run import Run

Control = Literal["same", "afresh", "exchanged"]
TOWER = "textnet"


def fuse(
    data: str = "emoji",
    network: str = "alexnet32",
    x: str = "twemoji",
    y: str = "noto",
    splits: tuple[str, ...] = ("random:0",),
    halves: tuple[str, ...] = ("A",),
    seeds: tuple[int, ...] = (0,),
    cuts: tuple[int | str, ...] | None = None,
    controls: tuple[Control, ...] = ("same", "afresh", "exchanged"),
    recipe: Recipe | None = None,
    examples_per_class: int | None = None,
    tower: str = TOWER,
) -> list[Run]:
    """Bases that see x alone and y alone; xynA at every n = 0..N, then its controls xxnA, xznA and x~ynA.

    x, y: domains of the data set, whose images of an example agree in class and number; "grey" is x without colours.
    halves: A or B of each split, the tasks. controls: y is the same pixels, another view of x's picture, or another
    example's. recipe: of the fused networks; the bases have the same without `join`.

    x and y may also be data sets, such as emoji and words:en, with the classes of `data`; their examples of a class are
    paired in turn. Of texts, the vector that the whole network `tower` makes joins the pictures' network at n.
    """
    card, wanted = card_for(data, network), meetings_of(network, cuts)
    recipe = recipe or usual(network)
    none_empty(splits=splits, halves=halves, seeds=seeds)
    runs = []
    for seed, split, letter in product(seeds, splits, halves):
        half = half_named(card, f"{split}:{choose('half', letter, ('A', 'B'))}")
        first, other = (
            input_of(card, half, domain, name, tower if is_text(domain) else network)
            for domain, name in ((x, "x"), (y, "y"))
        )
        if y == GREY:
            other = replace(first, grey=True, input="y")
        if first.reads == "texts" and other.reads == "pictures":
            raise BadInput(f"input x, {x}, has texts and y has pictures: let x be the pictures and y the texts")
        if first == other:
            raise BadInput(f"inputs x and y are both {x}: choose two, or let y be {GREY}")
        if other.reads == "pictures" and tower != TOWER:
            raise BadInput(f"tower {tower} is a network for texts, and input y, {y}, has pictures")
        networks = [tower if one.reads == "texts" else network for one in (first, other)]
        bases = [
            Run(own, one, recipe.alone.read(one.reads), seed, examples_per_class=examples_per_class)
            for own, one in zip(networks, (first, other), strict=True)
        ]
        partners = [other, *(_control(first, other, control) for control in controls)]
        runs += bases + [_fused(bases[0], recipe, n, partner, tower) for partner in partners for n in wanted]
    return runs


def input_of(card: Card, half: Half, domain: str, name: str, network: str) -> Half:
    """The half as one domain pictures it, or as another data set shows its classes. Of grey the half itself: y only."""
    if domain == GREY and name == "y":
        return half
    if domain in card.domains:
        return pictured(card, replace(half, domain=(domain,), input=name))
    try:
        Place.of(domain)
    except BadInput:
        known = ", ".join((*card.domains, *FORMS))
        if domain == GREY:
            raise BadInput(
                f"input x cannot be {GREY}, only y, which is x without its colours; choose from: {known}"
            ) from None
        raise BadInput(f"unknown domain of {card.name} or data set {domain!r}; choose from: {known}") from None
    other = card_for(domain, network)
    if missing := [one for one in half.classes if one not in other.classes]:
        raise BadInput(f"input {name}: {other.name} lacks classes of {card.name}: {some(missing, 5)}")
    shown = {"data": other.name, "fingerprint": other.fingerprint, "domain": other.default_domain, "rule": other.rule}
    return replace(half, **shown, input=name)


def _control(first: Half, other: Half, control: str) -> Half:
    """The second input of a control."""
    if control == "exchanged":
        return replace(other, drawn="exchanged")
    return replace(first, drawn=control, input={"same": "x", "afresh": "z"}[control])


def _fused(base: Run, recipe: Recipe, n: int, partner: Half, tower: str) -> Run:
    texts = partner.reads == "texts"
    recipe = recipe if texts else replace(recipe, length=0)
    towers = (tower,) if texts else ()
    return replace(base, recipe=recipe, treatment="fused", cut=n, partners=(partner,), towers=towers)
