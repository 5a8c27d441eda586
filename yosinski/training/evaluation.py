"""Evaluation on the select, test and unseen images of a half, and detection of stuck runs."""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from yosinski.data.half import Half
from yosinski.data.pictures.crops import greyed, unaugmented
from yosinski.data.pictures.resident import Resident
from yosinski.data.place import RULE
from yosinski.data.store import Store
from yosinski.experiment.cost import origin
from yosinski.experiment.run import Run
from yosinski.networks.batch import Batch, moved
from yosinski.networks.layers import standardising_once
from yosinski.networks.parts import missing
from yosinski.networks.tokens import Seen, around
from yosinski.records.health import Chance, judged
from yosinski.training.arithmetic import Arithmetic
from yosinski.training.clock import Clock
from yosinski.training.pack import Member, at_cuts, stored_inputs
from yosinski.training.partners.batches import Given, Partners, exchanged, pairs
from yosinski.training.steps.gradients import loss_of
from yosinski.training.stream import Stream

MOST = 1 << 28  # bytes of features that are kept in memory for select images


@dataclass(frozen=True)
class ImageSet:
    """The images of one set of a half: rows in the store and labels, two int64 [n]."""

    name: str
    rows: np.ndarray
    labels: np.ndarray
    classes: int
    side: int  # of the centre crop, the network's input; of texts the most tokens
    at_a_time: int
    rule: int = RULE  # of the centre's position, see `crops.corner`
    task: int = 0  # of a network with several tasks
    others: tuple["OtherInput", ...] = ()  # further inputs of the same examples
    grey: bool = False  # whether they are seen without their colours
    resident: Resident | None = None  # these images in the device's memory

    def batch(self, store: Store, part: slice) -> Seen | list[Seen]:
        """The centre crops of these images, or the texts; with further inputs a list."""
        if self.resident is not None:
            seen = self.resident.middle(part, self.side, self.rule)
            return greyed(seen) if self.grey else seen
        first = unaugmented(store, self.rows[part], self.side, self.rule)
        first = greyed(first) if self.grey else first
        if not self.others:
            return first
        return [first, *(other.batch(part) for other in self.others)]


@dataclass(frozen=True)
class OtherInput:
    """A further input of the images of a set: rows in its store, int64 [n], -1 for missing ones."""

    store: Store
    rows: np.ndarray
    half: Half
    side: int  # as of an image set

    def batch(self, part: slice) -> Seen:
        """The centre crops of these examples, or the texts; of missing ones some other, which is not used."""
        batch = unaugmented(self.store, np.maximum(self.rows[part], 0), self.side, self.half.rule)
        return greyed(batch) if self.half.grey and isinstance(batch, Batch) else batch

    def missing(self, part: slice) -> torch.Tensor | None:
        """Which are missing, bool [b]; None if no image of the set is."""
        return torch.from_numpy(self.rows[part] < 0) if (self.rows < 0).any() else None


@dataclass(frozen=True)
class Score:
    """Result on an image set: mean cross-entropy, and for each image whether the network was right, bool [n]."""

    images: ImageSet
    loss: float
    right: np.ndarray

    @property
    def top1(self) -> float:
        """The share of images on which it was right."""
        return float(self.right.sum() / len(self.right))

    @property
    def correct(self) -> list[int]:
        """On how many images of each class it was right."""
        return np.bincount(self.images.labels[self.right], minlength=self.images.classes).tolist()


class Kept:
    """The output of frozen segments for batches of select images, in memory from one evaluation to the next.

    At most `MOST` bytes are kept; what has no room is computed each time. It is identified like segments that are
    shared, by origin and depth, which never change.
    """

    def __init__(self) -> None:
        self.held: dict[tuple[Hashable, int, int], tuple[torch.Tensor, int]] = {}  # by first image; with its version
        self.bytes = 0

    def of(self, members: Sequence[Member], start: int) -> dict[Member, torch.Tensor]:
        """What is kept for these members, unless a network has changed it in place."""
        found = {member: self.held.get((origin(member.run), member.trunk, start)) for member in members if member.trunk}
        return {member: kept[0] for member, kept in found.items() if kept and kept[0]._version == kept[1]}

    def keep(self, inputs: Mapping[Member, torch.Tensor], start: int) -> None:
        """Keep the inputs of members above their trunks, as far as there is room; not what is stored on disk."""
        for member, taken in inputs.items():
            key = origin(member.run), member.trunk, start
            lacking = member.trunk and not member.features and key not in self.held
            if lacking and self.bytes + taken.nbytes <= MOST:
                self.held[key] = taken, taken._version
                self.bytes += taken.nbytes

    def forget(self, members: Sequence[Member]) -> None:
        """Free what none of these members needs any more."""
        needed = {(origin(member.run), member.trunk) for member in members}
        self.held = {key: kept for key, kept in self.held.items() if key[:2] in needed}
        self.bytes = sum(tensor.nbytes for tensor, _ in self.held.values())


