"""textnet: the description of a small transformer of this package for texts. No torch.

Its segments are the embedding of tokens and their places, four blocks, and the mean over tokens. `textnet@30522` has
rows for that many ids of tokens; without a number as many as letters need.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from yosinski.errors import BadInput
from yosinski.networks.architectures import INITIALISERS, SegmentCost

LETTERS = 257  # ids of bytes, and that of padding
BLOCKS = 4
TOKENS = 32  # of a text, for costs, where a recipe does not say how long texts may be
NAME = re.compile(r"textnet(?:@(\d+))?")


@dataclass(frozen=True)
class TextNet:
    """Segments with the sizes of their tensors; a counterpart of `Architecture` for texts."""

    vocabulary: int = LETTERS  # number of ids of tokens
    length: int = 128  # most tokens of a text; a recipe may cut to fewer
    width: int = 64  # of the vector of a token
    heads: int = 4
    hidden: int = 128  # width within a block
    reads: str = "texts"
    side: int = 0
    left_off: tuple[str, ...] = ()
    paired: tuple[int, ...] = ()
    paper: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @cached_property
    def cuts(self) -> tuple[str, ...]:
        """The names of the segments n = 1..N after which the network can be cut."""
        return ("embed", *(f"block{k}" for k in range(1, BLOCKS + 1)), "mean")

    @property
    def initialisers(self) -> tuple[str, ...]:
        """The names of initialisers for this network."""
        return tuple(name for name in INITIALISERS if name not in ("own", "paper"))

    def costs(self, outputs: int, length: int = 0) -> list[SegmentCost]:
        """One row per segment, for one text of so many tokens (0: TOKENS); the last is the head."""
        tokens, width, hidden = length or TOKENS, self.width, self.hidden
        weights = 4 * width**2 + 2 * width * hidden  # query, key, value and output; two layers
        biases = 4 * width + hidden + width + 4 * width  # the last ones are of two normalisations
        flops = 2 * weights * tokens + 4 * tokens**2 * width  # products of tokens with tokens, twice
        rows = [SegmentCost("embed", (self.vocabulary + self.length) * width, 0, (tokens, width))]
        rows += [SegmentCost(name, weights + biases, flops, (tokens, width)) for name in self.cuts[1:-1]]
        rows.append(SegmentCost("mean", 2 * width, 0, (width,)))
        return [*rows, SegmentCost("head", (width + 1) * outputs, 2 * width * outputs, (outputs,))]


def described(network: str) -> TextNet | None:
    """The description of a network with this name; None for other networks. BadInput for a number that is too small."""
    match = NAME.fullmatch(network)
    if match is None:
        return None
    if match[1] and int(match[1]) < 2:
        raise BadInput(f"network {network!r}: the number of ids of tokens must follow the @, as in textnet@30522")
    return TextNet(vocabulary=int(match[1] or LETTERS))
