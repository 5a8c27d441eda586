"""ImageNet's directory, as people have it: one of three layouts, listed without decoding an image.

    train/<wnid>/*.JPEG with val/<wnid>/*.JPEG
    train/<wnid>/*.JPEG with val/*.JPEG, and beside them (or in a folder of the development kit) the labels:
        ILSVRC2012_validation_ground_truth.txt with meta.mat or meta_clsloc.mat, or Kaggle's LOC_val_solution.csv
    ILSVRC/Data/CLS-LOC/{train,val}, as Kaggle has it, with LOC_val_solution.csv

<wnid> is a WordNet id such as n01440764; there may be other or fewer classes than the paper's 1000. Images end in
.jpeg, .jpg or .png, in whatever case; other files are ignored. The training images are the paper's. Its validation
images are divided, within each class in the order of their names: every other one, from the first, is `select`, the
rest are `test`.
"""

import csv
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from yosinski.data import some
from yosinski.data.store import SETS
from yosinski.spec import BadInput

SUFFIXES = (".jpeg", ".jpg", ".png")
WNID = re.compile(r"n\d{8}")
KAGGLE = Path("ILSVRC/Data/CLS-LOC")
TRUTH = re.compile(r"ILSVRC\d{4}(_clsloc)?_validation_ground_truth\.txt")
SOLUTION = "LOC_val_solution.csv"
Files = list[tuple[str, int]]  # names and sizes


class Image(NamedTuple):
    """An image file: its place in the data set, where it lies within the tree, and its size in bytes."""

    set_name: str
    wnid: str
    number: int  # within its set and class
    path: str
    size: int

    @property
    def name(self) -> str:
        """What it is called whatever the layout: select/n01440764/ILSVRC2012_val_00000293.JPEG."""
        return f"{self.set_name}/{self.wnid}/{self.path.rpartition('/')[2]}"


@dataclass(frozen=True)
class Tree:
    """All images of a tree, in the order of stores: by set, class and number."""

    path: Path
    images: tuple[Image, ...]
    watched: Mapping[str, int]  # directories and label files, with their times of change in ns

    @cached_property
    def listing(self) -> dict[str, Any]:
        """What a card needs to know: `wnids`, images `per_class` of each set, and the SHA-256 of all `sources`."""
        wnids = sorted({image.wnid for image in self.images})
        place = {wnid: k for k, wnid in enumerate(wnids)}
        per_class = {name: [0] * len(wnids) for name in SETS}
        hashed = hashlib.sha256()
        for image in self.images:
            per_class[image.set_name][place[image.wnid]] += 1
            hashed.update(f"{image.name} {image.size}\0".encode())
        return {"wnids": wnids, "per_class": per_class, "sources": hashed.hexdigest()}


def tree(path: Path) -> Tree:
    """List a tree; BadInput names what is wrong with it."""
    root = next((root for root in (path, path / KAGGLE) if (root / "train").is_dir()), None)
    if root is None:
        raise BadInput(f"{path} is no ImageNet: it has neither train/ nor {KAGGLE}/train/")
    train, val = root / "train", root / "val"
    if not val.is_dir():
        raise BadInput(f"{root} has no val/")
    wnids = _folders(train)
    if not wnids:
        raise BadInput(f"{train} holds no folders of classes")
    label_files, labels = _labels(path, root)
    foldered = _folders(val)
    folders = [train / wnid for wnid in wnids] + [val / wnid for wnid in foldered]
    watched = [path, root, train, val, *folders, *label_files]
    since = {os.path.relpath(one, path): one.stat().st_mtime_ns for one in watched}
    with ThreadPoolExecutor(16) as threads:  # what takes time on a network's file system is waiting
        scanned = dict(zip(folders, threads.map(_scan, folders), strict=True))
    empty = [str(folder) for folder, found in scanned.items() if not found]
    if empty:
        raise BadInput(f"no images ({', '.join(SUFFIXES)}) in {some(empty)}")
    validation = _divided(val, {wnid: scanned[val / wnid] for wnid in foldered}, labels, label_files)
    _same(wnids, validation, label_files[0] if label_files and not foldered else val)

    within = lambda folder: os.path.relpath(folder, path)  # noqa: E731
    found = {
        ("train", wnid): [(f"{within(train / wnid)}/{name}", size) for name, size in scanned[train / wnid]]
        for wnid in wnids
    }
    for wnid, images in validation.items():
        if len(images) < 2:
            raise BadInput(f"class {wnid} has one validation image; two are needed, for select and for test")
        there = within(val / wnid if foldered else val)
        for k, set_name in enumerate(("select", "test")):
            found[set_name, wnid] = [(f"{there}/{name}", size) for name, size in images[k::2]]
    images = tuple(
        Image(set_name, wnid, number, *image)
        for set_name in SETS
        for wnid in wnids
        for number, image in enumerate(found[set_name, wnid])
    )
    return Tree(path, images, since)


