"""Cards of texts, and the files of their stores."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from yosinski import files
from yosinski.data.card import SETS, Card
from yosinski.data.place import Place
from yosinski.data.sources import hashes
from yosinski.data.sources.scanning import State
from yosinski.data.texts import textfile, words
from yosinski.data.texts.source import COLUMNS, TOKENS, Source
from yosinski.data.texts.tokenizers import FILE, Letters, Tokenizer, tokenizer
from yosinski.errors import BadInput, choose, printable
from yosinski.identity import digest

AT_ONCE = 1 << 14  # texts that are encoded together
EXAMPLES = 5  # named pairs of duplicates


def card(place: Place) -> Card:
    """The card of a text data set as it is now. BadInput if something is wrong with its files."""
    tokens = tokenizer(place.tokens)
    if place.kind == "words":
        for language in place.languages:
            choose("language of words", language, words.languages())
        return words.card(place, tokens.vocabulary, tokens.identity)
    assert place.path is not None
    parts = textfile.parts(place)
    hashed = _hashed(place, parts)
    covered = {"files": hashed, "columns": place.columns, "generator": textfile.GENERATOR}
    note = files.caches() / f"texts-{digest([place.source, covered])}.json"
    summary = None
    with suppress(OSError, BadInput):
        summary = files.read_json(note)
    if summary is None:
        summary = _summary(textfile.read(place, parts))
        with suppress(OSError):
            files.write_json(note, summary)
    return Card(
        name=place.text,
        fingerprint=digest({**covered, "tokens": tokens.identity}),
        side=0,
        classes=tuple(summary["classes"]),
        images={name: tuple(counts) for name, counts in summary["per_class"].items()},
        stratified=False,
        answers={question: tuple(labels) for question, labels in summary["answers"].items()},
        unlabelled=_tuples(summary["unlabelled"]),
        notes=textfile.unread(place, parts),
        vocabulary=tokens.vocabulary,
    )


def _tuples(counts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, tuple[int, ...]]]:
    return {one: {name: tuple(of_set) for name, of_set in of.items()} for one, of in counts.items()}


def _hashed(place: Place, parts: Mapping[str, list[Path]]) -> Any:
    """Names and content of all files, by set, as JSON values; the path of the data set is not covered."""
    paths = [path for of_set in parts.values() for path in of_set]
    found = iter(hashes.sha256(place.source, list(map(str, paths)), [State.of(path.stat()) for path in paths]))
    named = {
        name: [(f"{path.parent.name}/{path.name}" if len(of_set) > 1 else "", next(found)) for path in of_set]
        for name, of_set in parts.items()
    }
    return digest(named)


def _summary(read: textfile.Read) -> dict[str, Any]:
    """What a card tells of texts, as JSON values."""
    sets, label = read.source.index[:2]

    def per_class(chosen: np.ndarray) -> list[int]:
        return np.bincount(label[chosen], minlength=len(read.classes)).tolist()

    counts = {name: per_class(sets == s) for s, name in enumerate(SETS)}
    without = {
        question: {name: per_class((sets == s) & (labels < 0)) for s, name in enumerate(SETS)}
        for question, labels in read.source.answers.items()
        if (labels < 0).any()
    }
    return {"classes": read.classes, "per_class": counts, "answers": read.answers, "unlabelled": without}


def source_of(place: Place, of: Card) -> Source:
    """The texts and examples of a data set."""
    if place.kind == "words":
        return words.source(place, of)
    return textfile.read(place, textfile.parts(place)).source


def write(
    place: Place, of: Card, source: Source, folder: Path, advance: Callable[[int], object] = lambda texts: None
) -> dict[str, Any]:
    """Write the texts of a data set as tokens into a folder. Returns what `store.describe` takes beside the index.

    advance: called with the number of texts that have been encoded.
    """
    tokens = tokenizer(place.tokens)
    lengths, unknown, checksums, keys = [], 0, [], []
    used = np.zeros(tokens.vocabulary, np.int64)
    kind = np.dtype(np.uint16 if tokens.vocabulary <= 1 << 16 else np.uint32)
    with (folder / TOKENS).open("wb") as file:
        np.lib.format.write_array_header_1_0(file, _header(kind, 0))
        begin = file.tell()
        for start in range(0, len(source.texts), AT_ONCE):
            encoded = tokens.encode(source.texts[start : start + AT_ONCE])
            _check(encoded.lengths - tokens.around, source, start, of)
            content = encoded.ids.astype(kind).tobytes()
            file.write(content)
            checksums.append(hashlib.sha256(content).hexdigest())
            if source.first is None:
                ends = np.cumsum(encoded.lengths * kind.itemsize).tolist()
                parts = zip([0, *ends], ends, strict=False)
                keys += [hashlib.blake2b(content[a:b], digest_size=16).digest() for a, b in parts]
            lengths.append(encoded.lengths)
            unknown += encoded.unknown
            used += np.bincount(encoded.ids, minlength=len(used))
            advance(len(encoded.lengths))
        every = np.concatenate(lengths)
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, _header(kind, int(every.sum())))
        assert file.tell() == begin, "numpy's header leaves room for any length"
    np.save(folder / "ends.npy", np.concatenate([[0], np.cumsum(every)]))
    if tokens.saved:
        (folder / FILE).write_text(tokens.saved, encoding="utf-8")
    columns = (
        {} if source.first is None else dict(zip(COLUMNS, (source.first, source.count, source.shown), strict=True))
    )
    told = {
        "tokens": "letters" if isinstance(tokens, Letters) else "pieces",
        "identity": tokens.identity,
        "closing": tokens.closing,
        "texts": len(every),
        "in_all": int(every.sum()),
        "lengths": {name: int(np.quantile(every, share)) for name, share in QUANTILES.items()},
        "used": int((used > 0).sum()),
        "unknown": unknown,
        "at_once": AT_ONCE,
        "duplicates": duplicates(of, source.index, keys) if source.first is None else None,
    }
    return {"checksums": checksums, "columns": columns, "answers": source.answers, "texts": told}


QUANTILES = {"least": 0.0, "quarter": 0.25, "median": 0.5, "three_quarters": 0.75, "most": 1.0}


def _header(kind: np.dtype, size: int) -> dict[str, Any]:
    return {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (size,)}


def _check(lengths: np.ndarray, source: Source, start: int, of: Card) -> None:
    """BadInput for a text of which no token is left. lengths: without the tokens that every text has."""
    none = np.flatnonzero(lengths <= 0)
    if len(none):
        text = source.texts[start + int(none[0])]
        raise BadInput(f"{printable(of.name)}: {len(none)} texts have no token, such as {printable(text[:60])!r}")


def duplicates(of: Card, index: np.ndarray, keys: Sequence[bytes]) -> dict[str, Any]:
    """Texts with the tokens of an earlier text of train: their number in each set, and in another class, with examples.

    keys: of the tokens of every text, so that what no network tells apart is one text, such as `Good` and `good` of a
    tokenizer without capitals.
    """
    sets, label, _, numbers = index.tolist()
    first: dict[bytes, int] = {}
    pairs = []
    for k, key in enumerate(keys):  # train comes first
        if key in first:
            pairs.append((k, first[key]))
        elif sets[k] == 0:
            first[key] = k

    def name(k: int) -> str:
        return f"{SETS[sets[k]]}/{of.classes[label[k]]}/{numbers[k]}"

    return {
        **{set_name: sum(sets[k] == s for k, _ in pairs) for s, set_name in enumerate(SETS)},
        "between_classes": sum(label[k] != label[other] for k, other in pairs),
        "examples": [[name(k), name(other)] for k, other in pairs[:EXAMPLES]],
    }


def saved_tokenizer(store: Path) -> Tokenizer:
    """The tokenizer that a store's texts were encoded with."""
    from yosinski.data.texts.tokenizers import Pieces

    path = store / FILE
    return Pieces(path.read_text(encoding="utf-8"), path) if path.exists() else Letters()
