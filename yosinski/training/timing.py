"""Timing: the seconds of a network's passes in a trial, and the operations of a pack's steps in a trace."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import profiler

from yosinski.errors import count
from yosinski.experiment.recipes import EMOJI
from yosinski.networks import build
from yosinski.networks.batch import Batch
from yosinski.networks.catalogue import architecture
from yosinski.networks.texts.textnet import TOKENS
from yosinski.networks.tokens import Seen, Tokens, around
from yosinski.training.arithmetic import Arithmetic, configure, keep_freed_memory, laid_out
from yosinski.training.steps.optimiser import Group, Optimiser, take

LASTING = 0.15  # seconds of each measurement, at least one pass
SKIPPED, TRACED = 5, 20  # steps: the first ones take longer
ROWS = 40


def trial(network: str, outputs: int, images: int, precisions: Sequence[str]) -> dict[str, dict[str, float]]:
    """Seconds of one core for a `forward` pass and a `train`ing step of so many images, by precision.

    They are the shortest ones, in processor time: other work on the machine does not count.
    """
    batch = example(network, images)
    labels = torch.arange(images) % outputs
    keep_freed_memory()
    seconds = {}
    for precision in precisions:
        arithmetic = Arithmetic(precision, "cpu", 1)
        configure(arithmetic)
        model = laid_out(build.drawn(network, outputs, 1, "kaiming", 0, "trial"), "cpu")
        optimiser = Optimiser(EMOJI, [Group(dict(model.named_parameters()))])

        def logits(model: torch.nn.Sequential = model, arithmetic: Arithmetic = arithmetic) -> torch.Tensor:
            with around(batch):
                with arithmetic.autocast():
                    features = model[:-1](batch)
                return model[-1](features.float())

        def train(logits: Callable[[], torch.Tensor] = logits, optimiser: Optimiser = optimiser) -> None:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(logits(), labels).backward()
            take([(optimiser, 1e-6)])

        with torch.no_grad():
            forward = shortest(logits)
        seconds[precision] = {"forward": forward, "train": shortest(train)}
    return seconds


def example(network: str, images: int) -> Seen:
    """Random pixels, or texts of random tokens, for a network."""
    described = architecture(network)
    if described.reads == "texts":
        length = min(TOKENS, described.length)
        ids = torch.randint(1, described.vocabulary, (images, length))
        return Tokens(ids, torch.full((images,), length))
    side = described.side
    return Batch.whole(torch.randint(0, 256, (images, side, side, 3), dtype=torch.uint8).permute(0, 3, 1, 2))


def shortest(work: Callable[[], object]) -> float:
    """The shortest processor time of this work, after a first time that does not count."""
    work()
    began, times = time.process_time(), []
    while not times or time.process_time() - began < LASTING:
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return min(times)


@contextlib.contextmanager
def tracing(path: Path | None, device: str) -> Iterator[Callable[[], object]]:
    """Context in which some steps are traced, and written to this file; None: none. Its value is to be called after
    each step.
    """
    if path is None:
        yield lambda: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = [profiler.ProfilerActivity.CPU, *([profiler.ProfilerActivity.CUDA] if device == "cuda" else [])]
    order = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"

    def write(traced: profiler.profile) -> None:
        averages = traced.key_averages()
        steps = sum(each.count for each in averages if each.key.startswith("ProfilerStep"))
        table = averages.table(sort_by=order, row_limit=ROWS)
        path.write_text(f"{count(steps, 'step')}, with the evaluations between them\n{table}", encoding="utf-8")

    schedule = profiler.schedule(wait=SKIPPED - 1, warmup=1, active=TRACED, repeat=1)
    with profiler.profile(activities=kinds, schedule=schedule, on_trace_ready=write) as traced:
        yield traced.step
