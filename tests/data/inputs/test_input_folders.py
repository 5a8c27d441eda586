"""Folders of inputs, side by side: which files are of one example, what is missing, and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from example_lists import picture, stored
from image_folders import counts, listed, put, refused

from sweeps.grid import all_classes
from yosinski.data import find
from yosinski.data.pictures.decoding import decode
from yosinski.training.partners.batches import pairs


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """x/ of JPEG and y/ of PNG files, in three sets of two classes; two of y are missing, and one of x."""
    for k, (name, count) in enumerate(
        {"train/a": 3, "train/b": 4, "val/a": 2, "val/b": 2, "test/a": 1, "test/b": 1}.items()
    ):
        for number in range(count):
            picture(tmp_path / "d" / "x" / name / "in" / f"{number}.jpg", k % 2, 0, 10 * k + number)
            picture(tmp_path / "d" / "y" / name / "in" / f"{number}.png", k % 2, 1, 10 * k + number)
    for path in ("y/train/a/in/1.png", "y/val/b/in/0.png", "x/train/b/in/0.jpg"):
        (tmp_path / "d" / path).unlink()
    return tmp_path / "d"


def test_files_with_one_name_are_one_example(folders: Path) -> None:
    text = f"inputfolders-36:{folders}"
    found = listed(text)
    assert (found.beside.inputs, found.classes) == (("x", "y"), ("a", "b"))
    assert counts(found) == {"train": [3, 3], "select": [2, 2], "test": [1, 1]}
    assert found.notes == ("not used: images of y without one of x: 1 (y/train/b/in/0.png)",)
    store = stored(text, folders.parent / "stores")
    assert len(store.images) == 22
    for row, image in enumerate(found.images):
        content = (folders / image.file.path).read_bytes()
        assert (store.images[row] == decode(content, 36, "crop", "bilinear")).all()
    first = {(image.set_name, image.class_name, image.number): image for image in found.images if image.domain == "x"}
    for image in found.images:
        same = first[image.set_name, image.class_name, image.number].file.path
        assert image.file.path.split(".")[0] == image.domain + same.split(".")[0][1:]
    x = all_classes(store.card)
    assert (pairs(store, x, store, replace(x, domain=("y",)), "train") < 0).tolist() == [False, True] + [False] * 4
    assert find.card(text).notes == (
        *found.notes,
        "input y is missing in 2 of 12 examples (1 in train, 1 in select)",
    )


def test_folders_of_classes_alone_are_divided_by_the_first_input(folders: Path) -> None:
    for name in "xy":
        shutil.copytree(folders / name / "train", folders.parent / "plain" / name)
    shutil.rmtree(folders.parent / "plain" / "y" / "b" / "in")  # an input may lack a whole class
    text = f"inputfolders:{folders.parent}/plain"
    x = listed(f"imagefolder:{folders.parent}/plain/x")
    found = listed(text)
    assert [image.file.path for image in found.images if image.domain == "x"] == [
        f"x/{image.file.path}" for image in x.images
    ]
    assert find.card(text).missing["y"]["train"] == (
        sum(image.file.path == "a/in/1.jpg" and image.set_name == "train" for image in x.images),
        1,
    )


def test_folders_of_inputs_that_are_refused(folders: Path) -> None:
    refused(f"inputfolders:{folders}/x", "holds test/, train/, val/: sets lie within the folders of inputs")
    put(folders / "y" / "val" / "a" / "in", "1.jpg")
    refused(f"inputfolders:{folders}", "two files of one example: y/val/a/in/1.jpg and y/val/a/in/1.png")
    (folders / "y" / "train").rename(folders / "train")
    shutil.rmtree(folders / "y")
    (folders / "train").rename(folders / "y")
    refused(f"inputfolders:{folders}", "inputs x and y have no common example: in .*, no two files differ in the fol")
    shutil.rmtree(folders / "y")
    put(folders / "grey", "1.jpg")
    refused(f"inputfolders:{folders}", "no input may be called grey")
    shutil.rmtree(folders / "grey")
    refused(f"inputfolders:{folders}", r"holds 1 folder\(s\); each input has one, and there are at least two")
