"""Folders of classes, lists and Tiny ImageNet: which images are train, select and test, and what is refused."""

import codecs
import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from imagenet import wnids
from PIL import Image

from yosinski.cli.main import main
from yosinski.data import find, making
from yosinski.data import store as data_stores
from yosinski.data.decoding import decode
from yosinski.data.halves import split
from yosinski.data.place import Place
from yosinski.data.sources import kinds, scanning, synsets
from yosinski.data.sources.listing import Listing
from yosinski.errors import BadInput


def write(folder: Path, counts: Mapping[str, int], suffix: str = ".jpg") -> None:
    """So many small pictures in each of some folders, all different."""
    draw = np.random.default_rng(sum(map(ord, folder.name)))
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            picture = Image.fromarray(draw.integers(0, 256, (20, 26, 3), np.uint8))
            picture.save(folder / name / f"{k:02d}{suffix}")


def listed(text: str) -> Listing:
    return kinds.list_images(Place.of(text))


def counts(listing: Listing) -> dict[str, list[int]]:
    return listing.summary["per_class"]


def refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        listed(text)


def paths(listing: Listing, set_name: str) -> list[str]:
    return [image.file.path for image in listing.images if image.set_name == set_name]


# ---------------------------------------------------------------------------------------------------------- imagefolder


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_three_folders_are_the_three_sets(val: str, tmp_path: Path) -> None:
    for folder, count in (("train", 4), (val, 2), ("test", 3)):
        write(tmp_path / folder, {"a cat": count, "Ünder dog": count})
    found = listed(f"imagefolder:{tmp_path}")
    assert found.classes == ("a cat", "Ünder dog")
    assert counts(found) == {"train": [4, 4], "select": [2, 2], "test": [3, 3]}
    assert {path.split("/")[0] for path in paths(found, "select")} == {val}


@pytest.mark.parametrize("other", ["val", "test"])
def test_of_two_sets_the_other_one_is_test_and_a_tenth_of_train_is_select(other: str, tmp_path: Path) -> None:
    write(tmp_path / "train", {"a": 30, "b": 4})
    write(tmp_path / other, {"a": 2, "b": 1})
    found = listed(f"imagefolder:{tmp_path}")
    assert counts(found) == {"train": [27, 3], "select": [3, 1], "test": [2, 1]}
    assert all(path.startswith("train/") for path in paths(found, "train") + paths(found, "select"))
    assert all(path.startswith(f"{other}/") for path in paths(found, "test"))


def test_one_folder_is_divided_and_the_division_hardly_changes_with_its_files(tmp_path: Path) -> None:
    write(tmp_path, {"a": 40, "b": 3, "c": 20})
    before = listed(f"imagefolder:{tmp_path}")
    assert counts(before) == {"train": [32, 1, 16], "select": [4, 1, 2], "test": [4, 1, 2]}
    every = [path for name in ("train", "select", "test") for path in paths(before, name)]
    assert sorted(every) == sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
    numbers = [int(path[2:4]) for path in paths(before, "select") if path.startswith("a/")]
    assert numbers != list(range(4))
    assert numbers != list(range(0, 40, 10))
    (tmp_path / "b" / "00.jpg").rename(tmp_path / "b" / "another.jpg")
    after = listed(f"imagefolder:{tmp_path}")
    assert [path for path in paths(after, "test") if path[0] != "b"] == [
        path for path in paths(before, "test") if path[0] != "b"
    ]
    shutil.copytree(tmp_path, tmp_path.parent / "moved")
    assert listed(f"imagefolder:{tmp_path.parent / 'moved'}").summary == after.summary


def test_nested_files_all_suffixes_and_what_is_ignored(tmp_path: Path) -> None:
    suffixes = (".jpg", ".JPEG", ".png", ".webp", ".bmp", ".gif", ".tif")
    for suffix in suffixes:
        write(tmp_path, {"a/of/one": 1, "b": 1}, suffix)
    (tmp_path / "a" / ".hidden.jpg").write_bytes(b"x")
    (tmp_path / "a" / "notes.txt").write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    found = listed(f"imagefolder:{tmp_path}")
    assert found.classes == ("a", "b")
    assert len(found.images) == 2 * len(suffixes)
    assert {image.file.name for image in found.images if image.class_name == "a"} == {
        f"of/one/00{suffix}" for suffix in suffixes
    }
    begun = making.begin(f"imagefolder-16:{tmp_path}", tmp_path / ".stores")
    assert isinstance(begun, making.Making)
    store = data_stores.load(begun.card, making.fill(begun, workers=1).parent)
    for row, image in zip(store.images, found.images, strict=True):
        assert (row == decode((tmp_path / image.file.path).read_bytes(), 16, "crop", "bilinear")).all()


