"""Surgery: copy the first n segments of a base, freeze or tune them, and certify that frozen ones never changed.

Every parameter and buffer is either copied or initialised. A tensor that fits neither is an error, which lists the
names.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from yosinski.errors import Failure
from yosinski.experiment.run import Run
from yosinski.networks.tensors import fingerprint
from yosinski.networks.tokens import Seen, around
from yosinski.randomness import generator

RECALIBRATION = 64  # maximum number of batches for recalibrating batch norm


@torch.no_grad()
def transplant(base: Mapping[str, torch.Tensor], copy: nn.Sequential, n: int) -> None:
    """Overwrite every tensor of the copy's first n segments with the base's of the same name.

    base: a base's state dict. Failure if a name below the cut is missing on either side or a shape differs.
    """
    ours = copy[:n].state_dict()
    theirs = below(base, copy, n)
    odd = sorted(ours.keys() ^ theirs.keys())
    if odd:
        raise Failure(f"below cut {n} base and copy differ in: {', '.join(odd)}")
    unlike = []
    for name, tensor in sorted(ours.items()):
        of_base, of_copy = ((tuple(t.shape), t.dtype) for t in (theirs[name], tensor))
        for base_has, copy_has in zip(of_base, of_copy, strict=True):
            if base_has != copy_has:
                unlike.append(f"{name} is {base_has} in the base, {copy_has} in the copy")
    if unlike:
        raise Failure("; ".join(unlike))
    for name, tensor in ours.items():
        tensor.copy_(theirs[name])


def below(tensors: Mapping[str, torch.Tensor], network: nn.Sequential, n: int) -> dict[str, torch.Tensor]:
    """The tensors of a state dict that belong to the network's first n segments."""
    segments = [name for name, _ in network.named_children()][:n]
    return {name: tensor for name, tensor in tensors.items() if name.split(".")[0] in segments}


@torch.no_grad()
def match(base: Mapping[str, torch.Tensor], copy: nn.Sequential, n: int, *key: str | int) -> None:
    """Draw all parameters of the copy's first n segments, each with the mean and standard deviation of the base's.

    This keeps the scale of the base's weights, layer by layer, and nothing that they have learned.
    """
    for name, parameter in copy[:n].named_parameters():
        numbers = torch.from_numpy(generator("matched", *key, name).standard_normal(parameter.shape))
        original = base[name].double()
        parameter.copy_(original.mean() + original.std(correction=0) * numbers)


def fixed(network: nn.Sequential, run: Run) -> set[str]:
    """The names of the parameters and buffers that never change in a run: the tensors of its fixed segments.

    Exceptions by the recipe: batch norm's statistics (`norm_below` batch), and its scales and offsets (`affine_below`).
    """
    segments = {name for n, (name, _) in enumerate(network.named_children(), 1) if n in run.fixed}
    moving = set()
    for name, module in network.named_modules():
        if isinstance(module, BatchNorm):
            batch, affine = run.recipe.norm_below == "batch", run.recipe.affine_below
            moving |= {f"{name}.{buffer}" for buffer, _ in module.named_buffers(recurse=False) if batch}
            moving |= {f"{name}.{parameter}" for parameter, _ in module.named_parameters(recurse=False) if affine}
    return {name for name in network.state_dict() if name.split(".")[0] in segments} - moving


def ready(network: nn.Sequential, run: Run, done: float) -> None:
    """Make exactly those segments trainable that are trained after this share of the training.

    Batch norm uses its stored statistics in segments that are not trained, and those of the batch in the others.
    """
    for n, segment in enumerate(network.children(), 1):
        trained = run.begins(n) <= done
        segment.requires_grad_(trained).train(trained or run.recipe.norm_below == "batch")
        if run.recipe.affine_below:
            for module in segment.modules():
                if isinstance(module, BatchNorm):
                    module.requires_grad_(True)


@torch.no_grad()
def recalibrate(network: nn.Sequential, run: Run, batches: Iterable[Seen]) -> None:
    """Recompute batch norm's statistics on images of the target, in segments that are not trained from the start.

    They are plain means over the batches, at most `RECALIBRATION` of them.
    """
    waiting = [n for n in range(1, len(run.cuts) + 1) if run.begins(n) > 0]
    norms = [module for n in waiting for module in network[n - 1].modules() if isinstance(module, BatchNorm)]
    if not norms:
        return
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for batch in itertools.islice(batches, RECALIBRATION):
        with around(batch):
            network[: waiting[-1]](batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def certificate(network: nn.Sequential, names: Collection[str]) -> str:
    """The fingerprint of these tensors. That of a copy's fixed tensors is the same before and after training."""
    tensors = network.state_dict()
    return fingerprint({name: tensors[name] for name in names})
