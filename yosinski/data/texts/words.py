"""Words: the keywords of the 200 emoji in 28 languages, which are its domains.

They are part of the package (`words.json.xz`, built by `emoji/words.py`; licence in `sources/LICENSES.md`). An example
is a keyword of its class: in training drawn anew in every epoch, as a crop is; in evaluation a fixed one, so that every
keyword of a class is shown as often, give or take one. There are as many examples of a class as four artists have
pictures of it, which lets a word stand beside every picture.

Train, select and test share their keywords, and a keyword may belong to several classes, so that no classifier is
always right; `ceiling` has the best there is. Where words are `unseen`, each keyword is in one of the sets alone.
"""

import json
import lzma
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yosinski.data.card import SETS, Card
from yosinski.data.half import Half
from yosinski.data.place import Place
from yosinski.data.sources import emoji
from yosinski.data.texts.source import Source
from yosinski.errors import some
from yosinski.identity import digest
from yosinski.randomness import generator

WORDS = Path(__file__).with_name("words.json.xz")
GENERATOR = 1  # increase when examples are made otherwise
EXAMPLES = {"train": 60, "select": 20, "test": 40}  # of each class and language
SHARES = {"train": 3, "select": 1, "test": 1}  # of unseen keywords
Keywords = Mapping[str, Sequence[Sequence[str]]]  # by language, for every class


@cache
def keywords() -> Keywords:
    """The keywords of every language, by class in the order of emoji."""
    return {language: of["keywords"] for language, of in _content().items()}


@cache
def names() -> dict[str, list[str]]:
    """The names of the classes in every language."""
    return {language: of["names"] for language, of in _content().items()}


def _content() -> dict[str, Any]:
    return json.loads(lzma.decompress(WORDS.read_bytes()))["languages"]


def languages() -> tuple[str, ...]:
    """The tags of all languages."""
    return tuple(keywords())


class Divided(NamedTuple):
    """classes: numbers of those that have an unseen word in every set; sets: by language, the set of a keyword.

    alike: number of keywords that follow one of the same letters, in capitals or not, or of a language before.
    """

    classes: list[int]
    sets: Mapping[str, Mapping[str, str]]
    alike: int


@cache
def divided(wanted: tuple[str, ...]) -> Divided:
    """Each keyword of these languages in one set. Classes with too few keywords of their own are left out.

    Keywords come in an order by key, and each goes where the classes that have it lack most, of 3 : 1 : 1. What has the
    same letters, in another language or in capitals, is the same keyword.
    """
    sets: dict[str, dict[str, str]] = {}
    set_of: dict[str, str] = {}
    alike = 0
    left = set(range(len(emoji.card().classes)))
    for language in wanted:
        of_class = keywords()[language]
        owners: dict[str, list[int]] = defaultdict(list)
        for c, words in enumerate(of_class):
            for word in words:
                owners[word].append(c)
        there = {name: [0] * len(of_class) for name in SETS}
        sets[language] = {}
        order = sorted(owners)
        for k in generator("words", GENERATOR, language).permutation(len(order)).tolist():
            word = order[k]
            lacking = {name: sum(_lack(name, there[name][c], len(of_class[c])) for c in owners[word]) for name in SETS}
            letters = word.casefold()
            alike += letters in set_of
            chosen = set_of.setdefault(letters, max(SETS, key=lambda name: lacking[name]))
            sets[language][word] = chosen
            for c in owners[word]:
                there[chosen][c] += 1
        left &= {c for c in range(len(of_class)) if all(there[name][c] for name in SETS)}
    return Divided(sorted(left), sets, alike)


def _lack(set_name: str, there: int, keywords: int) -> float:
    """How many of a class's keywords a set lacks; of the first one, without which the class is left out, three more."""
    return SHARES[set_name] / sum(SHARES.values()) * keywords - there + 3 * (there == 0)


def card(place: Place, vocabulary: int, tokens: Any) -> Card:
    """The card of the words of a place. vocabulary, tokens: the number of ids of its tokenizer, and its identity."""
    pictures, source = emoji.card(), digest(WORDS.read_bytes().hex())
    covered = {"source": source, "generator": GENERATOR, "examples": EXAMPLES, "tokens": tokens}
    kept, notes, domains = range(len(pictures.classes)), (), languages()
    if place.unseen:
        division = divided(place.languages)
        kept, domains = division.classes, place.languages
        covered |= {"unseen": list(domains)} | ({"alike": division.alike} if division.alike else {})
        left_out = [name for k, name in enumerate(pictures.classes) if k not in set(kept)]
        notes = (f"{len(left_out)} classes without words for three sets are left out: {some(left_out, 3)}",)
    return Card(
        name=place.text,
        fingerprint=digest(covered),
        side=0,
        classes=tuple(pictures.classes[k] for k in kept),
        groups=tuple(pictures.groups[k] for k in kept),
        domains=domains,
        default_domain=place.languages,
        images=EXAMPLES,
        notes=notes if len(kept) < len(pictures.classes) else (),
        vocabulary=vocabulary,
    )


def source(place: Place, of: Card) -> Source:
    """All examples: a table of texts, in which those of one class, language and set stand together."""
    numbers = [emoji.card().classes.index(name) for name in of.classes]
    unseen = divided(place.languages).sets if place.unseen else {}
    texts: list[str] = []
    columns: list[np.ndarray] = []
    begins: dict[tuple[str, ...], int] = {}
    for s, set_name in enumerate(SETS):
        count = EXAMPLES[set_name]
        n = np.arange(count)
        for c, number in enumerate(numbers):
            turns = generator("words", GENERATOR, set_name, of.classes[c]).permutation(count)
            for d, language in enumerate(of.domains):
                words = keywords()[language][number]
                if place.unseen:
                    words = [word for word in words if unseen[language][word] == set_name]
                key = (language, of.classes[c], set_name if place.unseen else "")
                if key not in begins:
                    begins[key] = len(texts)
                    texts += words
                first = begins[key]
                rows = np.empty((7, count), np.int64)
                rows[:3], rows[3] = [[s], [c], [d]], n
                rows[4:6], rows[6] = [[first], [len(words)]], first + turns % len(words)
                columns.append(rows)
    table = np.concatenate(columns, 1)
    return Source(texts, table[:4].astype(np.int32), *table[4:])


def ceiling(half: Half) -> float | None:
    """The expected accuracy of the best classifier of a half's keywords, exactly; None where there is no such number.

    The mean over classes of the share of keywords that are more frequent in no other class: of a keyword that several
    classes have, the one with fewest keywords has the largest part. Of several languages, words of the same spelling
    are told apart by nothing.
    """
    place = Place.of(half.data) if half.data.partition(":")[0] == "words" else None
    if place is None or place.unseen or half.asks != "class" or half.shuffled:
        return None
    best: dict[str, float] = defaultdict(float)
    order = {name: k for k, name in enumerate(emoji.card().classes)}
    for name in half.classes:
        chances: dict[str, float] = defaultdict(float)
        for language in half.domain:
            words = keywords()[language][order[name]]
            for word in words:
                chances[word] += 1 / len(words)
        for word, chance in chances.items():
            best[word] = max(best[word], chance)
    return sum(best.values()) / len(half.classes) / len(half.domain)
