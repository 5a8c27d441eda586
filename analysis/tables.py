"""Tables by name: the paper's Table 1, the bases, the drops behind Figure 2, and which runs did not end well."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.special import stdtrit

from analysis.paired import (
    FEWEST,
    METRICS,
    by_origin,
    compare,
    kind_of_split,
    main_experiment,
    metric_for,
    one_row_per_run,
)
from yosinski.errors import BadInput, choose

FIRST_LAYERS = (1, 3, 5)  # the paper pools the copies that keep at least so many layers
GAINS = (("AnB+", "base"), ("AnB+", "BnB+"), ("BnB+", "base"))  # the third is not in the paper's table


@dataclass
class Table:
    """`rows` are the numbers and `shown` the same as text for people; `notes` are sentences."""

    title: str
    rows: pd.DataFrame
    shown: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    pairs: pd.DataFrame | None = None  # what the rows rest on, where there is more to be seen
    shown_pairs: pd.DataFrame | None = None

    def as_json(self) -> str:
        """`title`, `rows`, `pairs` (null where there are none) and `notes`; empty cells are null."""
        both = [None if numbers is None else json.loads(str(numbers.to_json(orient="records", double_precision=15)))
                for numbers in (self.rows, self.pairs)]  # fmt: skip
        return json.dumps({"title": self.title, "rows": both[0], "pairs": both[1], "notes": self.notes}, indent=1)


def table(name: str, frame: pd.DataFrame, metric: str | None = None) -> Table:
    """The table `name` of `TABLES` from a frame of records, of published networks, or of both.

    metric: as for figures; `paired.metric_for` has the defaults. BadInput: an unknown table or metric, or runs of which
    the table cannot be made.
    """
    of_frame = TABLES[choose("table", name, TABLES)]
    return of_frame(frame, metric_for(frame, metric))


def write(table: Table, path: Path) -> None:
    """Write the numbers of a table as .csv (its rows) or .json (everything); BadInput for any other."""
    choose("kind of file", path.suffix, (".csv", ".json"))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        table.rows.to_csv(path, index=False)
    else:
        path.write_text(table.as_json() + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------- table 1


def gains(frame: pd.DataFrame, metric: str) -> Table:
    """What fine-tuned transfer gains, in points, pooled over copies that keep at least 1, 3 or 5 layers.

    unpaired   mean of the copies - mean of all bases (or of all BnB+ that keep as many layers), as in the paper;
               `printed` is the same to one decimal
    paired     mean over the copies of: copy - base of the same target (or BnB+ of the same target and n); empty with
               0 pairs
    low, high  paired +- the 95 % t margin of the means of the splits, empty for fewer than three splits
    Source: Yosinski, Clune, Bengio and Lipson, NIPS 2014, Table 1.
    """
    rows, pairs = [], []
    for evaluations in by_origin(main_experiment(frame)):
        runs = one_row_per_run(evaluations, metric)
        if runs.loc[runs["counts"] & (runs["series"] == "AnB+")].empty:
            series = ", ".join(sorted(runs["series"].dropna().unique()))
            raise BadInput(f"table 1 needs fine-tuned transfers AnB+ that are done; these runs are: {series}")
        for copies, reference in GAINS:
            both = _pairs(runs, copies, reference)
            pairs.append(both)
            deepest = runs.loc[runs["counts"], "n"].max()
            rows += [_gain(runs, both, copies, reference, n, deepest) for n in FIRST_LAYERS if n <= deepest]
    numbers, points = pd.DataFrame(rows), pd.concat(pairs, ignore_index=True)
    title = f"Table 1: gains of fine-tuned copies, in points of accuracy ({METRICS[metric]})"
    return Table(title, numbers, _shown_gains(numbers), _said(frame, numbers, metric), points, _shown_pairs(points))


def _pairs(runs: pd.DataFrame, copies: str, reference: str) -> pd.DataFrame:
    """Every copy that counts beside the mean of the reference on the same target, of which there must be one."""
    good = runs.loc[runs["counts"]]
    key = ["target_half"] if reference == "base" else ["target_half", "n"]
    own = good.loc[good["series"] == reference].groupby(key)["value"].mean().rename("beside")
    pairs = good.loc[good["series"] == copies].join(own, on=key, how="inner")
    pairs = pairs.assign(copies=copies, reference=reference, points=100 * (pairs["value"] - pairs["beside"]))
    columns = ["origin", "copies", "reference", "split", "target", "n", "run", "value", "beside", "points"]
    return pairs.sort_values(["split", "target", "n", "run"])[columns]


def _gain(
    runs: pd.DataFrame, pairs: pd.DataFrame, copies: str, reference: str, first: int, deepest: int
) -> dict[str, Any]:
    """One row: copies that keep layers 1..n for n of first..deepest."""
    good = runs.loc[runs["counts"]]
    some = good.loc[(good["series"] == copies) & (good["n"] >= first), "value"]
    others = good.loc[(good["series"] == reference) & ((good["n"] >= first) | (reference == "base")), "value"]
    unpaired = 100 * (some.mean() - others.mean())
    pooled = pairs.loc[pairs["n"] >= first]
    by_split = pooled.groupby("split", dropna=False)["points"].mean()
    paired, margin = pooled["points"].mean(), math.nan
    if len(by_split) >= FEWEST:
        margin = by_split.sem() * stdtrit(len(by_split) - 1, 0.975)
    return {
        "origin": runs["origin"].iloc[0],
        "copies": copies,
        "reference": reference,
        "first": first,
        "last": int(deepest),
        "unpaired": unpaired,
        "printed": round(unpaired, 1),
        "networks": len(some),
        "references": len(others),
        "paired": paired,
        "pairs": len(pooled),
        "splits": len(by_split),
        "low": paired - margin,
        "high": paired + margin,
    }


def _shown_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """As text, with the paired version beside the paper's."""

    def paired(row: Any) -> str:
        if row.pairs == 0:
            return "not identifiable: 0 pairs"
        interval = f" [{row.low:+.2f}, {row.high:+.2f}]" if pd.notna(row.low) else ""
        return f"{row.paired:+.2f}{interval}, {row.pairs} pairs, {_many(row.splits, 'split')}"

    def line(row: Any) -> dict[str, str]:
        return {
            "gain of": f"{row.copies} over {row.reference}",
            "layers": f"{row.first}-{row.last}",
            "unpaired": f"{row.unpaired:+.2f}" if pd.notna(row.unpaired) else "",
            "rounded": f"{row.printed:+.1f}" if pd.notna(row.printed) else "",
            "networks": f"{row.networks} over {row.references}",
            "paired with the same target": paired(row),
        }

    return _with_origin(pd.DataFrame(map(line, rows.itertuples())), rows)


