"""What a fused network makes of its inputs: its accuracy with one of them exchanged, and what is additive in it.

The additive part is EMAP (Hessel and Lee 2020, equation 2): the best prediction of the form f(x) + g(y), which uses no
interaction of the inputs. It is computed from the outputs for all pairs of some examples' inputs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from yosinski.data.store import Store
from yosinski.networks.batch import Batch
from yosinski.networks.parts import Part
from yosinski.networks.tokens import Tokens, around
from yosinski.training.arithmetic import Arithmetic
from yosinski.training.clock import Clock
from yosinski.training.evaluation import ImageSet, evaluate
from yosinski.training.pack import Member
from yosinski.training.partners.batches import Partners, exchanged

EXAMPLES = 100  # whose pairs EMAP takes: 10,000 of them


def exchange(images: ImageSet, partners: Partners, k: int) -> ImageSet:
    """The set with input k of every example replaced by another example's; labels stay those of the others."""
    order = exchanged(len(images.rows), partners.first.run, partners.streams[k].half, f"{images.name} exchanged")
    if k == 0:
        return replace(images, rows=images.rows[order])
    others = list(images.others)
    others[k - 1] = replace(others[k - 1], rows=others[k - 1].rows[order])
    return replace(images, others=tuple(others))


def with_exchanged(
    members: Sequence[Member], partners: Partners, images: ImageSet, arithmetic: Arithmetic, clock: Clock
) -> list[list[float]]:
    """For each member the accuracies with each input exchanged, by input."""
    store, number = partners.first.store, len(partners.streams)
    scores = [evaluate(members, store, exchange(images, partners, k), arithmetic, clock) for k in range(number)]
    return [[score.top1 for score in of_member] for of_member in zip(*scores, strict=True)]


@torch.no_grad()
def additive(member: Member, store: Store, images: ImageSet, arithmetic: Arithmetic) -> dict[str, Any] | None:
    """Accuracy of a network with two inputs and of its additive part, on evenly spaced examples that have both.

    None for more inputs. examples: their number; pairs: of which outputs were computed.
    """
    if len(images.others) != 1:
        return None
    there = np.flatnonzero(images.others[0].rows >= 0)
    chosen = np.unique(there[np.linspace(0, len(there) - 1, min(EXAMPLES, len(there))).round().astype(int)])
    few = replace(
        images,
        rows=images.rows[chosen],
        others=(replace(images.others[0], rows=images.others[0].rows[chosen]),),
    )
    member.rest()
    batch = few.batch(store, slice(None))
    assert isinstance(batch, list)
    parts: Any = [one.to(arithmetic.device) for one in batch if one is not None]
    labels = torch.from_numpy(images.labels[chosen])
    cut, count = member.run.cut, len(chosen)
    with arithmetic.autocast(), around(parts):
        for segment in member.network[:cut]:
            parts = segment(parts)
    rows = []
    for k in range(count):
        pairs = [taken(parts[0], torch.full((count,), k)), parts[1]]
        with around(pairs):
            rows.append(member.logits(pairs, arithmetic, cut).double().cpu())
    outputs = torch.stack(rows)  # [x, y, classes]
    parts_alone = outputs.mean(1)[:, None] + outputs.mean(0)[None] - outputs.mean((0, 1))
    here = torch.arange(count)
    full, alone = (table[here, here].argmax(1) for table in (outputs, parts_alone))
    return {
        "examples": count,
        "pairs": count**2,
        "full": float((full == labels).double().mean()),
        "additive": float((alone == labels).double().mean()),
    }


def taken(part: Part, rows: torch.Tensor) -> Part:
    """These rows of crops, texts or features."""
    if isinstance(part, Batch | Tokens):
        return type(part)(*(tensor[rows.to(tensor.device)] for tensor in part))
    return part[rows.to(part.device)]
