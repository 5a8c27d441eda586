"""From the bytes of an image file to the pixels of a store.

Images are decoded with Pillow at full resolution (no draft mode), of several frames the first, and not turned by EXIF
(in 2014 nobody did). Greyscale, 16 bits a pixel included, CMYK and palettes become RGB; what is transparent lies on
white.

They are resized with an antialiased filter. Bilinear and bicubic are torch's, in a third of Pillow's time: a store
holds what Resize and CenterCrop of torchvision's transforms.v2 make of a tensor. Lanczos is Pillow's, as not every
torch has it; ImageMagick reduces images with it unless told otherwise.
"""

import io
from functools import partial

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from torch.nn.functional import interpolate

OPAQUE = ("1", "L", "P", "RGB", "CMYK", "YCbCr")


class Broken(ValueError):
    """Bytes that are no whole image, or none that could be RGB."""


def opened(content: bytes) -> PIL.Image.Image:
    """An image file's bytes as an RGB image of its own size; Broken says why they are none."""
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            return _rgb(image)
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
    if image.mode == "RGB":  # no copy: it would take as long as a tenth of the decoding
        image.load()
        return image
    return image.convert("RGB")


def fitted(image: PIL.Image.Image, side: int, fit: str, interpolation: str) -> np.ndarray:
    """An RGB image as uint8 [side, side, 3]: all of it (`warp`), or the largest square in its middle (`crop`)."""
    if interpolation == "lanczos":
        resize = image.resize if fit == "warp" else partial(PIL.ImageOps.fit, image)
        return np.asarray(resize((side, side), PIL.Image.Resampling.LANCZOS))
    shorter = min(image.size)
    height, width = (side if fit == "warp" else side * length // shorter for length in (image.height, image.width))
    pixels = np.array(image)
    if pixels.shape[:2] != (height, width):
        # NumPy's [None] has a stride of 0, with which torch does not see that channels are last: a third of the speed.
        batch = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
        pixels = interpolate(batch, (height, width), mode=interpolation, antialias=True)[0].permute(1, 2, 0).numpy()
    top, left = round((height - side) / 2), round((width - side) / 2)
    return pixels[top : top + side, left : left + side]


def decode(content: bytes, side: int, fit: str, interpolation: str) -> np.ndarray:
    """An image file's bytes as uint8 [side, side, 3], RGB; Broken if they are no whole image."""
    return fitted(opened(content), side, fit, interpolation)