def _shown_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """The points of every pair, one line per direction, one column per n (means over seeds)."""
    whose = pairs["copies"] + " over " + pairs["reference"]
    place = pairs.assign(pair=whose, to=pairs["split"].fillna("") + ", target " + pairs["target"].fillna(""))
    wide = place.pivot_table(index=["origin", "pair", "to"], columns="n", values="points", sort=False).sort_index(
        axis=1
    )
    text = wide.map(lambda cell: "" if pd.isna(cell) else f"{cell:+.2f}").rename(columns=lambda n: f"n = {n}")
    text = text.reset_index().rename(columns={"pair": "points of each pair", "to": "split"})
    return _with_origin(text.drop(columns="origin"), text)


def _said(frame: pd.DataFrame, rows: pd.DataFrame, metric: str) -> list[str]:
    """Two sentences: how the two versions differ, and what the number of splits allows."""
    uneven = ""
    for evaluations in by_origin(main_experiment(frame)):
        good = one_row_per_run(evaluations, metric).query("counts")
        bases, copies = good.query("series == 'base'"), good.query("series == 'AnB+'")
        per_target = copies.loc[copies["target_half"].isin(bases["target_half"]), "target_half"].value_counts()
        mean: Any = bases.groupby("target_half")["value"].mean()
        if 0 < len(per_target) < len(mean):
            rank = int(mean.rank(ascending=False)[per_target.index[0]])
            about: Any = copies.loc[copies["target_half"] == per_target.index[0]].iloc[0]
            whose = "published " if about["origin"] == "paper" else ""
            uneven = (
                f": {per_target.iloc[0]} of {len(copies)} {whose}AnB+ have half {about['target']} of"
                f" {about['split']} as target, whose base is number {rank} of {len(mean)} in accuracy"
            )
    first = (
        "Unpaired, as in the paper, copies are compared with the mean of all bases (or of all BnB+), so that a part of"
        f" the gain may be how easy the targets of these copies are{uneven}."
    )
    few = rows.loc[(rows["pairs"] > 0) & (rows["splits"] < FEWEST)]
    limit = f"; fewer than {FEWEST} splits allow no interval, so every pair is listed" if len(few) else ""
    return [first, f"Paired, each copy is compared with the base (or the BnB+ of the same n) of its own target{limit}."]


