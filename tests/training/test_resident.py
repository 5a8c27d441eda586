"""Images in a device's memory: the bytes of their crops, and the numbers of runs, are those of images that are read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packs import brief, train

from yosinski import procedure
from yosinski.data.card import Card
from yosinski.data.half import Half
from yosinski.data.pictures.crops import crops, in_the_middle
from yosinski.data.pictures.resident import Resident
from yosinski.data.store import Store
from yosinski.environment import Where
from yosinski.experiment.recipes import EMOJI
from yosinski.experiment.run import Run
from yosinski.randomness import generator
from yosinski.records import specs, states
from yosinski.training.arithmetic import choose_arithmetic
from yosinski.training.stream import Stream

SIDE = 32
RECIPE = EMOJI.with_values({"epochs": 2.0, "batch_size": 5, "shift": 3})


@pytest.fixture(scope="module")
def noise() -> Store:
    """24 training images of noise, 12 of a class, larger than crops."""
    images = generator("noise").integers(0, 256, (24, SIDE + 4, SIDE + 4, 3), np.uint8)
    card = Card("toy", "f00d", SIDE, ("ant", "bat"), images={"train": 12, "select": 0, "test": 0})
    kind = np.arange(24) % 2
    return Store(card, images, np.zeros(24, int), kind, np.zeros(24, int), np.arange(24) // 2)


def base(**values: Any) -> Run:
    return Run("alexnet32", Half("toy", "f00d", ("ant", "bat")), RECIPE.with_values(values))


@pytest.mark.parametrize("examples", [None, 7])
@pytest.mark.parametrize("values", [{}, {"mirror": False}, {"augment": False}])
def test_batches_made_by_index_have_the_bytes_of_those_that_are_cut(
    noise: Store, values: dict[str, bool], examples: int | None
) -> None:
    stream = Stream(noise, replace(base(**values), examples_per_class=examples))
    stream.place("cpu")
    for step in range(stream.steps):
        (cut, labels), (made, theirs) = stream.batch(step), stream.there(step)
        assert all(map(torch.equal, (*cut, labels), (*made, theirs)))
        assert made.pixels.is_contiguous(memory_format=torch.channels_last)
        assert made.pixels.stride() == cut.pixels.stride()


def test_so_have_those_of_views(noise: Store) -> None:
    run = base(views=3).copy(5, "frozen", base(views=3))
    stream = Stream(noise, run)
    stream.place("cpu")
    for step in range(stream.steps):
        assert all(map(torch.equal, stream.batch(step)[0], stream.there(step)[0]))


def test_pixels_outside_of_an_image_are_black_and_mirrored_like_the_others(noise: Store) -> None:
    corners = np.array([[-3, -3], [7, -3], [-3, 7], [7, 7]] * 2)
    mirrored, rows = np.arange(8) >= 4, np.arange(8)
    cut = crops(noise.images, rows, SIDE, corners, mirrored)
    made = Resident(noise.images, rows, "cpu").crops(
        torch.arange(8), SIDE, torch.from_numpy(corners), torch.from_numpy(mirrored)
    )
    assert torch.equal(cut.pixels, made.pixels)
    assert int((made.pixels[0, :, :3] != 0).sum()) == 0


@pytest.mark.parametrize("rule", [1, 2])
def test_middles_are_the_same(noise: Store, rule: int) -> None:
    rows = np.array([3, 1, 20])
    resident = Resident(noise.images, rows, "cpu")
    assert all(
        map(torch.equal, resident.middle(slice(1, 9), 31, rule), in_the_middle(noise.images, rows[1:], 31, rule))
    )


def test_grey_and_resized_crops_are_read(noise: Store) -> None:
    assert Stream(noise, base()).placeable
    assert not Stream(noise, base(least_area=0.5, shift=0)).placeable


def test_images_are_placed_if_they_take_at_most_half_of_what_is_free_and_leave_room_for_networks(
    where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    """With a budget that is made up, on the CPU: weights are the same bytes, whether images are placed or not."""
    target = brief(bases[1], 1.0)
    copies = [target.copy(n, treatment, bases[0]) for n, treatment in ((5, "frozen"), (2, "tuned"))]
    placed: list[int] = []
    place = Stream.place
    monkeypatch.setattr(Stream, "place", lambda self, device: (placed.append(len(self.used)), place(self, device)))
    weights = []
    for spare in (None, -1, 0):
        there = replace(where, runs=tmp_path / f"with {spare}")
        for run in bases:
            path = specs.folder(there.runs, run.id)
            path.parent.mkdir(parents=True)
            path.symlink_to(specs.folder(where.runs, run.id))
        (there.runs / "halves").mkdir()
        images = [0]
        monkeypatch.setattr(
            procedure,
            "memory_left",
            lambda _, spare=spare, images=images: None if spare is None else (images[0], images[0]),
        )
        stream = Stream(procedure.stores.of(target.half, there.stores), target)
        size = 32 * 32 * 3 * stream.total
        networks = procedure.memory_of(copies, stream, choose_arithmetic(there))
        images[0] = max(2 * size, size + networks) + (spare or 0)
        train(there, copies)
        records = [states.read_record(specs.folder(there.runs, run.id)) for run in copies]
        weights.append([(record["weights"], record["metrics"]) for record in records if record])
        assert len(placed) == (spare == 0)
        assert ("training images are read step by step: they take" in capsys.readouterr().err) == (spare == -1)
    assert weights[0] == weights[1] == weights[2]
    assert len(weights[0]) == 2