def image_set(store: Store, run: Run, name: str, unseen: bool = False, task: int = 0) -> ImageSet:
    """One set of a task's images with the network's crop size; `unseen`: from the data set's unseen domains."""
    at_a_time, half = run.recipe.batch_size, run.tasks[task]
    rows, labels = store.rows(half, name, unseen)
    labelled = labels >= 0  # others are no images of the task
    named = "unseen" if unseen else name
    shown = rows[labelled], labels[labelled], len(half.labels), run.size(half), at_a_time
    return ImageSet(named, *shown, half.rule, task, grey=half.grey)


def evaluation_sets(store: Store, run: Run, task: int = 0) -> list[ImageSet]:
    """The sets select, test and, if the half leaves out the data set's unseen domains, unseen."""
    sets = [image_set(store, run, name, task=task) for name in ("select", "test")]
    if len(run.inputs) > 1:  # which an unseen domain would not have
        return sets
    unseen = image_set(store, run, "test", unseen=True, task=task)
    return [*sets, unseen] if len(unseen.rows) else sets


def with_inputs(images: ImageSet, partners: Partners) -> ImageSet:
    """The set with the further inputs of its examples."""
    others, first = [], partners.first
    for stream in partners.streams[1:]:
        found = pairs(first.store, first.half, stream.store, stream.half, images.name)
        if stream.half.drawn == "exchanged":
            found = found[exchanged(len(found), first.run, stream.half, images.name)]
        rows = stream.store.rows(stream.half.pictures, images.name)[0]
        paired = np.where(found < 0, -1, rows[np.maximum(found, 0)])
        others.append(OtherInput(stream.store, paired, stream.half, stream.side))
    return replace(images, others=tuple(others))


@torch.no_grad()
def evaluate(
    members: Sequence[Member],
    store: Store,
    images: ImageSet,
    arithmetic: Arithmetic,
    clock: Clock,
    stopping: Callable[[], bool] = lambda: False,
    kept: Kept | None = None,
) -> list[Score]:
    """The score of every member on one image set, unaugmented; empty if `stopping` is true between two batches.

    kept: of earlier evaluations on this set; None: nothing is kept.
    """
    for member in members:
        member.rest()
    if not members:
        return []
    device = arithmetic.device
    losses = torch.zeros(len(members), dtype=torch.float64, device="cpu" if device == "mps" else device)
    right: list[torch.Tensor] = []  # on the device, which nothing waits for until the end
    depths = {member: member.trunk for member in members}
    total = len(images.rows)
    if kept:
        kept.forget(members)
    for start in range(0, total, images.at_a_time):
        if stopping():
            return []
        part = slice(start, start + images.at_a_time)
        features = stored_inputs(depths, images.name, 0, part, arithmetic.device)
        if kept:
            features = kept.of([member for member in members if member not in features], start) | features
        batch = images.batch(store, part) if len(features) < len(depths) or store.texts else None
        absent = [None, *(other.missing(part) for other in images.others)]
        if isinstance(batch, list):
            batch = Given(batch, [], absent).to(arithmetic.device)
            batch, absent = batch.images, batch.missing
        elif batch is not None:
            batch = batch.to(arithmetic.device)
        labels = moved(torch.from_numpy(images.labels[part]), arithmetic.device)
        outputs = []
        with around(batch), standardising_once():
            with arithmetic.autocast():
                inputs = at_cuts(members, batch, clock, features)
            if kept:
                kept.keep(dict(zip(members, inputs, strict=True)), start)
            for member, taken in zip(members, inputs, strict=True):
                with clock.of([member], len(labels) * member.evaluating), missing(absent):
                    outputs.append(of_task(member, taken, images.task, arithmetic))
        sums = [loss_of(member.run, out, labels, reduction="sum") for member, out in zip(members, outputs, strict=True)]
        losses += torch.stack(sums).to(losses.device).double()
        right.append(torch.stack([output.argmax(1) == labels for output in outputs]))
    bits = torch.cat(right, 1).cpu().numpy()
    return [Score(images, loss / total, own) for loss, own in zip(losses.tolist(), bits, strict=True)]


