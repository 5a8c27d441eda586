"""A trial: the seconds of a network's forward pass and training step on this machine, in each precision."""

import time
from collections.abc import Callable, Sequence

import torch

from yosinski.networks import build
from yosinski.networks.batch import Batch
from yosinski.networks.catalogue import architecture
from yosinski.training.arithmetic import Arithmetic, configure, keep_freed_memory, laid_out

LASTING = 0.15  # seconds of each measurement, at least one pass


def trial(network: str, outputs: int, images: int, precisions: Sequence[str]) -> dict[str, dict[str, float]]:
    """Seconds of one core for a `forward` pass and a `train`ing step of so many images, by precision.

    They are the shortest ones, in processor time: other work on the machine does not count.
    """
    side = architecture(network).side
    batch = Batch.whole(torch.randint(0, 256, (images, side, side, 3), dtype=torch.uint8).permute(0, 3, 1, 2))
    labels = torch.arange(images) % outputs
    keep_freed_memory()
    seconds = {}
    for precision in precisions:
        arithmetic = Arithmetic(precision, "cpu", 1)
        configure(arithmetic)
        model = laid_out(build.drawn(network, outputs, 1, "kaiming", 0, "trial"), "cpu")
        optimiser = torch.optim.SGD(model.parameters(), 1e-6, momentum=0.9, fused=True)

        def logits(model: torch.nn.Sequential = model, arithmetic: Arithmetic = arithmetic) -> torch.Tensor:
            with arithmetic.autocast():
                features = model[:-1](batch)
            return model[-1](features.float())

        def train(logits: Callable[[], torch.Tensor] = logits, optimiser: torch.optim.Optimizer = optimiser) -> None:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(logits(), labels).backward()
            optimiser.step()

        with torch.no_grad():
            forward = shortest(logits)
        seconds[precision] = {"forward": forward, "train": shortest(train)}
    return seconds


def shortest(work: Callable[[], object]) -> float:
    """The shortest processor time of this work, after a first time that does not count."""
    work()
    began, times = time.process_time(), []
    while not times or time.process_time() - began < LASTING:
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return min(times)
