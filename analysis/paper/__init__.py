"""The published networks of Yosinski, Clune, Bengio and Lipson (NIPS 2014), in the frame that records give.

Source: the logs in the authors' repository yosinski/convnet_transfer; README.md beside this file describes the data.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from analysis.frame import EVALUATION, filtered, joined
from yosinski.experiment.treatments import notation, relation, series

CUTS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
CLASSES = {"A": 551, "B": 449}  # of the man-made and the natural half; a random half has 500
EVALUATIONS = {"reduced": 200}  # one every 1000 iterations; all others were evaluated 450 times
PER_CLASS = 50  # validation images
LETTERS = {"A": "B", "B": "A"}  # the files call the natural half A, the paper the man-made one


def networks(where: Mapping[str, str] | None = None) -> pd.DataFrame:
    """All published networks as `analysis.frame.frame` gives records: same columns, types, meaning; by name and step.

    `origin` is "paper", `run` the published name. `recipe` is "paper", "paper-reduced" (networks on the first images of
    each class) or "paper-preserved" (those of the authors' notebook: one number, no step). The networks have one set
    of images, which counts as `select`. A network without a log is `missing`. One is `stuck` if its *validation* loss
    ended at ln K (0.99 ln K or above) and its accuracy at 1/K, within two standard errors. Both are asked for: the
    training loss that the health of records goes by is not in the logs, and the validation loss alone says little,
    since it is as high where images were learned by heart. where: as in `analysis.frame.frame`.
    """
    descriptions = [*map(_network, _rows("networks.csv")), *map(_preserved, _rows("preserved.csv"))]
    of_runs = pd.DataFrame(descriptions).sort_values("run", ignore_index=True)
    curves = _read("curves.csv.gz").rename(
        columns={"network": "run", "iteration": "step", "valid_top1": "select_top1", "valid_loss": "select_loss"}
    )
    evaluations = of_runs.reset_index(names="k")[["k", "run", "top1"]].merge(curves, on="run", how="left")
    evaluations["select_top1"] = evaluations["select_top1"].fillna(evaluations["top1"])
    evaluations = evaluations.sort_values(["k", "step"], kind="stable").reindex(columns=["k", *EVALUATION])

    counts, last = (
        evaluations.groupby("k")["step"].count(),
        evaluations.drop_duplicates("k", keep="last").set_index("k"),
    )
    measured, stuck = last["select_top1"].notna(), _stuck(last.join(of_runs["classes"]))
    of_runs["state"] = np.select([stuck, measured], ["stuck", "done"], "missing")
    of_runs["lost"] = (of_runs.pop("evaluations") - counts).where(counts > 0).mask(~measured, 0)
    return filtered(joined(of_runs.drop(columns="top1"), evaluations), where or {})


def _read(name: str) -> pd.DataFrame:
    with (files("analysis.paper") / name).open("rb") as file:
        kind = "gzip" if name.endswith(".gz") else None
        return pd.read_csv(file, compression=kind, dtype={"split_or_images": "string", "n": "Int64"})


def _rows(name: str) -> list[dict[str, Any]]:
    """The rows of one of the files here; empty cells are None."""
    rows = _read(name).to_dict("records")
    return [{str(key): None if pd.isna(cell) else cell for key, cell in row.items()} for row in rows]


def _stuck(last: pd.DataFrame) -> np.ndarray:
    """Whether runs never learned, from their last evaluations; `networks` has the rule."""
    classes = last["classes"].to_numpy(float)
    chance = 1 / classes
    error = np.sqrt(chance * (1 - chance) / (PER_CLASS * classes))
    at_chance = last["select_top1"].to_numpy(float) <= chance + 2 * error
    return at_chance & (last["select_loss"].to_numpy(float) >= 0.99 * np.log(classes))


def _network(row: dict[str, Any]) -> dict[str, Any]:
    """One of the 170 directories."""
    kind, split = row["kind"], row["split_or_images"]
    halves = kind in ("base", "copy")  # the others are trained on all classes
    treatment = {"random": "random", "copy": "tuned" if row["tuned"] else "frozen"}.get(kind, "base")
    columns: dict[str, Any] = {
        "split": "all",
        "classes": 1000,
        "recipe": "paper",
        "target": "All",
        "target_half": "netbase",
    }
    if kind == "reduced":
        columns |= {"recipe": "paper-reduced", "examples_per_class": int(split)}
    if kind == "random":
        columns |= {"below": "gaussian"}
    if halves:
        columns |= _halves(split, row["source"], row["target"])
    about = _columns(row["network"], treatment, row["n"] or 0, columns)
    return {**about, "evaluations": EVALUATIONS.get(kind, 450), "top1": None}


def _preserved(row: dict[str, Any]) -> dict[str, Any]:
    """One of the notebook's networks: of split 0, cut from its base A."""
    target = "A" if row["treatment"] == "BnB" else "B"
    columns = {"recipe": "paper-preserved", "preserved": row["preserved"], **_halves("0", "A", target)}
    name = f"preserved{row['preserved']}-0A0{target}_1_{row['n']}"
    return {**_columns(name, "frozen", row["n"], columns), "evaluations": 0, "top1": row["valid_top1"]}


def _halves(split: str, source: str | None, target: str) -> dict[str, Any]:
    """The columns that tell halves; the letters given are those of the files, the letters returned the paper's."""
    natman = split == "natman"
    letters = {letter: LETTERS[letter] if natman else letter for letter in "AB"}
    return {
        "split": "natman" if natman else f"random:{split}",
        "target": letters[target],
        "target_half": f"half{split}{target}",
        "source": source and letters[source],
        "source_half": source and f"half{split}{source}",
        "parent": source and f"half{split}{source}",
        "classes": CLASSES[letters[target]] if natman else 500,
    }


def _columns(name: str, treatment: str, n: int, own_columns: dict[str, Any]) -> dict[str, Any]:
    """What every network's rows hold; own_columns: those that this network adds or changes."""
    halves = {"treatment": treatment, "half": own_columns["target_half"], "source": own_columns.get("source_half")}
    source = "R" if treatment == "random" else own_columns.get("source") or ""
    kept = f"+{own_columns['preserved']}" if own_columns.get("preserved") else ""
    return {
        "origin": "paper",
        "run": name,
        "name": notation(source, f"{n}{kept}", own_columns["target"], treatment)
        if n
        else f"base{own_columns['target']}",
        "treatment": treatment,
        "relation": relation(halves),
        "series": series(halves),
        "n": n,
        "cut": CUTS[n - 1] if n else None,
        "preserved": 0,
        "network": "caffenet",
        "data": "imagenet",
        "stale": False,
        **own_columns,
    }
