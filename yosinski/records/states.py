"""States of runs, read from their directories `runs/<first two>/<id>/`.

`docs/formats.md` describes the files.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Literal, get_args

from yosinski.files import Damaged, read_json
from yosinski.files import set_aside as set_file_aside
from yosinski.networks.tensors import fingerprint_of_file
from yosinski.records import health
from yosinski.records.claims import Ended, is_alive, latest_of, no_scheduler

State = Literal["done", "stuck", "diverged", "blocked", "failed", "running", "interrupted", "missing"]
FINAL: tuple[State, ...] = ("done", "stuck", "diverged")


def read_record(path: Path) -> dict[str, Any] | None:
    """The `record.json` in a run's directory, None if there is none.

    Records of stuck runs by earlier versions are read by the present rule: see `health.reread`.
    """
    record = path / "record.json"
    try:
        value = read_json(record)
    except FileNotFoundError:
        return None
    if value.get("state") not in get_args(State):
        raise Damaged(record)
    return health.reread(value) if value["state"] == "stuck" else value


def state_and_record(path: Path, ended: Ended = no_scheduler) -> tuple[State, dict[str, Any] | None]:
    """The state of the run in this directory, from its record, claim and heartbeat; and its record, if any."""
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return "missing", None
    record = read_record(path) if "record.json" in names else None
    if record is not None and record["state"] in FINAL:
        return record["state"], record
    attempt = latest_of(names)
    if attempt and is_alive(path, attempt, ended):
        return "running", record
    if record is not None and record["attempts"] == attempt:
        return record["state"], record
    if "failure.json" in names and read_json(path / "failure.json")["attempt"] == attempt:
        return "failed", record
    return ("interrupted" if attempt else "missing"), record


def state(path: Path, ended: Ended = no_scheduler) -> State:
    """The state of the run in this directory."""
    return state_and_record(path, ended)[0]


def progress(path: Path) -> dict[str, Any] | None:
    """The last heartbeat: attempt, step, steps, time; None if there is none."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((path / "progress.json").read_text())
    return None


def share_done(path: Path) -> float:
    """The share of a run's steps that are done, by its last heartbeat; 0 if there is none."""
    beat = progress(path)
    return beat["step"] / beat["steps"] if beat else 0.0


def read_curve(path: Path) -> list[dict[str, float]]:
    """The evaluations in order of steps, from the latest attempt of each step. An incomplete last line is ignored."""
    names, rows = curve_rows(path)
    return [dict(zip(names, row, strict=True)) for row in rows]


def curve_rows(path: Path) -> tuple[list[str], list[list[float]]]:
    """The same as the names of columns, and the values of each evaluation in their order."""
    try:
        text = (path / "curve.csv").read_text()
    except FileNotFoundError:
        return [], []
    complete = text[: text.rfind("\n") + 1]
    names, *lines = [line.split(",") for line in complete.splitlines()] or [[]]
    rows: dict[int, list[float]] = {}
    try:
        attempt, step = (names.index(name) for name in ("attempt", "step")) if lines else (0, 0)
        for line in lines:
            row = list(map(float, line))
            if len(row) != len(names):
                raise ValueError
            if row[attempt] >= rows.get(int(row[step]), row)[attempt]:
                rows[int(row[step])] = row
    except (ValueError, OverflowError) as error:
        raise Damaged(path / "curve.csv") from error
    return names, [rows[step] for step in sorted(rows)]


def spoilt(path: Path) -> bool:
    """Whether the weights in a run's directory are missing, or differ from those in its record."""
    record = read_record(path)
    try:
        return record is None or fingerprint_of_file(path / "weights.safetensors") != record["weights"]
    except (Damaged, FileNotFoundError):
        return True


def set_aside(path: Path) -> None:
    """Rename damaged weights and their record, so that the run can be trained again."""
    for file in (path / "record.json", path / "weights.safetensors"):
        if file.exists():
            set_file_aside(file)
