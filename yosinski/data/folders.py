"""Folders of classes, the most usual layout of images: `imagefolder:PATH`, and `tinyimagenet:PATH`, which is one.

PATH holds train/<class>/..., val/<class>/... and perhaps test/<class>/..., or nothing but the folders of the classes.
"""

from pathlib import Path

from yosinski.data import Place, some, synsets
from yosinski.data.listing import (
    File,
    Listing,
    Sets,
    files_in,
    folders,
    listing,
    same_classes,
    scan,
    scans,
    three_sets,
    times,
)
from yosinski.spec import BadInput

NAMES = {
    "train": "train",
    "training": "train",
    "val": "select",
    "valid": "select",
    "validation": "select",
    "test": "test",
    "testing": "test",
}
ANNOTATIONS = "val_annotations.txt"


def listed(place: Place) -> Listing:
    """List folders of classes. BadInput if there are none, if one is empty, or if the sets have other classes."""
    path = place.path
    assert path is not None
    tops = _sets(path)
    of_sets = {name: [top / class_name for class_name in folders(top)] for name, top in tops.items()}
    if not of_sets["train"]:
        raise BadInput(f"{tops['train']} holds no folders of classes")
    if len(tops) > 1:
        names = {name: [folder.name for folder in found] for name, found in of_sets.items()}
        for name in names.keys() - {"train"}:
            same_classes(names["train"], names[name], f"{tops['train'].name}/", f"{tops[name].name}/", str(path))
    scanned = scans([folder for found in of_sets.values() for folder in found])
    sets: Sets = {}
    for name, found in of_sets.items():
        sets[name] = {folder.name: files_in(folder, path, scanned[folder].images) for folder in found}
    watched = times(path, [path, *tops.values(), *(one for found in scanned.values() for one in found.folders)])
    return listing(path, three_sets(sets, place.source), list(sets["train"]), watched)


def _sets(path: Path) -> dict[str, Path]:
    """The folders of train, select and test; the path itself as train, if it holds the classes."""
    found: dict[str, Path] = {}
    for folder in folders(path):
        name = NAMES.get(folder.lower())
        if name is None or not folders(path / folder):  # such as test/ with images that nobody has labelled
            continue
        if name in found:
            raise BadInput(f"{path} holds both {found[name].name}/ and {folder}/; one of them must go")
        found[name] = path / folder
    return found if "train" in found else {"train": path}


def tiny_imagenet(place: Place) -> Listing:
    """List Tiny ImageNet as it is distributed: train/<wnid>/images/, val/images/ with val_annotations.txt, wnids.txt.

    Its test images have no labels: its validation images are `test`.
    """
    path = place.path
    assert path is not None
    train, val, wnids_file = path / "train", path / "val", path / "wnids.txt"
    annotations = val / ANNOTATIONS
    missing = [str(one) for one in (train, val / "images", annotations, wnids_file) if not one.exists()]
    if missing:
        raise BadInput(
            f"{path} is no Tiny ImageNet as distributed (imagefolder:PATH takes other layouts): no {some(missing)}"
        )
    wnids = sorted(wnids_file.read_text().split())
    same_classes(wnids, folders(train), wnids_file.name, "train/", str(path))
    scanned = scans([train / wnid / "images" for wnid in wnids])
    sizes = dict(scan(val / "images").images)
    test: dict[str, list[File]] = {}
    for k, line in enumerate(annotations.read_text().splitlines(), 1):
        name, wnid, *_ = [*line.split("\t"), ""]
        if name not in sizes:
            raise BadInput(f"{annotations}, line {k}: {val / 'images'} holds no {name[:40]!r}")
        test.setdefault(wnid, []).append(File(f"val/images/{name}", sizes.pop(name), name))
    if sizes:
        raise BadInput(f"{annotations} labels no {some(sorted(sizes), 3)}")
    same_classes(wnids, test, wnids_file.name, annotations.name, str(path))
    sets: Sets = {
        "train": {folder.parent.name: files_in(folder, path, found.images) for folder, found in scanned.items()},
        "test": test,
    }
    watched = [path, train, val, wnids_file, annotations, val / "images"]
    watched += [one for folder, found in scanned.items() for one in (folder.parent, *found.folders)]
    return listing(path, three_sets(sets, place.source), wnids, times(path, watched), synsets.groups_of(wnids))
