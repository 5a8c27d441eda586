"""Where inputs meet and where tasks part, as parts of the report."""

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.advice.answer import Answer
from analysis.advice.answer import answer as answer_of
from analysis.advice.blocks import Block
from analysis.advice.document import Part, Section
from analysis.advice.recommendation import filled, interval, of_images, shown, signed
from analysis.figures import marks
from analysis.paired import FEWEST, METRICS
from analysis.sharing import figure
from analysis.sharing.contrasts import (
    BASE,
    FUSE,
    KINDS,
    Kind,
    by_task,
    check_bases,
    contrasts,
    explained,
    runs_of,
    scored_in,
    totals,
)
from analysis.sharing.costs import beside_two, equal_costs, in_words
from analysis.sharing.predictors import cheap_predictors, together
from analysis.sharing.recommendation import block_of, sentences
from analysis.tables import Table
from yosinski.errors import BadInput, count


def sharing(frame: Any, metric: str | None, directory: Path | None, matters: float) -> list[Part]:
    """A part for fused and one for joint networks, where there are any; arguments as of `advice.report.advise`."""
    parts = []
    for name, kind in KINDS.items():
        shared: Any = frame.loc[(frame["treatment"] == kind.treatment).fillna(False)]
        others = shared.loc[shared["control"] != "twin"]  # which asks what its task asks, whatever the other one asks
        pairs = sorted(set(others[["asks", "partner_asks"]].dropna().itertuples(index=False, name=None)))
        tasks = [question for question, _ in pairs]
        for question, beside in pairs:  # tasks that ask other things are never averaged
            unlike = f", {question}" if len(pairs) > 1 else ""
            unlike += f" beside {beside}" if tasks.count(question) > 1 else ""
            of_pair: Any = others.loc[(others["asks"] == question) & (others["partner_asks"] == beside)]
            beside_it = frame["control"].isna() | (frame["control"] == "twin")
            beside_it &= frame["target_half"].isin(of_pair["target_half"])
            partners = [half for halves in of_pair["partner_half"].dropna().unique() for half in halves.split()]
            beside_it |= frame["control"].isna() & frame["target_half"].isin(partners)
            rows = frame.loc[frame.index.isin(of_pair.index) | beside_it.fillna(False)]
            parts.append(_part(rows, name, unlike, metric or "select_top1", directory, matters))
    return parts


def _part(frame: Any, name: str, unlike: str, metric: str, directory: Path | None, matters: float) -> Part:
    kind = KINDS[name]
    try:
        runs: Any = runs_of(frame, kind, metric)
        check_bases(runs)
        kind = scored_in(runs, kind)
    except BadInput as error:
        return Part(f"Where to {name}{unlike}", [Section("Recommendation", [f"No recommendation: {error}."])])
    block = block_of(runs, kind, metric, directory)
    answer = answer_of(block, matters)
    rows, every, alone = contrasts(runs, kind), totals(runs, kind), together(runs, kind, directory, metric)
    on_test = runs_of(frame, kind, "test_top1" if metric == "select_top1" else metric)
    sections = [
        recommendation(block, answer, kind, (rows, every), frame, name, beside_two(runs, alone)),
        decomposition(runs, kind, rows),
        equal_costs(runs, kind, every, alone, frame),
        tasks(runs, kind),
        cheap_predictors(on_test, kind, directory, name),
        Section("What this rests on", [*basis(runs, kind, metric), *of_images(block, answer)]),
    ]
    title = f"Where to {name}{unlike}: {marks.subject(runs)}"
    return Part(title, [section for section in sections if section is not None])


def recommendation(
    block: Block,
    answer: Answer,
    kind: Kind,
    rows: tuple[pd.DataFrame, pd.DataFrame],
    frame: pd.DataFrame,
    name: str,
    against: pd.DataFrame,
) -> Section:
    """Where, how sure that is, what it is made of, and what it costs beside networks that share nothing.

    rows: of `contrasts.contrasts` and `totals`; against: of `costs.beside_two`.
    """
    table = Table("Choices", answer.rows, shown(block, answer))
    text = sentences(answer, kind, *rows)
    if answer.top and answer.top != BASE:
        text += in_words(against, int(answer.row(answer.top)["n"]))
    marks_of = "; ".join(f"{mark} = {meaning}" for mark, meaning in kind.controls.values())
    averaged = "; points are means over tasks" * (len(set(block.runs["target"])) > 1)
    letters, scored = kind.controls["other"][0], f"scored on {kind.scored}{averaged}"
    example = f"{letters}3{kind.scored}: tasks {' and '.join(letters)} share the first 3 layers, {scored}"
    if kind is FUSE:
        example = "xy3A: inputs x and y of task A meet after 3 layers"
    text.append(f"How to read this: {example}; {marks_of}; base = alone; points = percent of {METRICS[block.metric]}.")
    draw = figure.fuse if kind is FUSE else figure.branch
    return Section("Recommendation", text, [table], {name: lambda: draw(frame, block.metric)[0]})


