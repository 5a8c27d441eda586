"""A pack: runs with the same target, seed, role and recipe, trained together on one stream of batches.

Frozen segments below their cuts are computed once per base, or stored once for all packs. The members share nothing
else: each has its own network, optimiser, checkpoint and end, so that a run gives the same numbers alone and in a pack.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from yosinski.experiment import cost
from yosinski.experiment.cost import layers_of, origin
from yosinski.experiment.run import Run
from yosinski.networks.batch import Batch, moved
from yosinski.networks.layers import Masks, moments_in
from yosinski.networks.tokens import Seen, Tokens
from yosinski.records import attempts
from yosinski.training import surgery
from yosinski.training.arithmetic import Arithmetic
from yosinski.training.clock import Clock
from yosinski.training.features import StoredFeatures
from yosinski.training.shares import Shares
from yosinski.training.steps.optimiser import Group, Optimiser

Input = Seen | torch.Tensor | list[Seen]  # a list: one entry per task or input


def masks_of(run: Run, step: int, shares: Shares | None = None) -> Masks:
    """The dropout masks of a step, the same for all runs of a pack."""
    parts = [(run.seed, *key, step) for key in run.parts]
    rows = (shares.part, shares.total) if shares else None
    return Masks(*parts[0], parts=[Masks(*key) for key in parts] if run.partners else (), rows=rows)


@dataclass(eq=False)
class Member:
    """One run in training. `loss_sum` is the sum of training losses since the last evaluation, on the device."""

    run: Run
    attempt: attempts.Attempt
    network: nn.Sequential
    parent_weights: str | None
    optimiser: Optimiser = field(init=False)
    fixed: set[str] = field(init=False)  # tensors that never change
    certificate: str = field(init=False)
    loss_sum: torch.Tensor = field(init=False)
    loss_steps: int = 0
    step: int = 0
    seconds: float = 0.0
    seconds_by: str = ""  # how the pack's seconds were divided, see `Clock`; "pack": evenly, by an earlier version
    train_loss: float = math.nan
    task_losses: list[float] = field(default_factory=list)  # of several tasks: the last `train_loss` of each
    of_tasks: torch.Tensor | None = None  # of several: float32 [tasks, 2], sums of their losses, numbers of their steps
    held: int = -1  # number of first segments that have not been trained yet
    trunk: int = 0  # number of these computed without gradients, once for all members of the same origin
    training: float = 0.0  # FLOPs per image of a step above the trunk
    evaluating: float = 0.0  # FLOPs per image of an evaluation above them
    resting: bool = True  # in evaluation mode
    features: dict[str, StoredFeatures] = field(
        default_factory=dict
    )  # stored, by set of images, where it first is trained

    def __post_init__(self) -> None:
        """Make the optimiser. Biases have their own rate and weight decay, and segments their own rate."""
        recipe = self.run.recipe
        self.fixed = surgery.fixed(self.network, self.run)
        self.certificate = surgery.certificate(self.network, self.fixed)
        device = next(self.network.parameters()).device
        self.loss_sum = torch.zeros((), device=device)
        if len(self.run.tasks) > 1:
            self.of_tasks = torch.zeros(len(self.run.tasks), 2, device=device)
            self.task_losses = [math.nan] * len(self.run.tasks)
        paces = {name: self.run.pace(n) for n, (name, _) in enumerate(self.network.named_children(), 1)}
        alike: dict[tuple[float, bool], dict[str, nn.Parameter]] = {}
        for name, parameter in self.trained.items():
            if parameter is self.log_variance:
                continue
            alike.setdefault((paces[name.split(".")[0]], name.endswith("bias")), {})[name] = parameter
        groups = [
            Group(
                parameters,
                times=pace * (recipe.bias_rate if bias else 1.0),
                weight_decay=recipe.weight_decay * (recipe.bias_decay if bias else 1.0),
            )
            for (pace, bias), parameters in alike.items()
        ]
        uncertain = {name: parameter for name, parameter in self.trained.items() if parameter is self.log_variance}
        self.optimiser = Optimiser(recipe, [*groups, Group(uncertain)])

    @cached_property
    def log_variance(self) -> nn.Parameter | None:
        """The uncertainties of tasks, if they are trained: float32 [tasks]."""
        return getattr(self.network[-1], "log_variance", None)

    @cached_property
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained at some time, by name: those of the optimiser."""
        return {name: p for name, p in self.network.named_parameters() if name not in self.fixed}

    def begin(self, steps: int, timed_by: str) -> None:
        """Prepare to continue after this member's last step. steps: of the training; timed_by: see `Clock`."""
        self.ready(max(0, self.step - 1), steps)
        self.seconds_by = self.seconds_by or timed_by

    def ready(self, step: int, steps: int) -> None:
        """Prepare the network for training in step 0..steps - 1."""
        held = self.run.held(step / steps)
        if self.resting or held != self.held:  # segments are unfrozen from the cut down, and never frozen again
            done = step / steps
            surgery.ready(self.network, self.run, done)
            self.held, self.trunk, self.resting = held, cost.trunk(self.run, done), False
            self.training, self.evaluating = (cost.above(self.run, done, trained) for trained in (True, False))

    def logits(self, inputs: Input, arithmetic: Arithmetic, first: int | None = None) -> Any:
        """float32 [b, outputs]: the outputs for what the first segments computed, by default those of the trunk.

        Of several tasks a list of them, with None for tasks that have no input.

        The head always computes in float32: with the eight bits of bfloat16, the largest two outputs are equal for
        about one image in a hundred, and the order of classes would decide.
        """
        features: Any = inputs
        with arithmetic.autocast():
            for segment in self.network[self.trunk if first is None else first : -1]:
                features = segment(features)
        with arithmetic.autocast(enabled=False):
            if isinstance(features, list):
                floats = [one.float() if isinstance(one, torch.Tensor) else one for one in features]
                return self.network[-1](floats)
            return self.network[-1](features.float())

    def end_mean(self) -> None:
        """Set the mean training losses to those of the steps since the last evaluation, and begin new means.

        A task that was not trained in these steps keeps its last mean.
        """
        if self.of_tasks is None:
            self.train_loss = self.loss_sum.item() / self.loss_steps
            self.loss_sum.zero_()
        else:
            for k, (total, steps) in enumerate(self.of_tasks.tolist()):
                self.task_losses[k] = total / steps if steps else self.task_losses[k]
            self.train_loss = self.task_losses[0]
            self.of_tasks.zero_()
        self.loss_steps = 0

    def rest(self) -> None:
        """Prepare the network for evaluation: batch norm uses its stored statistics."""
        self.network.eval()
        self.resting = True

    def __str__(self) -> str:
        return str(self.run)


