"""How long the card of a folder of many small files takes: the first one, with nothing changed, with one file changed.

    python benchmarks/many_files.py [--images 100000] [DIRECTORY]

Each card is asked for in a process of its own, and `python` is a process that imports the same and asks for none. The
files have just been written: what is measured is a warm page cache. Target on two cores: 3 s for 100,000 files of which
none has changed.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from yosinski.data.sources.hashes import SETTLED

CLASSES = 100


def write(path: Path, images: int) -> None:
    """So many different files of 2,000 to 4,000 bytes: no images, as nobody decodes them."""
    draw = np.random.default_rng(0)
    for k in range(images):
        folder = path / f"class {k % CLASSES:02d}"
        folder.mkdir(exist_ok=True)
        (folder / f"{k:06d}.jpg").write_bytes(draw.bytes(int(draw.integers(2000, 4000))))


def took(code: str, cache: Path) -> str:
    """How long a process takes that runs this, and how long its cores are busy (others may be at work here, too)."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    subprocess.run([sys.executable, "-c", f"from yosinski.data import find\n{code}"], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{time.perf_counter() - began:.2f} s ({busy:.2f} s of computing)"


def main() -> None:
    """Write, and ask four times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "directory", nargs="?", type=Path, help="where the files are written (default: a temporary one)"
    )
    parser.add_argument("--images", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory) as folder:
        path, cache = Path(folder) / "images", Path(folder) / "cache"
        path.mkdir()
        write(path, given.images)
        time.sleep(SETTLED + 1)  # before, no hash is remembered
        card = f"find.card('imagefolder:{path}')"
        print(f"python: {took('from yosinski.data import find', cache)}")
        print(f"first card of {given.images:,} files: {took(card, cache)}")
        print(f"nothing changed: {took(card, cache)}")
        (path / "class 07" / f"{7:06d}.jpg").write_bytes(b"other")
        print(f"one file changed: {took(card, cache)}")
        (remembered,) = (cache / "yosinski").glob("hashes-*")
        print(f"remembered in {remembered.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
