"""Arithmetic: device and precision of the computation, and its description in records."""

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from yosinski.environment import Where, bfloat16_units, cpu_has_bfloat16, no_gpu_found, processor, visible_gpus
from yosinski.errors import BadInput, Failure
from yosinski.networks import batch

FILLED = "CUDA error: out of memory"  # where not even CUDA itself has room
ELSEWHERE = "wait for them (nvidia-smi lists them), or name another GPU in CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Arithmetic:
    """Everything that the last bits of the numbers depend on. Fixed when a run first starts."""

    dtype: str  # "float32", or "bfloat16" for autocast
    device: str  # "cpu", "cuda" or "mps"
    threads: int
    head: str = "float32"  # type of the head and the loss; "bfloat16" in earlier versions
    processor: str = ""  # the model of a GPU, or a CPU's instructions; empty: unknown
    processes: int = 1  # that add up the gradients of a batch; not named where there is one

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Arithmetic":
        """From the values in checkpoints and records. Earlier versions had no `head`; it equalled `dtype`."""
        return cls(**{"head": values["dtype"], **values})

    @property
    def values(self) -> dict[str, Any]:
        """The values, for checkpoints and records."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("processes", 1)}

    @property
    def below(self) -> dict[str, Any]:
        """What the last bits of features depend on. The number of threads matters on the CPU only."""
        threads = {"threads": self.threads} if self.device == "cpu" else {}
        return {"dtype": self.dtype, "device": self.device, "processor": self.processor, **threads}

    def agrees(self, other: "Arithmetic") -> bool:
        """Whether the numbers are the same, as far as is known: earlier versions did not record processors."""
        one, two = (
            {**arithmetic.below, "head": arithmetic.head, "processes": arithmetic.processes}
            for arithmetic in (self, other)
        )
        if not (self.processor and other.processor):
            one["processor"] = two["processor"] = ""
        return one == two

    def autocast(self, enabled: bool = True) -> torch.autocast:
        """The autocast context of a network, up to the head."""
        return torch.autocast(self.device, torch.bfloat16, enabled=enabled and self.dtype == "bfloat16")

    def __str__(self) -> str:
        head = "" if self.head == "float32" else f" with a {self.head} head"
        threads = f" with {self.threads} thread(s)" if self.device == "cpu" else ""
        processor = f" ({self.processor})" if self.processor else ""
        processes = f" in {self.processes} processes" if self.processes > 1 else ""
        return f"{self.dtype}{head} on {self.device}{threads}{processor}{processes}"


def choose_arithmetic(where: Where) -> Arithmetic:
    """Resolve "auto": a CUDA GPU if there is one, else the CPU; bfloat16 if the hardware computes it.

    BadInput if the device is missing, and if GPUs are assigned to this process but torch finds none, so that no job for
    a GPU runs on a CPU. Apple's GPUs are used only if they are named.
    """
    devices = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device = ("cuda" if devices["cuda"] else "cpu") if where.device == "auto" else where.device
    if where.device == "auto" and device == "cpu" and visible_gpus():
        raise BadInput(no_gpu_found())
    if not devices.get(device, False):
        raise BadInput(f"no device {device!r} here; choose from: auto, {', '.join(n for n in devices if devices[n])}")
    fast = cpu_has_bfloat16() if device == "cpu" else device == "cuda" and gpu_has_bfloat16()
    dtype = ("bfloat16" if fast else "float32") if where.precision == "auto" else where.precision
    return Arithmetic(dtype, device, where.threads, processor=kind_of_processor(device, dtype))


def gpu_has_bfloat16() -> bool:
    """Whether the GPU multiplies bfloat16 in hardware (from Ampere on); without that it is slower than float32."""
    return torch.cuda.get_device_capability() >= (8, 0)


def kind_of_processor(device: str, dtype: str) -> str:
    """The processor, as far as it determines the order of sums: the model of a GPU, or the instructions of a CPU.

    With bfloat16 these include the CPU's instructions for it.
    """
    if device == "cuda":
        return torch.cuda.get_device_name()
    if device == "mps":
        return processor()
    units = bfloat16_units() if dtype == "bfloat16" else ()
    return " ".join((torch.backends.cpu.get_cpu_capability(), *units))


def configure(arithmetic: Arithmetic) -> None:
    """Configure torch for exact and reproducible arithmetic: no TensorFloat32, and sums in a fixed order."""
    torch.set_num_threads(arithmetic.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for name in ("allow_bf16_reduced_precision_reduction", "allow_fp16_reduced_precision_reduction"):
        setattr(torch.backends.cuda.matmul, name, False)  # bfloat16 products are summed in float32
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.backends.mha.set_fastpath_enabled(False)  # the same sums of attention in training and evaluation
    if arithmetic.device == "cuda":
        # Fast attention on GPUs adds up gradients in any order. The CPU has one implementation, with a fixed order.
        for enable in ("flash", "mem_efficient", "cudnn"):
            getattr(torch.backends.cuda, f"enable_{enable}_sdp")(False)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may change the order of sums
        torch.use_deterministic_algorithms(True, warn_only=True)  # the log names all exceptions
        torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]


def laid_out(network: nn.Sequential, device: str) -> nn.Sequential:
    """A network on a device. Its weights are channels-last where that is safe."""
    result = network.to(device)
    return result.to(memory_format=torch.contiguous_format) if device in batch.CONTIGUOUS else result


def keep_freed_memory() -> None:
    """Let glibc reuse the pages of freed activations instead of returning them: about 10 % faster on the CPU."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mmap_threshold, trim_threshold = -3, -1
            mallopt(mmap_threshold, 1 << 30)
            mallopt(trim_threshold, (1 << 31) - 1)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that a GPU has too little memory. Libraries report this in different ways."""
    messages = "MPS backend out of memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED", FILLED
    return isinstance(error, torch.OutOfMemoryError) or any(message in str(error) for message in messages)


def memory_left(arithmetic: Arithmetic) -> tuple[int, int] | None:
    """Free memory of the GPU for this process, and all of it, in bytes; None without a GPU of which that is known.

    Failure if other processes have left so little that this one cannot even start there.
    """
    if arithmetic.device != "cuda":
        return None
    try:
        free, total = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated(), total
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise Failure(f"other processes have filled the memory of the GPU: {ELSEWHERE}") from error


def free_memory(arithmetic: Arithmetic) -> None:
    """Free the GPU memory of deleted tensors, and reset the peak."""
    gc.collect()
    if arithmetic.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def gpu_memory(arithmetic: Arithmetic) -> int | None:
    """Peak of the tensors' GPU memory in bytes; None without a GPU."""
    return torch.cuda.max_memory_allocated() if arithmetic.device == "cuda" else None


def gpu_environment(arithmetic: Arithmetic) -> dict[str, Any]:
    """The GPU and its libraries, for the record; empty without a GPU."""
    if arithmetic.device != "cuda":
        return {}
    versions = {"cuda": torch.version.cuda or torch.version.hip, "cudnn": torch.backends.cudnn.version()}
    return {"gpu": torch.cuda.get_device_name(), **versions}
