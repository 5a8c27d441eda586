"""What the commands do. Only the command line imports this; it may import everything."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from yosinski import files
from yosinski.spec import BadInput, Run, digest


def confirmed(question: str, options: argparse.Namespace) -> bool:
    """Whether the user agrees; --yes agrees beforehand, and nobody at the terminal does not."""
    if options.yes:
        return True
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        raise BadInput("nobody to ask: give --yes") from None


def sweep_runs(options: argparse.Namespace) -> tuple[list[Run], dict[str, Any]]:
    """The runs of the sweep that was asked for, and its parameters; BadInput if images are too small for a network."""
    import sweeps
    from yosinski import data

    sweep = sweeps.find(options.sweep)
    given = sweeps.arguments(sweep, options.parameters)
    try:
        runs = sweep(**given)
    except TypeError as error:
        if options.debug:
            raise
        raise BadInput(f"sweep {options.sweep}: {error}") from error
    for run in {(run.half.data, run.network): run for run in runs}.values():
        run.check_side(data.card(run.half.data).side)
    return runs, sweeps.describe(sweep, given)


def list_runs(runs: Path, sweep: str, parameters: dict[str, Any], listed: Iterable[Run]) -> None:
    """Write down which runs belong to a sweep, so that missing ones are known to be missing."""
    name = Path(sweep).stem
    entries = [{"id": run.id, "name": run.name, "spec": run.spec} for run in listed]
    path = runs / "sweeps" / f"{name}-{digest(parameters)}.json"
    files.write_json(path, {"sweep": name, "parameters": parameters, "runs": entries})


def prepare(chosen: Sequence[Run], runs: Path, stores: Path, console: Any) -> None:
    """Make what jobs read: the runs' specs, and the stores of their data sets."""
    from yosinski import data, records
    from yosinski.data import store

    for run in chosen:
        records.enrol(runs, run)
    for name in sorted({run.half.data for run in chosen}):
        card = data.card(name)
        if not store.location(card, stores).exists():
            with console.status(f"drawing the images of {name}"):
                store.make(card, stores)
