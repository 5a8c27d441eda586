"""Several GPUs for one base: processes with equal weights compute shares of every batch, and add up their gradients.

The leader is the process that has claimed the run: it alone evaluates, saves and ends. The followers take the steps
that it announces. Orders, crops and dropout masks are drawn for whole batches, by counter, so that the images of a step
and what is dropped are those of one process; only the sums over a batch are added up in another order.
"""

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import start_processes
from torch.nn.modules.batchnorm import _BatchNorm

from yosinski.environment import Where
from yosinski.errors import BadInput
from yosinski.experiment.run import Run

END = -1  # announced in place of a step
PATIENCE = timedelta(days=7)  # that followers wait while the leader evaluates
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # sent to all processes of a job; only the leader obeys


@dataclass(frozen=True)
class Shares:
    """The place of this process among `count`, which divide batches of `total` images; rank 0 is the leader."""

    rank: int
    count: int
    total: int

    @property
    def part(self) -> slice:
        """The images of a batch that this process computes."""
        return slice(self.rank * self.total // self.count, (self.rank + 1) * self.total // self.count)

    def weight(self, images: int) -> float:
        """The share of a batch that these images are."""
        return images / self.total

    def announce(self, step: int) -> int:
        """The step that the leader goes on with; `step` is the leader's, or what a follower expects."""
        word = torch.tensor(step)
        distributed.broadcast(word, 0)
        return int(word)

    def add_up(self, parameters: Iterable[nn.Parameter], loss: torch.Tensor) -> torch.Tensor:
        """Replace gradients by their sums over all processes. Returns the sum of the losses.

        Sums of mean losses weighted by the processes' shares of the batch are the mean over the batch, and so are
        their gradients.
        """
        total = loss.detach().clone()
        sums = [parameter.grad for parameter in parameters if parameter.grad is not None]
        waiting: list[Any] = [distributed.all_reduce(tensor, async_op=True) for tensor in (*sums, total)]
        for work in waiting:
            work.wait()
        return total


def check(run: Run, network: nn.Module) -> None:
    """BadInput if the network normalises over the images of a batch, which processes divide."""
    if any(isinstance(module, _BatchNorm) for module in network.modules()):
        raise BadInput(
            f"{run}: {run.network} has batch norm, which takes its moments from whole batches: "
            "train its bases in one process each (--processes 1, or gpus = 1 in the profile)"
        )


@contextlib.contextmanager
def leading(run: Run, where: Where, shares: Shares, state: Any, follow: Any) -> Iterator[Shares]:
    """Context with followers, which start from this state (of tensors and numbers). shares: those of the leader.

    follow: a function of a module, called in each as follow(run id, where, shares, state).
    """
    with tempfile.TemporaryDirectory(prefix="yosinski-") as folder:
        meeting = f"file://{folder}/meeting"
        # A process that is only starting has no handlers yet: blocked signals stay blocked in it until it has some.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            others = start_processes(
                _follower,
                (run.id, where, shares, meeting, follow),
                shares.count - 1,
                join=False,
                daemon=True,
                start_method="spawn",
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        _join(meeting, shares)
        try:
            distributed.broadcast_object_list([state], 0, device=torch.device("cpu"))
            yield shares
            shares.announce(END)
            assert others is not None
            started: list[Any] = others.processes
            for process in started:  # how they end does not matter any more
                process.join()
        finally:
            distributed.destroy_process_group()


def _join(meeting: str, shares: Shares) -> None:
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(
        backend, init_method=meeting, rank=shares.rank, world_size=shares.count, timeout=PATIENCE
    )


def _follower(k: int, run_id: str, where: Where, leader: Shares, meeting: str, follow: Any) -> None:
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    _end_with_parent()
    shares = replace(leader, rank=k + 1)
    if torch.cuda.is_available():
        torch.cuda.set_device(shares.rank)
    _join(meeting, shares)
    received: list[Any] = [None]
    distributed.broadcast_object_list(received, 0, device=torch.device("cpu"))
    try:
        follow(run_id, where, shares, received[0])
    finally:
        distributed.destroy_process_group()
    os._exit(0)  # at the usual end, threads of torch's collectives may abort the interpreter


def _end_with_parent() -> None:
    """Let the kernel kill this process when the leader has died."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
