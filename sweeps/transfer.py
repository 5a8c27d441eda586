"""The practitioner's experiment: weights from outside, cut for your own data."""

from dataclasses import replace
from itertools import product
from pathlib import Path

from sweeps.grid import check_treatments, cuts_of, half_named, none_empty
from yosinski.data import find, place
from yosinski.errors import BadInput, count
from yosinski.experiment.recipes import Recipe, usual
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import CopiesTreatment
from yosinski.networks.catalogue import architecture, tokens_of
from yosinski.networks.encoders.known import is_encoder
from yosinski.pretrained import outside
from yosinski.pretrained.source import TOKENS, VECTORS, Weights

USUAL = ("stages",)


def _tokens(data: str, network: str) -> Path | None:
    """The tokenizer of a data set of texts, for a network that has none of its own."""
    return place.Place.of(data).tokens if place.is_text(data) and not is_encoder(network) else None


def suited(data: str, network: str, description: Weights) -> str:
    """The text of a data set for a network: stored as its weights saw images, or as tokens of its tokenizer."""
    side, saw = architecture(network).side, description.preprocessing
    as_weights_saw = (saw.stored(side), saw.interpolation) if saw else (None, None)
    return place.suited(data, side, *as_weights_saw, tokens=tokens_of(network))


def within(description: Weights, wanted: list[int], cuts: tuple[int | str, ...]) -> list[int]:
    """The cuts for weights of the first segments alone: the last of them, or those that were asked for.

    BadInput if some lie above.
    """
    reach = description.reach
    assert reach is not None
    if cuts == USUAL:
        return [reach]
    if above := [n for n in wanted if n > reach]:
        raise BadInput(
            f"{description.source} has weights of the first {count(reach, 'segment')} alone: cuts={reach}, not "
            f"{', '.join(map(str, above))}"
        )
    return wanted


def transfer(
    data: str,
    network: str = "resnet18",
    weights: str = "",
    cuts: tuple[int | str, ...] = USUAL,
    treatments: tuple[CopiesTreatment, ...] = ("frozen", "tuned"),
    seeds: tuple[int, ...] = (0, 1, 2),
    scratch: bool = True,
    selffers: bool = False,
    recipe: Recipe | None = None,
    examples_per_class: int | None = None,
    half: str = "all",
    divisions: tuple[int, ...] = (0,),
) -> list[Run]:
    """Copies WnB, WnB+ of weights from outside, trained on all classes of a data set (or on a half: `random:0:B`).

    weights: "" for the default of the network's library; see `yosinski.pretrained.source`. scratch: also a base trained
    on the same images without the weights. selffers: also copies BnB, BnB+ of that base, which separate co-adaptation
    from specificity. Unless the text of the data set says otherwise, images are stored with the size and the filter of
    the weights' preprocessing. divisions: of train and select images, which are divided anew in those above 0.
    """
    none_empty(treatments=treatments, seeds=seeds, divisions=divisions)
    check_treatments(treatments)
    if selffers and not scratch:
        raise BadInput("selffers are cut from the base from scratch: leave out scratch=false")
    if weights.startswith(VECTORS) and TOKENS not in weights and (tokens := _tokens(data, network)):
        weights += f"{TOKENS}{tokens}"
    recipe, description = recipe or usual(network), outside.described(network, weights)
    wanted = cuts_of(network, cuts)
    if description.reach is not None:
        wanted = within(description, wanted, cuts)
    card = find.card(suited(data, network, description))
    source = outside.base(network, description)
    runs = [source]
    for division, seed in product(divisions, seeds):
        target = replace(half_named(card, half, division), letter="B", split=half)
        base = Run(network, target, recipe, seed, examples_per_class=examples_per_class)
        runs += [base] * scratch
        for treatment in treatments:
            for parent in [base, source] if selffers else [source]:
                runs += [base.copy(n, treatment, parent) for n in wanted]
    return runs
