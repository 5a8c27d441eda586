"""Folders of small pictures, and what is listed of them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yosinski.data.place import Place
from yosinski.data.sources import kinds
from yosinski.data.sources.listing import Listing
from yosinski.errors import BadInput


def write(folder: Path, counts: Mapping[str, int], suffix: str = ".jpg") -> None:
    """So many small pictures in each of some folders, all different."""
    draw = np.random.default_rng(sum(map(ord, folder.name)))
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            picture = Image.fromarray(draw.integers(0, 256, (20, 26, 3), np.uint8))
            picture.save(folder / name / f"{k:02d}{suffix}")


def listed(text: str) -> Listing:
    return kinds.list_images(Place.of(text))


def counts(listing: Listing) -> dict[str, list[int]]:
    return listing.summary["per_class"]


def refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        listed(text)


def paths(listing: Listing, set_name: str) -> list[str]:
    return [image.file.path for image in listing.images if image.set_name == set_name]


def put(folder: Path, name: str, kind: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(len(list(folder.iterdir())))
    Image.fromarray(draw.integers(0, 256, (17, 17, 3), np.uint8)).save(folder / name, kind)
