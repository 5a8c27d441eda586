"""The rule of `yosinski decide`: which cells come next, from what is known."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.special import stdtrit

from analysis.advice.answer import Answer
from analysis.advice.decide import BASE, FREEDOM, Cell, Choice, Known, first, following, known, with_untried

CUTS = range(1, 8)
CHOICES = [BASE, *(("frozen", n) for n in CUTS), *(("tuned", n) for n in CUTS)]
LOOK = [choice for _, choice in first(CHOICES).cells]  # base, and cuts 1, 4, 7 of frozen and tuned
POINTS = [0.0, 0.5, -3.0, -9.0, 3.0, 5.2, 5.3]


def one_place(points: Sequence[float] = POINTS, choices: Sequence[Choice] = LOOK, noise: float = 0.0) -> Known:
    """What is known after one place."""
    return Known(tuple(choices), np.array(points), np.ones(len(points), bool), None, noise)


def several(points: Sequence[float], error: float, choices: Sequence[Choice] = LOOK, number: int = 4000) -> Known:
    """Independent normal draws around points."""
    draws = np.array(points) + error * np.random.default_rng(1).standard_normal((number, len(points)))
    return Known(tuple(choices), np.array(points), np.ones(len(points), bool), draws)


def cells(places: Sequence[int], choices: Sequence[Choice]) -> list[Cell]:
    return [(place, choice) for place in places for choice in choices]


def next_cells(now: Known, tried: Sequence[Cell], choices: Sequence[Choice] = CHOICES) -> list[Cell]:
    found = following(now, tried, choices)
    assert found is not None
    return list(found.cells)


# ------------------------------------------------------------------------------------------------------ the first round


def test_first_are_the_base_and_the_first_a_middle_and_the_last_cut_of_every_treatment() -> None:
    every = [("frozen", 1), ("frozen", 4), ("frozen", 7), ("tuned", 1), ("tuned", 4), ("tuned", 7)]
    assert first(CHOICES).cells == tuple(cells([0], [BASE, *every]))
    assert first(CHOICES[1:]).cells == tuple(cells([0], every))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_of_few_cuts_all_are_first(number: int) -> None:
    few = [BASE, *(("frozen", n) for n in (2, 5, 9)[:number])]
    assert set(first(few).cells) == set(cells([0], few))


def test_treatments_may_have_cuts_of_their_own() -> None:
    own = [("frozen", 1), ("frozen", 2), ("tuned", 2), ("tuned", 3), ("tuned", 5)]
    assert set(first(own).cells) == set(cells([0], own))
    assert {choice for _, choice in next_cells(one_place([0.0] * 5, own), cells([0], own), own)} <= set(own)


# ----------------------------------------------------------------------------------------------------- the second round


def test_what_is_far_behind_at_one_place_is_dropped_and_the_others_get_two_places_more() -> None:
    made = next_cells(one_place(), cells([0], LOOK))
    kept = {choice for place, choice in made if place > 0 and choice in LOOK}
    assert kept == {("tuned", 1), ("tuned", 4), ("tuned", 7)}
    assert {place for place, choice in made if choice == ("tuned", 1)} == {1, 2}


@pytest.mark.parametrize(("noise", "kept"), [(0.0, 3), (2.0, 4), (2.2, 5)])
def test_what_is_far_is_measured_by_the_noise_of_images(noise: float, kept: int) -> None:
    made = next_cells(one_place(noise=noise), cells([0], LOOK))
    assert len({choice for _, choice in made if choice in LOOK}) == kept


def test_a_replicate_has_two_choices_at_least() -> None:
    alone = [0.0, -20.0, -30.0, -40.0, -25.0, 50.0, -35.0]
    made = next_cells(one_place(alone), cells([0], LOOK), LOOK)  # there is no cut in between
    assert made == cells([1, 2], [BASE, ("tuned", 4)])


def test_cuts_in_between_are_tried_where_they_may_be_the_best_at_the_first_place() -> None:
    made = next_cells(one_place(), cells([0], LOOK))
    between = {choice for _, choice in made if choice not in LOOK}
    assert between == {("tuned", 5), ("tuned", 6)}  # those from n = 1 to 4 are on the way up
    assert all({place for place, other in made if other == choice} == {0} for choice in between)


def test_cuts_between_those_that_agree_are_not_tried() -> None:
    flat = [0.0, -6.0, -6.0, -6.0, 3.0, 3.0, 3.0]
    assert {choice for _, choice in next_cells(one_place(flat), cells([0], LOOK))} <= set(LOOK)


# ---------------------------------------------------------------------------------------------------------- the bridge


def within(drawn: np.ndarray, centre: float, variance: float) -> float:
    """By how many standard errors the share of draws in the middle half of t differs from a half."""
    middle = np.sqrt(variance) * stdtrit(FREEDOM, 0.75)
    return float(abs((abs(drawn - centre) < middle).mean() - 0.5) / np.sqrt(0.25 / len(drawn)))


def test_an_untried_cut_is_on_the_line_with_the_variance_of_a_bridge() -> None:
    measured = [("tuned", 1), ("tuned", 4), ("tuned", 7)]
    names, draws = with_untried(measured, np.array([[0.0, 3.0, 9.0]]), CHOICES[8:])
    assert names[:3] == measured
    assert draws[:, :3].std(axis=0).max() == 0
    step = (3.0**2 / 3 + 6.0**2 / 3) / 2
    for n, line, share in ((2, 1.0, 1 / 3), (3, 2.0, 2 / 3), (5, 5.0, 1 / 3), (6, 7.0, 2 / 3)):
        assert within(draws[:, names.index(("tuned", n))], line, float(step * share * (1 - share) * 3)) < 4


def test_a_cut_beyond_one_that_failed_is_where_the_last_one_is_but_for_a_walk() -> None:
    names, draws = with_untried([("tuned", 1), ("tuned", 4)], np.array([[0.0, 3.0]]), CHOICES[8:])
    for n in (5, 6, 7):
        assert within(draws[:, names.index(("tuned", n))], 3.0, 3.0 * (n - 4)) < 4


def test_untried_cuts_follow_the_draws_of_their_neighbours() -> None:
    draws = np.random.default_rng(0).standard_normal((4000, 1)) + np.zeros((1, 2))
    names, drawn = with_untried([("tuned", 1), ("tuned", 4)], draws, CHOICES[8:])
    assert np.allclose(drawn[:, names.index(("tuned", 2))], draws[:, 0], atol=0.2)


def test_a_treatment_with_one_measured_cut_says_nothing_of_others() -> None:
    names, _ = with_untried([("tuned", 1), BASE], np.array([[0.0, 3.0]]), CHOICES)
    assert names == [("tuned", 1), BASE]


def test_the_order_of_choices_makes_no_difference() -> None:
    assert set(next_cells(one_place(), cells([0], LOOK))) == set(
        next_cells(one_place(POINTS[::-1], LOOK[::-1]), cells([0], LOOK), CHOICES[::-1])
    )


# ------------------------------------------------------------------------------------------------------- further rounds


def test_a_clear_winner_ends_it_at_three_places() -> None:
    clear = [0.0, 0.5, -3.0, -9.0, 3.0, 8.0, 5.3]
    assert following(several(clear, 0.05, LOOK), cells([0, 1, 2], LOOK), LOOK) is None


def test_choices_that_are_alike_end_it_too() -> None:
    assert following(several([5.0, 5.1, 5.2], 0.05, LOOK[4:]), cells([0, 1, 2], LOOK[4:]), LOOK[4:]) is None


def test_without_a_comparison_nothing_is_decided_however_many_places() -> None:
    made = next_cells(one_place([0.0] * 7), cells(range(5), LOOK))
    assert {place for place, choice in made if choice in LOOK} == {5}


def test_what_may_not_be_above_by_what_matters_is_dropped() -> None:
    now = several([0.0, 0.5, -3.0, -9.0, 3.0, 5.2, 5.3], 0.8)
    made = next_cells(now, cells([0, 1, 2], LOOK), LOOK)
    assert made == cells([3], [("tuned", 4), ("tuned", 7)])
    assert {choice for _, choice in next_cells(several(POINTS, 2.0), cells([0, 1, 2], LOOK), LOOK)} > {("tuned", 1)}


def test_what_matters_decides() -> None:
    now, tried = several(POINTS, 0.8), cells([0, 1, 2], LOOK)
    assert following(now, tried, LOOK, matters=0.5) is not None
    assert following(now, tried, LOOK, matters=5.0) is None


def test_an_untried_cut_that_may_be_the_best_keeps_it_open_and_is_tried() -> None:
    now, tried = several([0, -5.0, -6.0, -7.0, -4.0, 8.0, -4.0], 0.05), cells([0, 1, 2], LOOK)
    made = next_cells(now, tried)
    assert len(made) == 2
    assert set(made) <= set(cells([0], [("tuned", n) for n in (2, 3, 5, 6)]))
    assert following(now, tried, LOOK) is None


def test_cuts_that_failed_are_not_tried_again_and_keep_nothing_open() -> None:
    now = several([0, -5.0, -6.0, -7.0, -4.0, 8.0, -4.0], 0.05)
    failed = cells([0], [("tuned", n) for n in (2, 3, 5, 6)])
    assert following(now, cells([0, 1, 2], LOOK), CHOICES) is not None
    assert following(now, [*cells([0, 1, 2], LOOK), *failed], CHOICES) is None
    made = next_cells(several([0, -5.0, -6.0, -7.0, -4.0, 8.0, 7.0], 1.0), [*cells([0, 1, 2], LOOK), *failed])
    assert {choice for _, choice in made} <= set(LOOK)


def test_what_failed_too_often_does_not_lead() -> None:
    now = several([0.0, 0.5, -3.0, -9.0, 3.0, 5.2, 9.0], 0.05)
    now.sound[-1] = False
    assert now.choices[now.leading] == ("tuned", 4)
    assert following(now, cells([0, 1, 2], LOOK), LOOK) is None  # nor does it keep the question open
    now.sound[:] = False
    assert now.choices[now.leading] == ("tuned", 7)


@pytest.mark.parametrize("seed", range(5))
def test_every_round_adds_cells_that_are_new(seed: int) -> None:
    rng, tried = np.random.default_rng(seed), list(first(CHOICES).cells)
    for _ in range(12):
        choices = sorted({choice for _, choice in tried})
        points = rng.normal(0, 3, len(choices))
        places = 1 + max(place for place, _ in tried)
        now = one_place(points.tolist(), choices) if places < 3 else several(points.tolist(), 2.0, choices)
        made = following(now, tried, CHOICES)
        if made is None:
            continue
        assert made.cells
        assert len(set(made.cells)) == len(made.cells)
        assert not set(made.cells) & set(tried)
        assert {choice for _, choice in made.cells} <= set(CHOICES)
        numbers = sorted({place for place, _ in tried} | {place for place, _ in made.cells})
        assert all(b - a == 1 for a, b in pairwise([-1, *numbers]))
        tried += made.cells


# ----------------------------------------------------------------------------------------------------- from the advice


def test_of_an_answer_all_measured_choices_are_known() -> None:
    rows = pd.DataFrame({"choice": ["A3B+", "base", "A3B"], "series": ["AnB+", "base", "AnB"], "n": [3, 0, 3]})
    rows = rows.assign(treatment=["tuned", "base", "frozen"], points=[2.0, 0.0, np.nan], fragile=[True, False, False])
    now = known(Answer(rows, why_not="1 split"), noise=0.7)
    assert now.choices == (("tuned", 3), BASE)
    assert (now.points.tolist(), now.sound.tolist(), now.draws, now.noise) == ([2.0, 0.0], [False, True], None, 0.7)
    compared = Answer(rows.iloc[:2], top="base", trainings=np.array([[2.0, 0.0]] * 5), images=np.eye(2))
    drawn = known(compared).draws
    assert drawn is not None
    assert drawn.shape == (5, 2)
    assert (drawn != compared.trainings).all()
