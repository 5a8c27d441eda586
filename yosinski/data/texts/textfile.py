"""Texts in files: `textfile:PATH`.

PATH is a table (CSV, TSV or Parquet) with columns of texts and of labels, a folder with one table for each set (train,
dev, test), or a folder of folders, one for each class or first for each set, with one text a file. Further columns
`label_<question>` are the labels of further questions. What has fewer than three sets is divided: a tenth of every
class, at least one text, is `select` (and another tenth `test`), drawn by the class and the number of the text in it.
Files are UTF-8.
"""

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yosinski.data.card import SETS
from yosinski.data.place import Place
from yosinski.data.sources.columns import LABEL
from yosinski.data.sources.folders import named_sets
from yosinski.data.sources.listing import SHARE, same_classes, sorted_labels
from yosinski.data.texts.source import Source
from yosinski.errors import BadInput, printable, some
from yosinski.randomness import generator

TABLES = (".csv", ".tsv", ".parquet")
GENERATOR = 1  # increase when the same files would give other examples


@dataclass(frozen=True)
class Table:
    """Texts in the order of their files, with the names of their labels; empty for none of a further question."""

    texts: Sequence[str]
    labels: Sequence[str]
    further: dict[str, Sequence[str]]


@dataclass(frozen=True)
class Read:
    """A data set as it was read, divided: `source` is what a store is made of."""

    classes: list[str]
    answers: dict[str, list[str]]
    source: Source


def parts(place: Place) -> dict[str, list[Path]]:
    """The files of each set, in order. BadInput if there are none."""
    path = place.path
    assert path is not None
    if path.is_file():
        if path.suffix.lower() not in TABLES:
            raise BadInput(
                f"{printable(path)} is no table; choose from: {', '.join(TABLES)}, or a folder of text files"
            )
        return {"train": [path]}
    tables = sorted(one for one in path.iterdir() if one.suffix.lower() in TABLES and not one.name.startswith("."))
    if tables:
        sets = named_sets({one.stem: one for one in tables}, path)
        if "train" not in sets:
            if len(tables) > 1:
                raise BadInput(f"{printable(path)} holds no table of train, but {some([one.name for one in tables])}")
            sets = {"train": tables[0]}
        return {name: [one] for name, one in sets.items()}
    folders = {one.name: one for one in sorted(path.iterdir()) if one.is_dir() and not one.name.startswith(".")}
    sets = named_sets(folders, path)
    if "train" not in sets:
        sets = {"train": path}
    found = {name: sorted(one for one in top.glob("*/*") if one.is_file()) for name, top in sets.items()}
    for name, of_set in found.items():
        if not [one for one in of_set if not one.name.startswith(".")]:
            raise BadInput(
                f"{printable(sets[name])} holds neither a table nor folders of text files, one for each class"
            )
    return {name: [one for one in of_set if not one.name.startswith(".")] for name, of_set in found.items()}


def unread(place: Place, parts: Mapping[str, Sequence[Path]]) -> tuple[str, ...]:
    """A note on files of a folder that are not read, such as those deeper than a class's own."""
    path = place.path
    assert path is not None
    if path.is_file():
        return ()
    used = {one for of_set in parts.values() for one in of_set}
    deep = ("*",) if {one.suffix.lower() for one in used} <= {*TABLES} else ("*", "*/*", "*/*/*", "*/*/*/*")
    found = sorted({one for pattern in deep for one in path.glob(pattern) if one.is_file()} - used)
    names = [one.relative_to(path) for one in found]
    left = [printable(one) for one in names if not any(part.startswith(".") for part in one.parts)]
    return (f"{len(left)} files are not read: {some(left, 3)}",) if left else ()


