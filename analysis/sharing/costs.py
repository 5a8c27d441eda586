"""What shared networks cost beside networks of their own, and which is better at equal parameters or FLOPs.

Nothing is trained for this, so that it says what runs can say: two inputs against the same network that sees one of
them twice, which takes as many FLOPs and parameters; a shared network against two that share nothing. Narrower networks
of their own, with as few parameters as a shared one, are not among the runs.
"""

from typing import Any

import numpy as np
import pandas as pd

from analysis.advice.contrasts import intervals, split_means
from analysis.advice.document import Section
from analysis.advice.recommendation import filled, interval, signed
from analysis.paired import FEWEST
from analysis.sharing.contrasts import BASE, FUSE, Kind
from analysis.tables import Table

_SIZED = ["same", "other"]
COSTS = {"flops": "FLOPs", "parameters": "parameters"}


def equal_costs(runs: Any, kind: Kind, rows: Any, alone: Any, frame: Any) -> Section | None:
    """The section: one row per n.

    rows: the contrasts; alone: of `predictors.together`, both inputs' bases together; frame: also with the bases of the
    other tasks or inputs.
    """
    table = costs(runs, frame)
    if table.empty:
        return None
    name = "E" if kind is FUSE else kind.total.name
    of_n: Any = rows.loc[rows["contrast"] == name].set_index("n")[["points", "low", "high"]]
    table = table.join(of_n, on="n")
    shown: dict[str, Any] = {"n": table["n"].astype(str), "cut": table["cut"].fillna("")}
    shown |= {f"{words} of {kind.several} alone": table[column].map("{:.2f}".format) for column, words in COSTS.items()}
    marks = {key: mark for key, (mark, _) in kind.controls.items()}
    text = []
    if kind is FUSE:
        if _as_large(runs):
            shown["xy - xx"] = _told(table)
            text.append("At equal FLOPs and parameters: xx is the same network as xy, and sees x twice; E = xy - xx.")
        against = beside_two(runs, alone)
        if len(against):
            table = table.join(against.set_index("n").add_suffix("_two"), on="n")
            shown["xy - x and y apart"] = _told(table, "_two")
            text.append(
                "Against two networks of their own: x alone and y alone, asked together by the mean of their"
                f" probabilities, are {signed(100 * (alone['value'].mean() - _base(runs, alone)))} points from x alone."
            )
        else:
            text.append("What x alone and y alone are worth when asked together, `yosinski predict fuse` tells.")
        text.append(_verdict(table, kind, "_two" if len(against) else ""))
    else:
        shown[f"{marks['other']} - {marks[BASE]}"] = _told(table)
        over = ", on average over the tasks," if runs["target"].nunique() > 1 else ""
        text.append(
            f"{kind.several.capitalize()} networks of their own are n = 0: T is against them{over} and their FLOPs and"
            " parameters are 1.00. Narrower ones, with as few parameters as a shared network, are not among the runs."
        )
        text.append(_verdict(table, kind, ""))
    title = f"Beside {kind.several} networks of their own"
    return Section("At equal cost", text, [Table(title, table, filled(pd.DataFrame(shown)))])


def costs(runs: Any, frame: Any) -> pd.DataFrame:
    """FLOPs and parameters of the shared networks at every n, as shares of those of as many that share nothing.

    frame: with the bases of the other tasks or inputs; one that is not there counts as that of the first.
    """
    good = runs.loc[runs["counts"]].drop_duplicates(["run", "target_half"])
    shared, bases = good.loc[good["series"] == "other"], good.loc[good["series"] == BASE]
    if shared.empty or bases.empty or shared[list(COSTS)].isna().all(axis=None):
        return pd.DataFrame()
    done = frame.loc[(frame["treatment"] == "base").fillna(False) & frame["last"] & (frame["state"] == "done")]
    done = done.loc[done["recipe"].isin(bases["recipe"]) | ~done["network"].isin(bases["network"])]
    own, others = (of.groupby("target_half")[list(COSTS)].mean().astype(float) for of in (bases, done))
    apart = [
        own.loc[target] + sum(others.loc[half] if half in others.index else own.loc[target] for half in halves.split())
        for target, halves in shared[["target_half", "partner_half"]].drop_duplicates().itertuples(index=False)
        if target in own.index
    ]
    if not apart:
        return pd.DataFrame()
    table = shared.groupby("n")[list(COSTS)].mean() / pd.DataFrame(apart).mean()
    return table.astype("float64").join(shared.groupby("n")["cut"].first()).reset_index()


def _as_large(runs: Any) -> bool:
    """Whether a network that sees x twice is as large as one that sees both inputs: not where y has another network."""
    good = runs.loc[runs["counts"]].groupby(["n", "series"])["parameters"].mean().unstack().reindex(columns=_SIZED)
    larger = (good["same"] / good["other"] - 1).dropna()
    return bool(len(larger) and (larger.abs() < 0.01).all())


def beside_two(runs: Any, alone: Any) -> pd.DataFrame:
    """Xy less both single networks together, at every n, in points: `points`, `low` and `high` (from three splits)."""
    good = runs.loc[runs["counts"]]
    key = ["replicate", "target_half", "seed"]
    two = good.merge(alone.rename(columns={"value": "two"}), on="run")[[*key, "two"]]
    both = good.loc[good["series"] == "other"].merge(two, on=key)
    if both.empty:
        return pd.DataFrame()
    both = both.assign(points=100 * (both["value"] - both["two"]).astype(float))
    rows: Any = intervals(split_means(both)).reset_index()
    return rows[["n", "points", "low", "high"]]


def in_words(against: pd.DataFrame, n: int) -> list[str]:
    """The same at the recommended n, as a sentence; none where it is not known."""
    here = against.loc[against["n"] == n] if len(against) else against
    if here.empty:
        return []
    (row,) = here.itertuples()
    told = f"{signed(row.points)} {interval(row.low, row.high)}".rstrip()  # pyright: ignore
    return [f"It is {told} points from x alone and y alone, two networks of their own that are asked together."]


def _base(runs: Any, alone: Any) -> float:
    return float(runs.loc[runs["run"].isin(alone["run"]) & runs["counts"], "value"].mean())


def _told(table: Any, suffix: str = "") -> list[str]:
    points, low, high = (table.get(f"{name}{suffix}", table[name]) for name in ("points", "low", "high"))
    return [f"{signed(p)} {interval(a, b)}".rstrip() for p, a, b in zip(points, low, high, strict=True)]


def _verdict(table: Any, kind: Kind, suffix: str) -> str:
    """At which n sharing is better than networks of their own, as far as intervals tell."""
    low, high = table[f"low{suffix}"], table[f"high{suffix}"]
    if low.isna().all():
        return f"On fewer than {FEWEST} replicates that is no comparison."
    parts = []
    for words, which in (
        (f"better than {kind.several} networks of their own", low > 0),
        ("worse", high < 0),
        ("not told apart", ~(low > 0) & ~(high < 0) & low.notna()),
    ):
        if which.any():
            parts.append(f"{words} at n = {', '.join(map(str, table.loc[which, 'n']))}")
    saves = 100 * (1 - np.array(table["parameters"], float))
    kept = f"sharing saves {saves.min():.0f} to {saves.max():.0f} % of their parameters"
    return f"By these intervals a shared network is {'; '.join(parts)}; {kept}."
