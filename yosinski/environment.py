"""The environment of a computation: for the command line and the record, never part of a run's id. No torch."""

import contextlib
import gc
import hashlib
import os
import platform
import resource
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from itertools import takewhile
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "torchvision", "numpy", "safetensors", "scikit-learn", "submitit")


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Context without garbage collection, for making many objects that stay: it would search them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def staying(package: str) -> Iterator[None]:
    """Context for loading a large package, whose modules stay as long as the process.

    They are hundreds of thousands of objects. A fifth of the time to load them and to end goes into searching these for
    garbage, unless they are exempt.
    """
    first = package not in sys.modules
    with uncollected():
        yield
        if first:
            gc.freeze()


@dataclass(frozen=True)
class Where:
    """Directories of runs and stores, and how runs are computed; "auto" is the fastest available choice."""

    runs: Path
    stores: Path
    device: str = "auto"
    precision: str = "auto"
    threads: int = 1
    processes: int = 1  # that train one base together, each on a GPU of its own
    change_arithmetic: bool = False  # whether to resume runs that were started with other arithmetic
    trace: bool = False  # whether to write which operations take the time of some steps


@cache
def environment() -> dict[str, Any]:
    """Host, processor, versions of Python and the libraries, and a hash of this package's code."""
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "processor": processor(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES},
        "code": code(),
    }


@cache
def code() -> str:
    """The first 12 hex digits of the SHA-256 over all Python files of this package, in order of their paths."""
    package = Path(__file__).parent
    hashed = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        hashed.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return hashed.hexdigest()[:12]


def cpu_info(key: str) -> str:
    """The first value of this key in /proc/cpuinfo; empty without such a file."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def processor() -> str:
    """The processor's name."""
    return cpu_info("model name") or platform.processor()


def bfloat16_units() -> tuple[str, ...]:
    """The processor's instructions for bfloat16 products."""
    return tuple(sorted({"avx512_bf16", "amx_bf16"} & set(cpu_info("flags").split())))


def cpu_has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16, which is slower than float32 without them."""
    return bool(bfloat16_units())


def visible_gpus() -> list[str] | None:
    """The GPUs in CUDA_VISIBLE_DEVICES, by number, UUID (or its beginning) or MIG; None if it is unset.

    As in CUDA, an invalid entry, such as -1, ends the list.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return None
    names = (name.strip() for name in visible.split(","))
    return list(takewhile(lambda name: name.isdecimal() or name.startswith(("GPU-", "MIG-")), names))


def no_gpu_found() -> str:
    """The message for a process that cannot use its assigned GPUs."""
    return (
        f"CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES')}, but torch finds no GPU: is there a driver, "
        "and is this a torch with CUDA? --device cpu computes on the CPU"
    )


def peak_memory() -> int:
    """The highest resident memory of this process, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def cores() -> int:
    """Number of processes that can work at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
