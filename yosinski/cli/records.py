"""frame, draw, table, early, advise, halves, prune, merge: commands for existing records."""

import argparse
import json
from pathlib import Path
from typing import Any

from yosinski.cli.options import (
    Command,
    alternatives,
    asking,
    check_out,
    with_matters,
    with_metric,
    with_records,
    with_runs,
    with_stores,
)
from yosinski.data.halves import FORMS
from yosinski.errors import BadInput, choose


def records_frame(options: argparse.Namespace) -> Any:
    """The frame for --paper, --runs, --sweep and --where.

    --paper alone reads only the published networks; with --runs it also reads records, which --sweep and --where
    select. Without both, records are read from `runs`.
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
    from analysis.frame import KINDS, write

    check_out([options.out], KINDS)
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
    for outs in figures.values():
        check_out(outs, METADATA)
        check_out([outs[0].with_suffix(".csv")], (".csv",))
    chosen = {"metric": options.metric, "runs": options.chosen}
    settings = {name: value for name, value in chosen.items() if value is not None}
    frame = records_frame(options)
    for figure, outs in figures.items():
        for path in draw(figure, frame, outs, **settings):
            print(path)


def show_table(options: argparse.Namespace) -> None:
    """`yosinski table`."""
    from analysis.tables import TABLES, table, write

    name = choose("table", options.table, TABLES)
    check_out([options.out], (".csv", ".json"))
    result = table(name, records_frame(options), options.metric)
    if options.out is not None:
        write(result, options.out)
    _print(result, options.json)
    if options.out is not None and not options.json:
        print(options.out)


def show_early(options: argparse.Namespace) -> None:
    """`yosinski early`."""
    from analysis.draw import METADATA, draw
    from analysis.early.table import early, stops

    check_out(options.out, METADATA)
    frame = records_frame(options)
    directory = None if options.paper and options.runs is None else options.runs or Path("runs")
    result = early(frame, options.at, options.metric, stops(directory) if directory else None)
    _print(result, options.json)
    if options.out:
        for path in draw("early", frame, options.out, metric=options.metric):
            if not options.json:
                print(path)


def _print(result: Any, as_json: bool) -> None:
    """Print a table of numbers, or JSON."""
    if as_json:
        print(result.as_json())
        return

    from rich.console import Console

    from analysis.advice.render import rich_table

    console = Console(highlight=False, width=200)  # wide enough for all digits on every terminal
    print(result.title)
    for rows in (result.shown, result.shown_pairs):
        if rows is not None and len(rows):
            console.print(rich_table(rows))
    for note in result.notes:
        print(note)


def advise(options: argparse.Namespace) -> None:
    """`yosinski advise`."""
    from rich.console import Console

    from analysis.advice import render
    from analysis.advice.report import advise

    check_out(options.out, render.KINDS)
    table = records_frame(options)
    directory = None if options.paper and options.runs is None else options.runs or Path("runs")
    groups = {name: _groups(name) for name in table["data"].dropna().unique()}
    result = advise(table, options.metric, directory, groups, options.matters)
    written = {path: render.write(result, path) for path in options.out}
    if options.json:
        print(result.as_json())
        return
    render.on_terminal(result, Console(highlight=False, width=200))
    for path, is_written in written.items():
        print(path if is_written else f"{path} not written: nothing is open that a sweep could settle")


GROUPED = ("emoji", "cifar100", "tinyimagenet")  # data sets with groups of classes


def _groups(text: str) -> dict[str, str]:
    """The group of every class of a data set, if it is known without images."""
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
    from yosinski.cli.texts import of_ceiling
    from yosinski.data import find
    from yosinski.data.halves import split
    from yosinski.data.sources import synsets

    text = options.data or ("imagenet" if options.split.startswith("paper:") else "emoji")
    card = synsets.card() if text == "imagenet" else find.card(text)  # class names need no images
    halves = split(card, options.split)
    if options.json:
        print(json.dumps({"A": halves.a.classes, "B": halves.b.classes}))
        return
    for half in (halves.a, halves.b):
        how = "drawn by" if half.data == "emoji" else "in" if half.reads == "texts" else "input"
        domains = f", {how} {', '.join(half.domain)}" if half.domain else ""
        digest = f" ({half.digest})" if half.fingerprint else ""
        print(f"{half.letter}{digest}: {len(half.classes)} classes of {half.data}{domains}")
        print("  " + ", ".join(half.classes))
        if half.reads == "texts" and (line := of_ceiling(half)):
            print(f"  {line}")


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
        cluster.check_there()  # only the queue knows which jobs may still write
    jobs = cluster.elements([submission.name for submission in sent]) if sent else {}
    live = {submission.token for submission in sent if any(job.live for job in jobs[submission.name].values())}
    leftovers = prunable(options.runs, live, stores=options.stores)
    for what, sizes in sorted(by_reason(leftovers).items()):
        print(f"{len(sizes)} x {what}: {sum(sizes) / 1e6:.1f} MB")
    if not leftovers:
        print("nothing to prune")
    elif confirmed("delete?", options):
        delete(options.runs, live, leftovers, options.stores)
    return 0


def merge(options: argparse.Namespace) -> int:
    """`yosinski merge`."""
    from sweeps.running.merge import merge

    print(merge(options.sources, options.runs))
    return 0


def _for_frame(parser: argparse.ArgumentParser) -> None:
    with_records(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="a .csv or .parquet file")


def _with_measured(parser: argparse.ArgumentParser) -> None:
    text = "on which images; best10: mean of the 10 best evaluations (default: test_top1, with --paper best10_top1)"
    with_metric(parser, text)


def _for_draw(parser: argparse.ArgumentParser) -> None:
    from analysis.draw import FIGURES

    parser.add_argument("figures", metavar="FIGURE", nargs="+", help=alternatives(list(FIGURES)))
    with_records(parser)
    parser.add_argument(
        "--out",
        type=Path,
        action="append",
        metavar="PATH",
        help="a .png, .pdf or .svg file, or a directory for all three (default: figures); may be given several times",
    )
    _with_measured(parser)
    parser.add_argument("--run", dest="chosen", action="append", metavar="RUN", help="curves: a run's name or id")


def _for_table(parser: argparse.ArgumentParser) -> None:
    from analysis.tables import TABLES

    parser.add_argument("table", metavar="TABLE", help=alternatives(list(TABLES)))
    with_records(parser)
    _with_measured(parser)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, metavar="PATH", help="also as a .csv or .json file")


def _for_advise(parser: argparse.ArgumentParser) -> None:
    with_records(parser)
    with_metric(parser, "on which images choices are made (default: select_top1, published networks best10_top1)")
    with_matters(parser)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--out",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="also as a .md, .json or .html file, or as a .py file with the sweep that would settle what is open;"
        " may be given several times",
    )


def _for_early(parser: argparse.ArgumentParser) -> None:
    from analysis.early.model import METRICS

    with_records(parser)
    parser.add_argument("--at", metavar="TIME", help="a share of the training (0.33) or a step (150000)")
    parser.add_argument(
        "--metric",
        choices=list(METRICS),
        help="score so far: the last accuracy, or the mean of the 10 best (default: that of published networks only)",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--out", type=Path, action="append", default=[], metavar="PATH", help="also draw it: a .png, .pdf or .svg file"
    )


def _for_halves(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("split", metavar="SPLIT", help=alternatives([*FORMS, "a .json file"]))
    parser.add_argument(
        "--data", metavar="DATA", help="data set (default: emoji); imagenet alone means ILSVRC-2012's names, no images"
    )
    with_stores(parser)
    parser.add_argument("--json", action="store_true")


def _for_prune(parser: argparse.ArgumentParser) -> None:
    with_runs(parser)
    with_stores(parser)
    asking(parser)


def _for_merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", type=Path, nargs="+", metavar="DIR", help="runs directories")
    with_runs(parser)


COMMANDS = (
    Command("frame", "all records as one table: CSV or Parquet", write_frame, _for_frame),
    Command("draw", "figures from records, from the published networks, or both", draw_figures, _for_draw),
    Command("table", "a table from records, from the published networks, or both", show_table, _for_table),
    Command("advise", "where to cut, and whether to freeze or fine-tune, with error bars", advise, _for_advise),
    Command("early", "what stopping now would cost, from partial curves", show_early, _for_early),
    Command("halves", "the classes of the halves of a split", show_halves, _for_halves),
    Command("prune", "delete checkpoints and logs of finished runs, and what else is left over", prune, _for_prune),
    Command("merge", "bring the finished runs of other directories here", merge, _for_merge),
)
