"""The frame: all records of a runs directory as one tidy table, one row per run and evaluation."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.reading import EVALUATION, NOTHING, Found, Halves, further_tasks, listed, read, weights_of
from yosinski.data.half import Half
from yosinski.data.texts import words
from yosinski.environment import uncollected
from yosinski.errors import BadInput, choose, printable
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import OF_INPUTS, OF_TASKS, TREATMENTS, called, control, relation, series
from yosinski.identity import digest, every
from yosinski.networks.catalogue import shown
from yosinski.records import specs

COLUMNS = {
    "origin": "runs: records; paper: the published networks of `analysis.paper`",
    "run": "id of the run, 16 hex digits; of a published network its published name",
    "name": "in the paper's notation: baseB, A3B, A3B+, R3B",
    "state": "done, stuck, diverged, blocked, failed, running, interrupted or missing",
    "treatment": f"{', '.join(list(TREATMENTS)[:-1])} or {list(TREATMENTS)[-1]}",
    "relation": "base, selffer, transfer or random",
    "series": "base, BnB, BnB+, AnB, AnB+, AnB+thawed, RnB and so on: treatment and relation, B being the target",
    "n": "the cut's index, 0 for a base",
    "cut": "name of the last segment below the cut; empty for a base",
    "task": "of a network with several tasks, which of them the scores are of: 0 for the run's half",
    "input": "what a sweep calls the input that the half is seen by; empty for all of it",
    "partners": "tasks that share the network, inputs that meet in it: B, ~B (labels shuffled), y, ~y (exchanged)",
    "partner_half": "digests of their halves",
    "partner_asks": "what of a picture their labels are, as in asks",
    "control": f"what the partner is: of tasks {', '.join(OF_TASKS)}; of inputs {', '.join(OF_INPUTS)}",
    "preserved": "how many layers above a frozen cut are initialised from the base, too, and trained",
    "network": "the network's name",
    "data": "the data set's name",
    "rule": "by which its image files were listed and prepared: 1 by an earlier version (and what is not of files)",
    "asks": "what of a picture is the target's label: class, domain, group, or a column of labels",
    "split": "the split that the target half was first made for",
    "division": "of the target half's train and select images: 0 as the data set has them, above that drawn anew",
    "target": "letter of the half that the run is trained on",
    "source": "letter of the half that its parent was trained on; empty without a parent",
    "target_half": "digest of the target half",
    "source_half": "digest of the source half",
    "seed": "of this run; its parent has its own",
    "parent": "id of the base that the copy was cut from",
    "semantics": "what a spec means; numbers of different semantics cannot be compared",
    "examples_per_class": "training images of each class; empty: all",
    "below": "initialiser of random frozen features",
    "recipe": "digest of the recipe; recipe_<value> columns hold each of its values",
    "step": "optimiser steps at this evaluation; empty for a run without evaluations",
    "epoch": "passes over the training images at this evaluation",
    "learning_rate": "at this evaluation",
    "train_loss": "mean over the steps since the last evaluation",
    "select_loss": "on the select images",
    "select_top1": "on the select images",
    "seconds": "of computing until this evaluation, summed over attempts",
    "best10_top1": "of the whole run, the paper's score: mean of the 10 highest select_top1, empty for fewer",
    "lost": "evaluations of a finished run that its curve lacks: published logs that were lost; 0 for records",
    "last": "whether this is the run's last evaluation: true in exactly one row of every run",
    "test_loss": "of the trained network on the test images",
    "test_top1": "of the trained network on the test images",
    "unseen_loss": "of the trained network on the unseen images, where there are any",
    "unseen_top1": "of the trained network on the unseen images, where there are any",
    "exchanged_top1": "test_top1 with the partner of every example exchanged for another's",
    "exchanged_own_top1": "test_top1 with the first input exchanged",
    "full_top1": "on the test images that the additive part was computed on",
    "additive_top1": "of the additive part of the outputs (EMAP), which uses no interaction of the inputs",
    "emap_examples": "the number of these images: the outputs are those of all pairs of their inputs",
    "parameters": "of the network",
    "trained_parameters": "those that are trained sooner or later",
    "flops": "of training, evaluations included, as it would cost alone",
    "memory": "highest resident memory of the process, in bytes",
    "classes": "K, the number of the target half's classes",
    "ceiling": "of words alone: the expected accuracy of the best classifier of the target half, exactly",
    "dtype": "of the arithmetic",
    "device": "of the arithmetic",
    "threads": "of the arithmetic",
    "head": "of the arithmetic; empty where an earlier version computed it like the rest",
    "processor": "of the arithmetic: a GPU's model or a CPU's instructions; empty where an earlier version did not say",
    "processes": "of the arithmetic: those that added up the gradients of a batch; empty where there was one",
    "stale": "whether the parent's record has other weights than this copy was cut from",
}
KINDS = (".csv", ".parquet")  # of file that a frame can be written to
PART = 1 << 14  # cells
AT_A_TIME = 2000  # runs whose rows are put into types at once: as Python objects they take much more memory
_WHOLE_RUN = ("test_loss", "test_top1", "unseen_loss", "unseen_top1")
PARTNERED = ("exchanged_top1", "exchanged_own_top1", "full_top1", "additive_top1")
_COUNTS = ("parameters", "trained_parameters", "flops", "memory")
_ARITHMETIC = ("dtype", "device", "threads", "head", "processor", "processes")
_DTYPES: dict[str, str] = {
    **dict.fromkeys(COLUMNS, "string"),
    **dict.fromkeys(
        ("n", "task", "preserved", "seed", "semantics", "examples_per_class", "step", "lost", "classes"), "Int64"
    ),
    **dict.fromkeys(("emap_examples", "rule", "division", "threads", "processes", *_COUNTS), "Int64"),
    **dict.fromkeys((*EVALUATION[1:], "best10_top1", *_WHOLE_RUN, *PARTNERED, "ceiling"), "float64"),
    **dict.fromkeys(("last", "stale"), "bool"),
}
_RECIPE_DTYPES = {
    f"recipe_{value.name}": {int: "Int64", float: "float64", bool: "boolean", str: "string"}[value.type]  # pyright: ignore
    for value in fields(Recipe)
}
DTYPES = _DTYPES | _RECIPE_DTYPES


def frame(runs: Path, sweep: str | None = None, where: Mapping[str, str] | None = None) -> pd.DataFrame:
    """All evaluations of all runs, in order of run ids and steps; `COLUMNS` says what the columns hold.

    Runs that a sweep in `runs/sweeps` lists but that have no directory appear with state `missing`. `sweep` keeps the
    runs of one sweep; `where` keeps the rows whose columns, as text, equal its values ("" stands for an empty cell).
    A run with a damaged file gets state `failed` and a warning. BadInput: no such directory, sweep, column or value.
    """
    specs.know_networks(runs)
    halves, weights = Halves(runs), {}
    cut_from: list[tuple[str, str | None]] = []  # of every row of `of_runs`: its parent, and that one's weights then
    evaluations: list[np.ndarray] = []

    def rows() -> Iterator[dict[str, Any]]:
        for run_id, entry in listed(runs, sweep).items():
            run = read(runs, run_id, entry)
            weights[run.id] = run.record.get("weights")
            for task in (run, *further_tasks(run, halves)):
                cut_from.append((task.spec.get("parent") or "", task.record.get("parent_weights")))
                evaluations.append(task.evaluations)
                yield _of_run(task, halves)

    with uncollected():  # files hold no cycles
        of_runs = in_types(rows())
    for parent, then in cut_from:  # which may lie outside of the sweep
        if then and parent not in weights:
            weights[parent] = weights_of(runs, parent)
    of_runs["stale"] = [
        None not in (weights.get(parent), then) and weights[parent] != then for parent, then in cut_from
    ]
    table = pd.DataFrame(np.concatenate(evaluations or [NOTHING[:0]]), columns=EVALUATION)
    table.insert(0, "k", np.repeat(np.arange(len(evaluations)), list(map(len, evaluations))))
    evaluations.clear()
    return filtered(joined(of_runs, table), where or {})


def in_types(rows: Iterator[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table with the documented types of its columns, where they have one."""
    parts = []
    while some := list(islice(rows, AT_A_TIME)):
        part = pd.DataFrame(some)
        parts.append(part.astype({name: dtype for name, dtype in DTYPES.items() if name in part}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def expected(runs: Iterable[Run]) -> pd.DataFrame:
    """The frame of runs as if none of them had been started: all `missing`, one row each."""
    wanted = list(runs)
    parents = [run.parent for run in wanted if run.parent is not None]
    halves = {half.digest: half for run in (*wanted, *parents) for half in run.halves}
    missing = (Found(run.id, run.name, run.spec, "missing", {}, NOTHING) for run in wanted)
    of_runs = in_types(_of_run(run, halves) for run in missing).assign(stale=False)
    return joined(of_runs, pd.DataFrame({"k": range(len(wanted))}).reindex(columns=["k", *EVALUATION]))


def joined(of_runs: pd.DataFrame, evaluations: pd.DataFrame) -> pd.DataFrame:
    """The frame of runs and their evaluations, in its documented order and types.

    of_runs: one row per run, whatever columns are known. evaluations: `k`, the row of the run in of_runs, and columns
    of `EVALUATION`; all rows of a run together, in order of steps, and at least one, empty if there is none.
    """
    of_runs = of_runs.astype({name: dtype for name, dtype in DTYPES.items() if name in of_runs})
    table = evaluations.assign(last=~evaluations["k"].duplicated(keep="last"))
    table["best10_top1"] = _best10(table).reindex(table["k"]).to_numpy()
    k = table.pop("k").to_numpy()
    columns = {name: repeated(pd.Series(of_runs[name]), k) for name in of_runs} if len(table) else {}
    return _typed(pd.DataFrame({**columns, **table}, copy=False))


def repeated(column: Any, k: np.ndarray) -> Any:
    """The cells k of a column. Where all are the same text, parts of the result share their memory."""
    array: Any = column.array
    in_arrow = column.dtype == "string" and array.dtype.storage == "pyarrow"
    if not in_arrow or column.nunique(dropna=False) != 1:
        return array.take(k)
    part = pa.array(array.take(np.zeros(min(len(k), PART), int)))
    whole, rest = divmod(len(k), PART)
    return type(array)(pa.chunked_array([part] * whole + [part[:rest]]))


def _best10(evaluations: pd.DataFrame) -> pd.Series:
    """The mean of the 10 highest accuracies of each run, NaN for runs with fewer."""
    top1 = evaluations.loc[:, ["k", "select_top1"]].astype({"select_top1": "float64"})
    highest: Any = top1.sort_values(by="select_top1", ascending=False).groupby("k").head(10).groupby("k")["select_top1"]
    return highest.mean().where(highest.count() == 10)


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a frame as .csv or .parquet, as the path's suffix says; BadInput for any other."""
    choose("kind of file", path.suffix, KINDS)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, index=False)


def as_text(column: pd.Series) -> pd.Series:
    """The cells as a user would type them: 40 for 40.0, "" for an empty one."""
    return column.map(lambda cell: "" if pd.isna(cell) else f"{cell:.15g}" if isinstance(cell, float) else str(cell))


def distinct(column: pd.Series, most: int = 20) -> str:
    """The values of a column in order, for a message: "1, 2, 3"."""
    values = [value or "(empty)" for value in as_text(column.drop_duplicates().sort_values())]
    return ", ".join(values[:most]) + (f" and {len(values) - most} more" if len(values) > most else "")


def arithmetic(runs: pd.DataFrame) -> pd.Series:
    """What each run was computed in and on, in words that differ where its numbers may; empty where nothing is known.

    Heads, threads (of CPUs), processors and processes are named where known ones of the same device and type differ.
    """
    columns: Any = runs.reindex(columns=list(_ARITHMETIC)).astype(object)
    pairs = zip(columns["dtype"], columns["device"], strict=True)
    names = pd.Series(
        [None if pd.isna(dtype) else f"{dtype} on {device}" for dtype, device in pairs], columns.index, object
    )
    words = names.copy()
    for text, column in {
        " with a {} head": columns["head"].fillna(columns["dtype"]),
        " with {} thread(s)": columns["threads"].where(columns["device"] == "cpu"),
        " ({})": columns["processor"],
        " in {:.0f} process(es)": columns["processes"].fillna(1),
    }.items():
        differ = names.map(column.groupby(names).nunique()).fillna(0) > 1
        for row in columns.index[differ & column.notna()]:
            words[row] += text.format(column[row])
    return words


def _of_run(run: Found, halves: Mapping[str, Half | None]) -> dict[str, Any]:
    """The columns that are the same in all of a run's rows."""
    spec, record = run.spec, run.record
    target_half, source_half = spec.get("half"), spec.get("source")
    target = halves[target_half] if target_half else None
    source = halves[source_half] if source_half else None
    cut = spec.get("cut") or {}
    recipe = spec.get("recipe") or {}
    metrics = record.get("metrics") or {}
    arithmetic = record.get("arithmetic") or {}
    partners = [halves[key] for key in spec.get("partners", ())]
    fusion = record.get("fusion") or {}
    exchanged, emap = fusion.get("exchanged") or [], fusion.get("emap") or {}
    return {
        "origin": "runs",
        "run": run.id,
        "name": run.name,
        "state": run.state,
        "treatment": spec.get("treatment"),
        "relation": relation(spec) if spec else None,
        "series": series(spec) if spec else None,
        "n": cut.get("n", 0) if spec else None,
        "cut": cut.get("name"),
        "task": run.task,
        "input": (target.input or None) if target else None,
        "partners": " ".join(called(half) for half in partners if half) or None,
        "partner_half": " ".join(spec.get("partners", ())) or None,
        "partner_asks": " ".join(half.asks for half in partners if half) or None,
        "control": control(target, partners[0]) if target and partners and partners[0] else None,
        "exchanged_top1": exchanged[-1] if exchanged else None,
        "exchanged_own_top1": exchanged[0] if exchanged else None,
        "full_top1": emap.get("full"),
        "additive_top1": emap.get("additive"),
        "emap_examples": emap.get("examples"),
        "preserved": spec.get("preserved", 0) if spec else None,
        "network": shown(spec.get("network")),
        "data": printable(target.data) if target else None,
        "rule": target.rule if target else None,
        "asks": target.asks if target else None,
        "split": target.split if target else None,
        "division": target.division if target else None,
        "target": target.name if target else target_half and target_half[:4],
        "source": source.name if source else source_half and source_half[:4],
        "target_half": target_half,
        "source_half": source_half,
        "classes": len(target.labels) if target else None,
        "ceiling": words.ceiling(target) if target and len(partners) == 0 else None,
        "recipe": digest(recipe) if recipe else None,
        **{f"recipe_{name}": value for name, value in every(Recipe, recipe).items() if recipe},
        **{name: spec.get(name) for name in ("seed", "parent", "semantics", "examples_per_class", "below")},
        **{name: metrics.get(name) for name in _WHOLE_RUN},
        **{name: record.get(name) for name in _COUNTS},
        **{name: arithmetic.get(name) for name in _ARITHMETIC},
        "lost": 0,
    }


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """The columns in their documented order and types, whatever the runs happen to hold."""
    values = [name for name in table.columns if name.startswith("recipe_") and name not in _RECIPE_DTYPES]
    order = []
    for name in COLUMNS:
        order += [name, *_RECIPE_DTYPES, *values] if name == "recipe" else [name]
    table = table.reindex(columns=order).astype(DTYPES)
    for name in values:  # of recipes that this version no longer knows
        table[name] = table[name].convert_dtypes()
    return table


def filtered(table: pd.DataFrame, where: Mapping[str, str]) -> pd.DataFrame:
    """The rows whose columns, as text, equal these values; BadInput: no such column, or no such row."""
    for name, wanted in where.items():
        column = pd.Series(table[choose("column", name, list(table.columns))])
        chosen = as_text(column) == wanted
        if not chosen.any():
            raise BadInput(f"no row has {name}={wanted}; {name} holds: {distinct(column) or 'nothing'}")
        table = table.loc[chosen].reset_index(drop=True)
    return table
