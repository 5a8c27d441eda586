"""Listings: the images of a data set, found without decoding them, and divided into three sets.

`train` is for learning, `select` for choices (curves, early answers, recommendations), `test` is evaluated once. Data
sets with fewer sets are divided:

    train and one other set   the other set is `test`; a tenth of every class in train, at least one image, is `select`
    one set                   a tenth of every class is `select`, another tenth `test`, at least one image each

The tenth are the images with the lowest SHA-256 over (seed, class, name). This is as good as random, the same on every
machine, and nearly the same when images are added. Broken images that are skipped have no effect on the division of the
others.

Where examples have several inputs, they are divided by the images of the first one, which every example has.
"""

import hashlib
import json
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    """A file with its set and class; `number` counts examples within these. domain: which input it is, or empty."""

    set_name: str
    class_name: str
    number: int
    file: File
    domain: str = ""

    @property
    def name(self) -> str:
        """The name in the whole data set: select/n01440764/ILSVRC2012_val_00000293.JPEG."""
        within = f"{self.domain}/" if self.domain else ""
        return f"{self.set_name}/{self.class_name}/{within}{self.file.name}"


@dataclass(frozen=True)
class Beside:
    """What examples have beside the image of the first input and the class. An example is known by that image's file.

    inputs: names of all inputs, the first one first; empty if there is only one, without a name
    questions: names of the further labels, in sorted order
    files: of the further inputs, in their order; None for a missing one
    labels: of the questions, in their order; empty for a missing one
    """

    inputs: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    files: Mapping[File, tuple[File | None, ...]] = field(default_factory=dict)
    labels: Mapping[File, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.inputs or self.questions)

    def images(self, files: Sequence[File]) -> Iterator[tuple[str, int, File]]:
        """Domain, number and file of all images of these examples, input by input."""
        for number, file in enumerate(files):
            yield (self.inputs[0] if self.inputs else ""), number, file
        for k, domain in enumerate(self.inputs[1:]):
            for number, first in enumerate(files):
                file = self.files[first][k]
                if file is not None:
                    yield domain, number, file

    def labels_of(self) -> dict[File, tuple[str, ...]]:
        """The labels by the file of any input."""
        further = {file: self.labels[first] for first, files in self.files.items() for file in files if file}
        return {**self.labels, **further}

    def without(self, gone: Collection[File]) -> "Beside":
        """The same without these files of further inputs: they are missing."""
        kept = {
            first: tuple(None if file in gone else file for file in of_example)
            for first, of_example in self.files.items()
        }
        return replace(self, files=kept)


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
    beside: Beside = Beside()  # further inputs and labels

    def where(self, file: File) -> str:
        """The path of a file as a string, three times as fast as with Path."""
        return file.path if file.path.startswith("/") else f"{self.root}/{file.path}"

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Data for a card: `classes`, `groups`, images `per_class` of each set, SHA-256 of all `sources`, `notes`.

        With several inputs or questions also `domains`, the `answers` of each question, and the numbers of examples in
        which an input is `missing`, or which are `unlabelled`, as in a card.
        """
        place = {name: k for k, name in enumerate(self.classes)}
        first = self.beside.inputs[0] if self.beside.inputs else ""
        per_class, labels_of = self._none(), self.beside.labels_of()
        hashed, more = hashlib.sha256(), bool(self.beside)
        for image in self.images:
            if image.domain == first:
                per_class[image.set_name][place[image.class_name]] += 1
            hashed.update(f"{image.name} {image.file.size} {image.file.sha256}\0".encode())
            if more:  # which images and labels are of one example
                hashed.update(f"{image.number} {json.dumps(labels_of[image.file])}\0".encode())
        return {
            "classes": list(self.classes),
            "groups": list(self.groups),
            "per_class": per_class,
            "sources": hashed.hexdigest(),
            "notes": list(self.notes),
            **(self._of_inputs_and_questions() if more else {}),
        }

    def _none(self) -> dict[str, list[int]]:
        return {name: [0] * len(self.classes) for name in SETS}

    def _of_inputs_and_questions(self) -> dict[str, Any]:
        """The data that only data sets with several inputs or questions have."""
        place = {name: k for k, name in enumerate(self.classes)}
        beside = self.beside
        missing = {name: self._none() for name in beside.inputs[1:]}
        unlabelled = {question: self._none() for question in beside.questions}
        answers: dict[str, set[str]] = {question: set() for question in beside.questions}
        for image in self.images:
            if image.file not in beside.labels:
                continue  # a further input
            for name, file in zip(beside.inputs[1:], beside.files[image.file], strict=True):
                missing[name][image.set_name][place[image.class_name]] += file is None
            for question, label in zip(beside.questions, beside.labels[image.file], strict=True):
                unlabelled[question][image.set_name][place[image.class_name]] += not label
                answers[question] |= {label} - {""}
        return {
            "domains": list(beside.inputs),
            "answers": {question: sorted_labels(labels) for question, labels in answers.items()},
            "missing": {name: counts for name, counts in missing.items() if any(map(any, counts.values()))},
            "unlabelled": {name: counts for name, counts in unlabelled.items() if any(map(any, counts.values()))},
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
        return listing(self.root, left, self.classes, self.divide, self.groups, self.notes, self.beside.without(gone))


def listing(
    root: Path,
    undivided: Sets,
    classes: Sequence[str],
    divide: Divide,
    groups: Sequence[str] = (),
    notes: Sequence[str] = (),
    beside: Beside | None = None,
) -> Listing:
    """Divide the images that were found into three sets, and put them in the order of stores.

    undivided: with several inputs the images of the first one; `beside` has the others.
    """
    sets, beside = divide(undivided), beside or Beside()
    images = tuple(
        Image(set_name, class_name, number, file, domain)
        for set_name in SETS
        for class_name in classes
        for domain, number, file in beside.images(sets[set_name][class_name])
    )
    return Listing(root, tuple(classes), images, tuple(groups), tuple(notes), undivided, divide, beside)


def sorted_labels(labels: Iterable[str]) -> list[str]:
    """Labels in order: by number if all of them are numbers."""
    labels = list(labels)
    numbers = all(label.isdecimal() for label in labels)
    return sorted(labels, key=(lambda label: (int(label), label)) if numbers else None)


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
