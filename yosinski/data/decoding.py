"""From the bytes of an image file to the pixels of a store.

Images are decoded at full resolution (no draft mode), of several frames the first, and not turned by EXIF (in 2014
nobody did). Greyscale, 16 bits a pixel included, CMYK and palettes become RGB; what is transparent lies on white.
Pillow reads them and says what is broken, but JPEGs with nothing odd about them are simplejpeg's: the same pixels, by
the same libjpeg-turbo, in little more than half the time.

They are resized with an antialiased filter. Bilinear and bicubic are torch's, in a third of Pillow's time: a store
holds what Resize and CenterCrop of torchvision's transforms.v2 make of a tensor. Lanczos is Pillow's, as not every
torch has it; ImageMagick reduces images with it unless told otherwise.
"""

import io
from contextlib import suppress
from functools import partial

import numpy as np
import PIL.Image
import PIL.ImageOps
import simplejpeg
import torch
from torch.nn.functional import interpolate

OPAQUE = ("1", "L", "P", "RGB", "CMYK", "YCbCr")
SPACES = ("YCbCr", "RGB", "Gray")  # of JPEGs that become RGB in one way only
LARGE = 2**26  # pixels; of larger images Pillow decides whether a machine could hold them


class Broken(ValueError):
    """Bytes that are no whole image, or none that could be RGB."""


def opened(content: bytes) -> np.ndarray:
    """An image file's bytes as uint8 [height, width, 3], RGB; Broken says why they are none."""
    with suppress(ValueError):  # no JPEG, or one with something odd: Pillow decides
        height, width, space, _ = simplejpeg.decode_jpeg_header(content)
        if space in SPACES and int(height) * int(width) <= LARGE:
            return simplejpeg.decode_jpeg(content, "RGB")
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            return np.array(_rgb(image))
    except MemoryError:
        raise
    except Exception as error:  # decoders raise what they like
        told = str(error).partition("<_io")[0].strip() or type(error).__name__
        raise Broken("cannot identify image file" if told.startswith("cannot identify") else told) from error


def _rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        return PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), seen).convert("RGB")
    if image.mode.startswith("I;16"):  # Pillow would make everything above 255 white
        return PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode not in OPAQUE:
        raise Broken(f"pixels of mode {image.mode} have no certain place in RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it


def fitted(pixels: np.ndarray, side: int, fit: str, interpolation: str) -> np.ndarray:
    """Of an RGB image, uint8 [height, width, 3], all (`warp`) or the largest square in its middle (`crop`), resized."""
    if interpolation == "lanczos":
        image = PIL.Image.fromarray(pixels)
        resize = image.resize if fit == "warp" else partial(PIL.ImageOps.fit, image)
        return np.asarray(resize((side, side), PIL.Image.Resampling.LANCZOS))
    shorter = min(pixels.shape[:2])
    height, width = (side if fit == "warp" else side * length // shorter for length in pixels.shape[:2])
    if pixels.shape[:2] != (height, width):
        # NumPy's [None] has a stride of 0, with which torch does not see that channels are last: a third of the speed.
        batch = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
        pixels = interpolate(batch, (height, width), mode=interpolation, antialias=True)[0].permute(1, 2, 0).numpy()
    top, left = round((height - side) / 2), round((width - side) / 2)
    return pixels[top : top + side, left : left + side]


def decode(content: bytes, side: int, fit: str, interpolation: str) -> np.ndarray:
    """An image file's bytes as uint8 [side, side, 3], RGB; Broken if they are no whole image."""
    return fitted(opened(content), side, fit, interpolation)
