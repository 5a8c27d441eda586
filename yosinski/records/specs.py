"""Specs in a runs directory: runs, halves, and networks that no package has."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from yosinski.data.half import Half
from yosinski.errors import BadInput, command
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import SEMANTICS, Run
from yosinski.files import Damaged, read_json, write_json
from yosinski.identity import as_before, changed, digest
from yosinski.networks import catalogue

_VALUES = {"semantics", "source", *(field.name for field in fields(Run))}
_OF_RECIPE = {field.name for field in fields(Recipe)}


def folder(runs: Path, run_id: str) -> Path:
    """The directory of a run."""
    return runs / run_id[:2] / run_id


def enrol(runs: Path, run: Run) -> Path:
    """Make the run's directory with its spec, and the directories of its parent and halves. Existing files stay."""
    if run.parent is not None:
        enrol(runs, run.parent)
    for half in run.halves:
        enrol_half(runs, half)
    for network in (run.network, *run.towers):
        catalogue.keep(runs, network)
    path = folder(runs, run.id)
    if not (path / "run.json").exists():
        write_json(path / "run.json", {"id": run.id, "name": run.name, "spec": run.spec})
    return path


def enrol_half(runs: Path, half: Half) -> None:
    """Store the class names of a half's digest, once."""
    path = runs / "halves" / f"{half.digest}.json"
    if not path.exists():
        names = {"data": half.data, "fingerprint": half.fingerprint, "classes": half.classes, "domain": half.domain}
        rule = {"rule": half.rule} if half.rule > 1 else {}  # earlier versions had only rule 1
        called = {"input": half.input} if half.input else {}
        content = {"digest": half.digest, "letter": half.letter, "split": half.split, **names, **rule, **called}
        content |= changed(half)
        write_json(path, content)


def load_half(runs: Path, digest: str) -> Half:
    """The half with this digest."""
    path = runs / "halves" / f"{digest}.json"
    if not path.exists():
        raise BadInput(f"{path} is missing: the class names of a half of these runs")
    value = read_json(path)
    try:
        classes, domain = tuple(value["classes"]), tuple(value["domain"])
        later = {name: value[name] for name in as_before(Half) if name in value}
        later |= {"answers": tuple(later["answers"])} if "answers" in later else {}
        labels = value["letter"], value["split"], value.get("rule", 1)
        half = Half(
            value["data"], value["fingerprint"], classes, domain, *labels, input=value.get("input", ""), **later
        )
    except (KeyError, TypeError, BadInput) as error:
        raise Damaged(path) from error
    if half.digest != digest:
        raise Damaged(path)
    return half


def know_networks(runs: Path) -> None:
    """Register the networks of files in a runs directory under their names."""
    catalogue.read_all(runs)


def load(runs: Path, run_id: str) -> Run:
    """The run with this id, and its parent. BadInput if its spec has another hash, or is not valid here."""
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
    partners = tuple(load_half(runs, partner) for partner in spec.get("partners", ()))
    parent = load(runs, parent) if parent else None
    network, *towers = (catalogue.read(runs, one) for one in (network, *spec.get("towers", ())))
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
            **{name: spec[name] for name in as_before(Run) if name in spec}
            | {"partners": partners, "towers": tuple(towers)},
        )
    except (KeyError, TypeError) as error:
        raise Damaged(path) from error
    except BadInput as error:  # the file is undamaged: a value is valid only in another version
        raise BadInput(f"{path} (format {content['format']}) needs another version of yosinski: {error}") from error
    if run.id != run_id:
        raise BadInput(f"{path} (format {content['format']}) needs an older version of yosinski: values are missing")
    return run


def check_known(path: Path, content: Mapping[str, Any]) -> None:
    """BadInput if a `run.json` has values that this version does not know."""
    spec = content["spec"]
    newer = [f"value {name}" for name in sorted(spec.keys() - _VALUES)]
    newer += [f"recipe value {name}" for name in sorted((spec.get("recipe") or {}).keys() - _OF_RECIPE)]
    if newer:
        raise BadInput(f"{path} (format {content['format']}) needs a newer version of yosinski: {', '.join(newer)}")


def is_id(text: str) -> bool:
    """Whether this may be a run's id, or the beginning of one."""
    return 4 <= len(text) <= 16 and not text.strip("0123456789abcdef")


def find(runs: Path, text: str) -> str:
    """The id of the run with this name or beginning of an id. BadInput if there is none, or more than one.

    A network with several tasks has a name for each: AB3B is that of AB3A, scored on B.
    """
    if not runs.is_dir():
        raise BadInput(f"no runs directory {runs}")
    unread: list[str] = []
    if is_id(text):
        matches = sorted(run_id for run_id in ids(runs) if run_id.startswith(text))
    else:
        contents = {path.name: read_json(path / "run.json") for path in scan(runs)}
        matches = [run_id for run_id, content in contents.items() if content.get("name") == text]
        matches = matches or [
            run_id for run_id, content in contents.items() if text in _of_tasks(runs, run_id, content, unread)
        ]
    if not matches:
        rest = f"; of networks with several tasks {len(unread)} could not be read: {unread[0]}" if unread else ""
        raise BadInput(
            f"no run {text!r} in {runs}; give the first digits of an id: {command('status', runs)} lists them{rest}"
        )
    if len(matches) > 1:
        several = "begins several runs" if is_id(text) else "is the name of several runs"
        raise BadInput(f"{text!r} {several}: {', '.join(matches[:5])}")
    return matches[0]


def _of_tasks(runs: Path, run_id: str, content: Mapping[str, Any], unread: list[str]) -> list[str]:
    """The names of a network with several tasks, scored on each of them.

    None if it cannot be read, which must not stand between another run and its name; the reason is added to `unread`.
    """
    if content.get("spec", {}).get("treatment") != "joint":
        return []
    try:
        run = load(runs, run_id)
    except BadInput as error:
        unread.append(str(error))
        return []
    return [run.named(str(run.cut), task) for task in run.scored]


def scan(runs: Path) -> Iterator[Path]:
    """The directories of all runs, in order of their ids."""
    if not runs.is_dir():
        raise BadInput(f"no runs directory {runs}")
    for run_id in sorted(ids(runs)):
        path = folder(runs, run_id)
        if (path / "run.json").exists():
            yield path


def ids(runs: Path) -> set[str]:
    """The ids with a directory. One listing is faster than a check for each of many runs."""
    return {run_id for shard in runs.glob("[0-9a-f][0-9a-f]") for run_id in os.listdir(shard)}
