"""What a run costs, counted from its architecture before anything is trained. No torch."""

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from yosinski.architectures import Cost as LayerCost
from yosinski.architectures import architecture
from yosinski.data import Card
from yosinski.spec import Half, Run


@dataclass(frozen=True)
class Cost:
    """Parameters, steps and FLOPs (a multiply-add counts two) of one run trained alone."""

    parameters: int
    trained_parameters: int
    steps: int
    flops: int


def images(run: Run, card: Card, set_name: str, domains: int | None = None) -> int:
    """How many images of a set the run's half has."""
    domains = max(1, len(run.half.domain)) if domains is None else domains
    return _images(card, run.half, set_name, domains, run.examples_per_class if set_name == "train" else None)


@cache
def _images(card: Card, half: Half, set_name: str, domains: int, at_most: int | None) -> int:
    count = card.images[set_name]
    if isinstance(count, tuple):
        per_class = dict(zip(card.classes, count, strict=True))
        counts = [per_class[name] * domains for name in half.classes]
    else:
        counts = [count * domains] * len(half.classes)
    return sum(counts if at_most is None else (min(count, at_most) for count in counts))


@lru_cache
def _layers(network: str, outputs: int) -> list[LayerCost]:
    return architecture(network).costs(outputs)


def cost(run: Run, card: Card | None) -> Cost:
    """Forward everywhere, backward as far down as something is trained, and all evaluations.

    card: of the half's data set; None: a base from outside, of which nothing is trained here.

    Where a segment's weights are trained its backward pass costs twice the forward one, where gradients only pass
    through it as much as that. A segment that is trained from some time on costs so much from then on. As long as a
    copy stands on stored features, what lies below them costs a forward pass of every view and select image, once.
    """
    rows = _layers(run.network, run.outputs)
    if card is None:
        return Cost(sum(row.parameters for row in rows), 0, 0, 0)
    forward = sum(row.flops for row in rows)
    backward, reached = 0.0, 1.0  # the share of the training after which gradients reach the segment
    for n, row in enumerate(rows, 1):
        reached = min(reached, run.begins(n))
        backward += row.flops * (1 - reached + max(0.0, 1 - run.begins(n)))
    train = images(run, card, "train")
    steps = run.recipe.steps(train)
    unseen = 0 if set(card.unseen) & set(run.half.domain) else len(card.unseen)
    shown, selected = steps * min(run.recipe.batch_size, train), images(run, card, "select")
    selections = (len(run.recipe.evaluated(steps)) + 1) * selected
    evaluated = selections + images(run, card, "test") + images(run, card, "test", unseen)
    saved = 0.0
    if held := standing(run):
        share = min(run.begins(n) for n in range(1, held + 1))
        passes = min(1.0, share) * (shown + selections) - (run.recipe.views * train + selected)
        saved = passes * sum(row.flops for row in rows[:held])
    return Cost(
        parameters=sum(row.parameters for row in rows),
        trained_parameters=sum(row.parameters for n, row in enumerate(rows, 1) if math.isfinite(run.begins(n))),
        steps=steps,
        flops=round(shown * (forward + backward) - saved) + evaluated * forward,
    )


def standing(run: Run) -> int:
    """The cut at which a run begins with stored features, 0 if it computes everything."""
    return run.held(0.0) if run.recipe.views and run.role == "copy" else 0


def stored(runs: Iterable[Run], cards: Mapping[str, Card]) -> int:
    """Bytes of the stored features of these runs; those that begin with the same segments and pictures share them."""
    sizes: dict[Hashable, int] = {}
    for run in runs:
        if held := standing(run):
            recipe, card = run.recipe, cards[run.half.data]
            trunk = run.parent.id if run.parent else None, run.below, run.seed if run.below else None, recipe.norm_below
            crops = run.half.digest, run.examples_per_class, recipe.views, *recipe.crops.items()
            pictures = recipe.views * images(run, card, "train") + images(run, card, "select")
            sizes[run.network, held, trunk, crops] = (
                4 * math.prod(_layers(run.network, run.outputs)[held - 1].shape) * pictures
            )
    return sum(sizes.values())
