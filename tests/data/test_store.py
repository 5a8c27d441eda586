"""Stores: which images a half consists of, in which order, and how a store comes into being."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from yosinski.data import find
from yosinski.data import store as data_stores
from yosinski.data.card import Card
from yosinski.data.half import Half
from yosinski.data.halves import Split
from yosinski.data.sources import emoji
from yosinski.data.store import Store
from yosinski.errors import BadInput

CARD = Card(
    name="toy",
    fingerprint="f00d",
    side=1,
    classes=("ant", "bat", "cat"),
    domains=("ink", "oil", "wax"),
    default_domain=("ink", "oil"),
    unseen=("wax",),
    images={"train": 2, "select": 1, "test": 1},
)
HALF = Half("toy", "f00d", ("cat", "ant"), ("ink", "oil"))


@pytest.fixture
def toy() -> Store:
    """Rows 0..17: train, rows 18..26: select, rows 27..35: test; by class, domain and number."""
    rows = [(s, c, d, n) for s, count in enumerate((2, 1, 1)) for c in range(3) for d in range(3) for n in range(count)]
    sets, classes, domains, numbers = np.array(rows, np.int32).T
    images = np.arange(36 * 3, dtype=np.uint8).reshape(36, 1, 1, 3)
    return Store(CARD, images, sets, classes, domains, numbers)


def listed(rows_and_labels: tuple[np.ndarray, np.ndarray]) -> tuple[list[int], list[int]]:
    rows, labels = rows_and_labels
    return rows.tolist(), labels.tolist()


def test_labels_index_the_halfs_classes_and_the_first_of_a_class_are_spread_over_domains(toy: Store) -> None:
    # cat's training images begin at row 12, two per domain: ink 12, 13; oil 14, 15; wax 16, 17. ant's begin at row 0.
    assert listed(toy.rows(HALF, "train")) == ([12, 14, 13, 15, 0, 2, 1, 3], [0, 0, 0, 0, 1, 1, 1, 1])
    assert listed(toy.rows(HALF, "select")) == ([24, 25, 18, 19], [0, 0, 1, 1])
    assert listed(toy.rows(HALF, "test")) == ([33, 34, 27, 28], [0, 0, 1, 1])


def test_a_half_sees_its_own_domains_only(toy: Store) -> None:
    assert listed(toy.rows(replace(HALF, domain=("oil",)), "train")) == ([14, 15, 2, 3], [0, 0, 1, 1])
    assert listed(toy.rows(replace(HALF, domain=("wax", "ink")), "test")) == ([33, 35, 27, 29], [0, 0, 1, 1])


def test_unseen_images_are_those_of_the_unseen_domains_unless_the_half_learns_from_them(toy: Store) -> None:
    assert listed(toy.rows(HALF, "test", unseen=True)) == ([35, 29], [0, 1])
    assert listed(toy.rows(replace(HALF, domain=("ink", "wax")), "test", unseen=True)) == ([], [])


def test_without_domains_all_images_are_seen_and_none_is_unseen(toy: Store) -> None:
    plain = replace(CARD, domains=(), default_domain=(), unseen=())
    store, half = replace(toy, card=plain), replace(HALF, domain=())
    assert listed(store.rows(half, "test")) == ([33, 34, 35, 27, 28, 29], [0, 0, 0, 1, 1, 1])
    assert listed(store.rows(half, "test", unseen=True)) == ([], [])


def test_emojis_store_holds_what_its_card_says(store: Store, small_split: Split) -> None:
    assert store.images.shape == (200 * 5 * 30, 32, 32, 3)
    assert store.images.dtype == np.uint8
    assert np.bincount(store.sets).tolist() == [15_000, 5_000, 10_000]
    rows, labels = store.rows(small_split.a, "train")
    assert np.bincount(labels).tolist() == [15 * 4] * 5
    names = [store.card.classes[c] for c in store.classes[rows]]
    assert names == [small_split.a.classes[label] for label in labels]
    first = store.domains[rows[:4]].tolist()
    assert [store.card.domains[d] for d in first] == ["noto", "noto-v1", "twemoji", "emojione"]
    unseen, _ = store.rows(small_split.a, "test", unseen=True)
    assert {store.card.domains[d] for d in store.domains[unseen]} == {"fluent"}
    assert len(unseen) == 5 * 10


def test_emojis_images_differ_from_each_other(store: Store) -> None:
    some = store.images[:: len(store.images) // 997]
    assert len({image.tobytes() for image in some}) == len(some)
    assert some.std(axis=(1, 2, 3)).min() > 5


# ----------------------------------------------------------------------------- making one, from two classes' pictures


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    """The card of an emoji data set with only the first two classes."""
    with np.load(emoji.PICTURES, allow_pickle=False) as file:
        content = {name: file[name] if name == "artists" else file[name][:2] for name in file}
    np.savez(tmp_path / "few.npz", **content)
    monkeypatch.setattr(emoji, "PICTURES", tmp_path / "few.npz")
    return find.card("emoji")


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def test_a_store_made_twice_has_the_same_bytes(pictures: Card, tmp_path: Path) -> None:
    once, twice = (data_stores.make(pictures, tmp_path / name) for name in ("once", "twice"))
    assert once == tmp_path / "once" / f"emoji-{pictures.fingerprint}"
    assert list(contents(once)) == ["images.npy", "index.npz", "store.json"]
    images = [np.load(path / "images.npy") for path in (once, twice)]
    assert images[0].shape == (2 * 5 * 30, 32, 32, 3)
    assert (images[0] == images[1]).all()
    assert (once / "store.json").read_bytes() == (twice / "store.json").read_bytes()
    indices = [np.load(path / "index.npz") for path in (once, twice)]
    for name in ("set", "class", "domain", "number"):
        assert (indices[0][name] == indices[1][name]).all()


def test_images_do_not_depend_on_what_other_classes_there_are(pictures: Card, store: Store, tmp_path: Path) -> None:
    few = data_stores.load(pictures, tmp_path / "stores")
    for set_name in ("train", "select", "test"):
        half = Half("emoji", "", few.card.classes, few.card.domains)
        mine, _ = few.rows(half, set_name)
        whole_rows, _ = store.rows(half, set_name)
        assert (few.images[mine] == store.images[whole_rows]).all()


def test_the_fingerprint_covers_pictures_generator_and_sizes(pictures: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {pictures.fingerprint}
    for name, value in {"GENERATOR": 99, "SIDE": 16, "PER_PICTURE": {"train": 1, "select": 1, "test": 1}}.items():
        with monkeypatch.context() as patch:
            patch.setattr(emoji, name, value)
            found.add(find.card("emoji").fingerprint)
    emoji.PICTURES.write_bytes(emoji.PICTURES.read_bytes() + b"\0")
    found.add(find.card("emoji").fingerprint)
    assert len(found) == 5


def failing_after(images: int, error: BaseException) -> Callable[[], Iterator[tuple[str, int, int, np.ndarray]]]:
    real = emoji.images

    def drawn() -> Iterator[tuple[str, int, int, np.ndarray]]:
        for k, item in enumerate(real()):
            if k == images:
                raise error
            yield item

    return drawn


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_make_leaves_nothing_behind(
    error: BaseException, pictures: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = tmp_path / "stores"
    with monkeypatch.context() as patch:
        patch.setattr(emoji, "images", failing_after(3, error))
        with pytest.raises(type(error)):
            data_stores.load(pictures, stores)
    assert list(stores.iterdir()) == []
    assert len(data_stores.load(pictures, stores).images) == 300


def test_what_a_killed_make_left_is_neither_taken_for_a_store_nor_in_the_way(pictures: Card, tmp_path: Path) -> None:
    stores = tmp_path / "stores"
    whole = data_stores.make(pictures, tmp_path / "elsewhere")
    # A killed process leaves its temporary folder; in a container the next one may well have the same process id.
    left = stores / f".{whole.name}.{os.getpid()}.tmp"
    left.mkdir(parents=True)
    (left / "images.npy").write_bytes((whole / "images.npy").read_bytes()[:1000])
    assert len(data_stores.load(pictures, stores).images) == 300


def test_of_two_that_make_the_same_store_at_once_both_get_it(
    pictures: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores, real = tmp_path / "stores", Path.rename
    whole = data_stores.make(pictures, tmp_path / "elsewhere")

    def rename_too_late(self: Path, target: Path) -> Path:
        if not target.exists():
            real(whole, target)  # the other process is done between our look and our renaming
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename_too_late)
    assert len(data_stores.load(pictures, stores).images) == 300
    assert [path.name for path in stores.iterdir()] == [whole.name]


def test_a_store_that_is_there_is_not_made_again(
    pictures: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = data_stores.make(pictures, tmp_path)
    before = contents(made)
    monkeypatch.setattr(emoji, "images", failing_after(0, AssertionError("drawn again")))
    store = data_stores.load(pictures, tmp_path)
    assert contents(made) == before
    with pytest.raises(ValueError, match="read-only"):
        store.images[0] = 0


def test_a_store_of_a_newer_format_is_refused(pictures: Card, tmp_path: Path) -> None:
    made = data_stores.make(pictures, tmp_path)
    described = json.loads((made / "store.json").read_text())
    (made / "store.json").write_text(json.dumps({**described, "format": 2}))
    with pytest.raises(BadInput, match=r"emoji-\w+ is of format 2; this version reads up to 1: update yosinski"):
        data_stores.load(pictures, tmp_path)


def test_a_damaged_store_is_named(pictures: Card, tmp_path: Path) -> None:
    made = data_stores.make(pictures, tmp_path)
    (made / "store.json").write_text("{")
    with pytest.raises(BadInput, match=r"store\.json"):
        data_stores.load(pictures, tmp_path)


def test_unknown_data_sets_are_refused() -> None:
    with pytest.raises(BadInput, match="unknown data set 'mnist'; choose from: emoji"):
        find.card("mnist")
