"""Streams: batches are functions of seed, role, half, epoch and image alone."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch

from yosinski.data import Card
from yosinski.data.store import Store
from yosinski.data.stream import Stream, generator, in_order, shifted
from yosinski.spec import Half, Recipe, Run

SIDE = 6
CARD = Card(
    name="toy",
    fingerprint="f00d",
    side=SIDE,
    classes=("ant", "bat", "cat"),
    domains=("ink", "oil"),
    default_domain=("ink", "oil"),
    images={"train": 6, "select": 0, "test": 0},
)
RECIPE = Recipe(
    epochs=3.0,
    batch_size=8,
    learning_rate=0.1,
    warmup=0.2,
    momentum=0.9,
    weight_decay=0.0,
    clip=0.0,
    augment=True,
    shift=1,
    initialiser="kaiming",
)
RAW = RECIPE.with_values({"augment": False})
BASE = Run("alexnet32", Half("toy", "f00d", ("ant", "cat"), ("ink", "oil")), RECIPE)


@pytest.fixture(scope="module")
def toy() -> Store:
    """36 training images, six per class and domain, each filled with its row's number plus one."""
    classes, domains, numbers = (
        grid.ravel() for grid in np.meshgrid(np.arange(3), np.arange(2), np.arange(6), indexing="ij")
    )
    images = np.broadcast_to(np.arange(1, 37, dtype=np.uint8)[:, None, None, None], (36, SIDE, SIDE, 3)).copy()
    return Store(CARD, images, np.zeros(36, int), classes, domains, numbers)


@pytest.fixture(scope="module")
def noise(toy: Store) -> Store:
    """The same with images of noise, so that every shift and mirror image can be told apart."""
    return replace(toy, images=generator("noise").integers(1, 256, toy.images.shape, np.uint8))


def rows(batch: tuple[torch.Tensor, torch.Tensor]) -> list[int]:
    """Which rows of the store a batch consists of."""
    return (batch[0].amax((1, 2, 3)).int() - 1).tolist()


def all_rows(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> list[int]:
    """The rows of several batches."""
    return [row for batch in batches for row in rows(batch)]


def same(one: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor]) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_batches_are_uint8_with_their_labels(toy: Store) -> None:
    images, labels = Stream(toy, BASE).batch(0)
    assert images.dtype == torch.uint8
    assert images.shape == (8, 3, SIDE, SIDE)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0 if row < 12 else 1 for row in rows((images, labels))]


def test_a_batch_does_not_depend_on_what_was_drawn_before(noise: Store) -> None:
    stream = Stream(noise, BASE)
    assert (stream.steps_per_epoch, stream.steps) == (3, 9)
    forward = [stream.batch(step) for step in range(9)]
    for step in (8, 3, 3, 0, 5):
        assert same(Stream(noise, BASE).batch(step), forward[step])
        assert same(stream.batch(step), forward[step])
    assert not any(same(forward[j], forward[k]) for j in range(9) for k in range(j))