def of_task(member: Member, taken: Any, task: int, arithmetic: Arithmetic) -> torch.Tensor:
    """The outputs of one task for its images alone, float32 [b, outputs]."""
    if len(member.run.tasks) == 1:
        return member.logits(taken, arithmetic)
    alone = [taken if k == task else None for k in range(len(member.run.tasks))]
    return member.logits(alone, arithmetic)[task]


class Evaluations:
    """The evaluations of a pack: of select images after certain `steps`, and of all `sets` at the end.

    The first set has the select images of its half; those of further tasks follow. What was evaluated after the last
    step is not evaluated again at the end. chances: see `chance`, by task.
    """

    def __init__(
        self,
        stream: Stream,
        partners: Partners | None,
        arithmetic: Arithmetic,
        clock: Clock,
        stopping: Callable[[], bool],
    ) -> None:
        self.arithmetic, self.clock, self.stopping = arithmetic, clock, stopping
        self.streams = partners.streams if partners and partners.tasks else [stream]
        self.sets = [
            images for k, own in enumerate(self.streams) for images in evaluation_sets(own.store, stream.run, k)
        ]
        if partners and not partners.tasks:
            self.sets = [with_inputs(images, partners) for images in self.sets]
        self.chances = [chance(self.streams[s.task], s) for s in self.sets if s.name == "select"]
        if stream.resident:  # select images are evaluated often
            select = self.sets[0]
            self.sets[0] = replace(select, resident=Resident(stream.store.images, select.rows, arithmetic.device))
        self.scored = [s for s in self.sets if s.name == "select" and s.task in stream.run.scored]
        self.steps = set(stream.recipe.evaluated(stream.steps))
        self.kept = Kept() if partners is None and arithmetic.device == "cpu" else None
        self.latest: dict[Member, tuple[int, tuple[Score, ...]]] = {}  # the last scores, and after which step

    def on_select(self, members: Sequence[Member]) -> list[tuple[Score, ...]]:
        """Of every member the scores of its tasks that have curves; empty if it is to stop."""
        return self._scores(members, self.scored)

    def on_all(self, members: Sequence[Member]) -> list[tuple[Score, ...]]:
        """Of every member the scores on all sets; empty if it is to stop."""
        return self._scores(members, self.sets)

    def _scores(self, members: Sequence[Member], sets: Sequence[ImageSet]) -> list[tuple[Score, ...]]:
        found: list[list[Score]] = []
        for images in sets:
            known = [score for member in members if (score := self._known(member, images))]
            if len(known) < len(members):
                store, kept = self.streams[images.task].store, self.kept if images.name == "select" else None
                known = evaluate(members, store, images, self.arithmetic, self.clock, self.stopping, kept)
            found.append(known)
        if not all(found):
            return []
        scores = list(zip(*found, strict=True))
        self.latest = {member: (member.step, own) for member, own in zip(members, scores, strict=True)}
        return scores

    def _known(self, member: Member, images: ImageSet) -> Score | None:
        """The score on these images after the same step, as on select images at the end."""
        step, scores = self.latest.get(member, (None, ()))
        return next((score for score in scores if score.images is images), None) if step == member.step else None


def health(
    train_loss: float, scores: Iterable[Score], chance: Chance
) -> tuple[Literal["done", "stuck", "diverged"], str | None]:
    """State and reason: `diverged` if the training loss is not finite, `stuck` by `health.judged`, or `done`."""
    if not math.isfinite(train_loss):
        return "diverged", "the training loss is not finite"
    for score in scores:
        if score.images.name == "select":
            why = judged(train_loss, chance, int(score.right.sum()), len(score.images.rows))
            if why:
                return "stuck", why
    return "done", None


def chance(stream: Stream, select: ImageSet) -> Chance:
    """Loss and accuracy that the best answers independent of the image reach on the half of a stream."""
    labels = stream.labels[stream.used]
    train = np.bincount(labels[labels >= 0], minlength=select.classes).tolist()
    selected = np.bincount(select.labels, minlength=select.classes).tolist()
    return Chance.of(train, selected, stream.recipe.label_smoothing)
