"""Where to cut, with error bars: the report as data. A section is a function; add one to `OF_BLOCK` or `ACROSS`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.advice import classes
from analysis.advice import figures as plots
from analysis.advice.answer import TELL, Answer
from analysis.advice.answer import answer as answer_of
from analysis.advice.blocks import Block, blocks, caveats
from analysis.advice.contrasts import CONTRASTS, decompose
from analysis.advice.predictors import judge
from analysis.advice.settle import settling
from analysis.early.model import METRICS as EARLY
from analysis.early.table import still_open, stops
from analysis.paired import FEWEST
from analysis.tables import Table
from yosinski.errors import command
from yosinski.experiment.treatments import TREATMENTS

SHOWN_CLASSES = 10


@dataclass
class Section:
    """Sentences, tables, and figures that are drawn when they are asked for; `files` are texts that can be written."""

    title: str
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, Callable[[], Figure]] = field(default_factory=dict)  # by what they show
    files: dict[str, str] = field(default_factory=dict)  # kind (".py") -> content


@dataclass
class Part:
    """A block of comparable runs, or what goes across blocks, with its sections."""

    title: str
    sections: list[Section]


@dataclass
class Report:
    """What `yosinski advise` says."""

    title: str
    parts: list[Part]

    def as_json(self) -> str:
        """`title` and `parts` (`title`, `sections` of `title`, `text`, `tables`); tables: `Table.as_json`."""
        parts: list[Any] = [
            {
                "title": part.title,
                "sections": [
                    {
                        "title": section.title,
                        "text": section.text,
                        "tables": [json.loads(table.as_json()) for table in section.tables],
                    }
                    for section in part.sections
                ],
            }
            for part in self.parts
        ]
        return json.dumps({"title": self.title, "parts": parts}, indent=1)


def advise(
    frame: pd.DataFrame,
    metric: str | None = None,
    directory: Path | None = None,
    groups: Mapping[str, Mapping[str, str]] | None = None,
) -> Report:
    """The report on a frame of records, published networks or both; the arguments are those of `blocks.blocks`."""
    made = [(block, answer_of(block)) for block in blocks(frame, metric, directory, groups)]
    parts = []
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
    rows: Any = answer.rows
    text = []
    if answer.top:
        best, p_best = _said(rows, answer.top), rows["p_best"].iloc[0]
        text.append(f"Best on these images ({block.measured}): {best}, with probability {p_best:.2f}.")
        others = [choice for choice in answer.among["choice"] if choice != answer.top]
        text.append(f"Not told apart from the best: {', '.join(others)}." if others else "All others are worse.")
        if answer.by:
            what = {"flops": "training FLOPs", "trained_parameters": "parameters to train"}[answer.by]
            text.append(f"Fewest {what} among these: {answer.cheapest}; within one standard error: {answer.modest}.")
        few = rows.loc[rows["splits"] < FEWEST, "choice"]
        if len(few):
            text.append(
                f"{', '.join(few)}: on fewer than {FEWEST} {block.replicates}s; their errors are those of all choices."
            )
        text.append(_tested(block, answer))
    else:
        text.append(f"No recommendation: {answer.why_not}.")
        if len(rows) and rows["points"].notna().any():
            text.append(f"Highest so far: {_said(rows, rows['choice'].iloc[0])}; a look at these halves, no more.")
    figures = {"choices": partial(plots.choices, answer)} if answer.top else {}
    from_what = "best" if answer.top else "base"
    return Section("Recommendation", text, [Table("Choices", rows, _shown_choices(rows, from_what))], figures)


def _said(rows: pd.DataFrame, choice: str) -> str:
    row: Any = rows.loc[rows["choice"] == choice].iloc[0]
    if row["series"] == "base":
        return "train from scratch (base)"
    advice = TREATMENTS[row["treatment"]].advice
    return f"cut at n = {row['n']} ({row['cut']}) and {advice} ({choice})"


def _tested(block: Block, answer: Answer) -> str:
    if answer.test.empty:
        if block.published:
            return (
                "The published networks have one set of images: the best score is the best of many on the same images."
            )
        return f"The score of the best is the best of many on the same images ({block.measured})."
    row: Any = answer.test.iloc[0]
    beside = ""
    if "points" in answer.test and pd.notna(row["points"]):
        gained = f"{row['points']:+.2f} {_interval(row['low'], row['high'])}".strip()
        beside = f", {gained} points from the base"
    return f"On test images, which had no part in the choice, {answer.top} reaches {row['test_top1']:.4f}{beside}."


def _shown_choices(rows: Any, reference: str) -> pd.DataFrame:
    compared = reference == "best"
    shown = pd.DataFrame({"choice": rows["choice"], "cut": rows["cut"].astype("string").fillna("")})
    shown[f"points from {reference}"] = rows["points"].map(_signed)
    if compared:
        shown["error"] = rows["error"].map("{:.2f}".format)
        shown["P(best)"] = rows["p_best"].map("{:.2f}".format)
        shown["may be best"] = rows["among"].map({True: "yes", False: ""})
    for name in ("splits", "targets", "runs"):
        shown[name] = rows[name].astype(str)
    return shown


def decomposition(block: Block, answer: Answer) -> Section:
    """Co-adaptation, specificity and the gain of fine-tuning at every cut."""
    rows: Any = decompose(block.good)
    cuts: Any = block.good.dropna(subset=["cut"]).groupby("n")["cut"].first()
    shown = pd.DataFrame(
        {
            "contrast": rows["contrast"],
            "n": rows["n"].astype(str),
            "cut": rows["n"].map(cuts).astype("string").fillna(""),
            "points": rows["points"].map(_signed).replace("", "not identifiable: 0 pairs"),
            "95 % t": [_interval(a, b) for a, b in zip(rows["low"], rows["high"], strict=True)],
            "moderated": [_interval(a, b) for a, b in zip(rows["calm_low"], rows["calm_high"], strict=True)],
            "p (Holm)": rows["p_holm"].map("{:.3f}".format).replace({"nan": "", "0.000": "<0.001"}),
            "pairs": rows["pairs"].astype(str),
            f"{block.replicates}s": rows["splits"].astype(str),
        }
    )
    text = [f"{contrast.name} = {contrast.above} - {contrast.below}: {contrast.meaning}." for contrast in CONTRASTS]
    text.append(
        f"Paired by target, split and seed; mean over {block.replicates}s, no interval for fewer than {FEWEST}."
        " Moderated: variances of one contrast are squeezed towards each other over the cuts; p values belong to these."
    )
    drawn = {"decomposition": partial(plots.decomposition, rows)} if rows["points"].notna().any() else {}
    return Section("What a cut costs, and why", text, [Table("In points", rows, shown)], drawn)


def cost(block: Block, answer: Answer) -> Section | None:
    """Accuracy against what training costs."""
    rows: Any = answer.rows[["choice", "series", "n", "points", "trained_parameters", "flops", "seconds", "memory"]]
    measured = [name for name in plots.COSTS if rows[name].notna().any()]
    if rows["points"].isna().all() or not measured:
        return None
    text = ["Of training the copy alone, means over runs; its base has been trained before, and is not counted."]
    if block.published:
        text.append("The published logs have no FLOPs, seconds or memory; parameters are counted from the network.")
    elif {"seconds", "memory"} & set(measured):
        text.append(
            "Seconds are those that it caused in the pack in which it was trained (in records of earlier versions an "
            "even share of the pack's); memory is that of the whole pack."
        )
    shown = pd.DataFrame({"choice": rows["choice"], "points": rows["points"].map(_signed)})
    for name in measured:
        words, unit = plots.COSTS[name]
        shown[words] = (rows[name] / unit).map("{:,.3g}".format).replace("nan", "")
    figures = {"cost": partial(plots.cost, answer, measured)}
    return Section("What it costs", text, [Table("Cost", rows, shown)], figures)


def per_class(block: Block, answer: Answer) -> Section | None:
    """Which classes lose most at the deepest cut."""
    if block.published:
        return Section("Classes", ["The published logs have no numbers per class."])
    its = classes.losses(block)
    rows: Any = its.rows
    what, number = its.replicates
    missing = [f"{its.without} runs have no numbers per class."] * bool(its.without)
    if rows.empty:
        return Section("Classes", [*missing, "Nothing can be said of classes: that takes AnB beside its base."])
    least, most = int(rows["images"].to_numpy().min()), int(rows["images"].to_numpy().max())
    differ = int((rows["q"] < classes.FOUND).sum())
    text = [
        f"What frozen copies lose against their bases at n = {its.n}, class by class ({block.measured}); a class has"
        f" {least if least == most else f'{least} to {most}'} images, each counted once, and {number} {what}(s). All"
        f" classes lose {its.mean:.1f} points on average.",
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
    shown = shown[[*words, *numbers]].astype("string").fillna("")
    title = (
        f"The {len(shown)} that lose most, by estimate (shrunk), in points"
        if its.spread
        else f"Plain means, the highest {len(shown)}: this order is what chance would make, too"
        if not differ
        else f"Plain means, the highest {len(shown)}"
    )
    tables = [Table(title, rows, shown)]
    groups = classes.by_group(rows)
    if len(groups) > 1:
        wide = groups.assign(**{name: groups[name].map("{:.2f}".format) for name in ("loss", "error")})
        told = "By group, plain means; error: between the classes of a group, as if they were drawn"
        tables.append(Table(told, groups, wide.astype("string").replace("nan", "")))
    return Section("Classes", text, tables, {"classes": partial(plots.of_classes, rows, its.n, its.mean, its.spread)})


def cheap_predictors(block: Block, answer: Answer) -> Section | None:
    """How well scores from one forward pass would have chosen the cut."""
    if block.directory is None:
        return None
    text, table = judge(block)
    return Section("Cheap predictors", text, [table] if table else []) if text else None


def basis(block: Block, answer: Answer) -> Section:
    """What all this rests on."""
    return Section("What this rests on", caveats(block))


def open_questions(block: Block, answer: Answer) -> Section | None:
    """Which runs would settle it."""
    todo = settling(block, answer)
    if todo is None:
        if answer.top and len(answer.among) > 1:
            enough = f"{answer.splits_needed} {block.replicates}s tell choices apart that differ by {TELL:g} point"
            return Section("What would settle it", [f"{enough}, and are there: take the cheapest that may be best."])
        return None
    trained = ", ".join(f"{treatment} at n = {n}" for treatment, n in todo.choices)
    text = [
        todo.why,
        f"To train: {trained}, on {', '.join(todo.splits)} with seeds {', '.join(map(str, todo.seeds))}"
        f"{', both directions' * (not block.weights)}: {todo.missing} copies and the bases that are not there yet.",
        "As a sweep: yosinski advise ... --out settle.py; "
        + "; ".join(
            command(*words, runs=block.directory)
            for words in (("plan", "settle.py"), ("submit", "settle.py", "--profile", "PROFILE"))
        ),
    ]
    return Section("What would settle it", text, files={".py": todo.sweep})


# --------------------------------------------------------------------------------------------------------- of several


def volume(made: list[tuple[Block, Answer]]) -> Section | None:
    """The best choice as a function of how many images a class has, where blocks differ in nothing else."""
    same = ["origin", "network", "data", "rule", "kind", "semantics", "recipe"]
    alike: dict[tuple[str, ...], list[tuple[Block, Answer]]] = {}
    for block, answer in made:
        first = block.runs.loc[block.runs["n"] > 0].iloc[0]
        of_bases = str(first["base_recipe"])
        alike.setdefault((*(str(first[name]) for name in same), of_bases), []).append((block, answer))
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
            said = _said(answer.rows, answer.top) if answer.top else f"no recommendation: {answer.why_not}"
            others = [choice for choice in answer.among["choice"] if choice != answer.top] if answer.top else []
            also = f" (or {', '.join(others)})" if others else ""
            section.text.append(f"{block.examples or 'All'} images per class: {said}{also}.")
        rows: Any = pd.concat(parts, ignore_index=True)
        wide = rows.pivot_table(index="choice", columns="images", values="from_base", sort=False)
        wide = wide.reindex(columns=list(dict.fromkeys(rows["images"])))
        shown = wide.map(_signed).reset_index().rename(columns=str)
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
    text = [
        "A contest is what one chooses among: all copies of one base on one target. P(change): that another choice ends"
        " higher than today's best; expected regret: how much higher the best then is, on average, in accuracy.",
        "Learned from finished contests of other splits; yosinski early shows how far that came true.",
    ]
    return Section("What is not finished", [*text, *said], [table] if len(table.rows) else [])


def _signed(number: float) -> str:
    return "" if pd.isna(number) else f"{number:+.2f}"


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"[{low:+.2f}, {high:+.2f}]"


OF_BLOCK: tuple[Callable[[Block, Answer], Section | None], ...] = (
    recommendation,
    open_questions,
    decomposition,
    cost,
    per_class,
    cheap_predictors,
    basis,
)
ACROSS: tuple[Callable[[list[tuple[Block, Answer]]], Section | None], ...] = (volume,)
