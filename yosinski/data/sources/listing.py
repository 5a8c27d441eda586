"""Listings: the images of a data set, found without decoding them, and divided into three sets.

`train` is for learning, `select` for choices (curves, early answers, recommendations), `test` is evaluated once. Data
sets with fewer sets are divided:

    train and one other set   the other set is `test`; a tenth of every class in train, at least one image, is `select`
    one set                   a tenth of every class is `select`, another tenth `test`, at least one image each

The tenth are the images with the lowest SHA-256 over (seed, class, name). This is as good as random, the same on every
machine, and nearly the same when images are added. Broken images that are skipped have no effect on the division of the
others.
"""

import hashlib
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

from yosinski.data.card import SETS
from yosinski.data.sources.scanning import Scan, State
from yosinski.errors import BadInput, printable, some

SEED = 0
SHARE = 10  # one of this number of images is drawn
GENERATOR = {"version": 2, "seed": SEED, "share": SHARE}  # increase it when stores would hold other images


@dataclass(slots=True, eq=False)
class File:
    """An image without its set and class."""

    path: str  # within the data set's directory; or the image's number in a file of many
    size: int  # in bytes
    name: str  # within its class, the same for all layouts; printable
    sha256: str = ""  # of its bytes; empty if not read yet, and for most images of ImageNet
    state: State | None = None  # None for an image within a file of many


class Image(NamedTuple):
    """A file with its set and class; `number` counts within these."""

    set_name: str
    class_name: str
    number: int
    file: File

    @property
    def name(self) -> str:
        """The name in the whole data set: select/n01440764/ILSVRC2012_val_00000293.JPEG."""
        return f"{self.set_name}/{self.class_name}/{self.file.name}"


Sets = dict[str, dict[str, list[File]]]  # the files of each class, in each set
Divide = Callable[[Sets], Sets]


