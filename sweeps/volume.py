"""Where to cut when a class has few images: copies and bases on the first k images of each class."""

from dataclasses import replace
from typing import Literal

from sweeps.grid import card_for, copies, cuts_of, none_empty, pairs, random_features
from yosinski.data.card import Card
from yosinski.errors import BadInput
from yosinski.experiment.cost import images
from yosinski.experiment.recipes import Recipe, usual
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import TreatmentName

COUNTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)  # where nothing else is said, up to the first that takes in all


def volume(
    data: str = "emoji",
    network: str = "alexnet32",
    splits: tuple[str, ...] = ("random:0",),
    directions: tuple[str, ...] = ("AB", "BA"),
    seeds: tuple[int, ...] = (0,),
    cuts: tuple[int | str, ...] | None = None,
    treatments: tuple[TreatmentName, ...] = ("frozen", "tuned"),
    random: tuple[str, ...] = (),
    counts: tuple[int, ...] | None = None,
    hold: Literal["steps", "epochs"] = "steps",
    recipe: Recipe | None = None,
) -> list[Run]:
    """Bases A and B on all images; for every count k, and for all images, figure 2's copies of these two bases.

    The copies are trained on the first k images of each class, as is the base that they are compared with; a smaller
    count's images are among those of a larger one. counts: None for 1, 2, 5, ... up to the first that takes in all.
    hold: what all volumes have alike, steps (those of all images of the largest half, which the recipe then says in
    `iterations`, for all runs) or epochs, in which few images make few steps: what comes of that is less a lack of
    images than of training.
    """
    card, wanted = card_for(data, network), cuts_of(network, cuts)
    recipe = recipe or usual(network)
    none_empty(splits=splits, directions=directions, seeds=seeds, counts=counts)
    if not random:
        none_empty(treatments=treatments)
    bases = [base for split in splits for pair in pairs(card, split, ("AB",), network, recipe) for base in pair]
    if hold == "steps":
        most = max(images(base, card, "train") for base in bases)
        recipe = recipe.with_values({"epochs": 0.0, "iterations": recipe.steps(most)})
    elif recipe.iterations:
        raise BadInput(f"recipe.iterations is {recipe.iterations}: these steps are held already, give hold=steps")
    volumes = [k for k in COUNTS if any(takes_part(base, k, card) for base in bases)] if counts is None else counts
    runs = []
    for seed in seeds:
        for split in splits:
            for source, target in pairs(card, split, directions, network, recipe, seed):
                runs += [target, source]
                for count in (None, *sorted(volumes, reverse=True)):
                    few = replace(target, examples_per_class=count)
                    runs += [few, *copies(few, (target, source), wanted, treatments)]
                    runs += random_features(few, source, wanted, random)
    return runs


def takes_part(base: Run, count: int, card: Card) -> bool:
    """Whether so many images of each class are not all that there are."""
    return images(replace(base, examples_per_class=count), card, "train") < images(base, card, "train")
