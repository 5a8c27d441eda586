"""A pack: runs with the same target, seed, role and recipe, trained side by side on one stream of batches.

What lies frozen below their cuts is computed once per base. The members share nothing else: each has its own network,
optimiser, checkpoint and end, so that a lone run and the same run in a pack give the same numbers.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import nn

from yosinski import records, surgery
from yosinski.data.stream import Batch
from yosinski.spec import Run


@dataclass(frozen=True)
class Arithmetic:
    """What the last bits of the numbers depend on; fixed when a run first starts."""

    dtype: str  # "float32", or "bfloat16" for autocast
    device: str  # "cpu", "cuda" or "mps"
    threads: int

    def autocast(self) -> torch.autocast:
        """The context in which networks compute."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.dtype == "bfloat16")

    def __str__(self) -> str:
        return f"{self.dtype} on {self.device} with {self.threads} thread(s)"


@dataclass(eq=False)
class Member:
    """One run in training. `loss_sum` adds up the training loss since the last evaluation, on the device."""

    run: Run
    attempt: records.Attempt
    network: nn.Sequential
    parent_weights: str | None
    optimiser: torch.optim.SGD = field(init=False)
    certificate: str = field(init=False)
    loss_sum: torch.Tensor = field(init=False)
    loss_steps: int = 0
    step: int = 0
    seconds: float = 0.0
    train_loss: float = math.nan

    def __post_init__(self) -> None:
        """Biases have a learning rate and a weight decay of their own."""
        recipe = self.run.recipe
        self.certificate = surgery.certificate(self.network, self.run.frozen)
        device = next(self.network.parameters()).device
        self.loss_sum = torch.zeros((), device=device)
        biases = [p for name, p in self.trained().items() if name.endswith("bias")]
        weights = [p for name, p in self.trained().items() if not name.endswith("bias")]
        self.optimiser = torch.optim.SGD(
            [
                {"params": weights, "times": 1.0, "weight_decay": recipe.weight_decay},
                {"params": biases, "times": recipe.bias_rate, "weight_decay": recipe.weight_decay * recipe.bias_decay},
            ],
            recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.solver == "nesterov" and recipe.momentum > 0,
            fused=device.type in ("cpu", "cuda"),
        )

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters above a frozen cut, by name; all others are not the optimiser's."""
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    def __str__(self) -> str:
        return str(self.run)


def at_cuts(members: list[Member], images: Batch) -> list[Batch | torch.Tensor]:
    """The input of each member's trained part: the images, or the features at its frozen cut.

    Frozen segments from the same parent are computed once, by the member that is cut deepest.
    """
    inputs: list[Batch | torch.Tensor] = [images] * len(members)
    trunks: dict[str | None, list[int]] = {}
    for k, member in enumerate(members):
        if member.run.frozen:
            trunks.setdefault(member.run.parent.id if member.run.parent else member.run.below, []).append(k)
    with torch.no_grad():
        for sharing in trunks.values():
            deepest = max(sharing, key=lambda k: members[k].run.frozen)
            features = images
            for n, segment in enumerate(members[deepest].network[: members[deepest].run.frozen], 1):
                features = segment(features)
                for k in sharing:
                    if members[k].run.frozen == n:
                        inputs[k] = features
    return inputs
