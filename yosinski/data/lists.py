"""Lists of images with labels: `list:PATH`, a text file or a folder of text files with a line `path label` per image.

The label is the last word of a line, so paths may hold spaces; they are relative to the folder of the list. A folder
holds train.txt and val.txt (or valid.txt, validation.txt), perhaps test.txt; or one list of all.
"""

from pathlib import Path

from yosinski.data import Place, some
from yosinski.data.folders import NAMES
from yosinski.data.listing import File, Listing, Sets, each, listing, three_sets, times
from yosinski.spec import BadInput


def listed(place: Place) -> Listing:
    """Read the lists. BadInput names lines that cannot be read, and files that are not there."""
    assert place.path is not None
    texts = _texts(place.path)
    root = texts["train"].parent
    labels = {name: _labels(text) for name, text in texts.items()}
    where = {path: text for name, text in texts.items() for path in labels[name]}
    paths = list(where)
    sizes = dict(zip(paths, each(lambda path: _size(root / path), paths), strict=True))
    missing = [f"{path} ({where[path]})" for path, size in sizes.items() if size is None]
    if missing:
        raise BadInput(f"{len(missing)} of {len(where)} listed files are not there: {some(missing, 5)}")
    sets: Sets = {}
    for name, of_paths in labels.items():
        sets[name] = {}
        for path, label in of_paths.items():
            sets[name].setdefault(label, []).append(File(path, sizes[path] or 0, path))
    numbers = all(label.isdecimal() for label in sets["train"])
    classes = sorted(sets["train"], key=(lambda label: (int(label), label)) if numbers else None)
    watched = {*texts.values(), *((root / path).parent for path in where)}
    return listing(root, three_sets(sets, place.source), classes, times(root, sorted(watched)))


def _texts(path: Path) -> dict[str, Path]:
    """The lists of train, select and test."""
    if not path.is_dir():
        return {"train": path}
    texts = sorted(one for one in path.glob("*.txt") if not one.name.startswith("."))
    found: dict[str, Path] = {}
    for text in texts:
        name = NAMES.get(text.stem.lower())
        if name in found:
            raise BadInput(f"{path} holds both {found[name].name} and {text.name}; one of them must go")
        if name:
            found[name] = text
    if "train" in found:
        return found
    if len(texts) != 1:
        raise BadInput(f"{path} holds neither train.txt nor a single list, but {some([one.name for one in texts])}.")
    return {"train": texts[0]}


def _labels(text: Path) -> dict[str, str]:
    """The label of every path in a list, in the order of the list."""
    try:
        lines = text.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{text}: {error}") from error
    labels: dict[str, str] = {}
    for k, line in enumerate(lines, 1):
        if not line.strip():
            continue
        words = line.strip().rsplit(maxsplit=1)
        if len(words) != 2 or "/" in words[1]:
            raise BadInput(f"{text}, line {k}: not a path and a label (a word without /), but {line[:60]!r}")
        if words[0] in labels:
            raise BadInput(f"{text}, line {k}: {words[0]} is listed twice")
        labels[words[0]] = words[1]
    if not labels:
        raise BadInput(f"{text} lists no images")
    return labels


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