def test_a_class_may_be_called_train_and_test_images_may_have_no_labels(tmp_path: Path) -> None:
    write(tmp_path / "vehicles", {"train": 3, "bus": 3})
    assert listed(f"imagefolder:{tmp_path}/vehicles").classes == ("bus", "train")
    write(tmp_path / "kaggle" / "train", {"a": 3, "b": 3})
    write(tmp_path / "kaggle", {"test": 5})
    assert counts(listed(f"imagefolder:{tmp_path}/kaggle")) == {"train": [1, 1], "select": [1, 1], "test": [1, 1]}


def test_folders_that_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train", {"a": 3, "b": 3, "c": 3})
    write(tmp_path / "val", {"a": 1, "b": 1, "d": 1})
    refused(f"imagefolder:{tmp_path}", "classes that are in train/ but not in val/: c$")
    shutil.rmtree(tmp_path / "train" / "c")
    refused(f"imagefolder:{tmp_path}", "classes that are in val/ but not in train/: d$")
    shutil.rmtree(tmp_path / "val" / "d")
    write(tmp_path / "valid", {"a": 1})
    refused(f"imagefolder:{tmp_path}", "holds both val/ and valid/")
    shutil.rmtree(tmp_path / "valid")
    (tmp_path / "train" / "a" / "01.jpg").unlink()
    (tmp_path / "train" / "a" / "02.jpg").unlink()
    refused(
        f"imagefolder:{tmp_path}", "select images are drawn from the training images .* at least 2 .* few are in a$"
    )
    (tmp_path / "train" / "a" / "00.jpg").unlink()
    refused(f"imagefolder:{tmp_path}", f"no images .* in {tmp_path}/train/a$")
    write(tmp_path / "few", {"a": 2, "b": 3})
    refused(f"imagefolder:{tmp_path}/few", "select and test images .* at least 3 .* few are in a$")
    write(tmp_path / "one", {"a": 9})
    refused(f"imagefolder:{tmp_path}/one", r"has 1 class\(es\); two are needed")
    refused(f"imagefolder:{tmp_path}/one/a", "holds no folders of classes")


def test_a_store_of_photographs_names_what_is_broken_and_trains_by_halves(tmp_path: Path) -> None:
    write(tmp_path / "t", dict.fromkeys("abcd", 12))
    (tmp_path / "t" / "b" / "07.jpg").write_bytes((tmp_path / "t" / "b" / "07.jpg").read_bytes()[:-60])
    (tmp_path / "t" / "c" / "05.webp").write_bytes(b"RIFF, but none")
    begun = making.begin(f"imagefolder-16-warp-bicubic:{tmp_path}/t", tmp_path / "stores")
    assert isinstance(begun, making.Making)
    with pytest.raises(BadInput, match=r"1 of 49 images are broken: .*/t/b/07.jpg \(image file is trunc"):
        making.fill(begun, workers=1)
    assert list((tmp_path / "stores").iterdir()) == []
    path = making.fill(begun, skip_broken=True, workers=1)
    assert re.fullmatch(r"imagefolder-16-warp-bicubic-\w{16}", path.name)
    described = data_stores.description(path)
    assert sorted(name.split("/", 1)[1] for name in described["skipped"]) == ["b/07.jpg", "c/05.webp"]
    card = data_stores.described_card(described)
    assert find.card(f"imagefolder-16-warp-bicubic:{tmp_path}/t").fingerprint != card.fingerprint  # other stores
    store = data_stores.load(card, tmp_path / "stores")
    rows, labels = store.rows(split(card, "random:0").a, "train")
    assert np.bincount(labels).min() >= 9
    first = next(image for image in begun.listing.images if image.class_name == split(card, "random:0").a.classes[0])
    content = (tmp_path / "t" / first.file.path).read_bytes()
    assert (store.images[rows[0]] == decode(content, 16, "warp", "bicubic")).all()
    assert (store.images[rows[0]] != decode(content, 16, "warp", "bilinear")).any()


