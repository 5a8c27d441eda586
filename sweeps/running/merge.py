"""Merging: copy finished runs of other runs directories into one, as if they had been trained there.

All checks come before the first copy, so that a refused merge changes nothing. Runs are copied by the rules of
training: claimed, with complete files, the record last. An interrupted merge can be repeated.
"""

import filecmp
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from yosinski import files
from yosinski.errors import BadInput
from yosinski.experiment.run import Run
from yosinski.networks import catalogue, tensors
from yosinski.records import attempts, specs, states

RESULTS = (
    "state",
    "metrics",
    "per_class",
    "tasks",
    "fusion",
    "weights",
    "parent_weights",
)  # values of a record that must agree


@dataclass(frozen=True)
class Merged:
    """Numbers of the sources' runs: copied, already there, not finished, in training here."""

    copied: int
    equal: int
    unfinished: int
    running: int

    def __str__(self) -> str:
        return (
            f"{self.copied} copied, {self.equal} already here, {self.unfinished} not finished, "
            f"{self.running} left to who is training them"
        )


@dataclass(frozen=True)
class Finished:
    """A finished run, its path, and its record."""

    run: Run
    path: Path
    record: dict[str, Any]

    @property
    def runs(self) -> Path:
        """Its runs directory."""
        return self.path.parent.parent

    @property
    def files(self) -> tuple[str, ...]:
        """Its files besides the record."""
        return ("curve.csv", "weights.safetensors") if self.run.is_trained else ("weights.safetensors",)


def merge(sources: Sequence[Path], runs: Path) -> Merged:
    """Copy finished runs, halves, networks and lists of sweeps from other directories into `runs`.

    Existing files stay; of runs with equal results the first is kept. BadInput, before any change, if a source is
    missing, a file is damaged or missing, weights differ from those in their record, a run has different results in two
    places, a sweep different runs, or a copy was cut from other weights of its base than those that it would join.
    """
    for source in sources:
        if source.resolve() == runs.resolve():
            raise BadInput(f"{source} is the directory to merge into; give other ones")
    finished_here = finished(runs) if runs.is_dir() else {}
    by_source = [finished(source) for source in sources]
    merged = dict(finished_here)
    for run_id, theirs in chain.from_iterable(place.items() for place in by_source):
        check_equal(merged.setdefault(run_id, theirs), theirs)
    new = {run_id: run for run_id, run in merged.items() if run_id not in finished_here}
    for run_id in new:
        if (specs.folder(runs, run_id) / "run.json").exists():
            specs.load(runs, run_id)  # checks the spec
    check_bases(merged, new)
    check_weights(new.values())
    lists = {path: source for path, source in halves_and_sweeps([runs, *sources]).items() if not (runs / path).exists()}
    code = [network for source in sources for network in catalogue.kept(source)]

    for network in code:
        catalogue.keep(runs, network)
    for path, source in lists.items():
        (runs / path).parent.mkdir(parents=True, exist_ok=True)
        files.replace(runs / path, _copy_of(source))
    copied = sum(bring(run, runs) for run in sorted(new.values(), key=lambda run: run.run.parent is not None))
    found = {path.name for source in sources for path in specs.scan(source)}
    ended = sum(map(len, by_source))
    return Merged(copied, ended - len(new), len(found - merged.keys()), len(new) - copied)


def finished(runs: Path) -> dict[str, Finished]:
    """The finished runs of a directory by id. BadInput if a spec or record is damaged."""
    ended = {}
    for path in specs.scan(runs):
        record = states.read_record(path)
        if record is not None and record["state"] in states.FINAL:
            ended[path.name] = Finished(specs.load(runs, path.name), path, record)
    return ended


