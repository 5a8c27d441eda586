"""What the commands do. Only the command line imports this; it may import everything."""

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from yosinski import files
from yosinski.data.half import Half
from yosinski.data.place import Place
from yosinski.errors import BadInput
from yosinski.experiment.run import Run
from yosinski.identity import digest

MUCH = 10e9  # bytes; for less nobody is asked


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
    from yosinski.data import find

    sweep = sweeps.find(options.sweep)
    arguments = sweeps.arguments(sweep, options.parameters)
    try:
        runs = sweep(**arguments)
    except TypeError as error:
        if options.debug:
            raise
        raise BadInput(f"sweep {options.sweep}: {error}") from error
    for run in {(run.half.data, run.network): run for run in runs if run.is_trained}.values():
        run.check_side(find.card(run.half.data).side)
    return runs, sweeps.describe(sweep, arguments)


def notes(runs: Iterable[Run]) -> list[str]:
    """What has to be said of the data sets of runs, such as which files are not used, and of weights from outside."""
    from yosinski.data import find
    from yosinski.pretrained import outside

    wanted = list(runs)
    cards = [find.card(name) for name in sorted({run.half.data for run in wanted if run.is_trained})]
    return [*(f"{card.name}: {note}" for card in cards for note in card.notes), *outside.notes(wanted)]


def list_runs(runs: Path, sweep: str, parameters: dict[str, Any], chosen: Iterable[Run]) -> Path:
    """Write down which runs belong to a sweep, so that missing ones are known to be missing; returns the file."""
    name = Path(sweep).stem
    entries = [{"id": run.id, "name": run.name, "spec": run.spec} for run in chosen]
    path = runs / "sweeps" / f"{name}-{digest(parameters)}.json"
    files.write_json(path, {"sweep": name, "parameters": parameters, "runs": entries})
    return path


def prepare(chosen: Sequence[Run], runs: Path, stores: Path, console: Any) -> None:
    """Make what jobs read: the runs' specs, weights from outside, and the stores of their data sets.

    BadInput if there is no room for it.
    """
    from yosinski.data import find
    from yosinski.experiment.cost import stored
    from yosinski.pretrained import outside
    from yosinski.records import specs

    needed = stored(chosen, {name: find.card(name) for name in {run.half.data for run in chosen}})
    kept = sum(file.stat().st_size for file in (stores / "features").glob("*/features.npy"))
    files.check_space(stores, needed - kept, "stored features")
    for run in chosen:
        specs.enrol(runs, run)
    for base in outside.bases(chosen):
        with console.status(f"bringing in {base.half.data}"):
            outside.bring(base, runs)
    halves = {(run.half.data, run.half.fingerprint): run.half for run in chosen}
    for _, half in sorted(halves.items()):
        with_store(half, stores, console)


def with_store(half: Half, stores: Path, console: Any) -> None:
    """Make the store that a half's images lie in, where it is missing."""
    from yosinski.data import store

    wanted = store.location(half, stores)
    if not (wanted / "store.json").exists():
        made = make_store(half.data, stores, console)
        if made != wanted:
            raise BadInput(f"{half.data} has changed: these runs want {wanted}, it gave {made}")
    else:
        say_depth(half.data, wanted, console)


def make_store(
    text: str,
    stores: Path,
    console: Any,
    skip_broken: bool = False,
    workers: int | None = None,
    agreed: Callable[[int], bool] = lambda size: True,
) -> Path | None:
    """Make the store of a data set, or go on making it; says beforehand what it takes. None if it is not agreed to.

    agreed: whether so many bytes may be written.
    """
    from yosinski import environment
    from yosinski.data import find, making, store

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
    who = f"{workers} processes" if workers > 1 else "1 process"
    if left >= MUCH:  # for less, the bar tells soon enough
        who += f" take{'s' * (workers == 1)} about {timedelta(seconds=math.ceil(begun.seconds(workers)))}"
    console.print(
        f"{begun.path} will hold {images:,} images of {begun.card.name}, {begun.card.side} x {begun.card.side}: "
        f"{making.gigabytes(begun.bytes)}, of which {making.gigabytes(begun.written)} are written; "
        f"{making.gigabytes(begun.free)} are free; {who}",
        highlight=False,
        soft_wrap=True,
    )
    if not agreed(left):
        return None
    with progress(console) as bar:
        tasks = {work: bar.add_task(work, total=images) for work in ("looked at", "stored")}
        made = making.fill(begun, skip_broken, workers, lambda work, more: bar.advance(tasks[work], more))
    say_depth(text, made, console)
    return made


def say_depth(text: str, path: Path, console: Any) -> None:
    """Say where the greys of a store use other bits than they are taken to have."""
    from yosinski.data import oddities, survey

    summary = survey.of_store(path)
    if summary and summary["pixels"]:
        place = Place.of(text)
        for note in oddities.notes(place, summary["pixels"]["deep"]):
            console.print(f"{place.source}: {note}", highlight=False, markup=False, soft_wrap=True)


def progress(console: Any) -> Any:
    """A bar for images: how many are done, how many a second, and when it ends."""
    from rich import progress

    columns = progress.TextColumn("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn()
    return progress.Progress(*columns, progress.TimeRemainingColumn(), console=console)