# ----------------------------------------------------------------------------------------------- nothing without a word


def put(folder: Path, name: str, kind: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(len(list(folder.iterdir())))
    Image.fromarray(draw.integers(0, 256, (17, 17, 3), np.uint8)).save(folder / name, kind)


def test_what_pillow_opens_is_taken_and_the_rest_is_said(tmp_path: Path) -> None:
    write(tmp_path, {"a": 3, "b": 3}, ".png")
    kinds = {".jfif": "JPEG", ".jpe": "JPEG", ".PPM": "PPM", ".pgm": "PPM", ".avif": "AVIF", ".jp2": "JPEG2000"}
    kinds |= {".tga": "TGA", ".mpo": "MPO", ".apng": "PNG", ".pnm": "PPM", ".ico": "ICO"}
    for suffix, kind in kinds.items():
        put(tmp_path / "a", f"x{suffix}", kind)
    for name in ("1.HEIC", "2.heif", "paper.pdf", "sub.eps", "film.mpg", "noted.txt", "README", "data.h5", "l.jpg.txt"):
        (tmp_path / "a" / name).write_bytes(b"x")
    (tmp_path / "labels.csv").write_bytes(b"x")
    put(tmp_path, "cover.png")
    found = listed(f"imagefolder:{tmp_path}")
    assert {image.file.name for image in found.images if image.class_name == "a"} == {
        *(f"0{k}.png" for k in range(3)),
        *(f"x{suffix}" for suffix in kinds),
    }
    assert sorted(found.notes) == sorted(
        [
            "not used: files .heic, which cannot be read: that needs pillow-heif: 1 (a/1.HEIC)",
            "not used: files .heif, which cannot be read: that needs pillow-heif: 1 (a/2.heif)",
            *(f"not used: files .{s}: 1 (a/{n}.{s})" for n, s in (("paper", "pdf"), ("sub", "eps"), ("film", "mpg"))),
            "not used: files .txt: 2 (a/l.jpg.txt)",
            "not used: files .h5: 1 (a/data.h5)",
            "not used: files .csv: 1 (labels.csv)",
            "not used: files without a suffix: 1 (a/README)",
            "not used: images beside the folders of classes: 1 (cover.png)",
        ]
    )
    begun = making.begin(f"imagefolder-16:{tmp_path}", tmp_path / ".stores")
    assert isinstance(begun, making.Making)
    making.fill(begun, workers=1)


def test_heif_is_taken_where_it_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def register() -> None:
        PIL.Image.register_open("HEIF", lambda *_: None)  # pyright: ignore[reportArgumentType]
        PIL.Image.register_extension("HEIF", ".heic")

    write(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "1.HEIC").write_bytes(b"x")
    monkeypatch.setattr(PIL.Image, "OPEN", dict(PIL.Image.OPEN))
    monkeypatch.setattr(PIL.Image, "ID", list(PIL.Image.ID))
    monkeypatch.setattr(PIL.Image, "EXTENSION", dict(PIL.Image.EXTENSION))
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    scanning.suffixes.cache_clear()
    try:
        found = listed(f"imagefolder:{tmp_path}")
    finally:
        scanning.suffixes.cache_clear()
    assert "1.HEIC" in {image.file.name for image in found.images}
    assert found.notes == ()


def test_folders_of_systems_and_hidden_things_are_no_images(tmp_path: Path) -> None:
    write(tmp_path, {"a": 3, "b": 3, "__MACOSX": 2, "@eaDir": 1})
    for inner in ("a/@eaDir/00.jpg", "a/@eaDir/01.jpg", "a/.AppleDouble", "b/deep/@eaDir"):
        put(tmp_path / inner, "thumbnail.jpg")
    put(tmp_path / "a", "._00.jpg", "JPEG")
    (tmp_path / "b" / "Thumbs.db").write_bytes(b"x")
    found = listed(f"imagefolder:{tmp_path}")
    assert found.classes == ("a", "b")
    assert len(found.images) == 6
    assert set(found.notes) == {
        "not used: folders @eaDir: 3 (@eaDir)",
        "not used: folders __MACOSX: 1 (__MACOSX)",
        "not used: hidden folders: 1 (a/.AppleDouble)",
        "not used: hidden files: 1 (a/._00.jpg)",
        "not used: files .db: 1 (b/Thumbs.db)",
    }


def test_linked_folders_are_followed_once_and_never_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "d", {"a": 3, "b": 3, "b/deep": 2})
    write(tmp_path, {"more": 4})
    for link, to in {"a/0": "more", "a/1": "more", "a/up": "d", "a/here": "d/a", "b/again": "d/b/deep"}.items():
        (tmp_path / "d" / link).symlink_to(tmp_path / to)
    (tmp_path / "d" / "c").symlink_to(tmp_path / "d" / "c")  # to itself
    (tmp_path / "more" / "back").symlink_to(tmp_path / "d" / "a")
    found = listed(f"imagefolder:{tmp_path}/d")
    assert {path for path in (image.file.path for image in found.images) if path.startswith("a/")} == {
        *(f"a/0{k}.jpg" for k in range(3)),
        *(f"a/0/0{k}.jpg" for k in range(4)),
    }
    assert sum(image.class_name == "b" for image in found.images) == 5
    assert sorted(found.notes) == [
        "not used: linked folders that lead back, or to what was looked into already: 5 (a/0/back/)",
        "not used: links that lead nowhere: 1 (c)",
    ]
    (tmp_path / "d" / "b" / "wrong").symlink_to(tmp_path / "more")
    refused(f"imagefolder:{tmp_path}/d", "one folder belongs to two classes, by links: .*/d/a and .*/d/b")


