"""From files to pixels: every mode that Pillow reads, filters, and what is no image."""

import io

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode, v2

from yosinski.data import FILTERS
from yosinski.data.decoding import Broken, decode, opened


def encoded(image: Image.Image, kind: str, **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)  # pyright: ignore[reportArgumentType]
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_greyscale_and_cmyk_become_rgb(mode: str) -> None:
    colour = (200, 60, 30) if mode != "L" else (90, 90, 90)
    content = encoded(Image.new("RGB", (41, 57), colour).convert(mode), "JPEG", quality=95)
    assert Image.open(io.BytesIO(content)).mode == mode
    assert np.abs(decode(content, 16, "warp", "lanczos").astype(int) - colour).max() <= 4


def test_pngs_palettes_and_transparency_become_rgb() -> None:
    image = Image.new("RGBA", (20, 20), (200, 60, 30, 255))
    assert (decode(encoded(image, "PNG"), 16, "warp", "lanczos") == (200, 60, 30)).all()
    palette = image.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
    assert (decode(encoded(palette, "PNG"), 16, "warp", "lanczos") == (200, 60, 30)).all()


@pytest.mark.parametrize("interpolation", FILTERS)
def test_warp_resizes_everything_and_crop_takes_the_square_in_the_middle(interpolation: str) -> None:
    thirds = np.zeros((64, 192, 3), np.uint8)
    thirds[:, :64, 0] = thirds[:, 64:128, 1] = thirds[:, 128:, 2] = 255
    content = encoded(Image.fromarray(thirds), "PNG")
    warped, cropped = (decode(content, 32, fit, interpolation).astype(int) for fit in ("warp", "crop"))
    assert warped.shape == cropped.shape == (32, 32, 3)
    assert [warped[16, x].argmax() for x in (2, 16, 29)] == [0, 1, 2]
    assert (cropped[:, 4:-4] == (0, 255, 0)).all()
    tall = decode(encoded(Image.fromarray(thirds.transpose(1, 0, 2)), "PNG"), 32, "crop", interpolation)
    assert (tall[4:-4] == (0, 255, 0)).all()


@pytest.mark.parametrize("interpolation", FILTERS)
def test_images_are_reduced_without_aliasing(interpolation: str) -> None:
    checks = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    inner = decode(encoded(Image.fromarray(checks), "PNG"), 32, "warp", interpolation)[2:-2, 2:-2]
    assert np.abs(inner.astype(int) - 127).max() <= 2  # nearest neighbours would be all black or all white


def test_images_are_not_turned_by_exif() -> None:
    image = Image.fromarray(np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None], 64, 0))
    image.getexif()[0x0112] = 6
    content = encoded(image, "JPEG", exif=image.getexif())
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert np.asarray(turned)[0].std() < 1 < np.asarray(image)[0].std()  # a viewer would turn it
    assert decode(content, 32, "warp", "lanczos")[0, :, 0].std() > 50


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cannot identify image file"),
        (b"<html>404 Not Found</html>", "cannot identify image file"),
        (encoded(Image.new("RGB", (50, 50)), "JPEG", quality=95)[:300], "truncated"),
        (encoded(Image.effect_noise((50, 50), 80), "JPEG", quality=95)[:-200], "truncated"),
        (encoded(Image.effect_noise((50, 50), 80), "PNG")[:-200], "truncated"),
    ],
)
def test_what_is_no_whole_image(content: bytes, why: str) -> None:
    with pytest.raises(Broken, match=f"(?i){why}"):
        decode(content, 16, "warp", "lanczos")


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF")])
def test_what_is_transparent_lies_on_white(mode: str, kind: str) -> None:
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 10, 20))
    how = {"lossless": True} if kind == "WEBP" else {}
    pixels = decode(encoded(image.convert(mode), kind, **how), 20, "warp", "bilinear")
    assert (pixels[:, :10] == 0).all()
    assert (pixels[:, 10:] == 255).all()


def test_half_transparent_is_half_white_and_palettes_may_be_transparent() -> None:
    assert (decode(encoded(Image.new("RGBA", (16, 16), (0, 0, 0, 128)), "PNG"), 16, "warp", "bilinear") == 127).all()
    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([0, 0, 0, 200, 60, 30])
    assert (decode(encoded(palette, "PNG"), 16, "warp", "bilinear") == (200, 60, 30)).all()
    assert (decode(encoded(palette, "GIF", transparency=1), 16, "warp", "bilinear") == 255).all()


def test_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "TIFF"):
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert (decode(content, 16, "warp", "bilinear") == (255, 0, 0)).all()


