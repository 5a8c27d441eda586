"""Losses and gradients, of one task or of several.

Each task's gradient is computed and clipped on its own, then weighted; in the segments that tasks share they are added
or averaged over the tasks that have labels in the step. So a task that shares nothing is trained like its base.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from yosinski.experiment.recipes import numbers
from yosinski.experiment.run import Run
from yosinski.training.pack import Member
from yosinski.training.shares import Shares

NONE = -1  # the label of an image without one


def labelled(labels: np.ndarray) -> torch.Tensor | None:
    """The labels of a batch, int64 [b]; None if no image has one."""
    return torch.from_numpy(labels) if (labels != NONE).any() else None


def loss_of(
    run: Run, outputs: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0, reduction: str = "mean"
) -> Any:
    """Cross-entropy of outputs [b, classes] and labels [b]; of multiplicative ones minus the label's output."""
    if run.recipe.join == "multiplicative":
        return F.nll_loss(outputs, labels, reduction=reduction, ignore_index=NONE)
    return F.cross_entropy(outputs, labels, label_smoothing=smoothing, reduction=reduction, ignore_index=NONE)


def backward(member: Member, outputs: Any, labels: Sequence[torch.Tensor | None], shares: Shares | None = None) -> None:
    """Compute the gradients of a step, and add the loss to the member's sums. Those of several tasks are clipped.

    labels: of each task, None where it has none in this step; nothing is asked of the device, which would have to wait.
    shares: if several processes compute a batch; then gradients and loss are those of the whole batch.
    """
    recipe = member.run.recipe
    if member.of_tasks is None:
        if labels[0] is None:
            member.loss_sum += member.loss_sum / max(1, member.loss_steps)  # a step without labels keeps the mean
            return  # without gradients, as where the task is one of several
        loss = loss_of(member.run, outputs, labels[0], recipe.label_smoothing)
        if shares:
            loss = loss * shares.weight(len(labels[0]))
        loss.backward()
        if shares:
            loss = shares.add_up(member.trained.values(), loss)
        member.loss_sum += loss.detach()
    else:
        _of_tasks(member, outputs, labels, member.of_tasks)


def clip(parameters: Any, norm: float) -> None:
    """Clip the norm of the gradients; 0: never."""
    if norm:
        nn.utils.clip_grad_norm_(parameters, norm)


def _of_tasks(
    member: Member, outputs: Sequence[torch.Tensor | None], labels: Sequence[torch.Tensor | None], sums: torch.Tensor
) -> None:
    recipe, trained = member.run.recipe, member.trained
    with_labels = [k for k, of_task in enumerate(labels) if of_task is not None]
    found: dict[nn.Parameter, list[torch.Tensor]] = defaultdict(list)
    uncertainty = member.log_variance
    of_uncertainty = None if uncertainty is None else torch.zeros_like(uncertainty)
    for k in with_labels:
        loss = loss_of(member.run, outputs[k], labels[k], recipe.label_smoothing)  # pyright: ignore
        member.optimiser.zero_grad()
        loss.backward(retain_graph=k != with_labels[-1])  # tasks on the same pictures share the pass below
        reached = [parameter for parameter in trained.values() if parameter.grad is not None]
        clip(reached, recipe.clip)
        weight = weight_of(member, k)
        for parameter in reached:
            assert parameter.grad is not None
            found[parameter].append(parameter.grad if weight is None else parameter.grad * weight)
        if of_uncertainty is not None and weight is not None:
            of_uncertainty[k] = uncertainty_gradient(weight, loss.detach())
        sums[k, 0] += loss.detach()
        sums[k, 1] += 1
    member.optimiser.zero_grad()
    for parameter, gradients in found.items():
        total = gradients[0]
        for gradient in gradients[1:]:
            total = total + gradient
        parameter.grad = total / len(gradients) if recipe.gradient == "mean" and len(gradients) > 1 else total
    if uncertainty is not None:
        uncertainty.grad = of_uncertainty


def uncertainty_gradient(weight: Any, loss: torch.Tensor) -> torch.Tensor:
    """The gradient of exp(-s) L + s / 2 by s, of `weight` exp(-s)."""
    return 0.5 - weight * loss


def weight_of(member: Member, task: int) -> torch.Tensor | float | None:
    """The weight of a task's gradient; None for 1.

    With a log-variance s it is exp(-s): the loss is the sum of exp(-s) L + s / 2 (Kendall et al. 2018).
    """
    if member.log_variance is not None:
        return torch.exp(-member.log_variance.detach()[task])
    given = numbers(member.run.recipe.weighting)
    return given[task] if given else None
