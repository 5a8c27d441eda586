"""Cards: what is known of a data set without reading an image. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SETS = ("train", "select", "test")
PerClass = Mapping[str, tuple[int, ...]]  # a number for every class, by set


@dataclass(frozen=True)
class Card:
    """What is known of a data set without reading an image.

    name: text that says where the data set is found
    fingerprint: covers the source's bytes and the generator's version, never decoded or drawn pixels
    side: of the stored images, in pixels; 0 for texts
    groups: one group per class, or empty
    domains: styles or sources that every class is pictured in, or empty
    default_domain: of halves that name no domain
    unseen: domains whose test images are evaluated separately
    images: number of images of each set per class and domain, including missing ones: one number for all classes, or
        one per class
    stratified: whether random halves take the same share of every group
    rule: see `place.RULE`; 1 for data sets without listed files
    notes: for the user, such as which files are not used
    answers: names of the labels by question, of further labels than the class
    missing: of domains that do not picture every example: number of missing images of each set, per class
    unlabelled: of questions that not every example answers: number of examples of each set, per class
    vocabulary: of texts: number of ids that tokens may have
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
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: Mapping[str, PerClass] = field(default_factory=dict)
    unlabelled: Mapping[str, PerClass] = field(default_factory=dict)
    vocabulary: int = 0

    def __hash__(self) -> int:
        """Equal cards have equal fingerprints."""
        return hash((self.name, self.fingerprint))

    def per_class(self, set_name: str) -> tuple[int, ...]:
        """Number of images of a set in each class, per domain, including missing ones."""
        count = self.images[set_name]
        return count if isinstance(count, tuple) else (count,) * len(self.classes)

    def total(self, set_name: str) -> int:
        """Number of images of a set, without missing ones."""
        return sum(self.there(set_name, self.domains))

    def there(self, set_name: str, domains: Sequence[str] = ()) -> tuple[int, ...]:
        """Number of images of a set in each class, in all of these domains together, without missing ones."""
        counts = self.per_class(set_name)
        missing = [self.missing[name][set_name] for name in domains if name in self.missing]
        return tuple(
            count * max(1, len(domains)) - sum(of_class) for count, *of_class in zip(counts, *missing, strict=True)
        )
