"""Lists of images with labels: `list:PATH`, a text file or a folder of text files, with lines `path label`.

The label is the last word of a line, so paths may contain spaces; they are relative to the folder of the list. A list
that begins with a header has columns: several images and labels of every example (see `columns`). A folder
holds train.txt and val.txt (or valid.txt, validation.txt, dev.txt), optionally test.txt; or a single list. Lists are
UTF-8; other bytes in paths are kept as they are.
"""

import codecs
import os
import re
import stat
from pathlib import Path

from yosinski.data.place import Place
from yosinski.data.sources.columns import Row, Table, header, table
from yosinski.data.sources.folders import named_sets
from yosinski.data.sources.listing import Beside, File, Listing, Sets, class_names, drawn, listing, sorted_labels
from yosinski.data.sources.scanning import State, Unused, each
from yosinski.errors import BadInput, printable, some

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def list_images(place: Place) -> Listing:
    """Read the lists. BadInput names lines that cannot be read and files that do not exist."""
    assert place.path is not None
    unused = Unused()
    texts = _texts(place.path, unused)
    root = texts["train"].parent
    tables = {name: _table(text, root) for name, text in texts.items()}
    _same_columns(tables, texts)
    train = tables["train"]
    answers = [_answers(tables, question) for question in train.questions]
    list_of = {path: texts[name] for name, of_set in tables.items() for row in of_set.rows for path in row.paths}
    list_of.pop("", None)
    paths = list(list_of)
    states = dict(zip(paths, each(lambda path: _state(root / path), paths), strict=True))
    missing = [f"{printable(path)} ({printable(list_of[path])})" for path, state in states.items() if state is None]
    if missing:
        raise BadInput(f"{len(missing)} of {len(list_of)} listed files are not there: {some(missing, 5)}")

    def file(path: str) -> File | None:
        state = states.get(path)
        return File(path, state.size, printable(path), "", state) if state else None

    sets: Sets = {}
    files: dict[File, tuple[File | None, ...]] = {}
    labels: dict[File, tuple[str, ...]] = {}
    for name, of_set in tables.items():
        names = class_names(dict.fromkeys(row.label for row in of_set.rows), printable(texts[name]))
        sets[name] = {}
        for row in of_set.rows:
            paths_of = dict(zip(of_set.inputs, row.paths, strict=True))
            first, *further = [file(paths_of[one]) for one in train.inputs]
            assert first is not None
            sets[name].setdefault(names[row.label], []).append(first)
            files[first] = tuple(further)
            labels[first] = tuple(spelled[label] for spelled, label in zip(answers, row.answers, strict=True))
    beside = Beside(train.named, train.questions, files, labels) if train.named or train.questions else None
    classes = sorted_labels(sets["train"])
    return listing(root, sets, classes, drawn(place.source), notes=unused.lines, beside=beside)


def _same_columns(tables: dict[str, Table], texts: dict[str, Path]) -> None:
    """BadInput if lists differ in their columns, or if two inputs have no common example."""
    train = tables["train"]
    for name, other in tables.items():
        here, there = printable(texts["train"].name), printable(texts[name].name)
        if train.header != other.header:
            has, lacks = (here, there) if train.header else (there, here)
            raise BadInput(f"{has} has a header, {lacks} has none")
        if (set(train.inputs), train.questions) != (set(other.inputs), other.questions):
            raise BadInput(f"{here} and {there} have different columns")
    for name in train.inputs:
        if not any(row.paths[one.inputs.index(name)] for one in tables.values() for row in one.rows):
            raise BadInput(f"inputs {train.inputs[0]} and {name} have no common example: column path_{name} is empty")


def _answers(tables: dict[str, Table], question: str) -> dict[str, str]:
    """The names of a question's labels by their spellings. BadInput if there are fewer than two."""
    k = tables["train"].questions.index(question)
    spellings = dict.fromkeys(row.answers[k] for one in tables.values() for row in one.rows if row.answers[k])
    names = class_names(spellings, f"column label_{question}")
    if len(names) < 2:
        only = f": {printable(next(iter(names)))}" if names else ""
        raise BadInput(f"column label_{question} has {len(names)} label(s){only}; a question needs at least two")
    return {**names, "": ""}


def _texts(path: Path, unused: Unused) -> dict[str, Path]:
    """The lists of train, select and test."""
    if not path.is_dir():
        return {"train": path}
    texts = sorted(one for one in path.glob("*.txt") if not one.name.startswith("."))
    sets = named_sets({text.stem: text for text in texts}, path)
    if "train" not in sets:
        if len(texts) != 1:
            names = some([printable(one.name) for one in texts])
            raise BadInput(f"{printable(path)} holds neither train.txt nor a single list, but {names}.")
        return {"train": texts[0]}
    for text in texts:
        if text not in sets.values():
            unused.add("text files, which are no list of a set by their name", text.name)
    return sets


def _table(text: Path, root: Path) -> Table:
    """The examples of a list."""
    try:
        content = text.read_bytes()
    except OSError as error:
        raise BadInput(f"{printable(text)}: {error.strerror}") from error
    if content.startswith(UTF_16):
        raise BadInput(f"{printable(text)} is UTF-16: save it as UTF-8")
    lines = re.split(r"\r\n|\r|\n", os.fsdecode(content.removeprefix(codecs.BOM_UTF8)))
    columns = header(lines, lambda path: _state(root / path) is not None)
    found = table(lines, columns, printable(text)) if columns else Table(_rows(lines, printable(text)))
    if not found.rows:
        raise BadInput(f"{printable(text)} lists no images")
    return found


def _rows(lines: list[str], where: str) -> list[Row]:
    """The examples of a list without a header."""
    rows: dict[str, Row] = {}
    for k, line in enumerate(lines, 1):
        if not line.strip():
            continue
        words = line.strip().rsplit(maxsplit=1)
        if len(words) != 2 or "/" in words[1]:
            raise BadInput(
                f"{where}, line {k}: not a path and a label (a word without /), but {printable(line[:60])!r}"
            )
        if words[0] in rows:
            raise BadInput(f"{where}, line {k}: {printable(words[0])} is listed twice")
        rows[words[0]] = Row(k, (words[0],), words[1])
    return list(rows.values())


def _state(path: Path) -> State | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return State.of(status) if stat.S_ISREG(status.st_mode) else None
