"""Build the data set Emoji: 200 pictured classes, each drawn by five artists.

Source: the SVG drawings in the npm packages @iconify-json/noto, noto-v1, twemoji, emojione and
fluent-emoji-flat; licences and versions stand in yosinski/data/sources/LICENSES.md. The classes are picked
by hand in emoji/classes.json: names common to all five packages, for an object that all five artists
clearly draw, without near duplicates; natural are animals, plants and raw produce, fire and a volcano.

    pip install numpy pillow resvg-py
    npm install @iconify-json/{noto,noto-v1,twemoji,emojione,fluent-emoji-flat}
    python emoji/build.py node_modules --out yosinski/data/sources/emoji.npz [--sheet sheet.png]

What comes out is one compressed npz, the same byte for byte on every run with the same versions
of the packages above, Python (for its zlib) and the three libraries:

    pictures  uint8 [200, 5, S, S, 4]: class, artist, row, column, RGBA (not premultiplied; the
              colour is 0 where alpha is 0). S is the largest of SIZES whose file keeps to MAX_BYTES.
    classes   200 names: the natural ones sorted, then the man-made ones sorted
    groups    200 times "natural" or "man-made"
    artists   the five artists, in the order of the second axis

--sheet also writes a labelled contact sheet of all the pictures, to judge the picks by eye.
"""

import argparse
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image, ImageDraw

PACKAGES = {  # artist: directory below node_modules
    "noto": "@iconify-json/noto",
    "noto-v1": "@iconify-json/noto-v1",
    "twemoji": "@iconify-json/twemoji",
    "emojione": "@iconify-json/emojione",
    "fluent": "@iconify-json/fluent-emoji-flat",
}
GROUPS = ("natural", "man-made")
SIZES = (48, 44, 40, 36, 32)
OVERSAMPLING = 4
MAX_BYTES = 2_000_000
SHEET_PICTURE = 64  # side of a picture on the contact sheet
SHEET_COLUMNS = 4  # classes side by side on the contact sheet


def load_classes(path: Path) -> tuple[list[str], list[str]]:
    """The names of all the classes and, for each, its group."""
    picked: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    if tuple(picked) != GROUPS:
        sys.exit(f"{path}: the groups are {list(picked)}, expected {list(GROUPS)}")
    classes = [name for group in GROUPS for name in sorted(picked[group])]
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        sys.exit(f"{path}: named more than once: {', '.join(twice)}")
    return classes, [group for group in GROUPS for _ in picked[group]]


def load_icons(node_modules: Path, package: str) -> dict[str, Any]:
    path = node_modules / package / "icons.json"
    if not path.is_file():
        sys.exit(f"package {package} is missing: there is no {path}")
    return json.loads(path.read_text(encoding="utf-8"))


def svg(icons: dict[str, Any], name: str, package: str) -> str:
    """The drawing called name as an SVG document; what is not square will be centred in a square."""
    original = name
    while name in icons.get("aliases", {}):
        alias = icons["aliases"][name]
        if set(alias) - {"parent", "hidden"}:
            sys.exit(f"{package}: {original} is another icon transformed, which is not supported")
        name = alias["parent"]
    if name not in icons["icons"]:
        sys.exit(f"{package} has no icon {original}")
    icon = {"left": 0, "top": 0, "width": 16, "height": 16} | icons | icons["icons"][name]
    box = " ".join(str(icon[key]) for key in ("left", "top", "width", "height"))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="1024" height="1024" viewBox="{box}">{icon["body"]}</svg>'
    )


def render(document: str, size: int) -> np.ndarray:
    """Draw at OVERSAMPLING times the size, then average over areas with premultiplied alpha."""
    large = size * OVERSAMPLING
    png = bytes(resvg_py.svg_to_bytes(svg_string=document, skip_system_fonts=True, width=large, height=large))
    fine = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"), dtype=np.float64)
    if fine.shape != (large, large, 4):
        raise ValueError(f"drawn as {fine.shape}, expected {(large, large, 4)}")
    fine = np.concatenate([fine[..., :3] * fine[..., 3:] / 255, fine[..., 3:]], axis=-1)
    mean = fine.reshape(size, OVERSAMPLING, size, OVERSAMPLING, 4).mean(axis=(1, 3))
    alpha = mean[..., 3:]
    colour = np.divide(mean[..., :3] * 255, alpha, out=np.zeros_like(mean[..., :3]), where=alpha > 0)
    picture = np.rint(np.concatenate([colour, alpha], axis=-1)).clip(0, 255).astype(np.uint8)
    picture[picture[..., 3] == 0] = 0
    return picture


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Like np.savez_compressed, but compressed harder and without the time of writing."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # the same on every operating system
            archive.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return file.getvalue()


def contact_sheet(pictures: np.ndarray, classes: list[str]) -> Image.Image:
    """One row of artists per class, its name above; the classes run down the columns."""
    artists, step = pictures.shape[1], SHEET_PICTURE + 4
    rows = -(-len(classes) // SHEET_COLUMNS)
    width, height = artists * step + 16, step + 14
    sheet = Image.new("RGB", (SHEET_COLUMNS * width, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    for index, name in enumerate(classes):
        x, y = index // rows * width + 8, index % rows * height
        draw.text((x, y), name, fill="black")
        for artist in range(artists):
            picture = Image.fromarray(pictures[index, artist]).resize((SHEET_PICTURE, SHEET_PICTURE))
            sheet.paste(picture, (x + artist * step, y + 14), picture)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("node_modules", type=Path, help="where the npm packages are installed")
    parser.add_argument("--out", type=Path, required=True, help="the npz to write")
    parser.add_argument("--sheet", type=Path, help="a contact sheet (PNG) to write")
    options = parser.parse_args()

    classes, groups = load_classes(Path(__file__).parent / "classes.json")
    documents = []
    for package in PACKAGES.values():
        icons = load_icons(options.node_modules, package)
        documents.append([svg(icons, name, package) for name in classes])

    for size in SIZES:
        drawn = [[render(document, size) for document in artist] for artist in documents]
        pictures = np.ascontiguousarray(np.array(drawn).swapaxes(0, 1))
        content = npz(
            {
                "pictures": pictures,
                "classes": np.array(classes),
                "groups": np.array(groups),
                "artists": np.array(list(PACKAGES)),
            }
        )
        print(f"{size} x {size} pixels: {len(content):,} bytes")
        if len(content) <= MAX_BYTES:
            break
    else:
        sys.exit(f"not even {SIZES[-1]} x {SIZES[-1]} pixels keep to {MAX_BYTES:,} bytes")

    options.out.write_bytes(content)
    if options.sheet:
        contact_sheet(pictures, classes).save(options.sheet)


if __name__ == "__main__":
    main()
