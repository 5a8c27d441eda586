"""The paper's procedure, on one page: claim runs, build their networks, train them as a pack, leave records.

A base starts from random weights. A copy takes the first n segments of its base, and starts above from random weights
that depend on its target, seed and layer names only: so every copy of one target starts from the same upper layers and
sees the same pictures, and a selffer copy does not start where its base once did. A copy may also take the next k
segments (`preserved`) and train them.
"""

import contextlib
import ctypes
import errno
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from yosinski import checkpoints, claims, networks, records, surgery
from yosinski.data import moments
from yosinski.data import store as stores
from yosinski.data.moments import Moments
from yosinski.data.stream import Stream
from yosinski.environment import Where, cpu_has_bfloat16
from yosinski.pack import Arithmetic, Member
from yosinski.spec import BadInput, Failure, Run
from yosinski.training import train


def run_pack(
    ids: Sequence[str],
    where: Where,
    job: str = "",
    stopping: Callable[[], bool] = lambda: False,
    ended: claims.Ended = claims.no_scheduler,
) -> None:
    """Train those runs of a pack that are neither done nor claimed by another live process.

    They must agree in network, half, seed, role, recipe and examples per class. One that fails leaves its reason in
    `failure.json` and the others go on; Failure at the end if any did. A copy whose base another process is still
    training is left as it is. job: the scheduler's name for this process; ended: what it says of others.
    """
    arithmetic = choose_arithmetic(where)
    settle(arithmetic)
    keep_freed_memory()
    runs = [records.load(where.runs, run_id) for run_id in ids]
    claimed: list[tuple[Run, records.Attempt]] = []
    members: list[Member] = []
    failures: list[str] = []
    try:
        store = stores.of(runs[0].half, where.stores)
        stream = Stream(store, runs[0])
        # Before anything is claimed: this may take minutes, and a claim must show life. Copies get their base's.
        own = moments.blank(stream) if all(run.kept for run in runs) else moments.moments(stream, where.stores)
        for run in runs:
            if run.parent and records.state(records.folder(where.runs, run.parent.id), ended) == "running":
                continue
            try:
                attempt = records.claim(where.runs, run, job, ended)
            except BadInput as damaged:
                failures.append(str(damaged))
                continue
            if attempt is None:
                continue
            claimed.append((run, attempt))
            try:
                if not records.blocked(attempt, run, where.runs, ended):
                    members.append(admit(run, attempt, stream, own, where, arithmetic))
            except Failure as failure:
                attempt.fail(str(failure))
                failures.append(str(failure))
        if members:
            failures += train(members, store, where.stores, arithmetic, stopping)
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        told = f"no space left on the disk of {where.runs}; what is trained so far is kept" if full else str(error)
        why = told if full or isinstance(error, Failure | BadInput) else f"{type(error).__name__}: {told}"
        for _, attempt in claimed:
            if records.state(attempt.path) == "running":
                with contextlib.suppress(OSError, records.Superseded):
                    attempt.fail(why)
        if full:
            raise Failure(told) from error
        raise
    finally:
        for _, attempt in claimed:
            with contextlib.suppress(OSError):
                attempt.release()
    if failures:
        raise Failure("; ".join(failures))


def admit(
    run: Run, attempt: records.Attempt, stream: Stream, own: Moments, where: Where, arithmetic: Arithmetic
) -> Member:
    """A claimed run as a member of a pack, where its last checkpoint left it."""
    weights, parent = parent_weights(run, where.runs) if run.parent else (None, {})
    network = network_for(run, own, parent).to(arithmetic.device)
    if run.recipe.norm_below == "recalibrated":
        with arithmetic.autocast():
            batches = (stream.batch(step)[0].to(arithmetic.device) for step in range(stream.steps_per_epoch))
            surgery.recalibrate(network, run, batches)
    member = Member(run, attempt, network, weights)
    checkpoints.resume(member, arithmetic, where.change_arithmetic)
    return member


def network_for(run: Run, moments: Moments, parent: dict[str, torch.Tensor]) -> nn.Sequential:
    """The network with which a run starts; moments are those of its own training images, parent its base's tensors."""

    def start(initialiser: str, role: str) -> nn.Sequential:
        side = moments.mean.shape[-1]
        return networks.drawn(run.network, run.outputs, side, initialiser, run.seed, role, run.half.digest)

    network = start(run.recipe.initialiser, run.role)
    if run.below not in (None, "matched"):
        surgery.transplant(start(run.below, "random").state_dict(), network, run.cut)
    network[0].get_submodule("standardise").load_state_dict(moments._asdict())
    surgery.transplant(parent, network, run.kept)
    if run.below == "matched":
        surgery.match(parent, network, run.cut, run.seed, run.half.digest)
    return network


def parent_weights(run: Run, runs: Path) -> tuple[str, dict[str, torch.Tensor]]:
    """The base's tensors and their hash, which must be the one in its record."""
    assert run.parent is not None
    path = records.folder(runs, run.parent.id)
    record = records.read_record(path)
    tensors = load_file(path / "weights.safetensors")
    found = surgery.fingerprint(tensors)
    if record is None or found != record["weights"]:
        mend = "`yosinski heal` trains it again; for `yosinski run`, delete its directory first"
        if not run.parent.is_trained:
            mend = f"the same `yosinski run`, or `yosinski heal`, brings in {run.parent.half.data} again"
        raise Failure(
            f"{path / 'weights.safetensors'} does not hold the weights that the record of {run.parent} names: {mend}"
        )
    return found, tensors


def choose_arithmetic(where: Where) -> Arithmetic:
    """Resolve "auto": the fastest device there is, and bfloat16 where it is computed in hardware."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device = next(name for name, there in found.items() if there) if where.device == "auto" else where.device
    if not found.get(device, False):
        raise BadInput(f"no device {device!r} here; choose from: auto, {', '.join(n for n in found if found[n])}")
    fast = cpu_has_bfloat16() if device == "cpu" else device == "cuda" and gpu_has_bfloat16()
    precision = ("bfloat16" if fast else "float32") if where.precision == "auto" else where.precision
    return Arithmetic(precision, device, where.threads)


def gpu_has_bfloat16() -> bool:
    """Whether the GPU multiplies bfloat16 itself (from Ampere on); elsewhere that is slower than float32."""
    return torch.cuda.get_device_capability() >= (8, 0)


def settle(arithmetic: Arithmetic) -> None:
    """Let the arithmetic be what it is called: float32 without TensorFloat's ten bits, the same sums in every run."""
    torch.set_num_threads(arithmetic.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for name in ("allow_bf16_reduced_precision_reduction", "allow_fp16_reduced_precision_reduction"):
        setattr(torch.backends.cuda.matmul, name, False)  # products of bfloat16 are summed in float32
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.backends.mha.set_fastpath_enabled(False)  # attention is summed in one way, in training and in evaluation


def keep_freed_memory() -> None:
    """Let glibc reuse the pages of freed activations instead of returning them: about 10 % faster on the CPU."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mmap_threshold, trim_threshold = -3, -1
            mallopt(mmap_threshold, 1 << 30)
            mallopt(trim_threshold, (1 << 31) - 1)
