"""Image files of every odd kind that may lie in a data set, and the lines of docs/your-network.md that read them."""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

LINES = re.compile(r"^```python\n((?:(?!^```).)*?def picture.*?)^```", re.MULTILINE | re.DOTALL)
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>'
SIZES = ((50, 73), (73, 50), (41, 40), (64, 64), (20, 90), (91, 32))  # (width, height)


def documented(saw: dict[str, Any]) -> dict[str, Any]:
    """What the documented lines define, such as `picture` and `steps`, for what an exported file says."""
    text = (Path(__file__).parents[2] / "docs" / "your-network.md").read_text(encoding="utf-8")
    (lines,) = LINES.findall(text)
    imports, rest = lines.split("with safe_open", 1)
    found: dict[str, Any] = {"saw": saw}
    exec(imports + rest[rest.index("def picture") : rest.index("\nimage = ")], found)
    return found


def encoded(image: Image.Image, kind: str, **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)  # pyright: ignore[reportArgumentType]
    return file.getvalue()


def noise(width: int, height: int, bands: int = 3, seed: int = 0) -> Image.Image:
    """Coarse noise: filters and corners show, and JPEGs are small."""
    coarse = np.random.default_rng(seed).integers(0, 256, (-(-height // 4), -(-width // 4), bands), np.uint8)
    pixels = coarse.repeat(4, 0).repeat(4, 1)[:height, :width]
    return Image.fromarray(pixels[..., 0] if bands == 1 else pixels)


def deep(width: int, height: int, bits: int = 16, seed: int = 0) -> np.ndarray:
    """Greys of so many bits, uint16 [height, width]; 0 and the greatest value are among them."""
    greys = np.random.default_rng(seed).integers(0, 1 << bits, (height, width), np.uint16)
    greys[0, :2] = 0, (1 << bits) - 1
    return greys


def exif(turn: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = turn
    return found


def mpo(image: Image.Image, turn: int) -> bytes:
    """A JPEG with a second picture, the first one upside down, behind it; Pillow writes no EXIF into one."""
    content, block = encoded(image, "MPO", save_all=True, append_images=[image.rotate(180)]), exif(turn).tobytes()
    return content[:2] + b"\xff\xe1" + (2 + len(block)).to_bytes(2) + block + content[2:]


def tiff(greys: np.ndarray, bits: int, white_is_zero: bool = False, big: bool = False, turn: int = 1) -> bytes:
    """A TIFF of greys without compression: what Pillow reads, but does not write."""
    order, (height, width) = ">" if big else "<", greys.shape
    if bits == 12:
        rows = ["".join(f"{grey:012b}" for grey in row) for row in greys.tolist()]
        data = b"".join(int(row + "0" * (-len(row) % 8), 2).to_bytes(-(-len(row) // 8)) for row in rows)
    else:
        data = greys.astype(f"{order}u{bits // 8}").tobytes()
    shorts = {256: width, 257: height, 258: bits, 259: 1, 262: int(not white_is_zero), 274: turn, 277: 1, 278: height}
    longs = {273: 8 + 2 + 12 * 10 + 4, 279: len(data)}
    entries = [struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in shorts.items()]
    entries += [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in longs.items()]
    entries.sort(key=lambda entry: struct.unpack(f"{order}H", entry[:2]))
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(f"{order}IH", 8, len(entries))
    return head + b"".join(entries) + bytes(4) + data


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(greys: np.ndarray, kind: int) -> bytes:
    """A PNG with 16 bits a colour, every one the same: kind 2 is RGB, 4 grey with alpha, 6 RGB with alpha."""
    height, width = greys.shape
    values = greys.repeat({2: 3, 4: 2, 6: 4}[kind], 1).astype(">u2")
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def see_through(kind: str, mode: str, size: tuple[int, int], **how: object) -> bytes:
    """Colours beneath alpha from 0 to 255, the colours unlike black and white."""
    image = noise(*size, bands=4).convert("RGBA")
    if mode == "P":
        image = noise(*size).quantize(16)
        how = {**how, "transparency": bytes(range(0, 256, 16))}
    elif mode in ("L", "RGB"):
        image = image.convert(mode)
        how = {**how, "transparency": image.getpixel((0, 0))}
    return encoded(image.convert(mode), kind, **how)


def named() -> Iterator[tuple[str, bytes]]:
    """Odd files that are whole, with names that say what is odd. None uses its bits otherwise than it says."""
    sizes = iter(SIZES * 20)
    for mode in ("RGBA", "LA", "P", "L", "RGB"):
        yield f"alpha {mode}.png", see_through("PNG", mode, next(sizes))
    yield "alpha.webp", see_through("WEBP", "RGBA", next(sizes), lossless=True, exact=True)
    yield "alpha avif.png", see_through("AVIF", "RGBA", next(sizes))
    for mode in ("RGBA", "LA"):
        yield f"alpha {mode}.tiff", see_through("TIFF", mode, next(sizes))
    yield "alpha.gif", encoded(noise(*next(sizes)).quantize(16), "GIF", transparency=3)

    for turn in range(1, 9):
        yield f"turned {turn}.jpg", encoded(noise(*next(sizes)), "JPEG", exif=exif(turn))
        yield f"turned {turn}.png", encoded(noise(*next(sizes)), "PNG", exif=exif(turn))
        yield f"turned {turn}.tif", encoded(noise(*next(sizes)), "TIFF", tiffinfo={274: turn})
        yield f"turned {turn}.webp", encoded(noise(*next(sizes)), "WEBP", exif=exif(turn), lossless=True)
        yield f"turned {turn} avif.png", encoded(noise(*next(sizes)), "AVIF", exif=exif(turn))
    for turn in (6, 7):
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.format(turn))
        yield f"turned by XMP {turn}.png", encoded(noise(*next(sizes)), "PNG", pnginfo=info)
        yield f"turned by XMP {turn}.jpg", encoded(noise(*next(sizes)), "JPEG", xmp=XMP.format(turn).encode())
        tags = {274: turn, 700: XMP.format(turn).encode()}
        yield f"turned by both {turn}.tif", encoded(noise(*next(sizes)), "TIFF", tiffinfo=tags)
        yield f"turned deep {turn}.tif", tiff(deep(*next(sizes)), 16, turn=turn)
        yield f"turned deep big {turn}.tif", tiff(deep(*next(sizes)), 16, big=True, turn=turn)
        yield f"turned deep {turn}.png", encoded(Image.fromarray(deep(*next(sizes))), "PNG", exif=exif(turn))
        yield f"turned CMYK {turn}.jpg", encoded(noise(*next(sizes)).convert("CMYK"), "JPEG", exif=exif(turn))
        alpha = noise(*next(sizes), bands=4).convert("RGBA")
        yield f"turned alpha {turn}.png", encoded(alpha, "PNG", exif=exif(turn))
    plain, late = encoded(noise(*next(sizes)), "PNG"), chunk(b"eXIf", exif(6).tobytes()[6:])
    yield "turned at its end.png", plain[:-12] + late + plain[-12:]
    yield "no turn at all.png", encoded(noise(*next(sizes)), "PNG", exif=exif(9))
    for kind, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")):
        garbage = b"Exif\0\0" + b"\x99" * 40
        yield f"damaged EXIF.{suffix}", encoded(noise(*next(sizes)), kind, exif=garbage)
        yield f"half an EXIF.{suffix}", encoded(noise(*next(sizes)), kind, exif=exif(6).tobytes()[:-6])

    yield "deep.png", encoded(Image.fromarray(deep(*next(sizes))), "PNG")
    yield "deep alpha.png", encoded(Image.fromarray(deep(*next(sizes))), "PNG", transparency=0x4080)
    for kind in (2, 4, 6):
        yield f"deep colours {kind}.png", png16(deep(*next(sizes)), kind)
    yield "deep.jp2.png", encoded(Image.fromarray(deep(*next(sizes))), "JPEG2000")
    yield "deep.tif", tiff(deep(*next(sizes)), 16)
    yield "deep big.tif", tiff(deep(*next(sizes)), 16, big=True)
    yield "deep packed.tif", encoded(Image.fromarray(deep(*next(sizes))), "TIFF", compression="tiff_lzw")
    yield "deep white.tif", tiff(deep(*next(sizes)), 16, white_is_zero=True)
    yield "12 bits.tif", tiff(deep(*next(sizes), bits=12), 12)
    yield "12 bits turned.tif", tiff(deep(*next(sizes), bits=12), 12, turn=8)
    yield "white.tif", tiff(deep(*next(sizes), bits=8), 8, white_is_zero=True)

    frames = [noise(*next(sizes))]
    frames.append(Image.eval(frames[0], lambda value: 255 - value))
    for kind, suffix in (("GIF", "gif"), ("TIFF", "tiff"), ("WEBP", "webp"), ("PNG", "png"), ("AVIF", "avif.png")):
        yield f"frames.{suffix}", encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    yield "frames.mpo.jpg", mpo(frames[0], 6)
    for mode in ("1", "L", "P"):
        yield f"mode {mode}.png", encoded(noise(*next(sizes)).convert(mode), "PNG")
    for mode in ("L", "CMYK"):
        yield f"mode {mode}.jpg", encoded(noise(*next(sizes)).convert(mode), "JPEG")
    yield "CMYK.tif", encoded(noise(*next(sizes)).convert("CMYK"), "TIFF")
    yield "progressive.jpg", encoded(noise(*next(sizes)), "JPEG", progressive=True)
    yield "bytes before its scan.jpg", encoded(noise(*next(sizes)), "JPEG").replace(b"\xff\xda", b"\1\2\3\xff\xda", 1)
    yield "windows.bmp", encoded(noise(*next(sizes)), "BMP")
    for width, height in ((1, 1), (1, 200), (200, 1), (333, 20), (20, 320), (321, 20), (15, 300), (3, 2)):
        yield f"{width} x {height}.png", encoded(noise(width, height), "PNG")


def files(folder: Path) -> list[Path]:
    """All of them, written into a folder."""
    folder.mkdir(parents=True)
    for name, content in named():
        (folder / name).write_bytes(content)
    return sorted(folder.iterdir())
