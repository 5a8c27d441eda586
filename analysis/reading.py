"""Runs as their files describe them, each file read once."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from yosinski import files
from yosinski.data.half import Half
from yosinski.errors import BadInput, choose
from yosinski.experiment.run import SEMANTICS
from yosinski.experiment.treatments import together
from yosinski.files import Damaged
from yosinski.identity import digest
from yosinski.records import specs, states
from yosinski.records.states import FINAL

LARGE = ("per_class", "right")  # of a record, and in no column
EVALUATION = ("step", "epoch", "learning_rate", "train_loss", "select_loss", "select_top1", "seconds")
OF_TASK = ("train_loss", "select_loss", "select_top1")  # what differs between the tasks of a run
NOTHING = np.full((1, len(EVALUATION)), np.nan)


@dataclass
class Found:
    """What the files of one run say; whatever is unknown is empty."""

    id: str
    name: str | None
    spec: dict[str, Any]
    state: states.State
    record: dict[str, Any]
    evaluations: np.ndarray  # float64 [number, columns of `EVALUATION`]; `NOTHING` if there is none
    task: int = 0
    further: dict[int, np.ndarray] = field(default_factory=dict)  # the same of further tasks that have curves


def listed(runs: Path, sweep: str | None) -> dict[str, dict[str, Any]]:
    """Id -> what a sweep says of the run ({} where its directory says more), in order of ids.

    sweep: its name, or that of its file in `runs/sweeps`, which tells apart those with other parameters.
    """
    stored = {path.name for path in specs.scan(runs)}
    manifests = {}
    for path in sorted((runs / "sweeps").glob("*.json")):
        try:
            manifests[path.stem] = files.read_json(path)
        except Damaged as error:
            warnings.warn(f"{error}: runs that it alone lists are not shown", stacklevel=3)
    if sweep is not None:
        names = [manifest["sweep"] for manifest in manifests.values()]
        if not names:
            raise BadInput(f"unknown sweep {sweep!r}; {runs} holds no sweeps")
        if sweep not in manifests:
            several = [stem for stem, manifest in manifests.items() if names.count(manifest["sweep"]) > 1]
            choose("sweep", sweep, [*sorted(set(names)), *several])
        manifests = {stem: one for stem, one in manifests.items() if sweep in (one["sweep"], stem)}
    named = {
        entry["id"]: {} if entry["id"] in stored else entry
        for manifest in manifests.values()
        for entry in manifest["runs"]
    }
    return dict(sorted((named if sweep is not None else {key: {} for key in stored} | named).items()))


def read(runs: Path, run_id: str, entry: dict[str, Any]) -> Found:
    """What a run's files say. entry: what a sweep says, where there are none."""
    path = specs.folder(runs, run_id)
    run = Found(run_id, entry.get("name"), entry.get("spec", {}), "missing", {}, NOTHING)
    try:
        run.name, run.spec = _description(path / "run.json", run_id)
        record = states.read_record(path) or {}
        run.record = {name: value for name, value in record.items() if name not in LARGE}
        final = run.record.get("state") in FINAL  # then nothing else needs to be looked at
        run.state = run.record["state"] if final else states.state(path)
        run.evaluations, run.further = _curves(path)
    except FileNotFoundError:  # no `run.json`
        pass
    except Damaged as error:
        warnings.warn(f"{error}: run {run_id} is shown as failed", stacklevel=3)
        run.state = "failed"
    return run


def _description(path: Path, run_id: str) -> tuple[str, dict[str, Any]]:
    value = files.read_json(path)
    if not isinstance(value.get("spec"), dict) or digest(value["spec"]) != run_id:
        raise Damaged(path)
    if value["spec"].get("semantics") == SEMANTICS:  # unknown values of recipes get columns, others would be mixed
        specs.check_known(path, {**value, "spec": {**value["spec"], "recipe": {}}})
    return value["name"], value["spec"]


def _curves(path: Path) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """The evaluations of a run, and by number those of its further tasks."""
    names, rows = states.curve_rows(path)
    if not rows:
        return NOTHING, {}
    table, of_tasks = np.array(rows), {}
    tasks = [int(name.rpartition("_")[2]) for name in names if name.startswith("select_top1_")]
    try:
        for k in (0, *tasks):
            columns = [f"{name}_{k}" if k and name in OF_TASK else name for name in EVALUATION]
            of_tasks[k] = table[:, [names.index(name) for name in columns]]
    except ValueError as error:  # a column is missing
        raise Damaged(path / "curve.csv") from error
    return of_tasks.pop(0), of_tasks


def weights_of(runs: Path, run_id: str) -> str | None:
    """The weights that a run's record names, if it can be read."""
    try:
        return (states.read_record(specs.folder(runs, run_id)) or {}).get("weights")
    except Damaged:
        return None


class Halves(dict[str, Half | None]):
    """Digest -> half, read when first asked for; None where its file is missing or damaged."""

    def __init__(self, runs: Path) -> None:
        super().__init__()
        self.runs = runs

    def __missing__(self, key: str) -> Half | None:
        self[key] = None
        try:
            if (self.runs / "halves" / f"{key}.json").exists():  # a missing run's half may never have been stored
                self[key] = specs.load_half(self.runs, key)
        except Damaged as error:
            warnings.warn(f"{error}: its letter, classes and split are not shown", stacklevel=4)
        return self[key]


def further_tasks(run: Found, halves: Mapping[str, Half | None]) -> list[Found]:
    """A run with other tasks as each of these sees it: scored on it, and with the others as partners."""
    tasks = run.record.get("tasks") or []
    digests = [run.spec.get("half"), *run.spec.get("partners", ())]
    found = []
    for k, of_task in enumerate(tasks, 1):
        own, first, *others_of_first = halves[digests[k]], *(halves[key] for key in digests)
        known = [half for half in others_of_first if half is not None]
        if own is None or first is None or len(known) < len(tasks) or own.shuffled or digests[k] in digests[:k]:
            continue  # shuffled labels and a task's twin are no tasks of their own
        others = [key for j, key in enumerate(digests) if j != k]
        spec = {**run.spec, "half": digests[k], "partners": others}
        name = f"{together(first, known)}{(spec.get('cut') or {}).get('n', 0)}{own.name}"
        evaluations = run.further.get(k)
        if evaluations is None:  # by an earlier version, which looked at further tasks at the end alone
            metrics = of_task.get("metrics") or {}
            of_run = dict(zip(EVALUATION, run.evaluations[-1], strict=True))
            own_scores = {name: metrics.get(name) for name in OF_TASK}
            evaluations = np.array([list({**of_run, **own_scores}.values())], float)
        state = of_task.get("state", run.state)
        found.append(Found(run.id, name, spec, state, {**run.record, **of_task, "tasks": []}, evaluations, k))
    return found
