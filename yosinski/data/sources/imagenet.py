"""ImageNet's directory in one of three layouts, listed without decoding images.

    train/<wnid>/*.JPEG with val/<wnid>/*.JPEG
    train/<wnid>/*.JPEG with val/*.JPEG, and labels in the same folder (or in a folder of the development kit):
        ILSVRC2012_validation_ground_truth.txt with meta.mat or meta_clsloc.mat, or Kaggle's LOC_val_solution.csv
    ILSVRC/Data/CLS-LOC/{train,val}, from Kaggle, with LOC_val_solution.csv

<wnid> is a WordNet id such as n01440764. The classes may be other or fewer than the paper's 1000. Images end in .jpeg,
.jpg or .png, in upper or lower case; other files are ignored. The training images are the paper's. The validation
images of each class are divided in the order of their names: every other one, from the first, is `select`, the rest are
`test`.

ImageNet is too large to be read for a plan: the fingerprint covers the names and sizes of all files, and the content of
a sample.
"""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from yosinski.data.place import Place
from yosinski.data.sources import synsets
from yosinski.data.sources.listing import Image, Listing, Sets, files_in, listing, same_classes
from yosinski.data.sources.scanning import State, Unused, scan, scans, top_of
from yosinski.errors import BadInput, printable, some

GENERATOR = 2  # increase when stores of the same files would hold other images; the fingerprint covers it
SUFFIXES = (".jpeg", ".jpg", ".png")
WNID = re.compile(r"n\d{8}")
KAGGLE = Path("ILSVRC/Data/CLS-LOC")
TRUTH = re.compile(r"ILSVRC\d{4}(_clsloc)?_validation_ground_truth\.txt")
SOLUTION = "LOC_val_solution.csv"
SAMPLE = 2000  # number of files that are read
Files = list[tuple[str, State]]


def list_images(place: Place) -> Listing:
    """List the directory. BadInput if something is wrong with it."""
    path = place.path
    assert path is not None
    root = next((root for root in (path, path / KAGGLE) if (root / "train").is_dir()), None)
    if root is None:
        raise BadInput(f"{path} is no ImageNet: it has neither train/ nor {KAGGLE}/train/")
    train, val = root / "train", root / "val"
    if not val.is_dir():
        raise BadInput(f"{root} has no val/")
    unused = Unused()
    wnids = _wnids(train, unused)
    if not wnids:
        raise BadInput(f"{train} holds no folders of classes")
    label_files, labels = _labels(path, root)
    foldered = _wnids(val, unused)
    of_classes = [train / wnid for wnid in wnids] + [val / wnid for wnid in foldered]
    scanned = scans(of_classes, SUFFIXES, nested=False)
    for folder, of_class in scanned.items():
        unused.merge(of_class.unused, f"{folder.relative_to(path)}/")
    validation = _divided(val, {wnid: scanned[val / wnid].images for wnid in foldered}, labels, label_files)
    same_classes(wnids, validation, "train/", label_files[0] if label_files and not foldered else val)
    sets: Sets = {
        "train": {wnid: files_in(train / wnid, path, scanned[train / wnid].images) for wnid in wnids},
        "val": {wnid: files_in(val / wnid if foldered else val, path, images) for wnid, images in validation.items()},
    }
    return listing(path, sets, wnids, in_turn, synsets.groups_of(wnids), unused.lines)


def in_turn(sets: Sets) -> Sets:
    """Divide the validation images of each class: every other one, from the first, is `select`, the rest are `test`."""
    single = [wnid for wnid, files in sets["val"].items() if len(files) < 2]
    if single:
        raise BadInput(f"class {single[0]} has one validation image; two are needed, for select and for test")
    return {
        "train": sets["train"],
        "select": {wnid: files[0::2] for wnid, files in sets["val"].items()},
        "test": {wnid: files[1::2] for wnid, files in sets["val"].items()},
    }


def sample(images: Sequence[Image]) -> list[Image]:
    """The images that are read for the fingerprint: `SAMPLE` of them, evenly spaced, or all if there are fewer."""
    count = min(SAMPLE, len(images))
    return [images[k * len(images) // count] for k in range(count)]


def _wnids(path: Path, unused: Unused) -> list[str]:
    """The classes: WordNet ids with a folder."""
    here = top_of(path, SUFFIXES)
    other = [name for name in here.folders if not WNID.fullmatch(name)]
    if other:
        names = some([printable(name) for name in other])
        raise BadInput(f"{path} holds folders that are no WordNet ids (n and eight digits): {names}")
    unused.merge(here.unused, f"{path.name}/")
    if here.folders and here.images:
        unused.add("images beside the folders of classes", f"{path.name}/{here.images[0]}", len(here.images))
    return here.folders


def _divided(
    val: Path, foldered: dict[str, Files], labels: dict[str, str], label_files: list[Path]
) -> dict[str, Files]:
    """The validation images of every class, by folders or by labels. BadInput if folders and labels disagree."""
    label_file = label_files[0] if label_files else None
    if foldered:
        for wnid, images in foldered.items():
            wrong = [name for name, _ in images if labels.get(Path(name).stem, wnid) != wnid]
            if wrong:
                raise BadInput(f"{label_file} disagrees with the folders: {val / wnid} holds {some(wrong, 3)}")
        return foldered
    images = scan(val, SUFFIXES, nested=False).images
    if not images:
        raise BadInput(f"{val} holds neither folders of classes nor images")
    if label_file is None:
        raise BadInput(
            f"{val} has no folders of classes, and there is no file that labels its images: put {SOLUTION}, or "
            f"ILSVRC2012_validation_ground_truth.txt with meta.mat, into {val.parent}"
        )
    stems = {Path(name).stem for name, _ in images}
    unlabelled, missing = sorted(stems - labels.keys()), sorted(labels.keys() - stems)
    if unlabelled or missing or len(stems) < len(images):
        raise BadInput(
            f"{label_file} labels {len(labels)} images, {val} holds {len(images)}"
            + (f"; without a label: {some(unlabelled, 3)}" if unlabelled else "")
            + (f"; not there: {some(missing, 3)}" if missing else "")
        )
    divided: dict[str, Files] = {}
    for name, state in images:
        divided.setdefault(labels[Path(name).stem], []).append((name, state))
    return divided


def _labels(path: Path, root: Path) -> tuple[list[Path], dict[str, str]]:
    """The files with the labels of the validation images, and the WordNet ids by the images' names."""
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
    """Kaggle's labels, in lines ImageId,PredictionString: a WordNet id, then boxes."""
    with solution.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.reader(lines))[1:]
    for k, row in enumerate(rows, 2):
        if len(row) != 2 or not WNID.match(row[1]):
            raise BadInput(f"{solution}, line {k}: not an image and a WordNet id, but {','.join(row)[:40]!r}")
    return {image: prediction.split()[0] for image, prediction in rows}


def _development_kit(truth: Path, meta: Path) -> dict[str, str]:
    """The kit's labels: one number per image, in order; meta.mat maps numbers to classes. Nothing is unpickled."""
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
