"""A run's directory: `runs/<first two>/<id>/`. Records are the truth; analysis reads nothing else.

Written by one attempt at a time: an attempt claims the run by creating its claim file exclusively, and every write
checks that no later attempt has taken over. Files appear whole (temporary name, fsync, rename), `record.json` last.
`docs/formats.md` describes the files.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from safetensors import SafetensorError, deserialize

from yosinski import health, own
from yosinski.catalogue import resolve
from yosinski.claims import Ended, is_alive, latest_attempt, latest_of, no_scheduler, this_process
from yosinski.files import FORMAT, Damaged, read_json, replace, write_json
from yosinski.files import set_aside as set_file_aside
from yosinski.identity import as_before, digest
from yosinski.own import is_own
from yosinski.spec import SEMANTICS, BadInput, Failure, Half, Recipe, Run, unknown
from yosinski.telling import command

CURVE = ("attempt", "step", "epoch", "learning_rate", "train_loss", "select_loss", "select_top1", "seconds")

State = Literal["done", "stuck", "diverged", "blocked", "failed", "running", "interrupted", "missing"]
FINAL: tuple[State, ...] = ("done", "stuck", "diverged")


class Superseded(Failure):
    """A later attempt has taken this run over: what this process still writes is refused."""


def folder(runs: Path, run_id: str) -> Path:
    """The directory of a run."""
    return runs / run_id[:2] / run_id


# ---------------------------------------------------------------------------------------------- what is to be trained


def enrol(runs: Path, run: Run) -> Path:
    """Make the run's directory, with its spec, its parent's and the halves; returns it. What is there stays."""
    if run.parent is not None:
        enrol(runs, run.parent)
    enrol_half(runs, run.half)
    if is_own(run.network):
        own.keep(runs, resolve(run.network))
    path = folder(runs, run.id)
    if not (path / "run.json").exists():
        write_json(path / "run.json", {"id": run.id, "name": run.name, "spec": run.spec})
    return path


def enrol_half(runs: Path, half: Half) -> None:
    """Store the names behind a half's digest once."""
    path = runs / "halves" / f"{half.digest}.json"
    if not path.exists():
        names = {"data": half.data, "fingerprint": half.fingerprint, "classes": half.classes, "domain": half.domain}
        rule = {"rule": half.rule} if half.rule > 1 else {}  # earlier versions knew no other
        write_json(path, {"digest": half.digest, "letter": half.letter, "split": half.split, **names, **rule})


def load_half(runs: Path, digest: str) -> Half:
    """The half behind a digest."""
    path = runs / "halves" / f"{digest}.json"
    if not path.exists():
        raise BadInput(f"{path} is missing: the class names of a half of these runs")
    value = read_json(path)
    try:
        classes, domain = tuple(value["classes"]), tuple(value["domain"])
        about = value["letter"], value["split"], value.get("rule", 1)
        half = Half(value["data"], value["fingerprint"], classes, domain, *about)
    except (KeyError, TypeError, BadInput) as error:
        raise Damaged(path) from error
    if half.digest != digest:
        raise Damaged(path)
    return half


def know_networks(runs: Path) -> None:
    """Let the networks of files that a runs directory keeps be known by their names."""
    own.read_all(runs)


def load(runs: Path, run_id: str) -> Run:
    """The run behind an id, with its parent; BadInput if its spec does not hash to that id, or means nothing here."""
    path = folder(runs, run_id) / "run.json"
    if not path.exists():
        raise BadInput(f"no run {run_id} in {runs}")
    content = read_json(path)
    try:
        spec, its_id = content["spec"], digest(content["spec"])
        semantics = spec["semantics"]
        half, parent, network = spec["half"], spec["parent"], spec["network"]
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(path) from error
    if semantics != SEMANTICS:
        raise BadInput(f"{path} was made with semantics {semantics}; this version computes {SEMANTICS}")
    if its_id != run_id:
        raise Damaged(path)
    check_known(path, content)
    half = load_half(runs, half)
    parent = load(runs, parent) if parent else None
    network = own.read(runs, network).name if is_own(network) else network
    try:
        run = Run(
            network=network,
            half=half,
            recipe=Recipe(**spec["recipe"]),
            seed=spec["seed"],
            treatment=spec["treatment"],
            cut=spec["cut"]["n"] if spec["cut"] else 0,
            parent=parent,
            below=spec["below"],
            examples_per_class=spec["examples_per_class"],
            preserved=spec["preserved"],
            **{name: spec[name] for name in as_before(Run) if name in spec},
        )
    except (KeyError, TypeError) as error:
        raise Damaged(path) from error
    except BadInput as error:  # the file is what was written: a value that only another version allows
        raise BadInput(f"{path} (format {content['format']}) needs another version of yosinski: {error}") from error
    if run.id != run_id:
        raise BadInput(f"{path} (format {content['format']}) needs an older version of yosinski: values are missing")
    return run


