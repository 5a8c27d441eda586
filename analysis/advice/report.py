"""Where to cut, with error bars: the report as data. A section is a function; add one to `OF_BLOCK` or `ACROSS`."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.advice import classes
from analysis.advice import figures as plots
from analysis.advice.answer import MATTERS, Answer
from analysis.advice.answer import answer as answer_of
from analysis.advice.blocks import Block, blocks, caveats, has_copies
from analysis.advice.contrasts import CONTRASTS, decompose
from analysis.advice.document import Part, Report, Section
from analysis.advice.predictors import judge
from analysis.advice.recommendation import advice, filled, interval, of_images, sentences, shown, signed
from analysis.advice.settle import settling
from analysis.early.model import METRICS as EARLY
from analysis.early.table import still_open, stops
from analysis.paired import FEWEST
from analysis.sharing.report import sharing
from analysis.tables import Table
from yosinski.errors import command, count

SHOWN_CLASSES = 10


def advise(
    frame: pd.DataFrame,
    metric: str | None = None,
    directory: Path | None = None,
    groups: Mapping[str, Mapping[str, str]] | None = None,
    matters: float = MATTERS,
) -> Report:
    """The report on a frame of records, published networks or both; the arguments are those of `blocks.blocks`.

    matters: points of accuracy, below which a difference does not matter to the reader.
    """
    parts = sharing(frame, metric, directory, matters)
    if parts and not has_copies(frame):
        return Report("What to share", parts)
    made = [(block, answer_of(block, matters)) for block in blocks(frame, metric, directory, groups)]
    for block, block_answer in made:
        sections = [section(block, block_answer) for section in OF_BLOCK]
        parts.append(Part(block.title, [section for section in sections if section is not None]))
        for section in parts[-1].sections:
            section.tables = [table for table in section.tables if len(table.rows)]
    sections = [*(section(made) for section in ACROSS), not_finished(frame, metric, directory)]
    across = [section for section in sections if section is not None]
    return Report("Where to cut", [*parts, *([Part("Across these", across)] if across else [])])


# ------------------------------------------------------------------------------------------------------- of one block


def recommendation(block: Block, answer: Answer) -> Section:
    """What to do, how sure that is, and what would be as good and cheaper."""
    figures = {"choices": partial(plots.choices, answer)} if answer.top else {}
    table = Table("Choices", answer.rows, shown(block, answer))
    return Section("Recommendation", [*sentences(block, answer), _legend(block, answer)], [table], figures)


def _legend(block: Block, answer: Answer) -> str:
    source = "the weights from outside" if block.weights else "A's network"
    rows: Any = answer.rows.loc[answer.rows["n"] > 0]
    example = [
        f"{row.choice}: the first {f'{row.n} layers' if row.n > 1 else 'layer'} from {source}, trained on B"
        for row in rows.head(1).itertuples()
    ]
    words = [*example, "+ = those layers too", "base = from scratch", f"points = percent of {block.measured}"]
    return f"How to read this: {'; '.join(words)}."


def decomposition(block: Block, answer: Answer) -> Section | None:
    """Co-adaptation, specificity and the gain of fine-tuning at every cut."""
    every: Any = decompose(block.good)
    cuts: Any = block.good.dropna(subset=["cut"]).groupby("n")["cut"].first()
    rows = every.loc[every["pairs"] > 0]
    if rows.empty:
        return None
    shown_rows = pd.DataFrame(
        {
            "contrast": rows["contrast"],
            "n": rows["n"].astype(str),
            "cut": rows["n"].map(cuts).astype("string").fillna(""),
            "points": rows["points"].map(signed),
            "95 % t": [interval(a, b) for a, b in zip(rows["low"], rows["high"], strict=True)],
            "moderated": [interval(a, b) for a, b in zip(rows["calm_low"], rows["calm_high"], strict=True)],
            "p (Holm)": rows["p_holm"].map("{:.3f}".format).replace({"nan": "", "0.000": "<0.001"}),
            "pairs": rows["pairs"].astype(str),
            f"{block.replicates}s": rows["splits"].astype(str),
        }
    )
    text = [
        f"{contrast.name} = {contrast.above} - {contrast.below}: {contrast.meaning}."
        for contrast in CONTRASTS
        if contrast.name in set(rows["contrast"])
    ]
    text.append(
        f"Paired by target, split and seed; mean over {block.replicates}s, no interval for fewer than {FEWEST}."
    )
    if rows["low"].notna().any():
        text.append(
            "Intervals are per cut, p values for all cuts of a contrast. Moderated: variances of one contrast are"
            " squeezed towards their trend over the cuts; p values belong to these."
        )
    drawn = {"decomposition": partial(plots.decomposition, rows)} if len(rows) else {}
    tables = [Table("In points", rows, filled(shown_rows))] if len(rows) else []
    return Section("What a cut costs, and why", text, tables, drawn)


def cost(block: Block, answer: Answer) -> Section | None:
    """Accuracy against what training costs."""
    rows: Any = answer.rows[["choice", "series", "n", "points", "trained_parameters", "flops", "seconds"]]
    measured = [name for name in plots.COSTS if rows[name].notna().any()]
    if rows["points"].isna().all() or not measured:
        return None
    text = ["Of training the copy alone, means over runs; its base has been trained before, and is not counted."]
    if block.published:
        text.append("The published logs have no FLOPs or seconds; parameters are counted from the network.")
    elif "seconds" in measured:
        text.append(
            "Seconds are those that it caused in the pack in which it was trained (in records of earlier versions an "
            "even share of the pack's)."
        )
    shown = pd.DataFrame({"choice": rows["choice"], "points": rows["points"].map(signed)})
    for name in measured:
        words, unit = plots.COSTS[name]
        shown[words] = (rows[name] / unit).map("{:,.3g}".format).replace("nan", "")
    figures = {"cost": partial(plots.cost, answer, measured)}
    return Section("What it costs", text, [Table("Cost", rows, filled(shown))], figures)


def per_class(block: Block, answer: Answer) -> Section | None:
    """Which classes lose most at the deepest cut."""
    if block.published:
        return Section("Classes", ["The published logs have no numbers per class."])
    its = classes.losses(block)
    rows: Any = its.rows
    what, number = its.replicates
    missing = [f"{its.without} runs have no numbers per class."] * bool(its.without)
    if rows.empty:
        nothing = "Nothing can be said of classes: that takes AnB beside its base, with numbers per class."
        return Section("Classes", [*missing, nothing])
    least, most = int(rows["images"].to_numpy().min()), int(rows["images"].to_numpy().max())
    images = f"{least if least == most else f'{least} to {most}'} images, each counted once"
    images += f" in a {what}" * (what == "division")  # each has other select images
    differ = int((rows["q"] < classes.FOUND).sum())
    text = [
        f"What frozen copies lose against their bases at n = {its.n}, class by class ({block.measured}); a class has"
        f" {images}, and {count(number, what)}. All classes lose {its.mean:.1f} points on average.",
        "Errors are those of images and of training."
        if number > 1
        else f"With one {what} a class that loses more cannot be told from a training that went worse for it: the error"
        " is the spread between classes.",
        f"{differ} of {len(rows)} classes differ from the mean of all (q < {classes.FOUND})"
        + (f"; true losses of classes spread by {its.spread:.1f} points (standard deviation)." if its.spread else ".")
        if differ or its.spread
        else "No class differs detectably from the mean of all.",
        *missing,
    ]
    words = [name for name in ("class", "images", "networks", "group") if rows[name].nunique() > 1]
    numbers = ["base", "copy", "loss", "error", *(["shrunk", "shrunk_error"] if its.spread else []), "q"]
    shown = rows.head(SHOWN_CLASSES).assign(**{name: rows[name].map("{:.2f}".format) for name in numbers})
    shown = shown[[*words, *numbers]].astype("string").fillna("").rename(columns={"shrunk_error": "error of that"})
    title = (
        f"The {len(shown)} that lose most, by estimate (shrunk), in points"
        if its.spread
        else f"Plain means, the highest {len(shown)}{': this order is what chance would make, too' * (not differ)}"
    ) + _as_high(rows["loss"], len(shown))
    tables = [Table(title, rows, shown)]
    groups = classes.by_group(rows)
    if len(groups) > 1:
        wide = groups.assign(**{name: groups[name].map("{:.2f}".format) for name in ("loss", "error")})
        told = "By group, plain means; error: between the classes of a group, as if they were drawn"
        tables.append(Table(told, groups, wide.astype("string").replace("nan", "")))
    return Section("Classes", text, tables, {"classes": partial(plots.of_classes, rows, its.n, its.mean, its.spread)})


def _as_high(losses: Any, most: int) -> str:
    """How many classes that are not shown lose as much as the last one that is; "" if all are shown, or lose less."""
    more = int(np.isclose(losses.iloc[most:], losses.iloc[most - 1]).sum())
    return f"; {more} more {'is' if more == 1 else 'are'} as high as the last of these" if more else ""


def cheap_predictors(block: Block, answer: Answer) -> Section | None:
    """How well scores from one forward pass would have chosen the cut."""
    if block.directory is None:
        return None
    text, table = judge(block)
    return Section("Cheap predictors", text, [table] if table else []) if text else None


def basis(block: Block, answer: Answer) -> Section:
    """What all this rests on."""
    return Section("What this rests on", [*caveats(block), *of_images(block, answer)])


def open_questions(block: Block, answer: Answer) -> Section | None:
    """Which runs would settle it."""
    todo = settling(block, answer)
    if todo is None:
        return None
    by_treatment: dict[str, list[str]] = {}
    for treatment, n in sorted(todo.choices):
        by_treatment.setdefault(treatment, []).append(str(n))
    trained = "; ".join(f"{treatment} at n = {', '.join(cuts)}" for treatment, cuts in by_treatment.items())
    places = todo.places
    on = ", ".join(places.splits)
    if places.divisions != [0]:
        on += f", {_named('division', places.divisions)}"
    text = [
        todo.why,
        f"To train: {trained}, on {on} with {_named('seed', places.seeds)}{', both directions' * (not block.weights)}:"
        f" {todo.missing} copies and {todo.bases} bases are missing.",
        "As a sweep: yosinski advise ... --out settle.py; "
        + "; ".join(command(*words, runs=block.directory) for words in (("plan", "settle.py"), ("run", "settle.py")))
        + " (or submit it)",
    ]
    return Section("What would settle it", text, files={".py": todo.sweep})


def _named(what: str, numbers: list[int]) -> str:
    """As in "seeds 0, 1"."""
    return f"{what}{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


# --------------------------------------------------------------------------------------------------------- of several


def volume(made: list[tuple[Block, Answer]]) -> Section | None:
    """The best choice as a function of how many images a class has, where blocks differ in nothing else."""
    same = ["origin", "network", "data", "rule", "kind", "semantics", "recipe"]
    alike: dict[tuple[str, ...], list[tuple[Block, Answer]]] = {}
    for block, answer in made:
        first = block.runs.loc[block.runs["n"] > 0].iloc[0]
        of_bases = str(first["base_recipe"])
        alike.setdefault((*(str(first[name]) for name in same), of_bases, block.parent), []).append((block, answer))
    chosen = [group for group in alike.values() if len({block.examples for block, _ in group}) > 1]
    if not chosen:
        return None
    section = Section(
        "By images per class",
        ["Every column is a block of its own: base and copies that were trained on so many images of each class."],
    )
    for group in chosen:
        parts = []
        for block, answer in sorted(group, key=lambda pair: pair[0].examples or 10**9):
            base = answer.rows.loc[answer.rows["series"] == "base", "points"]
            rows = answer.rows.assign(
                images=str(block.examples or "all"),
                bases_on=block.runs.loc[block.runs["n"] > 0, "base_examples"].iloc[0],
                from_base=answer.rows["points"] - (base.iloc[0] if len(base) else float("nan")),
                best=answer.rows["choice"] == (answer.top or None),
            )
            parts.append(rows)
            said = (
                f"{answer.top}, {advice(answer.row(answer.top))}"
                if answer.top
                else f"no recommendation: {answer.why_not}"
            )
            others = [choice for choice in answer.among["choice"] if choice != answer.top] if answer.top else []
            also = f" (or {', '.join(others)})" if others else ""
            section.text.append(f"{block.examples or 'All'} images per class: {said}{also}.")
        rows: Any = pd.concat(parts, ignore_index=True)
        wide = rows.pivot_table(index="choice", columns="images", values="from_base", sort=False)
        wide = wide.reindex(columns=list(dict.fromkeys(rows["images"])))
        shown = wide.map(signed).reset_index().rename(columns=str)
        section.tables.append(Table("Points from the base on as many images", rows, shown))
        if rows["from_base"].notna().any():
            section.figures[f"volume, {group[0][0].runs['network'].iloc[0]}"] = partial(plots.volume, rows)
    return section


def not_finished(frame: pd.DataFrame, metric: str | None = None, directory: Path | None = None) -> Section | None:
    """What stopping now would cost where trainings are not finished, and what was stopped early."""
    stopped = None if directory is None else stops(directory)
    pending = still_open(frame, metric if metric in EARLY else None, stopped)
    if pending is None:
        return None
    table, said = pending
    table.shown = filled(table.shown)
    text = [
        "A contest is what one chooses among: all transfer copies of one base on one target. P(change): that another"
        " choice ends higher than today's best; expected regret: how much higher the best then is, on average, in"
        " accuracy.",
        "Learned from finished contests of other splits; yosinski early shows how far that came true. Copies that were"
        " stopped early stay in the advice with their predicted final scores, where these can be predicted.",
    ]
    return Section("What is not finished", [*text, *said], [table] if len(table.rows) else [])


OF_BLOCK: tuple[Callable[[Block, Answer], Section | None], ...] = (
    recommendation,
    decomposition,
    cost,
    per_class,
    cheap_predictors,
    basis,
    open_questions,
)
ACROSS: tuple[Callable[[list[tuple[Block, Answer]]], Section | None], ...] = (volume,)
