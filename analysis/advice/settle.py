"""Which runs would settle what is open: a sweep in a Python file that can be planned, run and submitted."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.advice.answer import Answer
from analysis.advice.blocks import Block
from analysis.paired import FEWEST
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.treatments import copies
from yosinski.identity import as_before

SPLITS = 4  # as many as in the paper, where nothing is known yet
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
    missing: int  # copies of them that these runs lack
    sweep: str


def settling(block: Block, answer: Answer) -> Settling | None:
    """What to train next, or None where nothing is open, or where a treatment is not one that a sweep can name."""
    open_ones = answer.among.loc[answer.among["treatment"].isin(copies())]
    rows = answer.rows if open_ones.empty and answer.why_not else open_ones
    choices = [(row.treatment, int(row.n)) for row in rows.itertuples() if row.treatment in copies()]  # pyright: ignore
    if not choices or (answer.top and len(answer.among) == 1):
        return None
    trained_splits = [split for split in sorted(block.runs["split"].unique()) if split]
    seeds = sorted({int(seed) for seed in block.runs["seed"] if seed}) or [0]
    wanted = answer.splits_needed or SPLITS
    splits, seeds = _more(block, trained_splits, seeds, wanted)
    done = block.good.loc[(block.good["relation"] == "transfer"), ["treatment", "n", "split", "target", "seed"]]
    have = sum((row.treatment, row.n) in choices for row in done.itertuples())  # pyright: ignore
    missing = (1 if block.weights else 2) * len(splits) * len(seeds) * len(choices) - have
    if missing <= 0:
        return None
    return Settling(_why(block, answer), splits, seeds, choices, missing, _sweep(block, splits, seeds, choices))


def _more(block: Block, splits: list[str], seeds: list[int], wanted: int) -> tuple[list[str], list[int]]:
    """Further random splits; where there can be none, of natural against man-made halves, say, further seeds."""
    if block.published:
        return [f"paper:{k}" for k in range(PAPERS)], seeds
    drawn = [split for split in splits if split.startswith("random:")]
    if block.weights or drawn != splits or block.replicates == "seed":
        return splits, [*seeds, *(k for k in range(wanted + len(seeds)) if k not in seeds)][: max(wanted, len(seeds))]
    others = (f"random:{k}" for k in range(wanted + len(splits)))
    return [*splits, *(split for split in others if split not in splits)][: max(wanted, len(splits))], seeds


def _why(block: Block, answer: Answer) -> str:
    if answer.why_not:
        return f"No comparison: {answer.why_not}."
    uneven = answer.among["splits"].min() < FEWEST
    directions = "" if block.weights else ", in both directions,"
    return (
        f"{len(answer.among)} choices are not told apart."
        f" {answer.splits_needed} {block.replicates}s with all of them{directions} would tell choices apart"
        " that differ by one point." + " Some of them rest on fewer than three splits so far." * bool(uneven)
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
