"""data store, data show: data sets and their stores."""

import argparse
import json
from pathlib import Path
from typing import Any

from yosinski.commands import confirmed, make_store, progress
from yosinski.spec import BadInput, Failure

MUCH = 10e9  # bytes; for less nobody is asked


def store_data(options: argparse.Namespace) -> int:
    """`yosinski data store`."""
    from rich.console import Console

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
    return 0


def show_data(options: argparse.Namespace) -> int:
    """`yosinski data show`: its card, and where its store lies."""
    from yosinski import data
    from yosinski.data import store

    card = data.card(options.data)
    path = store.location(card, options.stores)
    there = (path / "store.json").exists()
    partial = path.with_name(f"{path.name}.partial")
    state = "there" if there else "half made" if partial.exists() else "missing"
    described = store.description(path) if there else {}
    told = {
        "data": card.name,
        "fingerprint": card.fingerprint,
        "side": card.side,
        "classes": card.classes,
        "groups": {group: card.groups.count(group) for group in sorted(set(card.groups))},
        "domains": card.domains,
        "images": {name: card.total(name) for name in card.images},
        "per_class": {name: [min(card.per_class(name)), max(card.per_class(name))] for name in card.images},
        "store": str(path),
        "state": state,
        "bytes": sum(file.stat().st_size for file in path.iterdir()) if there else None,
        "skipped": described.get("skipped", {}),
    }
    if options.json:
        print(json.dumps(told, indent=1))
    else:
        _print(told)
    if options.check:
        _check(path)
    return 0


def _print(told: dict[str, Any]) -> None:
    from yosinski.data import some
    from yosinski.data.making import gigabytes

    groups = ", ".join(f"{count} {group}" for group, count in told["groups"].items())
    print(f"{told['data']} ({told['fingerprint']}), {told['side']} x {told['side']}")
    print(f"{len(told['classes'])} classes{f' ({groups})' if groups else ''}: {some(told['classes'], 5)}")
    if told["domains"]:
        print(f"each drawn by {', '.join(told['domains'])}")
    for name, count in told["images"].items():
        least, most = told["per_class"][name]
        each = f"{least}" if least == most else f"{least} to {most}"
        print(f"{name}: {count:,} images, {each} per class{' and domain' if told['domains'] else ''}")
    print(f"store {told['store']}: {told['state']}{'' if told['bytes'] is None else ', ' + gigabytes(told['bytes'])}")
    for name, why in told["skipped"].items():
        print(f"left out: {name} ({why})")


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
