"""The paper's procedure on one page: claim runs, build their networks, train them as a pack, write records.

A base starts from random weights. A copy takes the first n segments of its base; above them it starts from random
weights that depend only on its target, seed and layer names. So all copies of one target start from the same upper
layers and see the same images, and a selffer copy does not start from its base's initial weights. A copy may also take
the next k segments (`preserved`) and train them.
"""

import contextlib
import errno
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from yosinski.data import store as stores
from yosinski.environment import Where
from yosinski.errors import BadInput, Failure
from yosinski.experiment.cost import memory
from yosinski.experiment.run import Run
from yosinski.networks import build, parts
from yosinski.networks.layers import moments_in
from yosinski.networks.tensors import fingerprint
from yosinski.records import attempts, claims, specs, states
from yosinski.training import checkpoints, moments, shares, surgery
from yosinski.training.arithmetic import (
    ELSEWHERE,
    Arithmetic,
    choose_arithmetic,
    configure,
    free_memory,
    is_out_of_memory,
    keep_freed_memory,
    laid_out,
    memory_left,
)
from yosinski.training.loop import follow, train
from yosinski.training.moments import Moments
from yosinski.training.pack import Member
from yosinski.training.partners.batches import Partners
from yosinski.training.pulse import Pulse
from yosinski.training.stream import Stream
from yosinski.training.timing import tracing

ALONE = "too large for this GPU, even alone"  # `status` recognises these words
RESIDENT = 0.5  # share of the GPU's free memory that training images may take


def run_pack(
    ids: Sequence[str],
    where: Where,
    job: str = "",
    stopping: Callable[[], bool] = lambda: False,
    ended: claims.Ended = claims.no_scheduler,
) -> None:
    """Train the runs of a pack that are neither done nor claimed by another live process.

    They must agree in network, half, seed, role, recipe and examples per class. If one fails, its reason is written to
    `failure.json` and the others continue; Failure at the end. A copy is skipped while another process trains its base.
    job: the scheduler's name for this process; ended: whether a job has ended, by the scheduler.
    """
    arithmetic = choose_arithmetic(where)
    configure(arithmetic)
    keep_freed_memory()
    runs = [specs.load(where.runs, run_id) for run_id in ids]
    if len(runs) == 1 and runs[0].divisible:
        arithmetic = replace(arithmetic, processes=where.processes)
    claimed: list[tuple[Run, attempts.Attempt]] = []
    together: list[tuple[Run, attempts.Attempt]] = []
    failures: list[str] = []
    try:
        stream = Stream(stores.of(runs[0].half, where.stores), runs[0])
        partners = Partners(stream, lambda half: stores.of(half, where.stores)) if runs[0].partners else None
        # Before claims, because it may take minutes and a claim needs heartbeats. Copies use their base's moments.
        streams = partners.streams if partners else [stream]
        kept = all(run.kept for run in runs)
        own = [moments_of(one, kept, where.stores) for one in streams]
        for run in runs:
            if run.parent and states.state(specs.folder(where.runs, run.parent.id), ended) == "running":
                continue
            try:
                attempt = attempts.claim(where.runs, run, job, ended)
            except BadInput as damaged:
                failures.append(str(damaged))
                continue
            if attempt is None:
                continue
            claimed.append((run, attempt))
            try:
                if not attempts.blocked(attempt, run, where.runs, ended):
                    together.append((run, attempt))
            except Failure as failure:
                fail(attempt, str(failure), failures)
        if partners is None:
            place(stream, [run for run, _ in together], arithmetic)
        train_together(together, Shared(stream, partners, own, where, arithmetic), failures, stopping)
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        message = f"no space left on the disk of {where.runs}; what is trained so far is kept" if full else str(error)
        why = message if full or isinstance(error, Failure | BadInput) else f"{type(error).__name__}: {message}"
        for _, attempt in claimed:
            if states.state(attempt.path) == "running":
                with contextlib.suppress(OSError, attempts.Superseded):
                    attempt.fail(why)
        if full:
            raise Failure(message) from error
        raise
    finally:
        for _, attempt in claimed:
            with contextlib.suppress(OSError):
                attempt.release()
    if failures:
        raise Failure("; ".join(failures))


def moments_of(stream: Stream, kept: bool, stores: Path) -> Moments | None:
    """The moments of a stream's images, blank where the base's are `kept`; None of texts, which have none."""
    if stream.store.texts is not None:
        return None
    return moments.blank(stream) if kept else moments.moments(stream, stores)


def side_of(moments: Moments | None) -> int:
    """The side of the mean that is subtracted; 1 for texts, which have none."""
    return moments.mean.shape[-1] if moments else 1