def _folders(path: Path) -> list[str]:
    """The classes that have a folder."""
    try:
        found = sorted(one.name for one in os.scandir(path) if not one.name.startswith(".") and one.is_dir())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    other = [name for name in found if not WNID.fullmatch(name)]
    if other:
        raise BadInput(f"{path} holds folders that are no WordNet ids (n and eight digits): {some(other)}")
    return found


def _scan(folder: Path) -> Files:
    """The images in a folder, in the order of their names."""
    try:
        with os.scandir(folder) as entries:
            images = [one for one in entries if one.name.lower().endswith(SUFFIXES) and not one.name.startswith(".")]
            return sorted((one.name, one.stat().st_size) for one in images)
    except OSError as error:
        raise BadInput(f"{error.filename or folder}: {error.strerror}") from error


def _divided(
    val: Path, foldered: dict[str, Files], labels: dict[str, str], label_files: list[Path]
) -> dict[str, Files]:
    """The validation images of every class, by their folders or their labels; BadInput where the two disagree."""
    told = label_files[0] if label_files else None
    if foldered:
        for wnid, images in foldered.items():
            wrong = [name for name, _ in images if labels.get(Path(name).stem, wnid) != wnid]
            if wrong:
                raise BadInput(f"{told} disagrees with the folders: {val / wnid} holds {some(wrong, 3)}")
        return foldered
    images = _scan(val)
    if not images:
        raise BadInput(f"{val} holds neither folders of classes nor images")
    if told is None:
        raise BadInput(
            f"{val} has no folders of classes, and there is no file that labels its images: put {SOLUTION}, or "
            f"ILSVRC2012_validation_ground_truth.txt with meta.mat, into {val.parent}"
        )
    stems = {Path(name).stem for name, _ in images}
    unlabelled, missing = sorted(stems - labels.keys()), sorted(labels.keys() - stems)
    if unlabelled or missing or len(stems) < len(images):
        raise BadInput(
            f"{told} labels {len(labels)} images, {val} holds {len(images)}"
            + (f"; without a label: {some(unlabelled, 3)}" if unlabelled else "")
            + (f"; not there: {some(missing, 3)}" if missing else "")
        )
    divided: dict[str, Files] = {}
    for name, size in images:
        divided.setdefault(labels[Path(name).stem], []).append((name, size))
    return divided


def _same(train: list[str], validation: Iterable[str], where: Path) -> None:
    for missing, there, not_there in (
        (sorted(set(train) - set(validation)), "train/", where),
        (sorted(set(validation) - set(train)), where, "train/"),
    ):
        if missing:
            raise BadInput(f"classes that are in {there} but not in {not_there}: {some(missing)}")


def _labels(path: Path, root: Path) -> tuple[list[Path], dict[str, str]]:
    """The file that labels the validation images, with what it needs, and the wnids by the images' names."""
    tops = [path, root, root / "val", *(root.parents[:3] if root.parts[-3:] == KAGGLE.parts else ())]
    tops += [kit for top in tops for kit in sorted(top.glob("ILSVRC20*devkit*"))]
    for folder in dict.fromkeys(folder for top in tops for folder in (top, top / "data") if folder.is_dir()):
        if (folder / SOLUTION).is_file():
            return [folder / SOLUTION], _kaggle(folder / SOLUTION)
        truth = sorted(one.name for one in folder.glob("ILSVRC*.txt") if TRUTH.fullmatch(one.name))
        if truth:
            meta = next((folder / name for name in ("meta.mat", "meta_clsloc.mat") if (folder / name).is_file()), None)
            if meta is None:
                raise BadInput(f"{folder / truth[0]} needs meta.mat or meta_clsloc.mat beside it")
            return [folder / truth[0], meta], _development_kit(folder / truth[0], meta)
    return [], {}


def _kaggle(solution: Path) -> dict[str, str]:
    """ImageId,PredictionString: the wnid, then boxes."""
    with solution.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.reader(lines))[1:]
    for k, row in enumerate(rows, 2):
        if len(row) != 2 or not WNID.match(row[1]):
            raise BadInput(f"{solution}, line {k}: not an image and a WordNet id, but {','.join(row)[:40]!r}")
    return {image: told.split()[0] for image, told in rows}


def _development_kit(truth: Path, meta: Path) -> dict[str, str]:
    """One number per image, in order; meta.mat says which class has which. Nothing is unpickled."""
    from scipy.io import loadmat

    try:
        synsets = loadmat(meta, squeeze_me=True, variable_names=["synsets"])["synsets"]
        number = next(name for name in synsets.dtype.names if re.fullmatch(r"ILSVRC\d{4}_(CLSLOC_)?ID", name))
        wnids = {int(one[number]): str(one["WNID"]) for one in synsets}
    except Exception as error:
        raise BadInput(f"{meta} is not the development kit's: {type(error).__name__}: {error}") from error
    labels = {}
    for k, line in enumerate(truth.read_text().split(), 1):
        if not line.isdecimal() or int(line) not in wnids:
            raise BadInput(f"{truth}, line {k}: {meta.name} has no class {line[:20]}")
        labels[f"ILSVRC2012_val_{k:08d}"] = wnids[int(line)]
    return labels
