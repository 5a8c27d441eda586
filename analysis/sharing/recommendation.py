"""Where inputs should meet, or tasks part, in sentences: how sure that is, and what it is made of."""

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.advice.answer import ENOUGH, Answer, answer
from analysis.advice.blocks import Block, one_row_each
from analysis.advice.recommendation import interval, probability, signed
from analysis.sharing.contrasts import BASE, FUSE, KINDS, Kind, contrasts, runs_of, scored_in, totals


def block_of(runs: pd.DataFrame, kind: Kind, metric: str, directory: Path | None) -> Block:
    """The shared networks and their bases, as choices among n = 0..N and staying alone; controls are left out."""
    own: Any = runs.loc[runs["series"].isin([BASE, "other"])]
    mark = kind.controls["other"][0]
    own = own.assign(relation=own["series"].map({BASE: BASE, "other": "transfer"}))
    own["series"] = own["series"].map({BASE: BASE, "other": f"{mark}n"})
    columns = [name for name in own.columns if name not in ("value", "counts", "replicate", "replicates")]
    plain = own[columns].astype({"relation": "string", "series": "string"})
    return Block("", metric, plain, one_row_each(plain, metric), directory, sharing=(mark, kind.scored))


def answer_of_shared(
    frame: pd.DataFrame, treatment: str, directory: Path | None, matters: float
) -> tuple[Block, Answer, list[str]]:
    """The choices among shared networks, the answer, and its sentences. BadInput as of `contrasts.runs_of`."""
    kind = next(kind for kind in KINDS.values() if kind.treatment == treatment)
    runs = runs_of(frame, kind, "select_top1")
    kind = scored_in(runs, kind)
    block = block_of(runs, kind, "select_top1", directory)
    found = answer(block, matters)
    return block, found, sentences(found, kind, contrasts(runs, kind), totals(runs, kind))


def sentences(found: Answer, kind: Kind, rows: pd.DataFrame, every: pd.DataFrame) -> list[str]:
    """The recommendation, the first lines of a report. rows, every: of `contrasts.contrasts` and `totals`."""
    if not found.top:
        best: Any = found.rows.dropna(subset=["points"]).head(1)
        beside = f" On these alone, {best['choice'].iloc[0]} is highest." if len(best) else ""
        return [f"No recommendation: {found.why_not}.{beside}"]
    row = found.row(found.top)
    points = "a point" if found.matters == 1 else f"{found.matters:g} points"
    sure = f"within {points} of the best with P {probability(row['within'])} (expected regret {row['behind']:.2f})"
    shared = 1 - found.treatments.get(BASE, 0.0)
    if row["series"] == BASE:
        alone = "one input is as good" if kind is FUSE else "let each task have a network of its own"
        return [f"Share nothing (P {probability(1 - shared)}): {alone}. It is {sure}."]
    alike = found.recommended
    cuts = sorted(int(n) for n in alike.loc[alike["series"] == row["series"], "n"]) or [int(row["n"])]
    what = "Let the inputs meet" if kind is FUSE else "Share"
    places = " or ".join(map(str, cuts))
    where = f"after n = {places}" if kind is FUSE else f"the first n = {places} layers"
    opening = f"{'Fuse' if kind is FUSE else 'Share'} (P {probability(shared)})."
    if row["within"] < ENOUGH:
        text = [f"{opening} Where is open: {found.top} is highest, and {sure}."]
    else:
        text = [f"{opening} {what} {where}: {found.top} is highest, and {sure}."]
    text += _made_of(rows, every, kind, int(row["n"]))
    return [*text, *_costs(found, row, kind)]


def _made_of(rows: pd.DataFrame, every: pd.DataFrame, kind: Kind, n: int) -> list[str]:
    """The total at n, and the contrasts that add up to it, on those targets that have them all."""
    here, whole = (table.loc[(table["n"] == n) & (table["pairs"] > 0)].set_index("contrast") for table in (rows, every))
    if kind.total.name not in whole.index:
        return []

    def told(table: pd.DataFrame, name: str) -> str:
        row: Any = table.loc[name]
        return f"{signed(row['points'])} {interval(row['low'], row['high'])}".rstrip()

    opening = f"At n = {n} it reaches {told(whole, kind.total.name)} points from the base"
    chain = [contrast for contrast in kind.contrasts[:-1] if contrast.name in here.index]
    parts = [contrast for contrast in chain if contrast.name in kind.chain]
    if len(parts) > 1:
        pairs, of = here.loc[kind.total.name, "pairs"], whole.loc[kind.total.name, "pairs"]
        if pairs < of:
            opening += f"; on the {pairs} of {of} pairs with controls {told(here, kind.total.name)}"
        opening += ", made of " + ", ".join(f"{told(here, contrast.name)} {contrast.meaning}" for contrast in parts)
    others = [f"{contrast.meaning} {told(here, contrast.name)}" for contrast in chain if contrast not in parts]
    return [f"{opening}.", *([f"Beside it: {', '.join(others)}."] if others else [])]


def _costs(found: Answer, row: Any, kind: Kind) -> list[str]:
    """What two networks that share nothing would cost beside this one."""
    base: Any = found.rows.loc[found.rows["series"] == BASE]
    if base.empty or pd.isna(base["flops"].iloc[0]) or pd.isna(row["flops"]):
        return []
    flops, parameters = row["flops"] / base["flops"].iloc[0], row["parameters"] / base["parameters"].iloc[0]
    text = f"It takes {flops:.2f} times the FLOPs of one network alone and has {parameters:.2f} times its parameters."
    if kind is FUSE:
        return [text]
    points = row["points"]
    verdict = "better" if points < 0 else "worse"
    own = f"{kind.several.capitalize()} networks of their own take {kind.number} of each"
    return [f"{text} {own}, and are {verdict} by {abs(points):.2f} points."]
