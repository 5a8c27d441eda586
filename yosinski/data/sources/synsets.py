"""The 1000 classes of ILSVRC-2012, and which of them are natural. Needs no images. Source: ilsvrc2012/SOURCE.md."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from yosinski.data.card import Card
from yosinski.data.place import Place

FOLDER = Path(__file__).with_name("ilsvrc2012")


@cache
def groups() -> dict[str, str]:
    """The group of every class, `natural` or `man-made`, by WordNet id ("wnid"), in sorted order."""
    wnids = (FOLDER / "synsets.txt").read_text().split()
    natural = {int(index) for index in (FOLDER / "half_nat_idx.txt").read_text().split()}
    return {wnid: "natural" if index in natural else "man-made" for index, wnid in enumerate(wnids)}


def groups_of(wnids: Sequence[str]) -> tuple[str, ...]:
    """The groups of these classes; `other` for classes that are not among the 1000."""
    return tuple(groups().get(wnid, "other") for wnid in wnids)


def card() -> Card:
    """A card of ImageNet without images: enough to name halves, not to train."""
    return Card(
        name="imagenet",
        fingerprint="",
        side=Place("imagenet").side,
        classes=tuple(groups()),
        groups=tuple(groups().values()),
        stratified=False,
    )