@dataclass(frozen=True)
class Shared:
    """Values that the runs of a pack share."""

    stream: Stream
    partners: Partners | None  # further tasks or inputs
    own: Sequence[Moments | None]  # of the training images of each task or input; None of texts
    where: Where
    arithmetic: Arithmetic


def place(stream: Stream, runs: Sequence[Run], arithmetic: Arithmetic) -> None:
    """Hold a half's training images in the GPU's memory, if they take at most a share of it and leave enough for runs.

    Otherwise they are read step by step, which is said: a GPU may wait for them.
    """
    left = memory_left(arithmetic)
    if left is None or not stream.placeable or not runs:
        return
    images, pack = len(stream.used) * stream.store.images[0].nbytes, memory_of(runs, stream, arithmetic)
    if images <= min(RESIDENT * left[0], left[0] - pack):
        stream.place(arithmetic.device)
        return
    print(
        f"training images are read step by step: they take {size(images)}, of {size(left[0])} of free GPU memory, of "
        f"which the networks take at least {size(pack)}; a GPU with more memory would hold them",
        file=sys.stderr,
        flush=True,
    )


def memory_of(runs: Sequence[Run], stream: Stream, arithmetic: Arithmetic) -> int:
    """Bytes that a pack takes at least."""
    return memory(runs, stream.store.card, 2 if arithmetic.dtype == "bfloat16" else 4)


def lacking(runs: Sequence[Run], shared: Shared) -> str:
    """Why a pack cannot fit into what is left of the GPU's memory, with sizes; empty if it may fit, or on CPUs."""
    left = memory_left(shared.arithmetic)
    needed = memory_of(runs, shared.stream, shared.arithmetic)
    if left is None or needed <= left[0]:
        return ""
    why = f"at least {size(needed)} needed, {size(left[0])} of {size(left[1])} free"
    return f"{why}; other processes hold the rest: {ELSEWHERE}" if needed <= left[1] else f"{why}: take a larger GPU"


def size(number: float) -> str:
    """A number of bytes in GB."""
    return f"{number / 1e9:.3g} GB"


