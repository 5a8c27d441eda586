"""Which runs would settle what is open: a sweep in a Python file that can be planned, run and submitted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pandas as pd

from analysis.advice.answer import ENOUGH, OVER, Answer
from analysis.advice.blocks import Block
from analysis.advice.outlook import EVEN, contenders, enough, needed
from analysis.advice.recommendation import TRAILS, capital
from analysis.paired import FEWEST
from yosinski.errors import count
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.treatments import copies
from yosinski.identity import as_before

PAPERS = 4  # random splits that are published


@dataclass(frozen=True)
class Places:
    """All combinations of these splits, divisions and seeds."""

    splits: list[str]
    divisions: list[int]
    seeds: list[int]

    @property
    def number(self) -> int:
        """How many combinations there are."""
        return len(self.splits) * len(self.divisions) * len(self.seeds)


@dataclass
class Settling:
    """`choices` are (treatment, n) to be trained at every place, in both directions; `sweep` is the file.

    Weights from outside have one direction only, to the target.
    """

    why: str
    places: Places
    choices: list[tuple[str, int]]
    missing: int  # copies of them that were never trained
    bases: int  # likewise
    sweep: str


def settling(block: Block, answer: Answer) -> Settling | None:
    """What to train next, or None where nothing is open, or where a treatment is not one that a sweep can name.

    Hopeless choices are left out: where there is a comparison those that have next to no chance of being the best,
    otherwise those that trail by `TRAILS` points.
    """
    rows = answer.rows
    if answer.top and answer.row(answer.top)["within"] >= ENOUGH:
        return None
    gap = rows["points"].max() - rows["points"]
    hopeful = pd.Series(contenders(answer) if answer.top else ~(gap >= TRAILS), rows.index)
    open_ones = rows.loc[hopeful & rows["treatment"].isin(copies())]
    choices = [(str(row.treatment), int(row.n)) for row in open_ones.itertuples()]  # pyright: ignore
    if not choices:
        return None
    more, chance = max(1, FEWEST - block.number), 0.0
    if answer.top:  # there are no further splits of the published networks
        more, chance = needed(answer, block.number, 0) if block.published else needed(answer, block.number)
    there = Places(
        [split for split in sorted(block.runs["split"].unique()) if split],
        sorted({int(division) for division in block.runs["division"] if division}) or [0],
        sorted({int(seed) for seed in block.runs["seed"] if seed}) or [0],
    )
    places, missing, bases = there, 0, 0
    for wanted in range(block.number + more, block.number + more + there.number + 1):
        places = further(block, there, wanted)
        missing, bases = untrained(block, choices, places)
        if missing or block.published:
            break  # splits of which a choice failed may be all there are
    if not missing:
        return None
    sweep = _sweep(block, places, choices)
    return Settling(_why(block, answer, more, chance), places, choices, missing, bases, sweep)


def further(block: Block, there: Places, wanted: int) -> Places:
    """As many replicates as are wanted, of what they are of (`blocks.replicates_of`); what is there is kept.

    Below three seeds further random splits come first, where there can be any: not of natural against man-made halves.
    """
    if block.published:
        return replace(there, splits=[f"paper:{k}" for k in range(PAPERS)])
    splits, divisions, seeds = there.splits, there.divisions, there.seeds
    if block.replicates == "division":
        return replace(there, divisions=_numbers(divisions, math.ceil(wanted / len(splits))))
    drawn = [split for split in splits if split.startswith("random:")]
    if block.weights or drawn != splits or (block.replicates == "seed" and block.number >= FEWEST):
        return replace(there, seeds=_numbers(seeds, math.ceil(wanted / (len(splits) * len(divisions)))))
    others = (f"random:{k}" for k in range(wanted + len(splits)))
    more = [*splits, *(split for split in others if split not in splits)]
    return replace(there, splits=more[: max(wanted, len(splits))])


def _numbers(there: list[int], wanted: int) -> list[int]:
    """Those that there are, and the lowest others."""
    more = [*there, *(k for k in range(wanted + len(there)) if k not in there)]
    return more[: max(wanted, len(there))]


def untrained(block: Block, choices: Sequence[tuple[str, int]], places: Places) -> tuple[int, int]:
    """How many copies and how many bases were never trained to their end; what got stuck is not asked for again."""
    runs: Any = block.runs
    ended = runs.loc[runs["counts"] | runs["state"].isin(OVER)]
    if block.published:  # whose splits are called as ours, but for the data, and which have no seeds
        ended = ended.assign(split=ended["split"].str.replace("random:", "paper:"), division="0", seed="0")
    targets = sorted({str(target) for target in runs["target"].dropna()}) if block.weights else ["A", "B"]
    wanted = list(product(places.splits, map(str, places.divisions), map(str, places.seeds), targets))
    where = ("split", "division", "seed", "target")
    copies_of = ended.loc[ended["relation"] == "transfer"]
    trained = set(zip(*(copies_of[name] for name in ("treatment", "n", *where)), strict=True))
    bases_of = ended.loc[ended["relation"] == "base"]
    bases = set(zip(*(bases_of[name] for name in where), strict=True))
    missing = sum((*choice, *place) not in trained for choice in choices for place in wanted)
    return missing, sum(place not in bases for place in wanted)


def _why(block: Block, answer: Answer, more: int, chance: float) -> str:
    if answer.why_not:
        return f"No comparison: {answer.why_not}."
    replicates = count(more, f"more {block.replicates}") if more else "the missing copies"
    replicates = f"even {replicates}" if chance < EVEN else replicates
    contending = int(contenders(answer).sum())
    text = (
        f"{contending} choices have a chance of being the best. {capital(replicates)} of them would be enough"
        f" for P(within {answer.matters:g}) of {ENOUGH:g} in {100 * chance:.0f} % of cases"
    )
    if not answer.images.any():
        return f"{text}."
    doubled = enough(answer, images=2)
    return (
        f"{text}, twice as many {block.measured} instead in {100 * doubled:.0f} %"
        f"{': add images first' * (doubled > chance)}."
    )


def _sweep(block: Block, places: Places, choices: list[tuple[str, int]]) -> str:
    """A Python file with a sweep of those runs: what is done already, a plan leaves out."""
    data = "imagenet:PATH" if block.published else str(block.runs["data"].iloc[0])
    copy = block.runs.loc[block.runs["n"] > 0].iloc[0]
    bases = block.runs["base_examples"].loc[copy.name]
    on = copy["examples_per_class"]
    if block.weights:
        return _OF_WEIGHTS.format(
            recipe=_values(copy),
            choices=choices,
            data=data,
            network=copy["network"],
            weights=block.weights,
            halves=tuple(places.splits),
            divisions=tuple(places.divisions),
            seeds=tuple(places.seeds),
            examples=None if pd.isna(on) else int(on),
        )
    return _FILE.format(
        recipes=f"from yosinski import {'PAPER as RECIPE' if block.published else 'Recipe'}",
        recipe="" if block.published else f"\nRECIPE = Recipe(\n{_values(copy)})",
        choices=choices,
        data=data,
        network=copy["network"],
        splits=tuple(places.splits),
        divisions=tuple(places.divisions),
        seeds=tuple(places.seeds),
        examples=None if pd.isna(on) else int(on),
        of_bases=int(bases) if bases.isdecimal() else None,
    )


def _values(copy: Any) -> str:
    """The recipe of a copy as arguments, a line each, without what is as it was before earlier versions knew it."""
    values = {name.removeprefix("recipe_"): copy[name] for name in copy.index if name.startswith("recipe_")}
    plain = {
        name: getattr(value, "item", lambda value=value: value)() for name, value in values.items() if pd.notna(value)
    }
    unsaid = as_before(Recipe).items()
    return "".join(f"    {name}={value!r},\n" for name, value in plain.items() if (name, value) not in unsaid)


_FILE = '''"""Runs that would tell where to cut: copies that are not told apart yet, in both directions, and bases."""

from sweeps.settle import settle
{recipes}
{recipe}
CHOICES = {choices!r}
EXAMPLES, OF_BASES = {examples}, {of_bases}  # images of each class for copies, and for the bases they are cut from


def sweep(
    data: str = {data!r},
    network: str = {network!r},
    splits: tuple[str, ...] = {splits!r},
    seeds: tuple[int, ...] = {seeds!r},
    divisions: tuple[int, ...] = {divisions!r},
):
    """The copies of CHOICES on every split and division, with bases on as many images for comparison."""
    return settle(CHOICES, data, network, splits, seeds, RECIPE, EXAMPLES, OF_BASES, divisions)
'''

_OF_WEIGHTS = '''"""Runs that would tell where to cut these weights: copies that are not told apart yet, and bases."""

from sweeps.settle import settle_weights
from yosinski import Recipe

RECIPE = Recipe(
{recipe})
CHOICES = {choices!r}
EXAMPLES = {examples}  # images of each class


def sweep(
    data: str = {data!r},
    network: str = {network!r},
    weights: str = {weights!r},
    halves: tuple[str, ...] = {halves!r},
    seeds: tuple[int, ...] = {seeds!r},
    divisions: tuple[int, ...] = {divisions!r},
):
    """The copies of CHOICES for every seed and division, with bases on the same images for comparison."""
    return settle_weights(CHOICES, data, network, weights, halves, seeds, RECIPE, EXAMPLES, divisions)
'''
