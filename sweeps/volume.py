"""Where to cut when a class has few images: copies and bases on the first k images of each class."""

from dataclasses import replace
from typing import Literal

from sweeps.grid import card_for, copies, cuts_of, none_empty, pairs, random_features
from yosinski.data.card import Card
from yosinski.errors import BadInput
from yosinski.experiment.cost import images
from yosinski.experiment.recipes import Recipe, usual
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import CopiesTreatment

COUNTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)  # default, up to the first that includes all images


def volume(
    data: str = "emoji",
    network: str = "alexnet32",
    splits: tuple[str, ...] = ("random:0",),
    directions: tuple[str, ...] = ("AB", "BA"),
    seeds: tuple[int, ...] = (0,),
    cuts: tuple[int | str, ...] | None = None,
    treatments: tuple[CopiesTreatment, ...] = ("frozen", "tuned"),
    random: tuple[str, ...] = (),
    counts: tuple[int, ...] | None = None,
    hold: Literal["steps", "epochs"] = "steps",
    recipe: Recipe | None = None,
) -> list[Run]:
    """Bases A and B on all images; for every count k, and for all images, the copies of figure 2 of these two bases.

    The copies are trained on the first k images of each class, as is the base for comparison; so smaller sets are
    subsets of larger ones. counts: None for 1, 2, 5, ... up to the first that includes all images. hold: what is the
    same for all k: steps (those for all images of the largest half, set as `iterations` in the recipe of all runs) or
    epochs. With epochs, few images mean few steps, so results show a lack of training rather than of images.
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
    """Whether k images of each class are fewer than all images."""
    return images(replace(base, examples_per_class=count), card, "train") < images(base, card, "train")
