"""Training of a pack. The loop: a batch, a step of every member, sometimes an evaluation and a checkpoint.

Members at different steps (after a failure, for example) catch up first. A member that fails, or is taken over by
another process, leaves the pack; the others continue. An interrupted evaluation is made when training continues: the
loss since the last one is kept in the checkpoint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from yosinski.data import store as stores
from yosinski.environment import Where
from yosinski.networks import build
from yosinski.networks.batch import moved
from yosinski.networks.layers import Masks, dropping, mean_side, standardising_once, tie_moments
from yosinski.networks.parts import missing
from yosinski.networks.tokens import around
from yosinski.records import attempts, specs
from yosinski.training.ahead import ahead
from yosinski.training.arithmetic import Arithmetic, choose_arithmetic, configure, keep_freed_memory, laid_out
from yosinski.training.bottleneck import Stopped, take_features
from yosinski.training.clock import Clock
from yosinski.training.evaluation import Evaluations, ImageSet, Score
from yosinski.training.pack import Input, Member, at_cuts, masks_of, stored_inputs
from yosinski.training.partners import fusion
from yosinski.training.partners.batches import Partners
from yosinski.training.pulse import Pulse
from yosinski.training.results import Results
from yosinski.training.shares import END, Shares
from yosinski.training.steps import gradients
from yosinski.training.steps.updates import Updates
from yosinski.training.stream import Stream


def train(pulse: Pulse, stream: Stream, partners: Partners | None, features: Path) -> None:
    """Train a pack to its end, or until it is stopped with checkpoints. features: their directory."""
    pack, arithmetic, clock = pulse.members, pulse.arithmetic, Clock(pulse.arithmetic.device)
    evaluations = Evaluations(stream, partners, arithmetic, clock, pulse.stop)
    results, updates = Results(pack, stream, evaluations.chances, arithmetic), Updates(stream.steps)
    begin(pack, stream, partners, clock)
    try:
        take_features(pulse.members, stream, evaluations.sets[0], features, arithmetic, clock, pulse.stop)
    except Stopped:
        return
    behind = [member for member in pulse.members if member.step in evaluations.steps and member.loss_steps]
    if behind and not write_down(behind, evaluations.on_select(behind), pulse, results):
        return
    steps, earlier = range(min(member.step for member in pack), stream.steps), Masks()
    coming = ahead(lambda step: read(step, stream, partners, pulse, earlier), steps, arithmetic.device)
    for step, shown in zip(steps, coming, strict=True):
        active = [member for member in pulse.members if member.step == step]
        if stream.shares:
            stream.shares.announce(step)
        step_of_all(active, shown, step, stream, arithmetic, clock, updates)
        earlier.follow(shown.masks)
        due = step + 1 in evaluations.steps
        scores = evaluations.on_select(active) if due else []
        clock.lap(active)
        write_down(active, scores, pulse, results)
        stop = pulse.stop() or not pulse.members or (due and not scores)
        pulse.save(active, now=stop, evaluated=bool(scores))
        pulse.stepped()
        if stop:
            return
        clock.start()

    tested, scores = pulse.members, evaluations.on_all(pulse.members)
    clock.lap(tested)
    if scores:
        of_member = dict(zip(tested, scores, strict=True))
        of_inputs = of_fusion(tested, partners, evaluations.sets[1], arithmetic, clock)
        pulse.each(tested, lambda member: results.finish(member, of_member[member], of_inputs.get(member)))
    else:
        pulse.save(tested, now=True)


def begin(pack: Sequence[Member], stream: Stream, partners: Partners | None, clock: Clock) -> None:
    """Prepare members to continue after their last steps. Those with equal moments will standardise pictures once."""
    if partners is None and stream.store.texts is None:
        tie_moments(member.network for member in pack)
    for member in pack:
        member.begin(stream.steps, clock.by)


def follow(run_id: str, where: Where, given: Shares, state: Mapping[str, Any]) -> None:
    """Train a base with another process that leads, as long as it announces the next step; see `shares`.

    given: this process's place; state: the leader's step, network and optimiser.
    """
    arithmetic = replace(choose_arithmetic(where), processes=given.count)
    configure(arithmetic)
    keep_freed_memory()
    run = specs.load(where.runs, run_id)
    stream = Stream(stores.of(run.half, where.stores), run)
    stream.shares = given
    network = laid_out(build.build(run.network, run.outputs, mean_side(state["network"])), arithmetic.device)
    network.load_state_dict(state["network"])
    member = Member(run, attempts.Attempt(specs.folder(where.runs, run_id), 0), network, None)  # writes nothing
    member.optimiser.state.update(state["optimiser"])
    member.step = state["step"]
    clock, pulse = Clock(arithmetic.device), Pulse([member], stream.steps, arithmetic, [], lambda: False)
    steps, earlier, updates = range(member.step, stream.steps), Masks(), Updates(stream.steps)
    coming = ahead(lambda step: read(step, stream, None, pulse, earlier), steps, arithmetic.device)
    for step, shown in zip(steps, coming, strict=True):
        if given.announce(step) == END:
            return
        step_of_all([member], shown, step, stream, arithmetic, clock, updates)
        earlier.follow(shown.masks)
    given.announce(END)


def of_fusion(
    members: Sequence[Member], partners: Partners | None, tests: ImageSet, arithmetic: Arithmetic, clock: Clock
) -> dict[Member, dict[str, Any]]:
    """What each member makes of its inputs, on test images, if it has several; see `fusion`."""
    if partners is None or partners.tasks:
        return {}
    exchanged = fusion.with_exchanged(members, partners, tests, arithmetic, clock)
    return {
        member: {"exchanged": top1, "emap": fusion.additive(member, partners.first.store, tests, arithmetic)}
        for member, top1 in zip(members, exchanged, strict=True)
    }


class Shown(NamedTuple):
    """Input of a step: images, if a member computes from them; labels, by task; stored features by member.

    With partners images are a list, one entry per task or input; `missing` says where inputs are missing. `masks` of
    dropout are drawn already, as far as the step before has asked for them.
    """

    images: Input | None
    labels: list[torch.Tensor | None]
    stored: dict[Member, torch.Tensor]
    missing: list[torch.Tensor | None]
    masks: Masks


def read(step: int, stream: Stream, partners: Partners | None, pulse: Pulse, earlier: Masks) -> Shown:
    """Read stored features for the members that use them, and images for the others.

    earlier: has seen the masks of the step before.
    """
    shown, device, masks = stream.shown(step), pulse.arithmetic.device, masks_of(stream.run, step, stream.shares)
    masks.draw_like(earlier)
    if partners:
        given = partners.read(step, shown).to(device)
        return Shown(given.images, given.labels, {}, given.missing, masks)
    depths = {member: member.run.held(step / stream.steps) for member in pulse.members}
    inputs = stored_inputs(depths, "train", shown.views, np.searchsorted(stream.used, shown.images), device)
    labels = gradients.labelled(stream.labels[shown.images])  # asked here, where no device has to wait
    if stream.resident:
        images, there = stream.there(step)
        return Shown(images, [None if labels is None else there], inputs, [], masks)
    needed = len(inputs) < len(depths) or stream.store.texts  # of texts always, for their mask
    images = stream.read(shown).to(device) if needed else None
    return Shown(images, [None if labels is None else moved(labels, device)], inputs, [], masks)


def step_of_all(
    active: Sequence[Member],
    shown: Shown,
    step: int,
    stream: Stream,
    arithmetic: Arithmetic,
    clock: Clock,
    updates: Updates,
) -> None:
    """One step of each of these members on the same images."""
    recipe, masks = stream.recipe, shown.masks
    for member in active:
        member.ready(step, stream.steps)
    with around(shown.images), standardising_once():
        with arithmetic.autocast(), dropping(masks if recipe.dropout_below else None):
            inputs = at_cuts(active, shown.images, clock, shown.stored)
        for member, taken in zip(active, inputs, strict=True):
            with clock.of([member], stream.batch_size * member.training):
                with dropping(masks), missing(shown.missing):
                    outputs = member.logits(taken, arithmetic)
                gradients.backward(member, outputs, shown.labels, stream.shares)
            updates.add(member, step, clock)
        updates.take(step, clock)


def write_down(members: Sequence[Member], scores: Sequence[Sequence[Score]], pulse: Pulse, results: Results) -> bool:
    """Add the scores to the members' curves, and end members whose loss is not finite. False if there are no scores.

    scores: of each member those of its tasks.
    """
    of_member = dict(zip(members, scores, strict=bool(scores)))

    def write(member: Member) -> None:
        if not results.add(member, of_member[member]):
            results.finish(member, of_member[member])
            pulse.leave(member)

    pulse.each(of_member, write)
    return bool(scores)
