"""A run: a full specification of one training. Its id is the hash of everything that its numbers depend on.

Devices, precision, packs and clusters are not part of a run, and never part of its id.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from yosinski.data.card import Card
from yosinski.data.half import ASKED, Half
from yosinski.errors import BadInput, choose
from yosinski.experiment.recipes import SHARING, Recipe, numbers
from yosinski.experiment.treatments import TREATMENTS, Cut, Treatment, TreatmentName, notation, together
from yosinski.identity import changed, digest, later
from yosinski.networks.architectures import ARCHITECTURES, Architecture
from yosinski.networks.catalogue import architecture, identity_of, name_of

SEMANTICS = 3  # increase by hand when the same spec would give other numbers


@dataclass(frozen=True)
class Run:
    """One network to train. A base has no parent; a copy keeps the first `cut` segments of its parent's network.

    What happens below the cut n of a copy is its `treatment`:

    frozen    segments 1..n never change; the next `preserved` ones may start as the parent's and are trained
    tuned     everything is trained
    decayed   as tuned; the rate is multiplied by `recipe.layer_decay` for every segment from the cut down
    probed    frozen for the first `recipe.probe` of the steps, then tuned; each part has its own schedule
    thawed    frozen first; the segments are unfrozen one by one, from the cut down, within `recipe.thaw` of the steps
    single    all segments but the head are the parent's; only segment n and the head are trained

    A run with `partners` has further tasks or inputs, which share the cut n = 0..N with its half:

    joint     the tasks train segments 1..n together, and each has its own above; scored on the half
    fused     the inputs have segments 1..n of their own, meet, and go on together (`recipe.join`)

    "random" keeps the first n segments frozen as `below` initialises them. It has no parent, unless `below` is
    "matched": then every tensor is Gaussian with the mean and standard deviation of the parent's tensor. "outside" is a
    base that was trained elsewhere; its half stands for its unknown training data.
    """

    network: str
    half: Half  # the target: what it is trained on
    recipe: Recipe
    seed: int = 0
    treatment: TreatmentName = "base"
    cut: int = 0
    parent: "Run | None" = None
    below: str | None = None  # initialiser of random frozen features
    examples_per_class: int | None = None  # number of training images used of each class, the first ones; None: all
    preserved: int = 0  # number of segments above a frozen cut that start as the parent's
    partners: tuple[Half, ...] = later(())  # further tasks, or further inputs of the half's examples
    towers: tuple[str, ...] = later(())  # networks of further inputs that the half's cannot see; each gives a vector

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", name_of(self.network))  # a file is read once, and identified by its content
        choose("treatment", self.treatment, list(TREATMENTS))
        last = len(self.cuts)
        if self.is_base and self.cut != 0:
            raise BadInput(f"a base is not cut, but cut {self.cut} was asked for")
        named = ["0 (the input)"] * bool(self.how.partners) + [f"{n} ({name})" for n, name in enumerate(self.cuts, 1)]
        if not self.is_base and not (0 if self.how.partners else 1) <= self.cut <= last:
            raise BadInput(f"{self.network} has no cut {self.cut}; choose from: {', '.join(named)}")
        object.__setattr__(self, "towers", tuple(map(name_of, self.towers)))
        self._check_partners()
        self._check_what_is_read()
        if (self.parent is not None) != (self.how.copied or self.below == "matched"):
            below = f" and below {self.below!r}" if self.below else ""
            raise BadInput(f"treatment {self.treatment!r}{below} with{'out' if self.parent is None else ''} a parent")
        if self.parent is not None and (not self.parent.is_base or self.parent.network != self.network):
            raise BadInput(f"a copy's parent must be a base of the same network, not {self.parent.name}")
        if self.parent is not None and self.how.copied:
            for name in ("mean", "scale"):
                if getattr(self.parent.recipe, name) != getattr(self.recipe, name):
                    raise BadInput(f"a copy subtracts its base's mean: recipe.{name} must be the same in both")
        if self.preserved and (not self.how.preserves or not 0 < self.preserved <= last - self.cut):
            raise BadInput(
                f"{self.preserved} preserved segments: only a frozen copy has them, from 1 to N - n of them "
                f"(cut n = {self.cut}, {self.network} has N = {last} segments)"
            )
        if (self.below is not None) != (self.treatment == "random"):
            raise BadInput("an initialiser below the cut belongs to treatment 'random', and only there")
        fitting = architecture(self.network).initialisers
        choose(f"initialiser of {self.network}", self.recipe.initialiser, fitting)
        if self.below is not None:
            choose(f"initialiser of {self.network}", self.below, (*fitting, "matched"))
        for task in self.tasks:
            if 0 < self.recipe.outputs < len(task.labels):
                classes = f"the {len(task.labels)} classes of half {task.name}"
                raise BadInput(f"recipe.outputs is {self.recipe.outputs}: too few for {classes}")
        if self.examples_per_class is not None and self.examples_per_class < 1:
            raise BadInput(f"examples per class must be at least 1, not {self.examples_per_class}")

    def _check_partners(self) -> None:
        if bool(self.partners) != bool(self.how.partners):
            having = "partners" if self.partners else "no partners"
            raise BadInput(f"treatment {self.treatment!r} with {having}: joint and fused runs have some, no others")
        odd = {name: value for name, value in self.recipe.values.items() if name in SHARING}
        if not self.partners and odd:
            setting = ", ".join(f"recipe.{name} is {value}" for name, value in odd.items())
            raise BadInput(f"{setting}, but {self.treatment!r} is a network with one task and one input")
        if self.how.partners == "tasks":
            self._check_tasks()
        if self.how.partners == "inputs":
            self._check_inputs()

    def _check_what_is_read(self) -> None:
        if not self.is_trained:
            return
        for half, network in zip(self.halves, self.networks, strict=True):
            reads = architecture(network).reads
            if reads != half.reads:
                raise BadInput(f"{network} reads {reads}, but {half.data} has {half.reads}")
            if reads == "texts" and half.grey:
                raise BadInput(f"input {half.name} has texts, which are not grey")
        all_read = {half.reads for half in self.halves}
        for reads in self.recipe.only.keys() - all_read:
            for name, value in self.recipe.only[reads].items():
                raise BadInput(f"recipe.{name} {value} is for {reads}, and {self.half.data} has {self.half.reads}")
        most = max(architecture(name).length for name in self.networks)
        if self.recipe.length > most and "texts" in all_read:
            raise BadInput(f"recipe.length {self.recipe.length}: {', '.join(self.networks)} takes {most} at most")

    def _check_tasks(self) -> None:
        for task in self.tasks:
            if task.drawn != "own" or task.grey:
                raise BadInput(f"task {task.name} is drawn as a further input; that is for fused runs")
        for name in ("step", "weighting"):
            given = numbers(getattr(self.recipe, name))
            if given and len(given) != len(self.tasks):
                raise BadInput(f"recipe.{name} has numbers for {len(given)} of {len(self.tasks)} tasks")
            if given and name == "step" and not given[0]:
                raise BadInput(f"recipe.step {self.recipe.step} never trains the first task, {self.half.name}")
        for name in ("join", "beta"):
            if name in self.recipe.values:
                raise BadInput(f"recipe.{name} is for inputs that are fused, and this run has tasks")

    def _check_inputs(self) -> None:
        for name in ("step", "gradient", "weighting"):
            if name in self.recipe.values:
                raise BadInput(f"recipe.{name} is for joint tasks, and this run has inputs")
        if self.recipe.join in ("logits", "multiplicative") and self.cut < len(self.cuts):
            raise BadInput(
                f"recipe.join {self.recipe.join} joins outputs, at n = {len(self.cuts)}; "
                f"at n = {self.cut} choose from: concat, mean"
            )
        if self.towers:
            self._check_towers()
        elif self.recipe.join == "concat" and not isinstance(architecture(self.network), Architecture):
            raise BadInput(f"recipe.join concat widens a layer, which {self.network} cannot: choose mean")
        for partner in self.partners:
            if partner.labels != self.half.labels:
                raise BadInput(f"inputs {self.half.name} and {partner.name} have no common example: classes differ")
            if partner.division or self.half.division:
                raise BadInput("inputs are paired by their examples, which a division above 0 exchanges")
            if partner.drawn in ("same", "afresh") and partner.fingerprint != self.half.fingerprint:
                raise BadInput(f"input {partner.input} is drawn {partner.drawn}, but is of another data set")

    def _check_towers(self) -> None:
        if len(self.towers) != len(self.partners):
            raise BadInput(f"{len(self.towers)} networks of further inputs, but there are {len(self.partners)} of them")
        if not isinstance(architecture(self.network), Architecture):
            raise BadInput(
                f"a vector can only join {', '.join(ARCHITECTURES)}, not {self.network}: let x be pictures and y texts"
            )
        if self.recipe.join == "mean":
            raise BadInput("recipe.join mean needs inputs of one shape, and here a vector joins: choose concat")

    def copy(
        self,
        cut: int,
        treatment: TreatmentName,
        parent: "Run | None" = None,
        below: str | None = None,
        preserved: int = 0,
    ) -> "Run":
        """A copy with this base's target, recipe and seed, cut from `parent` or with random features below."""
        return replace(self, treatment=treatment, cut=cut, parent=parent, below=below, preserved=preserved)

    @property
    def is_base(self) -> bool:
        """Whether copies can be cut from it."""
        return self.treatment in ("base", "outside")

    @property
    def is_trained(self) -> bool:
        """Whether it is trained here: false for bases from outside."""
        return self.treatment != "outside"

    @property
    def divisible(self) -> bool:
        """Whether several processes can train it together, each with a share of every batch.

        A base with one task and one input, whose images all have a label.
        """
        return self.treatment == "base" and self.half.asks in ASKED

    @property
    def cuts(self) -> tuple[str, ...]:
        """The names of the segments n = 1..N after which this network can be cut."""
        return architecture(self.network).cuts

    @property
    def role(self) -> Literal["base", "copy"]:
        """Part of the random keys: bases and copies draw different batches and initial weights.

        A network with partners draws like a base, so that a task that shares nothing is the base on its half.
        """
        return "base" if self.is_base or self.partners else "copy"

    @property
    def halves(self) -> tuple[Half, ...]:
        """Its half, and those of further tasks or inputs."""
        return (self.half, *self.partners)

    @property
    def tasks(self) -> tuple[Half, ...]:
        """What the network is trained on and scored on; its half is the first."""
        return self.halves if self.how.partners == "tasks" else (self.half,)

    @property
    def scored(self) -> tuple[int, ...]:
        """The numbers of its tasks that have curves of their own: shuffled labels have none, nor has a task's twin."""
        return tuple(k for k, task in enumerate(self.tasks) if not k or not (task.shuffled or task in self.tasks[:k]))

    @property
    def inputs(self) -> tuple[Half, ...]:
        """What the network sees of an example; its half is the first."""
        return self.halves if self.how.partners == "inputs" else (self.half,)

    @cached_property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """The random keys of every task or input: a role, and a digest of pictures; see `Half.pictures`.

        Batches and initial weights of a task are those of its base, unless the same task takes part twice; questions
        about the same pictures share batches. A further input has weights of its own that do not depend on what it is,
        so that controls start alike.
        """
        first: tuple[str, str] = self.role, self.half.pictures.digest
        keys: list[tuple[str, str]] = [first]
        for k, partner in enumerate(self.partners, 1):
            own = partner not in self.halves[:k] and self.how.partners == "tasks"
            keys.append((self.role, partner.pictures.digest) if own else (f"{self.role} {k}", first[1]))
        return tuple(keys)

    @property
    def networks(self) -> tuple[str, ...]:
        """The network of each of its halves."""
        return (self.network, *(self.towers or (self.network,) * len(self.partners)))

    def size(self, half: Half) -> int:
        """What its network sees of an example of one of its halves: pixels a side, or at most so many tokens."""
        described = architecture(self.networks[self.halves.index(half)])
        return described.side if half.reads == "pictures" else self.recipe.length or described.length

    @property
    def how(self) -> Treatment:
        """Its treatment, as an entry of the table."""
        return TREATMENTS[self.treatment]

    @cached_property
    def at(self) -> Cut:
        """Its cut, with the recipe."""
        return Cut(self.cut, len(self.cuts), self.preserved, self.recipe)

    @property
    def kept(self) -> int:
        """Number of first segments that start as the parent's."""
        return self.how.kept(self.at) if self.how.copied else 0

    def check_fits(self, card: Card, half: Half | None = None) -> None:
        """BadInput unless a network can see the images or tokens of a data set.

        half: of a task or input; by default the run's own.
        """
        half = half or self.half
        network = self.networks[self.halves.index(half)]
        if half.reads == "pictures":
            self.check_side(card.side, half)
        elif card.vocabulary > architecture(network).vocabulary:
            rows = architecture(network).vocabulary
            own = "add ,tokens=DIRECTORY, with the tokenizer of the network, to the data set"
            hint = f": choose textnet@{card.vocabulary}" if network.startswith("textnet") else f": {own}"
            raise BadInput(
                f"{network} knows {rows} ids of tokens, the tokenizer of {half.data} has {card.vocabulary}{hint}"
            )

    def check_side(self, stored: int, half: Half | None = None) -> None:
        """BadInput unless the side of stored images, in pixels, is one to two times the side of the network's input.

        half: of a task or input; by default the run's own.
        """
        side, data = architecture(self.network).side, (half or self.half).data
        if not side <= stored <= 2 * side:
            raise BadInput(
                f"{self.network} sees {side} x {side} pixels at a time, {data} has {stored} x {stored}: "
                f"choose another network, or store images of {side} to {2 * side} pixels a side"
            )

    def begins(self, n: int) -> float:
        """The share of the training after which segment n = 1..N + 1 is trained; infinite if it never is.

        Segment N + 1 is the head.
        """
        return self._begins[n - 1]

    @cached_property
    def _begins(self) -> tuple[float, ...]:
        how, at = self.how, self.at
        return tuple(how.begins(at, n) for n in range(1, len(self.cuts) + 2))

    def held(self, done: float) -> int:
        """Number of first segments that have not been trained yet after this share of the training."""
        return next(n for n, begins in enumerate(self._begins) if begins <= done)

    @cached_property
    def fixed(self) -> tuple[int, ...]:
        """The segments n = 1..N that never change."""
        return tuple(n for n in range(1, len(self.cuts) + 1) if math.isinf(self.begins(n)))

    def rate(self, step: int, steps: int) -> float:
        """The weights' learning rate in step 0..steps - 1. If the schedule restarts, each part has a whole schedule."""
        first = math.ceil(self.restart * steps)
        return self.recipe.rate(step, first) if step < first else self.recipe.rate(step - first, steps - first)

    @cached_property
    def restart(self) -> float:
        """The share of the training after which the schedule of rates starts again; 0: it does not."""
        return self.how.restart(self.at)

    def pace(self, n: int) -> float:
        """The learning rate of segment n as a multiple of the new segments' rate."""
        return self.how.pace(self.at, n)

    @property
    def outputs(self) -> int:
        """Number of outputs of the head."""
        return self.recipe.outputs or len(self.half.labels)

    @property
    def selffer(self) -> bool:
        """Whether the parent was trained on the same half."""
        return self.parent is not None and self.parent.half == self.half

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Everything that the numbers depend on, as JSON values; the id is its hash.

        Fields that were added later are left out where they have their default (`identity.later`).
        """
        return {
            "semantics": SEMANTICS,
            "network": identity_of(self.network),
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
            **changed(self),
            **({"partners": [partner.digest for partner in self.partners]} if self.partners else {}),
            **({"towers": [identity_of(tower) for tower in self.towers]} if self.towers else {}),
        }

    @cached_property
    def id(self) -> str:
        """16 hex digits."""
        return digest(self.spec)

    @property
    def name(self) -> str:
        """In the paper's notation: baseB, A3B, A3B+, B3B; R3B: random features; A3+2B: two preserved segments.

        AB3A: tasks A and B share three segments, scored on A; A~B3A: the labels of B are shuffled. xy3A: inputs x and y
        of task A meet after three segments; x~y3A: y is another example's. basexA: the base that sees input x alone.
        """
        return self.named(str(self.cut))

    def named(self, cuts: str, task: int = 0) -> str:
        """The name of this run, scored on a task, or of several runs that differ only in their cuts: A1-7B+."""
        if self.is_base:
            return f"{self.treatment}{self.half.input}{self.half.name}"
        if self.partners:
            return f"{together(self.half, self.partners)}{cuts}{self.tasks[task].name}"
        source = self.parent.half.name if self.parent and self.how.copied else "R"
        kept = f"{cuts}+{self.preserved}" if self.preserved else cuts
        return notation(source, kept, self.half.name, self.treatment)

    def __str__(self) -> str:
        return f"{self.name} ({self.id[:8]})"
