"""Streams: batches are functions of seed, role, half, epoch and image alone."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import v2
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2.functional import horizontal_flip, resized_crop

from yosinski.data import find
from yosinski.data.card import Card
from yosinski.data.half import Half
from yosinski.data.pictures.crops import SMALL, corner, crops, each_once, in_the_middle
from yosinski.data.store import Store
from yosinski.errors import BadInput
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.networks.batch import Batch
from yosinski.randomness import generator
from yosinski.training.ahead import ahead
from yosinski.training.evaluation import image_set
from yosinski.training.stream import Crops, Shown, Stream, boxes

SIDE = 32
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


@pytest.fixture(scope="module")
def large(toy: Store) -> Store:
    """Larger images of noise, of which crops take a part."""
    return replace(toy, images=generator("noise").integers(1, 256, (36, SIDE + 5, SIDE + 5, 3), np.uint8))


Labelled = tuple[Batch, torch.Tensor]


def rows(batch: Labelled) -> list[int]:
    """Which rows of the store a batch consists of."""
    return (batch[0].pixels.amax((1, 2, 3)).int() - 1).tolist()


def all_rows(batches: Iterable[Labelled]) -> list[int]:
    """The rows of several batches."""
    return [row for batch in batches for row in rows(batch)]


def same(one: Labelled, other: Labelled) -> bool:
    return all(map(torch.equal, (*one[0], one[1]), (*other[0], other[1])))


def test_batches_are_uint8_with_their_labels(toy: Store) -> None:
    batch, labels = Stream(toy, BASE).batch(0)
    images = batch.pixels
    assert images.dtype == torch.uint8
    assert images.shape == (8, 3, SIDE, SIDE)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0 if row < 12 else 1 for row in rows((batch, labels))]


def test_a_batch_does_not_depend_on_what_was_drawn_before(noise: Store) -> None:
    stream = Stream(noise, BASE)
    assert (stream.steps_per_epoch, stream.steps) == (3, 9)
    forward = [stream.batch(step) for step in range(9)]
    for step in (8, 3, 3, 0, 5):
        assert same(Stream(noise, BASE).batch(step), forward[step])
        assert same(stream.batch(step), forward[step])
    assert not any(same(forward[j], forward[k]) for j in range(9) for k in range(j))


def test_batches_read_ahead_are_the_same(noise: Store) -> None:
    stream = Stream(noise, BASE)
    for first in (0, 4, 8):
        coming = list(ahead(stream.batch, range(first, stream.steps)))
        assert len(coming) == 9 - first
        assert all(same(batch, Stream(noise, BASE).batch(first + k)) for k, batch in enumerate(coming))


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
        batches = (stream.batch(k * stream.steps_per_epoch + at)[0] for at in range(stream.steps_per_epoch))
        return [image.numpy().tobytes() for batch in batches for image in batch.pixels]

    for k in range(3):
        whole = epoch(k, None)
        for examples in (1, 4, 12):
            part = epoch(k, examples)
            assert len(part) == 2 * examples
            assert part == [image for image in whole if image in part]


def cut(images: np.ndarray, side: int, corners: Any, mirrored: Any) -> np.ndarray:
    """Crops of the first images, uint8 [b, side, side, channels]."""
    made = crops(images, np.arange(len(corners)), side, np.array(corners), np.array(mirrored))
    assert made.corners.tolist() == np.array(corners).tolist()
    assert made.mirrored.tolist() == list(mirrored)
    return made.pixels.permute(0, 2, 3, 1).numpy()


def test_crops_and_mirror_images_done_by_hand() -> None:
    pixels = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1).repeat(3, -1)  # 1 2 3 / 4 5 6 / 7 8 9

    def crop(side: int, top: int, left: int, mirrored: bool) -> list[list[int]]:
        return cut(pixels, side, [[top, left]], [mirrored])[0, :, :, 0].tolist()

    assert crop(3, 0, 0, False) == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert crop(3, 0, 0, True) == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    assert crop(3, -1, 1, False) == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    assert crop(3, -1, 1, True) == [[0, 0, 0], [0, 3, 2], [0, 6, 5]]
    assert crop(3, 1, -1, False) == [[0, 4, 5], [0, 7, 8], [0, 0, 0]]
    assert crop(2, 0, 1, False) == [[2, 3], [5, 6]]
    assert crop(2, 1, 0, True) == [[5, 4], [8, 7]]


@pytest.mark.parametrize("side", [SMALL, SMALL + 1])
def test_small_and_large_crops_are_mirrored_alike(side: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, side + 1, side + 1, 3), np.uint8)
    corners, mirrored = [[0, 1]] * 4, [True, False, True, True]
    straight = cut(pixels, side, corners, [False] * 4)
    assert (cut(pixels, side, corners, mirrored)[mirrored] == straight[mirrored, :, ::-1]).all()
    assert (cut(pixels, side, corners, mirrored)[1] == straight[1]).all()
    assert (straight == pixels[:, :side, 1:]).all()


def test_images_of_a_batch_are_cropped_each_by_its_own(noise: Store) -> None:
    corners, mirrored = [[-1, 0], [1, 1], [0, -1]], [False, True, True]
    together = cut(noise.images, SIDE, corners, mirrored)
    alone = [cut(noise.images[k:], SIDE, corners[k : k + 1], mirrored[k : k + 1])[0] for k in range(3)]
    assert (together == np.stack(alone)).all()
    assert (cut(noise.images, SIDE, [[0, 0]] * 3, [False] * 3) == noise.images[:3]).all()


def test_larger_images_are_cropped_everywhere_in_training_and_in_the_middle_without_augmentation(noise: Store) -> None:
    large = replace(noise, images=generator("large").integers(1, 256, (36, SIDE + 5, SIDE + 5, 3), np.uint8))
    recipe = RECIPE.with_values({"shift": 0, "epochs": 40.0})
    stream = Stream(large, replace(BASE, recipe=recipe))
    batches = [stream.batch(step)[0] for step in range(stream.steps)]
    corners = torch.cat([batch.corners for batch in batches])
    counts = torch.bincount(corners.flatten(), minlength=6)
    assert len(counts) == 6
    assert counts.min() > 250  # 960 crops: 320 expected, standard deviation 16
    plain = Stream(large, replace(BASE, recipe=recipe.with_values({"augment": False}))).batch(0)[0]
    assert (plain.corners == 2).all()  # half of 5, as Caffe rounds it
    assert not plain.mirrored.any()
    chosen, labels = large.rows(BASE.half, "train")
    evaluated = next(each_once(large, chosen, labels, SIDE, 100))[0]
    assert (evaluated.pixels.permute(0, 2, 3, 1).numpy() == large.images[chosen, 2:-3, 2:-3]).all()


def test_the_middle_of_files_is_torchvisions_and_that_of_drawn_images_as_it_was() -> None:
    sizes = [(342, 299), (439, 384), (256, 224), (256, 227), (73, 64), *((32, side) for side in range(16, 33))]
    for stored, side in sizes:
        pixels = torch.arange(stored)[:, None].repeat(1, stored)[None]
        by_torchvision = int(v2.CenterCrop(side)(pixels)[0, 0, 0])
        assert corner(stored, side) == by_torchvision
        drawn = corner(stored, side, find.card("emoji").rule)
        assert drawn == (stored - side) // 2 == by_torchvision - ((stored - side) % 4 == 3)


def test_unaugmented_images_are_cut_by_the_rule_of_their_half(noise: Store) -> None:
    larger = generator("larger").integers(1, 256, (36, SIDE + 7, SIDE + 7, 3), np.uint8)
    large = replace(noise, images=larger)
    chosen, labels = large.rows(BASE.half, "train")
    for rule, first in ((1, 3), (2, 4)):
        run = replace(BASE, half=replace(BASE.half, rule=rule), recipe=RAW)
        assert run.id == replace(BASE, recipe=RAW).id
        assert (Stream(large, run).batch(0)[0].corners == first).all()
        assert image_set(large, run, "train").rule == rule
        inner = larger[chosen, first : first + SIDE, first : first + SIDE]
        for batch in (
            next(each_once(large, chosen, labels, SIDE, 100, rule))[0],
            in_the_middle(larger, chosen, SIDE, rule),
        ):
            assert (batch.pixels.permute(0, 2, 3, 1).numpy() == inner).all()


def test_images_smaller_than_the_networks_input_are_refused(noise: Store) -> None:
    small = replace(noise, images=noise.images[:, :-1, :-1])
    with pytest.raises(BadInput, match="alexnet32 sees 32 x 32 pixels at a time, toy has 31 x 31"):
        Stream(small, BASE)


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
        found = [known[image.permute(1, 2, 0).numpy().tobytes()] for image in images.pixels]
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


def test_batches_are_those_of_ever(large: Store) -> None:
    """Written down once: what trainings of earlier versions saw, they see when they go on or are done again."""

    def seen(run: Run) -> str:
        stream, hashed = Stream(large, run), hashlib.sha256()
        for step in range(9):
            batch, labels = stream.batch(step)
            for tensor in (*batch, labels):
                hashed.update(tensor.contiguous().numpy().tobytes())
        return hashed.hexdigest()[:16]

    copy = BASE.copy(3, "frozen", BASE)
    assert seen(BASE) == "791c86e76905b4d2"
    assert seen(copy) == "26b80cd35ba06611"
    assert seen(replace(copy, recipe=RECIPE.with_values({"views": 3}))) == "5458895066773ddf"
    assert seen(replace(BASE, recipe=RAW)) == "323308ac63f45663"


def test_random_numbers_are_pinned() -> None:
    # Philox keyed by the first 16 bytes, little-endian, of the SHA-256 of ["stream",0,"base","f00d",0].
    key = hashlib.sha256(b'["stream",0,"base","f00d",0]').digest()[:16]
    wanted = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).random(3)
    assert generator("stream", 0, "base", "f00d", 0).random(3).tolist() == wanted.tolist()
    assert generator("stream", 0, "base", "f00d", 1).random(3).tolist() != wanted.tolist()


def test_evaluation_takes_every_image_once_in_order(toy: Store) -> None:
    chosen, labels = toy.rows(BASE.half, "train")
    batches = list(each_once(toy, chosen, labels, SIDE, size=10))
    assert [len(batch_labels) for _, batch_labels in batches] == [10, 10, 4]
    assert all_rows(batches) == chosen.tolist()
    assert torch.cat([batch_labels for _, batch_labels in batches]).tolist() == labels.tolist()


def views_of(store: Store, run: Run) -> dict[int, list[bytes]]:
    """All pictures that a training shows, by image, epoch by epoch."""
    stream, seen = Stream(store, run), {}
    for step in range(stream.steps):
        shown, (batch, _) = stream.shown(step), stream.batch(step)
        for image, pixels in zip(shown.images, batch.pixels, strict=True):
            seen.setdefault(int(image), []).append(pixels.numpy().tobytes())
    return seen


def test_a_copy_sees_so_many_views_of_every_image_and_they_are_everybodys(noise: Store) -> None:
    recipe = RECIPE.with_values({"views": 3, "epochs": 30.0})
    copy = replace(BASE.copy(3, "frozen", BASE), recipe=recipe)
    stream = Stream(noise, copy)
    batches = list(stream.viewed(7))
    assert [len(batch.pixels) for batch in batches] == [7, 7, 7, 3] * 3
    pixels = torch.cat([batch.pixels for batch in batches]).reshape(3, 24, -1)
    fixed = {image: {view.numpy().tobytes() for view in pixels[:, image]} for image in range(24)}
    seen, others = views_of(noise, copy), views_of(noise, replace(copy, seed=5, cut=4, treatment="tuned"))
    assert sum(map(len, fixed.values())) > 60  # of 72: two views of one image may be the same
    for image in range(24):
        assert set(seen[image]) == set(others[image]) == fixed[image]  # 30 draws of 3 miss none but once in 60,000
    assert any(seen[image] != others[image] for image in range(24))  # which view comes when depends on the seed


def test_views_leave_the_order_as_it_is_and_bases_alone(noise: Store) -> None:
    recipe = RECIPE.with_values({"views": 3})
    copy = BASE.copy(3, "frozen", BASE)
    plain, fixed = Stream(noise, copy), Stream(noise, replace(copy, recipe=recipe))
    base, other = Stream(noise, BASE), Stream(noise, replace(BASE, recipe=recipe))
    for step in range(9):
        assert (plain.shown(step).images == fixed.shown(step).images).all()
        assert same(base.batch(step), other.batch(step))
    assert (plain.shown(0).views == 0).all()
    assert not same(plain.batch(0), fixed.batch(0))


def test_views_of_a_subset_are_those_of_the_whole(noise: Store) -> None:
    copy = replace(BASE.copy(3, "frozen", BASE), recipe=RECIPE.with_values({"views": 2}))
    few = Stream(noise, replace(copy, examples_per_class=3))
    whole, part = (torch.cat([batch.pixels for batch in stream.viewed(50)]) for stream in (Stream(noise, copy), few))
    assert torch.equal(part.reshape(2, 6, -1), whole.reshape(2, 24, -1)[:, few.used])


def test_the_view_without_augmentation_is_the_middle(noise: Store) -> None:
    copy = BASE.copy(3, "frozen", BASE)
    one = Stream(noise, replace(copy, recipe=RAW.with_values({"views": 1})))
    assert all(same(one.batch(step), Stream(noise, replace(copy, recipe=RAW)).batch(step)) for step in range(9))
    with pytest.raises(BadInput, match=r"recipe.views are all the same with recipe.augment false"):
        RAW.with_values({"views": 2})


@pytest.mark.parametrize("views", [0, 2])
def test_without_mirror_images_crops_are_the_same_but_for_that(large: Store, views: int) -> None:
    copy = replace(BASE.copy(3, "frozen", BASE), recipe=RECIPE.with_values({"views": views}))
    plain = replace(copy, recipe=copy.recipe.with_values({"mirror": False}))
    some = 0
    for step in range(9):
        (batch, labels), (straight, same_labels) = (Stream(large, run).batch(step) for run in (copy, plain))
        assert torch.equal(labels, same_labels)
        assert torch.equal(batch.corners, straight.corners)
        assert not straight.mirrored.any()
        some += int(batch.mirrored.sum())
        turned = torch.where(batch.mirrored[:, None, None, None], batch.pixels.flip(-1), batch.pixels)
        assert torch.equal(turned, straight.pixels)
    assert 20 < some < 52  # of 72, half of them expected


SCALES = RECIPE.with_values({"shift": 0, "least_area": 0.08, "aspect": 4 / 3})


def all_shown(store: Store, run: Run) -> Shown:
    """What all steps show, in one."""
    stream = Stream(store, run)
    steps = [stream.shown(step) for step in range(stream.steps)]
    crops = Crops._make(np.concatenate(column) for column in zip(*(shown.drawn for shown in steps), strict=True))
    images, views = (np.concatenate([shown[k] for shown in steps]) for k in range(2))
    return Shown(images, views, crops)


@pytest.mark.parametrize("views", [0, 2])
def test_crops_of_all_sizes_are_torchvisions(large: Store, views: int) -> None:
    run = replace(BASE.copy(3, "frozen", BASE), recipe=SCALES.with_values({"views": views}))
    stream = Stream(large, run)
    for step in range(stream.steps):
        shown, batch = stream.shown(step), stream.batch(step)[0]
        assert batch.pixels.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(batch.corners, torch.from_numpy(shown.drawn.corners))
        for k, image in enumerate(torch.from_numpy(large.images[stream.rows[shown.images]]).permute(0, 3, 1, 2)):
            (top, left), (height, width) = shown.drawn.corners[k].tolist(), shown.drawn.sizes[k].tolist()
            crop = resized_crop(image, top, left, height, width, [SIDE, SIDE], antialias=True)
            assert torch.equal(batch.pixels[k], horizontal_flip(crop) if shown.drawn.mirrored[k] else crop)


def test_order_and_mirror_images_do_not_depend_on_scales(large: Store) -> None:
    one, other = all_shown(large, replace(BASE, recipe=SCALES)), all_shown(large, BASE)
    assert (one.images == other.images).all()
    assert (one.drawn.mirrored == other.drawn.mirrored).all()
    assert (one.drawn.sizes != other.drawn.sizes).any()
    assert (other.drawn.sizes == SIDE).all()


def test_boxes_are_distributed_as_torchvisions() -> None:
    """Area, width over height and place, against 2,000 boxes that it draws."""
    recipe, image = SCALES.with_values({"least_area": 0.3, "most_area": 0.9, "aspect": 2.0}), torch.zeros(3, 256, 256)
    corners, sizes = boxes(generator("boxes"), 4000, 256, recipe)
    torch.manual_seed(0)
    drawing = RandomResizedCrop(224, (0.3, 0.9), (0.5, 2.0))
    parameters = [drawing.make_params([image]) for _ in range(2000)]
    drawn_boxes = np.array([[box[name] for name in ("top", "left", "height", "width")] for box in parameters])
    ours = np.concatenate([corners, sizes], 1)
    for boxed in (ours, drawn_boxes):
        assert (boxed[:, :2] >= 0).all()
        assert (boxed[:, :2] + boxed[:, 2:] <= 256).all()
    for measured in (
        lambda box: box[:, 2] * box[:, 3],
        lambda box: box[:, 2] / box[:, 3],
        lambda box: box[:, 0],
        lambda box: box[:, 1],
    ):
        agreement: Any = ks_2samp(measured(ours), measured(drawn_boxes))
        assert agreement.pvalue > 0.001
    area, ratio = sizes.prod(1) / 256**2, sizes[:, 1] / sizes[:, 0]
    assert 0.297 < area.min() < area.max() < 0.903
    assert 0.49 < ratio.min() < 0.55
    assert 1.8 < ratio.max() < 2.03


def test_where_no_box_fits_the_whole_image_is_taken() -> None:
    whole = SCALES.with_values({"least_area": 1.0, "aspect": 2.0})
    corners, sizes = boxes(generator("boxes"), 50, 300, whole)
    assert (sizes.max(1) <= 300).all()
    assert ((sizes == 300).all(1) & (corners == 0).all(1)).mean() > 0.8  # nearly square ones fit, rounded
    squares = boxes(
        generator("boxes"), 50, 300, SCALES.with_values({"least_area": 0.25, "most_area": 0.25, "aspect": 1})
    )
    assert (squares[1] == 150).all()
    assert len(np.unique(squares[0])) > 40


def test_an_images_box_does_not_depend_on_how_many_are_used(large: Store) -> None:
    few = replace(BASE, recipe=SCALES, examples_per_class=3)
    part, whole = all_shown(large, few), all_shown(large, replace(BASE, recipe=SCALES))

    def drawn(shown: Shown) -> set[tuple[int, ...]]:
        return {
            (image, *corner, *size)
            for image, corner, size in zip(
                shown.images.tolist(), shown.drawn.corners.tolist(), shown.drawn.sizes.tolist(), strict=True
            )
        }

    assert drawn(part) <= drawn(whole)
    assert len(drawn(part)) == 18


def test_views_with_scales_are_fixed_boxes(large: Store) -> None:
    copy = replace(BASE.copy(3, "frozen", BASE), recipe=SCALES.with_values({"views": 2, "epochs": 20.0}))
    seen, others = views_of(large, copy), views_of(large, replace(copy, seed=5, cut=4, treatment="tuned"))
    pixels = torch.cat([batch.pixels for batch in Stream(large, copy).viewed(7)]).reshape(2, 24, -1)
    for image in range(24):
        fixed = {view.numpy().tobytes() for view in pixels[:, image]}
        assert set(seen[image]) == set(others[image]) == fixed
        assert len(fixed) == 2


def test_features_of_other_crops_have_other_keys() -> None:
    """And those of the crops of ever the key of ever."""
    assert RECIPE.crops == {"augment": True, "shift": 1}
    assert SCALES.crops == {"augment": True, "shift": 0, "least_area": 0.08, "aspect": 4 / 3}
    assert RECIPE.with_values({"mirror": False, "label_smoothing": 0.1}).crops == {**RECIPE.crops, "mirror": False}
