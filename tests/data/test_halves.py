"""Halves: the paper's exact splits, splits by group, domain and file, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yosinski.data import find
from yosinski.data.card import Card
from yosinski.data.halves import Split, split
from yosinski.data.sources import synsets
from yosinski.errors import BadInput

CARD = Card(
    name="toy",
    fingerprint="f00d",
    side=4,
    classes=("ant", "bat", "cat", "dog", "bed", "bus"),
    groups=("natural",) * 4 + ("man-made",) * 2,
    domains=("ink", "oil", "wax"),
    default_domain=("ink", "oil"),
    unseen=("wax",),
)
IMAGENET = Card("imagenet", "f00d", 224, tuple(f"{k}" for k in range(1000)))


@pytest.mark.parametrize(("seed", "first"), [(0, [0, 1, 2, 5, 9, 10, 15, 16]), (1, [1, 5, 7, 9, 15, 16, 17, 19])])
def test_random_splits_are_the_papers(seed: int, first: list[int]) -> None:
    halves = split(IMAGENET, f"random:{seed}")
    a, b = ([int(name) for name in half.classes] for half in (halves.a, halves.b))
    assert a[:8] == first
    assert a == sorted(a)
    assert b == sorted(b)
    assert len(a) == len(b) == 500
    assert sorted(a + b) == list(range(1000))


KNOWN = synsets.card()


@pytest.mark.parametrize(("which", "first"), [("0", [0, 1, 2, 5, 9, 10, 15, 16]), ("1", [1, 5, 7, 9, 15, 16, 17, 19])])
def test_the_papers_random_splits_of_the_1000_wnids(which: str, first: list[int]) -> None:
    halves = split(KNOWN, f"paper:{which}")
    assert halves.a.classes[:8] == tuple(KNOWN.classes[k] for k in first)
    assert (len(halves.a.classes), len(halves.b.classes)) == (500, 500)
    assert halves.name == halves.b.split == f"paper:{which}"


@pytest.mark.parametrize("seed", range(4))
def test_the_papers_splits_are_those_of_the_same_seed_without_groups(seed: int) -> None:
    papers, ours = split(KNOWN, f"paper:{seed}"), split(KNOWN, f"random:{seed}")
    assert (papers.a, papers.b) == (ours.a, ours.b)
    indices = np.random.RandomState([seed]).choice(np.arange(1000), 500, replace=False)
    assert papers.a.classes == tuple(KNOWN.classes[k] for k in sorted(indices))
    assert len({split(KNOWN, f"paper:{other}").a.digest for other in range(4)}) == 4


def test_natural_and_man_made_are_the_papers() -> None:
    papers, ours = split(KNOWN, "paper:natman"), split(KNOWN, "natman")
    assert (papers.a, papers.b) == (ours.a, ours.b)
    assert (len(papers.a.classes), len(papers.b.classes)) == (551, 449)
    assert sorted(papers.a.classes + papers.b.classes) == list(KNOWN.classes) == sorted(set(KNOWN.classes))
    assert "n02123045" in papers.b.classes  # tabby cat
    assert "n02690373" in papers.a.classes  # airliner
    for half in (papers.a, papers.b):
        assert list(half.classes) == sorted(half.classes)


def test_the_papers_splits_take_the_1000_classes_whatever_else_there_is() -> None:
    more = replace(KNOWN, classes=(*KNOWN.classes, "n99999999"), groups=(*KNOWN.groups, "other"))
    assert split(more, "paper:3").b == split(KNOWN, "paper:3").b
    fewer = replace(KNOWN, classes=KNOWN.classes[2:], groups=KNOWN.groups[2:])
    for which in ("paper:2", "paper:natman"):
        with pytest.raises(BadInput, match=f"split {which} takes the 1000 .*; imagenet lacks n01440764, n01443537$"):
            split(fewer, which)
    with pytest.raises(BadInput, match=r"toy lacks n01440764, .* and 980 more$"):
        split(CARD, "paper:0")
    with pytest.raises(BadInput, match="unknown split of the paper '4'; choose from: 0, 1, 2, 3, natman"):
        split(KNOWN, "paper:4")


def test_some_of_the_classes_split_by_kind_or_at_random() -> None:
    few = replace(KNOWN, classes=KNOWN.classes[390:406], groups=KNOWN.groups[390:406])
    assert split(few, "natman").b.classes == few.classes[:8]
    assert split(few, "natman").a.classes == few.classes[8:]
    other = replace(few, classes=(*few.classes, "n99999999"), groups=(*few.groups, "other"))
    assert split(other, "natman").b == split(few, "natman").b
    assert len(split(other, "random:0").a.classes) == 8  # of 17, whatever their groups


def test_random_splits_take_half_of_every_group() -> None:
    seen = set()
    for seed in range(20):
        halves = split(CARD, f"random:{seed}")
        seen.add(halves.a.classes)
        for half in (halves.a, halves.b):
            assert len(set(half.classes) & {"ant", "bat", "cat", "dog"}) == 2
            assert len(set(half.classes) & {"bed", "bus"}) == 1
            assert list(half.classes) == [name for name in CARD.classes if name in half.classes]
        assert set(halves.a.classes) | set(halves.b.classes) == set(CARD.classes)
    assert 4 < len(seen) <= 12  # there are 6 * 2


def test_emojis_first_split_is_written_down() -> None:
    card = find.card("emoji")
    halves = split(card, "random:0")
    for half in (halves.a, halves.b):
        groups = [card.groups[card.classes.index(name)] for name in half.classes]
        assert groups == ["natural"] * 50 + ["man-made"] * 50
    assert halves.a.classes[:5] == ("ant", "bear", "cactus", "cat", "cherries")


def test_halves_carry_letter_split_data_and_the_default_domain() -> None:
    halves = split(CARD, "random:0")
    assert isinstance(halves, Split)
    assert halves.name == halves.a.split == halves.b.split == "random:0"
    assert (halves.a.letter, halves.b.letter) == ("A", "B")
    assert (halves.a.data, halves.a.fingerprint, halves.a.domain) == ("toy", "f00d", ("ink", "oil"))
    assert split(replace(CARD, domains=(), default_domain=()), "random:0").a.domain == ()


def test_natman_has_the_man_made_as_a() -> None:
    halves = split(CARD, "natman")
    assert halves.a.classes == ("bed", "bus")
    assert halves.b.classes == ("ant", "bat", "cat", "dog")
    assert split(CARD, "groups:man-made/natural").a.digest == halves.a.digest
    assert split(CARD, "groups:natural/man-made").a.classes == halves.b.classes


def test_domains_share_the_classes() -> None:
    halves = split(CARD, "domains:oil+ink/wax")
    assert halves.a.classes == halves.b.classes == CARD.classes
    assert halves.a.domain == ("ink", "oil")  # in the card's order
    assert halves.b.domain == ("wax",)


def written(path: Path, content: Any) -> str:
    file = path / "split.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return str(file)


def test_a_file_names_the_classes_in_label_order(tmp_path: Path) -> None:
    content = {"A": ["cat", "ant"], "B": {"classes": ["bus", "bed"], "domain": ["wax", "ink"]}}
    halves = split(CARD, written(tmp_path, content))
    assert halves.name == "split.json"
    assert (halves.a.classes, halves.a.domain) == (("cat", "ant"), ("ink", "oil"))
    assert (halves.b.classes, halves.b.domain) == (("bus", "bed"), ("ink", "wax"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"A": ["ant", "bat"]}, 'must hold {"A": .class names., "B": .class names.}'),
        ({"A": ["ant", "bat"], "B": ["cat", "dog"], "C": []}, "must hold"),
        (["ant", "bat"], "must hold"),
        ({"A": ["ant", "bat"], "B": ["cat"]}, r"half B has 1 class\(es\); a half needs at least two"),
        ({"A": [], "B": ["cat", "dog"]}, r"half A has 0 class\(es\)"),
        ({"A": ["ant", "ant"], "B": ["cat", "dog"]}, "half A names these classes twice: ant"),
        ({"A": ["ant", "bat"], "B": ["cow", "axe"]}, r"half B names classes that toy lacks: \['axe', 'cow'\]"),
        ({"A": "ant", "B": ["cat", "dog"]}, "half A must be a list of class names"),
        ({"A": ["ant", 3], "B": ["cat", "dog"]}, "half A must be a list of class names"),
        ({"A": {"domain": ["ink"]}, "B": ["cat", "dog"]}, "half A must be a list of class names"),
        (
            {"A": {"classes": ["ant", "bat"], "domain": ["gum"]}, "B": ["cat", "dog"]},
            "unknown domain of toy 'gum'; choose from: ink, oil, wax",
        ),
    ],
)
def test_files_with_other_content_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message):
        split(CARD, written(tmp_path, content))


@pytest.mark.parametrize(
    "half",
    [
        {"classes": ["ant", "bat"], "domains": ["wax"]},  # a slip, which must not train on the default domain
        {"classes": ["ant", "bat"], "domain": []},
        {"classes": ["ant", "bat"], "domain": 3},
    ],
)
def test_halves_in_files_say_their_domain_properly(half: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="domain"):
        split(CARD, written(tmp_path, {"A": half, "B": ["cat", "dog"]}))


def test_files_that_are_missing_or_not_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"split file .*/nowhere.json: No such file or directory"):
        split(CARD, str(tmp_path / "nowhere.json"))
    (tmp_path / "torn.json").write_text('{"A": ["ant"')
    with pytest.raises(BadInput, match=r"split file .*/torn.json is not JSON"):
        split(CARD, str(tmp_path / "torn.json"))
    (tmp_path / "latin.json").write_bytes(b'"\xe9"')
    with pytest.raises(BadInput, match=r"split file .*/latin.json is not JSON"):
        split(CARD, str(tmp_path / "latin.json"))


@pytest.mark.parametrize("name", ["", "random", "random:", "random:-1", "random:x", "groups:natural", "halves", "A/B"])
def test_an_unknown_split_lists_the_forms(name: str) -> None:
    forms = "random:SEED, natman, groups:ONE/OTHER, domains:ONE/OTHER, paper:0..3, paper:natman, a .json file"
    with pytest.raises(BadInput, match=f"unknown split '{name}'; choose from: {forms} of class names$"):
        split(CARD, name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("groups:natural/plants", "unknown group of toy 'plants'; choose from: man-made, natural"),
        ("domains:ink/gum", "unknown domain of toy 'gum'; choose from: ink, oil, wax"),
        ("domains:/ink", "unknown domain of toy ''"),
        ("groups:natural/natural", "the same"),
        ("domains:ink/ink", "the same"),
        ("random:4294967296", "random:4294967296"),  # numpy's seeds end at 2**32 - 1
    ],
)
def test_unknown_groups_and_domains_and_equal_halves_are_refused(name: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        split(CARD, name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("natman", "data set imagenet has no groups of classes; choose another split: random:SEED"),
        ("groups:a/b", "data set imagenet has no groups"),
        ("domains:a/b", "data set imagenet has no domains"),
    ],
)
def test_without_groups_or_domains_there_are_no_such_splits(name: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        split(IMAGENET, name)


def test_one_class_in_every_half_is_too_few() -> None:
    with pytest.raises(BadInput, match="a half needs at least two"):
        split(replace(CARD, classes=("ant", "bed"), groups=("natural", "man-made")), "natman")
