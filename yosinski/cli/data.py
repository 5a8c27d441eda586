"""data store, data show: commands for data sets and their stores."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yosinski.cli.options import Command, asking, check_out, with_stores
from yosinski.cli.prepare import MUCH, confirmed, make_store, progress
from yosinski.data.card import PerClass
from yosinski.data.place import FORMS, GEOMETRY, Place
from yosinski.errors import BadInput, Failure, command


def store_data(options: argparse.Namespace) -> int:
    """`yosinski data store`."""
    from rich.console import Console

    from yosinski.data import find, store

    if options.workers is not None and options.workers < 1:
        raise BadInput(f"--workers must be at least 1, not {options.workers}")
    path = make_store(
        options.data,
        options.stores,
        Console(),
        options.skip_broken,
        options.workers,
        lambda size: size < MUCH or confirmed("make it?", options),
    )
    if path is not None:
        skipped = store.description(path).get("skipped", {})
        print(f"{path} is there" + (f"; {len(skipped)} broken images are left out" if skipped else ""))
        for note in find.card(options.data).notes:
            print(note)
    return 0


def show_data(options: argparse.Namespace) -> int:
    """`yosinski data show`: the card, statistics from the store, and the store's path."""
    from yosinski.data import find, store, survey
    from yosinski.data.pictures import oddities

    check_out([options.out], (".png", ".pdf", ".svg"))
    card = find.card(options.data)
    path = store.location(card, options.stores)
    if card.vocabulary:
        from yosinski.cli import texts

        if options.check:
            _check(path)
        return texts.show(card, path, options)
    stored = (path / "store.json").exists()
    partial = path.with_name(f"{path.name}.partial")
    if options.out and not stored:
        making = command("data", "store", card.name, stores=options.stores)
        raise BadInput(f"a sheet shows stored images, and there is no store: {making} makes it")
    state = "there" if stored else "half made" if partial.exists() else "missing"
    size = sum(file.stat().st_size for file in path.iterdir()) if stored else None
    looks = _looks(Place.of(card.name), path)
    depths = oddities.notes(Place.of(card.name), looks["pixels"]["deep"]) if looks["pixels"] else []
    content = {
        "data": card.name,
        "fingerprint": card.fingerprint,
        "side": card.side,
        "classes": card.classes,
        "groups": {group: card.groups.count(group) for group in sorted(set(card.groups))},
        "domains": card.domains,
        "answers": card.answers,
        "images": {name: card.total(name) for name in card.images},
        "missing": _totals(card.missing),
        "unlabelled": _totals(card.unlabelled),
        "per_class": survey.balance(card),
        **looks,
        "store": str(path),
        "state": state,
        "bytes": size,
        "skipped": store.description(path).get("skipped", {}) if stored else {},
        "notes": [*card.notes, *depths],
        "duplicates": None,
    }
    if size is not None:
        near = options.near or size < MUCH or survey.hashes_kept(path).exists()
        content["duplicates"] = survey.duplicates(store.load(card, options.stores), path, near)
    if options.json:
        print(json.dumps(content, indent=1))
    else:
        _print(content)
    if options.out:
        from yosinski.data.pictures import sheet

        options.out.parent.mkdir(parents=True, exist_ok=True)
        sheet.sheet(store.load(card, options.stores), options.out)
        if not options.json:
            print(f"sheet: {options.out}")
    if options.check:
        _check(path)
    return 0


def _totals(counted: Mapping[str, PerClass]) -> dict[str, dict[str, int]]:
    """By domain or question, and set: the sum over classes."""
    return {name: {set_name: sum(counts) for set_name, counts in of_sets.items()} for name, of_sets in counted.items()}


def _looks(place: Any, path: Path) -> dict[str, Any]:
    """Sizes of source images and statistics of pixels: of all images if the store has them, else of a sample."""
    from yosinski.data import survey

    of_store = survey.of_store(path)
    if of_store is not None:
        return of_store
    if place.kind == "torchvision" or not place.there:
        return {"sources": None, "pixels": None, "unreadable": 0}  # drawn images, not stored yet, or missing files
    return survey.of_sources(place)


