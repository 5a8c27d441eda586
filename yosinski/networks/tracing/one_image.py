"""The segments of a traced network that cannot be trained on a batch of one image."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import fx, nn

TOO_FEW = "Expected more than 1 value per channel"  # torch's message for batch norm on a single value


class _OfOne(fx.Interpreter):
    """Runs the operations on one image; `failed` are those that would normalise a single value."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__(model, graph=graph)
        self.failed: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        """Run one operation. The result of a failed one has the shape of its input."""
        try:
            value = super().run_node(n)
        except ValueError as error:
            if TOO_FEW not in str(error):
                raise
            self.failed.add(n)
            value = self.fetch_args_kwargs_from_env(n)[0][0]
        return value.to("meta") if n.op == "get_attr" else value  # constants are real


def in_pairs(model: nn.Module, graph: fx.Graph, side: int, stops: Sequence[int]) -> tuple[int, ...]:
    """The segments n = 1..N + 1 that need at least two images in training.

    stops: ends of the segments in the list of nodes. model: on the meta device, in training mode. If the network cannot
    compute one image at all, the result is all segments.
    """
    interpreter = _OfOne(model, graph)
    try:
        with torch.no_grad(), torch.device("meta"):
            interpreter.run(torch.empty(1, 3, side, side))
    except Exception:  # networks raise all kinds of exceptions
        return tuple(range(1, len(stops) + 1))
    return tuple(_segments(list(graph.nodes), interpreter.failed, stops))


def _segments(nodes: Sequence[fx.Node], failed: set[fx.Node], stops: Sequence[int]) -> Iterator[int]:
    start = 0
    for n, stop in enumerate(stops, 1):
        if failed.intersection(nodes[start:stop]):
            yield n
        start = stop