def stored_inputs(
    held: Mapping[Member, int], name: str, views: np.ndarray | int, images: np.ndarray | slice, device: str
) -> dict[Member, torch.Tensor]:
    """Stored features for members by the number of segments below them (`held`), for these images of a set."""
    stored = {member: member.features[name] for member in held if name in member.features}
    chosen = {member: features for member, features in stored.items() if features.cut == held[member]}
    read = {features: moved(features.at(views, images), device).float() for features in set(chosen.values())}
    return {member: read[features] for member, features in chosen.items()}


def at_cuts(
    members: Sequence[Member], images: Input | None, clock: Clock, computed: Mapping[Member, torch.Tensor] | None = None
) -> list[Any]:
    """The input of each member's trained part: the images, or the features at its frozen cut.

    Segments of the same origin that are not trained yet are computed once, by the member that shares most of them.
    computed: features that are computed already; if all members have them, `images` may be None. Those of texts, which
    were stored with room for the longest one, are cut to the length of this batch.
    """
    known: dict[Member, torch.Tensor] = dict(computed or {})
    if isinstance(images, Tokens):
        known = {m: x[:, : images.ids.shape[1]] if x.ndim == 3 else x for m, x in known.items()}
    inputs: list[Input | None] = [known.get(member, images) for member in members]
    standardised([m for m, taken in zip(members, inputs, strict=True) if taken is images], images, clock)
    trunks: dict[Hashable, list[int]] = {}
    for k, member in enumerate(members):
        if member.trunk and inputs[k] is images:
            trunks.setdefault(origin(member.run), []).append(k)
    with torch.no_grad():
        for sharing in trunks.values():
            assert isinstance(images, Batch | Tokens)  # networks with partners have no frozen segments
            deepest = members[max(sharing, key=lambda k: members[k].trunk)]
            rows, features = layers_of(deepest.run), images
            for n, segment in enumerate(deepest.network[: deepest.trunk], 1):
                needed = [members[k] for k in sharing if members[k].trunk >= n]
                with clock.of(needed, len(images[0]) * rows[n - 1].flops):
                    features = segment(features)
                for k in sharing:
                    if members[k].trunk == n:
                        inputs[k] = features
    return [batch for batch in inputs if batch is not None]


def standardised(members: Sequence[Member], images: Input | None, clock: Clock) -> None:
    """Standardise pictures for these members, within `layers.standardising_once`: once for those of equal moments."""
    alike: dict[int, list[Member]] = {}
    for member in members if isinstance(images, Batch) else ():
        if not member.run.partners:  # whose networks standardise each input or task themselves
            alike.setdefault(id(moments_in(member.network).mean), []).append(member)
    for sharing in alike.values():
        with clock.of(sharing, 0.0):
            moments_in(sharing[0].network)(images)
