"""What JPEGs say beside their pixels: how they are turned, and what libjpeg warns of when it decodes them.

Where data are missing libjpeg goes on with grey, warns, and returns a picture; Pillow passes no warning on, simplejpeg
the first one. `LOST` are the warnings after which pixels are not those that were encoded. The others (bytes that nobody
reads, an unknown revision of JFIF, profiles that are no profiles) leave a whole picture whole.
"""

import io
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import PIL.Image
import simplejpeg

from yosinski.data import oddities

SOI, EOI = b"\xff\xd8", b"\xff\xd9"  # how a JPEG begins and ends
LOST = re.compile(
    "Corrupt JPEG data: (premature end of data segment|bad Huffman code|bad arithmetic code|found marker .* instead of "
    "RST.*)|Inconsistent progression sequence for component .*"
)
EXTRANEOUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
HEAD = struct.Struct(">BBH")  # of a segment: 255, its marker, its length but for these two
SCAN, APP1, EXIF = 0xDA, 0xE1, b"Exif\0\0"
NEEDLESS = (*range(0xE0, 0xF0), 0xFE)  # markers of segments that no pixel's data depend on: APP0 to APP15, comments
WARNINGS = 64  # that are looked behind, at most
PLACES = 64  # of one marker that are looked at, at most


def lost(content: bytes) -> str:
    """The warning of libjpeg that says which data a JPEG has lost; empty if it names none.

    Of several warnings simplejpeg tells the first. What a harmless one names is taken out, so that the next one shows.
    """
    said = _said(content)
    if said and not LOST.fullmatch(said):
        content = plain(content)
        said = _said(content)
    for _ in range(WARNINGS):
        if LOST.fullmatch(said):
            return said
        match = EXTRANEOUS.fullmatch(said)
        content = _without(content, int(match[1]), bytes((0xFF, int(match[2], 16)))) if match else b""
        if not content:
            break  # no warning, or an error that is for Pillow to tell
        said = _said(content)
    return ""


def _said(content: bytes) -> str:
    try:
        simplejpeg.decode_jpeg(content, "RGB")
    except ValueError as error:
        return str(error)
    return ""


def plain(content: bytes) -> bytes:
    """A JPEG without the segments, and the bytes between segments, before its first scan that no pixel depends on."""
    kept = [content[start:end] for marker, start, end in segments(content) if marker not in NEEDLESS]
    return b"".join([SOI, *kept])


def segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """The segments of a JPEG: marker, and where each begins and ends. The last one is the first scan and all after it.

    Bytes between two of them belong to none.
    """
    start, last = len(SOI), len(content) - HEAD.size
    while 0 <= start <= last:
        begins, marker, length = HEAD.unpack_from(content, start)
        if begins != 0xFF:
            start = content.find(b"\xff", start)
        elif marker in (0x00, 0xFF):  # no marker: a byte of 255, or what fills up
            start += 1
        elif marker == SCAN:
            yield marker, start, len(content)
            return
        else:
            yield marker, start, start + 2 + length
            start += 2 + length


def orientation(content: bytes) -> int:
    """How a JPEG is to be turned, as `oddities.orientation` says it; Pillow opens only those with XMP."""
    blocks = [content[start + 4 : end] for marker, start, end in segments(content) if marker == APP1]
    if any(b"tiff:Orientation" in block for block in blocks):
        with suppress(Exception), PIL.Image.open(io.BytesIO(content)) as image:
            return oddities.orientation(image)
    pieces = [block.removeprefix(EXIF) for block in blocks if block.startswith(EXIF)]
    return oddities.turn(EXIF + b"".join(pieces)) if pieces else 1


def _without(content: bytes, count: int, marker: bytes) -> bytes:
    """A JPEG without the `count` superfluous bytes before the first such marker that has them; empty if none has."""
    for match in islice(re.finditer(re.escape(marker), content), PLACES):
        start = match.start()
        if _said(content[:start] + EOI) == f"Corrupt JPEG data: {count} extraneous bytes before marker 0xd9":
            return content[: start - count] + content[start:]
    return b""
