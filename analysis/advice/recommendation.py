"""What to do, in sentences: cut where, freeze or fine-tune, how sure that is, and what rests on little."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.advice.answer import ENOUGH, Answer
from analysis.advice.blocks import Block
from analysis.paired import FEWEST
from yosinski.experiment.treatments import TREATMENTS

EQUAL = 0.005  # points, which two digits do not show
TRAILS = 5.0  # points, by which a choice trails in a comparison without errors


def sentences(block: Block, answer: Answer) -> list[str]:
    """The recommendation, the first lines of a report; without a comparison what can be said of these runs alone."""
    if not answer.top:
        return _without(block, answer)
    row, rows = answer.row(answer.top), answer.rows
    of_series = answer.treatments.get(str(row["series"]), 0.0)
    points = _points(answer.matters)
    first = f"{advice(row).capitalize()} (P {probability(of_series)})."
    sound = "" if rows["choice"].iloc[0] == answer.top else " that did not fail too often"
    of_those = f" of those{sound}" if sound else ""
    if row["within"] < ENOUGH:
        text = [
            f"{first} Where to cut is open: no choice{sound} is within {points} of the best with P of at least"
            f" {ENOUGH:g}.",
            f"{capital(_leads(_described(row), row, rows, of_those))} within {points} of the best"
            f" with P {probability(row['within'])}"
            f" (expected regret {row['behind']:.2f}).",
        ]
    else:
        alike = answer.recommended
        cuts = sorted(int(n) for n in alike.loc[alike["series"] == row["series"], "n"])
        where = f"Cut {_anywhere(cuts, rows, row)}: {_leads(answer.top, row, rows, of_those)}" if row["n"] else "It is"
        text = [
            f"{first} {where} within {points} of the best with P {probability(row['within'])}"
            f" (expected regret {row['behind']:.2f}).",
            f"Nothing more needs training, unless differences of {max(answer.limit, 0.01):.2g} points or less matter.",
        ]
        if answer.cheapest and answer.cheapest != answer.top:
            cheap = answer.row(answer.cheapest)
            what = {"flops": "training FLOPs", "trained_parameters": "parameters to train"}[answer.by]
            share = 100 * (1 - cheap[answer.by] / row[answer.by])
            text.append(
                f"Cheapest of those within {points}: {_described(cheap)}, with {share:.0f} % fewer {what}"
                f" (P {probability(cheap['within'])}, expected regret {cheap['behind']:.2f})."
            )
    return [*text, *_tested(block, answer), *_failed(answer), *_few(block, answer)]


def advice(row: Any) -> str:
    """What to do with the layers below the cut."""
    return TREATMENTS[row["treatment"]].advice or "train from scratch"


def capital(sentence: str) -> str:
    """With a capital letter first, and the others as they are."""
    return sentence[:1].upper() + sentence[1:]


def _described(row: Any) -> str:
    return (
        f"{row['choice']} (cut at n = {row['n']}, {row['cut']}; {advice(row)})" if row["n"] else "training from scratch"
    )


def _as_high(row: Any, rows: Any) -> list[str]:
    """The other choices whose points are those of this one, and that did not fail too often."""
    equal = ((rows["points"] - row["points"]).abs() < EQUAL) & ~rows["fragile"]
    return [name for name in rows.loc[equal, "choice"] if name != row["choice"]]


def _leads(words: str, row: Any, rows: Any, of_those: str) -> str:
    """The beginning of a sentence on the leading choice: "A3B+ is highest, and", or which others are as high."""
    others = _as_high(row, rows)
    if not others:
        return f"{words} is highest{of_those}, and"
    return f"{listed([words, *others])} are equally high{of_those}, and {row['choice']} is"


def listed(names: Sequence[str]) -> str:
    """As in "A3B+, A4B+ and A5B+"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _anywhere(cuts: Sequence[int], rows: pd.DataFrame, row: Any) -> str:
    if len(cuts) == 1:
        return f"at n = {cuts[0]} ({row['cut']})"
    tried = sorted(set(rows.loc[rows["series"] == row["series"], "n"]))
    first, last = tried.index(cuts[0]), tried.index(cuts[-1])
    if tried[first : last + 1] == cuts:
        return f"anywhere from n = {cuts[0]} to {cuts[-1]}"
    return f"at n = {', '.join(map(str, cuts[:-1]))} or {cuts[-1]}"


def _points(number: float) -> str:
    return "a point" if number == 1 else f"{number:g} points"


def probability(p: float) -> str:
    """As in "= 0.97", rounded down, or "> 0.99"."""
    return "> 0.99" if p > 0.99 else "< 0.01" if p < 0.01 else f"= {down(p)}"


def down(p: float) -> str:
    """A probability with two digits, rounded down: none looks like enough that is not."""
    return "" if pd.isna(p) else f"{math.floor(100 * p + 1e-9) / 100:.2f}"


def _without(block: Block, answer: Answer) -> list[str]:
    """What one can say of these very halves: which choices lead, and which trail far behind."""
    text = [f"No recommendation{'' if block.weights else ' for other halves'}: {answer.why_not}."]
    rows: Any = answer.rows.dropna(subset=["points"])
    if rows.empty:
        return [*text, *_failed(answer)]
    top = rows.iloc[0]
    gap = top["points"] - rows["points"]
    leading, trailing = rows.loc[gap <= answer.matters], rows.loc[gap >= TRAILS]
    from_base = f" ({top['points']:+.2f} points from the base)" if answer.reference and top["n"] else ""
    others = _as_high(top, rows)
    equal = f"{listed([_described(top), *others])} are equally high" if others else f"{_described(top)} is highest"
    text.append(f"On these alone, {equal}{from_base}.")
    if len(leading) > 1:
        text.append(f"Within {_points(answer.matters)} of it: {_series(leading, rows)}.")
    if len(trailing):
        least = (top["points"] - trailing["points"]).min()
        text.append(f"Behind by {least:.1f} points or more: {_series(trailing, rows)}.")
    return [
        *text,
        "These are differences without errors: what one training gains by luck is in them.",
        *_failed(answer),
    ]


