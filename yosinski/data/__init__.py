"""Data sets: what they are (`Card`, without torch), where their images lie (`store`), how they flow (`stream`).

A data set is named by a text that says where it is found, and with which geometry its images are stored:

    emoji                     travels with the package
    imagenet:PATH             ImageNet's directory; resized to 256 x 256, whatever the aspect ratio (as in the paper)
    imagenet-SIDE:PATH        the same, resized to SIDE x SIDE
    imagenet-SIDE-crop:PATH   the shorter side resized to SIDE, then the square in the middle
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from yosinski.spec import BadInput

FORMS = ("emoji", "imagenet:PATH", "imagenet-SIDE:PATH", "imagenet-SIDE-crop:PATH")
SIDES = range(16, 1025)  # what a store's side may be
FITS = ("warp", "crop")


@dataclass(frozen=True)
class Card:
    """What is known of a data set without looking at an image.

    `name` is the text that says where it is found, `side` that of the stored images. `groups` holds one group per class
    and `domains` the styles or sources in which every class is pictured; either may be empty. Random halves take evenly
    from every group if the card is `stratified`. Halves that name no domain use `default_domain`; test images of the
    `unseen` ones are evaluated apart. `images` counts the images of each set per class and domain: one number for all
    classes, or one per class.
    The fingerprint covers the source's bytes and the generator's version, never decoded or drawn pixels.
    """

    name: str
    fingerprint: str
    side: int
    classes: tuple[str, ...]
    groups: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    default_domain: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    images: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict)
    stratified: bool = True

    def __hash__(self) -> int:
        """Equal cards have equal fingerprints."""
        return hash((self.name, self.fingerprint))

    def per_class(self, set_name: str) -> tuple[int, ...]:
        """The images of a set in every class, per domain."""
        count = self.images[set_name]
        return count if isinstance(count, tuple) else (count,) * len(self.classes)

    def total(self, set_name: str) -> int:
        """All images of a set."""
        return sum(self.per_class(set_name)) * max(1, len(self.domains))


@dataclass(frozen=True)
class Place:
    """Where a data set is found, and the geometry of its store: what its text says."""

    kind: str
    path: Path | None = None
    side: int = 256
    fit: str = "warp"

    @property
    def name(self) -> str:
        """The text up to the path, without what goes without saying; the name of its stores begins with it."""
        side = f"-{self.side}" if (self.side, self.fit) != (256, "warp") else ""
        return f"{self.kind}{side}{'-crop' if self.fit == 'crop' else ''}"

    @property
    def text(self) -> str:
        """The data set's own spelling."""
        return self.name if self.path is None else f"{self.name}:{self.path}"


def place(text: str) -> Place:
    """What the text of a data set says; paths become absolute."""
    if text == "emoji":
        return Place("emoji", side=32)
    found = re.fullmatch(r"imagenet(?:-(\d+))?(?:-(\w+))?(?::(.*))?", text)
    if found is None or (found[2] or "warp") not in FITS:
        raise BadInput(f"unknown data set {text!r}; choose from: {', '.join(FORMS)}")
    side = int(found[1] or 256)
    if side not in SIDES:
        raise BadInput(f"data set {text!r}: the side must be {SIDES[0]} to {SIDES[-1]}, not {side}")
    if not found[3]:
        raise BadInput(f"data set {text!r} does not say where its images are; write {text.rstrip(':')}:PATH")
    return Place("imagenet", Path(found[3]).expanduser().absolute(), side, found[2] or "warp")


def stores() -> Path:
    """The stores directory of this process: what the command line's --stores says, through YOSINSKI_STORES."""
    return Path(os.environ.get("YOSINSKI_STORES", "stores"))


def card(text: str) -> Card:
    """The card of a data set, decoding no image.

    A tree of image files is listed for it, or taken from the last listing where its directories are unchanged.
    BadInput if the text is none of the above, if something is wrong with the tree, or if it has changed since a
    store was made of it.
    """
    from yosinski.data import emoji, imagenet

    found = place(text)
    return emoji.card() if found.path is None else imagenet.card(found, stores())


def some(names: Sequence[str], most: int = 20) -> str:
    """Names for a message, not too many of them."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
