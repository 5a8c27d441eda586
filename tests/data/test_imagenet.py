"""ImageNet's directory in all layouts, and everything that can be wrong with it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from imagenet import Layout, make_tree, wnids
from scipy.io import savemat

from yosinski.data.place import Place
from yosinski.data.sources import kinds, synsets
from yosinski.data.sources.listing import Listing
from yosinski.errors import BadInput

LAYOUTS: tuple[Layout, ...] = ("folders", "development kit", "kaggle")
FEW = wnids(4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[Layout, Path]:
    """The same few images in every layout."""
    return {one: make_tree(tmp_path_factory.mktemp("tree") / "t", 4, train=3, val=5, layout=one) for one in LAYOUTS}


@pytest.fixture
def copied(made: dict[Layout, Path], tmp_path: Path) -> Callable[[Layout], Path]:
    return lambda layout: shutil.copytree(made[layout], tmp_path / "copy")


def tree(path: Path) -> Listing:
    return kinds.list_images(Place("imagenet", path))


def listing(path: Path) -> dict:
    return tree(path).summary


def test_classes_are_real_and_of_both_kinds() -> None:
    groups = [synsets.groups()[wnid] for wnid in wnids(20)]
    assert groups.count("natural") == groups.count("man-made") == 10
    assert wnids(20) == sorted(set(wnids(20)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_the_same_images_in_the_order_of_stores(layout: Layout, made: dict[Layout, Path]) -> None:
    found, folders = tree(made[layout]), tree(made["folders"])
    assert found.summary == folders.summary
    assert [image.name for image in found.images] == [image.name for image in folders.images]
    assert found.summary["classes"] == FEW
    assert found.summary["per_class"] == {"train": [3] * 4, "select": [3] * 4, "test": [2] * 4}
    order = [(("train", "select", "test").index(i.set_name), i.class_name, i.number) for i in found.images]
    assert order == sorted(order)
    for image in found.images:
        assert (made[layout] / image.file.path).stat().st_size == image.file.size


def test_a_path_to_kaggles_inner_folder_will_do(made: dict[Layout, Path]) -> None:
    assert tree(made["kaggle"] / "ILSVRC" / "Data" / "CLS-LOC").summary == tree(made["kaggle"]).summary


def test_validation_images_are_divided_in_turn_by_their_names(made: dict[Layout, Path]) -> None:
    images = [
        image for image in tree(made["folders"]).images if image.class_name == FEW[2] and image.set_name != "train"
    ]
    names = sorted(path.name for path in (made["folders"] / "val" / FEW[2]).iterdir())
    by_set = {
        which: [i.file.path.rpartition("/")[2] for i in images if i.set_name == which] for which in ("select", "test")
    }
    assert by_set == {"select": names[0::2], "test": names[1::2]}


def test_labels_of_the_development_kit_are_those_of_the_folders(made: dict[Layout, Path]) -> None:
    by_folder = {path.name: path.parent.name for path in made["folders"].glob("val/*/*")}
    flat = {i.file.path: i.class_name for i in tree(made["development kit"]).images if i.set_name != "train"}
    assert flat == {f"val/{name}": wnid for name, wnid in by_folder.items()}
    assert len(set(by_folder.values())) == 4


def test_the_listing_covers_set_class_name_and_size_but_not_where_the_tree_lies(
    made: dict[Layout, Path], tmp_path: Path
) -> None:
    def changed(change: Callable[[Path], object]) -> str:
        path = shutil.copytree(made["folders"], tmp_path / "t")
        change(path / "train" / FEW[0])
        found = listing(path)["sources"]
        shutil.rmtree(path)
        return found

    def resize(folder: Path) -> None:
        with (folder / f"{FEW[0]}_1.JPEG").open("ab") as file:
            file.write(b"\0")

    found = [
        changed(lambda folder: None),
        changed(resize),
        changed(lambda folder: (folder / f"{FEW[0]}_1.JPEG").rename(folder / "another.JPEG")),
        changed(lambda folder: (folder / f"{FEW[0]}_1.JPEG").rename(folder.parent / FEW[1] / f"{FEW[0]}_1.JPEG")),
        changed(lambda folder: (folder / f"{FEW[0]}_1.JPEG").unlink()),
    ]
    assert found[0] == listing(made["folders"])["sources"]
    assert len(set(found)) == 5


def test_hidden_files_other_files_and_spellings_of_suffixes(copied: Callable[[Layout], Path]) -> None:
    path = copied("folders")
    before = tree(path)
    folder = path / "train" / FEW[0]
    for name in (".DS_Store", "._x.JPEG", "notes.txt"):
        (folder / name).write_bytes(b"x")
    (path / "train" / "n01440764.tar").write_bytes(b"x")
    (path / "val" / ".cache").mkdir()
    after = tree(path)
    assert after.summary == {**before.summary, "notes": list(after.notes)}
    assert before.notes == ()
    assert after.notes == (
        f"not used: hidden files: 2 (train/{FEW[0]}/.DS_Store)",
        "not used: files .tar: 1 (train/n01440764.tar)",
        f"not used: files .txt: 1 (train/{FEW[0]}/notes.txt)",
        "not used: hidden folders: 1 (val/.cache)",
    )
    (folder / f"{FEW[0]}_1.JPEG").rename(folder / f"{FEW[0]}_1.jPg")
    assert len(tree(path).images) == len(before.images)


# ------------------------------------------------------------------------------------------------------- what is wrong


def refused(path: Path, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        tree(path)


def test_what_is_no_imagenet(tmp_path: Path, copied: Callable[[Layout], Path]) -> None:
    refused(tmp_path, "is no ImageNet: it has neither train/ nor ILSVRC/Data/CLS-LOC/train/")
    path = copied("folders")
    shutil.rmtree(path / "val")
    refused(path, "has no val/")
    (path / "val").mkdir()
    refused(path, "val holds neither folders of classes nor images")
    shutil.rmtree(path / "train")
    (path / "train").mkdir()
    refused(path, "train holds no folders of classes")


def test_missing_wnids_and_empty_classes(copied: Callable[[Layout], Path]) -> None:
    path = copied("folders")
    away = path / "val" / FEW[1]
    shutil.move(away, path / "away")
    refused(path, f"classes that are in train/ but not in .*/val: {FEW[1]}$")
    shutil.move(path / "away", away)
    shutil.rmtree(path / "train" / FEW[2])
    refused(path, f"classes that are in .*/val but not in train/: {FEW[2]}$")
    (path / "train" / FEW[2]).mkdir()
    refused(path, f"no images .* in .*/train/{FEW[2]}$")


def test_a_class_with_one_validation_image_and_folders_with_other_names(copied: Callable[[Layout], Path]) -> None:
    path = copied("folders")
    for image in sorted((path / "val" / FEW[0]).iterdir())[1:]:
        image.unlink()
    refused(path, f"class {FEW[0]} has one validation image")
    (path / "train" / "cats").mkdir()
    refused(path, "train holds folders that are no WordNet ids .*: cats")


def test_flat_validation_images_need_labels(copied: Callable[[Layout], Path]) -> None:
    path = copied("development kit")
    kit = path / "ILSVRC2012_devkit_t12" / "data"
    (kit / "meta.mat").unlink()
    refused(path, r"ILSVRC2012_validation_ground_truth.txt needs meta.mat or meta_clsloc.mat")
    (kit / "meta.mat").write_bytes(b"no such thing")
    refused(path, r"meta.mat is not the development kit's")
    savemat(kit / "meta.mat", {"other": np.zeros(3)})
    refused(path, r"meta.mat is not the development kit's")
    shutil.rmtree(kit)
    refused(path, "val has no folders of classes, and there is no file that labels its images: put LOC_val_sol")


def test_label_files_that_disagree(copied: Callable[[Layout], Path]) -> None:
    path = copied("development kit")
    truth = path / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    lines = truth.read_text().splitlines()
    truth.write_text("\n".join(lines[:-1]))
    refused(path, r"labels 19 images, .*/val holds 20; without a label: ILSVRC2012_val_00000020")
    truth.write_text("\n".join([*lines, "1"]))
    refused(path, r"labels 21 images, .*/val holds 20; not there: ILSVRC2012_val_00000021")
    truth.write_text("\n".join(["77", *lines[1:]]))
    refused(path, r"ground_truth.txt, line 1: meta.mat has no class 77")
    truth.write_text("\n".join(["5", *lines[1:]]))  # an inner node, which is no class
    refused(path, r"classes that are in .*ground_truth.txt but not in train/: n00001740")
    truth.write_text("\n".join(lines))
    shutil.rmtree(path / "train" / FEW[3])
    refused(path, rf"classes that are in .*ground_truth.txt but not in train/: {FEW[3]}")


def test_labels_that_disagree_with_folders(made: dict[Layout, Path], copied: Callable[[Layout], Path]) -> None:
    path = copied("folders")
    shutil.copytree(made["development kit"] / "ILSVRC2012_devkit_t12", path / "ILSVRC2012_devkit_t12")
    assert listing(path) == listing(made["folders"])
    image = min((path / "val" / FEW[0]).iterdir())
    image.rename(path / "val" / FEW[1] / image.name)
    refused(path, rf"ground_truth.txt disagrees with the folders: .*/val/{FEW[1]} holds {image.name}")


def test_kaggles_file(copied: Callable[[Layout], Path]) -> None:
    path = copied("kaggle")
    rows = (path / "LOC_val_solution.csv").read_text().splitlines()
    (path / "LOC_val_solution.csv").write_text("\n".join([*rows[:2], "ILSVRC2012_val_00000001,cat 1 2", *rows[3:]]))
    refused(path, r"LOC_val_solution.csv, line 3: not an image and a WordNet id, but 'ILSVRC2012_val_00000001,cat 1 2'")


def test_images_that_are_links_to_nowhere(copied: Callable[[Layout], Path]) -> None:
    path = copied("folders")
    (path / "train" / FEW[0] / "lost.JPEG").symlink_to(path / "nowhere.JPEG")
    assert f"not used: links that lead nowhere: 1 (train/{FEW[0]}/lost.JPEG)" in listing(path)["notes"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_that_may_not_be_read(copied: Callable[[Layout], Path]) -> None:
    path = copied("folders")
    (path / "train" / FEW[0]).chmod(0)
    refused(path, f"train/{FEW[0]}: Permission denied")
