"""The command line. Exit status: 0 done, 1 something failed while running, 2 bad input, 130 stopped by Ctrl-C."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from yosinski.spec import BadInput, Failure, choose, digest


def main(argv: list[str] | None = None) -> int:
    """Run one command; errors are one line on stderr unless --debug."""
    options = parser().parse_args(argv)
    try:
        return options.command(options) or 0
    except BadInput as error:
        status, message = 2, str(error)
        if options.debug:
            raise
    except Failure as error:
        status, message = 1, str(error)
        if options.debug:
            raise
    except KeyboardInterrupt:
        status, message = 130, "stopped; the same command goes on"
    except BrokenPipeError:
        return 1
    except Exception as error:
        status, message = 1, f"{type(error).__name__}: {error} (--debug shows where)"
        if options.debug:
            raise
    print(f"yosinski: {message}", file=sys.stderr)
    return status


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="yosinski", description=sys.modules["yosinski"].__doc__)
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, function: Any, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=function)
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        return sub

    def with_sweep(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("sweep", metavar="SWEEP", help="a name (figure2), or the path of a Python file with a sweep")
        sub.add_argument(
            "-p", dest="parameters", metavar="NAME=VALUE", action="append", default=[], help="of the sweep"
        )
        sub.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="records (default: runs)")
        sub.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
        sub.add_argument("--workers", type=int, metavar="N", help="packs at a time (default: GPUs, or cores)")

    plan = command("plan", show_plan, "what would run, what is done, and what it costs")
    with_sweep(plan)
    plan.add_argument("--json", action="store_true")

    run = command("run", run_sweep, "train what is left of a sweep, here")
    with_sweep(run)
    run.add_argument("--stores", type=Path, default=Path("stores"), metavar="DIR", help="data (default: stores)")
    run.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    run.add_argument("--change-arithmetic", action="store_true", help="resume runs started with other arithmetic")

    def with_records(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="records (default: runs)")
        sub.add_argument("--sweep", metavar="NAME", help="only the runs of this sweep, missing ones included")
        sub.add_argument("--where", metavar="COLUMN=VALUE", action="append", default=[], help="only these rows")

    frame = command("frame", write_frame, "all records as one table: CSV or Parquet")
    with_records(frame)
    frame.add_argument("--out", type=Path, required=True, metavar="PATH", help="a .csv or .parquet file")

    draw = command("draw", draw_figure, "a figure from records")
    draw.add_argument("figure", metavar="FIGURE", help="2 or curves")
    with_records(draw)
    draw.add_argument(
        "--out",
        type=Path,
        action="append",
        metavar="PATH",
        help="a .png, .pdf or .svg file; may be given several times",
    )
    draw.add_argument("--metric", choices=["test_top1", "select_top1", "unseen_top1"], help="figure 2: on which images")
    draw.add_argument("--run", dest="chosen", action="append", metavar="RUN", help="curves: a run's name or id")

    halves = command("halves", show_halves, "the classes of the halves of a split")
    halves.add_argument("split", metavar="SPLIT", help="random:SEED, natman, groups:A/B, domains:A/B, or a .json file")
    halves.add_argument("--data", default="emoji", help="data set (default: emoji)")
    halves.add_argument("--json", action="store_true")
    return top


def planned(options: argparse.Namespace) -> tuple[Any, dict[str, Any], list[int | None]]:
    """The plan of the sweep that was asked for, its parameters, and the workers."""
    import sweeps
    from sweeps.local import workers
    from sweeps.plan import plan

    sweep = sweeps.find(options.sweep)
    given = sweeps.arguments(sweep, options.parameters)
    devices = workers(options.device, options.workers)
    try:
        runs = sweep(**given)
    except TypeError as error:
        if options.debug:
            raise
        raise BadInput(f"sweep {options.sweep}: {error}") from error
    return plan(runs, options.runs, len(devices)), sweeps.describe(sweep, given), devices


def show_plan(options: argparse.Namespace) -> int:
    """`yosinski plan`."""
    plan, parameters, _ = planned(options)
    if options.json:
        print(json.dumps({"sweep": options.sweep, "parameters": parameters, **plan.as_json()}, indent=1))
        return 0
    from rich.console import Console

    from sweeps import display

    console = Console()
    console.print(display.table(plan))
    console.print(display.summary(plan), highlight=False, soft_wrap=True)
    return 0


def run_sweep(options: argparse.Namespace) -> int:
    """`yosinski run`."""
    import signal

    from rich.console import Console

    from sweeps import display
    from sweeps.local import check_writable, run_here
    from yosinski import data, files, records
    from yosinski.data import store
    from yosinski.environment import Where

    check_writable(options.runs)
    try:
        plan, parameters, devices = planned(options)
    except files.Damaged as damaged:
        aside = files.set_aside(damaged.path)
        raise BadInput(
            f"{damaged}; it was set aside as {aside.name}, the same command trains the run anew"
        ) from damaged
    console = Console()
    name = Path(options.sweep).stem
    files.write_json(
        options.runs / "sweeps" / f"{name}-{digest(parameters)}.json",
        {
            "sweep": name,
            "parameters": parameters,
            "runs": [{"id": run.id, "name": run.name, "spec": run.spec} for run in plan.runs],
        },
    )
    for run in plan.runs:
        records.enrol(options.runs, run)
    console.print(display.summary(plan), highlight=False, soft_wrap=True)
    if not plan.left:
        return 0
    for card in {run.half.data: data.card(run.half.data) for run in plan.left}.values():
        if not store.location(card, options.stores).exists():
            with console.status(f"drawing the images of {card.name}"):
                store.make(card, options.stores)

    def stop(*_: object) -> None:
        console.print("stopping: the running packs save their checkpoints ...")
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    where = Where(
        options.runs.absolute(),
        options.stores.absolute(),
        options.device,
        options.precision,
        change_arithmetic=options.change_arithmetic,
    )
    turns = run_here(plan, where, devices)
    try:
        queue = display.follow(plan, turns, console)
    finally:
        turns.close()
    console.print(display.outcome(plan, options.runs), highlight=False, soft_wrap=True)
    if queue is not None and queue.failures:
        raise Failure(f"{len(queue.failures)} pack(s) failed: " + " | ".join(queue.failures))
    return 0


def records_frame(options: argparse.Namespace) -> Any:
    """The frame that --runs, --sweep and --where ask for."""
    from analysis import frame

    for text in options.where:
        if "=" not in text:
            raise BadInput(f"--where {text!r} must be given as column=value")
    return frame(options.runs, options.sweep, dict(text.split("=", 1) for text in options.where))


def write_frame(options: argparse.Namespace) -> None:
    """`yosinski frame`."""
    from analysis.frame import write

    table = records_frame(options)
    write(table, options.out)
    print(f"{options.out}: {len(table)} rows, {len(table.columns)} columns")


def draw_figure(options: argparse.Namespace) -> None:
    """`yosinski draw`."""
    from analysis.draw import FIGURES, draw

    figure = choose("figure", options.figure, FIGURES)
    chosen = {"metric": options.metric, "runs": options.chosen}
    given = {name: value for name, value in chosen.items() if value is not None}
    outs = options.out or [Path("figures") / f"{'figure' if figure.isdecimal() else ''}{figure}.png"]
    for path in draw(figure, records_frame(options), outs, **given):
        print(path)


def show_halves(options: argparse.Namespace) -> None:
    """`yosinski halves`."""
    from yosinski import data
    from yosinski.halves import split

    halves = split(data.card(options.data), options.split)
    if options.json:
        print(json.dumps({"A": halves.a.classes, "B": halves.b.classes}))
        return
    for half in (halves.a, halves.b):
        drawn = f", drawn by {', '.join(half.domain)}" if half.domain else ""
        print(f"{half.letter} ({half.digest}): {len(half.classes)} classes of {half.data}{drawn}")
        print("  " + ", ".join(half.classes))


if __name__ == "__main__":
    sys.exit(main())
