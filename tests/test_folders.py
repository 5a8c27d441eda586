"""Folders of classes, lists and Tiny ImageNet: which images are train, select and test, and what is refused."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from imagenet import wnids
from PIL import Image

from yosinski import data
from yosinski.data import making, sources, synsets
from yosinski.data import store as data_stores
from yosinski.data.decoding import decode
from yosinski.data.listing import Listing
from yosinski.halves import split
from yosinski.spec import BadInput


def write(folder: Path, counts: Mapping[str, int], suffix: str = ".jpg") -> None:
    """So many small pictures in each of some folders, all different."""
    draw = np.random.default_rng(sum(map(ord, folder.name)))
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            picture = Image.fromarray(draw.integers(0, 256, (20, 26, 3), np.uint8))
            picture.save(folder / name / f"{k:02d}{suffix}")


def listed(text: str) -> Listing:
    return sources.listed(data.place(text))


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
    assert data.card(f"imagefolder-16-warp-bicubic:{tmp_path}/t").fingerprint != card.fingerprint  # other stores
    store = data_stores.load(card, tmp_path / "stores")
    rows, labels = store.rows(split(card, "random:0").a, "train")
    assert np.bincount(labels).min() >= 9
    first = next(image for image in begun.listing.images if image.class_name == split(card, "random:0").a.classes[0])
    content = (tmp_path / "t" / first.file.path).read_bytes()
    assert (store.images[rows[0]] == decode(content, 16, "warp", "bicubic")).all()
    assert (store.images[rows[0]] != decode(content, 16, "warp", "bilinear")).any()


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
    card = data.card(f"list-16:{lists}/lists/all.txt")
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
        data.card(f"list:{lists}/nowhere.txt")


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
    card = data.card(f"tinyimagenet:{tmp_path}")
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
