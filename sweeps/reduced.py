"""The supplement's reduced data: bases on the first k images of each class."""

from sweeps.grid import card_for, half_named, none_empty
from yosinski.experiment.cost import images
from yosinski.experiment.recipes import Recipe, usual
from yosinski.experiment.run import Run

COUNTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 750, 1000, 1300)  # as in the paper


def reduced(
    data: str = "emoji",
    network: str = "alexnet32",
    half: str = "all",
    counts: tuple[int, ...] | None = None,
    seeds: tuple[int, ...] = (0,),
    recipe: Recipe | None = None,
) -> list[Run]:
    """Bases on all classes, or on one half of a split (`random:0:A`), with k training images of each class.

    counts: None for the paper's k = 1, 2, 5, ... 1300, up to the first that includes all images.
    """
    card = card_for(data, network)
    recipe = recipe or usual(network)
    none_empty(counts=counts, seeds=seeds)
    task = half_named(card, half)
    runs = []
    for seed in seeds:
        base = Run(network, task, recipe, seed)
        for count in COUNTS if counts is None else counts:
            runs.append(Run(network, task, recipe, seed, examples_per_class=count))
            if counts is None and images(runs[-1], card, "train") == images(base, card, "train"):
                break
    return runs