def check_equal(ours: Finished, theirs: Finished) -> None:
    """BadInput if a run has different results in two places, or if one of its files is missing."""
    for path in (path / name for path in (ours.path, theirs.path) for name in ours.files):
        if not path.exists():
            raise BadInput(f"{path} is missing, though {ours.run} has ended there")
    other = [name for name in RESULTS if ours.record.get(name) != theirs.record.get(name)]
    if not same_curves(ours.path, theirs.path):
        other.append("curve")
    weights = [run.path / "weights.safetensors" for run in (ours, theirs)]
    if ours is not theirs and not filecmp.cmp(*weights, shallow=False):
        other.append("weights.safetensors")
    if other:
        raise BadInput(f"{ours.run} has other results in {ours.runs} than in {theirs.runs}: {', '.join(other)}")


def same_curves(ours: Path, theirs: Path) -> bool:
    """Whether a run's curves agree in what may not differ between attempts and machines; NaN equals NaN.

    Columns that one of them lacks are not compared: earlier versions had none for further tasks.
    """
    rows = [states.read_curve(path) for path in (ours, theirs)]
    known = [set(row) for curve in rows for row in curve[:1]]
    names = set.intersection(*known) - {"attempt", "seconds"} if known else set()
    one, other = ([{name: repr(row[name]) for name in names} for row in curve] for curve in rows)
    return one == other


def check_bases(merged: Mapping[str, Finished], new: Mapping[str, Finished]) -> None:
    """BadInput if merging would join a copy with other weights of its base than it was cut from."""
    for run_id, copy in merged.items():
        base = merged.get(copy.run.parent.id) if copy.run.parent else None
        if base is None or (run_id not in new and base.run.id not in new):  # a copy that was stale before stays so
            continue
        if copy.record.get("parent_weights") != base.record.get("weights"):
            raise BadInput(f"{copy.run} in {copy.runs} was cut from other weights of {base.run} than {base.runs} holds")


def check_weights(new: Iterable[Finished]) -> None:
    """BadInput if the weights of a run differ from those in its record."""
    for run in new:
        if tensors.fingerprint_of_file(run.path / "weights.safetensors") != run.record["weights"]:
            raise BadInput(f"{run.path / 'weights.safetensors'} does not hold the weights that the record names")


def halves_and_sweeps(places: Sequence[Path]) -> dict[Path, Path]:
    """The files of halves and sweeps by relative path, from the first directory that has them.

    BadInput if the content of a half does not agree with its name, or if two lists of a sweep's runs differ.
    """
    paths: dict[Path, Path] = {}
    for place in places:
        for path in sorted(place.glob("halves/*.json")):
            specs.load_half(place, path.stem)
            paths.setdefault(path.relative_to(place), path)
        for path in sorted(place.glob("sweeps/*.json")):
            first = paths.setdefault(path.relative_to(place), path)
            if ids_listed(first) != ids_listed(path):
                raise BadInput(f"{first} lists other runs than {path}: rename one of them")
    return paths


def ids_listed(path: Path) -> set[str]:
    """The ids of a sweep's runs in its list."""
    try:
        return {entry["id"] for entry in files.read_json(path)["runs"]}
    except (KeyError, TypeError) as error:
        raise files.Damaged(path) from error


def bring(run: Finished, runs: Path) -> bool:
    """Copy a finished run into a runs directory. False if another process is training it there, or has finished it."""
    path = specs.folder(runs, run.run.id)
    if not (path / "run.json").exists():  # keeps the name in the source
        path.mkdir(parents=True, exist_ok=True)
        files.replace(path / "run.json", _copy_of(run.path / "run.json"))
    attempt = attempts.claim(runs, run.run)
    if attempt is None:
        return False
    try:
        for name in run.files:
            attempt.save(name, _copy_of(run.path / name))
        attempt.finish(files.read_json(run.path / "record.json"))  # the file itself, without `health.reread`
    finally:
        attempt.release()
    return True


def _copy_of(source: Path) -> Callable[[Path], None]:
    """A function that writes a copy of a file to a path."""

    def write(path: Path) -> None:
        shutil.copyfile(source, path)

    return write
