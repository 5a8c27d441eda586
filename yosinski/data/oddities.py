"""What is not ordinary about image files: turned by EXIF, transparent, of more than 8 bits, of one colour. No torch.

Making a store finds it out for every image, and keeps it in `sources.parquet`; headers tell some of it without one.
"""

import re
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from PIL.ExifTags import Base

from yosinski.data.place import DEPTHS, Place

BITS_PER_SAMPLE = 258  # a tag of TIFFs
ORIENTATION = int(Base.Orientation)
SHORT = 3  # a type of its entries
TURNS = range(2, 9)  # values of EXIF's orientation that turn or mirror; 1: as it is
DEEP = re.compile(r"(\d+) of (\d+) bits( a colour)?")
ONE_COLOUR = "one colour"
NAMED = {"turned": "turned", "transparent": "transparent", "constant": ONE_COLOUR}


class Odd(NamedTuple):
    """bits: of a grey or of a colour, 0 if they are 8 or fewer; used: the most of them that a pixel needs."""

    turned: bool = False
    transparent: bool = False
    bits: int = 0
    used: int = 0
    grey: bool = False  # has one band of so many bits

    @property
    def text(self) -> str:
        """For `sources.parquet`, empty for an ordinary file: "turned, transparent, 12 of 16 bits"."""
        depth = f"{self.used} of {self.bits} bits{'' if self.grey else ' a colour'}"
        flags = {"turned": self.turned, "transparent": self.transparent, depth: self.bits}
        return ", ".join(name for name, flag in flags.items() if flag)


def orientation(image: PIL.Image.Image) -> int:
    """The value of EXIF's orientation, or of XMP's where there is none; 1 if it is damaged. Loads no pixels."""
    with suppress(Exception):  # readers of EXIF raise what they like
        return _known(PIL.Image.Image.getexif(image).get(ORIENTATION))  # that of PNGs would load them
    return 1


def turn(exif: bytes) -> int:
    """The orientation that a block of EXIF says, "Exif" and two zeros before it; 1 if it is damaged.

    With Pillow, which reads all tags, decoding a small JPEG would take a tenth longer: it is asked only where the
    first directory does not say plainly that there is nothing to turn.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[6:10])
    with suppress(struct.error):
        if order is not None:
            first = 6 + struct.unpack_from(f"{order}I", exif, 10)[0]
            (count,) = struct.unpack_from(f"{order}H", exif, first)
            directory = exif[first + 2 : first + 2 + 12 * count]
            entries = struct.iter_unpack(f"{order}HHIHxx", directory)
            values = [entry[1:] for entry in entries if entry[0] == ORIENTATION]
            if len(directory) == 12 * count and all(one == (SHORT, 1, 1) for one in values):
                return 1
    by_pillow = PIL.Image.Exif()
    with suppress(Exception):  # readers of EXIF raise what they like
        by_pillow.load(exif)
        return _known(by_pillow.get(ORIENTATION))
    return 1


def _known(value: object) -> int:
    return next((turn for turn in TURNS if turn == value), 1)


def deep(image: PIL.Image.Image, depth: int) -> int:
    """How many bits greys or colours have, if they are more than 8, else 0. Before pixels are loaded.

    depth: so many at most, if it is a grey.
    """
    if image.mode.startswith("I;16"):
        tags: dict[int, Any] = getattr(image, "tag_v2", {})  # of a TIFF
        return min(depth, tags.get(BITS_PER_SAMPLE, (16,))[0])
    return 16 if ";16" in str(getattr(image, "tile", "")) else 0


def transparent(image: PIL.Image.Image) -> bool:
    """Whether a pixel of a loaded image can be seen through."""
    if not image.has_transparency_data:
        return False
    if image.mode.startswith("I;16"):
        return bool((np.asarray(image) == image.info["transparency"]).any())
    with suppress(ValueError, TypeError):  # colours of 16 bits, one of which is seen through: it is gone
        alpha = image if "A" in image.getbands() else image.convert("RGBA")
        least = alpha.getchannel("A").getextrema()[0]
        return isinstance(least, (int, float)) and least < 255
    return True


def by_header(image: PIL.Image.Image, depth: int) -> Odd:
    """What the header of an image says that has just been opened; `used` is not known, and left 0."""
    see_through, bits = image.has_transparency_data, deep(image, depth)
    return Odd(orientation(image) > 1, see_through, bits, grey=image.mode.startswith("I;16"))


def upright(image: PIL.Image.Image) -> tuple[int, int]:
    """Width and height of an image that has just been opened, once it is turned; those of TIFFs are so already."""
    sideways = orientation(image) >= 5 and not hasattr(image, "tag_v2")
    return (image.height, image.width) if sideways else image.size


class Look(NamedTuple):
    """What there is to tell of a stored image: its least, its greatest and its mean value, and what is odd about it."""

    least: int
    greatest: int
    mean: float
    odd: str


def looks(images: np.ndarray, odd: Sequence[Odd | None]) -> list[Look | None]:
    """At stored images, uint8 [n, side, side, 3]; None where they have no `odd`, because they are broken."""
    rows = images.reshape(len(images), -1)
    means = rows.sum(1, dtype=np.uint32) / rows.shape[1]
    measures = zip(rows.min(1).tolist(), rows.max(1).tolist(), means.round(2).tolist(), images, odd, strict=True)
    return [
        oddity and Look(least, greatest, mean, ", ".join(filter(None, (oddity.text, ONE_COLOUR * _constant(pixels)))))
        for least, greatest, mean, pixels, oddity in measures
    ]


def _constant(pixels: np.ndarray) -> bool:
    # the corners mostly tell
    return pixels[0, 0].tolist() == pixels[-1, -1].tolist() and bool((pixels == pixels[0, 0]).all())


def counted(odd: Iterable[str]) -> dict[str, Any]:
    """How many images are `turned`, `transparent`, of one colour (`constant`), and `deep`, by what is odd about each.

    `deep` is a list, one entry for each depth: `bits`, how many are `used` (the most, in all of them; None if they are
    all black or were not looked at), whether they are those of a `grey` or of a colour, and how many `images` have it.
    """
    texts = list(odd)
    deep: dict[tuple[int, bool], list[int]] = {}
    for text in texts:
        if match := DEEP.search(text):
            deep.setdefault((int(match[2]), not match[3]), []).append(int(match[1]))
    named = {name: sum(what in text for text in texts) for name, what in NAMED.items()}
    depths = [
        {"bits": bits, "used": max(used) or None, "grey": grey, "images": len(used)}
        for (bits, grey), used in sorted(deep.items())
    ]
    return {**named, "deep": depths}


def notes(place: Place, deep: Sequence[dict[str, Any]]) -> list[str]:
    """For people: where the depth of images is not what they are taken for. deep: as `counted` has it."""
    lines = []
    for entry in deep:
        images = f"{entry['images']:,} image{'s have' if entry['images'] != 1 else ' has'}"
        bits, used = entry["bits"], entry["used"]
        if used is None or used == bits:
            continue
        if not entry["grey"]:
            lines.append(
                f"{images} colours of {bits} bits and use the lower {used}, of which Pillow drops 8: "
                "what is stored is dark; scale the files"
            )
        elif used > bits:
            lines.append(f"{images} greys that need {used} bits, taken to have {bits}: what is brighter is white")
        else:
            depth = max(used, DEPTHS[0])
            lines.append(
                f"{images} greys of {bits} bits and use the lower {used} only: what is stored is dark"
                + (f"; {replace(place, depth=depth).text} takes {depth} bits for all" if depth < bits else "")
            )
    return lines
