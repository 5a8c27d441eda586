"""What a grid takes here, beside plain PyTorch and beside a tuned version of it.

    python benchmarks/plain.py [--rounds 3] [--epochs 4] [--cuts 1 2 3 4 5 6 7]

trains bases A and B of emoji and the copies AnB and AnB+ at these cuts, interleaved in each round, in float32:

plain: ImageFolder of PNGs, a DataLoader with a worker per core, transforms v2, one network at a time with all cores
tuned: pixels in memory, crops by index, channels last, frozen segments without gradients, a process per core
here:  `run_pack`, a process per core, packs as plans divide them; reading, evaluation and records included

All have the same network, pictures and batches of 128, as many steps, and evaluate as often: select images after every
second epoch, as the recipe does, and test images and those of unseen artists at the end. Each way has processes of its
own, so that none works with what another has set in them. Ratios are of processor seconds, which count where others use
the machine; seconds of the clock of whole grids are printed beside, and where the processor seconds of this project go.
Before the first round one base is trained in each way for two epochs, and what the rounds will take is estimated from
that.
"""

import argparse
import contextlib
import datetime
import functools
import multiprocessing
import os
import resource
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from sweeps.running.plan import packs
from yosinski import procedure
from yosinski.data import find
from yosinski.data import store as stores
from yosinski.data.halves import split
from yosinski.environment import Where, cores, processor
from yosinski.experiment.recipes import EMOJI
from yosinski.experiment.run import Run
from yosinski.networks import build
from yosinski.records import specs
from yosinski.training import evaluation, loop
from yosinski.training.pack import Member
from yosinski.training.steps import gradients, updates

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
KINDS = "base", "frozen", "tuned"
EVALUATED = 2  # after how many epochs
SETS = {"train": ("train", False), "select": ("select", False), "test": ("test", False), "unseen": ("test", True)}
Labelled = tuple[torch.Tensor, torch.Tensor]  # images and labels
STORES = Path("stores")


def network(outputs: int, below: int) -> nn.Sequential:
    """alexnet32 on standardised pixels, its first segments frozen."""
    made = build.drawn("alexnet32", outputs, 1, "kaiming", 0, "plain")
    first = made[0]
    assert isinstance(first, nn.Sequential)
    made[0] = first[1:]  # without our standardising
    for segment in made[:below]:
        segment.requires_grad_(False)
    return made


def optimised(model: nn.Module) -> torch.optim.SGD:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.SGD(trained, EMOJI.learning_rate, EMOJI.momentum, nesterov=True, weight_decay=EMOJI.weight_decay)


def fit(model: nn.Sequential, below: int, epochs: int, sets: dict[str, Callable[[], Iterator[Labelled]]]) -> None:
    """Train and evaluate. sets: batches of standardised pixels and labels, by the names of `SETS`."""
    optimiser = optimised(model)
    for epoch in range(1, epochs + 1):
        for pixels, labels in sets["train"]():
            with torch.no_grad():
                features = model[:below](pixels)
            loss = F.cross_entropy(model[below:](features), labels)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), EMOJI.clip)
            optimiser.step()
        if epoch % EVALUATED == 0:
            right(model, sets["select"]())
    for name in ("test", "unseen"):
        right(model, sets[name]())


@torch.no_grad()
def right(model: nn.Module, batches: Iterator[Labelled]) -> int:
    """How many images a network is right on."""
    return sum(int((model(pixels).argmax(1) == labels).sum()) for pixels, labels in batches)


def plain(folder: Path, below: int, frozen: bool, epochs: int) -> None:
    """One network as a tutorial trains it; a copy differs from a base in what has gradients."""
    tensor = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    drawn = v2.Compose([v2.RandomCrop(32, padding=EMOJI.shift), v2.RandomHorizontalFlip(), *tensor])
    train = ImageFolder(folder / "train", drawn)
    workers = {"num_workers": cores(), "persistent_workers": True}
    loaders = {"train": DataLoader(train, EMOJI.batch_size, shuffle=True, drop_last=True, **workers)}
    for name in list(SETS)[1:]:
        whole = ImageFolder(folder / name, v2.Compose(tensor))
        loaders[name] = DataLoader(whole, EMOJI.batch_size, **workers)
    model = network(len(train.classes), below if frozen else 0).to(memory_format=torch.contiguous_format)
    fit(model, 0, epochs, {name: loader.__iter__ for name, loader in loaders.items()})