def read(place: Place, files: dict[str, list[Path]]) -> Read:
    """Read and divide all texts. BadInput names the file and the line of what cannot be read."""
    told = printable(place.source)
    tables = {name: _read_set(place, of_set) for name, of_set in files.items()}
    questions = sorted(tables["train"].further)
    classes = {name: set(table.labels) for name, table in tables.items()}
    if len(classes["train"]) < 2:
        raise BadInput(f"{told} has one class, {some(sorted(classes['train']))}; two are needed, one for either half")
    for name, of_set in classes.items():
        same_classes(classes["train"], of_set, "the texts of train", f"those of {name}", told)
        if sorted(tables[name].further) != questions:
            raise BadInput(f"{told}: the tables of train and {name} have different columns of labels")
    names = sorted_labels(classes["train"])
    answers = {
        one: sorted_labels({label for table in tables.values() for label in table.further[one]} - {""})
        for one in questions
    }
    _check_twins(names, "label", told)
    for question, labels in answers.items():
        _check_twins(labels, f"label_{question}", told)
        if len(labels) < 2:
            raise BadInput(f"{told}: column label_{question} has {len(labels)} label(s); a question needs at least two")
    number = {name: k for k, name in enumerate(names)}
    label = np.array([number[one] for name in files for one in tables[name].labels], np.int64)
    found = np.concatenate([np.full(len(tables[name].texts), SETS.index(name)) for name in files])
    sets = _divided(label, found, names, told)
    order = np.lexsort((np.arange(len(label)), label, sets))  # by set, class, and place in the files
    sets, label = sets[order], label[order]
    begins = np.flatnonzero(np.diff(sets * len(names) + label, prepend=-1))
    counts = np.arange(len(label)) - np.repeat(begins, np.diff(begins, append=len(label)))
    index = np.stack([sets, label, np.zeros_like(label), counts]).astype(np.int32)
    texts = [text for name in files for text in tables[name].texts]
    further = {}
    for question, labels in answers.items():
        numbers = {"": -1, **{one: k for k, one in enumerate(labels)}}
        column = np.array([numbers[one] for name in files for one in tables[name].further[question]], np.int32)
        further[question] = column[order]
    return Read(names, answers, Source([texts[k] for k in order.tolist()], index, answers=further))


def _check_twins(labels: Sequence[str], column: str, told: str) -> None:
    """BadInput for two labels that look alike: they differ in spaces around them, or in how Unicode writes a letter."""
    seen: dict[str, str] = {}
    for label in labels:
        twin = seen.setdefault(unicodedata.normalize("NFC", label.strip()), label)
        if twin != label:
            raise BadInput(f"{told}: {column} has {twin!a} and {label!a}, which look alike: make them one")


def _divided(label: np.ndarray, found: np.ndarray, names: Sequence[str], told: str) -> np.ndarray:
    """The set of every text, int64 [n], where train, and test if it is missing, are divided."""
    others = set(np.unique(found).tolist()) - {0}
    if len(others) == 2:
        return found
    sets = np.where(found > 0, SETS.index("test"), 0)
    new_sets = ("select",) if others else ("select", "test")
    train = np.flatnonzero(found == 0)
    train = train[np.argsort(label[train], kind="stable")]
    few = []
    for c, of_class in enumerate(np.split(train, np.searchsorted(label[train], np.arange(1, len(names))))):
        count = max(1, round(len(of_class) / SHARE))
        lots = of_class[generator("texts", GENERATOR, names[c]).permutation(len(of_class))]
        if len(of_class) <= len(new_sets):
            few.append(names[c])
            continue
        for k, name in enumerate(new_sets):
            sets[lots[k * count : (k + 1) * count]] = SETS.index(name)
    if few:
        raise BadInput(
            f"{told}: {' and '.join(new_sets)} texts are drawn from those of each class, which takes at least "
            f"{len(new_sets) + 1} of them; too few are in {some(few)}"
        )
    return sets


