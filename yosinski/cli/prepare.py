"""Functions that several commands share. Only the command line imports this module."""

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from yosinski import files
from yosinski.cli import texts
from yosinski.data.half import Half
from yosinski.data.place import Place, is_text
from yosinski.data.reading import reading
from yosinski.errors import BadInput, count
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import together
from yosinski.identity import digest
from yosinski.records import specs

MUCH = 10e9  # size in bytes from which the user is asked


def confirmed(question: str, options: argparse.Namespace) -> bool:
    """Whether the user agrees. --yes agrees in advance; without a terminal the answer is no."""
    if options.yes:
        return True
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        raise BadInput("nobody to ask: give --yes") from None


def sweep_runs(options: argparse.Namespace) -> tuple[list[Run], dict[str, Any]]:
    """The runs of the selected sweep, and its parameters. BadInput if a network cannot see its images or texts."""
    import sweeps
    from yosinski.data import find

    sweep = sweeps.find(options.sweep)
    arguments = sweeps.arguments(sweep, options.parameters)
    runs = sweeps.made(options.sweep, sweep, arguments)
    halves = {(half.data, run.network): (run, half) for run in runs if run.is_trained for half in run.halves}
    for run, half in halves.values():
        run.check_fits(find.card(half.data), half)
    return runs, sweeps.describe(sweep, arguments)


def check_divided(runs: Iterable[Run], processes: int, folder: Path, change_arithmetic: bool) -> None:
    """BadInput if so many processes together cannot train one of the bases among these runs, or go on with it.

    folder: the runs directory; change_arithmetic: whether what another number of processes began may go on.
    """
    divided = [run for run in runs if run.divisible]
    if processes > 1:
        from yosinski.networks import build
        from yosinski.training import shares

        for run in {run.network: run for run in divided}.values():
            shares.check(run, build.build(run.network, run.outputs))
    begun = [run for run in divided if (specs.folder(folder, run.id) / "checkpoint.pt").exists()]
    if begun and not change_arithmetic:
        from yosinski.training import checkpoints

        for run in begun:
            started = checkpoints.started_in(specs.folder(folder, run.id))
            if started and started.processes != processes:
                raise BadInput(
                    f"{run} was started in {count(started.processes, 'process')}: go on with --processes "
                    f"{started.processes} (gpus in a profile), or allow the change with --change-arithmetic"
                )


def notes(runs: Iterable[Run]) -> list[str]:
    """Notes on the data sets of runs, such as unused files, and on weights from outside."""
    from yosinski.data import find
    from yosinski.pretrained import outside

    wanted = list(runs)
    data = {half.data for run in wanted if run.is_trained for half in run.halves}
    cards = [find.card(name) for name in sorted(data)]
    of_cards = [f"{card.name}: {note}" for card in cards for note in card.notes]
    return [*of_cards, *texts.cut(wanted, reading().stores), *outside.notes(wanted)]


def list_runs(runs: Path, sweep: str, parameters: dict[str, Any], chosen: Iterable[Run]) -> Path:
    """Write the list of a sweep's runs, so that missing runs are found. Returns the file."""
    name = Path(sweep).stem
    entries = [
        {"id": run.id, "name": run.name, "spec": run.spec}
        | ({"together": together(run.half, run.partners)} if run.partners else {})
        for run in chosen
    ]
    path = runs / "sweeps" / f"{name}-{digest(parameters)}.json"
    files.write_json(path, {"sweep": name, "parameters": parameters, "runs": entries})
    return path