def check_known(path: Path, content: Mapping[str, Any]) -> None:
    """BadInput if a `run.json` has values that this version does not know."""
    if newer := unknown(content["spec"]):
        raise BadInput(f"{path} (format {content['format']}) needs a newer version of yosinski: {', '.join(newer)}")


# -------------------------------------------------------------------------------------------------- what has happened


def is_id(text: str) -> bool:
    """Whether this could be a run's id, or the beginning of one."""
    return 4 <= len(text) <= 16 and not text.strip("0123456789abcdef")


def find(runs: Path, text: str) -> str:
    """The id of the run that this text begins, or is the name of; BadInput if there is none, or more than one."""
    if not runs.is_dir():
        raise BadInput(f"no runs directory {runs}")
    if is_id(text):
        found = sorted(run_id for run_id in known(runs) if run_id.startswith(text))
    else:
        found = [path.name for path in scan(runs) if read_json(path / "run.json").get("name") == text]
    if not found:
        raise BadInput(
            f"no run {text!r} in {runs}; give the first digits of an id: {command('status', runs)} lists them"
        )
    if len(found) > 1:
        several = "begins several runs" if is_id(text) else "is the name of several runs"
        raise BadInput(f"{text!r} {several}: {', '.join(found[:5])}")
    return found[0]


def read_record(path: Path) -> dict[str, Any] | None:
    """The `record.json` in a run's directory, None where there is none.

    What an earlier version called stuck is read by today's rule, wherever its state matters: see `health.reread`.
    """
    record = path / "record.json"
    if not record.exists():
        return None
    value = read_json(record)
    if value.get("state") not in get_args(State):
        raise Damaged(record)
    return health.reread(value) if value["state"] == "stuck" else value


def look(path: Path, ended: Ended = no_scheduler) -> tuple[State, dict[str, Any] | None]:
    """What became of the run in this directory, from its record, claim and heartbeat; and its record, if any."""
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
    """What became of the run in this directory."""
    return look(path, ended)[0]


def progress(path: Path) -> dict[str, Any] | None:
    """The last heartbeat: attempt, step, steps, time; None where there is none."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((path / "progress.json").read_text())
    return None


def read_curve(path: Path) -> list[dict[str, float]]:
    """The evaluations in order of steps; of a step written twice the latest attempt's; a torn last line is ignored."""
    rows: dict[int, dict[str, float]] = {}
    with contextlib.suppress(FileNotFoundError):
        text = (path / "curve.csv").read_text()
        whole = text[: text.rfind("\n") + 1]
        names, *lines = [line.split(",") for line in whole.splitlines()] or [[]]
        for line in lines:
            try:
                values = dict(zip(names, map(float, line), strict=True))
            except ValueError as error:
                raise Damaged(path / "curve.csv") from error
            if values["attempt"] >= rows.get(int(values["step"]), values)["attempt"]:
                rows[int(values["step"])] = values
    return [rows[step] for step in sorted(rows)]


def scan(runs: Path) -> Iterator[Path]:
    """The directories of all runs, in order of their ids."""
    if not runs.is_dir():
        raise BadInput(f"no runs directory {runs}")
    for run_id in sorted(known(runs)):
        path = folder(runs, run_id)
        if (path / "run.json").exists():
            yield path


def known(runs: Path) -> set[str]:
    """The ids that have a directory: one listing for many runs, where a look for each would take long."""
    return {run_id for shard in runs.glob("[0-9a-f][0-9a-f]") for run_id in os.listdir(shard)}


DTYPES = {  # as safetensors and torch call them
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8"},
}


def weights_hash(path: Path) -> str:
    """The hash of the tensors in a run's `weights.safetensors`, by the rule of `surgery.fingerprint`, without torch."""
    file = path / "weights.safetensors"
    hashed = hashlib.sha256()
    try:
        for name, tensor in sorted(deserialize(file.read_bytes()), key=lambda named: named[0]):
            hashed.update(f"{name} torch.{DTYPES[tensor['dtype']]} {tuple(tensor['shape'])}\n".encode())
            hashed.update(tensor["data"])
    except (SafetensorError, KeyError) as error:
        raise Damaged(file) from error
    return hashed.hexdigest()


def spoilt(path: Path) -> bool:
    """Whether the weights in a run's directory are missing, or not those that its record names."""
    record = read_record(path)
    try:
        return record is None or weights_hash(path) != record["weights"]
    except (Damaged, FileNotFoundError):
        return True


