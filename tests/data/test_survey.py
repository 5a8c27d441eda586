"""The data card's numbers, on cases that can be counted by hand; and its sheet."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import oddities
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from yosinski.cli import prepare
from yosinski.cli.main import main
from yosinski.data import find, survey
from yosinski.data.card import Card
from yosinski.data.half import Half
from yosinski.data.pictures import sheet
from yosinski.data.pictures.oddities import counted, notes
from yosinski.data.place import Place
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
    assert before["unreadable"] == 0
    (folder / "train" / "a" / "torn.png").write_bytes(b"no image")
    assert main(show) == 0
    assert "1 of 32 files that were looked at are no images: `data store` names them" in capsys.readouterr().out
    (folder / "train" / "a" / "torn.png").unlink()
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
    output = capsys.readouterr().out
    assert "train: 21 images, 10 to 11 (median 10.5, imbalance 1.1) per class" in output
    assert "  select/b/again.jpg ~ train/b/5.png" in output
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


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes with 12 images each, all but one PNGs of 40 x 30: some odd ones among the training images of a."""
    monkeypatch.chdir(tmp_path)
    for folder in ("train/a", "train/b", "val/a", "val/b", "test/a", "test/b"):
        (tmp_path / "d" / folder).mkdir(parents=True)
        for k in range(4):
            oddities.noise(40, 30, seed=k).save(tmp_path / "d" / folder / f"{k}.png")
    train = tmp_path / "d" / "train" / "a"
    oddities.noise(40, 30).save(train / "turned.jpg", exif=oddities.exif(6))
    (train / "too.tif").write_bytes(oddities.tiff(oddities.deep(40, 30, bits=8), 8, turn=8))
    (train / "clear.png").write_bytes(oddities.see_through("PNG", "RGBA", (40, 30)))
    (train / "opaque.png").write_bytes(oddities.encoded(Image.new("RGBA", (40, 30), (9, 8, 7, 255)), "PNG"))
    for k in range(3):
        Image.fromarray(oddities.deep(40, 30, bits=9 + k)).save(train / f"deep{k}.png")
    return tmp_path / "d"


def test_the_command_tells_what_is_odd(strange: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show = ["data", "show", "imagefolder-64:d"]
    assert main([*show, "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    nothing = {"least": None, "greatest": None, "mean": None, "constant": None}
    deep = {"bits": 16, "grey": True, "images": 3}
    assert before["pixels"] == {
        "images": 31,
        "turned": 2,
        "transparent": 2,
        "deep": [{**deep, "used": None}],
        **nothing,
    }
    assert before["notes"] == []
    assert main(show) == 0
    output = "by the headers of 31 images: 2 turned by EXIF, 2 transparent, 3 with greys of 16 bits (used: not known)"
    assert output in capsys.readouterr().out

    text = f"imagefolder-64-crop-11bit:{strange}"
    dark = "3 images have greys of 16 bits and use the lower 11 only: what is stored is dark"
    note = f"{dark}; {text} takes 11 bits for all"
    assert main(["data", "store", "imagefolder-64:d", "--workers", "1"]) == 0
    assert f"imagefolder:{strange}: {note}\n" in capsys.readouterr().out
    assert main(["data", "store", "imagefolder-64:d"]) == 0  # it is there
    assert note in capsys.readouterr().out
    assert main([*show, "--json"]) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["sources"] == before["sources"]
    assert after["sources"]["width"]["least"] == 30
    assert after["notes"] == [note]
    images = np.load(Path(after["store"]) / "images.npy")
    assert after["pixels"] == {
        "images": 31,
        "least": 0,
        "greatest": 255,
        "mean": pytest.approx(images.mean(), abs=0.01),
        "turned": 2,
        "transparent": 1,
        "constant": 1,
        "deep": [{**deep, "used": 11}],
    }
    assert main(show) == 0
    output = capsys.readouterr().out
    odd = "2 turned by EXIF, 1 transparent, 1 of one colour, 3 with greys of 16 bits (11 used)"
    assert f"pixels: 0 to 255, mean {images.mean():.1f}, of 31 images; {odd}\n" in output
    assert f"\n{dark}" in output

    assert main(["data", "store", text, "--workers", "1"]) == 0
    assert "what is stored is dark" not in capsys.readouterr().out
    assert main(["data", "show", text, "--json"]) == 0
    scaled = json.loads(capsys.readouterr().out)
    assert scaled["fingerprint"] != after["fingerprint"]
    assert scaled["notes"] == []
    assert scaled["pixels"]["deep"] == [{"bits": 11, "grey": True, "images": 3, "used": 11}]
    brighter = np.load(Path(scaled["store"]) / "images.npy")
    assert brighter[(images != brighter).any((1, 2, 3))].mean() > 8 * images[(images != brighter).any((1, 2, 3))].mean()


def test_runs_say_that_greys_are_dark(strange: Path) -> None:
    card = find.card("imagefolder-64:d")
    half = Half(card.name, card.fingerprint, card.classes)
    for _ in range(2):  # when the store is made, and when it is there
        console = Console(record=True, width=60, file=io.StringIO())
        prepare.with_store(half, Path("stores"), console)
        assert "imagefolder-64-crop-11bit:" in console.export_text()


def test_stores_of_earlier_versions_do_not_say_what_is_odd(strange: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "store", "imagefolder-64:d", "--workers", "1"]) == 0
    (file,) = Path("stores").glob("*/sources.parquet")
    whole = pd.read_parquet(file)
    assert whole["odd"].tolist()[:4] == [""] * 4
    for left in (["least", "greatest", "mean", "odd"], ["least", "greatest", "mean", "odd", "width", "height"]):
        whole.drop(columns=left).to_parquet(file, index=False)
        capsys.readouterr()
        assert main(["data", "show", "imagefolder-64:d", "--json"]) == 0
        output = json.loads(capsys.readouterr().out)
        assert output["sources"]["images"] == 31
        assert (output["pixels"] is None) == ("width" not in left)
        assert main(["data", "show", "imagefolder-64:d"]) == 0
        assert main(["data", "store", "imagefolder-64:d"]) == 0


def test_what_is_odd_is_counted_and_noted() -> None:
    texts = ["", "turned", "turned, transparent, 12 of 16 bits", "9 of 16 bits, one colour", "16 of 16 bits a colour"]
    deep = [
        {"bits": 16, "used": 16, "grey": False, "images": 1},
        {"bits": 16, "used": 12, "grey": True, "images": 2},
    ]
    assert counted(texts) == {"turned": 2, "transparent": 1, "constant": 1, "deep": deep}
    place = Place.of("imagefolder-64:/d")
    (note,) = notes(place, deep)
    assert note.startswith("2 images have greys of 16 bits and use the lower 12 only")
    assert "; imagefolder-64-crop-12bit:/d takes 12 bits for all" in note
    assert notes(place, counted(["0 of 16 bits"])["deep"]) == []
    assert "imagefolder-64-crop-9bit:/d" in notes(place, counted(["3 of 16 bits"])["deep"])[0]
    (clipped,) = notes(replace(place, depth=10), counted(["14 of 10 bits"])["deep"])
    assert clipped == "1 image has greys that need 14 bits, taken to have 10: what is brighter is white"
    (colours,) = notes(place, counted(["12 of 16 bits a colour"])["deep"])
    assert "Pillow drops 8" in colours
    assert "bit:" not in colours
