"""What a step and an evaluation ask of a device: operations, bytes they read and write, and waits. Needs no GPU.

    python benchmarks/counts.py [--directory DIRECTORY]

trains packs of alexnet32 (a base; 14 copies) for a few steps on the CPU and counts what torch dispatches. A wait is
where the processor needs a value from the device (`item`, `nonzero`, a copy into NumPy's memory); a copy is one from
the processor's memory. On a CPU nothing waits: these are counts of what a GPU would wait for. Of caffenet a pass of 256
images forward and back is counted, from what 2 and 4 images take.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from yosinski import procedure
from yosinski.data import find
from yosinski.data.halves import split
from yosinski.environment import Where
from yosinski.experiment.recipes import EMOJI
from yosinski.experiment.run import Run
from yosinski.networks.architectures import ARCHITECTURES
from yosinski.networks.batch import Batch
from yosinski.networks.build import build
from yosinski.records import specs
from yosinski.training import evaluation, loop

RECIPE = EMOJI.with_values({"epochs": 1.0, "evaluations": 1})
WAITS = "aten._local_scalar_dense", "aten.nonzero", "aten.masked_select"
VIEWS = "view", "expand", "permute", "transpose", "as_strided", "slice", "select", "detach", "unsqueeze", "alias", "t"
NO_KERNEL = tuple(f"aten.{name}." for name in (*VIEWS, "_unsafe_view", "unfold", "unbind"))  # beginnings of names


class Counted(TorchDispatchMode):
    """Counts operations that launch kernels, bytes of their tensors, and waits."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operation."""
        result = func(*args, **(kwargs or {}))
        name = str(func)
        if name.rpartition(".")[0] in WAITS:
            self.counts["waits"] += 1
        elif not name.startswith(NO_KERNEL):
            given = result if name.startswith("aten.index.") else (args, kwargs)  # which reads what it chooses
            tensors = [leaf for leaf in tree_leaves((given, result)) if isinstance(leaf, torch.Tensor)]
            self.counts["operations"] += 1
            self.counts["bytes"] += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


def counted(runs: list[Run], where: Where) -> dict[str, Counter[str]]:
    """The counts of one step and of one evaluation, each the last of a training."""
    found: dict[str, Counter[str]] = {}
    kept = loop.step_of_all, evaluation.evaluate

    def counting(name: str, work: Any) -> Any:
        def with_counts(*given: Any, **named: Any) -> Any:
            with Counted() as mode:
                result = work(*given, **named)
            found[name] = mode.counts
            return result

        return with_counts

    loop.step_of_all, evaluation.evaluate = counting("step", kept[0]), counting("evaluation", kept[1])
    try:
        for run in runs:
            specs.enrol(where.runs, run)
        procedure.run_pack([run.id for run in runs], where)
    finally:
        loop.step_of_all, evaluation.evaluate = kept
    return found


def of_pass(name: str, images: int) -> Counter[str]:
    """The counts of a pass forward and back, with a mean image and without an update."""
    side = ARCHITECTURES[name].side
    network, labels = build(name, 1000, side + 29), torch.zeros(images, dtype=torch.int64)
    pixels = torch.zeros(images, side, side, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    with Counted() as mode:
        functional.cross_entropy(network(Batch.whole(pixels)), labels).backward()
    return mode.counts


def main() -> None:
    """Print the counts of packs, and of a pass of caffenet."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--directory", type=Path, help="of the stores (default: stores)", default=Path("stores"))
    given = options.parse_args()
    halves = split(find.card("emoji"), "random:0")
    bases = [Run("alexnet32", half, RECIPE) for half in (halves.a, halves.b)]
    copies = [bases[1].copy(n, kind, bases[0]) for kind in ("frozen", "tuned") for n in range(1, 8)]
    with tempfile.TemporaryDirectory() as runs:
        where = Where(Path(runs), given.directory, "cpu", "float32")
        for name, pack in (("a base", bases[:1]), ("14 copies", copies)):
            for what, counts in counted(pack, where).items():
                told = f"{counts['operations']:,} operations, {counts['bytes'] / 1e6:,.0f} MB, {counts['waits']} waits"
                print(f"{what} of {name}: {told}", flush=True)
    two, four = (of_pass("caffenet", images) for images in (2, 4))
    an_image = (four["bytes"] - two["bytes"]) / 2
    told = f"{four['operations']} operations, {(two['bytes'] + 254 * an_image) / 1e9:.1f} GB"
    print(f"pass of 256 images of caffenet: {told}, {an_image / 1e6:.1f} MB for each image and the rest for weights")


if __name__ == "__main__":
    main()
