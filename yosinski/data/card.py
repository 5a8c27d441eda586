"""Cards: what is known of a data set without reading an image. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

SETS = ("train", "select", "test")


@dataclass(frozen=True)
class Card:
    """What is known of a data set without reading an image.

    name: text that says where the data set is found
    fingerprint: covers the source's bytes and the generator's version, never decoded or drawn pixels
    side: of the stored images, in pixels
    groups: one group per class, or empty
    domains: styles or sources that every class is pictured in, or empty
    default_domain: of halves that name no domain
    unseen: domains whose test images are evaluated separately
    images: number of images of each set per class and domain: one number for all classes, or one per class
    stratified: whether random halves take the same share of every group
    rule: see `place.RULE`; 1 for data sets without listed files
    notes: for the user, such as which files are not used
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
        """Number of images of a set in each class, per domain."""
        count = self.images[set_name]
        return count if isinstance(count, tuple) else (count,) * len(self.classes)

    def total(self, set_name: str) -> int:
        """Number of images of a set."""
        return sum(self.per_class(set_name)) * max(1, len(self.domains))
