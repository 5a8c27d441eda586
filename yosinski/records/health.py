"""Whether a training has learned anything: `done`, or `stuck` at chance level. No torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CLEARLY = 0.001  # significance level for an accuracy above chance
EARLIER = "called stuck by the rule of an earlier version"


@dataclass(frozen=True)
class Chance:
    """Chance level: the best mean training loss and accuracy on select images of answers independent of the image."""

    loss: float
    top1: float

    @classmethod
    def of(cls, train: Sequence[int], select: Sequence[int], smoothing: float = 0.0) -> "Chance":
        """From the numbers of images per class: the entropy of the classes, and the share of the largest class.

        With classes of equal size these are ln K and 1/K. smoothing: share of every label that is spread evenly over
        the classes; it does not change ln K.
        """
        shares = [(1 - smoothing) * count / sum(train) + smoothing / len(train) for count in train]
        return cls(-sum(share * math.log(share) for share in shares if share), max(select) / sum(select))


def judged(train_loss: float, chance: Chance, right: int, images: int) -> str | None:
    """The reason why a network is stuck, or None. right: number of correct select images, out of `images`.

    It is stuck if both of these are at chance level:

    - the training loss is at most 1 % below the entropy of the classes (ln K for classes of equal size)
    - the accuracy is compatible with the share of the largest select class (1/K): a one-sided binomial test gives a
      probability of more than 0.001. If all images are right it is never at chance.

    One of them is not enough. A loss at ln K with an accuracy clearly above chance is a training that has begun to
    learn (many classes, strong label smoothing, few steps). With a lower loss, an accuracy at chance means that only
    the training images were learned, or that there are too few select images: the optimisation has not failed.
    """
    if train_loss < 0.99 * chance.loss or right == images:
        return None
    from scipy.stats import binomtest  # slow to load

    if binomtest(right, images, chance.top1, alternative="greater").pvalue <= CLEARLY:
        return None
    return (
        f"the training loss ended at {train_loss:.3f}, chance is {chance.loss:.3f}, and the accuracy at "
        f"{right / images:.3f}, chance is {chance.top1:.3f}"
    )


def reread(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a stuck run, with its state by the present rule.

    Earlier versions called a run stuck because of its loss or its accuracy alone, and did not record the chance level.
    If the recorded numbers show that it has learned, its state becomes done, with a reason. The numbers of training
    images per class are not recorded; the classes' shares are taken from the select images.
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