@pytest.mark.parametrize(
    ("folders", "sets"),
    [
        (("train", "dev"), ("train", None, "dev")),
        (("training_set", "test_set"), ("training_set", None, "test_set")),
        (("train", "development", "test"), ("train", "development", "test")),
        (("train", "eval"), ("train", None, "eval")),
        (("train", "dev", "eval"), ("train", "dev", "eval")),
        (("train", "Evaluation", "test"), ("train", "Evaluation", "test")),
    ],
)
def test_sets_by_other_names(folders: tuple[str, ...], sets: tuple[str | None, ...], tmp_path: Path) -> None:
    for folder in folders:
        write(tmp_path / folder, {"a": 4, "b": 4})
    found = listed(f"imagefolder:{tmp_path}")
    for set_name, folder in zip(("train", "select", "test"), sets, strict=True):
        assert {path.split("/")[0] for path in paths(found, set_name)} == {folder or sets[0]}
    assert found.notes == ()


def test_folders_beside_the_sets_are_said(tmp_path: Path) -> None:
    for folder in ("train", "val", "extra"):
        write(tmp_path / folder, {"a": 4, "b": 4})
    write(tmp_path, {"test": 5, "empty/docs": 0})
    put(tmp_path / "train", "stray.png")
    put(tmp_path, "cover.png")
    (tmp_path / "empty" / "why.md").write_text("")
    assert set(listed(f"imagefolder:{tmp_path}").notes) == {
        "not used: images in extra/, which is no set: 8 (extra/a/00.jpg)",
        "not used: images in test/, without folders of classes: 5 (test/00.jpg)",
        "not used: images beside the folders of classes: 1 (train/stray.png)",
        "not used: images in no folder: 1 (cover.png)",
        "not used: files .md: 1 (empty/why.md)",
    }


def test_train_may_be_a_set_or_a_class(tmp_path: Path) -> None:
    for kind in ("train", "bus", "car"):
        write(tmp_path / "our vehicles" / kind, {"front": 3, "side": 3})
    place = f"imagefolder:{tmp_path}/our vehicles"
    refused(
        place, rf"train/ holds folders, and beside it are images in bus/, car/: .* write '{place}/train'; if it is it"
    )
    assert listed(f"{place}/train").classes == ("front", "side")
    (tmp_path / "our vehicles" / "train").rename(tmp_path / "our vehicles" / "a train")
    found = listed(place)
    assert found.classes == ("a train", "bus", "car")
    assert len(found.images) == 18
    for folder in ("test", "val"):
        write(tmp_path / "no train" / folder, {"a": 3, "b": 3})
    refused(f"imagefolder:{tmp_path}/no train", "holds test/, val/, but no train/")


