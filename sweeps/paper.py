"""The paper's 163 networks, and its 7 with random features, under the names of the published directories.

Source: the logs in github.com/yosinski/convnet_transfer. The set is not symmetric: selffers on halves A only,
fine-tuned copies on two of four splits. The published names call the natural half A; the paper and this project call
man-made A. Networks with random features have no parent there; they are compared with `netbase`.
"""

from sweeps.grid import all_classes
from sweeps.reduced import COUNTS
from yosinski.data import find, halves
from yosinski.experiment.recipes import PAPER, PAPER_REDUCED, Recipe
from yosinski.experiment.run import Run

CUTS = range(1, 8)


def paper(data: str, recipe: Recipe = PAPER, reduced: Recipe = PAPER_REDUCED) -> list[Run]:
    """All networks, on the ImageNet of `data`; `reduced` is the recipe for networks on fewer images."""
    return list(published(data, recipe, reduced).values())


def published(data: str, recipe: Recipe = PAPER, reduced: Recipe = PAPER_REDUCED) -> dict[str, Run]:
    """The networks by published name, bases before their copies."""
    card = find.card(data)
    everything = Run("caffenet", all_classes(card), recipe)
    halved = {split: halves.split(card, f"paper:{split}") for split in ("0", "1", "2", "3", "natman")}
    bases = {
        (split, letter): Run("caffenet", half, recipe)
        for split, pair in halved.items()
        for letter, half in {"A": pair.a, "B": pair.b}.items()
    }
    bases["natman", "A"], bases["natman", "B"] = bases["natman", "B"], bases["natman", "A"]  # as published

    networks = {f"half{split}{letter}": base for (split, letter), base in bases.items()}
    networks["netbase"] = everything
    networks |= {f"nolearn_1_{n}": everything.copy(n, "random", below="paper") for n in CUTS}
    for count in COUNTS:
        networks[f"reduced-{count:04}"] = Run("caffenet", everything.half, reduced, examples_per_class=count)
    for split in ("0", "1", "2", "3"):
        for source, target in ("AA", "AB", "BA"):
            base, copy = bases[split, source], bases[split, target].copy
            name = f"{split}{source}{split}{target}"
            networks |= {f"transfer{name}_1_{n}": copy(n, "frozen", base) for n in CUTS}
            if split in ("0", "1"):
                networks |= {f"transfer-ft{name}_1_{n}": copy(n, "tuned", base) for n in CUTS}
    for source, target in ("AB", "BA"):
        base, copy = bases["natman", source], bases["natman", target].copy
        networks |= {f"transfernatman{source}{target}_1_{n}": copy(n, "frozen", base) for n in CUTS}
    return networks