def _read_set(place: Place, files: Sequence[Path]) -> Table:
    """The texts of one set."""
    if files[0].suffix.lower() in TABLES and len(files) == 1:
        return _read_table(files[0], *place.columns)
    texts = [_decoded(file.read_bytes(), printable(file)) for file in files]
    for file, text in zip(files, texts, strict=True):
        if not text.strip():
            raise BadInput(f"{printable(file)} is empty")
    return Table(texts, [printable(file.parent.name) for file in files], {})


def _read_table(path: Path, text: str, label: str) -> Table:
    """The texts of a table."""
    import pandas as pd

    where = printable(path)
    frame: Any
    try:
        if path.suffix.lower() == ".parquet":
            frame = pd.read_parquet(path)
        else:
            separator = "\t" if path.suffix.lower() == ".tsv" else ","
            _check_quotes(_decoded(path.read_bytes(), where), separator, where)
            frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except BadInput:
        raise
    except Exception as error:  # pandas and pyarrow raise errors of many kinds
        raise BadInput(f"{where} cannot be read: {error}".splitlines()[0]) from error
    if path.suffix.lower() != ".parquet" and not isinstance(frame.index, pd.RangeIndex):
        raise BadInput(f"{where}: its rows have more values than its header has names, so that columns have none")
    for wanted in (text, label):
        if wanted not in frame.columns:
            columns = ", ".join(map(str, frame.columns))
            option = "text" if wanted == text else "label"
            raise BadInput(f"{where} has no column {wanted!r}; choose from: {columns}, as in {option}=COLUMN")
    questions = {
        match[1]: column
        for column in frame.columns
        if column not in (text, label) and (match := LABEL.fullmatch(str(column))) and match[1]
    }
    table = {
        column: frame[column].astype(object).where(frame[column].notna(), "").astype(str)
        for column in {text, label, *questions.values()}
    }
    for column in (text, label):
        lacking = np.flatnonzero(table[column].str.strip() == "")
        if len(lacking):
            rows = some([str(k) for k in (lacking + 1).tolist()], 3)
            raise BadInput(f"{where}: column {column} is empty in row {rows} below the header")
    if not len(frame):
        raise BadInput(f"{where} holds no texts")
    if odd := {type(one).__name__ for one in frame[text] if not isinstance(one, str)}:
        raise BadInput(f"{where}: column {text} holds {some(sorted(odd))}, not texts")
    if frame[label].map(lambda one: isinstance(one, bytes)).any():
        raise BadInput(f"{where}: column {label} holds bytes; labels are texts or numbers")
    if odd := sorted({one for one in table[label] if "/" in one}):
        raise BadInput(f"{where}: a label must be a name without /, not {printable(odd[0][:60])!r}")
    further = {question: table[column].tolist() for question, column in questions.items()}
    return Table(table[text].tolist(), table[label].str.strip().tolist(), further)


def _check_quotes(content: str, separator: str, where: str) -> None:
    """BadInput for quotes that are no quotes of a table, and would join rows to one text.

    Within a tab-separated text neither line ends nor tabs are usual: one with both is taken for several rows.
    """
    before = csv.field_size_limit(len(content) + 1)
    rows, begin = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True), 1
    try:
        for row in rows:
            if separator == "\t" and any("\t" in one and ("\n" in one or "\r" in one) for one in row):
                raise csv.Error("a text with tabs and line ends")
            begin = rows.line_num + 1
    except csv.Error as error:
        raise BadInput(
            f"{where}, line {begin}: a quote opens that does not enclose a value ({error}); write it twice, in a value "
            "with quotes around it"
        ) from error
    finally:
        csv.field_size_limit(before)


def _decoded(content: bytes, where: str) -> str:
    """UTF-8 as text. BadInput with the line of what is none."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BadInput(f"{where} is UTF-16: save it as UTF-8")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = 1 + len(re.findall(rb"\r\n|\r|\n", content[: error.start]))
        raise BadInput(
            f"{where}, line {line}: not UTF-8 (byte {content[error.start]:#04x}); save it as UTF-8"
        ) from error
