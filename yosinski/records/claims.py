"""Claims: which process trains a run, and whether it is alive, from claim files, heartbeats and the scheduler."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

SILENCE = 300.0  # seconds without heartbeat until an attempt on another host counts as dead

Ended = Callable[[str], bool]  # whether a scheduler reports that the job of this name has ended


def no_scheduler(job: str) -> bool:
    """A scheduler that knows no jobs."""
    return False


@cache
def this_process() -> dict[str, Any]:
    """The identity of this process. A pid is valid only on its host and in its pid namespace."""
    namespace = Path("/proc/self/ns/pid")
    host = f"{socket.gethostname()} {namespace.readlink()}" if namespace.is_symlink() else socket.gethostname()
    return {"host": host, "pid": os.getpid(), "started": psutil.Process().create_time()}


def latest_attempt(path: Path) -> int:
    """The highest attempt number that has claimed this run, 0 if none has."""
    return latest_of(os.listdir(path)) if path.is_dir() else 0


def latest_of(names: Iterable[str]) -> int:
    """The highest attempt number among the file names in a run's directory, 0 if there is none."""
    return max((int(n.split(".")[1]) for n in names if n.startswith("claim.") and n.endswith(".json")), default=0)


def read_claim(path: Path, attempt: int) -> dict[str, Any] | None:
    """The claim of this attempt; None if it is not written (yet)."""
    with contextlib.suppress(ValueError, FileNotFoundError):
        return json.loads((path / f"claim.{attempt}.json").read_text())
    return None


@cache
def ahead(runs: Path) -> float:
    """The difference of clocks in seconds: of the file system of a runs directory minus this host's."""
    probe = runs / f".clock-{uuid4().hex[:12]}"
    with contextlib.suppress(OSError):
        probe.touch()
        try:
            return probe.stat().st_mtime - time.time()
        finally:
            probe.unlink()
    return 0.0


def is_alive(path: Path, attempt: int, ended: Ended = no_scheduler) -> bool:
    """Whether the process of a claim is still running.

    Processes on this host are checked directly, others by the scheduler or by their heartbeat.
    """
    claim_file = path / f"claim.{attempt}.json"
    now = time.time() + ahead(path.parent.parent)
    claim = read_claim(path, attempt)
    if claim is None:  # created just now and still empty, or its writer died then
        return now - claim_file.stat().st_mtime < 10
    if claim["released"] or (claim["job"] and ended(claim["job"])):
        return False
    if claim["host"] == this_process()["host"]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(claim["pid"])
            return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - claim["started"]) < 2
        return False
    last = claim_file.stat().st_mtime
    with contextlib.suppress(FileNotFoundError):  # deleted when the run is done
        last = max(last, (path / "progress.json").stat().st_mtime)
    return now - last < SILENCE
