"""From files to pixels: every mode that Pillow reads, filters, and what is no image."""

import io
import re
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from oddities import XMP, chunk, encoded, exif, mpo, png16, see_through, tiff
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from torchvision.transforms import InterpolationMode, v2

from yosinski.data.pictures import decoding, oddities
from yosinski.data.pictures.decoding import Broken, decode, opened, read
from yosinski.data.pictures.oddities import Odd
from yosinski.data.place import FILTERS


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


QUARTERS = np.array([[10, 90], [170, 250]], np.uint8).repeat(16, 1).repeat(8, 0)[..., None].repeat(3, -1)


def turned(turn: int) -> dict[str, bytes]:
    """Four greys in files of all kinds that say how they are turned."""
    image, how = Image.fromarray(QUARTERS), {"exif": exif(turn)}
    return {
        "JPEG": encoded(image, "JPEG", quality=100, subsampling="4:4:4", **how),
        "CMYK JPEG": encoded(image.convert("CMYK"), "JPEG", quality=100, **how),
        "PNG": encoded(image, "PNG", **how),
        "WebP": encoded(image, "WEBP", lossless=True, **how),
        "AVIF": encoded(image, "AVIF", quality=100, subsampling="4:4:4", **how),
        "TIFF": encoded(image, "TIFF", tiffinfo={274: turn}),
        "packed TIFF": encoded(image, "TIFF", tiffinfo={274: turn}, compression="tiff_lzw"),
        "MPO": mpo(image, turn),
        "XMP": encoded(image, "JPEG", quality=100, subsampling="4:4:4", xmp=XMP.format(turn).encode()),
    }


@pytest.mark.parametrize("turn", range(1, 9))
def test_images_of_every_kind_are_turned_upright_once(turn: int) -> None:
    seen = Image.fromarray(QUARTERS)
    seen.getexif()[0x0112] = turn
    expected = np.asarray(ImageOps.exif_transpose(seen)).astype(int)
    assert turn == 1 or (expected.shape != QUARTERS.shape or (expected != QUARTERS).any())
    for kind, content in turned(turn).items():
        pixels, odd = read(content)
        assert pixels.shape == expected.shape, kind
        assert np.abs(pixels - expected).mean() < 5, kind
        assert odd.turned == (turn > 1), kind
        assert decode(content, 16, "warp", "bilinear").shape == (16, 16, 3)  # torch takes no negative strides


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 2), (1, 5)])
def test_pictures_one_pixel_wide_are_turned_and_resized(size: tuple[int, int]) -> None:
    for turn in range(1, 9):
        image = Image.new("RGB", size, (10, 200, 90))
        for kind in ("JPEG", "PNG"):
            for fit in ("crop", "warp"):
                pixels = decode(encoded(image, kind, exif=exif(turn)), 16, fit, "bilinear")
                assert np.abs(pixels.astype(int) - (10, 200, 90)).max() < 5


def test_pngs_say_at_their_end_or_in_xmp_how_they_are_turned() -> None:
    plain = encoded(Image.fromarray(QUARTERS), "PNG")
    late = plain[:-12] + chunk(b"eXIf", exif(6).tobytes()[6:]) + plain[-12:]
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.format(6))
    for content in (late, encoded(Image.fromarray(QUARTERS), "PNG", pnginfo=info)):
        assert (opened(content) == QUARTERS.transpose(1, 0, 2)[:, ::-1]).all()


