"""Batches of texts, and the mask of their tokens, which goes around the segments of a network and not through them.

Segments take and give one tensor each, float32 [b, length, width], as those of pictures do. Which positions hold tokens
is known beside them while a batch is computed: attention and means over tokens ask for it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch

from yosinski.networks.batch import moved

Seen = Any  # what networks are given: `Batch`, crops of pictures, or `Tokens`
PADDING = 0  # the id of positions after the end of a text


class Tokens(NamedTuple):
    """Texts of at most L tokens, the first ones of every row; what follows is padding."""

    ids: torch.Tensor  # int64 [b, L]
    lengths: torch.Tensor  # int64 [b], at least 1

    @property
    def mask(self) -> torch.Tensor:
        """The mask, bool [b, L]: True where there is a token."""
        return torch.arange(self.ids.shape[1], device=self.lengths.device) < self.lengths[:, None]

    def with_room(self, length: int) -> "Tokens":
        """The same texts, with padding up to this number of positions."""
        more = max(0, length - self.ids.shape[1])
        return Tokens(torch.nn.functional.pad(self.ids, (0, more), value=PADDING), self.lengths)

    def to(self, device: str) -> "Tokens":
        """The batch on a device."""
        return Tokens(*(moved(tensor, device) for tensor in self))


_MASKS: ContextVar[Sequence[torch.Tensor | None]] = ContextVar("masks", default=())


@contextmanager
def around(batch: Any) -> Iterator[None]:
    """Context in which segments see the mask of these texts; around pictures, which have none, it does nothing.

    batch: what a network is given: texts, pictures, or a list of them, one for each task or input.
    """
    parts = batch if isinstance(batch, list) else [batch]
    token = _MASKS.set([part.mask if isinstance(part, Tokens) else None for part in parts])
    try:
        yield
    finally:
        _MASKS.reset(token)


@contextmanager
def of_part(k: int) -> Iterator[None]:
    """Context in which segments see the mask of part k of the present batch alone; outside, that of the first."""
    masks = _MASKS.get()
    token = _MASKS.set(masks[k : k + 1] if len(masks) > 1 else masks)
    try:
        yield
    finally:
        _MASKS.reset(token)


def present() -> torch.Tensor | None:
    """The mask, bool [b, L], of the texts that are being computed; None if they are pictures."""
    masks = _MASKS.get()
    return masks[0] if masks else None


def mask() -> torch.Tensor:
    """The mask, bool [b, L], of the texts that are being computed. LookupError outside of `around`."""
    there = present()
    if there is None:
        raise LookupError("no texts are being computed")
    return there
