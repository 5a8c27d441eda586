"""Splits: the classes of a data set -> halves A and B.

A split is named by a short text, which is also its name in figures:

    random:SEED        half of the classes, drawn as in the paper; for emoji half of every group
    natman             A: the man-made classes, B: the natural ones (as in the paper)
    paper:0 .. paper:3, paper:natman   the paper's own halves of the 1000 classes of ILSVRC-2012
    groups:ONE/OTHER   A: the classes of one group, B: those of another
    domains:A/B        all classes in both, A in one domain's pictures, B in another's (join several with +)
    PATH.json          {"A": [names], "B": [names]}; a half may also be {"classes": [names], "domain": [names]}
"""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from yosinski.data.card import Card
from yosinski.data.half import Half
from yosinski.data.sources import synsets
from yosinski.data.store import check_division
from yosinski.errors import BadInput, choose, some

FORMS = (
    "random:SEED",
    "natman",
    "groups:ONE/OTHER",
    "domains:ONE/OTHER",
    "paper:0..3",
    "paper:natman",
    "a .json file of class names",
)
PAPER = ("0", "1", "2", "3", "natman")


@dataclass(frozen=True)
class Split:
    """Two halves, the tasks between which transfer is measured."""

    name: str
    a: Half
    b: Half


def split(card: Card, name: str, division: int = 0) -> Split:
    """The two halves of a data set for a split's name (see the top of this module).

    division: of their train and select images, 0 for the data set's own; see `Store.rows`.
    """
    found = _split(card, name)
    return Split(found.name, divided(card, found.a, division), divided(card, found.b, division))


def kind(name: str) -> str:
    """Of a split's name: "random", "natman", "all", "file" and so on; the paper's own are of the first two kinds."""
    first, _, rest = name.partition(":")
    if name.endswith(".json"):
        return "file"
    return ("natman" if rest == "natman" else "random") if first == "paper" else first


def divided(card: Card, half: Half, division: int) -> Half:
    """The same half with its train and select images divided anew; BadInput if they cannot be."""
    half = replace(half, division=division)
    check_division(card, half)
    return half


def asking(card: Card, half: Half, asks: str) -> Half:
    """The same pictures with another question: their "class", "domain" or "group", or a further label.

    BadInput if it has no answers, or if there are none in one of the sets.
    """
    own = ["class", *["domain"] * bool(card.domains), *["group"] * bool(card.groups)]
    choose(f"question to {card.name}", asks, [*own, *card.answers])
    groups = dict(zip(card.classes, card.groups, strict=False))
    answers = {"class": (), "domain": half.domain, **card.answers}.get(asks)
    if answers is None:
        answers = tuple(sorted({groups[name] for name in half.classes}))
    for name in card.unlabelled.get(asks, {}):
        _some_left(card, half, name, card.unlabelled[asks][name], f"has a label {asks}")
    return replace(half, asks=asks, answers=answers)


def pictured(card: Card, half: Half) -> Half:
    """The same half. BadInput if one of the sets has no image of it in one of its domains."""
    for domain in half.domain:
        for name in card.missing.get(domain, {}):
            _some_left(card, half, name, card.missing[domain][name], f"has an input {domain}")
    return half


def _some_left(card: Card, half: Half, set_name: str, without: Sequence[int], what: str) -> None:
    """BadInput if all examples of a half in a set are without something. without: number of them in every class."""
    lacks = dict(zip(card.classes, zip(card.per_class(set_name), without, strict=True), strict=True))
    if all(count == lacking for count, lacking in (lacks[name] for name in half.classes)):
        raise BadInput(f"no {set_name} example of half {half.name} of {card.name} {what}")


def _split(card: Card, name: str) -> Split:
    kind, _, rest = name.partition(":")
    if kind == "random" and rest.isdecimal() and int(rest) >= 1 << 32:
        raise BadInput(f"split {name}: the seed must be below 2**32")
    if kind == "random" and rest.isdecimal():
        return _halves(card, name, *_random(card, int(rest)))
    if kind == "paper":
        choose("split of the paper", rest, PAPER)
        return _halves(card, name, *_papers(card, name, rest))
    if name == "natman":
        return _halves(card, name, _of_group(card, "man-made"), _of_group(card, "natural"))
    if kind == "groups" and rest.count("/") == 1:
        a, b = rest.split("/")
        return _halves(card, name, _of_group(card, a), _of_group(card, b))
    if kind == "domains" and rest.count("/") == 1:
        domains = [_domain(card, names.split("+")) for names in rest.split("/")]
        return _halves(card, name, card.classes, card.classes, domains)
    if name.endswith(".json"):
        return _from_file(card, Path(name))
    raise BadInput(f"unknown split {name!r}; choose from: {', '.join(FORMS)}")


