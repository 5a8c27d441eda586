"""Optimisers of a pack's members: SGD or AdamW, by the functions of torch.optim.

Its classes load torch's compiler before their first step, which takes a worker process as long as torch itself; the
functions that they call do not. One call serves all members whose parameters have the same rate and weight decay.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from yosinski.experiment.recipes import Recipe

BETA2, EPSILON = 0.999, 1e-8  # of AdamW, as in torch; the first beta is `recipe.momentum`

State = dict[str, torch.Tensor]  # of one parameter, as torch.optim names them


@dataclass(frozen=True)
class Group:
    """Parameters, by name, with a weight decay and a rate of their own. times: the rate in multiples of the step's."""

    parameters: dict[str, nn.Parameter]
    times: float = 1.0
    weight_decay: float = 0.0


class Optimiser:
    """The parameters of a member and their `state`, by name."""

    def __init__(self, recipe: Recipe, groups: Sequence[Group]) -> None:
        self.recipe, self.groups = recipe, groups
        self.state: dict[str, State] = {}
        if recipe.optimiser == "sgd" and recipe.momentum:  # the fused step needs those of all parameters
            for group in groups:
                for name, parameter in group.parameters.items():
                    self.state[name] = {"momentum_buffer": torch.zeros_like(parameter)}

    def zero_grad(self) -> None:
        """Free all gradients."""
        for group in self.groups:
            for parameter in group.parameters.values():
                parameter.grad = None

    def of(self, name: str, parameter: nn.Parameter) -> State:
        """The state of a parameter. AdamW's averages, and their correction, start with its first gradient."""
        if self.recipe.optimiser == "adamw" and name not in self.state:
            steps = torch.zeros((), device=parameter.device if in_one_kernel(parameter) else None)
            first, second = torch.zeros_like(parameter), torch.zeros_like(parameter)
            self.state[name] = {"step": steps, "exp_avg": first, "exp_avg_sq": second}
        return self.state.get(name, {})


@torch.no_grad()
def take(steps: Sequence[tuple[Optimiser, float]]) -> None:
    """Take one step with each of these optimisers of the same recipe, at a rate for each.

    Only parameters that have gradients take part: without a gradient there is no weight decay either.
    """
    alike: dict[tuple[float, float], list[tuple[nn.Parameter, State]]] = defaultdict(list)
    for optimiser, rate in steps:
        for group in optimiser.groups:
            for name, parameter in group.parameters.items():
                if parameter.grad is not None:
                    moved = parameter, optimiser.of(name, parameter)
                    alike[rate * group.times, group.weight_decay].append(moved)
    for (rate, decay), moved in alike.items():
        parameters, states = zip(*moved, strict=True)
        fused = in_one_kernel(parameters[0])
        _step(steps[0][0].recipe, parameters, states, lr=rate, weight_decay=decay, fused=fused, maximize=False)


def in_one_kernel(parameter: nn.Parameter) -> bool:
    """Whether torch has these steps in one kernel for the parameter's device."""
    return parameter.device.type in ("cpu", "cuda")


def _step(recipe: Recipe, parameters: Sequence[nn.Parameter], states: Sequence[State], **options: Any) -> None:
    def held(name: str) -> list[Any]:
        return [state.get(name) for state in states]

    moving, gradients = list(parameters), [parameter.grad for parameter in parameters]
    if recipe.optimiser == "adamw":
        moments = held("exp_avg"), held("exp_avg_sq"), [], held("step")
        betas = {"beta1": recipe.momentum, "beta2": BETA2}
        adamw(moving, gradients, *moments, amsgrad=False, eps=EPSILON, **betas, **options)  # pyright: ignore
    else:
        nesterov = recipe.solver == "nesterov" and recipe.momentum > 0
        momentum = {"momentum": recipe.momentum, "dampening": 0.0, "nesterov": nesterov}
        sgd(moving, gradients, held("momentum_buffer"), **momentum, **options)  # pyright: ignore
