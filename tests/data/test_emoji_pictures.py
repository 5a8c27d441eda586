"""The data file Emoji is what its description promises."""

import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "yosinski" / "data" / "sources"
ARTISTS = ["noto", "noto-v1", "twemoji", "emojione", "fluent"]


@pytest.fixture(scope="module")
def emoji() -> dict[str, np.ndarray]:
    with np.load(DATA / "emoji.npz", allow_pickle=False) as file:
        return dict(file)


def test_shapes_and_types(emoji: dict[str, np.ndarray]) -> None:
    assert set(emoji) == {"pictures", "classes", "groups", "artists"}
    pictures = emoji["pictures"]
    assert pictures.dtype == np.uint8
    assert pictures.shape == (200, 5, 48, 48, 4)
    assert emoji["classes"].shape == emoji["groups"].shape == (200,)
    assert emoji["artists"].tolist() == ARTISTS


def test_classes_are_those_picked(emoji: dict[str, np.ndarray]) -> None:
    picked = json.loads((ROOT / "emoji" / "classes.json").read_text(encoding="utf-8"))
    assert {group: len(names) for group, names in picked.items()} == {"natural": 100, "man-made": 100}
    assert emoji["groups"].tolist() == ["natural"] * 100 + ["man-made"] * 100
    assert emoji["classes"].tolist() == sorted(picked["natural"]) + sorted(picked["man-made"])
    assert len(set(emoji["classes"].tolist())) == 200


def test_the_file_is_small() -> None:
    assert (DATA / "emoji.npz").stat().st_size <= 2_000_000


def test_every_artist_has_a_licence_notice() -> None:
    lines = (DATA / "LICENSES.md").read_text(encoding="utf-8").splitlines()
    assert [line[3:] for line in lines if line.startswith("## ")] == ARTISTS


def test_every_picture_shows_something(emoji: dict[str, np.ndarray]) -> None:
    opaque = (emoji["pictures"][..., 3] > 127).mean(axis=(2, 3))
    assert opaque.min() >= 0.05
    assert np.median(opaque) < 0.75
    spread = emoji["pictures"][..., :3].std(axis=(2, 3)).max(axis=-1)
    assert spread.min() > 0


def test_colour_is_zero_where_transparent(emoji: dict[str, np.ndarray]) -> None:
    pictures = emoji["pictures"]
    assert not pictures[pictures[..., 3] == 0].any()


def test_no_two_classes_or_artists_share_a_picture(emoji: dict[str, np.ndarray]) -> None:
    pictures = emoji["pictures"].reshape(200 * 5, -1)
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