def _print(content: dict[str, Any]) -> None:
    from yosinski.data.pictures.making import gigabytes
    from yosinski.errors import some

    groups = some([f"{count} {group}" for group, count in content["groups"].items()], 6)
    print(f"{content['data']} ({content['fingerprint']}), {content['side']} x {content['side']}")
    print(f"{len(content['classes'])} classes{f' ({groups})' if groups else ''}: {some(content['classes'], 5)}")
    if content["domains"]:
        how = "each drawn by" if content["data"] == "emoji" else "inputs:"
        print(f"{how} {', '.join(content['domains'])}")
    for question, labels in content["answers"].items():
        print(f"{question}: {len(labels)} labels: {some(labels, 5)}")
    for note in content["notes"]:
        print(note)
    for name, count in content["images"].items():
        least, median, most, imbalance = content["per_class"][name].values()
        each = f"{least}" if least == most else f"{least} to {most} (median {median:g}, imbalance {imbalance:.1f})"
        print(f"{name}: {count:,} images, {each} per class{' and domain' if content['domains'] else ''}")
    if content["sources"]:
        spread = " x ".join(
            f"{one['least']:.0f}"
            if one["least"] == one["most"]
            else f"{one['least']:.0f} to {one['most']:.0f} (median {one['median']:.0f})"
            for one in (content["sources"]["width"], content["sources"]["height"])
        )
        print(f"sources: {spread} pixels, of {content['sources']['images']:,} images")
    if content["unreadable"]:
        looked = content["unreadable"] + (content["sources"] or {"images": 0})["images"]
        print(
            f"{content['unreadable']:,} of {looked:,} files that were looked at are no images: `data store` names them"
        )
    if content["pixels"]:
        print(_of_pixels(content["pixels"]))
    size = "" if content["bytes"] is None else f", {gigabytes(content['bytes'])}"
    print(f"store {content['store']}: {content['state']}{size}")
    for name, why in content["skipped"].items():
        print(f"left out: {name} ({why})")
    if content["duplicates"] is None:
        print("duplicates: known once there is a store")
        return
    for kind, what in (("exact", "the same bytes"), ("near", "candidates for near duplicates (to be looked at)")):
        counts = content["duplicates"][kind]
        if counts is None:
            print(
                f"{kind} duplicates: not known" + ("; --near reads the whole store for them" if kind == "near" else "")
            )
            continue
        print(
            f"{kind} duplicates of training images, {what}: {counts['train']} in train, {counts['select']} in select, "
            f"{counts['test']} in test; {counts['between_classes']} of them in another class"
        )
        for one, other in counts["examples"]:
            print(f"  {one} = {other}" if kind == "exact" else f"  {one} ~ {other}")


def _of_pixels(pixels: dict[str, Any]) -> str:
    """Oddities of images, and the range of their values."""
    counts = [
        (pixels["turned"], "turned by EXIF"),
        (pixels["transparent"], "transparent"),
        (pixels["constant"], "of one colour"),
    ]
    for depth in pixels["deep"]:
        kind = "greys" if depth["grey"] else "colours"
        used = "used: not known" if depth["used"] is None else f"{depth['used']} used"
        counts.append((depth["images"], f"with {kind} of {depth['bits']} bits ({used})"))
    odd = ", ".join(f"{count:,} {kind}" for count, kind in counts if count) or "nothing odd"
    if pixels["least"] is None:
        return f"by the headers of {pixels['images']:,} images: {odd}"
    values = f"{pixels['least']} to {pixels['greatest']}, mean {pixels['mean']:.1f}"
    return f"pixels: {values}, of {pixels['images']:,} images; {odd}"


def _check(path: Path) -> None:
    """Read the whole store of images or texts. Failure if checksums do not agree."""
    from rich.console import Console

    from yosinski.data import store

    with progress(Console(stderr=True)) as bar:
        described = store.description(path)
        total, what = described["images"], f"{path / 'images.npy'} is damaged: images"
        if "texts" in described:
            total, what = described["texts"]["texts"], f"{path} is damaged: texts"
        task = bar.add_task("checking", total=total)
        wrong = []
        for shard, right in store.check(path):
            bar.advance(task, shard.stop - shard.start)
            wrong += [] if right else [f"{shard.start} to {shard.stop - 1}"]
    if wrong:
        raise Failure(f"{what} {', '.join(wrong[:20])}; delete {path} and make it anew")


ABOUT = "data sets and the stores of their images"


def _with_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help=f"one of {', '.join(FORMS)}; with a side: {GEOMETRY}")
    with_stores(parser)


def _for_store(parser: argparse.ArgumentParser) -> None:
    _with_data(parser)
    parser.add_argument("--skip-broken", action="store_true", help="leave out broken images, and write down which")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: as many as cores)")
    asking(parser)


def _for_show(parser: argparse.ArgumentParser) -> None:
    _with_data(parser)
    parser.add_argument(
        "--near", action="store_true", help="look for near duplicates in a store of many gigabytes, too"
    )
    parser.add_argument("--out", type=Path, metavar="PATH", help="draw a sheet of stored images: .png, .pdf or .svg")
    parser.add_argument("--check", action="store_true", help="read the whole store and compare its checksums")
    parser.add_argument("--json", action="store_true")


COMMANDS = (
    Command("data store", "make the store of a data set, or go on making it", store_data, _for_store),
    Command("data show", "what is known of a data set, and where its store lies", show_data, _for_show),
)
