"""A half of a data set: the task that a network is trained on."""

from dataclasses import dataclass, field
from functools import cached_property

from yosinski.errors import BadInput
from yosinski.identity import digest


@dataclass(frozen=True)
class Half:
    """A task: a set of classes of a data set, optionally restricted to domains (such as artists).

    data: text that says where the data set is found
    letter, split: what a sweep calls the half ("A" of "random:0")
    rule: by which its images were listed and prepared (`yosinski.data.place.RULE`)
    division: of train and select images, 0 the data set's own, above that drawn anew (`yosinski.data.store.Store`)

    A half is identified by its digest, which covers data, letter, split and rule not. The fingerprint covers the rule.
    """

    data: str = field(compare=False)
    fingerprint: str
    classes: tuple[str, ...]
    domain: tuple[str, ...] = ()
    letter: str = field(default="", compare=False)
    split: str = field(default="", compare=False)
    rule: int = field(default=1, compare=False)
    division: int = 0

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise BadInput(f"half {self.name} has {len(self.classes)} class(es); a half needs at least two")
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if twice:
            raise BadInput(f"half {self.name} names these classes twice: {', '.join(twice)}")
        if self.division < 0:
            raise BadInput(f"a division of train and select images must be at least 0, not {self.division}")

    @cached_property
    def digest(self) -> str:
        """16 hex digits over the data's fingerprint, the class names in order, the domain, and a division above 0."""
        named = {"fingerprint": self.fingerprint, "classes": self.classes, "domain": self.domain}
        return digest(named | ({"division": self.division} if self.division else {}))

    @property
    def name(self) -> str:
        """The letter that the sweep gave, or the first four digits of the digest."""
        return self.letter or self.digest[:4]
