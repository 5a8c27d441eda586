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
from yosinski.data.pictures.resident import Resident
from yosinski.environment import Where
from yosinski.networks import build
from yosinski.networks.layers import Masks, dropping, mean_side
from yosinski.networks.parts import missing
from yosinski.networks.tokens import around
from yosinski.records import attempts, specs
from yosinski.training.arithmetic import Arithmetic, choose_arithmetic, configure, keep_freed_memory, laid_out
from yosinski.training.bottleneck import Stopped, take_features
from yosinski.training.clock import Clock
from yosinski.training.evaluation import ImageSet, Score, chance, evaluate, evaluation_sets, with_inputs
from yosinski.training.pack import Input, Member, at_cuts, masks_of, stored_inputs
from yosinski.training.partners import fusion, gradients
from yosinski.training.partners.batches import Partners
from yosinski.training.pulse import Pulse
from yosinski.training.results import Results
from yosinski.training.shares import END, Shares
from yosinski.training.stream import Stream, ahead


def train(pulse: Pulse, stream: Stream, partners: Partners | None, features: Path) -> None:
    """Train a pack to its end, or until it is stopped with checkpoints. features: their directory."""
    pack, arithmetic, clock = pulse.members, pulse.arithmetic, Clock(pulse.arithmetic.device)
    select, *final = sets_of(stream, partners)
    chances = [chance(own, images) for own, images in selects(stream, partners, [select, *final])]
    if stream.resident:  # select images are evaluated often
        select = replace(select, resident=Resident(stream.store.images, select.rows, arithmetic.device))
    results, looks = Results(pack, stream, chances, arithmetic), set(stream.recipe.evaluated(stream.steps))
    scored = [select, *(images for images in final if images.name == "select" and images.task in stream.run.scored)]

    def evaluated(members: Sequence[Member], images: ImageSet) -> list[Score]:
        store = partners.streams[images.task].store if partners else stream.store
        return evaluate(members, store, images, arithmetic, clock, pulse.stop)

    def looked_at(members: Sequence[Member]) -> list[tuple[Score, ...]]:
        """Of every member the scores of its tasks on select images; empty if it is to stop."""
        of_tasks = [evaluated(members, images) for images in scored]
        return list(zip(*of_tasks, strict=True)) if all(of_tasks) else []

    for member in pack:
        member.begin(stream.steps, clock.by)
    try:
        take_features(pulse.members, stream, select, features, arithmetic, clock, pulse.stop)
    except Stopped:
        return
    due = [member for member in pulse.members if member.step in looks and member.loss_steps]
    if due and not write_down(due, looked_at(due), pulse, results):
        return
    steps, earlier = range(min(member.step for member in pack), stream.steps), Masks()
    for step, shown in zip(steps, ahead(lambda step: read(step, stream, partners, pulse, earlier), steps), strict=True):
        active = [member for member in pulse.members if member.step == step]
        if stream.shares:
            stream.shares.announce(step)
        step_of_all(active, shown, step, stream, arithmetic, clock)
        earlier.follow(shown.masks)
        scores = looked_at(active) if step + 1 in looks else []
        clock.lap(active)
        write_down(active, scores, pulse, results)
        stop = pulse.stop() or not pulse.members or (step + 1 in looks and not scores)
        pulse.save(active, now=stop, evaluated=bool(scores))
        pulse.stepped()
        if stop:
            return
        clock.start()

    tested = pulse.members
    tests = [evaluated(tested, images) for images in (select, *final)]
    clock.lap(tested)
    if all(tests):
        of_member = dict(zip(tested, zip(*tests, strict=True), strict=True))
        of_inputs = of_fusion(tested, partners, final[0], arithmetic, clock) if partners and not partners.tasks else {}
        pulse.each(tested, lambda member: results.finish(member, of_member[member], of_inputs.get(member)))
    else:
        pulse.save(tested, now=True)


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
    member.optimiser.load_state_dict(state["optimiser"])
    member.step = state["step"]
    clock, pulse = Clock(arithmetic.device), Pulse([member], stream.steps, arithmetic, [], lambda: False)
    steps, earlier = range(member.step, stream.steps), Masks()
    for step, shown in zip(steps, ahead(lambda step: read(step, stream, None, pulse, earlier), steps), strict=True):
        if given.announce(step) == END:
            return
        step_of_all([member], shown, step, stream, arithmetic, clock)
        earlier.follow(shown.masks)
    given.announce(END)


def sets_of(stream: Stream, partners: Partners | None) -> list[ImageSet]:
    """The image sets of a pack: select, test and so on of its half, then of further tasks."""
    if partners is None:
        return evaluation_sets(stream.store, stream.run)
    if partners.tasks:
        of_tasks = enumerate(partners.streams)
        return [images for k, own in of_tasks for images in evaluation_sets(own.store, stream.run, k)]
    return [with_inputs(images, partners) for images in evaluation_sets(stream.store, stream.run)]


def selects(stream: Stream, partners: Partners | None, sets: Sequence[ImageSet]) -> list[tuple[Stream, ImageSet]]:
    """The stream and the select images of each task."""
    streams = partners.streams if partners and partners.tasks else [stream]
    return [(streams[images.task], images) for images in sets if images.name == "select"]


def of_fusion(
    members: Sequence[Member], partners: Partners, tests: ImageSet, arithmetic: Arithmetic, clock: Clock
) -> dict[Member, dict[str, Any]]:
    """What each member makes of its inputs, on test images; see `fusion`."""
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
    return Shown(images, [None if labels is None else labels.to(device)], inputs, [], masks)


def step_of_all(
    active: Sequence[Member], shown: Shown, step: int, stream: Stream, arithmetic: Arithmetic, clock: Clock
) -> None:
    """One step of each of these members on the same images."""
    recipe, masks = stream.recipe, shown.masks
    for member in active:
        member.ready(step, stream.steps)
    with around(shown.images):
        with arithmetic.autocast(), dropping(masks if recipe.dropout_below else None):
            inputs = at_cuts(active, shown.images, clock, shown.stored)
        for member, taken in zip(active, inputs, strict=True):
            with clock.of([member], stream.batch_size * member.training):
                with dropping(masks), missing(shown.missing):
                    outputs = member.logits(taken, arithmetic)
                take_step(member, outputs, shown.labels, step, stream.steps, stream.shares)


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


def take_step(
    member: Member,
    outputs: Any,
    labels: Sequence[torch.Tensor | None],
    step: int,
    steps: int,
    shares: Shares | None = None,
) -> None:
    """One step of the optimiser for all parameters trained so far: without a gradient there is no weight decay."""
    run, recipe, optimiser = member.run, member.run.recipe, member.optimiser
    gradients.backward(member, outputs, labels, shares)
    rate = run.rate(step, steps)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["times"]
    if recipe.solver == "caffe" and step and run.rate(step - 1, steps) != rate:
        # Caffe's velocity contains the rates of earlier steps, torch's does not.
        for state in optimiser.state.values():
            if state.get("momentum_buffer") is not None:
                state["momentum_buffer"] *= run.rate(step - 1, steps) / rate
    optimiser.step()
    optimiser.zero_grad()  # frees the gradients: of a pack only one member's are in memory
    member.loss_steps += 1
    member.step += 1
