"""What is known of a data set without looking at an image. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

SETS = ("train", "select", "test")


@dataclass(frozen=True)
class Card:
    """What is known of a data set without looking at an image.

    `name` is the text that says where it is found, `side` that of the stored images. `groups` holds one group per class
    and `domains` the styles or sources in which every class is pictured; either may be empty. Random halves take evenly
    from every group if the card is `stratified`. Halves that name no domain use `default_domain`; test images of the
    `unseen` ones are evaluated apart. `images` counts the images of each set per class and domain: one number for all
    classes, or one per class.
    The fingerprint covers the source's bytes and the generator's version, never decoded or drawn pixels. `rule`: see
    `RULE`; 1 where nothing is listed. `notes`: what a user should know, such as which files are not used.
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
    rule: int = field(default=1, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

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
