"""ImageNet's card, from the listing of its tree, and how the tree stands to the stores that were made of it."""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from yosinski import files
from yosinski.data import Card, Place, some, store, synsets
from yosinski.data.tree import Tree, tree
from yosinski.spec import BadInput, digest

GENERATOR = 1  # bump when stores of the same files would hold other images: the fingerprint covers it
SETTLED = 2.0  # seconds after which a second change would show in a directory's time of change


def card(place: Place, stores: Path, listing: Mapping[str, Any] | None = None) -> Card:
    """The card of a tree, without the images that a store which was made of it has skipped.

    listing: of the tree (see `Tree.listing`), if it has just been listed. A tree that is gone is known from the store
    that was made of it. BadInput if there is neither, or if the only store that was made of it held other images.
    """
    assert place.path is not None
    made = list(store.made(stores, place.name))
    same_place = [(path, described) for path, described in made if described["data"] == place.text]
    if not place.path.is_dir():
        if len(same_place) == 1:
            return store.described_card(same_place[0][1])
        raise BadInput(f"data set {place.text}: no directory {place.path}")
    listing = listing or remembered(place.path) or remember(tree(place.path))
    for _, described in made:
        found = card_of(place, listing, described.get("skipped", ()))
        if found.fingerprint == described["fingerprint"]:
            return found
    if same_place:
        raise BadInput(changed(place, same_place[-1][0]))
    return card_of(place, listing)


def card_of(place: Place, listing: Mapping[str, Any], skipped: Iterable[str] = ()) -> Card:
    """The card of a listing (see `Tree.listing`) without the skipped images, which are given by name."""
    skipped = sorted(skipped)
    wnids: list[str] = listing["wnids"]
    images = {name: list(counts) for name, counts in listing["per_class"].items()}
    for set_name, wnid in (name.split("/")[:2] for name in skipped):
        images[set_name][wnids.index(wnid)] -= 1
    for set_name, counts in images.items():
        none = [wnid for wnid, count in zip(wnids, counts, strict=True) if count == 0]
        if none:
            raise BadInput(f"{place.text}: no {set_name} image that is not broken in {some(none)}")
    covered = {"sources": listing["sources"], "generator": GENERATOR, "skipped": skipped}
    known = synsets.groups()
    return Card(
        name=place.text,
        fingerprint=digest({**covered, "side": place.side, "fit": place.fit}),
        side=place.side,
        classes=tuple(wnids),
        groups=tuple(known.get(wnid, "other") for wnid in wnids),
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
        now = {image.name: image.size for image in tree(place.path).images}
        differences = {
            "new": sorted(now.keys() - then.keys()),
            "gone": sorted(then.keys() - now.keys()),
            "of another size": sorted(name for name in now.keys() & then.keys() if now[name] != then[name]),
        }
        found = [f"{len(names)} {what} ({some(names, 3)})" for what, names in differences.items() if names]
        told = f"{told}: {'; '.join(found)}" if found else f"{made} was made of {place.path} by another version"
    return f"{told}; undo that, or delete the store, or give another --stores"


def _note(path: Path) -> Path:
    return files.caches() / f"listing-{digest(str(path))}.json"


def remembered(path: Path) -> dict[str, Any] | None:
    """The last listing of a tree, if no file has been added to its directories or taken away since."""
    try:
        note = files.read_json(_note(path))
        same = all((path / one).stat().st_mtime_ns == then for one, then in note["watched"].items())
        return note["listing"] if same and note["path"] == str(path) else None
    except (OSError, BadInput, KeyError):
        return None


def remember(tree: Tree) -> dict[str, Any]:
    """Keep a listing, unless a directory changed so lately that another change might not show; returns it."""
    if max(tree.watched.values()) < time.time_ns() - SETTLED * 1e9:
        with suppress(OSError):
            note = {"path": str(tree.path), "watched": dict(tree.watched), "listing": tree.listing}
            files.write_json(_note(tree.path), note)
    return tree.listing
