"""Predictors: the published formulas on cases computed by hand, and by dense matrices instead of decompositions."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf

from yosinski.errors import BadInput
from yosinski.prediction.scores import (
    DISTORTION,
    PREDICTORS,
    Labels,
    SetFeatures,
    Spectrum,
    chosen,
    cka,
    h_score,
    knn,
    log_me,
    logistic,
    ridge,
    scores,
    shrinkage,
    spectrum,
    trans_rate,
)


def centred(features: np.ndarray) -> Spectrum:
    return spectrum(features - features.mean(0))


def column(*values: float) -> np.ndarray:
    return np.array(values, float)[:, None]


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Features [60, 7] of three overlapping classes of 30, 20 and 10."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [30, 20, 10])
    return random.normal(size=(3, 7))[labels] + random.normal(size=(60, 7)) * np.arange(1, 8), labels


@pytest.mark.parametrize(
    ("features", "score"),
    [
        (column(0, 2, 2, 4), 0.5),  # class means 1 and 3: variance 1 between classes, 2 in all
        (column(0, 0, 2, 2), 1.0),
        (column(0, 2, 0, 2), 0.0),
        (column(5, 5, 5, 5), 0.0),
    ],
)
def test_h_score_of_one_feature_is_the_share_of_variance_between_classes(features: np.ndarray, score: float) -> None:
    assert h_score(centred(features), np.array([0, 0, 1, 1])) == pytest.approx(score, abs=1e-12)


def test_h_score_agrees_with_dense_matrices(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    features, labels = blobs
    shrunk = LedoitWolf().fit(features)
    means = np.array([features[labels == k].mean(0) for k in range(3)])[labels]
    between = np.cov(means.T, bias=True)
    expected = np.trace(np.linalg.inv(shrunk.covariance_) @ ((1 - shrunk.shrinkage_) * between))
    assert 0.01 < shrunk.shrinkage_ < 0.99
    assert shrinkage(centred(features)) == pytest.approx(shrunk.shrinkage_, abs=1e-10)
    assert h_score(centred(features), labels) == pytest.approx(expected, abs=1e-10)


def test_h_score_of_more_features_than_images_agrees_with_dense_matrices() -> None:
    features, labels = np.random.default_rng(1).normal(size=(8, 20)), np.arange(8) % 2
    shrunk = LedoitWolf().fit(features)
    means = np.array([features[labels == k].mean(0) for k in range(2)])[labels]
    expected = np.trace(np.linalg.inv(shrunk.covariance_) @ np.cov(means.T, bias=True)) * (1 - shrunk.shrinkage_)
    assert h_score(centred(features), labels) == pytest.approx(expected, abs=1e-8)


def densest(features: np.ndarray, y: np.ndarray) -> float:
    """The highest log evidence of y ~ N(0, F F' / a + I / b), by a search over log a and log b."""

    def negative(logs: np.ndarray) -> float:
        a, b = np.exp(logs)
        covariance = features @ features.T / a + np.eye(len(y)) / b
        return -float(multivariate_normal(np.zeros(len(y)), covariance).logpdf(y))

    starts = [(0.0, 0.0), (3.0, 1.0), (-2.0, 3.0), (6.0, 2.0)]
    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000, "maxfev": 4000}
    return -min(minimize(negative, start, method="Nelder-Mead", options=options).fun for start in starts)


def test_logme_is_the_highest_evidence() -> None:
    random = np.random.default_rng(3)
    labels = np.arange(12) % 3
    features = random.normal(size=(3, 4))[labels] + 0.7 * random.normal(size=(12, 4)) + 1
    expected = np.mean([densest(features, (labels == k).astype(float)) for k in range(3)]) / 12
    assert log_me(spectrum(features), labels) == pytest.approx(expected, abs=1e-6)


def test_logme_of_features_that_say_nothing_is_that_of_noise_alone() -> None:
    labels = np.array([0, 0, 1, 1])  # half of y is 1, so the noise has variance 1/2
    expected = -math.log(2 * math.pi * math.e / 2) / 2
    assert log_me(spectrum(column(1, -1, 1, -1)), labels) == pytest.approx(expected, abs=1e-6)
    assert log_me(spectrum(column(0, 0, 0, 0)), labels) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("e", [1.0, DISTORTION])
