"""How few networks `yosinski decide` takes on accuracies whose truth is known, and how often it is right."""

from collections.abc import Callable

import numpy as np
import pytest
from deciding import GRID, End, decided, walk
from truth import EMOJI, PUBLISHED

from analysis.advice.answer import ENOUGH, MATTERS

SEEDS = range(1000, 1050)  # others than those on which the rule was made
SLACK = 0.03


def ends(truth: Callable[[int], np.ndarray], times: float, alike: float) -> list[End]:
    return [decided(truth(seed), times, alike, seed) for seed in SEEDS]


def right(some: list[End]) -> float:
    return float(np.mean([end.regret < MATTERS for end in some]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("truth", "most"),
    [(PUBLISHED, {0.5: 24, 1.0: 26, 2.0: 32, 3.0: 40}), (EMOJI, {0.5: 22, 1.0: 25, 2.0: 30, 3.0: 34})],
)
def test_about_half_of_the_grid_is_enough_on_known_curves(truth: np.ndarray, most: dict[float, int]) -> None:
    for times, networks in most.items():
        for alike in (0.0, 0.8):
            found = ends(lambda seed: truth, times, alike)
            assert np.median([end.networks for end in found]) <= networks
            assert all(end.decided for end in found) or times > 2
            assert times > 2 or right(found) >= ENOUGH - SLACK


@pytest.mark.slow
def test_curves_that_are_random_walks_are_decided_as_surely_as_is_stated() -> None:
    found = [end for times in (1.0, 2.0) for alike in (0.0, 0.8) for end in ends(walk, times, alike)]
    assert np.median([end.networks for end in found]) <= GRID / 2
    assert right(found) >= ENOUGH - SLACK
