"""What stored features save: frozen copies on ever new pictures, and on four fixed views of every image.

    python benchmarks/stored_features.py [DIRECTORY]

trains alexnet32 on a half of emoji at two cuts, and resnet18@32 on twenty of its classes, 40 epochs each, on the CPU in
float32 with one thread. Copies are trained one at a time. Target: at least threefold for alexnet32 at its last cut.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from yosinski.data import find
from yosinski.data.halves import split
from yosinski.environment import Where
from yosinski.experiment.recipes import EMOJI
from yosinski.experiment.run import Run
from yosinski.procedure import run_pack
from yosinski.records import specs, states

VIEWS = 4
CASES = (("alexnet32", (5, 7), 100), ("resnet18@32", (7, 9), 20))  # network, cuts, classes


def train(run: Run, where: Where) -> tuple[float, float, float]:
    """Seconds of the processor and of the clock, and accuracy on test images."""
    specs.enrol(where.runs, run)
    began, clock = time.process_time(), time.perf_counter()
    run_pack([run.id], where)
    took = time.process_time() - began, time.perf_counter() - clock
    record = states.read_record(specs.folder(where.runs, run.id))
    assert record is not None
    return *took, record["metrics"]["test_top1"]


def main(directory: Path) -> None:
    """Print a row for every cut and way."""
    where = Where(directory / "runs", directory / "stores", "cpu", "float32")
    halves = split(find.card("emoji"), "random:0")
    print("network      copy   pictures  processor   clock  test   speed-up")
    for network, cuts, classes in CASES:
        a, b = (replace(half, classes=half.classes[:classes]) for half in (halves.a, halves.b))
        base = Run(network, a, EMOJI.with_values({"epochs": 8.0}))
        train(base, where)
        for cut in cuts:
            copy = Run(network, b, EMOJI, treatment="frozen", cut=cut, parent=base)
            plain = 0.0
            for views in (0, VIEWS):
                recipe = EMOJI.with_values({"views": views})
                processor, clock, top1 = train(replace(copy, recipe=recipe), where)
                plain = plain or processor
                print(
                    f"{network:12} {copy.name:6} {f'{views} views' if views else 'new':8}"
                    f" {processor:8.1f} s {clock:6.1f} s {top1:6.3f} {plain / processor:7.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
