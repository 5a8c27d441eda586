"""Surgery: copy the first n segments of a base, freeze or tune them, and certify that frozen ones never changed.

Pure, named and total: every parameter and buffer is copied or left to be re-initialised, and what fits neither is an
error that lists the names.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from yosinski.errors import Failure
from yosinski.experiment.run import Run
from yosinski.networks.batch import Batch
from yosinski.networks.tensors import fingerprint
from yosinski.randomness import generator

RECALIBRATION = 64  # batches, at most, by which batch norm's statistics are counted anew


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
    """Those of a state dict's tensors that belong to the network's first n segments."""
    segments = [name for name, _ in network.named_children()][:n]
    return {name: tensor for name, tensor in tensors.items() if name.split(".")[0] in segments}


@torch.no_grad()
def match(base: Mapping[str, torch.Tensor], copy: nn.Sequential, n: int, *key: str | int) -> None:
    """Draw every parameter of the copy's first n segments anew, with the base's mean and standard deviation of it.

    What is kept of the base is how large its weights are, layer by layer, and nothing that they have learned.
    """
    for name, parameter in copy[:n].named_parameters():
        numbers = torch.from_numpy(generator("matched", *key, name).standard_normal(parameter.shape))
        original = base[name].double()
        parameter.copy_(original.mean() + original.std(correction=0) * numbers)


def fixed(network: nn.Sequential, run: Run) -> set[str]:
    """The names of the parameters and buffers that never change in a run: those of its fixed segments.

    Except for what the recipe lets batch norm change there: its statistics (`norm_below` batch), or its scales and
    offsets (`affine_below`).
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
    """Let those segments be trained whose time has come when so much of the training is done, and no others.

    Where a segment is not trained, batch norm uses the statistics that it has; in a trained one those of the batch.
    """
    for n, segment in enumerate(network.children(), 1):
        trained = run.begins(n) <= done
        segment.requires_grad_(trained).train(trained or run.recipe.norm_below == "batch")
        if run.recipe.affine_below:
            for module in segment.modules():
                if isinstance(module, BatchNorm):
                    module.requires_grad_(True)


@torch.no_grad()
def recalibrate(network: nn.Sequential, run: Run, batches: Iterable[Batch]) -> None:
    """Count batch norm's statistics anew, on images of the target, wherever a segment is not trained from the start.

    Each is the plain mean over the batches, of which at most `RECALIBRATION` are taken.
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
        network[: waiting[-1]](batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def certificate(network: nn.Sequential, names: Collection[str]) -> str:
    """The fingerprint of these tensors; that of a copy's fixed ones is the same before and after training."""
    tensors = network.state_dict()
    return fingerprint({name: tensors[name] for name in names})
