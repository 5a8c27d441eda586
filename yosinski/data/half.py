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

    A half is identified by its digest, which covers none of these texts. The fingerprint covers the rule.
    """

    data: str = field(compare=False)
    fingerprint: str
    classes: tuple[str, ...]
    domain: tuple[str, ...] = ()
    letter: str = field(default="", compare=False)
    split: str = field(default="", compare=False)
    rule: int = field(default=1, compare=False)

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise BadInput(f"half {self.name} has {len(self.classes)} class(es); a half needs at least two")
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if twice:
            raise BadInput(f"half {self.name} names these classes twice: {', '.join(twice)}")

    @cached_property
    def digest(self) -> str:
        """16 hex digits over the data's fingerprint, the class names in order and the domain."""
        return digest({"fingerprint": self.fingerprint, "classes": self.classes, "domain": self.domain})

    @property
    def name(self) -> str:
        """The letter that the sweep gave, or the first four digits of the digest."""
        return self.letter or self.digest[:4]
