"""Lists of images with labels: `list:PATH`, a text file or a folder of text files, with lines `path label`.

The label is the last word of a line, so paths may contain spaces; they are relative to the folder of the list. A folder
holds train.txt and val.txt (or valid.txt, validation.txt, dev.txt), optionally test.txt; or a single list. Lists are
UTF-8; other bytes in paths are kept as they are.
"""

import codecs
import os
import re
import stat
from pathlib import Path

from yosinski.data.place import Place
from yosinski.data.sources.folders import named_sets
from yosinski.data.sources.listing import File, Listing, Sets, class_names, drawn, listing
from yosinski.data.sources.scanning import State, Unused, each
from yosinski.errors import BadInput, printable, some

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def list_images(place: Place) -> Listing:
    """Read the lists. BadInput names lines that cannot be read and files that do not exist."""
    assert place.path is not None
    unused = Unused()
    texts = _texts(place.path, unused)
    root = texts["train"].parent
    labels = {name: _labels(text) for name, text in texts.items()}
    list_of = {path: text for name, text in texts.items() for path in labels[name]}
    paths = list(list_of)
    states = dict(zip(paths, each(lambda path: _state(root / path), paths), strict=True))
    missing = [f"{printable(path)} ({printable(list_of[path])})" for path, state in states.items() if state is None]
    if missing:
        raise BadInput(f"{len(missing)} of {len(list_of)} listed files are not there: {some(missing, 5)}")
    sets: Sets = {}
    for name, of_paths in labels.items():
        names = class_names(dict.fromkeys(of_paths.values()), printable(texts[name]))
        sets[name] = {}
        for path, label in of_paths.items():
            state = states[path]
            assert state is not None
            sets[name].setdefault(names[label], []).append(File(path, state.size, printable(path), "", state))
    numbers = all(label.isdecimal() for label in sets["train"])
    classes = sorted(sets["train"], key=(lambda label: (int(label), label)) if numbers else None)
    return listing(root, sets, classes, drawn(place.source), notes=unused.lines)


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


def _labels(text: Path) -> dict[str, str]:
    """The labels by paths, in the order of the list."""
    try:
        content = text.read_bytes()
    except OSError as error:
        raise BadInput(f"{printable(text)}: {error.strerror}") from error
    if content.startswith(UTF_16):
        raise BadInput(f"{printable(text)} is UTF-16: save it as UTF-8")
    labels: dict[str, str] = {}
    for k, line in enumerate(re.split(r"\r\n|\r|\n", os.fsdecode(content.removeprefix(codecs.BOM_UTF8))), 1):
        if not line.strip():
            continue
        words = line.strip().rsplit(maxsplit=1)
        if len(words) != 2 or "/" in words[1]:
            raise BadInput(
                f"{printable(text)}, line {k}: not a path and a label (a word without /), but {printable(line[:60])!r}"
            )
        if words[0] in labels:
            raise BadInput(f"{printable(text)}, line {k}: {printable(words[0])} is listed twice")
        labels[words[0]] = words[1]
    if not labels:
        raise BadInput(f"{printable(text)} lists no images")
    return labels


def _state(path: Path) -> State | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return State.of(status) if stat.S_ISREG(status.st_mode) else None