def _series(some: Any, rows: Any) -> str:
    """Choices by their treatment: "fine-tuned n = 2 to 7, frozen n = 1, base"."""
    parts = []
    for series, group in some.groupby("series", sort=False):
        if series == "base":
            parts.append("the base")
            continue
        cuts = sorted(group["n"])
        tried = sorted(rows.loc[rows["series"] == series, "n"])
        whole = len(cuts) > 2 and tried[tried.index(cuts[0]) : tried.index(cuts[-1]) + 1] == cuts
        numbers = f"{cuts[0]} to {cuts[-1]}" if whole else ", ".join(map(str, cuts))
        parts.append(f"{TREATMENTS[group['treatment'].iloc[0]].meaning} n = {numbers}")
    return ", ".join(parts)


def _tested(block: Block, answer: Answer) -> list[str]:
    if answer.test.empty:
        images = "The published networks have one set of images" if block.published else f"Chosen on {block.measured}"
        return [
            f"{images}: scores of the best are the best of many on the same images, by about {answer.luck:.2f} points."
        ]
    row: Any = answer.test.iloc[0]
    beside = ""
    if "points" in answer.test and pd.notna(row["points"]):
        beside = f", {row['points']:+.2f} {interval(row['low'], row['high'])}".rstrip() + " points from the base"
    lucky = (
        ""
        if answer.luck < 0.005
        else (f" About {answer.luck:.2f} points of that are luck of its trainings, by which it was chosen.")
    )
    return [
        f"On test images, which had no part in the choice, {answer.top} reaches {row['test_top1']:.4f}{beside}.{lucky}"
    ]


def _failed(answer: Answer) -> list[str]:
    rows = answer.rows
    failed: Any = rows.loc[rows["failed"] > 0]
    text = []
    if len(failed) or answer.failed:
        some = [f"{row.choice} {row.failed} of {row.failed + row.runs}" for row in failed.itertuples()]
        every = [f"{choice} {number} of {number}" for choice, number in answer.failed.items()]
        text.append(f"Got stuck or diverged: {', '.join([*some, *every])}.")
    fragile = rows.loc[rows["fragile"], "choice"]
    if len(fragile):
        text.append(
            f"Not recommended, since more than a fifth failed or fewer than {FEWEST} replicates are left:"
            f" {', '.join(fragile)}."
        )
    return text


def _few(block: Block, answer: Answer) -> list[str]:
    rows = answer.rows
    few = rows.loc[(rows["splits"] < FEWEST) & (rows["series"] != "base"), "choice"]
    if few.empty:
        return []
    return [
        f"On fewer than {FEWEST} {block.replicates}s, with errors borrowed from the others (open markers):"
        f" {', '.join(few)}."
    ]


def of_images(block: Block, answer: Answer) -> list[str]:
    """Whether intervals cover other images, and what so many images are worth where they do not."""
    if not answer.top or block.replicates == "division":
        return []
    if answer.images.any():
        return [
            f"Intervals cover other {block.measured}, too: records say which ones each network had right, and where"
            " replicates share images, what these have in common is added."
        ]
    if answer.no_bits == 0:
        return [f"Each {block.replicates} has {block.measured} of its own, so that intervals cover others, too."]
    if answer.no_bits > 0:
        return [
            "Intervals do not cover other images, since not all records say which ones were right: an accuracy on so"
            f" many {block.measured} has a standard error of {answer.no_bits:.2f} points by these alone. Differences"
            " between choices on the same images have less."
        ]
    return ["Intervals do not cover other images: nothing says which ones each network had right."]


def interval(low: float, high: float) -> str:
    """As in "[+0.12, +0.98]"; "" where there is none."""
    return "" if pd.isna(low) else f"[{low:+.2f}, {high:+.2f}]"


def signed(number: float) -> str:
    """With its sign and two digits; "" where there is none."""
    return "" if pd.isna(number) else f"{number:+.2f}"


def shown(block: Block, answer: Answer) -> pd.DataFrame:
    """The table of choices as text, without columns that are empty."""
    rows: Any = answer.rows
    table = pd.DataFrame({"choice": rows["choice"], "cut": rows["cut"].astype("string").fillna("")})
    table[f"points from {answer.reference or 'the mean'}"] = rows["points"].map(signed)
    if answer.top:
        table["95 %"] = [interval(low, high) for low, high in zip(rows["low"], rows["high"], strict=True)]
        table["behind the best"] = rows["behind"].map("{:.2f}".format)
        table[f"P(within {answer.matters:g})"] = rows["within"].map(down)
        table["may be best"] = rows["among"].map({True: "yes", False: ""})
    if rows["failed"].any():
        table["failed"] = rows["failed"].map(lambda number: str(number) if number else "")
    for name, number in (
        (f"{block.replicates}s", rows["splits"]),
        ("targets", rows["targets"]),
        ("runs", rows["runs"]),
    ):
        table[name] = number.astype(str)
    return filled(table)


def filled(table: pd.DataFrame) -> pd.DataFrame:
    """A table of texts without the columns that are empty."""
    return table.loc[:, (table != "").any().to_numpy()]
