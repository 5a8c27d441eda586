"""Oddities of image files: turned by EXIF, transparent, of more than 8 bits, of one colour. No torch.

They are found for every image when a store is made, and kept in `sources.parquet`. Some are also found from headers.
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

BITS_PER_SAMPLE = 258  # tag of TIFFs
ORIENTATION = int(Base.Orientation)
SHORT = 3  # type of EXIF's entries
TURNS = range(2, 9)  # values of EXIF's orientation that turn or mirror; 1: as it is
DEEP = re.compile(r"(\d+) of (\d+) bits( a colour)?")
ONE_COLOUR = "one colour"
NAMED = {"turned": "turned", "transparent": "transparent", "constant": ONE_COLOUR}


class Odd(NamedTuple):
    """bits: of a grey or of a colour, 0 if 8 or fewer; used: the largest number of bits that a pixel needs."""

    turned: bool = False
    transparent: bool = False
    bits: int = 0
    used: int = 0
    grey: bool = False  # whether these are the bits of a grey

    @property
    def text(self) -> str:
        """For `sources.parquet`, empty for an ordinary file: "turned, transparent, 12 of 16 bits"."""
        depth = f"{self.used} of {self.bits} bits{'' if self.grey else ' a colour'}"
        flags = {"turned": self.turned, "transparent": self.transparent, depth: self.bits}
        return ", ".join(name for name, flag in flags.items() if flag)


def orientation(image: PIL.Image.Image) -> int:
    """The orientation by EXIF, or by XMP if EXIF has none; 1 if it is damaged. Loads no pixels."""
    with suppress(Exception):  # readers of EXIF raise all kinds of exceptions
        return _valid_turn(PIL.Image.Image.getexif(image).get(ORIENTATION))  # PNG's own `getexif` would load pixels
    return 1


def turn(exif: bytes) -> int:
    """The orientation in an EXIF block that begins with "Exif" and two zero bytes; 1 if it is damaged.

    Pillow reads all tags, which adds a tenth to the time of decoding a small JPEG. It is used only if the first
    directory does not show clearly that the image is upright.
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
    with suppress(Exception):  # readers of EXIF raise all kinds of exceptions
        by_pillow.load(exif)
        return _valid_turn(by_pillow.get(ORIENTATION))
    return 1


def _valid_turn(value: object) -> int:
    return next((turn for turn in TURNS if turn == value), 1)


def deep(image: PIL.Image.Image, depth: int) -> int:
    """The number of bits per value if it is more than 8, else 0. For images whose pixels are not loaded yet.

    depth: upper limit for greys.
    """
    if image.mode.startswith("I;16"):
        tags: dict[int, Any] = getattr(image, "tag_v2", {})  # of TIFFs
        return min(depth, tags.get(BITS_PER_SAMPLE, (16,))[0])
    return 16 if ";16" in str(getattr(image, "tile", "")) else 0


def transparent(image: PIL.Image.Image) -> bool:
    """Whether a loaded image has a pixel that is not opaque."""
    if not image.has_transparency_data:
        return False
    if image.mode.startswith("I;16"):
        return bool((np.asarray(image) == image.info["transparency"]).any())
    with suppress(ValueError, TypeError):  # colours of 16 bits with one transparent colour, which is lost
        alpha = image if "A" in image.getbands() else image.convert("RGBA")
        least = alpha.getchannel("A").getextrema()[0]
        return isinstance(least, (int, float)) and least < 255
    return True


def by_header(image: PIL.Image.Image, depth: int) -> Odd:
    """The oddities in the header of an image that has just been opened; `used` is unknown, and 0."""
    transparency, bits = image.has_transparency_data, deep(image, depth)
    return Odd(orientation(image) > 1, transparency, bits, grey=image.mode.startswith("I;16"))


def upright(image: PIL.Image.Image) -> tuple[int, int]:
    """Upright width and height of an image that has just been opened; for TIFFs Pillow gives upright sizes."""
    sideways = orientation(image) >= 5 and not hasattr(image, "tag_v2")
    return (image.height, image.width) if sideways else image.size


class Look(NamedTuple):
    """Summary of a stored image: its least, greatest and mean value, and its oddities."""

    least: int
    greatest: int
    mean: float
    odd: str


def looks(images: np.ndarray, odd: Sequence[Odd | None]) -> list[Look | None]:
    """Summaries of stored images, uint8 [n, side, side, 3]; None for broken ones, which have no `odd`."""
    rows = images.reshape(len(images), -1)
    means = rows.sum(1, dtype=np.uint32) / rows.shape[1]
    measures = zip(rows.min(1).tolist(), rows.max(1).tolist(), means.round(2).tolist(), images, odd, strict=True)
    return [
        oddity and Look(least, greatest, mean, ", ".join(filter(None, (oddity.text, ONE_COLOUR * _constant(pixels)))))
        for least, greatest, mean, pixels, oddity in measures
    ]


def _constant(pixels: np.ndarray) -> bool:
    # comparing two corners first is faster
    return pixels[0, 0].tolist() == pixels[-1, -1].tolist() and bool((pixels == pixels[0, 0]).all())


def counted(odd: Iterable[str]) -> dict[str, Any]:
    """How many images are `turned`, `transparent`, of one colour (`constant`) and `deep`, from their oddities.

    `deep` is a list with an entry per depth: `bits`, `used` (the largest number of used bits over all images; None if
    all are black or unread), `grey` (or colour) and the number of `images`.
    """
    texts = list(odd)
    deep: dict[tuple[int, bool], list[int]] = {}
    for text in texts:
        if match := DEEP.search(text):
            deep.setdefault((int(match[2]), not match[3]), []).append(int(match[1]))
    named = {name: sum(mark in text for text in texts) for name, mark in NAMED.items()}
    depths = [
        {"bits": bits, "used": max(used) or None, "grey": grey, "images": len(used)}
        for (bits, grey), used in sorted(deep.items())
    ]
    return {**named, "deep": depths}


def notes(place: Place, deep: Sequence[dict[str, Any]]) -> list[str]:
    """Messages about images whose depth is not the assumed one. deep: as in `counted`."""
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
