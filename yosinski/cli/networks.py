"""cuts, export: commands for the cuts of a network, and for the use of trained networks elsewhere."""

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from yosinski.cli.options import RUN, Command, check_out, with_runs
from yosinski.errors import BadInput, choose
from yosinski.experiment.run import Run
from yosinski.networks.architectures import ARCHITECTURES
from yosinski.networks.catalogue import architecture, name_of
from yosinski.networks.encoders.known import is_encoder
from yosinski.networks.texts.textnet import TOKENS


def show_cuts(options: argparse.Namespace) -> int:
    """`yosinski cuts`."""
    if options.outputs < 1:
        raise BadInput(f"--outputs must be at least 1, not {options.outputs}")
    if options.out is not None:
        from analysis.draw import METADATA

        check_out([options.out], METADATA)
    network = name_of(options.network)
    described = architecture(network)
    rows = described.costs(options.outputs)
    if options.json:
        cuts = [{"n": n, **asdict(row)} for n, row in enumerate(rows[:-1], 1)]
        content = {"network": network, "side": described.side, "left_off": described.left_off}
        if described.reads == "texts":
            content |= {"vocabulary": described.vocabulary, "length": described.length}
        print(json.dumps({**content, "cuts": cuts, "head": asdict(rows[-1])}))
    else:
        _print(network, options.outputs)
    if options.out is not None:
        import pandas as pd

        from analysis.draw import save
        from analysis.figures import cuts as figure

        table = pd.DataFrame([{**asdict(row), "features": math.prod(row.shape)} for row in rows])
        table.insert(0, "n", [*range(1, len(rows)), None])
        save(figure.draw(table, f"{network}, {seen(described)}"), [options.out])
        if not options.json:
            print(options.out)
    return 0


def export_run(options: argparse.Namespace) -> int:
    """`yosinski export`."""
    from yosinski.records import specs

    if options.out.suffix:  # an encoder is exported as a directory
        check_out([options.out], (".safetensors",))
    run = specs.load(options.runs, specs.find(options.runs, options.run))
    task = task_of(run, options.run, options.task)
    if is_encoder(run.network):
        from yosinski.pretrained import directories

        directories.check(options.out, options.force)
    else:
        check_out([options.out], (".safetensors",))
        if options.out.exists() and not options.force:
            raise BadInput(f"{options.out} is there already; --force replaces it")
    from yosinski.pretrained.export import export

    export(options.runs, run, options.out, task)
    print(options.out)
    return 0


def task_of(run: Run, text: str, letter: str | None) -> int:
    """The number of the task that is named by itself, or at the end of a run's name (AB3B); 0: the run's half."""
    names = [run.tasks[k].name for k in run.scored]
    if letter is not None:
        return run.scored[names.index(choose(f"task of {run}", letter, names))]
    return next((k for k in run.scored if text == run.named(str(run.cut), k)), 0)


def seen(described: Any) -> str:
    """What a network sees of an example."""
    if described.reads == "texts":
        return (
            f"texts of at most {described.length} tokens with {described.vocabulary:,} ids (FLOPs: of {TOKENS} tokens)"
        )
    return f"{described.side} x {described.side} pixels"


def _print(network: str, outputs: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from yosinski.cli.display import large

    described = architecture(network)
    rows = described.costs(outputs)
    parameters, flops = sum(row.parameters for row in rows), sum(row.flops for row in rows)
    print(
        f"{network}: {len(rows) - 1} cuts; {seen(described)}, {large(parameters)} parameters, "
        f"{large(flops)} FLOPs per {'text' if described.reads == 'texts' else 'image'} with {outputs} outputs"
    )
    if described.left_off:
        print(f"left off: {', '.join(described.left_off)}")
    shown = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    shown.add_column("n", justify="right")
    shown.add_column("segment", no_wrap=True)
    for column in ("parameters", "up to here", "FLOPs", "up to here", "output"):
        shown.add_column(column, justify="right", no_wrap=True)
    below = [0, 0]
    for n, row in enumerate(rows, 1):
        below = [below[0] + row.parameters, below[1] + row.flops]
        shares = [f"{100 * part / whole:.1f} %" for part, whole in zip(below, (parameters, flops), strict=True)]
        costs = large(row.parameters), shares[0], large(row.flops), shares[1]
        shown.add_row(str(n) if n < len(rows) else "", row.name, *costs, " x ".join(map(str, row.shape)))
    Console(highlight=False, width=200).print(shown)


NETWORKS = (
    f"{', '.join(ARCHITECTURES)}, textnet, a model of torchvision (resnet50) or timm (timm:xception41), or what a "
    "function or class in a file of yours makes (net.py:build); also for other images: resnet50@64; for texts hf:PATH, "
    "a directory as transformers saves it"
)


def _for_cuts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", metavar="NETWORK", help=NETWORKS)
    parser.add_argument("--outputs", type=int, default=1000, metavar="N", help="of the head (default: 1000)")
    with_runs(parser)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, metavar="PATH", help="also as a figure: a .png, .pdf or .svg file")


def _for_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=RUN)
    with_runs(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="PATH", help="a .safetensors file; a directory for hf:PATH"
    )
    parser.add_argument("--task", metavar="TASK", help="of a joint network: B of AB3A (default: the run's own, A)")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")


COMMANDS = (
    Command("cuts", "where a network can be cut, and what lies between the cuts", show_cuts, _for_cuts),
    Command("export", "the trained network of a run as a plain state dict, for elsewhere", export_run, _for_export),
)
