"""Which device is taken, what is said of it, and that nothing is computed on a CPU that was meant for a GPU."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import submitit
import synthetic
import torch

from sweeps.running import job, local
from sweeps.running.local import Queue, workers
from sweeps.running.plan import Pack, plan
from yosinski.environment import Where, visible_gpus
from yosinski.errors import BadInput
from yosinski.networks import batch as batches
from yosinski.networks import build
from yosinski.networks.batch import Batch
from yosinski.training import arithmetic
from yosinski.training.arithmetic import (
    Arithmetic,
    choose_arithmetic,
    configure,
    gpu_environment,
    gpu_memory,
    is_out_of_memory,
    laid_out,
)

A, B = synthetic.halves()
LISTED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-22)
  MIG 3g.20gb     Device  0: (UUID: MIG-33)
  MIG 3g.20gb     Device  1: (UUID: MIG-44)
"""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with three cores and no sign of a GPU."""
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(local.shutil, "which", lambda program: None)
    monkeypatch.setattr(local, "signs", list)
    monkeypatch.setattr(local, "cores", lambda: 3)


def where(device: str = "auto", precision: str = "auto") -> Where:
    return Where(Path("runs"), Path("stores"), device, precision)


# ------------------------------------------------------------------------------------------------------- found by name


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("0,2", [0, 2]),
        (" 1 , 0", [1, 0]),
        ("GPU-8932f937-d72c,GPU-11", ["GPU-8932f937-d72c", "GPU-11"]),
        ("GPU-89", ["GPU-89"]),
        ("MIG-GPU-11/1/0", ["MIG-GPU-11/1/0"]),
        ("MIG-33,MIG-44", ["MIG-33", "MIG-44"]),
        ("0,-1,1", [0]),
    ],
)
def test_workers_get_the_gpus_that_are_named_by_the_same_names(
    text: str, named: list[int | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
    assert workers("auto", None) == workers("cuda", None) == named
    assert workers("cpu", None) == [None] * 3


@pytest.mark.parametrize("text", ["", "-1", "NoDevFiles", "none"])
def test_an_empty_list_means_no_gpu_whatever_there_is(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
    monkeypatch.setattr(local, "signs", lambda: ["/dev/nvidia0"])
    assert visible_gpus() == []
    assert workers("auto", None) == [None] * 3
    with pytest.raises(BadInput, match="no GPU found for --device cuda"):
        workers("cuda", None)


def test_without_a_list_nvidia_smi_tells_and_divided_gpus_are_taken_by_their_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local.shutil, "which", lambda program: program)
    monkeypatch.setattr(
        local.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess((), 0, stdout=LISTED, stderr="")
    )
    assert workers("auto", None) == [0, "MIG-33", "MIG-44"]
    assert workers("auto", 4) == [0, "MIG-33", "MIG-44", 0]


def test_without_nvidia_smi_torch_counts_where_a_driver_has_left_a_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(local, "counted_by_torch", lambda: calls.append(1) or 2)
    assert workers("auto", None) == [None] * 3
    assert not calls  # torch takes seconds to load
    monkeypatch.setattr(local, "signs", lambda: ["/dev/nvidia0"])
    assert workers("auto", None) == [0, 1]
    assert calls


def test_torch_is_asked_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert local.counted_by_torch() == 0


def test_gpus_that_are_named_but_not_there_are_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-11")
    monkeypatch.setattr(local, "counted_by_torch", lambda: 0)
    with pytest.raises(BadInput, match="CUDA_VISIBLE_DEVICES is GPU-11, but torch finds no GPU"):
        local.check_gpus(workers("auto", None))
    local.check_gpus(workers("cpu", None))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("SLURM_JOB_GPUS", "3")
    with pytest.raises(BadInput, match="SLURM gave this job GPU 3"):
        workers("auto", None)
    assert workers("cpu", 1) == [None]


def test_a_worker_sees_its_gpu_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    jobs: list[tuple] = []
    monkeypatch.setattr(submitit.LocalExecutor, "submit", lambda self, *call: jobs.append(call))
    runs = [synthetic.base(half) for half in (A, B)]
    queue = Queue(plan(runs, tmp_path, 2), Where(tmp_path, tmp_path), ["MIG-33", None])
    for worker, run in enumerate(runs):
        queue._start((worker,), Pack((run,)))
    seen = []
    monkeypatch.setattr(job, "train", lambda *_: seen.append(os.environ.get("CUDA_VISIBLE_DEVICES")))
    monkeypatch.setattr(job, "asked_to_stop", lambda: bool)
    for function, *arguments in jobs:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # as submitit sets it
        function(*arguments)
    assert seen == ["MIG-33", ""]


def test_a_base_of_several_processes_sees_a_gpu_for_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    base = synthetic.base(A)
    copies = [base.copy(n, "tuned", base) for n in (1, 2)]
    queue = Queue(plan([base], tmp_path, 4), Where(tmp_path, tmp_path, processes=3), [5, 6, 7, 8])
    started: list[tuple[int, ...]] = []
    monkeypatch.setattr(Queue, "_start", lambda self, workers, pack: started.append(workers))
    queue.turn()
    assert started == [(0, 1, 2)]
    assert [Pack((run,)).processes(3) for run in (base, *copies)] == [3, 1, 1]
    assert Pack(tuple(copies)).processes(3) == 1


# ------------------------------------------------------------------------------------------------------ its arithmetic


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were one, as far as torch is asked about it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "NVIDIA H100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *_: 7)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 90100)


def test_nothing_is_computed_on_a_cpu_that_was_meant_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for text in ("0", "GPU-11", "MIG-33"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
        with pytest.raises(BadInput, match=f"CUDA_VISIBLE_DEVICES is {text}, but torch finds no GPU"):
            choose_arithmetic(where())
        assert choose_arithmetic(where("cpu")).device == "cpu"
    for text in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
        assert choose_arithmetic(where()).device == "cpu"


@pytest.mark.usefixtures("gpu")
def test_a_gpu_is_named_in_arithmetic_and_environment() -> None:
    chosen = choose_arithmetic(where())
    assert chosen == Arithmetic("bfloat16", "cuda", 1, processor="NVIDIA H100")
    assert gpu_memory(chosen) == 7
    assert gpu_environment(chosen) == {"gpu": "NVIDIA H100", "cuda": torch.version.cuda, "cudnn": 90100}
    here = choose_arithmetic(where("cpu"))
    assert gpu_memory(here) is None
    assert gpu_environment(here) == {}


def test_a_cpu_is_known_by_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(arithmetic, "bfloat16_units", lambda: ("amx_bf16", "avx512_bf16"))
    assert choose_arithmetic(where("cpu", "float32")).processor == "AVX512"
    assert choose_arithmetic(where("cpu", "bfloat16")).processor == "AVX512 amx_bf16 avx512_bf16"


def test_apples_gpus_are_taken_by_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(local.sys, "platform", "darwin")
    assert choose_arithmetic(where()).device == "cpu"
    assert workers("auto", None) == [None] * 3
    assert choose_arithmetic(where("mps")).device == "mps"
    assert workers("mps", None) == [None]


def of(**values: Any) -> Arithmetic:
    return Arithmetic.of({"dtype": "float32", "device": "cpu", "threads": 1, **values})


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        (of(), of(processor="AVX2"), True),  # an earlier version did not say
        (of(processor="AVX2"), of(processor="AVX512"), False),
        (of(), of(threads=2), False),
        (of(device="cuda"), of(device="cuda", threads=8), True),
        (of(device="cuda", processor="A"), of(device="cuda", processor="B"), False),
        (of(device="cuda"), of(), False),
        (of(dtype="bfloat16"), of(dtype="bfloat16", head="float32"), False),  # an earlier version's head
        (of(), of(head="float32", processor="AVX2"), True),
    ],
)
def test_which_arithmetic_gives_the_same_numbers(one: Arithmetic, other: Arithmetic, agree: bool) -> None:
    assert one.agrees(other) == other.agrees(one) == agree


@pytest.fixture
def settings() -> Iterator[None]:
    """What `configure` changes for the whole process, put back."""
    kinds = ("flash", "mem_efficient", "cudnn")
    before = [getattr(torch.backends.cuda, f"{kind}_sdp_enabled")() for kind in kinds]
    environ = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    yield
    for kind, enabled in zip(kinds, before, strict=True):
        getattr(torch.backends.cuda, f"enable_{kind}_sdp")(enabled)
    torch.use_deterministic_algorithms(False)
    if environ is None:
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


@pytest.mark.usefixtures("settings")
def test_sums_on_a_gpu_are_in_one_order_and_in_float32() -> None:
    configure(Arithmetic("bfloat16", "cpu", 1))
    assert torch.backends.cuda.flash_sdp_enabled()  # the CPU's is in one order
    assert not torch.are_deterministic_algorithms_enabled()
    configure(Arithmetic("bfloat16", "cuda", 1))
    matmul = torch.backends.cuda.matmul
    assert not matmul.allow_bf16_reduced_precision_reduction
    assert not matmul.allow_fp16_reduced_precision_reduction
    assert not matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    cuda = torch.backends.cuda
    assert not (cuda.flash_sdp_enabled())
    assert not (cuda.mem_efficient_sdp_enabled())
    assert not (cuda.cudnn_sdp_enabled())
    assert cuda.math_sdp_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_where_channels_last_are_not_safe_nothing_is_laid_out_so(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch.whole(torch.zeros(2, 8, 8, 3, dtype=torch.uint8).permute(0, 3, 1, 2))
    network = build.build("alexnet32", 5)
    conv = network.get_parameter("conv2.conv.weight")
    assert not (batch.to("cpu").pixels.is_contiguous())
    assert not (conv.is_contiguous())
    monkeypatch.setattr(batches, "CONTIGUOUS", ("cpu",))
    assert all(tensor.is_contiguous() for tensor in batch.to("cpu"))
    assert all(tensor.is_contiguous() for tensor in laid_out(network, "cpu").state_dict().values())


@pytest.mark.parametrize(
    ("error", "lacking"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_what_counts_as_too_little_memory(error: RuntimeError, lacking: bool) -> None:
    assert is_out_of_memory(error) == lacking
