"""predict: rank the cuts of a base without training anything."""

import argparse
import json
from pathlib import Path
from typing import Any

from yosinski.commands import with_store
from yosinski.spec import BadInput, Half, choose

KINDS = (".csv", ".json", ".png", ".pdf", ".svg")


def predict(options: argparse.Namespace) -> int:
    """`yosinski predict`."""
    from rich.console import Console

    from yosinski import predicting
    from yosinski.data.making import cores
    from yosinski.environment import Where

    for path in options.out:
        choose(f"kind of file ({path})", path.suffix, KINDS)
    if options.threads is not None and options.threads < 1:
        raise BadInput(f"--threads must be at least 1, not {options.threads}")
    names = [name for text in options.predictors for name in text.split(",")]
    source = predicting.base(options.runs, options.base)
    against = predicting.base(options.runs, options.against) if options.against else None
    target = asked(options, source.run.half.data)
    console = Console(stderr=True)
    with_store(target, options.stores, console)
    where = Where(options.runs, options.stores, options.device, "float32", options.threads or cores())
    with console.status(f"looking at {target.data} with {source.run}"):
        prediction = predicting.predict(source, target, where, names, against, options.images)
    for path in options.out:
        write(prediction, path, title(prediction, source.run, target))
    if options.json:
        print(json.dumps(prediction, indent=1))
    else:
        show(prediction, title(prediction, source.run, target))
        for path in options.out:
            print(path)
    return 0


def asked(options: argparse.Namespace, data: str) -> Half:
    """The target: a half of --split, or all classes; of --data, or of the base's own data set."""
    from sweeps.figure2 import all_classes
    from yosinski import data as data_sets
    from yosinski.halves import split

    card = data_sets.card(options.data or data)
    if options.split is None:
        if options.half is not None:
            raise BadInput("--half chooses one half of a split: give --split, too")
        return all_classes(card)
    halves = split(card, options.split)
    return {"A": halves.a, "B": halves.b}[choose("half", options.half or "B", ("A", "B"))]


def title(prediction: dict[str, Any], base: Any, target: Half) -> str:
    """What was asked: "baseA (0a23d2ba) cut for half B of random:0 of emoji"."""
    whole = "all classes" if target.split == "all" else f"half {target.letter} of {target.split}"
    return f"{base} cut for {whole} of {target.data}"


def write(prediction: dict[str, Any], path: Path, title: str) -> None:
    """The prediction as .json, its scores as .csv or as a figure."""
    from analysis import predictors
    from analysis.draw import save
    from yosinski import files

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        files.write_json(path, prediction)
    elif path.suffix == ".csv":
        predictors.rows(prediction).to_csv(path, index=False)
    else:
        save(predictors.draw(predictors.rows(prediction), title), [path])


def show(prediction: dict[str, Any], title: str) -> None:
    """A table of scores with their ranks, and what they rest on."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    names, cuts = prediction["predictors"], prediction["cuts"]
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for heading in ("n", "cut", *names):
        table.add_column(heading, no_wrap=True, justify="left" if heading == "cut" else "right")
    ranked = {name: sorted((cut["scores"][name] for cut in cuts), reverse=True) for name in names}
    for cut in cuts:
        cells = []
        for name in names:
            score = cut["scores"][name]
            rank = ranked[name].index(score) + 1
            cells.append(f"{'[bold]' if rank == 1 else ''}{score:.4g} [dim]({rank})")
        table.add_row(str(cut["n"]), cut["name"], *cells)
    print(title)
    console = Console(highlight=False, width=200)  # digits are never cut off, whatever the terminal
    console.print(table)
    images = prediction["images"]
    counts = " and ".join(
        f"{its['used']:,} {name} images" + (f" of {its['of']:,}" if its["used"] < its["of"] else "")
        for name, its in images.items()
    )
    seconds = prediction["seconds"]
    print(f"ranks in brackets; {counts}, {prediction['dimension']} features at every cut;")
    print(f"{seconds['features']:.1f} s to compute features, {seconds['scores']:.1f} s to score them")
    print("what these numbers can and cannot say is in docs/where-to-cut.md; `yosinski advise` compares them with runs")
