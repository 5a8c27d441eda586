"""What a worker process does: train one pack, and save and end when it is asked to.

On a cluster the job asks to be queued again when it was stopped, or when somebody else is still training what it needs.
Nothing is handed over in memory: whatever starts it again, it goes on from the records.
"""

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable

from sweeps.ends import SAYS
from yosinski.environment import Where
from yosinski.errors import BadInput, Failure
from yosinski.records import claims


def train_pack(ids: tuple[str, ...], where: Where, gpu: int | str | None = None) -> None:
    """A job on this machine, and on this GPU of it. SIGTERM asks it to save its checkpoints and to end."""
    faulthandler.enable()  # a crash in a library's code leaves its name in the log
    if gpu is not None:  # before torch is loaded
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    train(ids, where, os.environ.get("SUBMITIT_LOCAL_JOB_ID", ""), asked_to_stop())


def train(
    ids: tuple[str, ...],
    where: Where,
    job: str,
    stopping: Callable[[], bool],
    ended: claims.Ended = claims.no_scheduler,
) -> None:
    """Train a pack; a failure is one line at the end of the log, and exit status 1."""
    from yosinski.procedure import run_pack

    try:
        run_pack(ids, where, job, stopping, ended)
    except (BadInput, Failure) as error:
        print(f"{SAYS}{error}", file=sys.stderr)
        sys.exit(1)


def asked_to_stop() -> Callable[[], bool]:
    """Whether somebody has asked this process to save and end, from now on."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda *_: stop.set())
    return stop.is_set
