"""The rate at which the store of a folder of JPEGs is made, against that at which the same cores only decode them.

    python benchmarks/store_images.py --images 10000

Measured in one run, in turn, on the same files. `Pillow` and `simplejpeg`: every file is read and decoded to RGB in as
many processes as there are cores, and nothing is kept. `store`: the command `yosinski data store`, from its start to
its end: listing, looking at every file, decoding, resizing, hashing, writing, checksums, index. A store is compared
with the mean of decoding before it and after it, by Pillow, which everybody has, and by the decoder that it uses.
"""

import argparse
import io
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import simplejpeg

from yosinski import environment
from yosinski.data.place import Place

CLASSES = 100


def write(path: Path, images: int, side: int) -> None:
    """JPEGs of side x side pixels with some grain, at quality 90; 1000 different ones, over and over again."""
    draw = np.random.default_rng(0)
    contents = []
    for _ in range(min(images, 1000)):
        coarse = PIL.Image.fromarray(draw.integers(0, 256, (side // 8, side // 8, 3), np.uint8))
        grain = draw.normal(0, 6, (side, side, 1))
        pixels = np.asarray(coarse.resize((side, side), PIL.Image.Resampling.BICUBIC)) + grain
        file = io.BytesIO()
        PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        contents.append(file.getvalue())
    for k in range(images):
        folder = path / f"class {k % CLASSES:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{k}.jpg").write_bytes(contents[k % 1000])
    os.sync()  # or the disk is busy with these files while the first rate is measured


def pillow(files: list[Path]) -> int:
    """Decode files to RGB, and nothing else."""
    for file in files:
        with PIL.Image.open(file) as image:
            image.convert("RGB")
    return len(files)


def turbo(files: list[Path]) -> int:
    """The same by simplejpeg."""
    for file in files:
        simplejpeg.decode_jpeg(file.read_bytes(), "RGB")
    return len(files)


def decoding(path: Path, workers: int, decode: Callable[[list[Path]], int]) -> float:
    """Images a second that so many processes decode, their start included."""
    files = sorted(path.rglob("*.jpg"))
    began = time.perf_counter()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        done = sum(pool.map(decode, [files[at : at + 256] for at in range(0, len(files), 256)]))
    return done / (time.perf_counter() - began)


def storing(text: str, stores: Path, workers: int) -> float:
    """Seconds that it takes to make a store."""
    command = [sys.executable, "-m", "yosinski", "data", "store", text, "--stores", str(stores)]
    began = time.perf_counter()
    subprocess.run([*command, "--workers", str(workers), "--yes"], check=True, stdout=subprocess.DEVNULL)
    took = time.perf_counter() - began
    shutil.rmtree(stores)
    return took


def shares(ratios: list[float]) -> str:
    """A store's rate as shares of the decoders' rates."""
    return f"store/Pillow {ratios[0]:.2f}, store/simplejpeg {ratios[1]:.2f}"


def main() -> None:
    """Print the rates of every round, and their ratios."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=10_000)
    options.add_argument("--side", type=int, default=200, help="of the JPEGs, in pixels")
    options.add_argument("--geometry", default="-73-crop", help="of the store (default: -73-crop, for networks of 64)")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--workers", type=int, default=environment.cores())
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jpegs"
        write(path, given.images, given.side)
        size = sum(file.stat().st_size for file in path.rglob("*.jpg")) / given.images
        print(f"{given.images} JPEGs of {given.side} x {given.side}, {size / 1000:.1f} kB; {given.workers} processes")
        place = Place.of(f"imagefolder{given.geometry}:{path}")
        decoded, ratios = [[decoding(path, given.workers, decode) for decode in (pillow, turbo)]], []
        for _ in range(given.rounds):
            stored = given.images / storing(place.text, Path(folder) / "stores", given.workers)
            decoded.append([decoding(path, given.workers, decode) for decode in (pillow, turbo)])
            rates = [statistics.mean(both) for both in zip(*decoded[-2:], strict=True)]
            ratios.append([stored / rate for rate in rates])
            told = f"store {stored:,.0f} images/s, Pillow {rates[0]:,.0f}, simplejpeg {rates[1]:,.0f}"
            print(f"{place.name}: {told}; {shares(ratios[-1])}", flush=True)
        medians = [statistics.median(column) for column in zip(*ratios, strict=True)]
        print(f"median of {given.rounds}: {shares(medians)}")


if __name__ == "__main__":
    main()