def decomposition(runs: pd.DataFrame, kind: Kind, rows: pd.DataFrame) -> Section | None:
    """The contrasts at every n."""
    rows = rows.loc[rows["pairs"] > 0]
    if rows.empty:
        return None
    present = set(rows["contrast"])
    marks_of = {name: mark for name, (mark, _) in kind.controls.items()}
    text = [
        f"{contrast.name} = {marks_of[contrast.above]} - {marks_of[contrast.below]}: {contrast.meaning}."
        for contrast in kind.contrasts
        if contrast.name in present
    ]
    replicates, tasks = runs["replicates"].iloc[0], explained(runs)
    of_tasks = f" Scored on {' and '.join(tasks)} alone, which has controls." * (len(tasks) < runs["target"].nunique())
    text.append(
        f"{kind.adding}, over those that have all controls at n.{of_tasks} Paired by target and seed; mean over "
        f"{replicates}s, no interval for fewer than {FEWEST}. Intervals are per n, p values for all n of a contrast."
    )
    return Section("What sharing costs, and why", text, [_table("In points", rows)])


def _table(title: str, rows: pd.DataFrame) -> Table:
    """One line per contrast and n; where there are no intervals, one per n, with a column for every contrast."""
    if not rows["low"].notna().to_numpy().any():
        of_task = ["task"] if "target" in rows else []
        told: Any = rows.assign(points=rows["points"].map(signed), n=rows["n"].astype(str), task=rows.get("target"))
        wide = told.pivot(index=[*of_task, "n"], columns="contrast", values="points")
        columns = [name for name in dict.fromkeys(rows["contrast"]) if name in wide]
        return Table(title, rows, wide[columns].fillna("").reset_index().rename_axis(columns=None))
    shown_rows = pd.DataFrame(
        {
            **({"task": rows["target"]} if "target" in rows else {}),
            "contrast": rows["contrast"],
            "n": rows["n"].astype(str),
            "points": rows["points"].map(signed),
            "95 % t": [interval(low, high) for low, high in zip(rows["low"], rows["high"], strict=True)],
            "moderated": [interval(low, high) for low, high in zip(rows["calm_low"], rows["calm_high"], strict=True)],
            "p (Holm)": rows["p_holm"].map("{:.3f}".format).replace({"nan": "", "0.000": "<0.001"}),
            "pairs": rows["pairs"].astype(str),
        }
    )
    return Table(title, rows, filled(shown_rows))


def tasks(runs: Any, kind: Kind) -> Section | None:
    """What sharing costs each task: no mean of unlike things."""
    if kind is FUSE or runs["target"].nunique() < 2:
        return None
    rows: Any = by_task(runs, kind)
    total = rows.loc[(rows["contrast"] == kind.total.name) & (rows["pairs"] > 0)]
    if total.empty:
        return None
    return Section("Each task", ["What sharing gives or costs each task, against its own base."], [_table("T", total)])


def basis(runs: Any, kind: Kind, metric: str) -> list[str]:
    """What all this rests on."""
    good: Any = runs.loc[runs["counts"]]
    replicates = runs["replicates"].iloc[0]
    text = [
        f"{len(good)} of {len(runs)} networks count, on {count(good['replicate'].nunique(), str(replicates))}; "
        f"accuracies are those on {METRICS[metric]}."
    ]
    left_out = runs.loc[~runs["counts"]]
    if len(left_out):
        states = ", ".join(f"{number} {state}" for state, number in left_out["state"].value_counts().items())
        text.append(f"Left out: {states}.")
    missing = [mark for name, (mark, _) in kind.controls.items() if not (good["series"] == name).any()]
    if missing:
        text.append(f"No {', '.join(missing)}: the contrasts with it are not known.")
    if replicates == "seed":
        text.append("Seeds replicate the training, not the task: on other classes it may be otherwise.")
    return text
