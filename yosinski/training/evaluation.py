"""Evaluation on the select, test and unseen images of a half, and detection of stuck runs."""

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
    """The images of one set of a half: rows in the store and labels, two int64 [n]."""

    name: str
    rows: np.ndarray
    labels: np.ndarray
    classes: int
    side: int  # of the centre crop, the network's input
    at_a_time: int
    rule: int = RULE  # of the centre's position, see `crops.corner`


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


def image_set(store: Store, run: Run, name: str, unseen: bool = False) -> ImageSet:
    """One set of the half's images with the network's crop size; `unseen`: from the data set's unseen domains."""
    side, at_a_time = architecture(run.network).side, run.recipe.batch_size
    named = "unseen" if unseen else name
    return ImageSet(named, *store.rows(run.half, name, unseen), len(run.half.classes), side, at_a_time, run.half.rule)


def evaluation_sets(store: Store, run: Run) -> list[ImageSet]:
    """The sets select, test and, if the half leaves out the data set's unseen domains, unseen."""
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
    """The score of every member on one image set, unaugmented; empty if `stopping` is true between two batches."""
    for member in members:
        member.rest()
    losses = [0.0] * len(members)
    right = np.zeros((len(members), len(images.rows)), bool)
    depths = {member: member.shared for member in members}
    total = len(images.rows)
    for start in range(0, total, images.at_a_time):
        if stopping():
            return []
        part = slice(start, start + images.at_a_time)
        features = stored_inputs(depths, images.name, 0, part, arithmetic.device)
        batch = None
        if len(features) < len(depths):
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
    """State and reason: `diverged` if the training loss is not finite, `stuck` by `health.judged`, or `done`."""
    if not math.isfinite(member.train_loss):
        return "diverged", "the training loss is not finite"
    for score in scores:
        if score.images.name == "select":
            why = judged(member.train_loss, chance, int(score.right.sum()), len(score.images.rows))
            if why:
                return "stuck", why
    return "done", None


def chance(stream: Stream, select: ImageSet) -> Chance:
    """Loss and accuracy that the best answers independent of the image reach on the half of a stream."""
    train = np.bincount(stream.labels[stream.used], minlength=select.classes).tolist()
    selected = np.bincount(select.labels, minlength=select.classes).tolist()
    return Chance.of(train, selected, stream.recipe.label_smoothing)
