"""Which choice is best: the mixed model's laws on small grids, and what is read from its draws by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.advice.choice import (
    Cells,
    _covariance,
    _root,
    behind,
    best,
    cells,
    luck,
    not_told_from_best,
    overlapping,
    posterior,
    spread,
)


def grid(splits: int, cuts: int = 3) -> Cells:
    """A base (code 0) and copies of one treatment at so many cuts, on two targets per split; nothing is missing."""
    codes = [(s, 2 * s + t, c) for s in range(splits) for t in range(2) for c in range(1 + cuts)]
    replicate, target, choice = np.array(codes).T
    return cells(replicate, target, choice, np.minimum(np.arange(1 + cuts), 1), np.arange(1 + cuts))


def kept(its: Cells, some: np.ndarray) -> Cells:
    """Those cells alone."""
    names = ("replicate", "target", "choice", "extra")
    return replace(its, **{name: getattr(its, name)[some] for name in names})


def noise(its: Cells, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=len(its.choice))


# ---------------------------------------------------------------------------------------------------------- the model


def test_balanced_differences_are_those_of_the_means() -> None:
    """Whatever the variances, in a grid without holes the best guess of a difference is that of the means."""
    its = grid(4)
    y = noise(its) * (1 + its.choice) + 3.0 * its.target
    plain = np.array([y[its.choice == c].mean() for c in range(4)])
    assert posterior(its, y).means() == pytest.approx(plain - plain[0], abs=1e-4)


def test_levels_of_targets_are_free() -> None:
    """How easy a target is does not matter, not even where a choice was measured on easy ones only."""
    its = grid(5)
    its = kept(its, (its.target % 2 == 0) | (its.choice != 2))
    y, easy = noise(its), 10.0 * np.random.default_rng(1).normal(size=10)[its.target]
    plain, shifted = posterior(its, y), posterior(its, y + easy)
    assert shifted.centre == pytest.approx(plain.centre, abs=1e-4)
    assert shifted.spread == pytest.approx(plain.spread, rel=1e-4)


def test_means_of_choices_are_free() -> None:
    its = grid(3)
    y, effects = noise(its), np.array([0.0, 5.0, -20.0, 1.0])
    plain, moved = posterior(its, y), posterior(its, y + effects[its.choice])
    assert moved.means() == pytest.approx(plain.means() + effects, abs=1e-3)
    assert moved.spread == pytest.approx(plain.spread, rel=1e-3)


def test_the_unit_is_free() -> None:
    its = grid(3)
    y = noise(its)
    drawn = [posterior(its, unit * y).draws(np.random.default_rng(0), 100) for unit in (1, 7)]
    assert drawn[1] == pytest.approx(7 * drawn[0])


def test_a_measurement_with_error_weighs_less() -> None:
    """Predicted values, and means over fewer seeds: the more extra variance, the less, at last nothing."""
    its = grid(4)
    y = noise(its)
    odd = int(np.flatnonzero((its.choice == 2) & (its.target == 0))[0])
    y[odd] += 4
    pulled = [posterior(replace(its, extra=np.where(np.arange(len(y)) == odd, extra, 0)), y) for extra in (0, 4, 1e6)]
    others = np.arange(len(y)) != odd
    without = posterior(kept(its, others), y[others]).means()[2]
    assert pulled[0].means()[2] > pulled[1].means()[2] > pulled[2].means()[2]
    assert pulled[2].means()[2] == pytest.approx(without, abs=0.1)


def test_more_replicates_leave_less_open() -> None:
    few, many = grid(3), grid(12)
    wide, narrow = (
        posterior(its, noise(its)).draws(np.random.default_rng(0), 4000).std(axis=0)[1:].mean() for its in (few, many)
    )
    assert narrow < 0.7 * wide


def test_variances_of_noisy_choices_are_larger() -> None:
    its = grid(30, cuts=6)
    variance = spread(its, noise(its) * np.exp(0.4 * its.choice))
    assert (np.diff(variance[1:]) > 0).all()
    wide = posterior(its, noise(its) * np.exp(0.4 * its.choice)).draws(np.random.default_rng(0), 4000).std(axis=0)
    assert wide[6] > 2 * wide[1]


def test_what_residuals_lack_is_put_back_whichever_cells_are_missing() -> None:
    """From the variances that residuals of luck have, its covariance; 60 % of the noisier half's cells may be lost."""
    whole, deviations = grid(12, cuts=8), np.array([1, *np.linspace(1, 3, 8)])
    covariance = whole.correlation(0.5) * np.outer(deviations, deviations)
    lost = np.random.default_rng(5).random(len(whole.choice)) < np.where(whole.choice > 4, 0.6, 0.0)
    for its in (whole, kept(whole, ~lost)):
        luck_of_cells = covariance[its.choice][:, its.choice] * np.equal.outer(its.target, its.target)
        left = np.diag(its.left @ luck_of_cells @ its.left)
        residuals = np.bincount(its.choice, left) / np.bincount(its.choice, np.diag(its.left))
        assert residuals == pytest.approx((its.kept * covariance).sum(axis=(1, 2)))
        assert _covariance(its, residuals, 0.5) == pytest.approx(covariance, rel=0.05)


def test_a_choice_on_one_split_has_the_variance_of_the_trend() -> None:
    its = grid(10, cuts=6)
    its = kept(its, (its.choice != 4) | (its.replicate == 0))
    y = noise(its) * np.exp(0.3 * its.choice)
    y[its.choice == 4] += np.array([0.0, 50.0])  # whatever its own two measurements are
    usual = spread(its, y)
    assert usual[3] < usual[4] < usual[5]


