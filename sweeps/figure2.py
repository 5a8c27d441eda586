"""The paper's main experiment: both halves of a split, cut at all layers, frozen and fine-tuned, with selffers."""

from itertools import product

from sweeps.grid import card_for, copies, cuts_of, none_empty, pairs, random_features
from yosinski.experiment.recipes import Recipe, usual
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import CopiesTreatment
from yosinski.networks.catalogue import architecture


def figure2(
    data: str = "emoji",
    network: str = "alexnet32",
    splits: tuple[str, ...] = ("random:0",),
    directions: tuple[str, ...] = ("AB", "BA"),
    seeds: tuple[int, ...] = (0,),
    cuts: tuple[int | str, ...] | None = None,
    treatments: tuple[CopiesTreatment, ...] = ("frozen", "tuned"),
    random: tuple[str, ...] | None = None,
    recipe: Recipe | None = None,
    examples_per_class: int | None = None,
    divisions: tuple[int, ...] = (0,),
) -> list[Run]:
    """Bases A and B; for direction AB the copies AnB, AnB+ and their selffer controls BnB, BnB+ at every cut.

    treatments: of copies, see `Run`. random: initialisers for random frozen features RnB, or `matched`: drawn like the
    weights of the source's base; None: the recipe's for texts, where what two words share in spelling looks like
    knowledge, and none for pictures. cuts: None for all. divisions: of train and select images, which are divided anew
    in those above 0. The order is by priority: first a complete curve for one split and seed, then replicates.
    """
    card, wanted = card_for(data, network), cuts_of(network, cuts)
    recipe = recipe or usual(network)
    if random is None:
        random = (recipe.initialiser,) if architecture(network).reads == "texts" else ()
    none_empty(splits=splits, directions=directions, seeds=seeds, divisions=divisions)
    if not random:
        none_empty(treatments=treatments)
    runs = []
    for division, seed, split in product(divisions, seeds, splits):
        for source, target in pairs(card, split, directions, network, recipe, seed, examples_per_class, division):
            runs += [target, source, *copies(target, (target, source), wanted, treatments)]
            runs += random_features(target, source, wanted, random)
    return runs
