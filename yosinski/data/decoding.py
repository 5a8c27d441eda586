"""From the bytes of an image file to the pixels of a store: one rule for all kinds of file.

What is stored is, to the byte, what the lines in docs/your-network.md make of a file with plain Pillow and torchvision;
`yosinski.pretrained.export.PICTURES` says it in words. Images are decoded at full resolution (no draft mode). Pillow
reads them and says what is broken, but JPEGs with nothing odd about them are simplejpeg's: the same pixels, by the same
libjpeg-turbo, in little more than half the time.

They are resized with an antialiased filter. Bilinear and bicubic are torch's, in a third of Pillow's time: a store
holds what Resize and CenterCrop of torchvision's transforms.v2 make of a tensor. Lanczos is Pillow's, as not every
torch has it; ImageMagick reduces images with it unless told otherwise.
"""

import io
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageOps
import simplejpeg
import torch
from torch.nn.functional import interpolate

from yosinski.data import jpegs
from yosinski.data.oddities import Odd, deep, orientation, transparent
from yosinski.data.place import LONGEST

OPAQUE = ("1", "L", "P", "RGB", "CMYK", "YCbCr")  # modes that become RGB in one way only
WITH_ALPHA = ("LA", "PA", "RGBA", "RGBX")  # and without their last band, too
SPACES = ("YCbCr", "RGB", "Gray")  # of JPEGs that do
LARGE = 2**26  # pixels; of larger images Pillow decides whether a machine could hold them
PHOTOMETRIC = 262  # a tag of TIFFs; 0: white is zero


class Broken(ValueError):
    """Bytes that are no whole image, or none that could be RGB."""


class Picture(NamedTuple):
    """An upright image, uint8 [height, width, 3], RGB, and what is not ordinary about its file."""

    pixels: np.ndarray
    odd: Odd = Odd()


def opened(content: bytes, depth: int = 16) -> np.ndarray:
    """The pixels of an image file, as in `Picture`."""
    return read(content, depth).pixels


def read(content: bytes, depth: int = 16) -> Picture:
    """What an image file's bytes are; Broken says why they are none.

    depth: so many bits of the 16 of a grey are used, unless the file says that there are fewer.
    """
    with suppress(ValueError):  # no JPEG, or one with something odd: Pillow decides
        height, width, space, _ = simplejpeg.decode_jpeg_header(content)
        if space in SPACES and int(height) * int(width) <= LARGE:
            pixels = simplejpeg.decode_jpeg(content, "RGB")
            turn = jpegs.orientation(content)
            return Picture(_turned(pixels, turn), Odd(turned=turn > 1))
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            if content.startswith(jpegs.SOI) and (lost := jpegs.lost(content)):
                raise Broken(lost)
            return _by_pillow(image, depth)
    except (MemoryError, Broken):
        raise
    except PIL.Image.DecompressionBombError as error:
        raise Broken(f"too large to be decoded: {error}") from error
    except Exception as error:  # decoders raise what they like
        message = str(error).partition("<_io")[0].strip() or type(error).__name__
        raise Broken("cannot identify image file" if message.startswith("cannot identify") else message) from error


def _turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Pixels [height, width, 3] as they are seen, by the value of EXIF's orientation."""
    if turn == 1:
        return pixels
    if turn >= 5:  # rows are columns
        pixels = pixels.transpose(1, 0, 2)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels.copy()  # NumPy calls an axis of one pixel contiguous whichever way it runs, torch does not


def _by_pillow(image: PIL.Image.Image, depth: int) -> Picture:
    tags: dict[int, Any] = getattr(image, "tag_v2", {})  # of a TIFF
    bits = deep(image, depth)
    if not tags:  # PNGs may say at their end how they are turned; TIFFs are turned while they are loaded
        image.load()
    turn = orientation(image)
    image.load()
    upright = image
    with suppress(Exception):  # a damaged EXIF block turns nothing
        upright = PIL.ImageOps.exif_transpose(image)
    see_through = transparent(image)
    used = 0
    if upright.mode.startswith("I;16"):  # Pillow would make everything above 255 white
        greys = np.asarray(upright)
        used = int(greys.max()).bit_length()
        greys = np.minimum(greys >> bits - 8, 255).astype(np.uint8)
        upright = PIL.Image.fromarray(255 - greys if tags.get(PHOTOMETRIC) == 0 else greys)
    elif bits and depth < 16:
        raise Broken(f"colours of 16 bits, of which Pillow keeps the upper 8: -{depth}bit is for greys")
    if upright.mode not in (*OPAQUE, *WITH_ALPHA):
        raise Broken(f"pixels of mode {upright.mode} have no certain place in RGB")
    pixels = np.array(upright.convert("RGB"))
    if bits and not used:
        used = 8 + int(pixels.max()).bit_length()
    return Picture(pixels, Odd(turn > 1, see_through, bits, used, image.mode.startswith("I;16")))


def fitted(pixels: np.ndarray, side: int, fit: str, interpolation: str) -> np.ndarray:
    """Of an RGB image, uint8 [height, width, 3], all (`warp`) or the largest square in its middle (`crop`), resized."""
    if fit == "crop":
        pixels = middle(pixels)
    shorter = min(pixels.shape[:2])
    height, width = (side if fit == "warp" else side * length // shorter for length in pixels.shape[:2])
    if pixels.shape[:2] != (height, width):
        if interpolation == "lanczos":
            image = PIL.Image.fromarray(pixels)
            pixels = np.asarray(image.resize((width, height), PIL.Image.Resampling.LANCZOS))
        else:
            # NumPy's [None] has a stride of 0, with which torch does not see that channels are last: a third of the
            # speed.
            batch = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
            resized = interpolate(batch, (height, width), mode=interpolation, antialias=True)
            pixels = resized[0].permute(1, 2, 0).numpy()
    top, left = round((height - side) / 2), round((width - side) / 2)
    return pixels[top : top + side, left : left + side]


def middle(pixels: np.ndarray) -> np.ndarray:
    """The middle of an image, uint8 [height, width, 3], that is longer than 16 times its shorter side.

    What lies beyond would be resized, and then cut off. The centre stays where it is: as many pixels go on both sides.
    """
    height, width = pixels.shape[:2]
    kept = min(height, LONGEST * width + height % 2), min(width, LONGEST * height + width % 2)
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    return np.ascontiguousarray(pixels[top : top + kept[0], left : left + kept[1]])


def decode(content: bytes, side: int, fit: str, interpolation: str, depth: int = 16) -> np.ndarray:
    """An image file's bytes as uint8 [side, side, 3], RGB; Broken if they are no whole image."""
    return fitted(opened(content, depth), side, fit, interpolation)
