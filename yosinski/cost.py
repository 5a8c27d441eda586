"""What a run costs, counted from its architecture before anything is trained. No torch."""

from dataclasses import dataclass
from functools import lru_cache

from yosinski.architectures import ARCHITECTURES
from yosinski.architectures import Cost as LayerCost
from yosinski.data import Card
from yosinski.spec import Run


@dataclass(frozen=True)
class Cost:
    """Parameters, steps and FLOPs (a multiply-add counts two) of one run trained alone."""

    parameters: int
    trained_parameters: int
    steps: int
    flops: int


def images(run: Run, card: Card, set_name: str, domains: int | None = None) -> int:
    """How many images of a set the run's half has."""
    per_class = card.images[set_name] * (max(1, len(run.half.domain)) if domains is None else domains)
    if set_name == "train" and run.examples_per_class is not None:
        per_class = min(per_class, run.examples_per_class)
    return per_class * len(run.half.classes)


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
