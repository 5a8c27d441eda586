"""Which segments of a traced network cannot be trained on a batch of one image."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import fx, nn

TOO_FEW = "Expected more than 1 value per channel"  # torch, where batch norm has a single value to normalise


class _OfOne(fx.Interpreter):
    """Runs the operations on one image; `failed` are those that normalise a single value by itself."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__(model, graph=graph)
        self.failed: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        """One operation; what normalises gives a tensor like the one that it takes."""
        try:
            value = super().run_node(n)
        except ValueError as error:
            if TOO_FEW not in str(error):
                raise
            self.failed.add(n)
            value = self.fetch_args_kwargs_from_env(n)[0][0]
        return value.to("meta") if n.op == "get_attr" else value  # constants are real


def in_pairs(model: nn.Module, graph: fx.Graph, side: int, stops: Sequence[int]) -> tuple[int, ...]:
    """The segments n = 1..N + 1 that are trained on two images at least; stops: of the segments among the nodes.

    model: on the meta device, in training. All of them, if the network cannot compute one image at all.
    """
    made = _OfOne(model, graph)
    try:
        with torch.no_grad(), torch.device("meta"):
            made.run(torch.empty(1, 3, side, side))
    except Exception:  # whatever a network makes of a batch for which it was not made
        return tuple(range(1, len(stops) + 1))
    return tuple(_segments(list(graph.nodes), made.failed, stops))


def _segments(nodes: Sequence[fx.Node], failed: set[fx.Node], stops: Sequence[int]) -> Iterator[int]:
    start = 0
    for n, stop in enumerate(stops, 1):
        if failed.intersection(nodes[start:stop]):
            yield n
        start = stop