# --------------------------------------------------------------------------------------------------------- other tables


def bases(frame: pd.DataFrame, metric: str) -> Table:
    """Bases on all images by kind of split: how many count, their mean, the lowest and the highest."""
    all_bases = frame.loc[frame["last"] & (frame["treatment"] == "base") & frame["examples_per_class"].isna()]
    good = all_bases.loc[(all_bases["state"] == "done") & all_bases[metric].notna()]
    if good.empty:
        raise BadInput(f"no base on all images is done and has {metric}")
    kind: Any = kind_of_split(good).rename("halves")
    unlike = [name for name in ("asks", "input") if good.reindex(columns=[name]).nunique(dropna=False)[name] > 1]
    rows = good.groupby(["origin", "network", "data", kind, "recipe", *unlike], dropna=False)[metric].agg(
        bases="size", mean="mean", lowest="min", highest="max"
    )
    rows = rows.reset_index()
    shown = rows.assign(**{name: rows[name].map("{:.4f}".format) for name in ("mean", "lowest", "highest")})
    shown["bases"] = shown["bases"].astype(str)
    return Table(f"Bases: top-1 accuracy ({METRICS[metric]})", rows, shown.astype("string").fillna(""))


def drops(frame: pd.DataFrame, metric: str) -> Table:
    """Paired differences from the base of the same target in points, per series and n: the numbers behind Figure 2."""
    parts = []
    for evaluations in by_origin(main_experiment(frame)):
        rows = compare(one_row_per_run(evaluations, metric)).query("series != 'base'")
        rows.insert(0, "origin", evaluations["origin"].iloc[0])
        parts.append(rows)
    rows = pd.concat(parts, ignore_index=True)
    if rows.empty:
        raise BadInput("there are no copies to compare with bases")
    for name in ("difference", "low", "high"):
        rows[name] *= 100
    rows = rows.rename(columns={"difference": "points"})
    shown = pd.DataFrame(
        {
            "series": rows["series"],
            "n": rows["n"].astype(str),
            "cut": rows["cut"],
            "points": rows["points"].map("{:+.2f}".format).replace("+nan", ""),
            "interval": [
                f"{a:+.2f} to {b:+.2f}" if a == a else "" for a, b in zip(rows["low"], rows["high"], strict=True)
            ],
            "runs": rows["runs"].astype(str),
            "left out": rows["left_out"].astype(str),
            "splits": rows["splits"].astype(str),
            "mean": rows["mean"].map("{:.4f}".format).replace("nan", ""),
            "base": rows["base"].map("{:.4f}".format).replace("nan", ""),
        }
    )
    note = f"Intervals: 95 % t over splits, none for fewer than {FEWEST}."
    title = f"Differences from the base of the same target, in points ({METRICS[metric]})"
    return Table(title, rows, _with_origin(shown, rows), [note])


