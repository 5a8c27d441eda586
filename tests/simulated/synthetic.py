"""Runs directories as a sweep would leave them, with made-up numbers and no training."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from yosinski import files
from yosinski.data.half import Half
from yosinski.experiment.recipes import EMOJI, Recipe
from yosinski.experiment.run import Run
from yosinski.records import attempts

RECIPE = EMOJI.with_values({"learning_rate": 0.1, "evaluations": 3})


def halves(split: str = "random:0") -> tuple[Half, Half]:
    """Two halves of three classes each."""
    a, b = (
        Half("emoji", "f00d", tuple(f"{split}-{letter}{k}" for k in range(3)), ("noto",), letter, split)
        for letter in "AB"
    )
    return a, b


def base(half: Half, seed: int = 0, recipe: Recipe = RECIPE, examples_per_class: int | None = None) -> Run:
    """A base."""
    return Run("alexnet32", half, recipe, seed, examples_per_class=examples_per_class)


def copy(parent: Run, target: Half, n: int, plus: bool = False, seed: int = 0) -> Run:
    """A copy, frozen or (`plus`) fine-tuned, with its parent's recipe."""
    return Run("alexnet32", target, parent.recipe, seed, "tuned" if plus else "frozen", n, parent)


def sweep(cuts: Iterable[int], splits: Iterable[str] = ("random:0",), seeds: Iterable[int] = (0,)) -> list[Run]:
    """Both bases and, in both directions, BnB, BnB+, AnB and AnB+ at every cut."""
    cuts, runs = list(cuts), []
    for split in splits:
        for seed in seeds:
            a, b = (base(half, seed) for half in halves(split))
            runs += [a, b]
            for target, parents in ((a.half, (a, b)), (b.half, (b, a))):
                runs += [
                    copy(parent, target, n, plus, seed) for n in cuts for parent in parents for plus in (False, True)
                ]
    return runs


def record(top1: float | None, **values: object) -> dict:
    """What a finished run leaves; values replace or add to it."""
    return {
        "state": "done",
        "reason": None,
        "metrics": {"train_loss": 0.1, "test_loss": 1.0, "test_top1": top1, "select_loss": 1.0, "select_top1": top1},
        "parameters": 1000,
        "trained_parameters": 500,
        "flops": 10**12,
        "memory": 10**8,
        "arithmetic": {"dtype": "float32", "device": "cpu", "threads": 1},
        **values,
    }


def row(step: int, top1: float) -> dict[str, float]:
    """One evaluation."""
    losses = {"train_loss": 2 - top1, "select_loss": 2.1 - top1}
    return {"step": step, "epoch": step / 10, "learning_rate": 0.1, **losses, "select_top1": top1, "seconds": step / 2}


def finish(runs: Path, run: Run, top1: float | None, curve: Iterable[float] = (), **values: object) -> None:
    """Claim a run, write its curve at steps 10, 20, ... and its record."""
    attempt = attempts.claim(runs, run)
    assert attempt is not None
    for k, value in enumerate(curve, 1):
        attempt.append(row(10 * k, value))
    hashes = {"weights": f"w-{run.id}", "parent_weights": f"w-{run.parent.id}" if run.parent else None}
    attempt.finish(record(top1, **{**hashes, **values}))


def manifest(runs: Path, name: str, listed: Iterable[Run]) -> None:
    """List runs as those of a sweep."""
    entries = [{"id": run.id, "name": run.name, "spec": run.spec} for run in listed]
    value = {"sweep": name, "parameters": {}, "runs": entries}
    (runs / "sweeps").mkdir(parents=True, exist_ok=True)
    files.write_json(runs / "sweeps" / f"{name}-{len(entries)}.json", value)


def damage(path: Path, change: Callable[[dict], None] | None = None) -> None:
    """Cut a JSON file in half, or change its content."""
    if change is None:
        path.write_text(path.read_text()[: path.stat().st_size // 2])
    else:
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))
