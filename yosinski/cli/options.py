"""Commands of the command line, and options that several commands share."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import sweeps
from yosinski import files
from yosinski.data.reading import usual_stores
from yosinski.errors import choose


class Command(NamedTuple):
    """name: one word, or two for a command in a group; run: executes it; options: adds its options to a parser."""

    name: str
    help: str
    run: Callable[[argparse.Namespace], int | None]
    options: Callable[[argparse.ArgumentParser], None]


DEVICES = ("auto", "cpu", "cuda", "mps")
RUN = "a run's id, the beginning of it, or its name"


def with_runs(parser: argparse.ArgumentParser) -> None:
    """The directory of records."""
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="records (default: runs)")


def with_stores(parser: argparse.ArgumentParser) -> None:
    """The directory of stores."""
    text = "stores of images (default: $YOSINSKI_STORES, or stores)"
    parser.add_argument("--stores", type=Path, default=usual_stores(), metavar="DIR", help=text)


def with_sweep(parser: argparse.ArgumentParser, also: str = "") -> None:
    """A sweep with its parameters, and the directories of records and images."""
    text = f"a sweep's name ({', '.join(sweeps.SWEEPS)}), or the path of a Python file"
    parser.add_argument("sweep", metavar="SWEEP", help=text + also)
    parser.add_argument("-p", dest="parameters", metavar="NAME=VALUE", action="append", default=[], help="of the sweep")
    parser.add_argument(
        "--data",
        dest="parameters",
        metavar="DATA",
        action="append",
        type="data={}".format,
        help="short for -p data=DATA: a data set, such as imagenet:PATH",
    )
    with_runs(parser)
    with_stores(parser)


def with_workers(parser: argparse.ArgumentParser) -> None:
    """Number and kind of workers."""
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--workers", type=int, metavar="N", help="packs at a time (default: GPUs, or cores)")


def with_training(parser: argparse.ArgumentParser) -> None:
    """Options for training."""
    parser.add_argument("--change-arithmetic", action="store_true", help="resume runs started with other arithmetic")


def with_processes(parser: argparse.ArgumentParser) -> None:
    """Processes of a base."""
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="train each base in N processes, with a GPU (or core) each, which divide its batches (default: 1)",
    )


def asking(parser: argparse.ArgumentParser) -> None:
    """Option to skip the question."""
    parser.add_argument("--yes", action="store_true", help="do not ask")


def with_records(parser: argparse.ArgumentParser) -> None:
    """Selection of records."""
    parser.add_argument("--runs", type=Path, metavar="DIR", help="records (default: runs, or none with --paper)")
    parser.add_argument("--paper", action="store_true", help="the published networks of 2014, beside --runs if given")
    parser.add_argument(
        "--sweep",
        metavar="NAME",
        help="only the runs of this sweep, missing ones included: its name, or that of its file in RUNS/sweeps",
    )
    parser.add_argument("--where", metavar="COLUMN=VALUE", action="append", default=[], help="only these rows")


def with_metric(parser: argparse.ArgumentParser, help: str) -> None:
    """The metric."""
    from analysis.paired import METRICS

    parser.add_argument("--metric", choices=list(METRICS), help=help)


def with_matters(parser: argparse.ArgumentParser) -> None:
    """The difference that matters."""
    parser.add_argument(
        "--matters",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="differences below so many points of accuracy do not matter (default: %(default)g)",
    )


def check_out(paths: Iterable[Path | None], kinds: Mapping[str, Any] | tuple[str, ...]) -> None:
    """BadInput, before anything is computed, if one of --out is of another kind of file, or cannot be written."""
    for path in paths:
        if path is not None:
            choose(f"kind of file ({path})", path.suffix, kinds)
            files.check_writable(path)


def alternatives(names: list[str]) -> str:
    """Choices in a help text: "2, 3 or S1"."""
    return f"{', '.join(names[:-1])} or {names[-1]}"
