"""Cards of image files, from their listings, and how the files stand to the stores that were made of them."""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from yosinski import files
from yosinski.data import MAYBE_FILES, Card, Place, some, sources, store
from yosinski.data.listing import Listing
from yosinski.spec import BadInput, digest

SETTLED = 2.0  # seconds after which a second change would show in a directory's time of change


def card(place: Place, stores: Path, summary: Mapping[str, Any] | None = None) -> Card:
    """The card of a data set, without the images that a store which was made of it has skipped.

    summary: of the listing (see `Listing.summary`), if it has just been listed. What is gone is known from the store
    that was made of it. BadInput if there is neither, or if the only store that was made of it held other images.
    """
    made = list(store.made(stores, place.name))
    same_place = [(path, described) for path, described in made if described["data"] == place.text]
    if not place.there:
        if len(same_place) == 1:
            return store.described_card(same_place[0][1])
        raise BadInput(f"data set {place.text}: no {'file or ' * (place.kind in MAYBE_FILES)}directory {place.path}")
    summary = summary or remembered(place) or remember(place, sources.listed(place))
    for _, described in made:
        skipped = described.get("skipped", ())
        if fingerprint(place, summary, skipped) == described["fingerprint"]:
            return card_of(place, summary, skipped)
    if same_place:
        raise BadInput(changed(place, same_place[-1][0]))
    return card_of(place, summary)


def fingerprint(place: Place, summary: Mapping[str, Any], skipped: Iterable[str] = ()) -> str:
    """Of a listing's files, the geometry, and the names of skipped images."""
    covered = {"sources": summary["sources"], "generator": sources.generator(place), "skipped": sorted(skipped)}
    # torch's pixels differ from Pillow's, which earlier versions stored, by a grey level or two
    filtered = {} if place.interpolation == "lanczos" else {"interpolation": f"{place.interpolation} of torch"}
    deep = {} if place.depth == 16 else {"depth": place.depth}
    return digest({**covered, "side": place.side, "fit": place.fit, **filtered, **deep})


def card_of(place: Place, summary: Mapping[str, Any], skipped: Iterable[str] = ()) -> Card:
    """The card of a listing (see `Listing.summary`) without the skipped images, which are given by name."""
    skipped = list(skipped)
    classes: list[str] = summary["classes"]
    images = {name: list(counts) for name, counts in summary["per_class"].items()}
    for set_name, class_name in (name.split("/")[:2] for name in skipped):
        images[set_name][classes.index(class_name)] -= 1
    for set_name, counts in images.items():
        none = [name for name, count in zip(classes, counts, strict=True) if count == 0]
        if none:
            raise BadInput(f"{place.text}: no {set_name} image that is not broken in {some(none)}")
    return Card(
        name=place.text,
        fingerprint=fingerprint(place, summary, skipped),
        side=place.side,
        classes=tuple(classes),
        groups=tuple(summary["groups"]),
        images={name: tuple(counts) for name, counts in images.items()},
        stratified=False,
    )


def changed(place: Place, made: Path) -> str:
    """How a tree differs from what a store was made of, for people."""
    import pandas as pd

    assert place.path is not None
    told = f"{made} was made of {place.path} when that held other images"
    if (made / "sources.parquet").exists():
        frame = pd.read_parquet(made / "sources.parquet", columns=["image", "bytes"])
        then = dict(zip(frame["image"], frame["bytes"], strict=True))
        now = {image.name: image.file.size for image in sources.listed(place).images}
        differences = {
            "new": sorted(now.keys() - then.keys()),
            "gone": sorted(then.keys() - now.keys()),
            "of another size": sorted(name for name in now.keys() & then.keys() if now[name] != then[name]),
        }
        found = [f"{len(names)} {what} ({some(names, 3)})" for what, names in differences.items() if names]
        told = f"{told}: {'; '.join(found)}" if found else f"{made} was made of {place.path} by another version"
    return f"{told}; undo that, or delete the store, or give another --stores"


def _note(place: Place) -> Path:
    return files.caches() / f"listing-{digest(place.source)}.json"


def remembered(place: Place) -> dict[str, Any] | None:
    """The last listing of a data set, if no file has been added to its directories or taken away since."""
    try:
        note = files.read_json(_note(place))
        same = all((Path(note["root"]) / one).stat().st_mtime_ns == then for one, then in note["watched"].items())
        asked = {"source": place.source, "generator": sources.generator(place)}
        return note["summary"] if same and all(note[name] == value for name, value in asked.items()) else None
    except (OSError, BadInput, KeyError):
        return None


def remember(place: Place, listing: Listing) -> dict[str, Any]:
    """Keep a listing, unless a directory changed so lately that another change might not show; returns its summary."""
    if max(listing.watched.values()) < time.time_ns() - SETTLED * 1e9:
        note = {
            "source": place.source,
            "generator": sources.generator(place),
            "root": str(listing.root),
            "watched": dict(listing.watched),
            "summary": listing.summary,
        }
        with suppress(OSError):
            files.write_json(_note(place), note)
    return listing.summary