def test_choices_that_no_common_target_compares_stay_wide() -> None:
    """One that was measured on targets of its own: how it differs from the others is unknown, and still a number."""
    its = grid(4)
    its = kept(its, np.where(its.choice == 3, its.target % 2 == 1, its.target % 2 == 0))
    drawn = posterior(its, noise(its)).draws(np.random.default_rng(0), 2000)
    assert np.isfinite(drawn).all()
    assert drawn[:, 3].std() > 50 * drawn[:, 2].std()


def test_neighbouring_cuts_are_correlated_by_their_distance() -> None:
    """Distances are in units of the usual one; nothing is shared across treatments."""
    nothing = np.zeros(5, int)
    its = cells(nothing, nothing, np.arange(5), np.array([0, 1, 1, 1, 1]), np.array([0, 2, 4, 6, 10]))
    assert its.correlation(0.5).tolist() == [
        [1, 0, 0, 0, 0],
        [0, 1, 1 / 2, 1 / 4, 1 / 16],
        [0, 1 / 2, 1, 1 / 2, 1 / 8],
        [0, 1 / 4, 1 / 2, 1, 1 / 4],
        [0, 1 / 16, 1 / 8, 1 / 4, 1],
    ]


def test_luck_of_bases_that_cancels_over_both_directions_does_not_widen_intervals() -> None:
    """What a base has by luck is for it in one direction, and for the copies in the other, where it is the source."""
    its = grid(8)
    base, first = its.choice == 0, its.target % 2 == 0
    opposed = np.random.default_rng(1).normal(size=8)[its.replicate] * np.where(first, 3.0, -3.0) * base
    alike = np.random.default_rng(1).normal(size=8)[its.replicate] * 3.0 * base

    def width(y: np.ndarray, *cancelling: tuple[float, ...]) -> float:
        return float(posterior(its, y, *cancelling).draws(np.random.default_rng(0), 4000)[:, 1].std())

    y = 0.3 * noise(its)
    assert width(y + opposed) < 0.6 * width(y + opposed, (0.0,))
    assert width(y + alike) == pytest.approx(width(y + alike, (0.0,)), rel=0.05)


def test_in_one_direction_nothing_of_the_base_cancels() -> None:
    its = grid(6)
    one = kept(its, its.target % 2 == 0)
    plain, same = posterior(one, noise(one), (0.0,)), posterior(one, noise(one))
    assert same.weights.shape == plain.weights.shape
    assert same.centre == pytest.approx(plain.centre)


def test_divisions_of_the_same_images_are_not_independent() -> None:
    """By hand: five divisions into 80 and 20 images; 1/5 becomes 1/5 + 20/80, which is 2.25 times as much."""
    its = grid(5)
    fitted = posterior(its, noise(its))
    corrected = overlapping(fitted, 5, trained=80, measured=20)
    assert corrected.spread == pytest.approx(2.25 * fitted.spread)
    assert corrected.means() == pytest.approx(fitted.means())
    drawn = [its.draws(np.random.default_rng(0), 2000).std(axis=0)[1:] for its in (fitted, corrected)]
    assert drawn[1] == pytest.approx(1.5 * drawn[0])


# --------------------------------------------------------------------------------------------------------- its draws


def test_regret_and_nearness_by_hand() -> None:
    draws = np.array([[0.0, 1.0, 3.0], [2.0, 1.5, 0.0], [1.0, 0.5, -1.0], [0.0, 0.0, 4.0]])
    assert behind(draws).tolist() == [[3, 2, 0], [0, 0.5, 2], [0, 0.5, 2], [4, 4, 0]]
    assert behind(draws).mean(axis=0).tolist() == [1.75, 1.75, 1]
    assert (behind(draws) < 1).mean(axis=0).tolist() == [0.5, 0.5, 0.5]
    assert best(draws).tolist() == [0.5, 0, 0.5]


def test_sets_by_hand() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([0.0, -0.5, -10.0]) + rng.standard_normal((20_000, 3))
    assert best(draws).sum() == pytest.approx(1)
    assert best(draws)[1] == pytest.approx(0.362, abs=0.015)  # P(N(-0.5, 2) > 0)
    assert not_told_from_best(draws).tolist() == [True, True, False]
    assert not_told_from_best(draws + 1e6 * rng.standard_normal((20_000, 1))).tolist() == [True, True, False]


def test_the_highest_of_equals_is_too_high_by_the_mean_of_the_larger_of_two() -> None:
    equal = np.random.default_rng(0).standard_normal((100_000, 2))
    assert luck(equal) == pytest.approx(1 / math.sqrt(math.pi), abs=0.01)
    assert luck(equal + np.array([0, 100])) == pytest.approx(0, abs=0.01)  # nothing was chosen: there was no contest


def test_measurements_that_are_all_equal_tell_no_choice_apart() -> None:
    for value in (0.0, 80.0, 100.0):
        its = grid(3)
        draws = posterior(its, np.full(len(its.choice), value)).draws(np.random.default_rng(0), 500)
        assert np.abs(draws).max() < 0.1


def test_a_covariance_that_rounding_made_indefinite_has_a_root() -> None:
    whole = np.array([[2.0, 1.0], [1.0, 2.0]])
    root = _root(np.stack([whole, np.array([[1.0, 1.0 + 1e-12], [1.0, 1.0]])]))
    assert root[0] @ root[0].T == pytest.approx(whole)
    assert root[1] @ root[1].T == pytest.approx(np.ones((2, 2)))
