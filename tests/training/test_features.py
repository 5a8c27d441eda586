"""Laws of stored features: made once, whole or not at all, those of their key and no others. No network is needed."""

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from yosinski.errors import BadInput
from yosinski.training import features
from yosinski.training.features import StoredFeatures, folder, stored

VIEWS, IMAGES, BATCH = 2, 5, 3
KEY = {"network": "toy", "cut": {"n": 3, "name": "conv3"}, "below": "beef", "views": VIEWS, "images": IMAGES}
OTHER = {**KEY, "below": "f00d", "cut": {"n": 4, "name": "fc4"}}
PICTURES = torch.arange(VIEWS * IMAGES * 24).float().reshape(VIEWS, IMAGES, 2, 3, 4).sqrt()
VECTORS = -torch.arange(VIEWS * IMAGES * 4).float().reshape(VIEWS, IMAGES, 4)


class Computing:
    """Yields the features above, view by view, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, missing: list[int]) -> Iterator[list[torch.Tensor]]:
        self.asked.append(missing)
        for view in range(VIEWS):
            for at in range(0, IMAGES, BATCH):
                both = PICTURES[view, at : at + BATCH], VECTORS[view, at : at + BATCH]
                yield [both[k].contiguous(memory_format=torch.preserve_format) for k in missing]


def same(found: StoredFeatures, wanted: torch.Tensor) -> bool:
    return all(torch.equal(found.at(view, slice(0, IMAGES)), wanted[view]) for view in range(VIEWS))


def names(stores: Path) -> set[str]:
    """What lies among the features."""
    return {path.name for path in (stores / "features").iterdir()}


def test_features_are_those_that_were_computed_and_are_computed_once(tmp_path: Path) -> None:
    compute = Computing()
    pictures, vectors = stored(tmp_path, [KEY, OTHER], compute)
    assert (pictures.cut, vectors.cut) == (3, 4)
    assert same(pictures, PICTURES)
    assert same(vectors, VECTORS)
    assert pictures.at(0, slice(0, 2)).is_contiguous(memory_format=torch.channels_last)
    views, images = torch.tensor([1, 0, 1, 1]).numpy(), torch.tensor([4, 2, 0, 4]).numpy()
    assert torch.equal(pictures.at(views, images), PICTURES[views, images])
    assert names(tmp_path) == {folder(tmp_path, key).name for key in (KEY, OTHER)}
    again, twice, other = stored(tmp_path, [KEY, KEY, OTHER], compute)
    assert same(again, PICTURES)
    assert same(twice, PICTURES)
    assert same(other, VECTORS)
    assert compute.asked == [[0, 1]]


def test_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    compute = Computing()
    stored(tmp_path, [KEY], compute)
    pictures, vectors = stored(tmp_path, [KEY, OTHER], compute)
    assert compute.asked == [[0], [1]]
    assert same(pictures, PICTURES)
    assert same(vectors, VECTORS)


@pytest.mark.parametrize("keys", [[KEY], [KEY, OTHER]])
def test_what_is_computed_in_bfloat16_takes_half_the_room(tmp_path: Path, keys: list[dict[str, Any]]) -> None:
    """Beside features in float32, as those after a normalisation are."""

    def compute(missing: list[int]) -> Iterator[list[torch.Tensor]]:
        for pictures, *vectors in Computing()(missing):
            yield [pictures.bfloat16(), *vectors]

    left = folder(tmp_path, KEY).with_name(folder(tmp_path, KEY).name + ".partial")
    left.mkdir(parents=True)
    (left / "features.npy").write_bytes(b"half, as an earlier version leaves it when it is killed")
    pictures, *_ = stored(tmp_path, keys, compute)
    assert pictures.at(0, slice(0, 2)).dtype == torch.bfloat16
    assert pictures.at(0, slice(0, 2)).is_contiguous(memory_format=torch.channels_last)
    assert same(pictures, PICTURES.bfloat16())
    file = folder(tmp_path, KEY) / "bfloat16.npy"
    assert file.stat().st_size == 128 + 2 * PICTURES.numel()
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert same(stored(tmp_path, keys, compute)[0], PICTURES.bfloat16())
    assert [path.name for path in folder(tmp_path, KEY).glob("*.npy")] == ["bfloat16.npy"]
    if len(keys) > 1:
        assert same(stored(tmp_path, keys, compute)[1], VECTORS)


def flip(path: Path) -> None:
    content = bytearray((path / "features.npy").read_bytes())
    content[-1] ^= 1
    (path / "features.npy").write_bytes(content)


def cut_short(path: Path) -> None:
    (path / "features.npy").write_bytes((path / "features.npy").read_bytes()[:-8])


def describe(path: Path, **values: Any) -> None:
    description = json.loads((path / "features.json").read_text())
    (path / "features.json").write_text(json.dumps({**description, **values}))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit": flip,
    "the end": cut_short,
    "no numbers": lambda path: (path / "features.npy").unlink(),
    "no description": lambda path: (path / "features.json").unlink(),
    "half a description": lambda path: (path / "features.json").write_text('{"format": 1, "of"'),
    "those of another key": lambda path: describe(path, of=OTHER),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_and_foreign_ones_are_made_anew(tmp_path: Path, damage: str) -> None:
    compute = Computing()
    stored(tmp_path, [KEY], compute)
    DAMAGE[damage](folder(tmp_path, KEY))
    (pictures,) = stored(tmp_path, [KEY], compute)
    assert compute.asked == [[0], [0]]
    assert same(pictures, PICTURES)
    assert names(tmp_path) == {folder(tmp_path, KEY).name}


def test_those_of_a_newer_format_are_refused_and_stay(tmp_path: Path) -> None:
    stored(tmp_path, [KEY], Computing())
    describe(folder(tmp_path, KEY), format=2)
    with pytest.raises(BadInput, match="is of format 2"):
        stored(tmp_path, [KEY], Computing())
    assert (folder(tmp_path, KEY) / "features.npy").exists()


def test_what_is_interrupted_leaves_nothing_and_is_made_the_next_time(tmp_path: Path) -> None:
    looks = iter(range(100))

    def stop() -> None:
        if next(looks) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path, [KEY, OTHER], Computing(), stop)
    assert names(tmp_path) == set()
    left = folder(tmp_path, KEY).with_name(folder(tmp_path, KEY).name + ".partial")  # as a killed process leaves it
    left.mkdir()
    (left / "features.npy").write_bytes(b"half")
    pictures, vectors = stored(tmp_path, [KEY, OTHER], Computing())
    assert same(pictures, PICTURES)
    assert same(vectors, VECTORS)


def test_several_that_want_the_same_at_once_make_it_once(tmp_path: Path) -> None:
    computing = [Computing() for _ in range(4)]
    keys = [[KEY, OTHER], [OTHER, KEY], [KEY], [KEY, OTHER]]  # in whatever order

    def turned(compute: Computing, wanted: list[dict[str, Any]]) -> Callable[[list[int]], Iterator[list[torch.Tensor]]]:
        own = [[KEY, OTHER].index(key) for key in wanted]
        return lambda missing: compute([own[k] for k in missing])

    with ThreadPoolExecutor(4) as threads:
        found = list(
            threads.map(lambda pair: stored(tmp_path, pair[1], turned(*pair)), zip(computing, keys, strict=True))
        )
    made = sorted(k for compute in computing for missing in compute.asked for k in missing)
    assert made == [0, 1]
    for wanted, features_found in zip(keys, found, strict=True):
        assert all(
            same(one, PICTURES if key is KEY else VECTORS) for key, one in zip(wanted, features_found, strict=True)
        )


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 4 * PICTURES.numel()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=room - 1))
    with pytest.raises(BadInput, match=r"stored features need .* GB free"):
        stored(tmp_path, [KEY], Computing())
    assert names(tmp_path) == set()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=room))
    stored(tmp_path, [KEY], Computing())


def test_the_checksum_is_that_of_the_file(tmp_path: Path) -> None:
    import hashlib

    stored(tmp_path, [KEY], Computing())
    path = folder(tmp_path, KEY)
    description = json.loads((path / "features.json").read_text())
    content = (path / "features.npy").read_bytes()
    assert description["sha256"] == hashlib.sha256(content).hexdigest() == features.checksum(path / "features.npy")
    assert description["bytes"] == len(content)
    assert description["of"] == KEY
