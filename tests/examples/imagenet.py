"""A small directory shaped like ImageNet, in any of the layouts in which people have it."""

import colorsys
import csv
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from scipy.io import savemat

from yosinski.data.sources import synsets

Layout = Literal["folders", "development kit", "kaggle"]


def wnids(count: int = 20) -> list[str]:
    """Real WordNet ids, half of them natural and half man-made."""
    groups = synsets.groups()
    natural, made = (
        [wnid for wnid, group in groups.items() if group == which][::20] for which in ("natural", "man-made")
    )
    return sorted(natural[: count - count // 2] + made[: count // 2])


def make_tree(
    path: Path,
    classes: int | list[str] = 20,
    train: int = 12,
    val: int = 4,
    layout: Layout = "folders",
    truncated: int = 0,
    sizes: tuple[int, int] = (40, 90),
) -> Path:
    """Write a tree of JPEGs and return its path. Every class has a colour and stripes of its own, so it can be learned.

    classes: how many, or their wnids; train, val: images of each class, before `truncated` training images of the first
    class are cut off in the middle. sizes: the least and the largest width and height; most are odd, none is square.
    The first images of the second to fourth class are greyscale, CMYK, and a PNG that is called .JPEG.
    Every layout has the same validation images under the same names.
    """
    names = wnids(classes) if isinstance(classes, int) else classes
    root = path / "ILSVRC" / "Data" / "CLS-LOC" if layout == "kaggle" else path
    draw = np.random.default_rng(0)
    for k, wnid in enumerate(names):
        folder = root / "train" / wnid
        folder.mkdir(parents=True)
        for number in range(train):
            image = picture(k, len(names), draw, sizes)
            file = folder / f"{wnid}_{number + 1}.{'jpg' if number % 5 == 4 else 'JPEG'}"
            if number == 0 and k in (1, 2):
                image = image.convert("L" if k == 1 else "CMYK")
            image.save(file, "PNG" if number == 0 and k == 3 else "JPEG", quality=92)
    for number in range(1, truncated + 1):
        file = root / "train" / names[0] / f"{names[0]}_{number}.JPEG"
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    labels = draw.permutation(np.repeat(np.arange(len(names)), val))
    (root / "val").mkdir()
    for number, k in enumerate(labels.tolist(), 1):
        folder = root / "val" / names[k] if layout == "folders" else root / "val"
        folder.mkdir(exist_ok=True)
        file = folder / f"ILSVRC2012_val_{number:08d}.JPEG"
        picture(k, len(names), draw, sizes).save(file, quality=92)
    if layout == "development kit":
        development_kit(path / "ILSVRC2012_devkit_t12" / "data", names, labels)
    if layout == "kaggle":
        with (path / "LOC_val_solution.csv").open("w", newline="") as file:
            rows = [[f"ILSVRC2012_val_{n:08d}", f"{names[k]} 1 2 30 40 "] for n, k in enumerate(labels, 1)]
            csv.writer(file).writerows([["ImageId", "PredictionString"], *draw.permutation(rows).tolist()])
    return path


def development_kit(folder: Path, names: list[str], labels: np.ndarray) -> None:
    """The two files that label the validation images. Its classes are numbered in an order of their own."""
    folder.mkdir(parents=True)
    order = np.random.default_rng(1).permutation(len(names))
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    synsets = [(int(order[k]) + 1, wnid, "a word", 0) for k, wnid in enumerate(names)]
    inner = (len(names) + 1, "n00001740", "entity", 2)  # the real one goes on with the inner nodes of the hierarchy
    savemat(folder / "meta.mat", {"synsets": np.array([*synsets, inner], kinds)})
    lines = "".join(f"{order[k] + 1}\n" for k in labels)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)


def picture(k: int, of: int, draw: np.random.Generator, sizes: tuple[int, int]) -> Image.Image:
    """A picture of class k: stripes at its angle, in its colour."""
    height, width = draw.integers(*sizes, 2) | 1
    width += 2 * (width == height)
    y, x = np.mgrid[:height, :width] / max(sizes)
    angle = np.pi * k / of
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (4 + k % 3) * (x * np.cos(angle) + y * np.sin(angle)) + draw.uniform(0, 6.3))
    colour = np.array(colorsys.hsv_to_rgb(k / of, 0.9, 1.0))
    pixels = 255 * wave[..., None] * colour + draw.normal(0, 12, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