def train_together(
    claimed: Sequence[tuple[Run, attempts.Attempt]],
    shared: Shared,
    failures: list[str],
    stopping: Callable[[], bool],
) -> None:
    """Train claimed runs as one pack, or in two parts one after the other if the GPU has too little memory.

    Each part starts from its members' checkpoints, so the numbers are those of an undisturbed training. failures:
    receives the reasons of failed runs, including a single run that does not fit.
    """
    members: list[Member] = []
    why = lacking([run for run, _ in claimed], shared)
    try:
        if why:
            raise torch.OutOfMemoryError(why)
        for run, attempt in claimed:
            try:
                members.append(admit(run, attempt, shared))
            except Failure as failure:
                fail(attempt, str(failure), failures)
        if members:
            traces = shared.where.runs / "traces" / f"{members[0].run.id}.txt" if shared.where.trace else None
            with divided(members, shared), tracing(traces, shared.arithmetic.device) as stepped:
                # Not assigned to a name, which would keep its memory allocated after an error.
                train(
                    Pulse(members, shared.stream.steps, shared.arithmetic, failures, stopping, stepped),
                    shared.stream,
                    shared.partners,
                    shared.where.stores,
                )
        return
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        why = f"out of GPU memory: {error}"
        traceback.clear_frames(error.__traceback__)  # frees the tensors in the frames
    members.clear()
    shared.stream.displace()  # images are read again; the numbers are the same
    free_memory(shared.arithmetic)
    left = [(run, attempt) for run, attempt in claimed if states.state(attempt.path) == "running"]
    if len(claimed) == 1:
        for _, attempt in left:
            fail(attempt, f"{ALONE}: {why}", failures)
        return
    # `status` searches logs for the words of failures: this message must not contain them.
    needed = f"at least {size(memory_of([run for run, _ in claimed], shared.stream, shared.arithmetic))}"
    print(
        f"too little GPU memory for a pack of {len(claimed)} ({needed}): it goes on in halves",
        file=sys.stderr,
        flush=True,
    )
    half = -(-len(left) // 2)
    train_together(left[:half], shared, failures, showing_life([attempt for _, attempt in left[half:]], stopping))
    train_together(left[half:], shared, failures, stopping)


@contextlib.contextmanager
def divided(members: Sequence[Member], shared: Shared) -> Iterator[None]:
    """Context in which several processes divide the batches of a base, if they were asked for."""
    count, stream = shared.arithmetic.processes, shared.stream
    if count == 1:
        yield
        return
    (base,) = members
    shares.check(base.run, base.network)
    state = {
        "step": base.step,
        "network": {name: tensor.cpu() for name, tensor in base.network.state_dict().items()},
        "optimiser": base.optimiser.state,
    }
    place = shares.Shares(0, count, stream.batch_size)
    try:
        with shares.leading(base.run, shared.where, place, state, follow) as stream.shares:
            yield
    finally:
        stream.shares = None


def showing_life(waiting: Sequence[attempts.Attempt], stopping: Callable[[], bool]) -> Callable[[], bool]:
    """`stopping` with a side effect: regular heartbeats for waiting runs."""
    last_beat = time.monotonic()

    def stopping_with_beat() -> bool:
        nonlocal last_beat
        if time.monotonic() - last_beat > claims.SILENCE / 10:
            last_beat = time.monotonic()
            for attempt in waiting:
                with contextlib.suppress(OSError, Failure):
                    attempt.show_life()
        return stopping()

    return stopping_with_beat


def fail(attempt: attempts.Attempt, why: str, failures: list[str]) -> None:
    """Write the reason of a failure, unless another process has taken the run over."""
    failures.append(why)
    with contextlib.suppress(attempts.Superseded):
        attempt.fail(why)


def admit(run: Run, attempt: attempts.Attempt, shared: Shared) -> Member:
    """A claimed run as a member of a pack, in the state of its last checkpoint."""
    stream, arithmetic = shared.stream, shared.arithmetic
    weights, parent = base_weights(run.parent, shared.where.runs) if run.parent else (None, {})
    if shared.partners:
        network = network_of_parts(run, shared.own, shared.partners.missing)
    else:
        network = network_for(run, shared.own[0], parent)
    network = laid_out(network, arithmetic.device)
    if run.recipe.norm_below == "recalibrated":
        with arithmetic.autocast():
            batches = (stream.batch(step)[0].to(arithmetic.device) for step in range(stream.steps_per_epoch))
            surgery.recalibrate(network, run, batches)
    member = Member(run, attempt, network, weights)
    checkpoints.resume(member, arithmetic, shared.where.change_arithmetic)
    return member


def network_for(run: Run, moments: Moments | None, parent: dict[str, torch.Tensor]) -> nn.Sequential:
    """The initial network of a run. moments: of its own training images; parent: its base's tensors."""

    def start(initialiser: str, role: str) -> nn.Sequential:
        side = side_of(moments)
        return build.drawn(run.network, run.outputs, side, initialiser, run.seed, role, run.half.pictures.digest)

    network = start(run.recipe.initialiser, run.role)
    if run.below not in (None, "matched"):
        surgery.transplant(start(run.below, "random").state_dict(), network, run.cut)
    if moments:
        moments_in(network).load_state_dict(moments._asdict())
    surgery.transplant(parent, network, run.kept)
    if run.below == "matched":
        surgery.match(parent, network, run.cut, run.seed, run.half.digest)
    return network


def network_of_parts(run: Run, moments: Sequence[Moments | None], absent: bool) -> nn.Sequential:
    """The initial network of a run with partners, made of one for each task or input.

    moments: of the training images of each; absent: whether an input may be missing.
    """
    recipe, singles = run.recipe, []
    tasks = run.tasks if run.how.partners == "tasks" else [run.half] * len(run.parts)
    for task, network, key, own in zip(tasks, run.networks, run.parts, moments, strict=True):
        outputs = recipe.outputs or len(task.labels)
        single = build.drawn(network, outputs, side_of(own), recipe.initialiser, run.seed, *key)
        if own:
            moments_in(single).load_state_dict(own._asdict())
        singles.append(single)
    if run.how.partners == "tasks":
        return parts.of_tasks(singles, run.cut, recipe.weighting == "uncertainty")
    if run.towers:
        return parts.with_towers(
            singles, run.cut, recipe.join, recipe.beta, recipe.initialiser, run.seed, *run.parts[0], "meets"
        )
    return parts.of_inputs(singles, run.cut, recipe.join, recipe.beta, recipe.initialiser, absent)


def base_weights(base: Run, runs: Path) -> tuple[str, dict[str, torch.Tensor]]:
    """A base's tensors and their hash, which must agree with its record."""
    path = specs.folder(runs, base.id)
    record = states.read_record(path)
    tensors = load_file(path / "weights.safetensors")
    hashed = fingerprint(tensors)
    if record is None or hashed != record["weights"]:
        mend = "`yosinski heal` trains it again; for `yosinski run`, delete its directory first"
        if not base.is_trained:
            mend = f"the same `yosinski run`, or `yosinski heal`, brings in {base.half.data} again"
        raise Failure(
            f"{path / 'weights.safetensors'} does not hold the weights that the record of {base} names: {mend}"
        )
    return hashed, tensors
