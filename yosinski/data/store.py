"""Stores: a data set as one memory-mapped array with labels, made once and shared by all runs.

Images are uint8 pixels, texts the ids of their tokens.

Layout in `docs/formats.md`. A store is made under a temporary name and renamed when it is complete.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from yosinski import files
from yosinski.data.card import SETS, Card
from yosinski.data.half import Half
from yosinski.data.place import Place, is_text
from yosinski.data.sources import emoji
from yosinski.data.texts import cards as of_texts
from yosinski.data.texts import source
from yosinski.data.texts.source import TOKENS, Texts
from yosinski.errors import BadInput, Failure, command
from yosinski.randomness import generator

FORMAT = 1
SHARD = 256  # number of images per checksum
LATER = ("answers", "missing", "unlabelled", "vocabulary")  # values of cards that only the stores that have them name


@dataclass(frozen=True)
class Store:
    """images: uint8 [N, side, side, 3]; sets, classes, domains, numbers: int [N], indices into SETS and the card.

    answers: int [N] by question, indices into the card's answers; -1 for no label. texts: of examples that are texts;
    then there are no images, uint8 [N, 0, 0, 3].
    """

    card: Card
    images: np.ndarray
    sets: np.ndarray
    classes: np.ndarray
    domains: np.ndarray
    numbers: np.ndarray
    answers: Mapping[str, np.ndarray] = field(default_factory=dict)
    texts: Texts | None = None

    def rows(self, half: Half, set_name: str, unseen: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the half's images of one set, and their labels: two int64 [n].

        Labels index the half's `labels`, -1 where there is none. Rows are ordered by class; within a class the images
        are ordered by number, then by domain, so that the first k are spread over the domains. `unseen` selects the
        card's unseen domains instead of the half's; there are no rows if the half trains on one of them. In a half of a
        division above 0 the train and select images of every class and domain together are drawn anew into as many of
        each, by (division, class name) alone: the same in every half. BadInput if there are no select images to do so.
        """
        domains = self.card.unseen if unseen else half.domain
        if unseen and (not domains or set(domains) & set(half.domain)):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        label = np.full(len(self.card.classes), -1)
        label[[self.card.classes.index(name) for name in half.classes]] = np.arange(len(half.classes))
        drawn = half.division and set_name != "test"
        sets, numbers = self._divided(half) if drawn else (self.sets, self.numbers)
        chosen = (sets == SETS.index(set_name)) & (label[self.classes] >= 0)
        if self.card.domains:
            chosen &= np.isin(self.domains, [self.card.domains.index(name) for name in domains])
        rows = np.flatnonzero(chosen)
        labels = label[self.classes[rows]]
        order = np.lexsort((self.domains[rows], numbers[rows], labels))
        return rows[order], self._answers(half, rows[order], labels[order], set_name)

    def _answers(self, half: Half, rows: np.ndarray, classes: np.ndarray, set_name: str) -> np.ndarray:
        """What a half asks of these rows, int64 [n], given their classes.

        Shuffled labels are exchanged within the set, by (pictures, set) alone, so that every label is as frequent.
        """
        match half.asks:
            case "class":
                labels = classes
            case "domain":
                numbers = {self.card.domains.index(name): k for k, name in enumerate(half.labels)}
                labels = np.array([numbers.get(domain, -1) for domain in self.domains[rows].tolist()], np.int64)
            case "group":
                of_class = dict(zip(self.card.classes, self.card.groups, strict=True))
                numbers = np.array([half.labels.index(of_class[name]) for name in half.classes])
                labels = numbers[classes]
            case question if question in self.answers:
                labels = self.answers[question][rows].astype(np.int64)
                if len(labels) and (labels < 0).all():
                    raise BadInput(f"question {question}: no {set_name} image of half {half.name} has a label")
            case _:
                raise Failure(f"half {half.name} asks for {half.asks!r}, which the store of {half.data} does not hold")
        if half.shuffled:
            labels = generator("shuffled", half.pictures.digest, half.asks, set_name).permutation(labels)
        return labels

    def _divided(self, half: Half) -> tuple[np.ndarray, np.ndarray]:
        """The set and number of every image in a half's division, int [N] both; other classes keep theirs."""
        check_division(self.card, half)
        sets, numbers = self.sets.copy(), self.numbers.copy()
        pool = np.flatnonzero(np.isin(self.sets, [SETS.index("train"), SETS.index("select")]))
        pool = pool[np.argsort(self.classes[pool], kind="stable")]
        for name in half.classes:
            c = self.card.classes.index(name)
            start, end = np.searchsorted(self.classes[pool], [c, c + 1])
            of_class = pool[start:end]
            random = generator("division", half.division, name)
            for domain in np.unique(self.domains[of_class]):
                rows = of_class[self.domains[of_class] == domain]
                places = random.permutation(rows)
                sets[rows], numbers[rows] = self.sets[places], self.numbers[places]
        return sets, numbers


