"""Folders of classes, the most common layout of images: `imagefolder:PATH`, and its variant `tinyimagenet:PATH`.

PATH holds train/<class>/..., val/<class>/... and optionally test/<class>/..., or only the folders of the classes. All
this may also lie in the only folder in PATH. `inputfolders:PATH` has one such folder for each input, side by side.
"""

import re
import shlex
import unicodedata
from pathlib import Path

from yosinski.data.place import Place
from yosinski.data.sources import synsets
from yosinski.data.sources.columns import GREY
from yosinski.data.sources.listing import (
    Beside,
    File,
    Listing,
    Sets,
    class_names,
    drawn,
    files_in,
    listing,
    one_class_each,
    same_classes,
)
from yosinski.data.sources.scanning import Unused, scan, scans, top_of
from yosinski.errors import BadInput, printable, some

WORDS = {
    "train": "train|training",
    "select": "val|valid|validation|dev|devel|development",
    "test": "test|testing",
    "eval": "eval|evaluation",  # `select` or `test`, see `set_called`
}
CALLED = {name: re.compile(rf"({words})([-_ ]?set)?", re.IGNORECASE) for name, words in WORDS.items()}
WRAPPED = 3  # maximum number of folders around a data set
ANNOTATIONS = "val_annotations.txt"


def list_images(place: Place) -> Listing:
    """List folders of classes. BadInput if there are none, if one is empty, or if the sets differ in their classes."""
    assert place.path is not None
    unused = Unused()
    sets = _classes(place.path, place.path, unused)
    return listing(place.path, sets, list(sets["train"]), drawn(place.source), notes=unused.lines)


def list_inputs(place: Place) -> Listing:
    """List folders of inputs, in the order of their names. The files of an example differ in folder and suffix only.

    BadInput if there are fewer than two, if two inputs have no common example, or if a name is there twice. Files
    without one of the first input are not used.
    """
    path = place.path
    assert path is not None
    here, unused = top_of(path), Unused()
    unused.merge(here.unused)
    if here.images:
        unused.add("images beside the folders of inputs", here.images[0], len(here.images))
    if called := [f"{printable(name)}/" for name in here.folders if set_called(name)]:
        raise BadInput(
            f"{printable(path)} holds {some(called)}: sets lie within the folders of inputs, not around them"
        )
    names = class_names(here.folders, f"{printable(path)}/")
    if len(names) < 2:
        raise BadInput(
            f"{printable(path)} holds {len(names)} folder(s); each input has one, and there are at least two"
        )
    if GREY in names.values():
        raise BadInput(f"{printable(path)}: no input may be called {GREY}")
    (folder, first), *further = names.items()
    within = Unused()
    sets = _classes(path / folder, path, within)
    unused.merge(within, f"{folder}/")
    in_first = _by_name([file for of_set in sets.values() for files in of_set.values() for file in files], folder)
    files: dict[File, list[File | None]] = {file: [] for file in in_first.values()}
    for folder, name in further:
        scanned = scan(path / folder)
        unused.merge(scanned.unused, f"{folder}/")
        named = _by_name(files_in(path / folder, path, scanned.images), folder)
        if not named.keys() & in_first.keys():
            raise BadInput(
                f"inputs {first} and {name} have no common example: in {printable(path)}, no two files differ in the "
                f"folder and the suffix only, as {first}/train/CLASS/1.png and {name}/train/CLASS/1.jpg would"
            )
        if alone := sorted(named[one].path for one in named.keys() - in_first.keys()):
            unused.add(f"images of {name} without one of {first}", alone[0], len(alone))
        for one, file in in_first.items():
            files[file].append(named.get(one))
    examples = {file: tuple(others) for file, others in files.items()}
    beside = Beside(tuple(names.values()), (), examples, dict.fromkeys(files, ()))
    return listing(path, sets, list(sets["train"]), drawn(place.source), notes=unused.lines, beside=beside)


def _by_name(files: list[File], folder: str) -> dict[str, File]:
    """The files of an input by their paths below its folder, without suffixes. BadInput if two are the same then."""
    found: dict[str, File] = {}
    for file in files:
        below = file.path.removeprefix(f"{folder}/").removesuffix(Path(file.path).suffix)
        name = unicodedata.normalize("NFC", below)
        if other := found.get(name):
            raise BadInput(f"two files of one example: {printable(other.path)} and {printable(file.path)}")
        found[name] = file
    return found


def _classes(path: Path, root: Path, unused: Unused) -> Sets:
    """The images below a folder by set and class, the classes in order, with paths relative to `root`."""
    tops = _sets(path, unused)
    of_sets: dict[str, dict[Path, str]] = {}
    for set_name, top in tops.items():
        here = top_of(top)
        of_sets[set_name] = {
            top / folder: name for folder, name in class_names(here.folders, f"{printable(top)}/").items()
        }
        within = "" if top == path else f"{top.relative_to(path)}/"
        unused.merge(here.unused, within)
        if here.images:
            unused.add("images beside the folders of classes", within + here.images[0], len(here.images))
    if not of_sets["train"]:
        raise BadInput(f"{printable(tops['train'])} holds no folders of classes")
    for set_name in of_sets.keys() - {"train"}:
        here, there = (f"{tops[one].name}/" for one in ("train", set_name))
        same_classes(of_sets["train"].values(), of_sets[set_name].values(), here, there, printable(path))
    scanned = scans([folder for classes in of_sets.values() for folder in classes])
    sets: Sets = {}
    for set_name, classes in of_sets.items():
        one_class_each({folder: scanned[folder] for folder in classes}, lambda folder: str(folder))
        in_order = sorted(classes.items(), key=lambda folder: folder[1])
        sets[set_name] = {name: files_in(folder, root, scanned[folder].images) for folder, name in in_order}
        for folder in classes:
            unused.merge(scanned[folder].unused, f"{folder.relative_to(path)}/")
    return sets


