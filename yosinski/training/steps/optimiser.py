"""The optimiser of a member: SGD or AdamW, by the functions of torch.optim.

Its classes load torch's compiler before their first step, which takes a worker process as long as torch itself; the
functions that they call do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from yosinski.experiment.recipes import Recipe

BETA2, EPSILON = 0.999, 1e-8  # of AdamW, as in torch; the first beta is `recipe.momentum`


@dataclass(frozen=True)
class Group:
    """Parameters, by name, with a weight decay and a rate of their own. times: the rate in multiples of the step's."""

    parameters: dict[str, nn.Parameter]
    times: float = 1.0
    weight_decay: float = 0.0


class Optimiser:
    """Takes steps as a recipe says. state: tensors of each parameter, by its name, as torch.optim calls them."""

    def __init__(self, recipe: Recipe, groups: Sequence[Group]) -> None:
        self.recipe, self.groups = recipe, groups
        self.state: dict[str, dict[str, torch.Tensor]] = {}
        if recipe.optimiser == "sgd" and recipe.momentum:  # the fused step needs those of all parameters
            for group in groups:
                for name, parameter in group.parameters.items():
                    self.state[name] = {"momentum_buffer": torch.zeros_like(parameter)}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step of all parameters that have gradients: without a gradient there is no weight decay either."""
        for group in self.groups:
            moved = {name: p for name, p in group.parameters.items() if p.grad is not None}
            if moved:
                step = self._adamw if self.recipe.optimiser == "adamw" else self._sgd
                step(moved, [p.grad for p in moved.values()], group, rate * group.times)

    def _sgd(self, moved: dict[str, nn.Parameter], gradients: list, group: Group, rate: float) -> None:
        recipe = self.recipe
        sgd(
            list(moved.values()),
            gradients,
            [self.state[name]["momentum_buffer"] if recipe.momentum else None for name in moved],
            fused=_fused(gradients[0]),
            weight_decay=group.weight_decay,
            momentum=recipe.momentum,
            lr=rate,
            dampening=0.0,
            nesterov=recipe.solver == "nesterov" and recipe.momentum > 0,
            maximize=False,
        )

    def _adamw(self, moved: dict[str, nn.Parameter], gradients: list, group: Group, rate: float) -> None:
        fused = _fused(gradients[0])
        for name, p in moved.items():  # averages, and their correction, start with a parameter's first gradient
            if name not in self.state:
                step = torch.zeros((), device=p.device if fused else None)
                self.state[name] = {"step": step, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        states = [self.state[name] for name in moved]
        adamw(
            list(moved.values()),
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=fused,
            amsgrad=False,
            beta1=self.recipe.momentum,
            beta2=BETA2,
            lr=rate,
            weight_decay=group.weight_decay,
            eps=EPSILON,
            maximize=False,
        )

    def zero_grad(self) -> None:
        """Free all gradients."""
        for group in self.groups:
            for parameter in group.parameters.values():
                parameter.grad = None


def _fused(tensor: torch.Tensor) -> bool:
    """Whether torch has these steps in one kernel for a device."""
    return tensor.device.type in ("cpu", "cuda")
