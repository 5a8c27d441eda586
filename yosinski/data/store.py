"""Stores: a data set as one memory-mapped uint8 array with labels, made once and shared by all runs.

Layout in `docs/formats.md`. A store is made under a temporary name and renamed when it is whole.
"""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yosinski.data import Card
from yosinski.spec import BadInput, Half

FORMAT = 1
SETS = ("train", "select", "test")


@dataclass(frozen=True)
class Store:
    """images: uint8 [N, side, side, 3]; sets, classes, domains, numbers: int [N], indices into SETS and the card."""

    card: Card
    images: np.ndarray
    sets: np.ndarray
    classes: np.ndarray
    domains: np.ndarray
    numbers: np.ndarray

    def rows(self, half: Half, set_name: str, unseen: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The half's images of one set: their rows in the store and their labels, int64 [n] both.

        Labels index the half's classes. Within a class the images are ordered by number, then domain, so that the first
        k are spread over the domains. `unseen` takes the card's unseen domains instead of the half's; no rows if the
        half learns from one of them.
        """
        wanted = self.card.unseen if unseen else half.domain
        if unseen and (not wanted or set(wanted) & set(half.domain)):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        label = np.full(len(self.card.classes), -1)
        label[[self.card.classes.index(name) for name in half.classes]] = np.arange(len(half.classes))
        chosen = (self.sets == SETS.index(set_name)) & (label[self.classes] >= 0)
        if self.card.domains:
            chosen &= np.isin(self.domains, [self.card.domains.index(name) for name in wanted])
        rows = np.flatnonzero(chosen)
        labels = label[self.classes[rows]]
        order = np.lexsort((self.domains[rows], self.numbers[rows], labels))
        return rows[order], labels[order]


def location(card: Card, stores: Path) -> Path:
    """Where the store of this data set lies, or will lie."""
    return stores / f"{card.name}-{card.fingerprint}"


def load(card: Card, stores: Path) -> Store:
    """Open a store, making it first where it is missing."""
    path = location(card, stores)
    if not (path / "store.json").exists():
        make(card, stores)
    try:
        newest = json.loads((path / "store.json").read_text())["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path / 'store.json'} is damaged; delete {path}, it will be made again") from error
    if newest > FORMAT:
        raise BadInput(f"{path} is of format {newest}; this version reads up to {FORMAT}: update yosinski")
    with np.load(path / "index.npz", allow_pickle=False) as index:
        columns = [index[name] for name in ("set", "class", "domain", "number")]
    return Store(card, np.load(path / "images.npy", mmap_mode="r", allow_pickle=False), *columns)


def make(card: Card, stores: Path) -> Path:
    """Draw the whole data set into a store."""
    from yosinski.data import emoji

    total = sum(card.images.values()) * len(card.classes) * max(1, len(card.domains))
    path = location(card, stores)
    stores.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=stores))
    temporary.chmod(0o755)
    try:
        pixels = np.lib.format.open_memmap(
            temporary / "images.npy", "w+", np.uint8, shape=(total, card.side, card.side, 3)
        )
        index = np.empty((4, total), np.int32)
        at = 0
        for set_name, c, domain, drawn in emoji.images():
            here = slice(at, at + len(drawn))
            pixels[here] = drawn
            index[0, here], index[1, here], index[2, here] = SETS.index(set_name), c, domain
            index[3, here] = np.arange(len(drawn))
            at += len(drawn)
        pixels.flush()
        names = ("set", "class", "domain", "number")
        np.savez(temporary / "index.npz", **dict(zip(names, index, strict=True)))
        described = {
            "format": FORMAT,
            "data": card.name,
            "fingerprint": card.fingerprint,
            "side": card.side,
            "sets": SETS,
            "classes": card.classes,
            "groups": card.groups,
            "domains": card.domains,
            "images": total,
        }
        (temporary / "store.json").write_text(json.dumps(described, indent=1) + "\n")
        try:
            temporary.rename(path)
        except OSError:
            if not (path / "store.json").exists():
                raise
            # Another process has made it meanwhile: its bytes serve as well.
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path
