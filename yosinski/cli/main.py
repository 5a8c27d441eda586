"""The command line. Exit status: 0 done, 1 something failed while running, 2 bad input, 130 stopped by Ctrl-C."""

import argparse
import io
import sys
from pathlib import Path
from typing import Any

from yosinski.cli import cluster, data, local, networks, records
from yosinski.cli import predict as predicting
from yosinski.data.look import one_look, usual_stores
from yosinski.data.place import FORMS, GEOMETRY
from yosinski.errors import BadInput, Failure
from yosinski.records import specs

METRICS = ["test_top1", "select_top1", "unseen_top1", "best10_top1"]


def main(argv: list[str] | None = None) -> int:
    """Run one command; errors are one line on stderr unless --debug."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no UTF-8
    options = parser().parse_args(argv)
    if getattr(options, "runs", None) is not None:
        specs.know_networks(options.runs)  # so that they can be asked for, whatever became of their files
    try:
        with one_look(getattr(options, "stores", None), lambda told: print(f"yosinski: {told}", file=sys.stderr)):
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

    def command(name: str, function: Any, help: str, among: Any = commands) -> argparse.ArgumentParser:
        sub = among.add_parser(name, help=help, description=help)
        sub.set_defaults(command=function)
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        return sub

    def with_runs(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="records (default: runs)")

    def with_stores(sub: argparse.ArgumentParser) -> None:
        told = "stores of images (default: $YOSINSKI_STORES, or stores)"
        sub.add_argument("--stores", type=Path, default=usual_stores(), metavar="DIR", help=told)

    def with_sweep(sub: argparse.ArgumentParser, also: str = "") -> None:
        names = "figure2, figure3, reduced, preserved, volume, transfer, paper"
        what = f"a sweep's name ({names}), or the path of a Python file"
        sub.add_argument("sweep", metavar="SWEEP", help=what + also)
        sub.add_argument(
            "-p", dest="parameters", metavar="NAME=VALUE", action="append", default=[], help="of the sweep"
        )
        sub.add_argument(
            "--data",
            dest="parameters",
            metavar="DATA",
            action="append",
            type="data={}".format,
            help="short for -p data=DATA: a data set, such as imagenet:PATH",
        )
        with_runs(sub)
        with_stores(sub)

    def with_workers(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
        sub.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
        sub.add_argument("--workers", type=int, metavar="N", help="packs at a time (default: GPUs, or cores)")

    def with_training(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--change-arithmetic", action="store_true", help="resume runs started with other arithmetic")

    def asking(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--yes", action="store_true", help="do not ask")

    plan = command("plan", local.show_plan, "what would run, what is done, and what it costs")
    with_sweep(plan)
    with_workers(plan)
    plan.add_argument("--json", action="store_true")

    run = command("run", local.run_sweep, "train what is left of a sweep, here")
    with_sweep(run)
    with_workers(run)
    with_training(run)
    run.add_argument(
        "--stop-when-sure",
        type=float,
        metavar="EPS",
        help="stop copies whose best choice would gain less than EPS in accuracy, as expected, by further training",
    )
    run.add_argument("--stale", action="store_true", help="also copies whose base was trained anew since")

    submit = command("submit", cluster.submit, "train what is left of a sweep, on a SLURM cluster")
    heal = command("heal", cluster.heal, "submit what failed, and what was waiting for it")
    for sub in (submit, heal):
        with_sweep(sub)
        with_training(sub)
        asking(sub)
        sub.add_argument("--dry-run", action="store_true", help="print the batch scripts and submit nothing")
    profile = "a name in slurm/profiles, or the path of a .toml file"
    submit.add_argument("--profile", required=True, metavar="PROFILE", help=profile)
    heal.add_argument("--profile", metavar="PROFILE", help=f"{profile} (default: that of the last submission)")

    status = command("status", cluster.status, "what became of every run")
    with_sweep(status, ", or a runs directory")
    status.add_argument("--json", action="store_true")
    status.add_argument(
        "--watch", type=float, nargs="?", const=10.0, metavar="SECONDS", help="look again every so often (default: 10)"
    )

    logs = command("logs", cluster.logs, "what the jobs of a run have written")
    logs.add_argument("run", metavar="RUN", help="a run's id, the beginning of it, or its name")
    with_runs(logs)

    cancel = command("cancel", cluster.cancel, "take jobs out of the queue; what they have trained is kept")
    with_sweep(cancel, ", or a runs directory, or a run's id")
    asking(cancel)

    export = command("export", networks.export_run, "the trained network of a run as a plain state dict, for elsewhere")
    export.add_argument("run", metavar="RUN", help="a run's id, the beginning of it, or its name")
    with_runs(export)
    export.add_argument("--out", type=Path, required=True, metavar="PATH", help="a .safetensors file")
    export.add_argument("--force", action="store_true", help="replace a file that is there")

    prune = command("prune", records.prune, "delete checkpoints and logs of finished runs, and what else is left over")
    with_runs(prune)
    with_stores(prune)
    asking(prune)

    merge = command("merge", records.merge, "bring the finished runs of other directories here")
    merge.add_argument("sources", type=Path, nargs="+", metavar="DIR", help="runs directories")
    with_runs(merge)

    def with_records(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--runs", type=Path, metavar="DIR", help="records (default: runs, or none with --paper)")
        sub.add_argument("--paper", action="store_true", help="the published networks of 2014, beside --runs if given")
        sub.add_argument("--sweep", metavar="NAME", help="only the runs of this sweep, missing ones included")
        sub.add_argument("--where", metavar="COLUMN=VALUE", action="append", default=[], help="only these rows")

    def with_metric(sub: argparse.ArgumentParser) -> None:
        what = "on which images; best10: mean of the 10 best evaluations (default: test_top1, with --paper best10_top1)"
        sub.add_argument("--metric", choices=METRICS, help=what)

    frame = command("frame", records.write_frame, "all records as one table: CSV or Parquet")
    with_records(frame)
    frame.add_argument("--out", type=Path, required=True, metavar="PATH", help="a .csv or .parquet file")

    draw = command("draw", records.draw_figures, "figures from records, from the published networks, or both")
    draw.add_argument("figures", metavar="FIGURE", nargs="+", help="2, 3, S1, preserved, curves or early")
    with_records(draw)
    draw.add_argument(
        "--out",
        type=Path,
        action="append",
        metavar="PATH",
        help="a .png, .pdf or .svg file, or a directory for all three (default: figures); may be given several times",
    )
    with_metric(draw)
    draw.add_argument("--run", dest="chosen", action="append", metavar="RUN", help="curves: a run's name or id")

    table = command("table", records.show_table, "a table from records, from the published networks, or both")
    table.add_argument("table", metavar="TABLE", help="1, bases, drops or health")
    with_records(table)
    with_metric(table)
    table.add_argument("--json", action="store_true")
    table.add_argument("--out", type=Path, metavar="PATH", help="also as a .csv or .json file")

    advise = command("advise", records.advise, "where to cut, and whether to freeze or fine-tune, with error bars")
    with_records(advise)
    what = "on which images choices are made (default: select_top1, published networks best10_top1)"
    advise.add_argument("--metric", choices=METRICS, help=what)
    advise.add_argument("--json", action="store_true")
    advise.add_argument(
        "--out",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="also as a .md, .json or .html file, or as a .py file with the sweep that would settle what is open;"
        " may be given several times",
    )

    early = command("early", records.show_early, "what stopping now would cost, from partial curves")
    with_records(early)
    early.add_argument("--at", metavar="TIME", help="a share of the training (0.33) or a step (150000)")
    early.add_argument(
        "--metric",
        choices=["select_top1", "best10_top1"],
        help="score so far: the last accuracy, or the mean of the 10 best (default: that of published networks only)",
    )
    early.add_argument("--json", action="store_true")
    early.add_argument(
        "--out", type=Path, action="append", default=[], metavar="PATH", help="also draw it: a .png, .pdf or .svg file"
    )

    predict = command("predict", predicting.predict, "rank the cuts of a base without training anything")
    either = "a base's id or name, or weights from outside: a file, torchvision[:NAME] or timm[:TAG]"
    predict.add_argument("--base", required=True, metavar="RUN|WEIGHTS", help=either)
    predict.add_argument("--network", metavar="NETWORK", help="that the weights from outside are of")
    predict.add_argument("--data", metavar="DATA", help="of the target (default: what the base was trained on)")
    predict.add_argument("--split", metavar="SPLIT", help="the target is a half of it (default: all classes)")
    predict.add_argument("--half", metavar="A|B", help="which one (default: B)")
    beside = "another base of the same network, as the target's own, for the similarity of both"
    predict.add_argument("--against", metavar="RUN|WEIGHTS", help=beside)
    predict.add_argument(
        "--predictors",
        action="append",
        default=[],
        metavar="NAME,...",
        help="knn, ridge, logistic, hscore, logme, transrate, cka_against, cka_untrained (default: all)",
    )
    most = "of each set, evenly per class (default: 6000); fewer are faster"
    predict.add_argument("--images", type=int, metavar="N", help=most)
    with_runs(predict)
    with_stores(predict)
    predict.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    predict.add_argument("--threads", type=int, metavar="N", help="of the forward pass (default: as many as cores)")
    predict.add_argument("--json", action="store_true")
    kinds = "also as a .csv, .json, .png, .pdf or .svg file; may be given several times"
    predict.add_argument("--out", type=Path, action="append", default=[], metavar="PATH", help=kinds)

    halves = command("halves", records.show_halves, "the classes of the halves of a split")
    splits = "random:SEED, natman, paper:0..3, paper:natman, groups:A/B, domains:A/B, or a .json file"
    halves.add_argument("split", metavar="SPLIT", help=splits)
    halves.add_argument(
        "--data", metavar="DATA", help="data set (default: emoji); imagenet alone means ILSVRC-2012's names, no images"
    )
    with_stores(halves)
    halves.add_argument("--json", action="store_true")

    cuts = command("cuts", networks.show_cuts, "where a network can be cut, and what lies between the cuts")
    forms = (
        "alexnet32, caffenet, a model of torchvision (resnet50) or timm (timm:xception41), or what a function or class"
        " in a file of yours makes (net.py:build); also for other images: resnet50@64"
    )
    cuts.add_argument("network", metavar="NETWORK", help=forms)
    cuts.add_argument("--outputs", type=int, default=1000, metavar="N", help="of the head (default: 1000)")
    with_runs(cuts)
    cuts.add_argument("--json", action="store_true")
    cuts.add_argument("--out", type=Path, metavar="PATH", help="also as a figure: a .png, .pdf or .svg file")

    about_data = "data sets and the stores of their images"
    data_commands = commands.add_parser("data", help=about_data, description=about_data)
    of_data = data_commands.add_subparsers(title="commands", metavar="COMMAND", required=True)
    store = command("store", data.store_data, "make the store of a data set, or go on making it", of_data)
    show = command("show", data.show_data, "what is known of a data set, and where its store lies", of_data)
    for sub in (store, show):
        sub.add_argument("data", metavar="DATA", help=f"one of {', '.join(FORMS)}; with a side: {GEOMETRY}")
        with_stores(sub)
    store.add_argument("--skip-broken", action="store_true", help="leave out broken images, and write down which")
    store.add_argument("--workers", type=int, metavar="N", help="processes (default: as many as cores)")
    asking(store)
    show.add_argument("--near", action="store_true", help="look for near duplicates in a store of many gigabytes, too")
    show.add_argument("--out", type=Path, metavar="PATH", help="draw a sheet of stored images: .png, .pdf or .svg")
    show.add_argument("--check", action="store_true", help="read the whole store and compare its checksums")
    show.add_argument("--json", action="store_true")
    return top


if __name__ == "__main__":
    sys.exit(main())
