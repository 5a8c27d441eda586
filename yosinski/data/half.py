"""A half of a data set: the task that a network is trained on."""

from dataclasses import dataclass, field, replace
from functools import cached_property

from yosinski.data.place import is_text
from yosinski.errors import BadInput, choose
from yosinski.identity import changed, digest, later

ASKED = ("class", "domain", "group")  # what a task may ask of every picture; also a further column of labels in a list
DRAWN = ("own", "same", "afresh", "exchanged")


@dataclass(frozen=True)
class Half:
    """A task: a set of classes of a data set, optionally restricted to domains (such as artists).

    data: text that says where the data set is found
    letter, split: what a sweep calls the half ("A" of "random:0")
    rule: by which its images were listed and prepared (`yosinski.data.place.RULE`)
    division: of train and select images, 0 the data set's own, above that drawn anew (`yosinski.data.store.Store`)
    asks: what of a picture is the label: its class, domain or group, or a column of labels
    answers: the names of the labels; empty: those of the classes
    shuffled: whether labels are exchanged among the pictures of each set, so that nothing can be learned from them
    drawn: how an input is drawn beside the first one, of the same example: crops of its "own", the "same" pixels (the
        half must be the first one's), another view of the same picture ("afresh", likewise), or a view of another
        example of any class ("exchanged")
    grey: whether the input is the picture without its colours
    input: what a sweep calls the input ("x")

    A half is identified by its digest, which covers data, letter, split, rule and input not. The fingerprint covers the
    rule.
    """

    data: str = field(compare=False)
    fingerprint: str
    classes: tuple[str, ...]
    domain: tuple[str, ...] = ()
    letter: str = field(default="", compare=False)
    split: str = field(default="", compare=False)
    rule: int = field(default=1, compare=False)
    division: int = later(0)
    asks: str = later("class")
    answers: tuple[str, ...] = later(())
    shuffled: bool = later(False)
    drawn: str = later("own")
    grey: bool = later(False)
    input: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise BadInput(f"half {self.name} has {len(self.classes)} class(es); a half needs at least two")
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if twice:
            raise BadInput(f"half {self.name} names these classes twice: {', '.join(twice)}")
        if self.division < 0:
            raise BadInput(f"a division of train and select images must be at least 0, not {self.division}")
        choose("way to draw an input", self.drawn, DRAWN)
        if (self.asks == "class") != (not self.answers):
            raise BadInput(f"half {self.name} asks for the {self.asks} and has {len(self.answers)} answers of its own")
        if len(self.labels) < 2:
            raise BadInput(f"half {self.name} asks for the {self.asks}, and there is only {', '.join(self.labels)}")

    @cached_property
    def digest(self) -> str:
        """16 hex digits over the data's fingerprint, the class names in order, the domain, and all later fields."""
        named = {"fingerprint": self.fingerprint, "classes": self.classes, "domain": self.domain}
        return digest(named | changed(self))

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels, one for each output of a network."""
        return self.answers or self.classes

    @cached_property
    def pictures(self) -> "Half":
        """The half with the same pictures, asked for their classes: what random draws of pictures depend on."""
        return replace(self, asks="class", answers=(), shuffled=False)

    @property
    def reads(self) -> str:
        """What its examples are: "pictures" or "texts"."""
        return "texts" if is_text(self.data) else "pictures"

    @property
    def name(self) -> str:
        """The letter that the sweep gave, or the first four digits of the digest."""
        return self.letter or self.digest[:4]
