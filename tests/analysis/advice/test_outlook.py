"""A look ahead: how often more replicates or more images would be enough, by hand for two choices."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from analysis.advice.answer import Answer
from analysis.advice.outlook import EVEN, MOST, contenders, enough, needed


def ahead(
    means: list[float], by_training: float, by_images: float = 0.0, matters: float = 1.0, draws: int = 20_000
) -> Answer:
    """Choices with independent errors of these variances, each, after training and by images."""
    p = len(means)
    trainings = np.array(means) + np.sqrt(by_training) * np.random.default_rng(0).standard_normal((draws, p))
    best = np.bincount(trainings.argmax(axis=1), minlength=p) / draws
    rows = pd.DataFrame({"choice": [f"A{k}B" for k in range(p)], "p_best": best, "targets": 8})
    return Answer(rows, matters, top="A0B", trainings=trainings, images=by_images * np.eye(p))


def mean(answer: Answer, left: float = 1.0, images: float = 1.0) -> float:
    return float(np.mean([enough(answer, left, images, seed) for seed in range(20)]))


def by_hand(now: float, then: float, matters: float = 1.0) -> float:
    """Two choices, equal as far as one knows; variances of their difference now and after more data.

    What is learned is normal with variance now - then. The leading one is within `matters` with 95 % if it leads by
    1.645 of the deviation that is left, less `matters`.
    """
    lead = norm.ppf(0.95) * np.sqrt(then) - matters
    return 1.0 if lead <= 0 else float(2 * norm.sf(lead / np.sqrt(now - then)))


@pytest.mark.parametrize("more", [2, 4, 12])
def test_more_replicates_by_hand(more: int) -> None:
    """4 replicates and a variance of 2 become 2 x 4 / (4 + more), each of the two choices with half of it."""
    now = 3.0
    assert mean(ahead([0, 0], now / 2), 4 / (4 + more)) == pytest.approx(by_hand(now, now * 4 / (4 + more)), abs=0.04)


def test_more_images_by_hand() -> None:
    assert mean(ahead([0, 0], 0.5, 1.0), images=3) == pytest.approx(by_hand(3, 1 + 2 / 3), abs=0.04)


def test_the_more_the_better_on_average() -> None:
    its = ahead([0, -0.2, -0.5], 1.0)
    chances = [mean(its, 4 / (4 + more)) for more in (0, 1, 3, 6, 12)]
    assert (np.diff(chances) > 0).all()
    assert chances[0] < 0.05  # nothing new: it is as open as it was


def test_replicates_do_not_help_where_images_dominate_and_the_other_way_round() -> None:
    images, training = ahead([0, 0], 0.01, 2.0), ahead([0, 0], 2.0, 0.01)
    assert mean(images, left=0.25) < 0.05 < 0.8 < mean(images, images=20)
    assert mean(training, images=20) < 0.05 < 0.6 < mean(training, left=0.25)


def test_the_fewest_that_are_enough() -> None:
    its = ahead([0, 0], 0.6)
    more, chance = needed(its, 4)
    assert chance == enough(its, 4 / (4 + more)) >= EVEN
    assert all(enough(its, 4 / (4 + fewer)) < EVEN for fewer in range(1, more))
    hopeless = needed(ahead([0, 0], 50.0), 4)
    assert hopeless[0] == MOST
    assert hopeless[1] < EVEN


def test_holes_come_first() -> None:
    """Contenders on two of eight targets, four splits: what is missing there leaves a fourth of their variance."""
    its = ahead([0, 0, -40], 0.6)
    its.rows["targets"] = [2, 2, 8]
    assert enough(its, 1 / 4) >= EVEN
    assert needed(its, 4) == (0, enough(its, 1 / 4))
    its.rows["targets"] = [8, 8, 8]
    assert needed(its, 4)[0] > 0


def test_divisions_share_images_so_that_more_of_them_help_less() -> None:
    """With as many images measured as trained on, four divisions have 1 / 4 + 1 of the variance of one."""
    its = ahead([0, 0], 0.6)
    independent = needed(its, 4)
    its.shared = 1.0
    more, chance = needed(its, 4)
    assert independent[1] >= EVEN > chance
    assert (more, chance) == (MOST, enough(its, (1 / 16 + 1) / (1 / 4 + 1)))


def test_hopeless_choices_are_no_contenders() -> None:
    its = ahead([0, -0.5, -40], 1.0)
    assert contenders(its).tolist() == [True, True, False]
    its.top = "A2B"  # what leads stays, whatever its chance
    assert contenders(its).tolist() == [True, True, True]