def set_called(name: str, among: dict[str, Path] | None = None) -> str | None:
    """The set that a folder or a list is, by its name; None if it is no set.

    eval/ is `test` if `among` has a set `select` and no `test`, else `select`.
    """
    set_name = next((which for which, pattern in CALLED.items() if pattern.fullmatch(name)), None)
    if set_name != "eval":
        return set_name
    return "test" if "select" in (among or {}) and "test" not in (among or {}) else "select"


def named_sets(paths: dict[str, Path], where: Path) -> dict[str, Path]:
    """The folders or lists that are train, select and test, by their names. BadInput if one set is found twice."""
    sets: dict[str, Path] = {}
    in_turn = sorted(paths, key=lambda name: (CALLED["eval"].fullmatch(name) is not None, name))
    for name in in_turn:
        set_name = set_called(name, sets)
        if set_name in sets:
            one, other = (printable(path.name) + "/" * path.is_dir() for path in (sets[set_name], paths[name]))
            raise BadInput(f"{printable(where)} holds both {one} and {other}; one of them must go")
        if set_name:
            sets[set_name] = paths[name]
    return sets


def _sets(path: Path, unused: Unused, wrapped: int = 0) -> dict[str, Path]:
    """The folders of train, select and test; if the path holds the classes, the path itself as train."""
    here = top_of(path)
    called = [folder for folder in here.folders if set_called(folder)]
    inner = {folder: path / folder for folder in called if top_of(path / folder).folders}  # others have no labels
    sets = named_sets(inner, path)
    if "train" in sets:
        unused.merge(here.unused)
        _beside(path, here.folders, here.images, sets, unused)
        return {name: _unwrapped(top, unused) for name, top in sets.items()}
    if wrapped < WRAPPED and (only := _only(path)):
        unused.merge(here.unused)
        unused.say(f"looked into {printable(only)}: there is nothing else in {printable(path)}")
        return _sets(only, unused, wrapped + 1)
    if len(sets) > 1 and len(sets) == len(here.folders):
        raise BadInput(f"{printable(path)} holds {some([f'{name}/' for name in called])}, but no train/")
    return {"train": path}


def _only(path: Path) -> Path | None:
    """The only folder in a folder that holds nothing else, if that one holds only folders."""
    here = top_of(path)
    if here.images or len(here.folders) != 1:
        return None
    inner = top_of(path / here.folders[0])
    return path / here.folders[0] if inner.folders and not inner.images else None


def _unwrapped(top: Path, unused: Unused) -> Path:
    """The folder of a set, or the only folder in it."""
    for _ in range(WRAPPED):
        if only := _only(top):
            unused.say(f"looked into {printable(only)}: there is nothing else in {printable(top)}")
            top = only
    return top


def _beside(path: Path, folders: list[str], images: list[str], sets: dict[str, Path], unused: Unused) -> None:
    """Record what lies beside the sets. BadInput if train/ may be a class like the other folders."""
    other = {folder: scan(path / folder) for folder in folders if path / folder not in sets.values()}
    holding = [folder for folder, scanned in other.items() if scanned.images and not set_called(folder)]
    train = sets["train"]
    if holding and len(sets) == 1:
        beside = some([f"{printable(folder)}/" for folder in holding], 5)
        raise BadInput(
            f"{printable(train)}/ holds folders, and beside it are images in {beside}: if its folders are the classes "
            f"and the others not to be used, write {shlex.quote(f'imagefolder:{printable(train)}')}; if it is itself a "
            "class, as they are, rename it"
        )
    if images:
        unused.add("images in no folder", images[0], len(images))
    for folder, scanned in other.items():
        unused.merge(scanned.unused, f"{folder}/")
        if scanned.images:
            why = "without folders of classes" if set_called(folder) else "which is no set"
            unused.add(
                f"images in {printable(folder)}/, {why}", f"{folder}/{scanned.images[0][0]}", len(scanned.images)
            )


def tiny_imagenet(place: Place) -> Listing:
    """List Tiny ImageNet as distributed: train/<wnid>/images/, val/images/ with val_annotations.txt, wnids.txt.

    Its test images have no labels; its validation images become `test`.
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
    same_classes(wnids, top_of(train).folders, wnids_file.name, "train/", str(path))
    scanned = scans([train / wnid / "images" for wnid in wnids])
    one_class_each(scanned, lambda folder: folder.parent.name)
    labelled = scan(val / "images")
    states = dict(labelled.images)
    test: dict[str, list[File]] = {}
    for k, line in enumerate(annotations.read_text().splitlines(), 1):
        name, wnid, *_ = [*line.split("\t"), ""]
        if name not in states:
            raise BadInput(f"{annotations}, line {k}: {val / 'images'} holds no {name[:40]!r}")
        state = states.pop(name)
        test.setdefault(wnid, []).append(File(f"val/images/{name}", state.size, name, "", state))
    if states:
        raise BadInput(f"{annotations} labels no {some(sorted(map(printable, states)), 3)}")
    same_classes(wnids, test, wnids_file.name, annotations.name, str(path))
    sets: Sets = {
        "train": {folder.parent.name: files_in(folder, path, content.images) for folder, content in scanned.items()},
        "test": test,
    }
    unused = Unused()
    for folder, content in (*scanned.items(), (val / "images", labelled)):
        unused.merge(content.unused, f"{folder.relative_to(path)}/")
    if (path / "test").is_dir() and (without := scan(path / "test").images):
        unused.add("images in test/, which have no labels", f"test/{without[0][0]}", len(without))
    return listing(path, sets, wnids, drawn(place.source), synsets.groups_of(wnids), unused.lines)