def test_a_folder_around_everything_is_looked_into_and_that_is_said(tmp_path: Path) -> None:
    for folder in ("train", "val"):
        write(tmp_path / "zip" / "birds" / "of 2020" / folder, {"a": 4, "b": 4})
    (tmp_path / "zip" / "LICENSE").write_text("")
    (tmp_path / "zip" / "__MACOSX").mkdir()
    found = listed(f"imagefolder:{tmp_path}/zip")
    assert counts(found) == {"train": [3, 3], "select": [1, 1], "test": [4, 4]}
    assert {path.rpartition("/")[0] for path in paths(found, "test")} == {f"birds/of 2020/val/{name}" for name in "ab"}
    assert found.notes == (
        f"looked into {tmp_path}/zip/birds: there is nothing else in {tmp_path}/zip",
        f"looked into {tmp_path}/zip/birds/of 2020: there is nothing else in {tmp_path}/zip/birds",
        "not used: files without a suffix: 1 (LICENSE)",
        "not used: folders __MACOSX: 1 (__MACOSX)",
    )
    write(tmp_path / "twice" / "train" / "train", {"a": 4, "b": 4})
    write(tmp_path / "classes" / "inner", {"a": 4, "b": 4})
    for folder in ("twice", "classes"):
        assert listed(f"imagefolder:{tmp_path}/{folder}").classes == ("a", "b")
        assert len(listed(f"imagefolder:{tmp_path}/{folder}").notes) == 1
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "loop").symlink_to(tmp_path / "loop")
    refused(f"imagefolder:{tmp_path}/loop", "no images")


def test_pipes_and_links_to_nowhere(tmp_path: Path) -> None:
    write(tmp_path, {"a": 3, "b": 3})
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    assert listed(f"imagefolder:{tmp_path}").notes == ("not used: things .jpg that are no files: 1 (a/pipe.jpg)",)
    (tmp_path / "a" / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "b" / "lost").symlink_to(tmp_path / "nowhere")
    assert "not used: links that lead nowhere: 2 (a/lost.jpg)" in listed(f"imagefolder:{tmp_path}").notes


# ---------------------------------------------------------------------------------------------------------------- names


def test_names_that_are_no_utf_8_work_to_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "d", {"a": 4, "b": 4})
    odd = os.fsdecode(b"caf\xe9"), os.fsdecode(b"\xfcber.jpg"), os.fsdecode(b"d\xe9")
    (tmp_path / "d" / "b").rename(tmp_path / "d" / odd[0])
    (tmp_path / "d" / "a" / "00.jpg").rename(tmp_path / "d" / "a" / odd[1])
    (tmp_path / "d" / "a" / "01.jpg").write_bytes(b"no image")
    text, stores = f"imagefolder-32:{tmp_path}/d", ["--stores", str(tmp_path / "stores")]
    assert find.card(text).classes == ("a", "caf\\xe9")
    assert "a/\\xfcber.jpg" in {image.name.partition("/")[2] for image in listed(text).images}
    assert main(["data", "store", text, *stores]) == 2
    assert "a/01.jpg (cannot identify" in capsys.readouterr().err
    assert main(["data", "store", text, "--skip-broken", *stores]) == 0
    assert main(["data", "show", text, *stores]) == 0
    assert "2 classes: a, caf\\xe9" in capsys.readouterr().out
    (path,) = (tmp_path / "stores").glob("imagefolder-*")
    assert "a/\\xfcber.jpg" in set(pd.read_parquet(path / "sources.parquet")["file"])
    (tmp_path / "d").rename(tmp_path / odd[2])
    assert main(["data", "show", f"imagefolder-32:{tmp_path}/{odd[2]}", *stores]) == 0
    assert "d\\udce9 (" in capsys.readouterr().out


