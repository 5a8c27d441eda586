"""A contact sheet: stored images of some classes, before cropping and mirroring."""

from pathlib import Path

import numpy as np

from yosinski.data.card import SETS
from yosinski.data.store import Store

CLASSES, IMAGES = 16, 10  # maximum numbers of classes and of images per class
GAP = 10  # side of an image, in widths of the white gap
TILE = 0.62  # inches


def sheet(store: Store, path: Path) -> None:
    """Draw a row of training images for each of some classes, evenly spaced over both. The suffix sets the format."""
    from matplotlib.figure import Figure

    classes = np.linspace(0, len(store.card.classes) - 1, min(CLASSES, len(store.card.classes))).astype(int)
    side = store.images.shape[1]
    gap = -(-side // GAP)
    step = side + gap
    white = np.full((len(classes) * step - gap, IMAGES * step - gap, 3), 255, np.uint8)
    for row, c in enumerate(classes):
        rows = np.flatnonzero((store.sets == SETS.index("train")) & (store.classes == c))
        for column, k in enumerate(rows[np.linspace(0, len(rows) - 1, min(IMAGES, len(rows))).astype(int)]):
            white[row * step : row * step + side, column * step : column * step + side] = store.images[k]

    names = [_short(store.card.classes[c]) for c in classes]
    margin = 0.15 + 0.075 * max(map(len, names))  # inches: width of the longest name at 8 points
    width, height = TILE * IMAGES + margin + 0.1, TILE * len(classes) + 0.4
    figure = Figure((width, height), dpi=150)
    axes = figure.add_axes((margin / width, 0.1 / height, TILE * IMAGES / width, TILE * len(classes) / height))
    axes.imshow(white, aspect="auto", interpolation="antialiased")
    axes.set_yticks([row * step + side / 2 for row in range(len(classes))], names, fontsize=8)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    shown = f"{len(classes)} of {len(store.card.classes)} classes" if len(classes) < len(store.card.classes) else ""
    axes.set_title("; ".join(part for part in (store.card.name, shown) if part), fontsize=8, loc="left")
    figure.savefig(path)


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
