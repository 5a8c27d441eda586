"""The data card's numbers, on cases that can be counted by hand; and its sheet."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yosinski.__main__ import main
from yosinski.data import Card, sheet, survey
from yosinski.data.store import Store


def test_balance() -> None:
    card = Card("x", "f", 1, ("a", "b", "c"), images={"train": (2, 8, 4), "select": 1, "test": 3})
    assert survey.balance(card)["train"] == {"least": 2, "median": 4.0, "most": 8, "imbalance": 4.0}
    assert survey.balance(card)["test"] == {"least": 3, "median": 3.0, "most": 3, "imbalance": 1.0}


def test_sizes() -> None:
    found = survey.sizes([10, 20, 30, 40, 50], [7] * 5)
    assert found["images"] == 5
    assert found["width"] == {"least": 10, "quarter": 20, "median": 30, "three_quarters": 40, "most": 50}
    assert set(found["height"].values()) == {7}


def test_exact_duplicates_are_counted_once_and_against_train_only() -> None:
    hashes = ["p", "q", "p", "p", "q", "r", "r", "p"]
    sets, classes = np.array([0, 0, 0, 0, 1, 2, 2, -1]), np.array([0, 0, 1, 0, 0, 0, 0, 0])
    found = survey.exact_duplicates(hashes, sets, classes, list("abcdefgh"))
    assert found == {
        "train": 2,
        "select": 1,
        "test": 0,
        "between_classes": 1,
        "examples": [["c", "a"], ["d", "a"], ["e", "b"]],
    }


def test_neighbours_are_all_pairs_within_two_bits() -> None:
    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 1 << 64, 60, np.uint64)
    flips = [np.uint64(1 << int(a) | 1 << int(b)) for a, b in draw.integers(0, 64, (40, 2))]
    more = [np.uint64(0b111), np.uint64(0), np.uint64(0b11), np.uint64((1 << 64) - 1)]
    hashes = np.unique(np.concatenate([hashes, hashes[:40] ^ np.array(flips), np.array(more)]))
    expected = [
        (a, b) for b in range(len(hashes)) for a in range(b) if int(hashes[a] ^ hashes[b]).bit_count() <= survey.NEAR
    ]
    assert survey.neighbours(hashes) == sorted(expected)
    assert len(expected) >= 40


def test_near_duplicates_leave_out_skipped_and_exact_ones() -> None:
    hashes = np.array([0, 0b11, 0b111 << 20, 0, 1, 0], np.uint64)
    sets, classes = np.array([0, 0, 0, 1, 2, -1]), np.array([0, 1, 0, 0, 0, 0])
    found = survey.near_duplicates(hashes, sets, classes, list("abcdef"), np.array([0, 0, 0, 1, 0, 0], bool))
    assert {name: found[name] for name in ("train", "select", "test", "between_classes")} == {
        "train": 2,
        "select": 0,
        "test": 1,
        "between_classes": 2,
    }
    assert ["a", "b"] in found["examples"]
    assert ["b", "a"] in found["examples"]


def test_dhash_says_where_grey_rises() -> None:
    rising = np.arange(36, dtype=np.uint8)[None, :, None].repeat(36, 0).repeat(3, 2)
    images = np.stack([rising, rising[:, ::-1], np.full_like(rising, 9)])
    assert survey.dhash(images).tolist() == [(1 << 64) - 1, 0, 0]
    noise = np.random.default_rng(0).integers(0, 256, (2, 73, 73, 3), np.uint8)
    brighter = (noise // 2 + 100).astype(np.uint8)
    differ = [int(a ^ b).bit_count() for a, b in zip(survey.dhash(noise), survey.dhash(brighter), strict=True)]
    assert max(differ) <= 2 < int(np.bitwise_xor(*survey.dhash(noise))).bit_count()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of smooth pictures; one picture is there three times, another one is also a JPEG."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for set_name, count in (("train", 10), ("val", 2), ("test", 2)):
        for name in ("a", "b"):
            (tmp_path / "d" / set_name / name).mkdir(parents=True)
            for k in range(count):
                picture = Image.fromarray(draw.integers(0, 256, (8, 9, 3), np.uint8)).resize((90 + k, 80))
                picture.save(tmp_path / "d" / set_name / name / f"{k}.png")
    train = tmp_path / "d" / "train"
    shutil.copy(train / "a" / "3.png", train / "b" / "copy.png")
    shutil.copy(train / "a" / "3.png", tmp_path / "d" / "test" / "a" / "copy.png")
    Image.open(train / "b" / "5.png").save(tmp_path / "d" / "val" / "b" / "again.jpg", quality=80)
    return tmp_path / "d"


def test_the_command_finds_what_is_there_twice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show = ["data", "show", "imagefolder-64:d"]
    assert main([*show, "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    assert before["duplicates"] is None
    assert before["sources"]["images"] == 31
    assert (before["sources"]["width"]["least"], before["sources"]["width"]["most"]) == (90, 99)
    assert main([*show, "--out", "sheet.png"]) == 2
    assert "there is no store: yosinski data store imagefolder-64-crop:" in capsys.readouterr().err
    assert main(["data", "store", "imagefolder-64:d", "--workers", "1"]) == 0
    assert main([*show, "--json", "--out", "sheet.png"]) == 0
    after = json.loads(capsys.readouterr().out.partition("is there\n")[2])
    assert after["sources"] == before["sources"]
    exact, near = after["duplicates"]["exact"], after["duplicates"]["near"]
    assert exact == {
        "train": 1,
        "select": 0,
        "test": 1,
        "between_classes": 1,
        "examples": [["train/b/copy.png", "train/a/3.png"], ["test/a/copy.png", "train/a/3.png"]],
    }
    assert (near["train"], near["select"], near["test"]) == (0, 1, 0)
    assert near["examples"] == [["select/b/again.jpg", "train/b/5.png"]]
    assert Image.open("sheet.png").size[0] > 500
    assert main(show) == 0
    told = capsys.readouterr().out
    assert "train: 21 images, 10 to 11 (median 10.5, imbalance 1.1) per class" in told
    assert "  select/b/again.jpg ~ train/b/5.png" in told
    assert main([*show, "--out", "sheet.doc"]) == 2


def test_a_sheet_has_a_row_for_every_class(tmp_path: Path) -> None:
    images = np.zeros((4, 16, 16, 3), np.uint8)
    images[:2, ..., 0] = images[2:, ..., 1] = 255
    card = Card("toy", "f", 16, ("red", "a class with quite a long name, too long"), images={"train": 2})
    sheet.sheet(
        Store(card, images, np.zeros(4, int), np.array([0, 0, 1, 1]), np.zeros(4, int), np.array([0, 1, 0, 1])),
        tmp_path / "sheet.png",
    )
    drawn = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    red, green = ((drawn[..., k] - drawn[..., 1 - k] > 200) for k in (0, 1))
    assert red.sum() == pytest.approx(green.sum(), rel=0.05)
    assert np.flatnonzero(red.any(axis=1)).max() < np.flatnonzero(green.any(axis=1)).min()
