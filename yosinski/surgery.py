"""Surgery: copy the first n segments of a base, freeze or tune them, and certify that frozen ones never changed.

Pure, named and total: every parameter and buffer is copied or left to be re-initialised, and what fits neither is an
error that lists the names.
"""

import hashlib
from collections.abc import Mapping

import torch
from torch import nn

from yosinski.spec import Failure


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


def freeze(network: nn.Sequential, n: int) -> None:
    """Exclude the first n segments from training: no gradients, and none of their tensors for the optimiser."""
    network[:n].requires_grad_(False)


def fingerprint(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in order of names: 64 hex digits."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        hashed.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()


def certificate(network: nn.Sequential, n: int) -> str:
    """The fingerprint of everything below cut n; a frozen copy's is the same before and after training."""
    return fingerprint(below(network.state_dict(), network, n))
