"""The paper's main experiment: both halves of a split, cut at every layer, frozen and fine-tuned, with selffers."""

from yosinski import data as data_sets
from yosinski import halves
from yosinski.architectures import ARCHITECTURES
from yosinski.recipes import EMOJI
from yosinski.spec import BadInput, Recipe, Run, Treatment, choose


def figure2(
    data: str = "emoji",
    network: str = "alexnet32",
    splits: tuple[str, ...] = ("random:0",),
    directions: tuple[str, ...] = ("AB", "BA"),
    seeds: tuple[int, ...] = (0,),
    cuts: tuple[int, ...] | None = None,
    treatments: tuple[Treatment, ...] = ("frozen", "tuned"),
    random: tuple[str, ...] = (),
    recipe: Recipe = EMOJI,
    examples_per_class: int | None = None,
) -> list[Run]:
    """Bases A and B; for direction AB the copies AnB, AnB+ and their selffer controls BnB, BnB+ at every cut.

    random: initialisers of random frozen features RnB, if any. cuts: None for all. The order is that in which they
    are wanted: one complete thin curve first, replicates later.
    """
    card = data_sets.card(data)
    for name, given in {
        "splits": splits,
        "directions": directions,
        "seeds": seeds,
        "cuts": cuts,
        "treatments": treatments,
    }.items():
        if given is not None and not given and not (name == "treatments" and random):
            raise BadInput(f"parameter {name} is empty")
    for direction in directions:
        choose("direction", direction, ("AB", "BA"))
    for treatment in treatments:
        choose("treatment", treatment, ("frozen", "tuned"))
    choose("network", network, ARCHITECTURES)
    wanted = range(1, len(ARCHITECTURES[network].segments) + 1) if cuts is None else cuts

    runs = []
    for seed in seeds:
        for name in splits:
            split = halves.split(card, name)
            bases = {
                letter: Run(network, half, recipe, seed, examples_per_class=examples_per_class)
                for letter, half in {"A": split.a, "B": split.b}.items()
            }
            for source, target in directions:
                base = bases[target]
                runs += [base, bases[source]]
                for treatment in treatments:
                    for parent in (base, bases[source]):
                        runs += [base.copy(n, treatment, parent) for n in wanted]
                runs += [base.copy(n, "random", below=initialiser) for initialiser in random for n in wanted]
    return runs
