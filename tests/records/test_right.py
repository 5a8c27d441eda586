"""A bit per image in records: what is written is read, and what contradicts the counts is refused."""

from typing import Any

import numpy as np
import pytest

from yosinski.errors import BadInput
from yosinski.records.right import packed, right


def record(text: str, images: list[int], correct: list[int]) -> dict[str, Any]:
    return {"per_class": {"test": {"images": images, "correct": correct}}, "right": {"test": text}}


def test_the_first_image_is_the_highest_bit_of_the_first_byte() -> None:
    assert packed(np.array([1, 0, 0, 0, 0, 0, 0, 0, 1], bool)) == "gIA="  # bytes 0x80 0x80
    assert packed(np.zeros(0, bool)) == ""


@pytest.mark.parametrize("images", [[3], [5, 3], [4, 0, 9], [1, 1, 1, 1, 1]])
def test_what_is_written_is_read(images: list[int]) -> None:
    random = np.random.default_rng(sum(images))
    parts = [random.random(count) < 0.5 for count in images]
    bits, correct = np.concatenate(parts), [int(part.sum()) for part in parts]
    found = right(record(packed(bits), images, correct), "test", "f00d")
    assert found is not None
    assert found.dtype == bool
    assert found.tolist() == bits.tolist()


def test_records_without_bits_have_none() -> None:
    whole = record("oA==", [3], [2])
    assert right({"per_class": whole["per_class"]}, "test", "f00d") is None
    assert right(whole, "unseen", "f00d") is None
    assert right({"state": "blocked"}, "test", "f00d") is None


@pytest.mark.parametrize(
    ("text", "images", "correct", "why"),
    [
        ("oA==", [9], [2], "8 with those that fill bytes, but per_class counts 9 images"),  # a byte too few
        ("oAA=", [3], [2], "16 with those that fill bytes, but per_class counts 3 images"),  # one too many
        ("sA==", [3], [2], "8 with those that fill bytes, but per_class counts 3 images"),  # 1011: a fourth bit
        ("oA==", [2, 1], [2, 0], "they are right otherwise, class by class, than per_class counts"),
        ("oA==", [2, 1], [2], "they are right otherwise, class by class, than per_class counts"),
        ("o", [3], [2], "not base64"),
        (7, [3], [2], "not base64"),
    ],
)
def test_bits_that_contradict_the_counts_are_refused(
    text: Any, images: list[int], correct: list[int], why: str
) -> None:
    with pytest.raises(BadInput, match=rf"record of run f00d, bits of set 'test': {why}"):
        right(record(text, images, correct), "test", "f00d")


def test_bits_without_counts_are_refused() -> None:
    with pytest.raises(BadInput, match="per_class does not count its images"):
        right({"right": {"test": "oA=="}}, "test", "f00d")


@pytest.mark.parametrize(
    "record",
    [
        {"right": [1]},
        {"right": {"test": "gA=="}, "per_class": {"test": {"images": None, "correct": [1]}}},
        {"right": {"test": "gA=="}, "per_class": {"test": {"images": [1]}}},
    ],
    ids=["list", "no images", "no correct"],
)
def test_tables_of_another_shape_are_refused(record: dict) -> None:
    with pytest.raises(BadInput, match="record of run f00d"):
        right(record, "test", "f00d")
