"""What is trained: a run, fully specified. Its id is the hash of everything that its numbers depend on.

Nothing here knows of devices, precision, packs or clusters: they are never part of the id.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, get_args

from yosinski.architectures import ARCHITECTURES, INITIALISERS

SEMANTICS = 1  # bump by hand when the same spec would now give other numbers

Treatment = Literal["base", "frozen", "tuned", "random"]


SERIES = {
    ("base", "base"): "base",
    ("frozen", "selffer"): "BnB",
    ("tuned", "selffer"): "BnB+",
    ("frozen", "transfer"): "AnB",
    ("tuned", "transfer"): "AnB+",
    ("random", "random"): "RnB",
}


def relation(spec: Mapping[str, Any]) -> str:
    """How a run's source and target are related: base, selffer, transfer or random."""
    if spec["treatment"] in ("base", "random"):
        return spec["treatment"]
    return "selffer" if spec["source"] == spec["half"] else "transfer"


def series(spec: Mapping[str, Any]) -> str:
    """Treatment and relation in the paper's notation, B being the target: base, BnB, BnB+, AnB, AnB+ or RnB."""
    return SERIES[spec["treatment"], relation(spec)]


class BadInput(ValueError):
    """The user asked for something that cannot be: one line, exit status 2."""


class Failure(RuntimeError):
    """Something went wrong while running: one line, exit status 1."""


def choose(what: str, given: str, valid: Mapping[str, Any] | list[str] | tuple[str, ...]) -> str:
    """Return `given` if it is among the valid choices, else raise BadInput that lists them."""
    if given not in valid:
        raise BadInput(f"unknown {what} {given!r}; choose from: {', '.join(valid)}")
    return given


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values have equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Half:
    """A task: a set of classes of a data set, optionally restricted to domains (such as artists).

    `data` says where the data set is found, `letter` and `split` what a sweep calls the half ("A" of "random:0");
    the half itself is identified by its digest, which covers neither.
    """

    data: str = field(compare=False)
    fingerprint: str
    classes: tuple[str, ...]
    domain: tuple[str, ...] = ()
    letter: str = field(default="", compare=False)
    split: str = field(default="", compare=False)

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
        """The letter that the sweep gave, or the first digits of the digest."""
        return self.letter or self.digest[:4]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Named recipes, with what they cost and reach, are in `recipes.py`."""

    epochs: float  # passes over the half's training images
    batch_size: int
    learning_rate: float  # the highest; it rises over `warmup` and falls to zero, both as half a cosine
    warmup: float  # share of the steps
    momentum: float  # Nesterov's
    weight_decay: float
    clip: float  # the gradient's norm is clipped at this; 0: never
    augment: bool  # random shifts and mirror images
    shift: int  # pixels, at most, in both directions
    initialiser: str
    evaluations: int = 20  # on the select images, spread evenly over training; the last one at its end

    def __post_init__(self) -> None:
        for value in fields(self):
            given = getattr(self, value.name)
            assert isinstance(value.type, type)
            if value.type is float and type(given) is int:  # equal recipes have equal digests
                object.__setattr__(self, value.name, float(given))
            elif type(given) is not value.type:
                raise BadInput(f"recipe.{value.name} takes a {value.type.__name__}, not {given!r}")
            least = 1 if value.name in ("batch_size", "evaluations") else 0
            if isinstance(given, int | float) and not least <= given < math.inf:
                raise BadInput(f"recipe.{value.name} is {given}, but must be at least {least}")
        choose("initialiser", self.initialiser, INITIALISERS)
        for name in ("epochs", "learning_rate"):
            if getattr(self, name) == 0:
                raise BadInput(f"recipe.{name} must be more than 0")
        if self.warmup >= 1 or self.momentum >= 1:
            raise BadInput("recipe.warmup and recipe.momentum must be below 1")

    @cached_property
    def values(self) -> dict[str, Any]:
        """All values by name; shared, not to be changed."""
        return asdict(self)

    @cached_property
    def digest(self) -> str:
        """16 hex digits over all values."""
        return digest(self.values)

    def steps(self, images: int) -> int:
        """How many steps a training on so many images takes; incomplete batches are left out of an epoch."""
        return max(1, round(self.epochs * (images // min(self.batch_size, images))))

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step 0..steps-1: half a cosine up over `warmup`, half a cosine down to zero."""
        done = (step + 1) / steps
        if done < self.warmup:
            return self.learning_rate * (1 - math.cos(math.pi * done / self.warmup)) / 2
        return self.learning_rate * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup))) / 2

    def evaluated(self, steps: int) -> list[int]:
        """The numbers of steps after which the network is evaluated; fewer than `evaluations` in a short training."""
        return sorted({max(1, round(steps * k / self.evaluations)) for k in range(1, self.evaluations + 1)})

    def with_values(self, values: Mapping[str, Any]) -> "Recipe":
        """Change some values; unknown names and wrong types raise BadInput."""
        for name in values:
            choose("recipe value", name, [value.name for value in fields(self)])
        return replace(self, **values)