def test_an_epoch_has_every_image_once_in_another_order(toy: Store) -> None:
    stream = Stream(toy, BASE)
    epochs = [all_rows(stream.batch(3 * epoch + k) for k in range(3)) for epoch in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == [*range(12), *range(24, 36)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_incomplete_batches_are_left_out_and_small_halves_are_one_batch(toy: Store) -> None:
    odd = Stream(toy, replace(BASE, recipe=RECIPE.with_values({"batch_size": 7})))
    assert (odd.steps_per_epoch, odd.steps) == (3, 9)
    seen = all_rows(odd.batch(step) for step in range(3))
    assert len(seen) == len(set(seen)) == 21
    large = Stream(toy, replace(BASE, recipe=RECIPE.with_values({"batch_size": 100})))
    assert (large.batch_size, large.steps) == (24, 3)
    assert sorted(rows(large.batch(1))) == [*range(12), *range(24, 36)]


def test_the_first_examples_of_each_class_are_spread_over_domains(toy: Store) -> None:
    few = Stream(toy, replace(BASE, examples_per_class=3))
    # ant's rows are 0..5 (ink) and 6..11 (oil), cat's 24..29 and 30..35: of each class two by ink and one by oil
    assert sorted(rows(few.batch(0))) == [0, 1, 6, 24, 25, 30]
    assert few.steps == 3


def test_subsets_are_nested_and_see_their_images_as_the_whole_does(noise: Store) -> None:
    """Each image is shifted and mirrored the same, and the images come in the same order."""

    def epoch(k: int, examples: int | None) -> list[bytes]:
        run = replace(BASE, recipe=RECIPE.with_values({"batch_size": 2}), examples_per_class=examples)
        stream = Stream(noise, run)
        images = (
            image for at in range(stream.steps_per_epoch) for image in stream.batch(k * stream.steps_per_epoch + at)[0]
        )
        return [image.numpy().tobytes() for image in images]

    for k in range(3):
        whole = epoch(k, None)
        for examples in (1, 4, 12):
            part = epoch(k, examples)
            assert len(part) == 2 * examples
            assert part == [image for image in whole if image in part]


def test_shifts_and_mirror_images_done_by_hand() -> None:
    pixels = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1)  # 1 2 3 / 4 5 6 / 7 8 9

    def crop(down: int, right: int, mirrored: bool) -> list[list[int]]:
        return shifted(pixels, 1, np.array([[down, right]]), np.array([mirrored]))[0, :, :, 0].tolist()

    assert crop(1, 1, False) == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert crop(1, 1, True) == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    assert crop(0, 2, False) == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    assert crop(0, 2, True) == [[0, 0, 0], [0, 3, 2], [0, 6, 5]]
    assert crop(2, 0, False) == [[0, 4, 5], [0, 7, 8], [0, 0, 0]]


def test_images_of_a_batch_are_shifted_each_by_its_own(noise: Store) -> None:
    corners, mirrored = np.array([[0, 1], [2, 2], [1, 0]]), np.array([False, True, True])
    together = shifted(noise.images[:3], 1, corners, mirrored)
    alone = [shifted(noise.images[k : k + 1], 1, corners[k : k + 1], mirrored[k : k + 1])[0] for k in range(3)]
    assert (together == np.stack(alone)).all()
    assert (shifted(noise.images[:3], 0, np.zeros((3, 2), int), np.zeros(3, bool)) == noise.images[:3]).all()


def test_every_shift_occurs_and_half_of_the_images_are_mirrored() -> None:
    count = 4000
    draws = generator("stream", 0, "base", "f00d", 0)
    draws.random(count)
    corners = draws.integers(0, 5, (count, 2))
    assert np.bincount(corners.ravel(), minlength=5).min() > 1400  # 1600 expected, standard deviation 36
    assert abs((draws.random(count) < 0.5).mean() - 0.5) < 0.04


def test_without_augmentation_images_are_raw_and_in_the_same_order(noise: Store) -> None:
    raw, augmented = Stream(noise, replace(BASE, recipe=RAW)), Stream(noise, BASE)
    known = {
        image.tobytes(): (int(c != 0), k) for k, (image, c) in enumerate(zip(noise.images, noise.classes, strict=True))
    }
    for step in range(9):
        images, labels = raw.batch(step)
        found = [known[image.permute(1, 2, 0).numpy().tobytes()] for image in images]
        assert [label for label, _ in found] == labels.tolist() == augmented.batch(step)[1].tolist()
    assert not same(raw.batch(0), augmented.batch(0))


@pytest.mark.parametrize(
    "other",
    [
        replace(BASE, seed=1),
        BASE.copy(3, "frozen", BASE),
        replace(BASE, half=replace(BASE.half, classes=("cat", "ant"))),
        replace(BASE, half=replace(BASE.half, fingerprint="beef")),
    ],
    ids=["seed", "role", "classes", "fingerprint"],
)
def test_seeds_roles_and_halves_draw_from_other_keys(other: Run, noise: Store) -> None:
    mine, others = Stream(noise, BASE), Stream(noise, other)
    assert mine.steps == others.steps
    assert not any(same(mine.batch(step), others.batch(step)) for step in range(9))


def test_copies_of_one_target_see_the_same_pictures(noise: Store) -> None:
    parent = replace(BASE, half=replace(BASE.half, classes=("bat", "cat")), seed=7)
    copies = [
        BASE.copy(3, "frozen", BASE),
        BASE.copy(5, "tuned", parent),
        BASE.copy(1, "random", below="gaussian"),
        replace(BASE.copy(3, "frozen", parent), recipe=RECIPE.with_values({"learning_rate": 0.01})),
    ]
    first, *others = (Stream(noise, run) for run in copies)
    for step in range(9):
        assert all(same(first.batch(step), other.batch(step)) for other in others)


def test_random_numbers_are_pinned() -> None:
    # Philox keyed by the first 16 bytes, little-endian, of the SHA-256 of ["stream",0,"base","f00d",0].
    key = hashlib.sha256(b'["stream",0,"base","f00d",0]').digest()[:16]
    wanted = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).random(3)
    assert generator("stream", 0, "base", "f00d", 0).random(3).tolist() == wanted.tolist()
    assert generator("stream", 0, "base", "f00d", 1).random(3).tolist() != wanted.tolist()


def test_moments_are_those_of_the_images_used(toy: Store) -> None:
    few = replace(toy, images=toy.images.copy())
    few.images[[0, 24]] = [10, 20, 30]
    few.images[[6, 30]] = [14, 20, 40]
    run = replace(BASE, examples_per_class=2)  # rows 0, 6 and 24, 30
    mean, std = Stream(few, run).moments()
    assert mean.shape == std.shape == (3, 1, 1)
    assert mean.flatten().tolist() == [12, 20, 35]
    assert std.flatten().tolist() == [2, 1, 5]  # at least one grey level: nothing is divided by zero


def test_moments_of_many_images_agree_with_numpy(store: Store, toy: Store) -> None:
    half = Half("emoji", "", store.card.classes[:40], ("noto", "twemoji"))
    mean, std = Stream(store, replace(BASE, half=half)).moments()  # 1200 images: more than one part
    pixels = store.images[store.rows(half, "train")[0]].astype(float)
    np.testing.assert_allclose(mean.flatten(), pixels.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std.flatten(), pixels.std((0, 1, 2)), rtol=1e-6)


def test_evaluation_takes_every_image_once_in_order(toy: Store) -> None:
    chosen, labels = toy.rows(BASE.half, "train")
    batches = list(in_order(toy.images, chosen, labels, size=10))
    assert [len(batch_labels) for _, batch_labels in batches] == [10, 10, 4]
    assert all_rows(batches) == chosen.tolist()
    assert torch.cat([batch_labels for _, batch_labels in batches]).tolist() == labels.tolist()
