"""Which images a trained network was right on: a bit for each image of a set, in its record.

Bits are in the order of the half's labels, and within a label in that of `yosinski.data.store.Store.rows`. So the k-th
image of a class is the same picture in the records of all halves that agree in data, domain and division.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from yosinski.errors import BadInput


def packed(bits: np.ndarray) -> str:
    """Bits as a record holds them: eight in a byte, the first one highest, in base64."""
    return base64.b64encode(np.packbits(bits).tobytes()).decode("ascii")


def of_task(record: Mapping[str, Any], task: int) -> Mapping[str, Any]:
    """The part of a record that is about one of its tasks; of the first, task 0, that is the record itself."""
    further = record.get("tasks") or []
    return record if not task else further[task - 1] if task <= len(further) else {}


def right(record: Mapping[str, Any], image_set: str, run: object) -> np.ndarray | None:
    """Whether the network was right on each image of a set, bool [images]; None where the record has no such bits.

    run: what an error calls the run. BadInput if the bits are not as many as `per_class` has images, or are not right
    as often in every class as it says.
    """
    texts = record.get("right") or {}
    if not isinstance(texts, Mapping):
        raise BadInput(f"record of run {run}: right is no table of sets")
    text = texts.get(image_set)
    if text is None:
        return None
    what = f"record of run {run}, bits of set {image_set!r}"
    try:
        counts = record["per_class"][image_set]
        images, correct = (np.array(counts[name], int) for name in ("images", "correct"))
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{what}: per_class does not count its images") from error
    try:
        bits = np.unpackbits(np.frombuffer(base64.b64decode(text, validate=True), np.uint8))
    except (ValueError, TypeError) as error:
        raise BadInput(f"{what}: not base64") from error
    total = int(images.sum())
    if len(bits) != -(-total // 8) * 8 or bits[total:].any():
        raise BadInput(f"{what}: {len(bits)} with those that fill bytes, but per_class counts {total} images")
    ends = np.cumsum(images)
    before = np.concatenate([[0], np.cumsum(bits[:total], dtype=int)])
    sums = before[ends] - before[ends - images]
    if not np.array_equal(sums, correct):
        raise BadInput(f"{what}: they are right otherwise, class by class, than per_class counts")
    return bits[:total].astype(bool)