@dataclass(frozen=True)
class Listing:
    """All images of a data set in the order of stores: by set, class and number."""

    root: Path  # of the files' relative paths
    classes: tuple[str, ...]
    images: tuple[Image, ...]
    groups: tuple[str, ...]
    notes: tuple[str, ...]  # for the user
    found: Sets  # before the division
    divide: Divide  # into train, select and test

    def where(self, file: File) -> str:
        """The path of a file as a string, three times as fast as with Path."""
        return file.path if file.path.startswith("/") else f"{self.root}/{file.path}"

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Data for a card: `classes`, `groups`, images `per_class` of each set, SHA-256 of all `sources`, `notes`."""
        place = {name: k for k, name in enumerate(self.classes)}
        per_class = {name: [0] * len(place) for name in SETS}
        hashed = hashlib.sha256()
        for image in self.images:
            per_class[image.set_name][place[image.class_name]] += 1
            hashed.update(f"{image.name} {image.file.size} {image.file.sha256}\0".encode())
        return {
            "classes": list(self.classes),
            "groups": list(self.groups),
            "per_class": per_class,
            "sources": hashed.hexdigest(),
            "notes": list(self.notes),
        }

    def without(self, names: Collection[str]) -> "Listing":
        """The listing without these images (names). BadInput if too few images of a class are left."""
        gone = {image.file for image in self.images if image.name in names}
        left: Sets = {}
        for set_name, classes in self.found.items():
            left[set_name] = {name: [file for file in files if file not in gone] for name, files in classes.items()}
            none = [name for name, files in left[set_name].items() if not files]
            if none:
                raise BadInput(f"{printable(self.root)}: no {set_name} image that is not broken in {some(none)}")
        return listing(self.root, left, self.classes, self.divide, self.groups, self.notes)


def listing(
    root: Path,
    undivided: Sets,
    classes: Sequence[str],
    divide: Divide,
    groups: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Listing:
    """Divide the images that were found into three sets, and put them in the order of stores."""
    sets = divide(undivided)
    images = tuple(
        Image(set_name, class_name, number, file)
        for set_name in SETS
        for class_name in classes
        for number, file in enumerate(sets[set_name][class_name])
    )
    return Listing(root, tuple(classes), images, tuple(groups), tuple(notes), undivided, divide)


def drawn(name: str) -> Divide:
    """The rule that divides a data set, as at the top of this module. name: of the data set, for messages."""
    return partial(three_sets, told=name)


def three_sets(undivided: Sets, told: str) -> Sets:
    """Divide a data set (train, and possibly select and test), as at the top of this module.

    told: name of the data set for messages. BadInput if the sets differ in their classes, or if there are too few
    images in a class.
    """
    train = undivided["train"]
    if len(train) < 2:
        raise BadInput(f"{told} has {len(train)} class(es); two are needed, one for either half")
    others = {name: classes for name, classes in undivided.items() if name != "train"}
    for classes in others.values():
        same_classes(train, classes, "the training images", "the others", told)
    if len(others) == 2:
        return undivided
    new_sets = ("select",) if others else ("select", "test")
    few = sorted(name for name, files in train.items() if len(files) <= len(new_sets))
    if few:
        whose = "training images" if others else "images"
        raise BadInput(
            f"{told}: {' and '.join(new_sets)} images are drawn from the {whose} of each class, which takes at least "
            f"{len(new_sets) + 1} of them; too few are in {some(few)}"
        )
    sets: Sets = {"train": {}, "select": {}, "test": dict(*others.values())}
    for class_name, files in train.items():
        count = max(1, round(len(files) / SHARE))
        lots = sorted(files, key=partial(_lot, class_name))
        set_of = {file: name for k, name in enumerate(new_sets) for file in lots[k * count : (k + 1) * count]}
        for name in ("train", *new_sets):
            sets[name][class_name] = [file for file in files if set_of.get(file, "train") == name]
    return sets


def _lot(class_name: str, file: File) -> bytes:
    return hashlib.sha256(f"{SEED} {class_name} {file.name}".encode()).digest()


def same_classes(one: Iterable[str], other: Iterable[str], here: object, there: object, name: str = "") -> None:
    """BadInput if two places do not have the same classes."""
    for missing, has, lacks in (
        (sorted(set(one) - set(other)), here, there),
        (sorted(set(other) - set(one)), there, here),
    ):
        if missing:
            prefix = f"{name}: " if name else ""
            raise BadInput(f"{prefix}classes that are in {has} but not in {lacks}: {some(missing)}")


def class_names(spellings: Iterable[str], where: object) -> dict[str, str]:
    """Names of classes by their spellings on the disk. Names are printable, in the Unicode normal form C.

    BadInput if two spellings give the same name.
    """
    spelled_so: dict[str, str] = {}
    for spelled in spellings:
        name = unicodedata.normalize("NFC", printable(spelled))
        twin = spelled_so.setdefault(name, spelled)
        if twin != spelled:
            codes = [" ".join(f"{ord(one):04X}" for one in spelling) for spelling in sorted((twin, spelled))]
            raise BadInput(f"{where} has class {name} twice, in Unicode {' and '.join(codes)}: rename one of them")
    return {spelled: name for name, spelled in spelled_so.items()}


def files_in(folder: Path, root: Path, images: Iterable[tuple[str, State]]) -> list[File]:
    """The images from the scan of a folder, with paths relative to the data set's root."""
    within = folder.relative_to(root)
    return [File(f"{within}/{name}", state.size, printable(name), "", state) for name, state in images]


def one_class_each(scanned: Mapping[Path, Scan], class_of: Callable[[Path], str]) -> None:
    """BadInput if links put the same folder into two classes of one set."""
    owners: dict[tuple[int, int], Path] = {}
    for folder, content in scanned.items():
        for inner in content.folders:
            other = owners.setdefault(inner, folder)
            if class_of(other) != class_of(folder):
                raise BadInput(
                    f"one folder belongs to two classes, by links: {printable(other)} and {printable(folder)}"
                )
