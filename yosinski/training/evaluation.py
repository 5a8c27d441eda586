"""Evaluate networks on the select, test and unseen images of their half, and judge their health."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.nn import functional as F

from yosinski.data.crops import in_the_middle
from yosinski.data.place import RULE
from yosinski.data.store import Store
from yosinski.experiment.run import Run
from yosinski.networks.catalogue import architecture
from yosinski.records.health import Chance, judged
from yosinski.training.arithmetic import Arithmetic
from yosinski.training.clock import Clock
from yosinski.training.pack import Member, at_cuts, stored_inputs
from yosinski.training.stream import Stream


@dataclass(frozen=True)
class ImageSet:
    """The images that a set of a half consists of: rows in the store and labels, int64 [n] both."""

    name: str
    rows: np.ndarray
    labels: np.ndarray
    classes: int
    side: int  # of the crop in the middle that networks take
    at_a_time: int
    rule: int = RULE  # by which the middle is found


@dataclass(frozen=True)
class Score:
    """A network's result on an image set: mean cross-entropy, and for each image whether it was right, bool [n]."""

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


def image_set(store: Store, run: Run, name: str, unseen: bool = False) -> ImageSet:
    """A set of the half's images, as the run's network takes them; `unseen`: of the data set's unseen domains."""
    side, at_a_time = architecture(run.network).side, run.recipe.batch_size
    named = "unseen" if unseen else name
    return ImageSet(named, *store.rows(run.half, name, unseen), len(run.half.classes), side, at_a_time, run.half.rule)


def evaluation_sets(store: Store, run: Run) -> list[ImageSet]:
    """select, test, and unseen where the half leaves out the data set's unseen domains."""
    sets = [image_set(store, run, name) for name in ("select", "test")]
    unseen = image_set(store, run, "test", unseen=True)
    return [*sets, unseen] if len(unseen.rows) else sets


@torch.no_grad()
def evaluate(
    members: Sequence[Member],
    store: Store,
    images: ImageSet,
    arithmetic: Arithmetic,
    clock: Clock,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Score]:
    """The score of every member on one image set, unaugmented; none if `stopping` says so between two batches."""
    for member in members:
        member.rest()
    losses = [0.0] * len(members)
    right = np.zeros((len(members), len(images.rows)), bool)
    held = {member: member.shared for member in members}
    total = len(images.rows)
    for start in range(0, total, images.at_a_time):
        if stopping():
            return []
        part = slice(start, start + images.at_a_time)
        features = stored_inputs(held, images.name, 0, part, arithmetic.device)
        batch = None
        if len(features) < len(held):
            batch = in_the_middle(store.images, images.rows[part], images.side, images.rule).to(arithmetic.device)
        labels = torch.from_numpy(images.labels[part]).to(arithmetic.device)
        with arithmetic.autocast():
            inputs = at_cuts(members, batch, clock, features)
        outputs = []
        for member, taken in zip(members, inputs, strict=True):
            with clock.of([member], len(labels) * member.evaluating):
                outputs.append(member.logits(taken, arithmetic))
        for k, output in enumerate(outputs):
            losses[k] += F.cross_entropy(output, labels, reduction="sum").item()
            right[k, part] = (output.argmax(1) == labels).cpu().numpy()
    return [Score(images, loss / total, bits) for loss, bits in zip(losses, right, strict=True)]


def health(
    member: Member, scores: Iterable[Score], chance: Chance
) -> tuple[Literal["done", "stuck", "diverged"], str | None]:
    """`diverged` if the training loss is not finite, `stuck` by the rule of `health.judged`, or `done`; and why."""
    if not math.isfinite(member.train_loss):
        return "diverged", "the training loss is not finite"
    for score in scores:
        if score.images.name == "select":
            why = judged(member.train_loss, chance, int(score.right.sum()), len(score.images.rows))
            if why:
                return "stuck", why
    return "done", None


def chance(stream: Stream, select: ImageSet) -> Chance:
    """What answers without looking at an image reach on the half that a stream shows, at best."""
    train = np.bincount(stream.labels[stream.used], minlength=select.classes).tolist()
    selected = np.bincount(select.labels, minlength=select.classes).tolist()
    return Chance.of(train, selected, stream.recipe.label_smoothing)
