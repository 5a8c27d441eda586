"""An experiment from the authors' notebook: copies that also keep and train the next layers of the base."""

from sweeps.grid import card_for, cuts_of, none_empty, pairs
from yosinski.experiment.recipes import Recipe, usual
from yosinski.experiment.run import Run
from yosinski.networks.catalogue import architecture


def preserved(
    data: str = "emoji",
    network: str = "alexnet32",
    splits: tuple[str, ...] = ("random:0",),
    directions: tuple[str, ...] = ("AB",),
    seeds: tuple[int, ...] = (0,),
    cuts: tuple[int | str, ...] | None = None,
    preserved: tuple[int, ...] = (0, 1, 2),
    recipe: Recipe | None = None,
) -> list[Run]:
    """Bases, and frozen copies AnB and BnB whose next 0, 1 and 2 layers start as the base's and are trained.

    Cuts with fewer layers above them (without the head) have no such copies.
    """
    card, wanted = card_for(data, network), cuts_of(network, cuts)
    recipe = recipe or usual(network)
    none_empty(splits=splits, directions=directions, seeds=seeds, preserved=preserved)
    last = len(architecture(network).cuts)
    runs = []
    for seed in seeds:
        for split in splits:
            for source, target in pairs(card, split, directions, network, recipe, seed):
                runs += [target, source]
                for parent in (target, source):
                    for kept in preserved:
                        runs += [
                            target.copy(n, "frozen", parent, preserved=kept)
                            for n in wanted
                            if kept == 0 or n + kept <= last
                        ]
    return runs
