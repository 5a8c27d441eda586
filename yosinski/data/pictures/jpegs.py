"""Metadata of JPEGs: their orientation, and libjpeg's warnings in decoding.

Where data are missing libjpeg fills the image with grey, warns, and returns normally. Pillow hides the warnings,
simplejpeg reports the first one. `LOST` are the warnings after which pixels differ from the encoded ones. The others
(superfluous bytes, an unknown revision of JFIF, invalid profiles) do not affect pixels.
"""

import io
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import PIL.Image
import simplejpeg

from yosinski.data.pictures import oddities

SOI, EOI = b"\xff\xd8", b"\xff\xd9"  # how a JPEG begins and ends
LOST = re.compile(
    "Corrupt JPEG data: (premature end of data segment|bad Huffman code|bad arithmetic code|found marker .* instead of "
    "RST.*)|Inconsistent progression sequence for component .*"
)
EXTRANEOUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
HEAD = struct.Struct(">BBH")  # of a segment: 255, marker, length without these two bytes
SCAN, APP1, EXIF = 0xDA, 0xE1, b"Exif\0\0"
NEEDLESS = (*range(0xE0, 0xF0), 0xFE)  # markers of segments without effect on pixels: APP0 to APP15, comments
WARNINGS = 64  # maximum number of harmless warnings that are removed
PLACES = 64  # maximum number of occurrences of one marker that are tried


def lost(content: bytes) -> str:
    """The warning of libjpeg that names lost data; empty if there is none.

    simplejpeg reports only the first of several warnings. The bytes behind a harmless one are removed to see the next.
    """
    warning = _first_warning(content)
    if warning and not LOST.fullmatch(warning):
        content = plain(content)
        warning = _first_warning(content)
    for _ in range(WARNINGS):
        if LOST.fullmatch(warning):
            return warning
        match = EXTRANEOUS.fullmatch(warning)
        content = _without(content, int(match[1]), bytes((0xFF, int(match[2], 16)))) if match else b""
        if not content:
            break  # no warning, or an error that Pillow will report
        warning = _first_warning(content)
    return ""


def _first_warning(content: bytes) -> str:
    try:
        simplejpeg.decode_jpeg(content, "RGB")
    except ValueError as error:
        return str(error)
    return ""


def plain(content: bytes) -> bytes:
    """A JPEG without segments and bytes that have no effect on pixels before its first scan."""
    kept = [content[start:end] for marker, start, end in segments(content) if marker not in NEEDLESS]
    return b"".join([SOI, *kept])


def segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """The segments of a JPEG: marker, begin and end of each. The last one is the first scan with all that follows.

    Bytes between two segments belong to none.
    """
    start, last = len(SOI), len(content) - HEAD.size
    while 0 <= start <= last:
        begins, marker, length = HEAD.unpack_from(content, start)
        if begins != 0xFF:
            start = content.find(b"\xff", start)
        elif marker in (0x00, 0xFF):  # no marker: a byte of 255, or padding
            start += 1
        elif marker == SCAN:
            yield marker, start, len(content)
            return
        else:
            yield marker, start, start + 2 + length
            start += 2 + length


def orientation(content: bytes) -> int:
    """The orientation of a JPEG, as in `oddities.orientation`. Only JPEGs with XMP are opened with Pillow."""
    blocks = [content[start + 4 : end] for marker, start, end in segments(content) if marker == APP1]
    if any(b"tiff:Orientation" in block for block in blocks):
        with suppress(Exception), PIL.Image.open(io.BytesIO(content)) as image:
            return oddities.orientation(image)
    pieces = [block.removeprefix(EXIF) for block in blocks if block.startswith(EXIF)]
    return oddities.turn(EXIF + b"".join(pieces)) if pieces else 1


def _without(content: bytes, count: int, marker: bytes) -> bytes:
    """A JPEG without the `count` superfluous bytes before the first marker of this kind; empty if none is found."""
    for match in islice(re.finditer(re.escape(marker), content), PLACES):
        start = match.start()
        if _first_warning(content[:start] + EOI) == f"Corrupt JPEG data: {count} extraneous bytes before marker 0xd9":
            return content[: start - count] + content[start:]
    return b""
