"""Train a pack. The loop is plain: a batch, a step of every member, now and then an evaluation and a checkpoint."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from yosinski.data.store import Store
from yosinski.environment import environment, peak_memory
from yosinski.errors import Failure
from yosinski.experiment.cost import cost, in_pack
from yosinski.networks.batch import Batch
from yosinski.networks.layers import dropping
from yosinski.networks.tensors import fingerprint
from yosinski.records import attempts
from yosinski.training import checkpoints, surgery
from yosinski.training.arithmetic import Arithmetic, gpu_environment, gpu_memory
from yosinski.training.bottleneck import Stopped, take_features
from yosinski.training.clock import Clock
from yosinski.training.evaluation import ImageSet, Score, chance, evaluate, evaluation_sets, health
from yosinski.training.pack import Member, at_cuts, known, masks_of
from yosinski.training.stream import Stream, ahead

BEAT_EVERY = 2.0  # seconds between heartbeats
SAVE_EVERY = 600.0  # seconds between checkpoints, where evaluations are further apart than that
SAVE_SHARE = 20  # checkpoints that take longer than a second are written in at most one of so many seconds


def train(
    pack: list[Member],
    store: Store,
    stores: Path,
    arithmetic: Arithmetic,
    failures: list[str],
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Train all members to their ends, or until `stopping` says so; then checkpoints allow to go on.

    Members that stand at different steps (after a failure, say) catch up before they go on together. One that fails or
    is taken over by another process leaves the pack, and the others go on; `failures` is given why. An evaluation in
    which the training was stopped is made when it goes on: until then the loss since the last one stays in the
    checkpoint. stores: the directory in which features are stored, with `recipe.views`.
    """
    run = pack[0].run
    stream = Stream(store, run)
    evaluations = set(run.recipe.evaluated(stream.steps))
    select, *final = evaluation_sets(store, run)
    size = len(pack)
    beaten = saved = time.monotonic()
    writing = 0.0  # seconds beyond the first that the last checkpoints took
    began, first = time.time(), {member.run.id: member.step for member in pack}

    def asked() -> bool:
        """Show life now and then, and say whether to stop."""
        nonlocal beaten
        if time.monotonic() - beaten > BEAT_EVERY:
            beaten = time.monotonic()
            for member in list(pack):
                with apart(member, pack, failures):
                    member.attempt.beat(member.step, stream.steps, first[member.run.id], began)
        return stopping()

    def read(step: int) -> tuple[Batch | None, torch.Tensor, dict[Member, torch.Tensor]]:
        """What a step takes: stored features, and the images if anybody has to compute from them."""
        shown = stream.shown(step)
        held = {member: member.run.held(step / stream.steps) for member in list(pack)}
        found = known(held, "train", shown.views, np.searchsorted(stream.used, shown.images), arithmetic.device)
        images = stream.read(shown).to(arithmetic.device) if len(found) < len(held) else None
        return images, torch.from_numpy(stream.labels[shown.images]).to(arithmetic.device), found

    def write_down(scored: list[Member], scores: list[Score]) -> None:
        for member, score in zip(scored, scores, strict=False):
            if member not in pack:  # taken over meanwhile
                continue
            with apart(member, pack, failures):
                add_to_curve(member, score, stream)
                if not math.isfinite(member.train_loss):
                    finish(member, [score], stream, select, arithmetic, size, caused[member])
                    pack.remove(member)

    for member in pack:
        member.ready(max(0, member.step - 1), stream.steps)
    caused = dict(zip(pack, in_pack([member.run for member in pack], store.card), strict=True))
    clock = Clock(arithmetic.device)
    for member in pack:
        member.seconds_by = member.seconds_by or clock.by
    try:
        take_features(list(pack), stream, select, stores, arithmetic, clock, asked)
    except Stopped:
        return
    due = [member for member in pack if member.step in evaluations and member.loss_steps]
    scores = evaluate(due, store, select, arithmetic, clock, asked)
    if due and not scores:
        return
    write_down(due, scores)
    steps = range(min(first.values()), stream.steps)
    for step, (images, labels, stored) in zip(steps, ahead(read, steps), strict=True):
        active = [member for member in pack if member.step == step]
        masks = masks_of(run, step)
        for member in active:
            member.ready(step, stream.steps)
        with arithmetic.autocast(), dropping(masks if run.recipe.dropout_below else None):
            inputs = at_cuts(active, images, clock, stored)
        for member, taken in zip(active, inputs, strict=True):
            with clock.of([member], len(labels) * member.training):
                with dropping(masks):
                    outputs = member.logits(taken, arithmetic)
                loss = F.cross_entropy(outputs, labels, label_smoothing=run.recipe.label_smoothing)
                take_step(member, loss, step, stream.steps)

        evaluated = step + 1 in evaluations
        scores = evaluate(active, store, select, arithmetic, clock, asked) if evaluated else []
        clock.lap(active)
        write_down(active, scores)

        stop = asked() or not pack or (evaluated and not scores)
        now = time.monotonic()
        save = stop or now - saved >= min(SAVE_EVERY, SAVE_SHARE * writing if scores else SAVE_EVERY)
        saved = now if save else saved
        for member in [member for member in active if save and member in pack]:
            with apart(member, pack, failures):
                checkpoints.save(member, arithmetic)
        writing = max(0.0, time.monotonic() - now - 1) if save else writing
        if stop:
            return
        clock.start()

    tested = list(pack)
    tests = [evaluate(tested, store, images, arithmetic, clock, asked) for images in (select, *final)]
    clock.lap(tested)
    for member, *scores in zip(tested, *tests, strict=False):  # no scores at all if it was stopped meanwhile
        if member in pack:
            with apart(member, pack, failures):
                finish(member, scores, stream, select, arithmetic, size, caused[member])
    if not all(tests):
        for member in list(pack):
            with apart(member, pack, failures):
                checkpoints.save(member, arithmetic)


