"""Lists of examples with two pictures and two labels each, on small picture files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from image_folders import listed
from PIL import Image

from yosinski.data import store
from yosinski.data.pictures import making
from yosinski.data.store import Store

CLASSES, ARTISTS = ("a", "b", "c", "d"), ("p", "q")
HEADER = ("path_x", "path_y", "label", "label_artist")
Cells = tuple[str, str, str, str]


def picture(path: Path, c: int, artist: int, seed: int) -> None:
    """Noise with a colour for each class, brighter by one of the artists."""
    colours = np.array([[150, 0, 0], [0, 150, 0], [0, 0, 150], [120, 120, 0]])
    noise = np.random.default_rng([seed, path.name.startswith("y")]).integers(0, 40, (36, 36, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((noise + colours[c] + 60 * artist).astype(np.uint8)).save(path)


def examples(folder: Path, per_class: int = 10) -> list[Cells]:
    """The cells of an example on every line, whose pictures x are JPEG and y PNG files with spaces in their names."""
    rows = []
    for k in range(per_class * len(CLASSES)):
        c, artist = k % len(CLASSES), k // len(CLASSES) % 2
        names = f"x {k:02d}.jpg", f"y {k:02d}.png"
        for name in names:
            picture(folder / name, c, artist, k)
        rows.append((*names, CLASSES[c], ARTISTS[artist]))
    return rows


def write_list(folder: Path, rows: list[Cells], without: Mapping[int, int] | None = None, between: str = "\t") -> str:
    """Write all.txt, and return the text of the data set. without: by line, the column of an empty cell."""
    lines = [between.join(HEADER)]
    for k, row in enumerate(rows):
        lines.append(between.join("" if (without or {}).get(k) == column else cell for column, cell in enumerate(row)))
    (folder / "all.txt").write_text("\n".join(lines) + "\n")
    return f"list-36:{folder}/all.txt"


def lines_of(text: str, rows: list[Cells], set_name: str) -> list[int]:
    """The lines of the examples that are drawn for a set."""
    paths = {image.file.path for image in listed(text).images if image.set_name == set_name}
    return [k for k, row in enumerate(rows) if row[0] in paths]


def stored(text: str, stores: Path, skip_broken: bool = False) -> Store:
    """Make the store of a data set."""
    begun = making.begin(text, stores)
    assert isinstance(begun, making.Making)
    path = making.fill(begun, skip_broken, workers=1)
    return store.load(store.described_card(store.description(path)), stores)
