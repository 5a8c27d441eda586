"""Texts on the command line: what is known of them, their stores, and how many are cut. Only commands import this."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from yosinski import files
from yosinski.data.card import Card
from yosinski.data.half import Half
from yosinski.errors import BadInput, command, some
from yosinski.experiment.run import Run

BYTES = 40  # of a short text in a store and its index, for the check of free space


def make_store(card: Card, stores: Path, console: Any, bar: Any) -> Path:
    """Make the store of a text data set if it is missing. bar: a context with a progress bar."""
    from yosinski.data import store

    path = store.location(card, stores)
    if (path / "store.json").exists():
        return path
    files.check_space(stores, BYTES * sum(map(card.total, card.images)), f"the texts of {card.name}")
    with bar as shown:
        task = shown.add_task("encoded", total=None)
        store.make(card, stores, lambda texts: shown.advance(task, texts))
    for line in told(store.description(path)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return path


def told(described: dict[str, Any]) -> list[str]:
    """Lines on the texts of a store, from its `store.json`."""
    texts, lengths = described["texts"], described["texts"]["lengths"]
    kind = "letters, which are bytes," if texts["tokens"] == "letters" else "word pieces"
    spread = f"{lengths['least']} to {lengths['most']} (median {lengths['median']})"
    unknown = f"{texts['unknown']:,} tokens are unknown ({texts['unknown'] / texts['in_all']:.2%})"
    return [
        f"tokens: {kind} with {described['vocabulary']:,} ids, {texts['used']:,} of them used; {unknown}",
        f"lengths: {spread} tokens, of {texts['texts']:,} texts",
    ]


def show(card: Card, path: Path, options: Any) -> int:
    """`yosinski data show` of texts."""
    from yosinski.data import store, survey
    from yosinski.data.texts import words

    if options.out:
        raise BadInput(f"--out draws a sheet of images, and {card.name} has texts")
    stored = (path / "store.json").exists()
    described = store.description(path) if stored else {}
    half = Half(card.name, card.fingerprint, card.classes, card.default_domain)
    content = {
        "data": card.name,
        "fingerprint": card.fingerprint,
        "vocabulary": card.vocabulary,
        "classes": card.classes,
        "groups": {group: card.groups.count(group) for group in sorted(set(card.groups))},
        "domains": card.domains,
        "answers": card.answers,
        "texts": {name: card.total(name) for name in card.images},
        "per_class": survey.balance(card),
        "ceiling": words.ceiling(half),
        "stored": described.get("texts"),
        "store": str(path),
        "state": "there" if stored else "missing",
        "bytes": sum(file.stat().st_size for file in path.iterdir()) if stored else None,
        "notes": list(card.notes),
    }
    if options.json:
        print(json.dumps(content, indent=1))
        return 0
    groups = some([f"{count} {group}" for group, count in content["groups"].items()], 6)
    print(f"{card.name} ({card.fingerprint}), {card.vocabulary:,} ids of tokens")
    print(f"{len(card.classes)} classes{f' ({groups})' if groups else ''}: {some(card.classes, 5)}")
    if card.domains:
        print(f"languages: {', '.join(card.domains)}; by default {', '.join(card.default_domain)}")
    for question, labels in card.answers.items():
        print(f"{question}: {len(labels)} labels: {some(labels, 5)}")
    for note in card.notes:
        print(note)
    for name, count in content["texts"].items():
        least, median, most, imbalance = content["per_class"][name].values()
        each = f"{least}" if least == most else f"{least} to {most} (median {median:g}, imbalance {imbalance:.1f})"
        print(f"{name}: {count:,} examples, {each} per class{' and language' if card.domains else ''}")
    if line := of_ceiling(half):
        print(f"all classes: {line}")
    if stored:
        for line in told(described):
            print(line)
        print(_of_duplicates(described["texts"]["duplicates"]))
    else:
        making = command("data", "store", card.name, stores=options.stores)
        print(f"lengths, unknown tokens and duplicates: known once there is a store; {making} makes it")
    print(f"store {path}: {content['state']}")
    return 0


def _of_duplicates(found: dict[str, Any] | None) -> str:
    """A line, and one for each example, on texts that are there twice."""
    if found is None:
        return "duplicates: examples are drawn from the keywords of their class, so that there are as many as wanted"
    line = (
        f"texts that are in train already: {found['train']} in train, {found['select']} in select, {found['test']} in "
        f"test; {found['between_classes']} of them in another class"
    )
    return "\n".join([line, *(f"  {one} = {other}" for one, other in found["examples"])])


def of_ceiling(half: Half) -> str:
    """What the best classifier of a half's words reaches; empty where that is not known."""
    from yosinski.data.texts import words

    ceiling = words.ceiling(half)
    return "" if ceiling is None else f"the best classifier is right on {ceiling:.4f}, since classes share words"


def cut(runs: Iterable[Run], stores: Path) -> list[str]:
    """How many texts of these runs are cut, as far as there are stores. BadInput if nothing is left of them."""
    import numpy as np

    from yosinski.data import store
    from yosinski.data.card import SETS

    halves = {(half, run.size(half)) for run in runs if run.is_trained for half in run.halves if half.reads == "texts"}
    lengths: dict[tuple[str, int], Any] = {}  # int64 [M] by data set and most tokens, 0 for texts of no half
    for half, most in halves:
        if (store.location(half, stores) / "store.json").exists():
            of = store.of(half, stores)
            assert of.texts is not None
            if most <= of.texts.closing:
                raise BadInput(f"recipe.length {most}: of {half.data} nothing is left but what ends every text")
            rows = np.concatenate([of.rows(half, name)[0] for name in SETS])
            used = np.where(of.texts.belong_to(rows), of.texts.lengths, 0)
            lengths[half.data, most] = np.maximum(used, lengths.get((half.data, most), 0))
    return sorted(
        f"{data}: {longer:,} of {np.count_nonzero(used):,} texts are cut to {most} tokens"
        for (data, most), used in lengths.items()
        if (longer := int((used > most).sum()))
    )