def test_what_looks_the_same_is_one_class(tmp_path: Path) -> None:
    both = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    assert both[0] != both[1]
    write(tmp_path / "train", {both[0]: 4, "b": 4})
    write(tmp_path / "val", {both[1]: 4, "b": 4})
    found = listed(f"imagefolder:{tmp_path}")
    assert found.classes == ("b", both[0])
    assert counts(found)["test"] == [4, 4]
    card = find.card(f"imagefolder:{tmp_path}")
    halves_file = tmp_path / "halves.json"
    halves_file.write_text(json.dumps({"A": [both[1], "b"], "B": ["b", both[1]]}))
    assert split(card, str(halves_file)).a.classes == (both[0], "b")
    write(tmp_path / "train", {both[1]: 4})
    refused(
        f"imagefolder:{tmp_path}",
        f"train/ has class {both[0]} twice, in Unicode 0063 0061 0066 0065 0301 and 0063 0061 0066 00E9: rename one",
    )
    lines = [f"train/b/0{k}.jpg b\n" for k in range(4)]
    (tmp_path / "train.txt").write_text("".join(lines) + f"val/b/00.jpg {both[0]}\nval/b/01.jpg {both[0]}\n")
    (tmp_path / "val.txt").write_text(f"val/b/02.jpg b\nval/b/03.jpg {both[1]}\n")
    assert listed(f"list:{tmp_path}").classes == ("b", both[0])
    with (tmp_path / "train.txt").open("a") as text:
        text.write(f"train/{both[1]}/00.jpg {both[1]}\n")
    refused(f"list:{tmp_path}", f"train.txt has class {both[0]} twice, in Unicode")