def tuned(pixels: dict[str, Labelled], below: int, frozen: bool, epochs: int) -> None:
    """The same as one who knows writes it: no files, no worker processes, no gradients below."""
    images, labels = pixels["train"]
    shift, size = EMOJI.shift, EMOJI.batch_size
    bordered = F.pad(images, (0, 0, shift, shift, shift, shift))
    mean, std = (255 * torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    along = torch.arange(32)

    def standardised(batch: torch.Tensor) -> torch.Tensor:
        return (batch.permute(0, 3, 1, 2).float() - mean) / std

    def drawn() -> Iterator[Labelled]:
        for chosen in torch.randperm(len(images)).split(size)[: len(images) // size]:
            top, left = torch.randint(0, 2 * shift + 1, (2, len(chosen), 1))
            columns = torch.where(torch.rand(len(chosen), 1) < 0.5, along.flip(0), along) + left
            crops = bordered[chosen[:, None, None], (top + along)[:, :, None], columns[:, None]]
            yield standardised(crops), labels[chosen]

    def whole(name: str) -> Iterator[Labelled]:
        batches, theirs = (tensor.split(size) for tensor in pixels[name])
        yield from ((standardised(batch), few) for batch, few in zip(batches, theirs, strict=True))

    model = network(int(labels.max()) + 1, below if frozen else 0)
    sets = {name: functools.partial(whole, name) for name in list(SETS)[1:]}
    fit(model, below if frozen else 0, epochs, {"train": drawn, **sets})


def networks(cuts: Sequence[int]) -> list[tuple[str, int]]:
    """Kind and cut of each network of the grid."""
    return [("base", 0), ("base", 0), *((kind, n) for kind in KINDS[1:] for n in cuts)]


PARTS = {  # of a training here: its functions
    "reading": [(loop, "read")],
    "forward": [(loop, "at_cuts"), (Member, "logits")],
    "backward": [(gradients, "backward")],
    "clipping and update": [(updates.Updates, "take")],
    "evaluation": [(evaluation, "evaluate")],
}


@contextlib.contextmanager
def divided(seconds: dict[str, float]) -> Iterator[None]:
    """Context in which the processor seconds of `PARTS` are added up; a part within a part belongs to the outer one."""
    within = threading.local()

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **more: Any) -> Any:
            if getattr(within, "part", None):
                return function(*arguments, **more)
            within.part, before = part, time.thread_time()
            try:
                return function(*arguments, **more)
            finally:
                seconds[part] += time.thread_time() - before
                within.part = None

        return call

    with contextlib.ExitStack() as patches:
        for part, functions in PARTS.items():
            for owner, name in functions:
                patches.enter_context(mock.patch.object(owner, name, timed(part, getattr(owner, name))))
        yield


held: dict[str, Labelled] = {}  # in a worker process


def work(how: str, given: tuple, where: Path) -> dict[str, float]:
    """One task in a worker process; its processor seconds, as `all`, and here also by part."""
    torch.set_num_threads(1)
    seconds: dict[str, float] = defaultdict(float)
    before = time.process_time()
    if how == "tuned":
        if not held:
            held.update(torch.load(where / "pixels.pt", weights_only=True))
            before = time.process_time()
        (kind, n), epochs = given
        tuned(held, n, kind == "frozen", epochs)
    elif how == "here":
        with divided(seconds):
            procedure.run_pack(*given)
    seconds["all"] = time.process_time() - before
    return seconds


def prepare(where: Path) -> None:
    """The pictures of a half as PNGs in folders, and as tensors."""
    card = find.card("emoji")
    half = split(card, "random:0").b
    store, pixels = stores.of(half, STORES), {}
    for name, of_set in SETS.items():
        rows, labels = store.rows(half, *of_set)
        images = np.ascontiguousarray(store.images[rows])
        pixels[name] = torch.from_numpy(images), torch.from_numpy(labels)
        for k, (image, label) in enumerate(zip(images, labels, strict=True)):
            folder = where / name / f"{label:03d}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{k:05d}.png")
    torch.save(pixels, where / "pixels.pt")


