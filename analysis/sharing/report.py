"""Where inputs meet and where tasks part, as parts of the report."""

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.advice.answer import ENOUGH, Answer
from analysis.advice.answer import answer as answer_of
from analysis.advice.blocks import Block, one_row_each
from analysis.advice.document import Part, Section
from analysis.advice.recommendation import filled, interval, probability, shown, signed
from analysis.figures import marks
from analysis.paired import FEWEST, METRICS
from analysis.sharing import figure
from analysis.sharing.contrasts import BASE, FUSE, KINDS, Kind, by_task, contrasts, runs_of
from analysis.tables import Table
from yosinski.errors import BadInput, count


def sharing(frame: Any, metric: str | None, directory: Path | None, matters: float) -> list[Part]:
    """A part for fused and one for joint networks, where there are any; arguments as of `advice.report.advise`."""
    parts = []
    for name, kind in KINDS.items():
        if not (frame["treatment"] == kind.treatment).fillna(False).any():
            continue
        own = metric or "select_top1"
        runs: Any
        try:
            runs = runs_of(frame, kind, own)
        except BadInput as error:
            parts.append(Part(f"Where to {name}", [Section("Recommendation", [f"No recommendation: {error}."])]))
            continue
        block = block_of(runs, kind, own)
        answer = answer_of(block, matters)
        rows = contrasts(runs, kind)
        sections = [
            recommendation(block, answer, kind, rows, frame, name),
            decomposition(runs, kind, rows),
            tasks(runs, kind),
            Section("What this rests on", basis(runs, kind, own)),
        ]
        title = f"Where to {name}: {marks.subject(runs)}"
        parts.append(Part(title, [section for section in sections if section is not None]))
    return parts


def block_of(runs: pd.DataFrame, kind: Kind, metric: str) -> Block:
    """The shared networks and their bases, as choices among n = 0..N and staying alone; controls are left out."""
    own: Any = runs.loc[runs["series"].isin([BASE, "other"])]
    mark = kind.controls["other"][0]
    own = own.assign(relation=own["series"].map({BASE: BASE, "other": "transfer"}))
    own["series"] = own["series"].map({BASE: BASE, "other": f"{mark}n"})
    columns = [name for name in own.columns if name not in ("value", "counts", "replicate", "replicates")]
    plain = own[columns].astype({"relation": "string", "series": "string"})
    return Block("", metric, plain, one_row_each(plain, metric), sharing=mark)


def recommendation(
    block: Block, answer: Answer, kind: Kind, rows: pd.DataFrame, frame: pd.DataFrame, name: str
) -> Section:
    """Where, how sure that is, what it is made of, and what it costs beside networks that share nothing."""
    table = Table("Choices", answer.rows, shown(block, answer))
    text = _sentences(block, answer, kind, rows)
    marks_of = "; ".join(f"{mark} = {meaning}" for mark, meaning in kind.controls.values())
    example = (
        "xy3A: inputs x and y of task A meet after 3 layers"
        if kind is FUSE
        else ("AB3A: tasks A and B share the first 3 layers, scored on A")
    )
    text.append(f"How to read this: {example}; {marks_of}; base = alone; points = percent of {METRICS[block.metric]}.")
    draw = figure.fuse if kind is FUSE else figure.branch
    return Section("Recommendation", text, [table], {name: lambda: draw(frame, block.metric)[0]})


def _sentences(block: Block, answer: Answer, kind: Kind, rows: pd.DataFrame) -> list[str]:
    if not answer.top:
        best: Any = answer.rows.dropna(subset=["points"]).head(1)
        beside = f" On these alone, {best['choice'].iloc[0]} is highest." if len(best) else ""
        return [f"No recommendation: {answer.why_not}.{beside}"]
    row = answer.row(answer.top)
    points = "a point" if answer.matters == 1 else f"{answer.matters:g} points"
    sure = f"within {points} of the best with P {probability(row['within'])} (expected regret {row['behind']:.2f})"
    shared = 1 - answer.treatments.get(BASE, 0.0)
    if row["series"] == BASE:
        alone = "one input is as good" if kind is FUSE else "let each task have a network of its own"
        return [f"Share nothing (P {probability(1 - shared)}): {alone}. It is {sure}."]
    alike = answer.recommended
    cuts = sorted(int(n) for n in alike.loc[alike["series"] == row["series"], "n"]) or [int(row["n"])]
    what = "Let the inputs meet" if kind is FUSE else "Share"
    places = " or ".join(map(str, cuts))
    where = f"after n = {places}" if kind is FUSE else f"the first n = {places} layers"
    opening = f"{'Fuse' if kind is FUSE else 'Share'} (P {probability(shared)})."
    if row["within"] < ENOUGH:
        text = [f"{opening} Where is open: {answer.top} is highest, and {sure}."]
    else:
        text = [f"{opening} {what} {where}: {answer.top} is highest, and {sure}."]
    text += _made_of(rows, kind, int(row["n"]))
    return [*text, *_costs(answer, row, kind)]


def _made_of(rows: pd.DataFrame, kind: Kind, n: int) -> list[str]:
    """The total at n and the contrasts that add up to it."""
    here = rows.loc[(rows["n"] == n) & rows["points"].notna()].set_index("contrast")
    if kind.total.name not in here.index:
        return []

    def told(name: str) -> str:
        row: Any = here.loc[name]
        return f"{signed(row['points'])} {interval(row['low'], row['high'])}".rstrip()

    chain = [contrast for contrast in kind.contrasts[:-1] if contrast.name in here.index]
    sums = [contrast for contrast in chain if contrast.name in kind.chain]
    parts = ", ".join(f"{told(contrast.name)} {contrast.meaning}" for contrast in sums)
    made = f", made of {parts}" if len(sums) > 1 else ""
    text = [f"At n = {n} it reaches {told(kind.total.name)} points from the base{made}."]
    others = [f"{contrast.meaning} {told(contrast.name)}" for contrast in chain if contrast not in sums]
    return [*text, *([f"Beside it: {', '.join(others)}."] if others else [])]


def _costs(answer: Answer, row: Any, kind: Kind) -> list[str]:
    """What two networks that share nothing would cost beside this one."""
    base: Any = answer.rows.loc[answer.rows["series"] == BASE]
    if base.empty or pd.isna(base["flops"].iloc[0]) or pd.isna(row["flops"]):
        return []
    flops, parameters = row["flops"] / base["flops"].iloc[0], row["parameters"] / base["parameters"].iloc[0]
    text = f"It takes {flops:.2f} times the FLOPs of one network alone and has {parameters:.2f} times its parameters."
    if kind is FUSE:
        return [f"{text} At equal FLOPs and parameters without the other input it would be the control xx."]
    points = row["points"]
    verdict = "better" if points < 0 else "no better"
    return [
        f"{text} Two networks of their own take 2 of each; they would be {verdict}, by {abs(points):.2f} points on"
        " average over the tasks."
    ]


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
    adding = "K + R + I = T" if kind is FUSE else "H + G = N + L = T"
    replicates = runs["replicates"].iloc[0]
    text.append(
        f"{adding}. Paired by target and seed; mean over {replicates}s, no interval for fewer than {FEWEST}. Intervals "
        "are per n, p values for all n of a contrast."
    )
    return Section("What sharing costs, and why", text, [_table("In points", rows)])


def _table(title: str, rows: pd.DataFrame) -> Table:
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
    text.append("Intervals do not cover other images.")
    return text
