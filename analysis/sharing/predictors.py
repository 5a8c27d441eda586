"""Similarity of single networks against the trained places: how well it ranks them, and what following it would cost.

Similarities are what `yosinski predict fuse` and `predict branch` leave in `runs/similarities/`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.advice.document import Section
from analysis.advice.predictors import COLUMNS, against_rules, quality, shown_summary, summary
from analysis.advice.recommendation import capital
from analysis.sharing.contrasts import BASE, Kind
from analysis.tables import Table
from yosinski import files
from yosinski.errors import count
from yosinski.files import Damaged
from yosinski.records import specs, states


def rows(similarity: Mapping[str, Any]) -> pd.DataFrame:
    """One row per n and predictor, with the columns of `advice.predictors.COLUMNS`; base: the ids of both."""
    one, other = similarity["bases"]
    about = (f"{one['base']} {other['base']}", one["half"], similarity["version"], similarity["images"]["used"])
    cells = [(*about, cut["n"], cut["name"], *scored) for cut in similarity["cuts"] for scored in cut["scores"].items()]
    return pd.DataFrame(cells, columns=COLUMNS)


def similarities(directory: Path, kind: Kind) -> tuple[list[dict[str, Any]], list[str]]:
    """What was found for pairs of bases, and sentences about what does not count.

    That is damaged files, and what rests on weights that a base no longer has. Of the same pair the similarity by the
    latest version of most images counts.
    """
    found, stale, damaged = {}, [], []
    for path in sorted((directory / "similarities").glob("*.json")):
        try:
            value = files.read_json(path)
            if value["treatment"] != kind.treatment:
                continue
            records = [states.read_record(specs.folder(directory, base["base"])) or {} for base in value["bases"]]
            current = [base["weights"] for base in value["bases"]] == [record.get("weights") for record in records]
            key = tuple(base["base"] for base in value["bases"])
            rank = value["version"], value["images"]["used"]
            rows(value)  # whatever it lacks is found here
        except (KeyError, TypeError, AttributeError, ValueError, Damaged):
            damaged.append(path.name)
            continue
        if not current:
            stale.append(path.name)
        elif key not in found or rank > found[key][0]:
            found[key] = rank, value
    said = [
        f"Left out: {what} ({', '.join(names)})."
        for what, names in (
            ("similarities of weights that a base no longer has", stale),
            (count(len(damaged), "damaged file"), damaged),
        )
        if names
    ]
    return [value for _, value in found.values()], said


def beside(runs: Any, found: list[dict[str, Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Shared networks that a similarity is about, and its rows; `parent` (of rows `base`) says which belong together.

    A similarity is about the networks with its tasks (either of which is scored), or inputs, and with the seed of its
    bases; several are about a network with more than two.
    """
    bases = runs.loc[runs["series"] == BASE].drop_duplicates("run").set_index("run")
    shared = runs.loc[runs["series"] == "other"]
    shared = shared.assign(parent=pd.NA, relation="transfer", source=shared["partners"], series=shared["control"])
    judged, predicted = [shared.head(0)], [pd.DataFrame(columns=COLUMNS)]
    for value in found:
        table = rows(value)
        for one, other in (value["bases"], reversed(value["bases"])):
            if one["base"] not in bases.index:
                continue
            partners: Any = shared["partner_half"].str.split().map(lambda halves, half=other["half"]: half in halves)
            of_pair = shared["target_half"].eq(one["half"]) & partners.astype(bool)
            of_pair &= shared["seed"].eq(bases.loc[one["base"], "seed"])
            if of_pair.any():
                key = f"{one['base']} {other['half']}"
                judged.append(shared.loc[of_pair].assign(parent=key))
                predicted.append(table.assign(base=key, target_half=one["half"]))
    return pd.concat(judged[1:] or judged), pd.concat(predicted[1:] or predicted, ignore_index=True)


def cheap_predictors(runs: Any, kind: Kind, directory: Path | None, name: str) -> Section | None:
    """How well similarity of single networks would have chosen the place. runs: as of `contrasts.runs_of`."""
    if directory is None:
        return None
    found, said = similarities(directory, kind)
    shared, predicted = beside(runs, found)
    judged = quality(shared, predicted) if len(shared) else pd.DataFrame()
    if judged.empty:
        how = f"`yosinski predict {name}` compares the bases layer by layer, from one forward pass"
        return Section("Cheap predictors", [f"No similarity of the bases of these networks is known: {how}.", *said])
    table, replicates = summary(judged), str(runs["replicates"].iloc[0])
    text = [
        "What similarity of the single networks would have been worth, without training a shared one. Tau: Kendall's,"
        " between similarity and accuracy over n. Regret: points lost where the similarity is highest, against the best"
        " n; the same accuracies tell which that is, so regret is a little too high.",
        *(
            capital(against_rules(str(series), group, replicates, "place").removeprefix(f"{series}: "))
            for series, group in judged.groupby("series")
        ),
    ]
    shown = shown_summary(table, replicates).drop(columns="series")
    return Section("Cheap predictors", [*text, *said], [Table("Predictors", table, shown, pairs=judged)])


def together(runs: Any, kind: Kind, directory: Path | None, metric: str) -> pd.DataFrame:
    """Both single networks asked together: `run` (the base of x) and `value`, accuracy in `metric`, where known."""
    found = similarities(directory, kind)[0] if directory is not None else []
    known = [(value["bases"][0]["base"], value.get("together", {}).get(metric)) for value in found]
    table = pd.DataFrame(known, columns=["run", "value"]).dropna()
    return table.loc[table["run"].isin(runs.loc[runs["series"] == BASE, "run"])]
