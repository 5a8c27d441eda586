"""Every classification model of torchvision, and some of timm: where it can be cut, and how long finding that takes.

    python benchmarks/networks.py [NETWORK ...]

finds the cuts of each from scratch, compares head and tail at every cut with the plain model as the tests do, and
writes `docs/networks.md` (with NETWORK: prints those rows only), but for its last part, which is written by hand.
"""

# ruff: noqa: E402
import gc
import sys
import time
from collections.abc import Iterable
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "examples")]

import torch
from uncut import TIMM, compare, smallest

from yosinski.errors import BadInput
from yosinski.networks import libraries
from yosinski.networks.catalogue import named
from yosinski.networks.tracing import graph

HEADER = """# Where networks can be cut

Tables written by `python benchmarks/networks.py`, with torch {torch}, torchvision {torchvision} and timm {timm}.
Networks are called as their library does, `timm:` before those of timm; `resnet18@64` sees 64 x 64 pixels.
`yosinski cuts NETWORK` says more of one.

A cut is a place in the traced graph that a single tensor of the batch crosses, and nothing else; with no parameter or
buffer used on both sides; not within a block; and with a product with weights between it and the next one. Names are
those of the model's modules.

N: how many cuts. Side: pixels, as the library's weights want them. Found: seconds of one core.
Checked: at every cut, head and tail together against the plain model, with two random images of that many pixels a
side, random weights, float32: the largest difference of an output, relative to the largest output.

| network | N | side | found | checked | difference | cuts |
|---|---|---|---|---|---|---|
"""
NOT = "\n## Not cut\n\n| network | why |\n|---|---|\n"
OWN = "\n## A network of your own\n"  # begins what is written by hand
REFUSED = ("timm:levit_128s", "timm:crossvit_tiny_240")  # that others may expect to work


def row(network: str) -> str:
    """A line of the table; BadInput if the network cannot be cut."""
    name = named(network)
    began = time.process_time()
    described = graph.survey(name)[0]
    took = time.process_time() - began
    small = smallest(network)
    torch.manual_seed(0)
    difference = compare(small)
    gc.collect()
    checked = graph.survey(named(small))[0].side, f"{difference:.0e}" if difference else 0
    cells = f"`{network}`", len(described.cuts), described.side, f"{took:.2f}", *checked, short(described.cuts)
    return f"| {' | '.join(map(str, cells))} |"


def short(cuts: Iterable[str]) -> str:
    """Cuts in short: runs of siblings as `layer1.0` to `layer1.2`."""
    runs = []
    for _, siblings in groupby(cuts, lambda name: name.rpartition(".")[0] if "." in name else name):
        first, *rest = siblings
        runs.append(f"{first} to {rest[-1].rpartition('.')[2]}" if rest else first)
    return ", ".join(runs)


def main(wanted: list[str]) -> None:
    """Print rows as they are found; without names given, write the page."""
    torch.set_num_threads(1)  # so that seconds of a processor are seconds
    networks = wanted or [*libraries.models("torchvision"), *(f"timm:{model}" for model in TIMM), *REFUSED]
    rows, refused = [], []
    for network in networks:
        try:
            rows.append(row(network))
            print(rows[-1], flush=True)
        except BadInput as error:
            refused.append(f"| `{network}` | {error} |")
            print(refused[-1], flush=True)
    if not wanted:
        versions = {library: version(library).partition("+")[0] for library in ("torch", "torchvision", "timm")}
        text = HEADER.format(**versions) + "\n".join(rows) + "\n" + NOT + "\n".join(refused) + "\n"
        page = ROOT / "docs" / "networks.md"
        by_hand = page.read_text(encoding="utf-8").partition(OWN)[2]
        page.write_text(text + OWN + by_hand, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