def grid(cuts: Sequence[int], epochs: int) -> list[Run]:
    """The same networks as runs."""
    halves = split(find.card("emoji"), "random:0")
    recipe = EMOJI.with_values({"epochs": float(epochs), "evaluations": epochs // EVALUATED})
    a, b = (Run("alexnet32", half, recipe) for half in (halves.a, halves.b))
    return [a, b, *(b.copy(n, kind, a) for kind in KINDS[1:] for n in cuts)]


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


Took = dict[str, dict[str, float]]  # seconds by kind: of the `clock`, of the processor (`all`), and of parts of these


def of_plain(folder: Path, listed: Sequence[tuple[str, int]], epochs: int) -> Took:
    """What these networks take, one after the other."""
    took: Took = defaultdict(lambda: defaultdict(float))
    torch.set_num_threads(cores())
    for kind, n in listed:
        began, before = time.perf_counter(), processor_seconds()
        plain(folder, n, kind == "frozen", epochs)
        took[kind]["clock"] += time.perf_counter() - began
        took[kind]["all"] += processor_seconds() - before
    return took


def of_pool(pool: ProcessPoolExecutor, how: str, tasks: dict[str, list[tuple]], folder: Path) -> Took:
    """The same for tasks of worker processes, kind by kind."""
    took: Took = defaultdict(lambda: defaultdict(float))
    for kind, given in tasks.items():
        began = time.perf_counter()
        for done in [pool.submit(work, how, each, folder) for each in given]:
            for part, seconds in done.result().items():
                took[kind][part] += seconds
        took[kind]["clock"] = time.perf_counter() - began
    return took


def pool_of(folder: Path) -> ProcessPoolExecutor:
    """A process per core, which have loaded what they need."""
    pool = ProcessPoolExecutor(cores(), multiprocessing.get_context("spawn"))
    list(pool.map(work, ["start"] * 2 * cores(), [()] * 2 * cores(), [folder] * 2 * cores()))
    return pool


def of_project(pool: ProcessPoolExecutor, cuts: Sequence[int], epochs: int, folder: Path) -> Took:
    """A grid in a fresh runs directory, kind by kind."""
    with tempfile.TemporaryDirectory(dir=folder) as runs:
        where = Where(Path(runs), STORES.absolute(), "cpu", "float32")
        tasks: dict[str, list[tuple]] = {}
        for run in grid(cuts, epochs):
            specs.enrol(where.runs, run)
        for kind in KINDS:
            of_kind = [run for run in grid(cuts, epochs) if run.treatment == kind]
            tasks[kind] = [([run.id for run in pack.runs], where) for pack in packs(of_kind, cores())]
        return of_pool(pool, "here", tasks, folder)


def table(took: dict[str, list[Took]]) -> str:
    """Seconds per kind and in all: median and range over rounds, and ratios to those of this project; its parts."""
    lines = [
        "| | plain | tuned | here | plain / here | tuned / here |",
        "|---|---|---|---|---|---|",
    ]
    shares = [f"| here, % | {' | '.join(PARTS)} | other |", "|---" * (len(PARTS) + 2) + "|"]
    for kind in (*KINDS, "grid"):
        kinds = KINDS if kind == "grid" else (kind,)
        busy = {how: [sum(one[of]["all"] for of in kinds) for one in rounds] for how, rounds in took.items()}
        ratios = [[a / b for a, b in zip(busy[how], busy["here"], strict=True)] for how in ("plain", "tuned")]
        cells = [f"{statistics.median(each):.1f} s ({min(each):.1f} to {max(each):.1f})" for each in busy.values()]
        cells += [f"{statistics.median(each):.1f} ({min(each):.1f} to {max(each):.1f})" for each in ratios]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
        parts = [100 * sum(one[of][part] for one in took["here"] for of in kinds) / sum(busy["here"]) for part in PARTS]
        shares.append(f"| {kind} | {' | '.join(f'{each:.0f}' for each in (*parts, 100 - sum(parts)))} |")
    clock = {how: [sum(one[kind]["clock"] for kind in KINDS) for one in rounds] for how, rounds in took.items()}
    told = ", ".join(f"{how} {statistics.median(each):.0f} s" for how, each in clock.items())
    return "\n".join([*lines, "", *shares, "", f"Clock, grid: {told}."])


def estimate(pool: ProcessPoolExecutor, folder: Path, networks: int, epochs: int) -> float:
    """Seconds of the clock of a round, as if every network took what a base takes; here it is less, by what is shared.

    Measured on two epochs of one base in each way.
    """
    plain = of_plain(folder, [("base", 0)], EVALUATED)["base"]["clock"]
    tuned = of_pool(pool, "tuned", {"base": [(("base", 0), EVALUATED)] * cores()}, folder)["base"]["clock"]
    return networks * epochs / EVALUATED * (plain + 2 * tuned / cores())


def main() -> None:
    """Print the table after every round."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--epochs", type=int, default=4)
    options.add_argument("--cuts", type=int, nargs="+", default=list(range(1, 8)))
    given = options.parse_args()
    took: dict[str, list[Took]] = {"plain": [], "tuned": [], "here": []}
    load = f"load {os.getloadavg()[0]:.1f}"
    print(f"{datetime.date.today()}, {processor()}, {cores()} cores, {load}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as temporary:
        folder, listed = Path(temporary), networks(given.cuts)
        prepare(folder)
        with pool_of(folder) as ours, pool_of(folder) as theirs:
            of_pool(theirs, "tuned", {"base": [(("base", 0), 1)] * cores()}, folder)  # loads the pictures
            minutes = estimate(theirs, folder, len(listed), given.epochs) / 60
            print(f"{given.rounds} rounds of about {minutes:.0f} minutes at this load", flush=True)
            for _ in range(given.rounds):
                took["here"].append(of_project(ours, given.cuts, given.epochs, folder))
                tasks: dict[str, list[tuple]] = defaultdict(list)
                for kind, n in listed:
                    tasks[kind].append(((kind, n), given.epochs))
                took["tuned"].append(of_pool(theirs, "tuned", tasks, folder))
                took["plain"].append(of_plain(folder, listed, given.epochs))
                print(table(took), flush=True)


if __name__ == "__main__":
    main()
