"""frame, draw, table, early, advise, halves; prune and merge: on records that are there."""

import argparse
import json
from pathlib import Path
from typing import Any

from yosinski.errors import BadInput, choose


def records_frame(options: argparse.Namespace) -> Any:
    """The frame that --paper, --runs, --sweep and --where ask for.

    --paper alone reads the published networks and nothing else; with --runs, too, records come beside them, and --sweep
    and --where choose among the records. Without either, records are read from `runs`.
    """
    from analysis import frame

    for text in options.where:
        if "=" not in text:
            raise BadInput(f"--where {text!r} must be given as column=value")
    where = dict(text.split("=", 1) for text in options.where)
    if not options.paper:
        return frame(options.runs or Path("runs"), options.sweep, where)
    import pandas as pd

    from analysis.paper import networks

    if options.runs is None:
        if options.sweep is not None:
            raise BadInput("--sweep chooses among records: give --runs DIR beside --paper")
        return networks(where)
    return pd.concat([networks(), frame(options.runs, options.sweep, where)], ignore_index=True)


def write_frame(options: argparse.Namespace) -> None:
    """`yosinski frame`."""
    from analysis.frame import write

    table = records_frame(options)
    write(table, options.out)
    print(f"{options.out}: {len(table)} rows, {len(table.columns)} columns")


def draw_figures(options: argparse.Namespace) -> None:
    """`yosinski draw`."""
    from analysis.draw import FIGURES, METADATA, draw

    figures = {choose("figure", figure, FIGURES): list[Path]() for figure in options.figures}
    for out in options.out or [Path("figures")]:
        if out.suffix and len(figures) > 1:
            raise BadInput(f"several figures do not fit into {out}: give a directory to --out")
        for figure, outs in figures.items():
            name = f"{'figure' if figure.isdecimal() else ''}{figure}"
            outs += [out] if out.suffix else [out / f"{name}{kind}" for kind in METADATA]
    chosen = {"metric": options.metric, "runs": options.chosen}
    given = {name: value for name, value in chosen.items() if value is not None}
    frame = records_frame(options)
    for figure, outs in figures.items():
        for path in draw(figure, frame, outs, **given):
            print(path)


def show_table(options: argparse.Namespace) -> None:
    """`yosinski table`."""
    from analysis.tables import TABLES, table, write

    name = choose("table", options.table, TABLES)
    if options.out is not None:
        choose("kind of file", options.out.suffix, (".csv", ".json"))
    made = table(name, records_frame(options), options.metric)
    if options.out is not None:
        write(made, options.out)
    _print(made, options.json)
    if options.out is not None and not options.json:
        print(options.out)


def show_early(options: argparse.Namespace) -> None:
    """`yosinski early`."""
    from analysis.draw import check_kind, draw
    from analysis.early.table import early, stops

    for out in options.out:
        check_kind(out)
    frame = records_frame(options)
    directory = None if options.paper and options.runs is None else options.runs or Path("runs")
    made = early(frame, options.at, options.metric, stops(directory) if directory else None)
    _print(made, options.json)
    if options.out:
        for path in draw("early", frame, options.out, metric=options.metric):
            if not options.json:
                print(path)


def _print(made: Any, as_json: bool) -> None:
    """A table of numbers for people, or as JSON."""
    if as_json:
        print(made.as_json())
        return

    from rich.console import Console

    from analysis.advice.render import rich_table

    console = Console(highlight=False, width=200)  # digits are never cut off, whatever the terminal
    print(made.title)
    for rows in (made.shown, made.shown_pairs):
        if rows is not None and len(rows):
            console.print(rich_table(rows))
    for note in made.notes:
        print(note)


def advise(options: argparse.Namespace) -> None:
    """`yosinski advise`."""
    from rich.console import Console

    from analysis.advice import render
    from analysis.advice.report import advise

    for path in options.out:
        choose(f"kind of file ({path})", path.suffix, render.KINDS)
    table = records_frame(options)
    directory = None if options.paper and options.runs is None else options.runs or Path("runs")
    groups = {name: _groups(name) for name in table["data"].dropna().unique()}
    made = advise(table, options.metric, directory, groups)
    written = {path: render.write(made, path) for path in options.out}
    if options.json:
        print(made.as_json())
        return
    render.on_terminal(made, Console(highlight=False, width=200))
    for path, there in written.items():
        print(path if there else f"{path} not written: nothing is open that a sweep could settle")


GROUPED = ("emoji", "cifar100", "tinyimagenet")  # data sets whose classes have groups


def _groups(text: str) -> dict[str, str]:
    """The group of every class of a data set, as far as that is known without its images."""
    from yosinski.data import find
    from yosinski.data.sources import synsets

    if text.startswith("imagenet"):
        card = synsets.card()
    elif text.startswith(GROUPED):
        try:
            card = find.card(text)
        except BadInput:
            return {}
    else:
        return {}
    return dict(zip(card.classes, card.groups, strict=False))


def show_halves(options: argparse.Namespace) -> None:
    """`yosinski halves`."""
    from yosinski.data import find
    from yosinski.data.halves import split
    from yosinski.data.sources import synsets

    text = options.data or ("imagenet" if options.split.startswith("paper:") else "emoji")
    card = synsets.card() if text == "imagenet" else find.card(text)  # for names alone nobody needs images
    halves = split(card, options.split)
    if options.json:
        print(json.dumps({"A": halves.a.classes, "B": halves.b.classes}))
        return
    for half in (halves.a, halves.b):
        drawn = f", drawn by {', '.join(half.domain)}" if half.domain else ""
        known = f" ({half.digest})" if half.fingerprint else ""
        print(f"{half.letter}{known}: {len(half.classes)} classes of {half.data}{drawn}")
        print("  " + ", ".join(half.classes))


def prune(options: argparse.Namespace) -> int:
    """`yosinski prune`."""
    from slurm import cluster
    from slurm.prune import by_reason, prunable
    from slurm.prune import prune as delete
    from slurm.submission import submissions
    from yosinski.cli.prepare import confirmed

    if not options.runs.is_dir():
        raise BadInput(f"no runs directory {options.runs}")
    sent = submissions(options.runs)
    if sent:
        cluster.check_there()  # only the queue knows which of these jobs may still write
    jobs = cluster.elements([submission.name for submission in sent]) if sent else {}
    live = {submission.token for submission in sent if any(job.live for job in jobs[submission.name].values())}
    found = prunable(options.runs, live, stores=options.stores)
    for what, sizes in sorted(by_reason(found).items()):
        print(f"{len(sizes)} x {what}: {sum(sizes) / 1e6:.1f} MB")
    if not found:
        print("nothing to prune")
    elif confirmed("delete?", options):
        delete(options.runs, live, found, options.stores)
    return 0


def merge(options: argparse.Namespace) -> int:
    """`yosinski merge`."""
    from sweeps.merge import merge

    print(merge(options.sources, options.runs))
    return 0