@dataclass(frozen=True)
class Run:
    """One network to train. A base has no parent; a copy keeps the first `cut` segments of its parent's network.

    `treatment` says what happens below the cut: "frozen" and "tuned" copies come from a parent; "random" keeps the
    first `cut` segments as `below` initialises them, frozen, and has no parent either.
    """

    network: str
    half: Half  # the target: what it is trained on
    recipe: Recipe
    seed: int = 0
    treatment: Treatment = "base"
    cut: int = 0
    parent: "Run | None" = None
    below: str | None = None  # initialiser of random frozen features
    examples_per_class: int | None = None  # the first so many training images of each class; None: all

    def __post_init__(self) -> None:
        choose("network", self.network, ARCHITECTURES)
        choose("treatment", self.treatment, get_args(Treatment))
        last = len(self.cuts)
        if self.treatment == "base" and self.cut != 0:
            raise BadInput(f"a base is not cut, but cut {self.cut} was asked for")
        if self.treatment != "base" and not 1 <= self.cut <= last:
            raise BadInput(
                f"{self.network} has no cut {self.cut}; choose from: "
                + ", ".join(f"{n} ({name})" for n, name in enumerate(self.cuts, 1))
            )
        if (self.parent is not None) != (self.treatment in ("frozen", "tuned")):
            raise BadInput(f"treatment {self.treatment!r} with{'out' if self.parent is None else ''} a parent")
        if self.parent is not None and (self.parent.treatment != "base" or self.parent.network != self.network):
            raise BadInput(f"a copy's parent must be a base of the same network, not {self.parent.name}")
        if (self.below is not None) != (self.treatment == "random"):
            raise BadInput("an initialiser below the cut belongs to treatment 'random', and only there")
        if self.below is not None:
            choose("initialiser", self.below, INITIALISERS)
        if self.examples_per_class is not None and self.examples_per_class < 1:
            raise BadInput(f"examples per class must be at least 1, not {self.examples_per_class}")

    def copy(self, cut: int, treatment: Treatment, parent: "Run | None" = None, below: str | None = None) -> "Run":
        """A copy with this base's target, recipe and seed, cut from `parent` (or with random features below)."""
        return replace(self, treatment=treatment, cut=cut, parent=parent, below=below)

    @property
    def cuts(self) -> tuple[str, ...]:
        """The names of the segments n = 1..N below which this network can be cut."""
        return tuple(segment.name for segment in ARCHITECTURES[self.network].segments)

    @property
    def role(self) -> Literal["base", "copy"]:
        """Bases draw their batches and initial weights from other keys than copies do."""
        return "base" if self.treatment == "base" else "copy"

    @property
    def frozen(self) -> int:
        """How many of the first segments never change."""
        return self.cut if self.treatment in ("frozen", "random") else 0

    @property
    def selffer(self) -> bool:
        """Whether the parent was trained on the same half."""
        return self.parent is not None and self.parent.half == self.half

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Everything that the numbers depend on, as JSON values; the id is its hash."""
        return {
            "semantics": SEMANTICS,
            "network": self.network,
            "half": self.half.digest,
            "source": self.parent.half.digest if self.parent else None,
            "recipe": self.recipe.values,
            "seed": self.seed,
            "treatment": self.treatment,
            "cut": {"n": self.cut, "name": self.cuts[self.cut - 1]} if self.cut else None,
            "below": self.below,
            "examples_per_class": self.examples_per_class,
            "parent": self.parent.id if self.parent else None,
        }

    @cached_property
    def id(self) -> str:
        """16 hex digits."""
        return digest(self.spec)

    @property
    def name(self) -> str:
        """In the paper's notation: baseB, A3B, A3B+, B3B; R3B for random features."""
        if self.treatment == "base":
            return f"base{self.half.name}"
        source = self.parent.half.name if self.parent else "R"
        return f"{source}{self.cut}{self.half.name}{'+' if self.treatment == 'tuned' else ''}"

    def __str__(self) -> str:
        return f"{self.name} ({self.id[:8]})"