def set_aside(path: Path) -> None:
    """Set a run's record and weights aside: they are damaged, and stand in the way of new ones."""
    for file in (path / "record.json", path / "weights.safetensors"):
        if file.exists():
            set_file_aside(file)


# ------------------------------------------------------------------------------------------------------------- claims


def claim(runs: Path, run: Run, job: str = "", ended: Ended = no_scheduler) -> "Attempt | None":
    """Claim a run for this process; None if it is done or another live process has it.

    job: the scheduler's name for this job. An earlier attempt of the same job, from before it was requeued, is over.
    """
    path = enrol(runs, run)
    latest = latest_attempt(path)
    if state(path) in FINAL or (
        latest and is_alive(path, latest, lambda other: (other == job and job.startswith("slurm ")) or ended(other))
    ):
        return None
    attempt = Attempt(path, latest + 1)
    try:
        with (path / f"claim.{attempt.number}.json").open("x") as file:
            json.dump(
                {"format": FORMAT, "attempt": attempt.number, "job": job, "released": False, **this_process()}, file
            )
    except FileExistsError:
        return None
    if state(path) in FINAL:  # the earlier attempt ended between our look and our claim
        attempt.release()
        return None
    return attempt


def blocked(attempt: "Attempt", run: Run, runs: Path, ended: Ended = no_scheduler) -> bool:
    """Whether a copy cannot be cut from its base; then that is what its record says from now on.

    An edge in a plan is no proof that the base is good.
    """
    base = state(folder(runs, run.parent.id), ended) if run.parent else "done"
    if base != "done":
        attempt.finish({"state": "blocked", "reason": f"its base {run.parent} is {base}"})
    return base != "done"


@dataclass(frozen=True)
class Attempt:
    """The right to write one run's directory, until a later attempt takes over."""

    path: Path
    number: int

    def check(self) -> None:
        """Raise Superseded if a later attempt has claimed the run."""
        latest = latest_attempt(self.path)
        if latest != self.number:
            raise Superseded(f"{self.path}: attempt {self.number} was taken over by attempt {latest}")

    def beat(self, step: int, steps: int, first_step: int = 0, began: float = 0.0) -> None:
        """Show life and progress: where this attempt stands, and where and when (seconds since 1970) it began."""
        self.check()
        beat = {"attempt": self.number, "step": step, "steps": steps, "time": time.time()}
        beat |= {"first_step": first_step, "began": began}
        write_json(self.path / "progress.json", beat, durable=False)

    def show_life(self) -> None:
        """Let nobody think that this attempt is over, while it is not its turn."""
        self.check()
        os.utime(self.path / f"claim.{self.number}.json")

    def append(self, row: dict[str, float]) -> None:
        """Add one evaluation to the curve."""
        self.check()
        curve = self.path / "curve.csv"
        with curve.open("a") as file:
            if file.tell() == 0:
                file.write(",".join(CURVE) + "\n")
            file.write(",".join(str(self.number) if name == "attempt" else repr(row[name]) for name in CURVE) + "\n")

    def rewind(self, step: int) -> None:
        """Drop the rows of the curve beyond a checkpoint's step."""
        self.check()
        kept = [row for row in read_curve(self.path) if row["step"] <= step]
        lines = [",".join(CURVE)]
        for row in kept:
            lines.append(",".join(str(int(row[k])) if k in ("attempt", "step") else repr(row[k]) for k in CURVE))
        replace(self.path / "curve.csv", lambda temporary: _write_text(temporary, "\n".join(lines) + "\n"))

    def save(self, name: str, write: Callable[[Path], None]) -> None:
        """Put a file (checkpoint or weights) in place, whole."""

        def write_if_current(temporary: Path) -> None:
            write(temporary)
            self.check()

        replace(self.path / name, write_if_current)

    def finish(self, record: dict[str, Any]) -> None:
        """Write the record, last of all files, and tidy up."""
        self.check()
        write_json(self.path / "record.json", {"attempts": self.number, **record})
        over = ("checkpoint.pt", "progress.json", "failure.json") if record["state"] in FINAL else ()
        for name in over:
            (self.path / name).unlink(missing_ok=True)
        self.release()

    def fail(self, error: str) -> None:
        """Leave the reason of a failure behind; the run can be claimed again."""
        self.check()
        write_json(self.path / "failure.json", {"attempt": self.number, "error": error, "time": time.time()})
        self.release()

    def release(self) -> None:
        """Give the run back, so that the next attempt need not wait for a silence."""
        claim_file = self.path / f"claim.{self.number}.json"
        write_json(claim_file, {**json.loads(claim_file.read_text()), "released": True})


def _write_text(path: Path, text: str) -> None:
    path.write_text(text)
