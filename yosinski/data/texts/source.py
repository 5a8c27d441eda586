"""What the store of a text data set is made of, and its texts once they are tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

TOKENS = "tokens.npy"  # of a store
COLUMNS = ("first", "count", "shown")  # of an index, where examples are drawn from several texts


@dataclass(frozen=True)
class Source:
    """The texts of a data set and its examples.

    index: int32 [4, N]: set, class, domain and number of every example, as in a store
    first, count: int64 [N]: the texts that an example may be in training; None: text k for example k
    shown: int64 [N]: the one that it is in evaluation
    answers: int32 [N] by question: labels beside the class, -1 for none
    """

    texts: Sequence[str]
    index: np.ndarray
    first: np.ndarray | None = None
    count: np.ndarray | None = None
    shown: np.ndarray | None = None
    answers: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Texts:
    """The texts of a store as tokens.

    ids: uint16 or uint32 [T], memory-mapped, text after text; ends: int64 [M + 1], from 0
    first, count, shown: as in a source, int64 [N]
    closing: number of tokens that end every text and stay where it is cut
    """

    ids: np.ndarray
    ends: np.ndarray
    first: np.ndarray
    count: np.ndarray
    shown: np.ndarray
    closing: int = 0

    @property
    def lengths(self) -> np.ndarray:
        """The number of tokens of every text, int64 [M]."""
        return np.diff(self.ends)

    def belong_to(self, rows: np.ndarray) -> np.ndarray:
        """Which texts any of these examples may be, bool [M]."""
        begin, end = (
            np.bincount(of, minlength=len(self.ends)) for of in (self.first[rows], (self.first + self.count)[rows])
        )
        return np.cumsum(begin - end)[:-1] > 0

    def drawn(self, random: np.random.Generator, rows: np.ndarray) -> np.ndarray:
        """A text for each of these examples, int64 [n]; one number is drawn for each, needed or not."""
        return self.first[rows] + (random.random(len(rows)) * self.count[rows]).astype(np.int64)

    def padded(self, texts: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        """The ids of these texts, int64 [b, L], zero where a text has ended, and their lengths, int64 [b].

        Texts are cut to `most` tokens; L is the length of the longest.
        """
        starts = self.ends[texts]
        whole = self.ends[texts + 1] - starts
        lengths = np.minimum(whole, most)
        places = np.arange(lengths.max())
        ends = self.closing * (whole > most)  # what ends a text comes from its end
        shift = np.where(places >= (lengths - ends)[:, None], (whole - lengths)[:, None], 0)
        inside = places < lengths[:, None]
        ids = np.zeros(inside.shape, np.int64)
        ids[inside] = self.ids[(starts[:, None] + places + shift)[inside]]
        return ids, lengths


def opened(path: Path, index: Any, closing: int, rows: int) -> Texts:
    """The texts of a store. index: the opened index.npz; rows: number of examples."""
    ids = np.load(path / TOKENS, mmap_mode="r", allow_pickle=False)
    ends = np.load(path / "ends.npy", allow_pickle=False)
    if "first" in index:
        first, count, shown = (index[name] for name in COLUMNS)
        return Texts(ids, ends, first, count, shown, closing)
    every = np.arange(rows)
    return Texts(ids, ends, every, np.ones(rows, np.int64), every, closing)
