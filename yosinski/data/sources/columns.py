"""Tables of examples: lists of images with a header, which names columns of images and of labels.

    path_x path_y label label_artist

A column `path_<input>` names the images of an input (`path` if there is only one), `label` the classes and
`label_<question>` the labels of a further question. Where the header has tabs or commas these separate the cells, which
may then hold spaces or be empty; else white space does.
"""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from yosinski.data.half import ASKED
from yosinski.errors import BadInput, printable

PATH, LABEL = (re.compile(rf"{word}(?:_([\w-]+))?") for word in ("path", "label"))
GREY = "grey"  # what sweeps call the first input without its colours


class Row(NamedTuple):
    """An example: its paths, one per input, its class, and its labels, one per question; empty where there is none."""

    line: int
    paths: tuple[str, ...]
    label: str
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Examples of one list. inputs: their names, or one without a name; questions: in sorted order."""

    rows: Sequence[Row]
    inputs: tuple[str, ...] = ("",)
    questions: tuple[str, ...] = ()
    header: bool = False

    @property
    def named(self) -> tuple[str, ...]:
        """The inputs, if they have names."""
        return tuple(name for name in self.inputs if name)


def header(lines: Sequence[str], is_file: Callable[[str], bool]) -> list[str] | None:
    """The cells of the header of a list; None if it has none.

    is_file: whether a path leads to a file, so that a list without a header whose first image is called "path" is read
    as it always was.
    """
    first = next((line for line in lines if line.strip()), "")
    cells = [cell.strip().strip('"') for cell in first.split(separator(first))]
    named = any(PATH.fullmatch(cell) for cell in cells) and not any(set(cell) & set("/.") for cell in cells)
    return cells if named and not is_file(first.strip().rsplit(maxsplit=1)[0]) else None


def table(lines: Sequence[str], columns: Sequence[str], where: str) -> Table:
    """The examples of a list with this header. BadInput for the header, or with the line of a row.

    where: the list, for messages.
    """
    at = next(k for k, line in enumerate(lines, 1) if line.strip())
    inputs, questions = _named(columns, f"{where}, line {at}")
    of_input = [columns.index(f"path_{name}" if name else "path") for name in inputs]
    of_question = [columns.index(f"label_{name}") for name in questions]
    rows, seen = [], set()
    for k, found in _cells(lines[at:], separator(lines[at - 1]), at, where):
        cells = [cell.strip() for cell in found]
        if not any(cells):
            continue
        here = f"{where}, line {k}"
        if len(cells) != len(columns):
            raise BadInput(f"{here}: {len(cells)} cells, but the header has {len(columns)}: {', '.join(columns)}")
        row = Row(
            k,
            tuple(cells[column] for column in of_input),
            cells[columns.index("label")],
            tuple(cells[column] for column in of_question),
        )
        if not row.paths[0]:
            raise BadInput(f"{here}: no {columns[of_input[0]]}; the first input must be there")
        if not row.label or "/" in row.label:
            raise BadInput(f"{here}: the label must be a name without /, not {printable(row.label[:60])!r}")
        if row.paths in seen:
            raise BadInput(f"{here}: {' and '.join(printable(path) for path in row.paths if path)} is listed twice")
        seen.add(row.paths)
        rows.append(row)
    return Table(rows, inputs, questions, header=True)


def separator(header: str) -> str | None:
    """What separates the cells of a table with this header; None: white space."""
    return "\t" if "\t" in header else "," if "," in header else None


def _cells(
    lines: Sequence[str], separator: str | None, before: int = 0, where: str = ""
) -> list[tuple[int, list[str]]]:
    """The cells of lines, each with the number of its line, after so many lines `before`."""
    if separator is None:
        return [(k, line.split()) for k, line in enumerate(lines, before + 1)]
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=separator == ",", strict=True)
    rows, begin = [], before + 1  # a quoted cell may go on in the next line
    try:
        for cells in reader:
            rows.append((begin, cells))
            begin = before + reader.line_num + 1
    except csv.Error as error:
        raise BadInput(f"{where}, line {begin}: {error}") from error
    return rows


def _named(columns: Sequence[str], here: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The inputs, in the order of columns, and the questions, in sorted order. BadInput if they are not as they should.

    here: the list and line, for messages.
    """
    inputs: list[str] = []
    questions: list[str] = []
    for column in columns:
        if path := PATH.fullmatch(column):
            inputs.append(path[1] or "")
        elif label := LABEL.fullmatch(column):
            questions += [label[1]] if label[1] else []
        else:
            forms = "path or path_<input>, label or label_<question>"
            raise BadInput(f"{here}: unknown column {printable(column)!r}; columns are {forms}")
        if columns.count(column) > 1:
            raise BadInput(f"{here}: two columns {printable(column)}")
    if "label" not in columns:
        raise BadInput(f"{here}: no column label, which names the classes, but {', '.join(columns)}")
    if len(inputs) > 1 and "" in inputs:
        raise BadInput(f"{here}: of several inputs each has a name, path_<input>, but one column is path")
    for name, reserved, kind in ((inputs, (GREY,), "input"), (questions, ASKED, "question")):
        for one in set(name) & set(reserved):
            raise BadInput(f"{here}: no {kind} may be called {one}")
    return tuple(inputs), tuple(sorted(questions))
