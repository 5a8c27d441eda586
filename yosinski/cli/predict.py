"""predict: rank the cuts of a base without training."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yosinski.cli.options import DEVICES, Command, check_out, with_runs, with_stores
from yosinski.cli.prepare import with_store
from yosinski.cli.similarity import similarity
from yosinski.data.half import Half
from yosinski.errors import BadInput, choose
from yosinski.experiment.run import Run
from yosinski.networks.catalogue import architecture, name_of

KINDS = (".csv", ".json", ".png", ".pdf", ".svg")


def predict(options: argparse.Namespace) -> int:
    """`yosinski predict`."""
    from rich.console import Console

    from yosinski.data import find
    from yosinski.environment import Where, cores
    from yosinski.prediction import ranking, scores
    from yosinski.pretrained import outside

    check_out(options.out, KINDS)
    for name, least in (("threads", 1), ("images", 2)):
        if getattr(options, name) is not None and getattr(options, name) < least:
            raise BadInput(f"--{name} must be at least {least}, not {getattr(options, name)}")
    if options.sweep:
        check_alone(options)
        given = {"data": options.data, "network": options.network}
        options.parameters += [f"{name}={value}" for name, value in given.items() if value]
        return similarity(options)
    if not options.base:
        raise BadInput("name a base with --base, or a sweep of networks that share: fuse or branch")
    if options.parameters:
        raise BadInput("-p is for a sweep, and none is named")
    network = options.network and name_of(options.network)
    source = meant(options.base, network, options.runs)
    against = meant(options.against, source.network, options.runs) if options.against else None
    lacking = ranking.lacking(source, against)
    names = scores.chosen([name for text in options.predictors for name in text.split(",")], lacking)
    target = asked(options, source)
    console = Console(stderr=True)
    for run in outside.bases([source, against] if against else [source]):
        outside.bring(run, options.runs)
    base = ranking.base(source, options.runs)
    other = ranking.base(against, options.runs) if against else None
    for each_base in (base, other or base):
        ranking.check_images(each_base, target, find.card(target.data))
    with_store(target, options.stores, console)
    where = Where(options.runs, options.stores, options.device, "float32", options.threads or cores())
    with console.status(f"looking at {target.data} with {source}"):
        prediction = ranking.predict(base, target, where, names, other, options.images or ranking.IMAGES)
    for path in options.out:
        write(prediction, path, title(source, target))
    if options.json:
        print(json.dumps(prediction, indent=1))
        return 0
    show(prediction, title(source, target), {} if options.predictors else lacking)
    for path in options.out:
        print(path)
    return 0


def check_alone(options: argparse.Namespace) -> None:
    """BadInput for options that are about one base, beside a sweep."""
    for name in ("base", "split", "half", "against", "predictors"):
        if getattr(options, name):
            raise BadInput(f"--{name} is about a single base, and sweep {options.sweep} names bases by itself")


def meant(text: str, network: str | None, runs: Path) -> Run:
    """The base for a text: a finished run, by id or name, or weights from outside.

    Paths and names of libraries mean weights, which need `network`.
    """
    from yosinski.pretrained import outside
    from yosinski.pretrained.source import LIBRARIES
    from yosinski.records import specs, states

    if text.partition(":")[0] in LIBRARIES or set(text) & set("./:"):
        if network is None:
            raise BadInput(f"{text} names weights: say of which network, with --network")
        return outside.base(network, outside.described(network, text))
    run = specs.load(runs, specs.find(runs, text))
    if network not in (None, run.network):
        raise BadInput(f"{run} is of {run.network}, not of {network}")
    if not run.is_base:
        raise BadInput(f"{run} is a copy; give the id of a base")
    state = states.state(specs.folder(runs, run.id))
    if state != "done":
        raise BadInput(f"{run} is {state}: only a base that is done can be judged")
    return run


def asked(options: argparse.Namespace, source: Run) -> Half:
    """The target: a half of --split, or all classes; in --data, or in the base's own data set."""
    from sweeps import transfer
    from sweeps.grid import card_for, half_named
    from yosinski.data import find
    from yosinski.pretrained import outside

    if options.data is None and not source.is_trained:
        raise BadInput(f"{source} was trained elsewhere: give the images of the target with --data")
    if options.split is None and options.half is not None:
        raise BadInput("--half chooses one half of a split: give --split, too")
    data = options.data or source.half.data
    if source.is_trained:
        card = card_for(data, source.network)
    else:
        card = find.card(transfer.suited(data, source.network, outside.behind(source)))
    letter = choose("half", options.half or "B", ("A", "B"))
    return half_named(card, f"{options.split}:{letter}" if options.split else "all")