def check_division(card: Card, half: Half) -> None:
    """BadInput if a half's division cannot be drawn, since a class has no select images to exchange."""
    if half.division and Place.of(card.name).languages:
        raise BadInput(f"division {half.division}: the sets of {card.name} share their words; choose division 0")
    if half.division:
        where = [card.classes.index(name) for name in half.classes]
        for name in ("train", "select"):
            counts = card.per_class(name) if name in card.images else (0,) * len(card.classes)
            if not all(counts[c] for c in where):
                raise BadInput(
                    f"division {half.division}: {card.name} has classes without {name} images, so that train and "
                    "select images cannot be divided anew; choose division 0"
                )


def location(of: Card | Half, stores: Path) -> Path:
    """Path of the store of a data set, which need not exist."""
    text = of.data if isinstance(of, Half) else of.name
    return stores / f"{re.split('[:,]', text)[0]}-{of.fingerprint}"


def load(card: Card, stores: Path) -> Store:
    """Open a store. If it is missing, Failure for files; what travels with the package (emoji, words) is made first."""
    path = location(card, stores)
    if not (path / "store.json").exists() and travels(card.name):
        make(card, stores)
    described = description(path, card.name)
    with np.load(path / "index.npz", allow_pickle=False) as index:
        sets, classes, domains, numbers = (index[name] for name in ("set", "class", "domain", "number"))
        answers = {question: index[f"label_{question}"] for question in card.answers}
        texts = source.opened(path, index, described["texts"]["closing"], len(sets)) if card.vocabulary else None
    if texts:
        return Store(card, np.empty((len(sets), 0, 0, 3), np.uint8), sets, classes, domains, numbers, answers, texts)
    images = np.load(path / "images.npy", mmap_mode="r", allow_pickle=False)
    return Store(card, images, sets, classes, domains, numbers, answers)


def travels(text: str) -> bool:
    """Whether a data set travels with the package, so that its store can be made everywhere."""
    return text == "emoji" or (is_text(text) and Place.of(text).path is None)


def of(half: Half, stores: Path) -> Store:
    """The store of a half's images. The image files are not needed: nodes of a cluster need not see them."""
    path = location(half, stores)
    if not travels(half.data) or (path / "store.json").exists():
        return load(described_card(description(path, half.data)), stores)
    card = of_texts.card(Place.of(half.data)) if is_text(half.data) else emoji.card()
    if card.fingerprint != half.fingerprint:
        raise Failure(
            f"half {half.name} was made of another version of {half.data}: its fingerprint is {half.fingerprint}, "
            f"that of the one installed here {card.fingerprint}"
        )
    return load(card, stores)


def description(path: Path, text: str = "DATA") -> dict[str, Any]:
    """The content of a store's `store.json`. Failure if there is none, BadInput if it is damaged or of a newer format.

    text: of the data set, for the message on how to make its store.
    """
    try:
        described = json.loads((path / "store.json").read_text())
        newest = described["format"]
    except FileNotFoundError:
        making = command("data", "store", text, stores=path.parent)
        raise Failure(f"no store {path}; {making} makes it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path / 'store.json'} is damaged; delete {path}, it will be made again") from error
    if newest > FORMAT:
        raise BadInput(f"{path} is of format {newest}; this version reads up to {FORMAT}: update yosinski")
    return described


def described_card(described: dict[str, Any]) -> Card:
    """The card of the data set that a store was made of."""
    values = {"rule": 1, **{name: {} for name in LATER}, **described, "name": described["data"], "notes": ()}
    values["images"] = described["per_class"]
    return Card(**{value.name: with_tuples(values[value.name]) for value in fields(Card)})