@contextlib.contextmanager
def apart(member: Member, pack: list[Member], failures: list[str]) -> Iterator[None]:
    """Let a member that fails, or is taken over by another process, leave the pack without disturbing the others."""
    try:
        yield
    except Failure as failure:
        failures.append(str(failure))
        pack.remove(member)
        with contextlib.suppress(attempts.Superseded):
            member.attempt.fail(str(failure))


def take_step(member: Member, loss: torch.Tensor, step: int, steps: int) -> None:
    """One step of the optimiser on what is trained by now: without a gradient, nothing decays either."""
    run, recipe, optimiser = member.run, member.run.recipe, member.optimiser
    optimiser.zero_grad()
    loss.backward()
    if recipe.clip:
        nn.utils.clip_grad_norm_(member.trained.values(), recipe.clip)
    rate = run.rate(step, steps)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["times"]
    if recipe.solver == "caffe" and step and run.rate(step - 1, steps) != rate:
        # Caffe's velocity contains the rate of the steps that made it, torch's does not.
        for state in optimiser.state.values():
            if state.get("momentum_buffer") is not None:
                state["momentum_buffer"] *= run.rate(step - 1, steps) / rate
    optimiser.step()
    member.loss_sum += loss.detach()
    member.loss_steps += 1
    member.step += 1


def add_to_curve(member: Member, score: Score, stream: Stream) -> None:
    """Write an evaluation down and start a new mean of the training loss."""
    member.train_loss = member.loss_sum.item() / member.loss_steps
    member.loss_sum.zero_()
    member.loss_steps = 0
    member.attempt.append(
        {
            "step": member.step,
            "epoch": member.step / stream.steps_per_epoch,
            "learning_rate": member.run.rate(member.step - 1, stream.steps),
            "train_loss": member.train_loss,
            "select_loss": score.loss,
            "select_top1": float(score.top1),
            "seconds": member.seconds,
        }
    )


def finish(
    member: Member,
    scores: list[Score],
    stream: Stream,
    select: ImageSet,
    arithmetic: Arithmetic,
    pack: int,
    caused: float,
) -> None:
    """Write the weights and, last, the record; Failure if anything has changed that must not.

    pack: how many runs were trained together; caused: by this one, so many FLOPs of what they took.
    """
    by_chance = chance(stream, select)
    state, reason = health(member, scores, by_chance)
    after = surgery.certificate(member.network, member.fixed)
    if after != member.certificate:
        raise Failure(f"{member}: tensors of frozen segments changed during training")
    tensors = {name: t.detach().cpu().contiguous() for name, t in member.network.state_dict().items()}
    member.attempt.save("weights.safetensors", lambda path: save_file(tensors, path))
    parameters = sum(p.numel() for p in member.network.parameters())
    member.attempt.finish(
        {
            "state": state,
            "reason": reason,
            "chance": asdict(by_chance),
            "steps": member.step,
            "seconds": member.seconds,
            "seconds_by": member.seconds_by,
            "metrics": finite(
                {"train_loss": member.train_loss}
                | {f"{score.images.name}_loss": score.loss for score in scores}
                | {f"{score.images.name}_top1": float(score.top1) for score in scores}
            ),
            "per_class": {
                score.images.name: {
                    "images": np.bincount(score.images.labels, minlength=score.images.classes).tolist(),
                    "correct": score.correct,
                }
                for score in scores
            },
            "parameters": parameters,
            "trained_parameters": sum(p.numel() for p in member.trained.values()),
            "flops": cost(member.run, stream.store.card).flops,
            "pack_flops": round(caused),
            "memory": peak_memory(),
            "gpu_memory": gpu_memory(arithmetic),
            "pack": pack,
            "features": "stored" if member.features else "computed",
            "arithmetic": asdict(arithmetic),
            "environment": environment() | gpu_environment(arithmetic),
            "weights": fingerprint(tensors),
            "parent_weights": member.parent_weights,
            "certificate": {"before": member.certificate, "after": after} if member.fixed else None,
        }
    )


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