def title(base: Run, target: Half) -> str:
    """The question: "baseA (0a23d2ba) cut for half B of random:0 of emoji"."""
    half = "all classes" if target.split == "all" else f"half {target.letter} of {target.split}"
    return f"{base} cut for {half} of {target.data}"


def write(prediction: dict[str, Any], path: Path, title: str) -> None:
    """Write the prediction as .json, its scores as .csv, or a figure."""
    from analysis.advice import predictors
    from analysis.draw import save
    from yosinski import files

    if path.suffix == ".json":
        files.write_json(path, prediction)
    elif path.suffix == ".csv":
        path.parent.mkdir(parents=True, exist_ok=True)
        predictors.rows(prediction).to_csv(path, index=False)
    else:
        save(predictors.draw(predictors.rows(prediction), title), [path])


def show(prediction: dict[str, Any], title: str, lacking: Mapping[str, str]) -> None:
    """Print a table of scores with ranks, the data behind them, and why other predictors are missing."""
    import pandas as pd
    from rich.console import Console

    from analysis.advice import predictors
    from analysis.advice.render import rich_table

    rows = predictors.rows(prediction)
    ranks = rows.groupby("predictor")["score"].rank(ascending=False, method="min").astype(int)
    texts = [f"{'[bold]' * (k == 1)}{score:.4g} ({k})" for score, k in zip(rows["score"], ranks, strict=True)]
    shown: Any = rows.assign(text=texts).pivot_table(
        index=["n", "cut"], columns="predictor", values="text", aggfunc="first", sort=False
    )
    print(title)
    console = Console(highlight=False, width=200)  # wide enough for all digits on every terminal
    console.print(rich_table(pd.DataFrame(shown.reset_index())))
    examples = "texts" if architecture(prediction["network"]).reads == "texts" else "images"
    counts = " and ".join(
        f"{number['used']:,} {name} {examples}" + (f" of {number['of']:,}" if number["used"] < number["of"] else "")
        for name, number in prediction["images"].items()
    )
    seconds = prediction["seconds"]
    print(f"ranks in brackets; {counts}, {prediction['dimension']} features at every cut;")
    print(f"{seconds['features']:.1f} s to compute features, {seconds['scores']:.1f} s to score them")
    for name, why in lacking.items():
        print(f"no {name}: {why}")
    print("what these numbers can and cannot say is in docs/where-to-cut.md; `yosinski advise` compares them with runs")


def _for_predict(parser: argparse.ArgumentParser) -> None:
    from yosinski.prediction.scores import PREDICTORS

    either = "a base's id or name, or weights from outside: a file, torchvision[:NAME] or timm[:TAG]"
    shares = "of networks that share, fuse or branch: how alike its single networks are, in place of --base"
    parser.add_argument("sweep", nargs="?", metavar="SWEEP", help=shares)
    parser.add_argument("-p", dest="parameters", metavar="NAME=VALUE", action="append", default=[], help="of the sweep")
    parser.add_argument("--base", metavar="RUN|WEIGHTS", help=either)
    parser.add_argument(
        "--network", metavar="NETWORK", help="that the weights from outside are of, or that of the sweep"
    )
    parser.add_argument(
        "--data", metavar="DATA", help="of the target (default: what the base was trained on), or of the sweep"
    )
    parser.add_argument("--split", metavar="SPLIT", help="the target is a half of it (default: all classes)")
    parser.add_argument("--half", metavar="A|B", help="which one (default: B)")
    beside = "another base of the same network, as the target's own, for the similarity of both"
    parser.add_argument("--against", metavar="RUN|WEIGHTS", help=beside)
    parser.add_argument(
        "--predictors",
        action="append",
        default=[],
        metavar="NAME,...",
        help=f"{', '.join(PREDICTORS)} (default: all)",
    )
    most = "of each set, evenly per class (default: 6000); fewer are faster"
    parser.add_argument("--images", type=int, metavar="N", help=most)
    with_runs(parser)
    with_stores(parser)
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--threads", type=int, metavar="N", help="of the forward pass (default: as many as cores)")
    parser.add_argument("--json", action="store_true")
    kinds = "also as a .csv, .json, .png, .pdf or .svg file; may be given several times"
    parser.add_argument("--out", type=Path, action="append", default=[], metavar="PATH", help=kinds)


COMMANDS = (Command("predict", "rank cuts, or places to share, without training anything", predict, _for_predict),)