# ----------------------------------------------------------------------------------------------------------------- list


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Pictures, one in a folder with spaces, and lists of them: train.txt and val.txt."""
    write(tmp_path, {"pictures of cats": 4, "other": 4})
    lines = [f"pictures of cats/0{k}.jpg 10\nother/0{k}.jpg\t9\n" for k in range(4)]
    (tmp_path / "train.txt").write_text("".join(lines[:3]) + "\n")
    (tmp_path / "val.txt").write_text(lines[3])
    return tmp_path


def test_lists_take_paths_with_spaces_and_order_numbers(lists: Path) -> None:
    found = listed(f"list:{lists}")
    assert found.classes == ("9", "10")
    assert counts(found) == {"train": [2, 2], "select": [1, 1], "test": [1, 1]}
    assert paths(found, "test") == ["other/03.jpg", "pictures of cats/03.jpg"]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", [b"", codecs.BOM_UTF8])
def test_lists_with_a_byte_order_mark_and_any_line_ends(ends: str, bom: bytes, lists: Path) -> None:
    before = listed(f"list:{lists}")
    for name in ("train.txt", "val.txt"):
        text = (lists / name).read_text()
        (lists / name).write_bytes(bom + text.replace("\n", ends).encode())
    assert listed(f"list:{lists}").summary == before.summary
    (lists / "train.txt").write_text("pictures of cats/00.jpg 10", encoding="utf-16")
    refused(f"list:{lists}", "train.txt is UTF-16: save it as UTF-8")


def test_lists_name_files_by_their_bytes_and_say_which_texts_are_not_used(lists: Path) -> None:
    (lists / "other" / "00.jpg").rename(lists / "other" / os.fsdecode(b"\xe9.jpg"))
    content = (lists / "train.txt").read_bytes()
    (lists / "train.txt").write_bytes(content.replace(b"other/00", b"other/\xe9"))
    (lists / "val.txt").rename(lists / "dev.txt")
    (lists / "classes.txt").write_text("9\n10\n")
    found = listed(f"list:{lists}")
    assert counts(found) == {"train": [2, 2], "select": [1, 1], "test": [1, 1]}
    assert "train/9/other/\\xe9.jpg" in {image.name.replace("select", "train") for image in found.images}
    assert found.notes == ("not used: text files, which are no list of a set by their name: 1 (classes.txt)",)
    (lists / "train.txt").write_bytes(content.replace(b"other/00", b"other/\xea"))
    refused(f"list:{lists}", r"1 of 8 listed files are not there: other/\\xea.jpg \(")


def test_a_single_list_is_divided_wherever_it_lies(lists: Path) -> None:
    (lists / "lists").mkdir()
    (lists / "val.txt").unlink()
    text = (lists / "train.txt").read_text()
    (lists / "train.txt").unlink()
    (lists / "lists" / "all.txt").write_text(
        text.replace("other/", "../other/").replace("pictures", f"{lists}/pictures")
    )
    expected = {"train": [1, 1], "select": [1, 1], "test": [1, 1]}
    for path in (lists / "lists", lists / "lists" / "all.txt"):
        assert counts(listed(f"list:{path}")) == expected
    begun = making.begin(f"list-16:{lists}/lists/all.txt", lists / "stores")
    assert isinstance(begun, making.Making)
    path = making.fill(begun, workers=1)
    card = find.card(f"list-16:{lists}/lists/all.txt")
    assert path.name == f"list-16-crop-{card.fingerprint}"


def test_lists_that_are_refused(lists: Path) -> None:
    train = lists / "train.txt"
    for line, message in {
        "alone": "train.txt, line 8: not a path and a label .*'alone'",
        "other/03.jpg a/b": "train.txt, line 8: not a path and a label",
        "other/00.jpg 9": "train.txt, line 8: other/00.jpg is listed twice",
        "nowhere.jpg 9": r"1 of 9 listed files are not there: nowhere.jpg \(.*train.txt\)",
        "other/../other/03.jpg 11": "classes that are in the training images but not in the others: 11",
    }.items():
        before = train.read_text()
        train.write_text(before + line)
        refused(f"list:{lists}", message)
        train.write_text(before)
    (lists / "validation.txt").write_text("")
    refused(f"list:{lists}", "holds both val.txt and validation.txt")
    (lists / "validation.txt").rename(lists / "more.txt")
    train.rename(lists / "most.txt")
    refused(f"list:{lists}", "holds neither train.txt nor a single list, but more.txt, most.txt, val.txt")
    refused(f"list:{lists}/more.txt", "more.txt lists no images")
    with pytest.raises(BadInput, match="nowhere"):
        find.card(f"list:{lists}/nowhere.txt")


# --------------------------------------------------------------------------------------------------------- tinyimagenet


def test_tiny_imagenet(tmp_path: Path) -> None:
    few = wnids(4)
    for wnid in few:
        write(tmp_path / "train", {f"{wnid}/images": 5})
        (tmp_path / "train" / wnid / f"{wnid}_boxes.txt").write_text("0 0 1 1")
    write(tmp_path / "val", {"images": 8})
    write(tmp_path / "test", {"images": 3})
    (tmp_path / "wnids.txt").write_text("\n".join(reversed(few)))
    rows = [f"{k:02d}.jpg\t{few[k % 4]}\t0\t0\t1\t1" for k in range(8)]
    annotations = tmp_path / "val" / "val_annotations.txt"
    annotations.write_text("\n".join(rows))
    found = listed(f"tinyimagenet:{tmp_path}")
    assert counts(found) == {"train": [4] * 4, "select": [1] * 4, "test": [2] * 4}
    assert [i.file.path for i in found.images if i.set_name == "test" and i.class_name == few[1]] == [
        "val/images/01.jpg",
        "val/images/05.jpg",
    ]
    card = find.card(f"tinyimagenet:{tmp_path}")
    assert (card.name, card.side) == (f"tinyimagenet-64:{tmp_path}", 64)
    assert card.groups == tuple(synsets.groups()[wnid] for wnid in few)
    annotations.write_text("\n".join(rows[1:]))
    refused(f"tinyimagenet:{tmp_path}", "val_annotations.txt labels no 00.jpg")
    annotations.write_text("\n".join([*rows, "99.jpg\tn1"]))
    refused(f"tinyimagenet:{tmp_path}", "val_annotations.txt, line 9: .*images holds no '99.jpg'")
    shutil.rmtree(tmp_path / "train" / few[0])
    refused(f"tinyimagenet:{tmp_path}", f"classes that are in wnids.txt but not in train/: {few[0]}")
    annotations.unlink()
    refused(
        f"tinyimagenet:{tmp_path}", r"no Tiny ImageNet as distributed \(imagefolder:PATH takes .*val_annotations.txt"
    )
