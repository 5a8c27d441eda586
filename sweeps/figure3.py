"""The paper's figure 3: the cost of distance between tasks, and random features."""

from sweeps.grid import all_classes, card_for, copies, cuts_of, none_empty, pairs, random_features
from yosinski.experiment.recipes import Recipe, usual
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import CopiesTreatment


def figure3(
    data: str = "emoji",
    network: str = "alexnet32",
    distant: str = "natman",
    splits: tuple[str, ...] = ("random:0",),
    random: tuple[str, ...] | None = None,
    seeds: tuple[int, ...] = (0,),
    cuts: tuple[int | str, ...] | None = None,
    treatments: tuple[CopiesTreatment, ...] = ("frozen",),
    recipe: Recipe | None = None,
) -> list[Run]:
    """Frozen copies AnB and BnA of a split into distant tasks and, for comparison, of splits into similar tasks.

    Also a base on all classes and, for each initialiser in `random` (None: the recipe's; `matched`: drawn like the
    weights of that base), networks with n random frozen layers.
    """
    card, wanted = card_for(data, network), cuts_of(network, cuts)
    recipe = recipe or usual(network)
    none_empty(seeds=seeds, treatments=treatments)
    initialisers = (recipe.initialiser,) if random is None else random
    runs = []
    for seed in seeds:
        for split in (distant, *splits):
            for source, target in pairs(card, split, ("AB", "BA"), network, recipe, seed):
                runs += [target, source, *copies(target, (source,), wanted, treatments)]
        base = Run(network, all_classes(card), recipe, seed)
        runs += [base, *random_features(base, base, wanted, initialisers)]
    return runs
