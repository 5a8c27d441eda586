"""Words: their division, what is shown of them, and how good a classifier can be."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from yosinski.data import find, halves
from yosinski.data import store as stores
from yosinski.data.card import SETS
from yosinski.data.place import Place
from yosinski.data.sources import emoji
from yosinski.data.store import Store
from yosinski.data.texts import words
from yosinski.errors import BadInput


@pytest.fixture(scope="module")
def unseen(stores_of_texts: Path) -> Store:
    return stores.load(find.card("words:en+fr,unseen"), stores_of_texts)


def spelled(store: Store, texts: np.ndarray) -> list[str]:
    """Letters as texts."""
    assert store.texts is not None
    ids, lengths = store.texts.padded(texts, 1000)
    return [bytes((row[:n] - 1).astype(np.uint8)).decode() for row, n in zip(ids, lengths, strict=True)]


def test_there_are_956_english_keywords_and_every_class_has_some_in_every_language() -> None:
    assert sum(map(len, words.keywords()["en"])) == 956
    assert {"en", "de", "fr"} < set(words.languages())
    assert len(words.languages()) == 28
    assert all(of_class for of in words.keywords().values() for of_class in of)
    assert words.names()["en"][0] == emoji.card().classes[0]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("words", "words:en"),
        ("words,unseen", "words:en,unseen"),
        ("words:en+fr,unseen", "words:en+fr,unseen"),
        ("textfile:/a,b.csv,label=stars,text=review", "textfile:/a,b.csv,text=review,label=stars"),
        ("words:de,tokens=/t", "words:de,tokens=/t"),
    ],
)
def test_texts_of_data_sets_have_one_normal_form(text: str, normal: str) -> None:
    assert Place.of(text).text == normal
    assert Place.of(normal) == Place.of(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("words:xx", "unknown language of words 'xx'; choose from: af, am"),
        ("words:en,unseen=1", "write unseen"),
        ("textfile:a.csv,text=", "write text=COLUMN"),
        ("textfile:", "does not say where its texts are; write textfile:PATH"),
        ("textfile:/nowhere.csv", "no file or directory /nowhere.csv"),
        ("words:en,tokens=/nowhere", "no directory /nowhere of a tokenizer"),
    ],
)
def test_what_names_no_texts_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        find.card(text)


def test_languages_are_domains_of_one_store() -> None:
    english, german = find.card("words:en"), find.card("words:de")
    assert english.fingerprint == german.fingerprint
    assert (english.default_domain, german.default_domain) == (("en",), ("de",))
    split = halves.split(english, "domains:en/de")
    assert split.a.domain == ("en",)
    assert split.a.classes == split.b.classes
    assert halves.split(english, "random:3").a.classes == halves.split(emoji.card(), "random:3").a.classes


def test_unseen_words_are_in_one_set_alone(unseen: Store) -> None:
    assert unseen.texts is not None
    of_sets = []
    for s in range(len(SETS)):
        for d in range(2):
            chosen = np.flatnonzero((unseen.sets == s) & (unseen.domains == d))
            first, count = unseen.texts.first[chosen], unseen.texts.count[chosen]
            texts = np.unique(np.concatenate([np.arange(a, a + n) for a, n in zip(first, count, strict=True)]))
            of_sets.append(set(spelled(unseen, texts)))
    for d in range(2):
        train, select, test = of_sets[d::2]
        assert not train & select
        assert not (train | select) & test
    kept = {name: k for k, name in enumerate(emoji.card().classes)}
    english = {word for name in unseen.card.classes for word in words.keywords()["en"][kept[name]]}
    assert set().union(*of_sets[::2]) == english


@pytest.mark.parametrize("languages", [("en",), ("de",), ("en", "fr"), ("fr", "de", "en")])
def test_unseen_words_have_letters_of_their_own_whatever_the_language(languages: tuple[str, ...]) -> None:
    """In capitals or not; English alone has none that differ in capitals only, and keeps its division."""
    division = words.divided(languages)
    set_of: dict[str, set[str]] = {}
    for of_words in division.sets.values():
        for word, name in of_words.items():
            set_of.setdefault(word.casefold(), set()).add(name)
    assert all(len(names) == 1 for names in set_of.values())
    assert division.alike == sum(map(len, division.sets.values())) - len(set_of)
    if languages == ("en",):
        assert (division.alike, len(division.classes)) == (0, 161)


def test_evaluation_shows_every_keyword_of_a_class_as_often(unseen: Store) -> None:
    assert unseen.texts is not None
    half = halves.split(unseen.card, "random:0").a
    rows, labels = unseen.rows(half, "test")
    for label in range(len(half.classes)):
        own = rows[labels == label]
        for first in np.unique(unseen.texts.first[own]):
            of_language = own[unseen.texts.first[own] == first]
            shown = np.bincount(unseen.texts.shown[of_language] - first, minlength=unseen.texts.count[of_language[0]])
            assert shown.max() - shown.min() <= 1


def test_the_ceiling_is_that_of_the_best_of_all_classifiers() -> None:
    """For three classes, all maps from words to classes are tried."""
    card = find.card("words:en")
    order = {name: k for k, name in enumerate(card.classes)}
    half = replace(halves.split(card, "random:0").a, classes=("avocado", "banana", "ant"))
    own = [words.keywords()["en"][order[name]] for name in half.classes]
    every = sorted(set().union(*own))
    best = 0.0
    for answers in product(range(3), repeat=len(every)):
        answer = dict(zip(every, answers, strict=True))
        right = [np.mean([answer[word] == label for word in of_class]) for label, of_class in enumerate(own)]
        best = max(best, float(np.mean(right)))
    assert words.ceiling(half) == pytest.approx(best)
    assert 0 < best < 1


def test_where_no_ceiling_is_known_there_is_none() -> None:
    card = find.card("words:en")
    half = halves.split(card, "random:0").a
    assert words.ceiling(half) == pytest.approx(0.7574, abs=1e-4)
    assert words.ceiling(replace(half, shuffled=True)) is None
    assert words.ceiling(halves.split(emoji.card(), "random:0").a) is None
    assert words.ceiling(halves.split(find.card("words:en,unseen"), "random:0").a) is None


def test_words_are_not_divided_anew() -> None:
    with pytest.raises(BadInput, match="share their words; choose division 0"):
        halves.split(find.card("words:en"), "random:0", division=1)
