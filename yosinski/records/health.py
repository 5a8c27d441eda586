"""Whether a training has learned anything: `done`, or `stuck` at chance. No torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CLEARLY = 0.001  # so improbable by chance must an accuracy be that speaks against the loss
EARLIER = "called stuck by the rule of an earlier version"


@dataclass(frozen=True)
class Chance:
    """What answers without looking at an image reach at best, in training (mean loss) and on the select images."""

    loss: float
    top1: float

    @classmethod
    def of(cls, train: Sequence[int], select: Sequence[int], smoothing: float = 0.0) -> "Chance":
        """From the numbers of images per class: the loss of the classes' shares as answer, the largest class's share.

        With classes of equal size these are ln K and 1/K. smoothing: the share of every label that is spread evenly
        over the classes, which leaves ln K as it is.
        """
        shares = [(1 - smoothing) * count / sum(train) + smoothing / len(train) for count in train]
        return cls(-sum(share * math.log(share) for share in shares if share), max(select) / sum(select))


def judged(train_loss: float, chance: Chance, right: int, images: int) -> str | None:
    """Why a finite training loss and so many right select images are those of a network that is stuck, or None.

    It is stuck if both are at chance: the training loss not more than 1 % below that of the classes' shares (ln K for
    classes of equal size), and the accuracy one that the share of the largest select class (1/K) reaches by chance: a
    one-sided binomial test gives it a probability of more than 0.001. Neither is enough alone:

    - a loss at ln K with an accuracy clearly above chance is a training that has begun to learn (many classes, heavy
      label smoothing, few steps): not a good one, but what it learned was learned from the images;
    - an accuracy at chance with a lower loss has learned its training images and nothing beyond them, or there are too
      few select images to tell: no failure of the optimisation. All images right are never at chance, however few.
    """
    if train_loss < 0.99 * chance.loss or right == images:
        return None
    from scipy.stats import binomtest  # takes its time to load

    if binomtest(right, images, chance.top1, alternative="greater").pvalue <= CLEARLY:
        return None
    return (
        f"the training loss ended at {train_loss:.3f}, chance is {chance.loss:.3f}, and the accuracy at "
        f"{right / images:.3f}, chance is {chance.top1:.3f}"
    )


def reread(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a stuck run, with the state that it has by today's rule; one of today's is left as it is.

    Earlier versions called a run stuck for its loss or its accuracy alone, and did not say what chance was. Where what
    they wrote down shows that it has learned, it is read as done, with a reason that says so. The training images per
    class are not among it; they are taken to be spread as the select images are.
    """
    try:
        if "chance" in record:
            return dict(record)
        counts = record["per_class"]["select"]
        images, right = counts["images"], sum(counts["correct"])
        why = judged(record["metrics"]["train_loss"], Chance.of(images, images), right, sum(images))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return dict(record)
    return dict(record) if why else {**record, "state": "done", "reason": f"{EARLIER}: {record.get('reason')}"}
