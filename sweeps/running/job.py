"""A worker process: trains one pack; on request it saves checkpoints and ends.

On a cluster a job requeues itself when it was stopped, or when another process is training a run that it needs. No
state is kept in memory: after a restart it continues from the records.
"""

import faulthandler
import os
import signal
import sys
from collections.abc import Callable

from sweeps.running.ends import SAYS
from yosinski.environment import Where, staying
from yosinski.errors import BadInput, Failure
from yosinski.records import claims


def train_pack(ids: tuple[str, ...], where: Where, gpus: str | None = None) -> None:
    """A job on this machine, on these GPUs. SIGTERM requests that it saves checkpoints and ends."""
    faulthandler.enable()  # writes a crash in a library to the log
    if gpus is not None:  # must be set before torch is loaded
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    train(ids, where, os.environ.get("SUBMITIT_LOCAL_JOB_ID", ""), asked_to_stop())


def train(
    ids: tuple[str, ...],
    where: Where,
    job: str,
    stopping: Callable[[], bool],
    ended: claims.Ended = claims.no_scheduler,
) -> None:
    """Train a pack. A failure is one line at the end of the log, and exit status 1."""
    run_pack = loaded()
    try:
        run_pack(ids, where, job, stopping, ended)
    except (BadInput, Failure) as error:
        print(f"{SAYS}{error}", file=sys.stderr)
        sys.exit(1)


def loaded() -> Callable[..., None]:
    """`procedure.run_pack`, with torch."""
    with staying("torch"):
        from yosinski.procedure import run_pack
    return run_pack


def asked_to_stop() -> Callable[[], bool]:
    """Install handlers for stop signals; the result tells whether one has arrived.

    A handler may be interrupted by the next signal: it must take no lock, as that of an Event, for which it would wait.
    """
    arrived: list[int] = []
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda number, _: arrived.append(number))
    return lambda: bool(arrived)
