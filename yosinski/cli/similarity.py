"""predict fuse, predict branch: how alike the single networks of a sweep are, layer by layer."""

import argparse
import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from yosinski.cli.prepare import sweep_runs, with_store
from yosinski.errors import BadInput, command
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import control


def similarity(options: argparse.Namespace) -> int:
    """`yosinski predict SWEEP`: for every pair of tasks or inputs of a sweep, from the bases alone."""
    from rich.console import Console

    from yosinski.environment import Where, cores
    from yosinski.prediction import ranking
    from yosinski.prediction import similarity as rule

    runs, _ = sweep_runs(options)
    asked = pairs(runs)
    if not asked:
        raise BadInput(f"sweep {options.sweep} has no networks of two tasks or inputs; fuse and branch have")
    check_done(asked, options)
    console = Console(stderr=True)
    where = Where(options.runs, options.stores, options.device, "float32", options.threads or cores())
    found = []
    for treatment, one, other in asked:
        for base in (one, other):
            with_store(base.half, options.stores, console)
        bases = ranking.base(one, options.runs), ranking.base(other, options.runs)
        with console.status(f"looking at {one.half.data} with {one} and {other}"):
            found.append(
                (title(one, other), rule.similarity(bases, treatment, where, options.images or ranking.IMAGES))
            )
    for path in options.out:
        write([prediction for _, prediction in found], path, found[0][0])
    if options.json:
        print(json.dumps([prediction for _, prediction in found], indent=1))
        return 0
    for words, prediction in found:
        show(words, prediction)
    print("what these numbers can and cannot say is in docs/where-to-fuse.md and docs/where-to-branch.md;")
    print("`yosinski advise` compares them with runs")
    for path in options.out:
        print(path)
    return 0


def pairs(runs: list[Run]) -> list[tuple[str, Run, Run]]:
    """For every pair of tasks or inputs that a run has: its treatment, and both bases; controls are left out."""
    found = []
    for run in runs:
        for partner in run.partners:
            if run.towers:
                raise BadInput(
                    f"{run}: {run.half.data} and {partner.data} are read by networks of two kinds, "
                    "which have no layers in common to compare"
                )
        halves = [run.half, *(partner for partner in run.partners if control(run.half, partner) == "other")]
        alone: Any = {"treatment": "base", "cut": 0, "partners": (), "recipe": run.recipe.alone}
        bases = [replace(run, half=half, **alone) for half in halves if run.partners]
        both = combinations(bases, 2) if len(run.tasks) > 1 else ((bases[0], other) for other in bases[1:])
        found += [(run.treatment, one, other) for one, other in both]
    return list(dict.fromkeys(found))


def check_done(asked: list[tuple[str, Run, Run]], options: argparse.Namespace) -> None:
    """BadInput where a base is not trained to its end, with the command that trains it."""
    from yosinski.records import specs, states

    for _, *bases in asked:
        for base in bases:
            state = states.state(specs.folder(options.runs, base.id))
            if state in ("stuck", "diverged"):
                raise BadInput(f"{base} is {state}, and ends so every time: change its recipe")
            if state != "done":
                words = [word for text in options.parameters for word in ("-p", text)]
                train = command("run", options.sweep, *words, runs=options.runs)
                raise BadInput(f"{base} is {state}, and bases must be done; `{train}` trains them first")


def title(one: Run, other: Run) -> str:
    """As in "baseA (0a23d2ba) and baseB (8d1f0c11), random:0 of emoji"."""
    return f"{one} and {other}, {one.half.split} of {one.half.data}"


def write(found: list[dict[str, Any]], path: Path, words: str) -> None:
    """Write what was found as .json, its scores as .csv, or a figure."""
    import pandas as pd

    from analysis.advice.predictors import draw
    from analysis.draw import save
    from analysis.sharing.predictors import rows
    from yosinski import files

    table = pd.concat([rows(prediction) for prediction in found], ignore_index=True)
    if path.suffix == ".json":
        files.write_json(path, {"similarities": found})
    elif path.suffix == ".csv":
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
    else:
        save(draw(table, words + (f" and {len(found) - 1} more" if len(found) > 1 else "")), [path])


def show(words: str, prediction: dict[str, Any]) -> None:
    """Print a table of similarities with their ranks, and what is behind them."""
    import pandas as pd
    from rich.console import Console

    from analysis.advice.render import rich_table
    from analysis.sharing.predictors import rows

    table = rows(prediction)
    ranks: Any = table.groupby("predictor")["score"].rank(ascending=False, method="min").astype(int)
    texts = [f"{'[bold]' * (k == 1)}{score:.3f} ({k})" for score, k in zip(table["score"], ranks, strict=True)]
    shown: Any = table.assign(text=texts).pivot_table(
        index=["n", "cut"], columns="predictor", values="text", aggfunc="first", sort=False
    )
    print(words)
    Console(highlight=False, width=200).print(rich_table(pd.DataFrame(shown.reset_index())))
    used = prediction["images"]
    print(f"ranks in brackets; {used['used']:,} select images of {used['of']:,}, {prediction['dimension']} features")
    if together := prediction.get("together"):
        print(
            f"both networks asked together, by the mean of their probabilities: {together['select_top1']:.4f} of these"
        )
