"""Batches of texts, and the mask of their tokens, which goes around the segments of a network and not through them.

Segments take and give one tensor each, float32 [b, length, width], as those of pictures do. Which positions hold tokens
is known beside them while a batch is computed: attention and means over tokens ask for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch

PADDING = 0  # the id of positions after the end of a text


class Tokens(NamedTuple):
    """Texts of at most L tokens, the first ones of every row; what follows is padding."""

    ids: torch.Tensor  # int64 [b, L]
    lengths: torch.Tensor  # int64 [b], at least 1

    @property
    def mask(self) -> torch.Tensor:
        """The mask, bool [b, L]: True where there is a token."""
        return torch.arange(self.ids.shape[1], device=self.lengths.device) < self.lengths[:, None]

    def to(self, device: str) -> "Tokens":
        """The batch on a device."""
        return Tokens(*(tensor.to(device) for tensor in self))


_MASK: ContextVar[torch.Tensor | None] = ContextVar("mask", default=None)


@contextmanager
def around(tokens: Tokens) -> Iterator[None]:
    """Context in which segments see the mask of these texts."""
    token = _MASK.set(tokens.mask)
    try:
        yield
    finally:
        _MASK.reset(token)


def mask() -> torch.Tensor:
    """The mask, bool [b, L], of the texts that are being computed. LookupError outside of `around`."""
    present = _MASK.get()
    if present is None:
        raise LookupError("no texts are being computed")
    return present