def health(frame: pd.DataFrame, metric: str) -> Table:
    """Runs that are not done, and those whose curve lacks evaluations, with last loss and accuracy beside ln K and 1/K.

    peers_lose: of a curve that lacks evaluations: by how much `best10_top1` would be lower, at most, for the whole
    curves of the same series and n if they had only the evaluations at the same steps.
    """
    if frame.empty:
        raise BadInput("there are no runs")
    last = frame.loc[frame["last"]]
    rows = last.loc[(last["state"] != "done") | (last["lost"].fillna(0) > 0)]
    counts = frame.groupby("run")["step"].count()
    rows = pd.DataFrame(
        {
            **{name: rows[name] for name in ("origin", "run", "name", "state", "split", "division")},
            "examples_per_class": rows["examples_per_class"],
            "evaluations": rows["run"].map(counts).astype("Int64"),
            "lost": rows["lost"],
            "loss": rows["select_loss"],
            "ln_k": rows["classes"].astype("float64").map(math.log, na_action="ignore"),
            "top1": rows["select_top1"],
            "chance": 1 / rows["classes"].astype("float64"),
            "peers_lose": [_peers_lose(frame, run) if lost > 0 else math.nan for run, lost in _lost(rows)],
        }
    )
    rows = rows.sort_values(["origin", "state", "run"], ignore_index=True)
    shown = rows.drop(columns=[] if last["division"].nunique() > 1 else ["division"]).assign(
        **{name: rows[name].map("{:.3f}".format).replace("nan", "") for name in ("loss", "ln_k")},
        **{name: rows[name].map("{:.5f}".format).replace("nan", "") for name in ("top1", "chance", "peers_lose")},
    )
    shown = (
        shown.astype("string").fillna("").rename(columns={"examples_per_class": "images", "peers_lose": "peers lose"})
    )
    states = ", ".join(f"{count} {state}" for state, count in last["state"].value_counts().items())
    notes = [f"{len(last)} runs: {states}."]
    if "stuck" in set(rows["state"]):
        notes.append("stuck: loss and accuracy ended at chance (ln K and 1/K where classes have equal sizes).")
    if len(rows["peers_lose"].dropna()):
        notes.append(
            "lost: evaluations not in the log; peers lose: what the score of whole logs would lose by it, at most."
        )
    return Table("Runs that are not done, or not whole", rows, shown.drop(columns="origin"), notes)


def _lost(rows: pd.DataFrame) -> list[tuple[str, int]]:
    return list(zip(rows["run"], rows["lost"].fillna(0), strict=True))


def _peers_lose(frame: pd.DataFrame, run: str) -> float:
    """What `best10_top1` of whole curves like this one's would lose, at most, with its steps only."""
    rows = frame.loc[frame["run"] == run]
    about: Any = rows.iloc[0]
    like = (frame["series"] == about["series"]) & (frame["n"] == about["n"]) & (frame["lost"] == 0)
    peers = frame.loc[like & (frame["origin"] == about["origin"]) & frame["best10_top1"].notna()]
    at_its_steps = peers.loc[peers["step"].isin(rows["step"])].groupby("run")["select_top1"]
    less = peers.groupby("run")["best10_top1"].first() - at_its_steps.apply(lambda top1: top1.nlargest(10).mean())
    return float(less.max())


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _with_origin(shown: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Name the origin in the text where there are two of them."""
    if len(set(rows["origin"])) > 1:
        shown.insert(0, "origin", rows["origin"].to_numpy())
    return shown


TABLES: dict[str, Callable[[pd.DataFrame, str], Table]] = {"1": gains, "bases": bases, "drops": drops, "health": health}
