"""How many networks rules take to decide where to cut, and how often they are right, on accuracies of known truth.

    python benchmarks/deciding.py [SEEDS]

Every rule but the full grid stops as `yosinski decide` does: where the leading choice is within a point of the best,
cuts that were not tried included, with P of at least 0.95, on three splits or more.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "simulated"))
from deciding import CHOICES, PLACES, End, decided, ended, known, measurements, walk
from truth import EMOJI, PUBLISHED

from analysis.advice.answer import MATTERS
from analysis.advice.decide import Cell, Known, first, following, with_untried
from analysis.paired import FEWEST

AWAY = 3.0  # points behind, by which "dropping" drops
BATCH = 4  # networks of one round of Thompson sampling: a pack each for four workers

Next = Callable[[Known, list[Cell], np.random.Generator], list[Cell]]


def sure(now: Known, tried: list[Cell]) -> bool:
    """Whether the rule of stopping is met, cuts that were not tried included."""
    return following(now, tried, CHOICES) is None


def grid(truth: np.ndarray, times: float, alike: float, seed: int) -> End:
    """Everything on three splits, at once."""
    y = measurements(truth, times, alike, seed)
    tried = [(place, choice) for place in range(FEWEST) for choice in CHOICES]
    now = known(y, tried, times)
    return ended(truth, now, tried, 1, sure(now, tried))


def by_rounds(choose: Next, begin: list[Cell]) -> Callable[[np.ndarray, float, float, int], End]:
    """A rule that adds cells until it is sure."""

    def rule(truth: np.ndarray, times: float, alike: float, seed: int) -> End:
        y, rng = measurements(truth, times, alike, seed), np.random.default_rng(seed)
        tried, rounds = list(begin), 1
        while not sure(now := known(y, tried, times), tried):
            more = choose(now, tried, rng)
            if max(place for place, _ in more) >= PLACES:
                return ended(truth, now, tried, rounds, False)
            tried, rounds = [*tried, *more], rounds + 1
        return ended(truth, now, tried, rounds, True)

    return rule


def dropping(now: Known, tried: list[Cell], rng: np.random.Generator) -> list[Cell]:
    """A further split for all that is less than `AWAY` points behind, at least two."""
    gap = now.points.max() - now.points
    kept = (gap < AWAY) | (gap <= np.sort(gap)[1])
    place = 1 + max(place for place, _ in tried)
    return [(place, choice) for choice, keep in zip(now.choices, kept, strict=True) if keep]


def halving(now: Known, tried: list[Cell], rng: np.random.Generator) -> list[Cell]:
    """A further split for the better half of those on the last one, at least two (Karnin et al., ICML 2013)."""
    place = 1 + max(place for place, _ in tried)
    last = [choice for where, choice in tried if where == place - 1]
    points = [now.points[now.choices.index(choice)] for choice in last]
    order = np.argsort(points)[::-1][: max(2, -(-len(last) // 2))]
    return [(place, last[k]) for k in order]


def top_two(now: Known, tried: list[Cell], rng: np.random.Generator) -> list[Cell]:
    """The best of a draw, or, half of the time, of the next draw with another best one (Russo, COLT 2016).

    `BATCH` of them, each on the first split on which that choice is missing. Untried cuts have draws as in `decide`.
    """
    assert now.draws is not None
    names, draws = with_untried(now.choices, now.draws, CHOICES)
    best = draws.argmax(axis=1)
    some: list[Cell] = []
    while len(some) < BATCH:
        chosen = best[rng.integers(len(best))]
        if rng.random() < 0.5:
            others = best[best != chosen]
            chosen = rng.choice(others) if len(others) else np.argsort(draws.mean(axis=0))[-2]
        choice = names[int(chosen)]
        taken = {place for place, other in [*tried, *some] if other == choice}
        some.append((next(place for place in range(PLACES + BATCH) if place not in taken), choice))
    return some


EVERY = [(0, choice) for choice in CHOICES]
RULES: dict[str, Callable[[np.ndarray, float, float, int], End]] = {
    "full grid": grid,
    "dropping": by_rounds(dropping, EVERY),
    "halving": by_rounds(halving, EVERY),
    "top-two": by_rounds(top_two, [(place, choice) for place in range(FEWEST) for _, choice in first(CHOICES).cells]),
    "decide": decided,
}


def main(seeds: int) -> None:
    """Print the table as Markdown."""
    print("| curves | variances | alike | rule | networks: median | 90 % | rounds | regret | right | decided |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    curves = {"published": lambda seed: PUBLISHED, "emoji": lambda seed: EMOJI, "walks": walk}
    for name, truth in curves.items():
        for times in (0.5, 1.0, 2.0, 3.0):
            for alike in (0.0, 0.8):
                for rule, of in RULES.items():
                    ends = [of(truth(seed), times, alike, seed) for seed in range(seeds)]
                    networks, regret = np.array([end.networks for end in ends]), np.array([end.regret for end in ends])
                    print(
                        f"| {name} | {times:g} | {alike:g} | {rule} | {np.median(networks):.0f}"
                        f" | {np.quantile(networks, 0.9):.0f} | {np.mean([end.rounds for end in ends]):.1f}"
                        f" | {regret.mean():.2f} | {(regret < MATTERS).mean():.3f}"
                        f" | {np.mean([end.decided for end in ends]):.2f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
