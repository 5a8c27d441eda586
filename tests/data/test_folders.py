"""Folders of classes and Tiny ImageNet: which images are train, select and test, and what is refused."""

import json
import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from image_folders import counts, listed, paths, put, refused, write
from imagenet import wnids

from yosinski.data import find
from yosinski.data import store as data_stores
from yosinski.data.halves import split
from yosinski.data.pictures import making
from yosinski.data.pictures.decoding import decode
from yosinski.data.sources import synsets
from yosinski.errors import BadInput

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


# ----------------------------------------------------------------------------------------- sets and what is beside them


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


# ---------------------------------------------------------------------------------------------------------------- names


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
