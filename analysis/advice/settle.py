"""Which runs would settle what is open: a sweep in a Python file that can be planned, run and submitted."""

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass
class Settling:
    """`choices` are (treatment, n) to be trained on every split and seed, in both directions; `sweep` is the file.

    Weights from outside have one direction only, to the target.
    """

    why: str
    splits: list[str]
    seeds: list[int]
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
    splits = [split for split in sorted(block.runs["split"].unique()) if split]
    seeds = sorted({int(seed) for seed in block.runs["seed"] if seed}) or [0]
    missing = bases = 0
    for wanted in range(block.number + more, block.number + more + len(splits) + len(seeds)):
        splits, seeds = _more(block, splits, seeds, wanted)
        missing, bases = _missing(block, choices, splits, seeds)
        if missing or block.published:
            break  # splits of which a choice failed may be all there are
    if not missing:
        return None
    return Settling(
        _why(block, answer, more, chance), splits, seeds, choices, missing, bases, _sweep(block, splits, seeds, choices)
    )


def _more(block: Block, splits: list[str], seeds: list[int], wanted: int) -> tuple[list[str], list[int]]:
    """Further random splits; where there can be none, of natural against man-made halves, say, further seeds."""
    if block.published:
        return [f"paper:{k}" for k in range(PAPERS)], seeds
    drawn = [split for split in splits if split.startswith("random:")]
    if block.weights or drawn != splits or (block.replicates == "seed" and block.number >= FEWEST):
        return splits, [*seeds, *(k for k in range(wanted + len(seeds)) if k not in seeds)][: max(wanted, len(seeds))]
    others = (f"random:{k}" for k in range(wanted + len(splits)))
    return [*splits, *(split for split in others if split not in splits)][: max(wanted, len(splits))], seeds


def _missing(
    block: Block, choices: Sequence[tuple[str, int]], splits: Sequence[str], seeds: Sequence[int]
) -> tuple[int, int]:
    """How many copies and how many bases were never trained to their end; what got stuck is not asked for again."""
    runs: Any = block.runs
    ended = runs.loc[runs["counts"] | runs["state"].isin(OVER)]
    if block.published:  # whose splits are called as ours, but for the data, and which have no seeds
        ended = ended.assign(split=ended["split"].str.replace("random:", "paper:"), seed="0")
    targets = sorted({str(target) for target in runs["target"].dropna()}) if block.weights else ["A", "B"]
    places = list(product(splits, targets, map(str, seeds)))
    copies_of = ended.loc[ended["relation"] == "transfer"]
    trained = set(zip(*(copies_of[name] for name in ("treatment", "n", "split", "target", "seed")), strict=True))
    bases_of = ended.loc[ended["relation"] == "base"]
    bases = set(zip(*(bases_of[name] for name in ("split", "target", "seed")), strict=True))
    missing = sum((*choice, *place) not in trained for choice in choices for place in places)
    return missing, sum(place not in bases for place in places)


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


def _sweep(block: Block, splits: list[str], seeds: list[int], choices: list[tuple[str, int]]) -> str:
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
            halves=tuple(splits),
            seeds=tuple(seeds),
            examples=None if pd.isna(on) else int(on),
        )
    return _FILE.format(
        recipes=f"from yosinski import {'PAPER as RECIPE' if block.published else 'Recipe'}",
        recipe="" if block.published else f"\nRECIPE = Recipe(\n{_values(copy)})",
        choices=choices,
        data=data,
        network=copy["network"],
        splits=tuple(splits),
        seeds=tuple(seeds),
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
):
    """The copies of CHOICES on every split, with bases on as many images for comparison."""
    return settle(CHOICES, data, network, splits, seeds, RECIPE, EXAMPLES, OF_BASES)
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
):
    """The copies of CHOICES for every seed, with bases on the same images for comparison."""
    return settle_weights(CHOICES, data, network, weights, halves, seeds, RECIPE, EXAMPLES)
'''