def test_16_bits_keep_their_greys() -> None:
    steps = np.repeat(np.array([0, 0x4080, 0xFFFF], np.uint16), 16)[None].repeat(16, 0)
    for kind in ("PNG", "TIFF"):
        assert opened(encoded(Image.fromarray(steps), kind))[0, ::16].tolist() == [[v] * 3 for v in (0, 64, 255)]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_a_certain_place_in_rgb_are_broken(mode: str) -> None:
    with pytest.raises(Broken, match=f"mode {mode} have no certain place in RGB"):
        opened(encoded(Image.new(mode, (8, 8), 1), "TIFF"))


def test_five_channels_are_broken() -> None:
    tiff = bytearray(encoded(Image.new("RGB", (8, 8)), "TIFF"))
    at = tiff.index(bytes([0x15, 0x01, 3, 0]))  # tag 277, SamplesPerPixel, a short
    tiff[at + 8] = 5
    with pytest.raises(Broken):
        opened(bytes(tiff))


def by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 33), (200, 131)])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpegs_have_the_pixels_that_pillow_decodes(size: tuple[int, int], subsampling: str) -> None:
    image = noise(*size)
    for how in ({"quality": 5}, {"quality": 75}, {"quality": 100}, {"progressive": True}, {"restart_marker_rows": 1}):
        content = encoded(image, "JPEG", subsampling=subsampling, **how)
        expected = by_pillow(content)
        assert (opened(content) == expected).all()
        assert (simplejpeg.decode_jpeg(content) == expected).all()  # opened leaves them to it


def odd_jpegs() -> dict[str, bytes]:
    photo = noise(40, 60)
    plain = encoded(photo, "JPEG")
    scan = plain.index(b"\xff\xda")
    return {
        "grey": encoded(photo.convert("L"), "JPEG"),
        "CMYK": encoded(photo.convert("CMYK"), "JPEG"),
        "RGB, not YCbCr": encoded(photo, "JPEG", keep_rgb=True),
        "several pictures": encoded(photo, "MPO", save_all=True, append_images=[photo.rotate(90)]),
        "a comment and a profile": encoded(photo, "JPEG", comment=b"a word", icc_profile=b"\0" * 200),
        "more after its end": plain + b"\0" * 100,
        "a wrong byte in its scan": plain[: scan + 200] + bytes([plain[scan + 200] ^ 0x55]) + plain[scan + 201 :],
        "bytes before its scan": plain[:scan] + b"\1\2\3" + plain[scan:],
        "without a Huffman table": plain.replace(b"\xff\xc4", b"\xff\xee", 1),
        "without an end": plain[:-2],
        "half of it": plain[: len(plain) // 2],
    }


@pytest.mark.parametrize("what", odd_jpegs())
def test_odd_jpegs_are_what_pillow_makes_of_them(what: str) -> None:
    content = odd_jpegs()[what]
    try:
        expected = by_pillow(content)
    except OSError:
        with pytest.raises(Broken):
            opened(content)
    else:
        assert (opened(content) == expected).all()


def test_a_jpeg_that_would_fill_the_memory_is_broken() -> None:
    content = bytearray(encoded(Image.new("RGB", (8, 8)), "JPEG"))
    at = content.index(b"\xff\xc0")  # start of frame: length, bits, height, width
    content[at + 5 : at + 9] = b"\xff\xf0\xff\xf0"
    with pytest.raises(Broken, match="decompression bomb"):
        opened(bytes(content))


@pytest.mark.parametrize("size", [(61, 40), (40, 61), (50, 50), (33, 98), (20, 15)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_what_is_stored_is_what_torchvision_makes_of_a_tensor(size: tuple[int, int], interpolation: str) -> None:
    pixels = np.array(noise(*size))
    content = encoded(Image.fromarray(pixels), "PNG")
    for side in (16, 31, 64):
        for fit, resized in (("crop", side), ("warp", [side, side])):
            steps = v2.Resize(resized, InterpolationMode(interpolation)), v2.CenterCrop(side)
            expected = v2.Compose(steps)(torch.from_numpy(pixels).permute(2, 0, 1)).permute(1, 2, 0)
            stored = decode(content, side, fit, interpolation)
            assert (stored == expected.numpy()).all()
            assert fit == "crop" or stored.flags.c_contiguous  # or torch has not seen that channels are last: slow


def test_filters_differ_and_none_aliases() -> None:
    checks = encoded(Image.fromarray((np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)), "PNG")
    for name in FILTERS:
        assert np.abs(decode(checks, 16, "crop", name)[2:-2, 2:-2].astype(int) - 127).max() <= 3
    found = {decode(encoded(noise(90, 60), "PNG"), 16, "crop", name).tobytes() for name in FILTERS}
    assert len(found) == 3
