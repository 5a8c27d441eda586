"""From the bytes of an image file to stored pixels: one rule for all kinds of file.

Stored pixels are, to the byte, what the code in docs/your-network.md makes of a file with plain Pillow and torchvision;
`yosinski.pretrained.export.PICTURES` describes it in words. Images are decoded at full resolution (no draft mode).
Pillow decodes them and reports broken files. Ordinary JPEGs are decoded by simplejpeg: the same pixels from the same
libjpeg-turbo, in little more than half the time.

Resizing is antialiased. Bilinear and bicubic are torch's, in a third of Pillow's time: a store holds the result of
Resize and CenterCrop of torchvision's transforms.v2 on a tensor. Lanczos is Pillow's, because not every version of
torch has it; it is ImageMagick's default for reducing images.
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

from yosinski.data.pictures import jpegs
from yosinski.data.pictures.oddities import Odd, deep, orientation, transparent
from yosinski.data.place import LONGEST

OPAQUE = ("1", "L", "P", "RGB", "CMYK", "YCbCr")  # modes with only one conversion to RGB
WITH_ALPHA = ("LA", "PA", "RGBA", "RGBX")  # modes with only one conversion after their last band is dropped
SPACES = ("YCbCr", "RGB", "Gray")  # colour spaces of JPEGs with only one conversion
LARGE = 2**26  # pixels; larger images go to Pillow, which has a limit of size
PHOTOMETRIC = 262  # tag of TIFFs; 0: white is zero


class Broken(ValueError):
    """The bytes are no complete image, or the image cannot become RGB."""


class Picture(NamedTuple):
    """An upright image, uint8 [height, width, 3], RGB, with the oddities of its file."""

    pixels: np.ndarray
    odd: Odd = Odd()


def opened(content: bytes, depth: int = 16) -> np.ndarray:
    """The pixels of an image file, as in `Picture`."""
    return read(content, depth).pixels


def read(content: bytes, depth: int = 16) -> Picture:
    """Decode an image file. Broken if that is not possible, with the reason.

    depth: number of used bits in greys of 16 bits, unless the file says that there are fewer.
    """
    with suppress(ValueError):  # not a JPEG, or an odd one: left to Pillow
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
    except Exception as error:  # decoders raise all kinds of exceptions
        message = str(error).partition("<_io")[0].strip() or type(error).__name__
        raise Broken("cannot identify image file" if message.startswith("cannot identify") else message) from error


def _turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Pixels [height, width, 3] turned upright, by the value of EXIF's orientation."""
    if turn == 1:
        return pixels
    if turn >= 5:  # rows and columns are swapped
        pixels = pixels.transpose(1, 0, 2)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels.copy()  # for NumPy a reversed axis of one pixel is contiguous, for torch it is not


def _by_pillow(image: PIL.Image.Image, depth: int) -> Picture:
    tags: dict[int, Any] = getattr(image, "tag_v2", {})  # of a TIFF
    bits = deep(image, depth)
    if not tags:  # a PNG may have its orientation at its end; TIFFs are turned while they are loaded
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
    """Resize an RGB image, uint8 [height, width, 3]: all of it (`warp`), or the square in its middle (`crop`)."""
    if fit == "crop":
        pixels = middle(pixels)
    shorter = min(pixels.shape[:2])
    height, width = (side if fit == "warp" else side * length // shorter for length in pixels.shape[:2])
    if pixels.shape[:2] != (height, width):
        if interpolation == "lanczos":
            image = PIL.Image.fromarray(pixels)
            pixels = np.asarray(image.resize((width, height), PIL.Image.Resampling.LANCZOS))
        else:
            # NumPy's [None] has a stride of 0, in which torch does not recognise channels-last: a third of the speed.
            batch = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
            resized = interpolate(batch, (height, width), mode=interpolation, antialias=True)
            pixels = resized[0].permute(1, 2, 0).numpy()
    top, left = round((height - side) / 2), round((width - side) / 2)
    return pixels[top : top + side, left : left + side]


def middle(pixels: np.ndarray) -> np.ndarray:
    """The middle of an image, uint8 [height, width, 3], whose longer side is over 16 times its shorter side.

    The rest would be cut off after resizing. The centre stays: as many pixels are cut off on both sides.
    """
    height, width = pixels.shape[:2]
    kept = min(height, LONGEST * width + height % 2), min(width, LONGEST * height + width % 2)
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    return np.ascontiguousarray(pixels[top : top + kept[0], left : left + kept[1]])


def decode(content: bytes, side: int, fit: str, interpolation: str, depth: int = 16) -> np.ndarray:
    """Decode an image file to uint8 [side, side, 3], RGB. Broken if it is no complete image."""
    return fitted(opened(content, depth), side, fit, interpolation)