def prepare(chosen: Sequence[Run], runs: Path, stores: Path, console: Any) -> None:
    """Make the input of jobs: the runs' specs, weights from outside, and the stores of their data sets.

    BadInput if the disk has too little space.
    """
    from yosinski.data import find
    from yosinski.experiment.cost import stored
    from yosinski.pretrained import outside

    needed = stored(chosen, {name: find.card(name) for name in {half.data for run in chosen for half in run.halves}})
    kept = ((file.name, file.stat().st_size) for file in (stores / "features").glob("*/*.npy"))
    there = sum(size * (2 if name == "bfloat16.npy" else 1) for name, size in kept)  # as float32, like those needed
    files.check_space(stores, needed - there, "stored features")
    for run in chosen:
        specs.enrol(runs, run)
    for base in outside.bases(chosen):
        with console.status(f"bringing in {base.half.data}"):
            outside.bring(base, runs)
    halves = {(half.data, half.fingerprint): half for run in chosen for half in run.halves}
    before = set(texts.cut(chosen, stores))
    for _, half in sorted(halves.items()):
        with_store(half, stores, console)
    for line in texts.cut(chosen, stores):
        if line not in before:  # `notes` has told the others
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def with_store(half: Half, stores: Path, console: Any) -> None:
    """Make the store of a half's images, if it is missing."""
    from yosinski.data import store

    expected = store.location(half, stores)
    if not (expected / "store.json").exists():
        path = make_store(half.data, stores, console)
        if path != expected:
            raise BadInput(f"{half.data} has changed: these runs want {expected}, it gave {path}")
    else:
        say_depth(half.data, expected, console)


def make_store(
    text: str,
    stores: Path,
    console: Any,
    skip_broken: bool = False,
    workers: int | None = None,
    agreed: Callable[[int], bool] = lambda size: True,
) -> Path | None:
    """Make the store of a data set, or continue making it, after showing the cost. None if the user does not agree.

    agreed: whether this number of bytes may be written.
    """
    from yosinski import environment
    from yosinski.data import find, store
    from yosinski.data.pictures import making

    if is_text(text):
        return texts.make_store(find.card(text), stores, console, progress(console))
    if Place.of(text).path is None:
        card = find.card(text)
        path = store.location(card, stores)
        if not (path / "store.json").exists():
            with console.status(f"drawing the images of {text}"):
                store.make(card, stores)
        return path
    with console.status(f"listing {text}"):
        begun = making.begin(text, stores)
    if isinstance(begun, Path):
        say_depth(text, begun, console)
        return begun
    workers = workers or environment.cores()
    images = len(begun.listing.images)
    left = begun.bytes - begun.written
    processes = f"{workers} processes" if workers > 1 else "1 process"
    if left >= MUCH:  # for smaller ones the progress bar is enough
        processes += f" take{'s' * (workers == 1)} about {timedelta(seconds=math.ceil(begun.seconds(workers)))}"
    console.print(
        f"{begun.path} will hold {images:,} images of {begun.card.name}, {begun.card.side} x {begun.card.side}: "
        f"{making.gigabytes(begun.bytes)}, of which {making.gigabytes(begun.written)} are written; "
        f"{making.gigabytes(begun.free)} are free; {processes}",
        highlight=False,
        soft_wrap=True,
    )
    if not agreed(left):
        return None
    with progress(console) as bar:
        tasks = {work: bar.add_task(work, total=images) for work in ("looked at", "stored")}
        finished = making.fill(begun, skip_broken, workers, lambda work, more: bar.advance(tasks[work], more))
    say_depth(text, finished, console)
    return finished


def say_depth(text: str, path: Path, console: Any) -> None:
    """Print a note if the greys of a store use other bits than assumed."""
    from yosinski.data import survey
    from yosinski.data.pictures import oddities

    summary = survey.of_store(path)
    if summary and summary["pixels"]:
        place = Place.of(text)
        for note in oddities.notes(place, summary["pixels"]["deep"]):
            console.print(f"{place.source}: {note}", highlight=False, markup=False, soft_wrap=True)


def progress(console: Any) -> Any:
    """A progress bar for images: count, rate, and time left."""
    from rich import progress

    columns = progress.TextColumn("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn()
    return progress.Progress(*columns, progress.TimeRemainingColumn(), console=console)