@pytest.mark.parametrize("damaged", [b"Exif\0\0" + b"\x99" * 40, b"Exif\0\0", exif(6).tobytes()[:-6]])
def test_a_damaged_exif_block_turns_nothing_and_breaks_nothing(damaged: bytes) -> None:
    for mode in ("RGB", "CMYK"):
        content = encoded(Image.fromarray(QUARTERS).convert(mode), "JPEG", quality=100, exif=damaged)
        assert np.abs(opened(content).astype(int) - QUARTERS).mean() < 5
    for kind in ("PNG", "WEBP"):
        assert (opened(encoded(Image.fromarray(QUARTERS), kind, exif=damaged, lossless=True)) == QUARTERS).all()
    beyond = encoded(Image.fromarray(QUARTERS), "JPEG", quality=100, exif=exif(9))
    assert np.abs(opened(beyond).astype(int) - QUARTERS).mean() < 5


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


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what is damaged
@pytest.mark.parametrize("order", ["<", ">"])
def test_how_a_damaged_block_turns_is_what_pillow_says(order: str) -> None:
    draw = np.random.default_rng(0)
    for turn in range(10):
        block = exif(turn)
        block.endian = order
        block[0x010F] = "a maker"
        whole = block.tobytes()
        assert oddities.turn(whole) == (turn if 2 <= turn <= 8 else 1)
        for _ in range(60):
            damaged = bytearray(whole[: draw.integers(7, len(whole) + 1)])
            damaged[int(draw.integers(6, len(damaged)))] = draw.integers(0, 256)
            by_pillow = Image.Exif()
            try:
                by_pillow.load(bytes(damaged))
                found = by_pillow.get(0x0112)
            except Exception:
                found = 1
            assert oddities.turn(bytes(damaged)) == (found if found in range(2, 9) else 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_alpha_is_dropped_and_the_colour_beneath_it_counts(mode: str) -> None:
    content = see_through("PNG", mode, (20, 20))
    with Image.open(io.BytesIO(content)) as image:
        assert image.has_transparency_data
    pixels, odd = read(content)
    assert (pixels == by_pillow(content)).all()
    assert odd == Odd(transparent=True)


@pytest.mark.parametrize(("kind", "how"), [("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})])
def test_alpha_is_dropped_from_files_of_all_kinds(kind: str, how: dict[str, object]) -> None:
    image = Image.new("RGBA", (20, 20), (200, 60, 30, 0))
    assert (opened(encoded(image, kind, **how)) == (200, 60, 30)).all()
    assert not read(encoded(Image.new("RGBA", (20, 20), (1, 2, 3, 255)), kind, **how)).odd.transparent
    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([0, 0, 0, 200, 60, 30])
    assert (opened(encoded(palette, "GIF", transparency=1)) == (200, 60, 30)).all()
    avif = encoded(Image.new("RGBA", (20, 20), (200, 60, 30, 40)), "AVIF", quality=100)
    assert np.abs(opened(avif).astype(int) - (200, 60, 30)).max() <= 3


def test_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "TIFF", "PNG"):
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert (decode(content, 16, "warp", "bilinear") == (255, 0, 0)).all()


STEPS = np.array([[0, 0x4080, 0x8000, 0xFFFF]] * 3, np.uint16)
SEEN = [0, 64, 128, 255]


def deep_files() -> dict[str, tuple[bytes, list[int]]]:
    """Greys of 16 bits in files of all kinds, and what is stored of them."""
    image = Image.fromarray(STEPS)
    return {
        "PNG": (encoded(image, "PNG"), SEEN),
        "with a transparent grey": (encoded(image, "PNG", transparency=0x4080), SEEN),
        "with alpha": (png16(STEPS, 4), SEEN),
        "RGB": (png16(STEPS, 2), SEEN),
        "TIFF": (tiff(STEPS, 16), SEEN),
        "big-endian TIFF": (tiff(STEPS, 16, big=True), SEEN),
        "packed TIFF": (encoded(image, "TIFF", compression="tiff_lzw"), SEEN),
        "packed big-endian": (encoded(Image.frombytes("I;16B", (4, 3), STEPS.byteswap().tobytes()), "TIFF"), SEEN),
        "JPEG 2000": (encoded(image, "JPEG2000"), SEEN),
        "white is zero": (tiff(STEPS, 16, white_is_zero=True), [255 - value for value in SEEN]),
        "12 bits a sample": (tiff(STEPS >> 4, 12), SEEN),
    }


@pytest.mark.parametrize("what", deep_files())
def test_greys_of_more_than_8_bits_keep_their_upper_ones(what: str) -> None:
    content, expected = deep_files()[what]
    pixels, odd = read(content)
    assert pixels[0].tolist() == [[value] * 3 for value in expected]
    bits = 12 if what == "12 bits a sample" else 16
    colour = what in ("with alpha", "RGB")
    assert odd.text.removeprefix("transparent, ") == f"{bits} of {bits} bits{' a colour' * colour}"
    assert odd.transparent == (what.startswith("with"))


def test_what_is_white_at_zero_is_so_with_8_and_16_bits() -> None:
    eight = opened(tiff(STEPS >> 8, 8, white_is_zero=True))
    assert (opened(tiff(STEPS, 16, white_is_zero=True)) == eight).all()


def test_the_depth_of_greys_can_be_told() -> None:
    few = STEPS >> 4
    for content in (encoded(Image.fromarray(few), "PNG"), tiff(few, 16), tiff(few, 16, big=True)):
        dark, scaled = read(content), read(content, 12)
        assert dark.pixels.max() == 15
        assert dark.odd.text == "12 of 16 bits"
        assert scaled.pixels[0, :, 0].tolist() == SEEN
        assert scaled.odd.text == "12 of 12 bits"
    assert opened(tiff(few, 12), 14)[0, :, 0].tolist() == SEEN  # as the file says
    assert opened(tiff(few, 16, white_is_zero=True), 12)[0, :, 0].tolist() == [255 - value for value in SEEN]
    brighter = read(encoded(Image.fromarray(STEPS), "PNG"), 12)
    assert (brighter.pixels[0, 1:] == 255).all()
    assert brighter.odd.text == "16 of 12 bits"
    with pytest.raises(Broken, match=r"colours of 16 bits, of which Pillow keeps the upper 8: -12bit is for greys"):
        opened(png16(few, 2), 12)
    plain = encoded(noise(8, 8), "PNG")
    assert (opened(plain, 12) == opened(plain)).all()


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_pixels_without_a_certain_place_in_rgb_are_broken(mode: str) -> None:
    with pytest.raises(Broken, match=f"mode {mode} have no certain place in RGB"):
        opened(encoded(Image.new(mode, (8, 8), 1 if mode != "LAB" else (1, 2, 3)), "TIFF"))


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


LOST = {
    "cut in its scan": lambda content: content[: len(content) // 2] + b"\xff\xd9",
    "cut in its scan, and more after its end": lambda content: content[: len(content) // 2] + b"\xff\xd9more",
    "cut, of an unknown revision": lambda content: LOST["cut in its scan"](HARMLESS["an unknown revision"](content)),
    "cut, bytes before its scan": lambda content: LOST["cut in its scan"](HARMLESS["bytes before its scan"](content)),
}
HARMLESS = {
    "bytes before its scan": lambda content: content.replace(b"\xff\xda", b"\1\2\3\xff\xda", 1),
    "bytes before its frame": lambda content: re.sub(rb"(\xff[\xc0\xc2])", rb"\0\0\0\1", content, count=1),
    "bytes before all markers": lambda content: re.sub(rb"(\xff[\xc4\xda\xd9])", rb"ab\1", content),
    "bytes before its end": lambda content: content[:-2] + b"bytes" + content[-2:],
    "bytes after its end": lambda content: content + b"\0" * 100,
    "an unknown revision": lambda content: content.replace(b"JFIF\0\1", b"JFIF\0\7", 1),
}


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_has_lost_data_is_broken_and_one_with_odd_bytes_is_whole(mode: str, progressive: bool) -> None:
    whole = encoded(noise(80, 120).convert(mode), "JPEG", progressive=progressive)
    expected = opened(whole)
    for cut in LOST.values():
        with pytest.raises(Broken, match="Corrupt JPEG data: premature end of data segment"):
            opened(cut(whole))
    for change in HARMLESS.values():
        assert (opened(change(whole)) == expected).all()


def test_jpegs_that_lost_what_lies_between_restarts_are_broken() -> None:
    whole = encoded(noise(80, 120), "JPEG", restart_marker_rows=1)
    first, second, last = (whole.index(bytes((0xFF, 0xD0 + k))) for k in (1, 2, 3))
    for content in (
        whole[:first] + whole[second:],
        whole[:last] + whole[last + 2 :],  # of which libjpeg says first that there are bytes too many
        whole[:last] + b"\xff\xd9",
    ):
        with pytest.raises(Broken, match=r"found marker 0xd. instead of RST"):
            opened(content)


def test_jpegs_with_impossible_codes_are_broken() -> None:
    whole = encoded(noise(80, 120), "JPEG")
    content = whole[:-200] + b"\xff\0" * 9 + whole[-200:]  # stuffed bytes of ones: no code is all ones
    with pytest.raises(Broken, match="bad Huffman code"):
        opened(content)


def bombs() -> dict[str, bytes]:
    """Files that say that they have 65,520 x 65,520 pixels."""
    jpeg, png = (bytearray(encoded(Image.new("RGB", (8, 8)), kind)) for kind in ("JPEG", "PNG"))
    at = jpeg.index(b"\xff\xc0")  # start of frame: length, bits, height, width
    jpeg[at + 5 : at + 9] = b"\xff\xf0\xff\xf0"
    head = chunk(b"IHDR", b"\0\0\xff\xf0\0\0\xff\xf0" + bytes(png[24:29]))
    return {"JPEG": bytes(jpeg), "PNG": bytes(png[:8]) + head + bytes(png[33:])}


@pytest.mark.parametrize("kind", bombs())
def test_an_image_that_would_fill_the_memory_is_broken(kind: str) -> None:
    with pytest.raises(Broken, match=r"too large .* \(4292870400 pixels\) exceeds limit of \d+ .*decompression bomb"):
        opened(bombs()[kind])


@pytest.mark.parametrize("size", [(61, 40), (40, 61), (50, 50), (33, 98), (20, 15), (16, 256), (255, 16), (3, 48)])
@pytest.mark.parametrize("interpolation", FILTERS)
def test_what_is_stored_is_what_torchvision_makes_of_it(size: tuple[int, int], interpolation: str) -> None:
    image = noise(*size)
    content = encoded(image, "PNG")
    for side in (16, 31, 64):
        for fit, resized in (("crop", side), ("warp", [side, side])):
            resize, crop = v2.Resize(resized, InterpolationMode(interpolation)), v2.CenterCrop(side)
            # Lanczos is for Pillow images only
            steps = [resize, v2.PILToTensor()] if interpolation == "lanczos" else [v2.PILToTensor(), resize]
            expected = v2.Compose([*steps, crop])(image).permute(1, 2, 0)
            stored = decode(content, side, fit, interpolation)
            assert (stored == expected.numpy()).all()
            assert fit == "crop" or stored.flags.c_contiguous  # or torch has not seen that channels are last: slow


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_001), (333, 20), (15, 300)])
def test_of_an_image_that_is_far_longer_than_wide_the_middle_is_resized(
    size: tuple[int, int], interpolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    areas: list[int] = []
    interpolate, resize = decoding.interpolate, Image.Image.resize

    def counted(batch: torch.Tensor, shape: tuple[int, int], **how: Any) -> torch.Tensor:
        areas.append(shape[0] * shape[1])
        return interpolate(batch, shape, **how)

    def counted_by_pillow(image: Image.Image, shape: tuple[int, int], *how: Any) -> Image.Image:
        areas.append(shape[0] * shape[1])
        return resize(image, shape, *how)

    monkeypatch.setattr(decoding, "interpolate", counted)
    monkeypatch.setattr(Image.Image, "resize", counted_by_pillow)
    image = noise(*size)
    content = encoded(image, "PNG")
    kept = 16 * min(size) + max(size) % 2  # the centre stays where it is: as much goes on both sides
    middle = encoded(v2.CenterCrop((min(size[0], kept), min(size[1], kept)))(image), "PNG")
    assert (decode(content, 64, "crop", interpolation) == decode(middle, 64, "crop", interpolation)).all()
    assert max(areas) <= 64 * 64 * 17
    warped, other = (decode(one, 64, "warp", interpolation) for one in (content, middle))
    assert (warped != other).any()  # nothing of it is cut off


def test_filters_differ_and_none_aliases() -> None:
    checks = encoded(Image.fromarray((np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)), "PNG")
    for name in FILTERS:
        assert np.abs(decode(checks, 16, "crop", name)[2:-2, 2:-2].astype(int) - 127).max() <= 3
    found = {decode(encoded(noise(90, 60), "PNG"), 16, "crop", name).tobytes() for name in FILTERS}
    assert len(found) == 3