def _random(card: Card, seed: int) -> tuple[list[str], list[str]]:
    """Half of every group, drawn by legacy NumPy's RandomState([seed]): the rule of the paper's published splits.

    If the card is not stratified this is exactly `RandomState([s]).choice(arange(N), N // 2, replace=False)`.
    """
    random = np.random.RandomState([seed])
    groups = np.array(card.groups if card.stratified and card.groups else [""] * len(card.classes))
    chosen: set[int] = set()
    for group in dict.fromkeys(groups.tolist()):
        members = np.flatnonzero(groups == group)
        chosen.update(random.choice(members, len(members) // 2, replace=False).tolist())
    a = [name for k, name in enumerate(card.classes) if k in chosen]
    return a, [name for k, name in enumerate(card.classes) if k not in chosen]


def _papers(card: Card, name: str, which: str) -> tuple[list[str], list[str]]:
    """The paper's halves, of the 1000 classes of ILSVRC-2012; other classes of the card are left out."""
    imagenet = synsets.card()
    missing = sorted(set(imagenet.classes) - set(card.classes))
    if missing:
        raise BadInput(f"split {name} takes the 1000 classes of ILSVRC-2012; {card.name} lacks {some(missing)}")
    if which == "natman":
        return _of_group(imagenet, "man-made"), _of_group(imagenet, "natural")
    return _random(imagenet, int(which))


def _of_group(card: Card, group: str) -> list[str]:
    if not card.groups:
        raise BadInput(f"data set {card.name} has no groups of classes; choose another split: {', '.join(FORMS)}")
    choose(f"group of {card.name}", group, sorted(set(card.groups)))
    return [name for name, class_group in zip(card.classes, card.groups, strict=True) if class_group == group]


def _domain(card: Card, names: Iterable[str]) -> tuple[str, ...]:
    """The named domains in the data set's own order."""
    if not card.domains:
        raise BadInput(f"data set {card.name} has no domains")
    wanted = {choose(f"domain of {card.name}", name, card.domains) for name in names}
    return tuple(name for name in card.domains if name in wanted)


def _from_file(card: Card, path: Path) -> Split:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"split file {path}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"split file {path} is not JSON: {error}") from error
    if not isinstance(content, dict) or set(content) != {"A", "B"}:
        raise BadInput(f'split file {path} must hold {{"A": [class names], "B": [class names]}}')
    classes, domains = [], []
    for letter in "AB":
        half = content[letter] if isinstance(content[letter], dict) else {"classes": content[letter]}
        names = half.get("classes")
        if set(half) - {"classes", "domain"}:
            raise BadInput(f"split file {path}: half {letter} holds {sorted(half)}; valid are: classes, domain")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadInput(f"split file {path}: half {letter} must be a list of class names")
        names = [unicodedata.normalize("NFC", name) for name in names]  # as in listings
        unknown = sorted(set(names) - set(card.classes))
        if unknown:
            raise BadInput(f"split file {path}: half {letter} names classes that {card.name} lacks: {unknown[:5]}")
        classes.append(names)
        domain = half.get("domain", list(card.default_domain))
        if not isinstance(domain, list) or ("domain" in half and not domain):
            raise BadInput(f"split file {path}: the domain of half {letter} must be a list of names")
        domains.append(_domain(card, domain) if "domain" in half else card.default_domain)
    return _halves(card, path.name, classes[0], classes[1], domains)


def _halves(
    card: Card, name: str, a: Iterable[str], b: Iterable[str], domains: Sequence[tuple[str, ...]] = ()
) -> Split:
    halves = [
        pictured(card, Half(card.name, card.fingerprint, tuple(classes), domain, letter, name, card.rule))
        for letter, classes, domain in zip("AB", (a, b), domains or (card.default_domain,) * 2, strict=True)
    ]
    if halves[0] == halves[1]:
        raise BadInput(f"split {name}: halves A and B are the same")
    return Split(name, *halves)
