"""When a training counts as stuck: both its loss and its accuracy at chance; what earlier versions said of it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import synthetic

from analysis import frame
from sweeps.running.merge import merge
from sweeps.running.plan import plan
from yosinski import files
from yosinski.networks import tensors
from yosinski.records import attempts, specs, states
from yosinski.records.health import EARLIER, Chance, judged

A, B = synthetic.halves()
BASE = synthetic.base(A)


def is_stuck(loss: float, right: int, train: list[int], select: list[int], smoothing: float = 0.0) -> bool:
    return judged(loss, Chance.of(train, select, smoothing), right, sum(select)) is not None


@pytest.mark.parametrize(
    ("loss", "right", "train", "select", "stuck"),
    [
        (0.01, 4, [16] * 2, [2] * 2, False),  # perfect, on too few images for any test
        (0.69, 4, [16] * 2, [2] * 2, False),  # all right are never at chance
        (0.69, 2, [16] * 2, [2] * 2, True),
        (0.01, 2, [16] * 2, [2] * 2, False),  # learned by heart
        (1.5, 100, [60] * 10, [10] * 10, False),
        (2.30, 10, [60] * 10, [10] * 10, True),  # ln 10 is 2.303
        (2.30, 0, [60] * 10, [10] * 10, True),
        (2.9, 10, [60] * 10, [10] * 10, True),  # above ln K
        (2.30, 40, [60] * 10, [10] * 10, False),  # has begun to learn
        (6.9, 50, [1300] * 1000, [50] * 1000, True),
        (6.9, 250, [1300] * 1000, [50] * 1000, False),  # 0.5 %, five times chance
        (0.326, 90, [900, 100], [90, 10], True),  # always answers the larger class, and knows how large it is
        (0.326, 90, [900, 100], [50, 50], False),
        (0.326, 50, [900, 100], [50, 50], True),  # the same, where select images are spread evenly
        (0.25, 90, [900, 100], [90, 10], False),  # fits its training images better than that
        (0.0, 90, [900, 100], [90, 10], False),
        (0.326, 99, [900, 100], [90, 10], False),
    ],
)
def test_stuck_is_a_loss_and_an_accuracy_at_chance(
    loss: float, right: int, train: list[int], select: list[int], stuck: bool
) -> None:
    assert is_stuck(loss, right, train, select) == stuck


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_label_smoothing_leaves_ln_k_as_it_is(smoothing: float) -> None:
    assert Chance.of([7] * 5, [3] * 5, smoothing).loss == pytest.approx(math.log(5))
    unequal = Chance.of([900, 100], [9, 1], smoothing).loss
    assert unequal == pytest.approx(-sum(p * math.log(p) for p in (0.9 - 0.4 * smoothing, 0.1 + 0.4 * smoothing)))


def test_classes_without_training_images_are_no_chance() -> None:
    found = Chance.of([5, 5, 0], [5, 5, 5])
    assert (found.loss, found.top1) == pytest.approx((math.log(2), 1 / 3))


def old(state: str, loss: float | None, right: int, images: int, **values: Any) -> dict[str, Any]:
    """What the record of an earlier version says of three classes; nothing of chance."""
    counts = {"images": [images // 3] * 3, "correct": [right - 2 * (right // 3), right // 3, right // 3]}
    metrics = {"train_loss": loss, "select_top1": right / images, "test_top1": right / images}
    return {"state": state, "reason": "the accuracy", "metrics": metrics, "per_class": {"select": counts}, **values}


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (old("stuck", 0.02, 3, 3), "done"),
        (old("stuck", 0.02, 1, 3), "done"),  # learned by heart
        (old("stuck", 1.09, 60, 90), "done"),
        (old("stuck", 1.09, 30, 90), "stuck"),
        (old("stuck", None, 60, 90), "stuck"),
        (old("stuck", 1.09, 60, 90, per_class={}), "stuck"),
        (old("stuck", 1.09, 60, 90, chance={"loss": 1.0, "top1": 0.3}), "stuck"),  # today's word stands
        (old("diverged", 0.02, 3, 3), "diverged"),
    ],
)
def test_what_an_earlier_version_called_stuck_is_read_by_todays_rule(
    record: dict[str, Any], state: str, tmp_path: Path
) -> None:
    synthetic.finish(tmp_path, BASE, 0.5, [0.5], **record)
    path = specs.folder(tmp_path, BASE.id)
    read = states.read_record(path)
    assert read is not None
    assert read["state"] == states.state(path) == state
    assert read["reason"] == (f"{EARLIER}: the accuracy" if state == "done" else "the accuracy")
    assert files.read_json(path / "record.json")["state"] == record["state"]  # nothing is rewritten
    assert set(frame(tmp_path)["state"]) == {state}


def test_copies_that_such_a_base_blocked_are_trained(tmp_path: Path) -> None:
    copy = synthetic.copy(BASE, B, 3)
    synthetic.finish(tmp_path, BASE, 1.0, **old("stuck", 0.02, 3, 3, seconds=1.0))
    attempt = attempts.claim(tmp_path, copy)
    assert attempt is not None
    attempt.finish({"state": "blocked", "reason": f"its base {BASE} is stuck"})
    made = plan([BASE, copy], tmp_path, 1)
    assert made.states == {BASE.id: "done", copy.id: "missing"}
    assert made.left == [copy]


def test_merging_copies_such_a_record_as_it_was_written(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    synthetic.finish(here, BASE, 1.0, [1.0], **old("stuck", 0.02, 3, 3), weights="")
    path = specs.folder(here, BASE.id)
    (path / "weights.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    written = json.loads((path / "record.json").read_text())
    weights = tensors.fingerprint_of_file(path / "weights.safetensors")
    synthetic.damage(path / "record.json", lambda record: record.update(weights=weights))
    merge([here], there)
    copied = json.loads((specs.folder(there, BASE.id) / "record.json").read_text())
    assert copied == {**written, "weights": weights}
