"""Merging: bring what ended in other runs directories into one, as if all of it had been trained there.

First everything is checked, then everything is copied, so that what is refused changes nothing. A run is copied by the
rules for training it: claimed, whole files only, its record last. So an interrupted merge is simply repeated.
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
from yosinski.networks import own, tensors
from yosinski.records import attempts, specs, states

RESULTS = ("state", "metrics", "per_class", "weights", "parent_weights")  # of a record; the rest is how they were got


@dataclass(frozen=True)
class Merged:
    """How many runs of the sources were copied, were there already, ended nowhere, or are being trained here."""

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
    """A run that ended, where it lies, and its record."""

    run: Run
    path: Path
    record: dict[str, Any]

    @property
    def runs(self) -> Path:
        """The runs directory that holds it."""
        return self.path.parent.parent

    @property
    def files(self) -> tuple[str, ...]:
        """What it left behind beside its record."""
        return ("curve.csv", "weights.safetensors") if self.run.is_trained else ("weights.safetensors",)


def merge(sources: Sequence[Path], runs: Path) -> Merged:
    """Bring the runs that ended, the halves, networks and lists of sweeps of other directories into `runs`.

    What is there stays; of runs with equal results the first is kept. BadInput, with nothing changed, where a source is
    missing, a file is damaged or missing, weights are not those of their record, a run has other results in one place
    than in another, a sweep other runs, or a copy would lie next to other weights of its base than it was cut from.
    """
    for source in sources:
        if source.resolve() == runs.resolve():
            raise BadInput(f"{source} is the directory to merge into; give other ones")
    here = finished(runs) if runs.is_dir() else {}
    by_source = [finished(source) for source in sources]
    merged = dict(here)
    for run_id, theirs in chain.from_iterable(place.items() for place in by_source):
        check_equal(merged.setdefault(run_id, theirs), theirs)
    new = {run_id: run for run_id, run in merged.items() if run_id not in here}
    for run_id in new:
        if (specs.folder(runs, run_id) / "run.json").exists():
            specs.load(runs, run_id)  # it will describe what is put beside it
    check_bases(merged, new)
    check_weights(new.values())
    lists = {path: source for path, source in halves_and_sweeps([runs, *sources]).items() if not (runs / path).exists()}
    code = networks(sources)

    for network in code:
        own.keep(runs, network)
    for path, source in lists.items():
        (runs / path).parent.mkdir(parents=True, exist_ok=True)
        files.replace(runs / path, _copy_of(source))
    copied = sum(bring(run, runs) for run in sorted(new.values(), key=lambda run: run.run.parent is not None))
    seen = {path.name for source in sources for path in specs.scan(source)}
    ended = sum(map(len, by_source))
    return Merged(copied, ended - len(new), len(seen - merged.keys()), len(new) - copied)


def finished(runs: Path) -> dict[str, Finished]:
    """The runs of a directory that ended, by id; BadInput if what describes one is damaged."""
    ended = {}
    for path in specs.scan(runs):
        record = states.read_record(path)
        if record is not None and record["state"] in states.FINAL:
            ended[path.name] = Finished(specs.load(runs, path.name), path, record)
    return ended


def check_equal(ours: Finished, theirs: Finished) -> None:
    """BadInput if a run ended otherwise in one place than in another, or if a file of it is missing."""
    for path in (path / name for path in (ours.path, theirs.path) for name in ours.files):
        if not path.exists():
            raise BadInput(f"{path} is missing, though {ours.run} has ended there")
    other = [name for name in RESULTS if ours.record.get(name) != theirs.record.get(name)]
    if numbers(ours.path) != numbers(theirs.path):
        other.append("curve")
    weights = [run.path / "weights.safetensors" for run in (ours, theirs)]
    if ours is not theirs and not filecmp.cmp(*weights, shallow=False):
        other.append("weights.safetensors")
    if other:
        raise BadInput(f"{ours.run} has other results in {ours.runs} than in {theirs.runs}: {', '.join(other)}")


def numbers(path: Path) -> list[dict[str, str]]:
    """A run's curve without what another attempt on another machine may change, as text: NaN equals NaN."""
    return [{k: repr(v) for k, v in row.items() if k not in ("attempt", "seconds")} for row in states.read_curve(path)]


def check_bases(merged: Mapping[str, Finished], new: Mapping[str, Finished]) -> None:
    """BadInput if merging would put a copy next to other weights of its base than it was cut from."""
    for run_id, copy in merged.items():
        base = merged.get(copy.run.parent.id) if copy.run.parent else None
        if base is None or (run_id not in new and base.run.id not in new):  # a copy that is stale here stays so
            continue
        if copy.record.get("parent_weights") != base.record.get("weights"):
            raise BadInput(f"{copy.run} in {copy.runs} was cut from other weights of {base.run} than {base.runs} holds")


def check_weights(new: Iterable[Finished]) -> None:
    """BadInput if the weights of a run are not those that its record names."""
    for run in new:
        if tensors.fingerprint_of_file(run.path / "weights.safetensors") != run.record["weights"]:
            raise BadInput(f"{run.path / 'weights.safetensors'} does not hold the weights that the record names")


def halves_and_sweeps(places: Sequence[Path]) -> dict[Path, Path]:
    """The files of halves and sweeps by their place in a runs directory, from the first directory that has them.

    BadInput if the content of a half is not what its name says, or if two directories list a sweep's runs otherwise.
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


def networks(places: Sequence[Path]) -> list[own.Own]:
    """The networks of files of one's own that runs directories keep; BadInput if one is damaged."""
    return [
        own.read(place, path.parent.name) for place in places for path in sorted(place.glob("networks/*/network.json"))
    ]


def ids_listed(path: Path) -> set[str]:
    """The ids of a sweep's runs."""
    try:
        return {entry["id"] for entry in files.read_json(path)["runs"]}
    except (KeyError, TypeError) as error:
        raise files.Damaged(path) from error


def bring(run: Finished, runs: Path) -> bool:
    """Copy a run that ended into a runs directory; False if somebody is training it there, or just has."""
    path = specs.folder(runs, run.run.id)
    if not (path / "run.json").exists():  # with the name that it was given there
        path.mkdir(parents=True, exist_ok=True)
        files.replace(path / "run.json", _copy_of(run.path / "run.json"))
    attempt = attempts.claim(runs, run.run)
    if attempt is None:
        return False
    try:
        for name in run.files:
            attempt.save(name, _copy_of(run.path / name))
        attempt.finish(files.read_json(run.path / "record.json"))  # as it was written, not as it is read
    finally:
        attempt.release()
    return True


def _copy_of(source: Path) -> Callable[[Path], None]:
    """What writes a copy of a file to a path."""

    def write(path: Path) -> None:
        shutil.copyfile(source, path)

    return write
