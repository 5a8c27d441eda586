"""Moments: counted exactly, over the images that are trained on, and kept beside the stores."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from yosinski.data.card import Card
from yosinski.data.half import Half
from yosinski.data.store import Store
from yosinski.experiment.recipes import EMOJI
from yosinski.experiment.run import Run
from yosinski.randomness import generator
from yosinski.training import moments as counting
from yosinski.training.moments import blank, moments
from yosinski.training.stream import Stream

SIDE = 35
CARD = Card("toy", "f00d", SIDE, ("ant", "bat", "cat"), images={"train": 300, "select": 0, "test": 0})
RECIPE = EMOJI.with_values({"shift": 0})
BASE = Run("alexnet32", Half("toy", "f00d", ("ant", "cat")), RECIPE)
IMAGE = replace(BASE, recipe=RECIPE.with_values({"mean": "image", "scale": False}))


@pytest.fixture(scope="module")
def noise() -> Store:
    """300 images of noise in each of three classes: more than are counted at a time."""
    images = generator("noise").integers(0, 256, (900, SIDE, SIDE, 3), np.uint8)
    images[:, :10, :, 0] //= 2
    classes, numbers = np.divmod(np.arange(900), 300)
    zeros = np.zeros(900, int)
    return Store(CARD, images, zeros, classes, zeros, numbers)


def used(store: Store, k: int = 300) -> np.ndarray:
    """The first k images of ant and cat."""
    return np.concatenate([store.images[:k], store.images[600 : 600 + k]]).astype(float)


def test_means_and_deviations_per_channel_agree_with_numpy(noise: Store) -> None:
    mean, std = moments(Stream(noise, BASE))
    assert mean.shape == std.shape == (3, 1, 1)
    assert mean.dtype == std.dtype == torch.float32
    np.testing.assert_allclose(mean.flatten(), used(noise).mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std.flatten(), used(noise).std((0, 1, 2)), rtol=1e-6)


def test_a_mean_image_is_the_mean_of_every_pixel_as_stored(noise: Store) -> None:
    mean, std = moments(Stream(noise, IMAGE))
    assert mean.shape == (3, SIDE, SIDE)
    np.testing.assert_allclose(mean.permute(1, 2, 0), used(noise).mean(0), rtol=1e-6)
    assert (std == 1).all()
    assert [part.shape for part in blank(Stream(noise, IMAGE))] == [mean.shape, std.shape]
    assert [part.shape for part in blank(Stream(noise, BASE))] == [(3, 1, 1)] * 2


def test_only_images_that_are_trained_on_count(noise: Store) -> None:
    few = replace(IMAGE, examples_per_class=2)
    np.testing.assert_allclose(moments(Stream(noise, few)).mean.permute(1, 2, 0), used(noise, 2).mean(0), rtol=1e-6)


def test_nothing_is_divided_by_less_than_a_grey_level(noise: Store) -> None:
    flat = replace(noise, images=np.full_like(noise.images, 7))
    mean, std = moments(Stream(flat, BASE))
    assert mean.flatten().tolist() == [7, 7, 7]
    assert std.flatten().tolist() == [1, 1, 1]


def test_what_was_counted_is_kept_per_half_and_number_of_examples(noise: Store, tmp_path: Path) -> None:
    streams = [Stream(noise, run) for run in (IMAGE, replace(IMAGE, examples_per_class=2), BASE)]
    first = [moments(stream, tmp_path) for stream in streams]
    kept = sorted((tmp_path / "moments").iterdir())
    assert len(kept) == 2  # whatever a recipe makes of them
    black = replace(noise, images=np.zeros_like(noise.images))
    again = [moments(Stream(black, stream.run), tmp_path) for stream in streams]
    for one, other in zip(first, again, strict=True):
        assert all(map(torch.equal, one, other))
    assert sorted((tmp_path / "moments").iterdir()) == kept


def test_a_damaged_file_is_counted_anew(noise: Store, tmp_path: Path) -> None:
    first = moments(Stream(noise, IMAGE), tmp_path)
    (file,) = (tmp_path / "moments").iterdir()
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b""):
        file.write_bytes(damaged)
        assert all(map(torch.equal, first, moments(Stream(noise, IMAGE), tmp_path)))
        assert file.read_bytes() == whole


def test_stores_that_cannot_be_written_are_no_obstacle(
    noise: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(counting.files, "replace", refuse)
    assert all(map(torch.equal, moments(Stream(noise, IMAGE), tmp_path), moments(Stream(noise, IMAGE))))
    assert not list((tmp_path / "moments").iterdir())
