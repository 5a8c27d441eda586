"""Partners: the batches of further tasks, and of further inputs of the same examples.

Inputs of one example agree in the label, in the number within class and set, and in the place of their domain among
those of the half: two artists' drawings of one emoji, two columns of a list of files. Between two data sets, such as
pictures and words, the k-th example of a class goes with the k-th; where the other one has fewer, with the first again.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from yosinski.data.half import Half
from yosinski.data.pictures.crops import greyed
from yosinski.data.store import Store
from yosinski.errors import BadInput
from yosinski.experiment.recipes import numbers
from yosinski.experiment.run import Run
from yosinski.networks.batch import moved
from yosinski.networks.tokens import Seen
from yosinski.randomness import generator
from yosinski.training.steps.gradients import labelled
from yosinski.training.stream import Shown, Stream


class Given(NamedTuple):
    """The input of a step for a network with partners: one entry per task or input.

    images: None for tasks that are not trained in this step; labels: int64 [b], -1 for none, one entry per task, None
    where no image has one; missing: bool [b], or None where no input is missing.
    """

    images: list[Seen]
    labels: list[torch.Tensor | None]
    missing: list[torch.Tensor | None]

    def to(self, device: str) -> "Given":
        """The same on a device."""
        there = [[None if x is None else moved(x, device) for x in part] for part in (self.labels, self.missing)]
        done = {id(batch): batch.to(device) for batch in self.images if batch is not None}
        return Given([done.get(id(batch)) for batch in self.images], *there)


class Partners:
    """The tasks or inputs of a pack. `streams`: one each; the first is the pack's own."""

    def __init__(self, first: Stream, store_of: Callable[[Half], Store]) -> None:
        run = first.run
        self.first, self.tasks = first, len(run.tasks) > 1
        keys = run.parts[1:] if self.tasks else [(run.role, half.pictures.digest) for half in run.partners]
        further = zip(run.partners, keys, strict=True)
        self.streams = [first, *(Stream(store_of(half), run, half, key) for half, key in further)]
        self.pairs = [
            pairs(first.store, first.half, stream.store, stream.half, "train")
            for stream in self.streams
            if not self.tasks
        ]
        self._exchanged = lru_cache(maxsize=len(self.streams))(self._draw_exchanged)

    def _draw_exchanged(self, k: int, epoch: int) -> np.ndarray:
        """For every example the one whose input k it gets in an epoch."""
        return exchanged(len(self.pairs[k]), self.first.run, self.streams[k].half, "train", epoch)

    @property
    def missing(self) -> bool:
        """Whether an input of a training image is missing."""
        return any((found < 0).any() for found in self.pairs)

    def read(self, step: int, shown: Shown) -> Given:
        """The batches of a step. shown: of the first stream."""
        return self._tasks(step, shown) if self.tasks else self._inputs(step, shown)

    def _tasks(self, step: int, shown: Shown) -> Given:
        run, drawn = self.first.run, self.drawn(step)
        read: dict[tuple[str, str], tuple[Shown, Seen]] = {}
        images, labels = [], []
        for k, (stream, key) in enumerate(zip(self.streams, run.parts, strict=True)):
            if k not in drawn:
                images.append(None)
                labels.append(None)
                continue
            if key not in read:  # tasks on the same pictures see the same batch
                chosen = shown if k == 0 else stream.shown(step)
                read[key] = chosen, stream.read(chosen)
            chosen, batch = read[key]
            images.append(batch)
            labels.append(labelled(stream.labels[chosen.images]))
        return Given(images, labels, [None] * len(images))

    def drawn(self, step: int) -> list[int]:
        """The tasks that are trained in a step, by `recipe.step`: all, or one."""
        run = self.first.run
        if run.recipe.step == "all":
            return list(range(len(self.streams)))
        chances = np.array(numbers(run.recipe.step))
        random = generator("task", run.seed, *(digest for _, digest in run.parts), step).random()
        return [int(np.searchsorted(np.cumsum(chances / chances.sum()), random, side="right"))]

    def _inputs(self, step: int, shown: Shown) -> Given:
        epoch = step // self.first.steps_per_epoch
        first = self.first.read(shown)
        images: list[Seen] = [first]
        missing: list[torch.Tensor | None] = [None]
        for k, (stream, found) in enumerate(zip(self.streams[1:], self.pairs[1:], strict=True), 1):
            if stream.half.drawn == "same":
                images.append(greyed(first) if stream.half.grey else first)
                missing.append(None)
                continue
            examples = shown.images
            if stream.half.drawn == "exchanged":
                examples = self._exchanged(k, epoch)[examples]
            absent = found[examples] < 0
            chosen = stream.drawn(epoch, np.where(absent, 0, found[examples]))
            images.append(stream.read(chosen))
            missing.append(torch.from_numpy(absent) if self.missing else None)
        return Given(images, [labelled(self.first.labels[shown.images])], missing)


def pairs(first: Store, half: Half, store: Store, other: Half, set_name: str) -> np.ndarray:
    """For every image of a half in a set, the number of the other half's image of the same example, or -1: int64 [n].

    BadInput if they have no common example.
    """
    if half.fingerprint != other.fingerprint:
        labels, theirs = (of.rows(one.pictures, set_name)[1] for of, one in ((first, half), (store, other)))
        return _in_turn(labels, theirs)

    def keys(store: Store, half: Half) -> np.ndarray:
        rows, labels = store.rows(half.pictures, set_name)
        place = np.zeros(len(store.card.domains), int)
        place[[store.card.domains.index(name) for name in half.domain]] = np.arange(len(half.domain))
        places = place[store.domains[rows]] if half.domain else np.zeros(len(rows), int)
        return np.stack([labels, store.numbers[rows], places], axis=1)

    ours, theirs = keys(first, half), keys(store, other)
    codes = np.unique(np.concatenate([ours, theirs]), axis=0, return_inverse=True)[1].ravel()
    place = np.full(codes.max(initial=-1) + 1, -1)
    place[codes[len(ours) :]] = np.arange(len(theirs))
    found = place[codes[: len(ours)]].astype(np.int64)
    if len(found) and (found < 0).all():
        raise BadInput(
            f"inputs {half.input or half.name} and {other.input or other.name} have no common {set_name} example"
        )
    return found


def _in_turn(labels: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """For every example the number of one of theirs with the same label, each in turn: int64 [n]; -1 for none."""
    found = np.full(len(labels), -1, np.int64)
    for label in np.unique(theirs):
        own, other = np.flatnonzero(labels == label), np.flatnonzero(theirs == label)
        found[own] = other[np.arange(len(own)) % len(other)]
    return found


def exchanged(total: int, run: Run, half: Half, set_name: str, epoch: int = 0) -> np.ndarray:
    """For each of `total` examples another one, int64 [total]: every example once, and never itself."""
    random = generator("exchanged", run.seed, half.digest, set_name, epoch)
    order = random.permutation(total)
    other = np.empty(total, np.int64)
    other[order] = np.roll(order, -1)
    return other
