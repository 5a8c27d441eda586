"""What a run costs, counted from its architecture before anything is trained. No torch."""

from dataclasses import dataclass
from functools import cache, lru_cache

from yosinski.architectures import ARCHITECTURES
from yosinski.architectures import Cost as LayerCost
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
    return ARCHITECTURES[network].costs(outputs)


def cost(run: Run, card: Card) -> Cost:
    """Forward everywhere, backward (twice the forward) above the frozen segments, and all evaluations."""
    rows = _layers(run.network, run.outputs)
    forward = sum(row.flops for row in rows)
    backward = 2 * sum(row.flops for row in rows[run.frozen :])
    train = images(run, card, "train")
    steps = run.recipe.steps(train)
    unseen = 0 if set(card.unseen) & set(run.half.domain) else len(card.unseen)
    evaluated = (
        (len(run.recipe.evaluated(steps)) + 1) * images(run, card, "select")
        + images(run, card, "test")
        + images(run, card, "test", unseen)
    )
    return Cost(
        parameters=sum(row.parameters for row in rows),
        trained_parameters=sum(row.parameters for row in rows[run.frozen :]),
        steps=steps,
        flops=steps * min(run.recipe.batch_size, train) * (forward + backward) + evaluated * forward,
    )
