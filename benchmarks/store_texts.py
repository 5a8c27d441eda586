"""How fast short texts become a store: seconds, beside the seconds that reading the same table takes alone.

    python benchmarks/store_texts.py [--texts 1000000] [--tokens DIRECTORY]

The texts are keywords of the emoji in English, two to six of them, with one of 20 labels; the table is Parquet. It
also says how busy the machine was: the load is the number of processes that wanted a core in the last minute.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from yosinski.data import find, store
from yosinski.data.texts import words
from yosinski.randomness import generator


def table(texts: int) -> pd.DataFrame:
    """Texts and labels."""
    random = generator("store_texts", texts)
    every = np.array(sorted({word for of_class in words.keywords()["en"] for word in of_class}))
    chosen, counts = every[random.integers(0, len(every), (texts, 6))], random.integers(2, 7, texts)
    joined = [" ".join(row[:count]) for row, count in zip(chosen.tolist(), counts.tolist(), strict=True)]
    return pd.DataFrame({"text": joined, "label": [f"label{k}" for k in random.integers(0, 20, texts)]})


def main() -> None:
    """Measure, and print a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--tokens", type=Path, help="directory of a tokenizer (default: letters)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.parquet"
        table(options.texts).to_parquet(path, index=False)
        os.environ["XDG_CACHE_HOME"] = folder
        began = time.perf_counter()
        pd.read_parquet(path)
        reading = time.perf_counter() - began
        text = f"textfile:{path}" + (f",tokens={options.tokens}" if options.tokens else "")
        began = time.perf_counter()
        card = find.card(text)
        listed = time.perf_counter() - began
        store.make(card, Path(folder) / "stores")
        whole = time.perf_counter() - began
        kind = "word pieces" if options.tokens else "letters"
        print(
            f"{options.texts:,} texts as {kind}: card {listed:.1f} s, with store {whole:.1f} s, reading {reading:.1f} s"
        )
        print(f"{whole / reading:.0f} times the reading; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
