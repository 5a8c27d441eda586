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

SEMANTICS = 2  # bump by hand when the same spec would now give other numbers

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

    epochs: float  # passes over the half's training images; 0: so many `iterations`
    batch_size: int
    learning_rate: float  # the highest
    warmup: float  # share of the steps in which the rate rises, as half a cosine
    momentum: float
    weight_decay: float
    clip: float  # the gradient's norm is clipped at this; 0: never
    augment: bool  # random crops and mirror images; without: the crop in the middle
    shift: int  # pixels of black around stored images, into which crops may reach
    initialiser: str
    evaluations: int = 20  # on the select images, spread evenly over training; the last one at its end
    iterations: int = 0  # steps of training; 0: so many `epochs`
    schedule: str = "cosine"  # after the warm-up: half a cosine down to zero, or "step"
    step_every: int = 0  # "step": after so many steps the rate is multiplied ...
    gamma: float = 1.0  # ... by this, again and again
    solver: str = "nesterov"  # or "caffe": v = momentum * v + rate * gradient, w = w - v
    bias_rate: float = 1.0  # the biases' learning rate, in multiples of the weights'
    bias_decay: float = 1.0  # the biases' weight decay, likewise
    mean: str = "channel"  # what is subtracted: one mean per channel, or the mean "image" at the crop's place
    scale: bool = True  # divide by the standard deviation per channel
    outputs: int = 0  # of the head; 0: one per class of the half
    dropout_below: bool = False  # whether layers below a frozen cut go on dropping outputs in training

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
        choose("recipe.schedule", self.schedule, ("cosine", "step"))
        choose("recipe.solver", self.solver, ("nesterov", "caffe"))
        choose("recipe.mean", self.mean, ("channel", "image"))
        for name in ("learning_rate", "gamma"):
            if getattr(self, name) == 0:
                raise BadInput(f"recipe.{name} must be more than 0")
        if self.warmup >= 1 or self.momentum >= 1:
            raise BadInput("recipe.warmup and recipe.momentum must be below 1")
        if (self.epochs == 0) == (self.iterations == 0):
            given = f"recipe.epochs is {self.epochs:g} and recipe.iterations {self.iterations}"
            raise BadInput(f"{given}: one of them must be 0, the other more")
        if self.schedule == "step" and (self.warmup or not self.step_every):
            raise BadInput("recipe.schedule step needs recipe.step_every, and has no recipe.warmup: that must be 0")
        if self.schedule == "cosine" and (self.step_every or self.gamma != 1):
            raise BadInput(
                "recipe.step_every and recipe.gamma belong to recipe.schedule step: here they must be 0 and 1"
            )
        if self.solver == "caffe" and self.schedule != "step":
            raise BadInput("recipe.solver caffe keeps the rate in its velocity; that needs recipe.schedule step")
        if self.mean == "image" and self.shift:
            raise BadInput("recipe.mean image has no pixels in the border that recipe.shift adds: that must be 0")

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
        return self.iterations or max(1, round(self.epochs * (images // min(self.batch_size, images))))

    def rate(self, step: int, steps: int) -> float:
        """The weights' learning rate in step 0..steps-1: constant between drops, or half a cosine up and one down."""
        if self.schedule == "step":
            return self.learning_rate * self.gamma ** (step // self.step_every)
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
    first `cut` segments as `below` initialises them, frozen, and has no parent either. A frozen copy may take the next
    `preserved` segments from its parent, too, and train them.
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
    preserved: int = 0  # so many segments above a frozen cut start as the parent's

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
        if self.parent is not None:
            for name in ("mean", "scale"):
                if getattr(self.parent.recipe, name) != getattr(self.recipe, name):
                    raise BadInput(f"a copy subtracts its base's mean: recipe.{name} must be the same in both")
        if self.preserved and (self.treatment != "frozen" or not 0 < self.preserved <= last - self.cut):
            raise BadInput(
                f"{self.preserved} preserved segments: only a frozen copy has them, from 1 to N - n of them "
                f"(cut n = {self.cut}, {self.network} has N = {last} segments)"
            )
        if (self.below is not None) != (self.treatment == "random"):
            raise BadInput("an initialiser below the cut belongs to treatment 'random', and only there")
        if self.below is not None:
            choose("initialiser", self.below, INITIALISERS)
        if "paper" in (self.below, self.recipe.initialiser) and not ARCHITECTURES[self.network].paper:
            described = [name for name, architecture in ARCHITECTURES.items() if architecture.paper]
            raise BadInput(f"{self.network} is not the paper's: initialiser 'paper' fits {', '.join(described)} only")
        if 0 < self.recipe.outputs < len(self.half.classes):
            classes = f"the {len(self.half.classes)} classes of half {self.half.name}"
            raise BadInput(f"recipe.outputs is {self.recipe.outputs}: too few for {classes}")
        if self.examples_per_class is not None and self.examples_per_class < 1:
            raise BadInput(f"examples per class must be at least 1, not {self.examples_per_class}")

    def copy(
        self,
        cut: int,
        treatment: Treatment,
        parent: "Run | None" = None,
        below: str | None = None,
        preserved: int = 0,
    ) -> "Run":
        """A copy with this base's target, recipe and seed, cut from `parent` (or with random features below)."""
        return replace(self, treatment=treatment, cut=cut, parent=parent, below=below, preserved=preserved)

    @property
    def cuts(self) -> tuple[str, ...]:
        """The names of the segments n = 1..N below which this network can be cut."""
        return tuple(segment.name for segment in ARCHITECTURES[self.network].segments)

    def check_side(self, stored: int) -> None:
        """BadInput if images stored with so many pixels a side are too small for this network, or far too large."""
        side = ARCHITECTURES[self.network].side
        if not side <= stored <= 2 * side:
            raise BadInput(
                f"{self.network} sees {side} x {side} pixels at a time, {self.half.data} has {stored} x {stored}: "
                f"choose another network, or store images of {side} to {2 * side} pixels a side"
            )

    @property
    def role(self) -> Literal["base", "copy"]:
        """Bases draw their batches and initial weights from other keys than copies do."""
        return "base" if self.treatment == "base" else "copy"

    @property
    def frozen(self) -> int:
        """How many of the first segments never change."""
        return self.cut if self.treatment in ("frozen", "random") else 0

    @property
    def outputs(self) -> int:
        """How many outputs the head has."""
        return self.recipe.outputs or len(self.half.classes)

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
            "preserved": self.preserved,
            "examples_per_class": self.examples_per_class,
            "parent": self.parent.id if self.parent else None,
        }

    @cached_property
    def id(self) -> str:
        """16 hex digits."""
        return digest(self.spec)

    @property
    def name(self) -> str:
        """In the paper's notation: baseB, A3B, A3B+, B3B; R3B: random features; A3+2B: the next two preserved."""
        if self.treatment == "base":
            return f"base{self.half.name}"
        source = self.parent.half.name if self.parent else "R"
        kept = f"{self.cut}+{self.preserved}" if self.preserved else self.cut
        return f"{source}{kept}{self.half.name}{'+' if self.treatment == 'tuned' else ''}"

    def __str__(self) -> str:
        return f"{self.name} ({self.id[:8]})"
