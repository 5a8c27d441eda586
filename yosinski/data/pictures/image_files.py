"""Cards of image files, made from their listings, and their comparison with existing stores."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from yosinski.data import store
from yosinski.data.card import SETS, Card
from yosinski.data.place import EARLIER, MAYBE_FILES, RULE, Place
from yosinski.data.sources import kinds
from yosinski.data.sources.listing import Listing
from yosinski.errors import BadInput, printable, some
from yosinski.identity import digest


def card(place: Place, stores: Path, listing: Listing | None = None) -> Card:
    """The card of a data set, without the images that were skipped when its store was made.

    listing: of the data set, if it is new. If the files are gone, the card is read from the store. BadInput if there is
    no store either, or if the only store was made of other images. Stores of earlier versions are not used; the card's
    notes say so.
    """
    finished = list(store.made(stores, place.name))
    same_place = [(path, described) for path, described in finished if described["data"] == place.text]
    notes = [
        f"{path} is not used: its images were {EARLIER}; it can be deleted"
        for path, described in same_place
        if described.get("rule", 1) < RULE
    ]
    finished = [(path, described) for path, described in finished if described.get("rule", 1) == RULE]
    same_place = [one for one in finished if one in same_place]
    if not place.there:
        if len(same_place) == 1:
            return _told(store.described_card(same_place[0][1]))
        missing = f"no {'file or ' * (place.kind in MAYBE_FILES)}directory {printable(place.path)}"
        raise BadInput("; ".join([f"data set {printable(place.text)}: {missing}", *notes]))
    summary = listing.summary if listing else kinds.summary(place)
    notes = (*summary["notes"], *notes)
    for _, described in finished:
        if fingerprint(place, summary, described["skipped"]) == described["fingerprint"]:
            return _told(replace(store.described_card(described), name=place.text), notes)
    if same_place:
        raise BadInput(changed(place, same_place[-1][0]))
    return _told(card_of(place, summary), notes)


def _told(card: Card, notes: Iterable[str] = ()) -> Card:
    """The card with these notes, and what it counts as missing."""
    examples = sum(sum(card.per_class(name)) for name in SETS)
    lines = list(notes)
    for what, counted in (("input {} is missing", card.missing), ("question {} has no label", card.unlabelled)):
        for name, counts in counted.items():
            of_sets = {set_name: sum(counts[set_name]) for set_name in SETS}
            in_each = ", ".join(f"{number:,} in {set_name}" for set_name, number in of_sets.items() if number)
            lines.append(f"{what.format(name)} in {sum(of_sets.values()):,} of {examples:,} examples ({in_each})")
    return replace(card, notes=tuple(lines))


def fingerprint(place: Place, summary: Mapping[str, Any], skipped: Iterable[str] = ()) -> str:
    """Fingerprint of a listing's files, classes and groups, the geometry, and the names of skipped images."""
    covered = {
        "sources": summary["sources"],
        "classes": summary["classes"],
        "groups": summary["groups"],
        "generator": kinds.generator(place),
        "skipped": sorted(skipped),
    }
    covered |= {name: summary[name] for name in ("domains", "answers") if name in summary}
    # by a grey level or two, torch's pixels differ from Pillow's, which earlier versions stored
    filtered = {} if place.interpolation == "lanczos" else {"interpolation": f"{place.interpolation} of torch"}
    deep = {} if place.depth == 16 else {"depth": place.depth}
    return digest({**covered, "side": place.side, "fit": place.fit, **filtered, **deep})


def card_of(place: Place, summary: Mapping[str, Any]) -> Card:
    """The card of a listing (see `Listing.summary`)."""
    return Card(
        name=place.text,
        fingerprint=fingerprint(place, summary),
        side=place.side,
        classes=tuple(summary["classes"]),
        groups=tuple(summary["groups"]),
        domains=tuple(summary.get("domains", ())),
        default_domain=tuple(summary.get("domains", ())[:1]),
        images=store.with_tuples(summary["per_class"]),
        stratified=False,
        rule=RULE,
        **{name: store.with_tuples(summary.get(name, {})) for name in store.LATER},
    )


def card_without(place: Place, listing: Listing, skipped: Collection[str]) -> Card:
    """The card of a listing without the skipped images (names). BadInput if too few images are left."""
    rest = card_of(place, listing.without(skipped).summary if skipped else listing.summary)
    return replace(rest, fingerprint=fingerprint(place, listing.summary, skipped))


def index(card: Card, listing: Listing, at_last: Listing) -> dict[str, Any]:
    """What a store's index says of all images of a listing: `index`, int32 [4, N], and `answers`, int32 [N] each.

    at_last: the listing without broken images, divided anew. The set is -1 where an image is left out:
    a broken one, or one whose example has lost its first input.
    """
    images, last = listing.images, {image.file: image for image in at_last.images}
    classes = {name: k for k, name in enumerate(card.classes)}
    columns = np.zeros((4, len(images)), np.int32)
    columns[0] = [SETS.index(last[image.file].set_name) if image.file in last else -1 for image in images]
    columns[1] = [classes[image.class_name] for image in images]
    columns[2] = [card.domains.index(image.domain) if image.domain else 0 for image in images]
    columns[3] = [last.get(image.file, image).number for image in images]
    labels = listing.beside.labels_of()
    answers = {}
    for k, question in enumerate(listing.beside.questions):
        names = {name: number for number, name in enumerate(card.answers[question])}
        answers[question] = np.array([names.get(labels[image.file][k], -1) for image in images], np.int32)
    return {"index": columns, "answers": answers}


def changed(place: Place, made: Path) -> str:
    """How a data set differs from the files that a store was made of, for messages."""
    differences = _differences(kinds.list_images(place), made) if (made / "sources.parquet").exists() else {}
    changes = [f"{len(names)} {change} ({some(sorted(names), 3)})" for change, names in differences.items() if names]
    reason = (
        "when that held other images"
        if changes or not differences
        else "by another version, or with other groups or labels"
    )
    message = f"{made} was made of {printable(place.path)} {reason}{': ' * bool(changes)}{'; '.join(changes)}"
    return f"{message}; undo that, or delete the store, or give another --stores"


def _differences(listing: Listing, made: Path) -> dict[str, list[str]]:
    """The changed files by kind of change since a store was made."""
    import pandas as pd

    frame = pd.read_parquet(made / "sources.parquet", columns=["image", "file", "bytes", "sha256"])
    then = dict(zip(frame["file"], zip(frame["image"], frame["bytes"], frame["sha256"], strict=True), strict=True))
    now = {printable(image.file.path): image for image in listing.images}
    # without the skipped images the others were divided anew: a move shows in the class, not in the set
    parts = slice(1, 2) if store.description(made)["skipped"] else slice(0, 2)
    differences: dict[str, list[str]] = {
        "new": [name for name in now if name not in then],
        "gone": [name for name in then if name not in now],
        "of other content": [],
        "of another class or set": [],
    }
    for name, image in now.items():
        if name in then:
            name_then, size, sha256 = then[name]
            same = sha256 == image.file.sha256 if image.file.sha256 else size == image.file.size
            differences["of other content"] += [name] * (not same)
            moved = name_then.split("/")[parts] != image.name.split("/")[parts]
            differences["of another class or set"] += [name] * moved
    return differences