def test_transrate_of_two_classes_on_two_axes(e: float) -> None:
    features = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]) * 3.0 + 7
    # All: covariance I/2, two axes. Each class: variance 1 on one axis.
    expected = math.log(1 + 1 / (2 * e)) - math.log(1 + 1 / e) / 2
    assert trans_rate(centred(features), np.array([0, 0, 1, 1]), e) == pytest.approx(expected, abs=1e-10)


def test_transrate_agrees_with_dense_matrices(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    features, labels = blobs
    z = features - features.mean(0)
    z /= np.sqrt((z**2).sum(1).mean())

    def rate(part: np.ndarray) -> float:
        return np.linalg.slogdet(np.eye(7) + part.T @ part / (len(part) * DISTORTION))[1] / 2

    expected = rate(z) - sum((labels == k).mean() * rate(z[labels == k]) for k in range(3))
    assert trans_rate(centred(features), labels) == pytest.approx(expected, abs=1e-8)


def test_cka_of_single_features_is_their_squared_correlation() -> None:
    one, other = column(1, 2, 3, 6), column(0, 2, 1, 1)  # centred: -2 -1 0 3 and -1 1 0 0
    assert cka(centred(one), centred(other)) == pytest.approx(1 / (14 * 2), abs=1e-12)  # (2 - 1)^2 / (14 * 2)


def test_cka_agrees_with_gram_matrices_and_ignores_rotation_and_scale(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    features, _ = blobs
    other = np.tanh(features[:, :5]) + 2
    centre = np.eye(60) - 1 / 60
    k, m = (centre @ x @ x.T @ centre for x in (features, other))
    expected = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
    assert cka(centred(features), centred(other)) == pytest.approx(expected, abs=1e-10)
    turned = 3 * features @ np.linalg.qr(np.random.default_rng(2).normal(size=(7, 7)))[0]
    assert cka(centred(features), centred(turned)) == pytest.approx(1, abs=1e-12)
    assert cka(centred(features), centred(np.ones((60, 5)))) == 0


def test_what_is_near_in_angle_is_near() -> None:
    train = np.array([[1, 0.1], [5, 0], [0.1, 1], [0, 5]])
    labels = np.array([0, 0, 1, 1])
    select = np.array([[0.2, 0.01], [0.01, 0.2], [9, 8]])
    assert knn(SetFeatures(train, select), Labels(labels, np.array([0, 1, 0]))) == 1


def test_linear_probes_see_what_is_linear_and_no_more() -> None:
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], float)
    points = np.repeat(corners, 10, 0) + 0.05 * np.random.default_rng(0).normal(size=(40, 2))
    linear, parity = np.repeat([0, 1, 0, 1], 10), np.repeat([0, 1, 1, 0], 10)
    for probe in (ridge, logistic):
        assert probe(SetFeatures(points, points), Labels(linear, linear)) == 1
        assert probe(SetFeatures(points, points), Labels(parity, parity)) <= 0.8


def test_all_scores_are_finite_whatever_the_features() -> None:
    random = np.random.default_rng(0)
    labels = Labels(np.repeat(np.arange(4), 5), np.arange(4))
    usual = random.normal(size=(20, 6))
    unusual = [np.zeros((20, 6)), 1e6 * usual + 1e6, 1e-6 * usual, np.repeat(usual[:, :1], 6, 1), usual[:, [0] * 30]]
    for features in unusual:
        found = scores([*PREDICTORS], SetFeatures(features, features[:4]), labels, features, usual)
        assert found.keys() == PREDICTORS.keys()
        assert np.isfinite([*found.values()]).all(), found


def test_leep_is_for_sources_and_what_cannot_be_had_says_why() -> None:
    lacking = {"cka_against": "give --against"}
    assert chosen([], lacking) == [name for name in PREDICTORS if name != "cka_against"]
    assert chosen(["logme", "knn"], lacking) == ["knn", "logme"]
    with pytest.raises(BadInput, match=r"LEEP .* chooses among sources, not layers"):
        chosen(["leep"], {})
    with pytest.raises(BadInput, match="unknown predictor 'lep'; choose from: knn, ridge"):
        chosen(["lep"], {})
    with pytest.raises(BadInput, match="no cka_against: give --against"):
        chosen(["cka_against"], lacking)
