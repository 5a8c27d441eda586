"""data store, data show: data sets and their stores."""

import argparse
import json
from pathlib import Path
from typing import Any

from yosinski.commands import MUCH, confirmed, make_store, progress
from yosinski.spec import BadInput, Failure, choose
from yosinski.telling import command


def store_data(options: argparse.Namespace) -> int:
    """`yosinski data store`."""
    from rich.console import Console

    from yosinski import data
    from yosinski.data import store

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
        for note in data.card(options.data).notes:
            print(note)
    return 0


def show_data(options: argparse.Namespace) -> int:
    """`yosinski data show`: its card, what its store tells beyond that, and where that lies."""
    from yosinski import data
    from yosinski.data import store, survey

    if options.out:
        choose(f"kind of file ({options.out})", options.out.suffix, (".png", ".pdf", ".svg"))
    card = data.card(options.data)
    path = store.location(card, options.stores)
    there = (path / "store.json").exists()
    partial = path.with_name(f"{path.name}.partial")
    if options.out and not there:
        making = command("data", "store", card.name, stores=options.stores)
        raise BadInput(f"a sheet shows stored images, and there is no store: {making} makes it")
    state = "there" if there else "half made" if partial.exists() else "missing"
    size = sum(file.stat().st_size for file in path.iterdir()) if there else None
    told = {
        "data": card.name,
        "fingerprint": card.fingerprint,
        "side": card.side,
        "classes": card.classes,
        "groups": {group: card.groups.count(group) for group in sorted(set(card.groups))},
        "domains": card.domains,
        "images": {name: card.total(name) for name in card.images},
        "per_class": survey.balance(card),
        "sources": _sizes(data.place(options.data), path),
        "store": str(path),
        "state": state,
        "bytes": size,
        "skipped": store.description(path).get("skipped", {}) if there else {},
        "notes": card.notes,
        "duplicates": None,
    }
    if size is not None:
        near = options.near or size < MUCH or survey.hashes_kept(path).exists()
        told["duplicates"] = survey.duplicates(store.load(card, options.stores), path, near)
    if options.json:
        print(json.dumps(told, indent=1))
    else:
        _print(told)
    if options.out:
        from yosinski.data import sheet

        options.out.parent.mkdir(parents=True, exist_ok=True)
        sheet.sheet(store.load(card, options.stores), options.out)
        if not options.json:
            print(f"sheet: {options.out}")
    if options.check:
        _check(path)
    return 0


def _sizes(place: Any, path: Path) -> dict[str, Any] | None:
    """How large the source images are: all of them, as the store knows, or some, as their headers say."""
    from yosinski.data import survey

    if (path / "sources.parquet").exists():
        import pandas as pd
        import pyarrow.parquet

        if "width" in pyarrow.parquet.read_schema(path / "sources.parquet").names:
            whole = pd.read_parquet(path / "sources.parquet", columns=["width", "height"]).dropna()
            return survey.sizes(whole["width"].tolist(), whole["height"].tolist())
    if place.kind == "torchvision" or not place.there:
        return None  # drawn, or known once it is stored, or gone
    return survey.sizes_of_sources(place)


def _print(told: dict[str, Any]) -> None:
    from yosinski.data import some
    from yosinski.data.making import gigabytes

    groups = some([f"{count} {group}" for group, count in told["groups"].items()], 6)
    print(f"{told['data']} ({told['fingerprint']}), {told['side']} x {told['side']}")
    print(f"{len(told['classes'])} classes{f' ({groups})' if groups else ''}: {some(told['classes'], 5)}")
    if told["domains"]:
        print(f"each drawn by {', '.join(told['domains'])}")
    for name, count in told["images"].items():
        least, median, most, imbalance = told["per_class"][name].values()
        each = f"{least}" if least == most else f"{least} to {most} (median {median:g}, imbalance {imbalance:.1f})"
        print(f"{name}: {count:,} images, {each} per class{' and domain' if told['domains'] else ''}")
    if told["sources"]:
        spread = " x ".join(
            f"{one['least']:.0f}"
            if one["least"] == one["most"]
            else f"{one['least']:.0f} to {one['most']:.0f} (median {one['median']:.0f})"
            for one in (told["sources"]["width"], told["sources"]["height"])
        )
        print(f"sources: {spread} pixels, of {told['sources']['images']:,} images")
    print(f"store {told['store']}: {told['state']}{'' if told['bytes'] is None else ', ' + gigabytes(told['bytes'])}")
    for note in told["notes"]:
        print(note)
    for name, why in told["skipped"].items():
        print(f"left out: {name} ({why})")
    if told["duplicates"] is None:
        print("duplicates: known once there is a store")
        return
    for kind, what in (("exact", "the same bytes"), ("near", "candidates for near duplicates (to be looked at)")):
        found = told["duplicates"][kind]
        if found is None:
            print(
                f"{kind} duplicates: not known" + ("; --near reads the whole store for them" if kind == "near" else "")
            )
            continue
        print(
            f"{kind} duplicates of training images, {what}: {found['train']} in train, {found['select']} in select, "
            f"{found['test']} in test; {found['between_classes']} of them in another class"
        )
        for one, other in found["examples"]:
            print(f"  {one} = {other}" if kind == "exact" else f"  {one} ~ {other}")


def _check(path: Path) -> None:
    """Read the whole store; Failure if it does not hold what was written."""
    from rich.console import Console

    from yosinski.data import store

    with progress(Console(stderr=True)) as bar:
        task = bar.add_task("checking", total=store.description(path)["images"])
        wrong = []
        for shard, right in store.check(path):
            bar.advance(task, shard.stop - shard.start)
            wrong += [] if right else [f"{shard.start} to {shard.stop - 1}"]
    if wrong:
        raise Failure(
            f"{path / 'images.npy'} is damaged: images {', '.join(wrong[:20])}; delete {path} and make it anew"
        )