def with_tuples(value: Any) -> Any:
    """What was read from JSON, with tuples for lists, as in cards."""
    if isinstance(value, dict):
        return {name: with_tuples(inner) for name, inner in value.items()}
    return tuple(value) if isinstance(value, list) else value


def made(stores: Path, name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The finished stores whose names begin with this, such as "imagenet-128", and their descriptions."""
    for path in sorted(stores.glob(f"{name}-*/store.json")):
        described = description(path.parent)
        if path.parent.name == f"{name}-{described['fingerprint']}":
            yield path.parent, described


def describe(
    path: Path,
    card: Card,
    index: np.ndarray,
    checksums: Sequence[str],
    answers: Mapping[str, np.ndarray] | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
    **more: Any,
) -> None:
    """Write the metadata beside the images or texts of a store: the index, then `store.json`.

    index: int32 [4, N]; answers: int32 [N] by question; columns: further ones of the index.
    """
    written: dict[str, Any] = dict(zip(("set", "class", "domain", "number"), index, strict=True))
    written |= columns or {}
    written |= {f"label_{question}": labels for question, labels in (answers or {}).items()}

    def write_index(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **written)

    files.replace(path / "index.npz", write_index)
    described = {
        "format": FORMAT,
        "data": card.name,
        "fingerprint": card.fingerprint,
        "side": card.side,
        "sets": SETS,
        "classes": card.classes,
        "groups": card.groups,
        "stratified": card.stratified,
        "domains": card.domains,
        "default_domain": card.default_domain,
        "unseen": card.unseen,
        "images": index.shape[1],
        "per_class": dict(card.images),
        **{name: getattr(card, name) for name in LATER if getattr(card, name)},
        **more,
        **({} if card.vocabulary else {"shard": SHARD}),
        "sha256": list(checksums),
    }
    text = json.dumps(described, indent=1) + "\n"
    files.replace(path / "store.json", lambda temporary: temporary.write_text(text))


def checksum(pixels: np.ndarray) -> str:
    """SHA-256 of uint8 images, in hex."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def shards(total: int, size: int | None = None) -> list[slice]:
    """The groups of images or texts with one checksum each; size: of a group, by default that of images."""
    size = size or SHARD
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def check(path: Path) -> Iterator[tuple[slice, bool]]:
    """Read all images or texts of a store, shard by shard, and compare the checksums."""
    described = description(path)
    if "sha256" not in described:
        raise BadInput(f"{path} was made by a version that wrote no checksums")
    if "texts" in described:
        stored, ends = (np.load(path / name, mmap_mode="r", allow_pickle=False) for name in (TOKENS, "ends.npy"))
        groups = shards(described["texts"]["texts"], described["texts"]["at_once"])
        parts = [stored[ends[group.start] : ends[group.stop]] for group in groups]
    else:
        images = np.load(path / "images.npy", mmap_mode="r", allow_pickle=False)
        groups = shards(len(images))
        parts = (images[group] for group in groups)
    for shard, part, expected in zip(groups, parts, described["sha256"], strict=True):
        yield shard, checksum(part) == expected


def make(card: Card, stores: Path, advance: Callable[[int], object] = lambda texts: None) -> Path:
    """Draw the whole data set, or encode all of its texts, into a store.

    advance: called with a number of texts that have been encoded.
    """
    path = location(card, stores)
    stores.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=stores))
    temporary.chmod(0o755)
    try:
        if card.vocabulary:
            place = Place.of(card.name)
            texts = of_texts.source_of(place, card)
            describe(temporary, card, texts.index, **of_texts.write(place, card, texts, temporary, advance))
        else:
            _draw(card, temporary)
        try:
            temporary.rename(path)
        except OSError:
            if not (path / "store.json").exists():
                raise
            # Another process has made it meanwhile, with the same bytes.
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def _draw(card: Card, folder: Path) -> None:
    """Draw all images of emoji into the folder of a store."""
    total = sum(card.total(name) for name in SETS)
    pixels = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape=(total, card.side, card.side, 3))
    index = np.empty((4, total), np.int32)
    start = 0
    for set_name, c, domain, images in emoji.images():
        here = slice(start, start + len(images))
        pixels[here] = images
        index[0, here], index[1, here], index[2, here] = SETS.index(set_name), c, domain
        index[3, here] = np.arange(len(images))
        start += len(images)
    pixels.flush()
    describe(folder, card, index, [checksum(pixels[shard]) for shard in shards(total)])
