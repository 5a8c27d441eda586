"""Scores of features for a task, without training a network: pure functions of features and labels.

Features are float64 [n, d], labels int64 [n] in 0..K-1 with every class present. H-score, LogME, TransRate and CKA are
invariant to rotations of the features, so they are computed from the singular value decomposition. Higher is better for
all scores.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from yosinski.errors import BadInput, choose

PREDICTORS = {
    "knn": "accuracy of a vote of the 10 nearest neighbours by cosine",
    "ridge": "accuracy of ridge regression onto the classes",
    "logistic": "accuracy of logistic regression",
    "hscore": "regularised H-score",
    "logme": "LogME: log evidence per image of linear regression",
    "transrate": "TransRate: coding rate of all images less that within classes",
    "cka_against": "linear CKA with the network of --against at the same cut",
    "cka_untrained": "linear CKA with the same network before it was trained",
}
NEIGHBOURS = 10
DISTORTION = 1e-4  # of TransRate, for features of mean squared length 1; its authors' value


class SetFeatures(NamedTuple):
    """Features of one cut: float [n, d] for train images and [m, d] for select images."""

    train: np.ndarray
    select: np.ndarray


class Labels(NamedTuple):
    """Labels: int64 [n] of train images and [m] of select images."""

    train: np.ndarray
    select: np.ndarray


class Spectrum(NamedTuple):
    """Features up to a rotation: left * values."""

    left: np.ndarray  # float64 [n, r], orthonormal columns
    values: np.ndarray  # float64 [r], r = min(n, d), descending
    dimension: int  # d


def chosen(names: Sequence[str], lacking: Mapping[str, str]) -> list[str]:
    """These predictors in the order of `PREDICTORS`; without names, all available ones.

    lacking: unavailable predictors and why. BadInput for a predictor that is unavailable or unknown.
    """
    for name in names:
        if name.lower() == "leep":
            raise BadInput(
                "LEEP (Nguyen et al. 2020) chooses among sources, not layers: it compares the outputs of the source's "
                f"head with the labels, and those are the same at every cut; choose from: {', '.join(PREDICTORS)}"
            )
        choose("predictor", name, PREDICTORS)
        if name in lacking:
            raise BadInput(f"no {name}: {lacking[name]}")
    return [name for name in PREDICTORS if (name in names if names else name not in lacking)]


def scores(
    names: Sequence[str],
    features: SetFeatures,
    labels: Labels,
    against: np.ndarray | None = None,
    untrained: np.ndarray | None = None,
) -> dict[str, float]:
    """The scores of one cut by these predictors.

    against, untrained: features of the train images at the same cut of these networks, [n, d']. Probes are fitted to
    train images and scored by their accuracy on select images; the other scores use train images only.
    """
    train, select = (half.astype(np.float64) for half in features)
    middle = train.mean(0)

    @cache
    def centred() -> Spectrum:  # slower than most scores, and not needed for probes
        return spectrum(train - middle)

    def similarity(other: np.ndarray | None) -> float:
        assert other is not None
        other = other.astype(np.float64)
        return cka(centred(), spectrum(other - other.mean(0)))

    by_name = {
        "knn": lambda: knn(SetFeatures(train - middle, select - middle), labels),
        "ridge": lambda: ridge(SetFeatures(train, select), labels),
        "logistic": lambda: logistic(SetFeatures(train, select), labels),
        "hscore": lambda: h_score(centred(), labels.train),
        "logme": lambda: log_me(spectrum(train), labels.train),
        "transrate": lambda: trans_rate(centred(), labels.train),
        "cka_against": lambda: similarity(against),
        "cka_untrained": lambda: similarity(untrained),
    }
    return {name: float(by_name[name]()) for name in names}


def spectrum(features: np.ndarray) -> Spectrum:
    """The singular value decomposition of features, float64 [n, d], without the right singular vectors."""
    left, values, _ = np.linalg.svd(features, full_matrices=False)
    return Spectrum(left, values, features.shape[1])


def knn(features: SetFeatures, labels: Labels) -> float:
    """Accuracy of k nearest neighbours by cosine distance; k is 10, or the size of the smallest class."""
    probe = KNeighborsClassifier(min(NEIGHBOURS, np.bincount(labels.train).min()), metric="cosine")
    return probe.fit(features.train, labels.train).score(features.select, labels.select)


def ridge(features: SetFeatures, labels: Labels) -> float:
    """Accuracy of ridge regression onto +-1 per class; the penalty is chosen by leave-one-out on train images."""
    probe = make_pipeline(StandardScaler(), RidgeClassifierCV(len(labels.train) * np.logspace(-5, 1, 7)))
    return probe.fit(features.train, labels.train).score(features.select, labels.select)


def logistic(features: SetFeatures, labels: Labels) -> float:
    """Accuracy of multinomial logistic regression on standardised features, minimising mean loss plus |w|^2 / 2000.

    Fitted to a gradient of 1e-3: a gradient of 1e-4 takes three times as long and changes accuracies by less than 0.01.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1000 / len(labels.train), tol=1e-3, max_iter=300))
    return probe.fit(features.train, labels.train).score(features.select, labels.select)


def h_score(centred: Spectrum, labels: np.ndarray) -> float:
    """The trace of S^-1 (1 - a) B, where B is the covariance of the class means and S = (1 - a) C + a tr(C)/d I.

    C is the covariance of the features, a the shrinkage of Ledoit and Wolf (2004). In the axes of the decomposition C
    and S are diagonal: the score is the sum over axes of the share of variance between classes. From 0 to K - 1.
    Source: Bao et al. (2019), "An information-theoretic approach to transferability in task transfer learning", eq. 4;
    shrinkage: Ibrahim et al. (2022), "Newer is not always better", section 4.
    """
    variances = centred.values**2 / len(labels)
    if not variances.any():
        return 0.0
    shrunk = shrinkage(centred)
    target = variances.sum() / centred.dimension
    kept = variances > variances.max() * np.finfo(float).eps * max(centred.left.shape)
    share = (1 - shrunk) * variances[kept] / ((1 - shrunk) * variances[kept] + shrunk * target)
    members = one_hot(labels)
    between = ((members.T @ centred.left[:, kept]) ** 2 / members.sum(0)[:, None]).sum(0)
    return float(share @ between)


def shrinkage(centred: Spectrum) -> float:
    """The optimal shrinkage of the covariance towards a multiple of the identity, 0..1.

    Source: Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", lemma 3.3.
    """
    n, variances = len(centred.left), centred.values**2 / len(centred.left)
    square = (variances**2).sum()
    distance = square - variances.sum() ** 2 / centred.dimension
    lengths = (centred.left**2 * centred.values**2).sum(1)
    error = ((lengths**2).mean() - square) / n
    return float(np.clip(error / distance, 0, 1)) if distance > 0 else 0.0


def log_me(features: Spectrum, labels: np.ndarray) -> float:
    """The mean over classes of max log p(y | F, a, b) / n, for y = 1 in the class and 0 outside, weights N(0, I/a) and
    noise N(0, 1/b). Features are not centred.

    For a given t = a / b the best b is n / q(t), where q(t) = |y|^2 - sum of s^2 z^2 / (s^2 + t) with z = U'y. This
    leaves a function of t, -n/2 log(2 pi e q(t) / n) - 1/2 sum of log(1 + s^2 / t). It is maximised on a grid, then
    between the points of the grid; t is limited to 1e-12 to 1e12 times the largest s^2.
    Source: You et al. (2021), "LogME: practical assessment of pre-trained models for transfer learning", section 4.
    """
    n, squares, members = len(labels), features.values**2, one_hot(labels)
    projected = (features.left.T @ members) ** 2  # [r, K]
    outside = np.maximum(members.sum(0) - projected.sum(0), 0)
    tiny = np.finfo(float).tiny

    def evidence(log_t: float, k: slice | int) -> np.ndarray:
        t = np.exp(log_t)
        rest = outside[k] + (t / (squares + t)) @ projected[:, k]
        return -n / 2 * np.log(2 * np.pi * np.e * np.maximum(rest, tiny) / n) - np.log1p(squares / t).sum() / 2

    grid = np.log(squares.max() or 1.0) + np.linspace(-12, 12, 97) * np.log(10)
    best = np.array([evidence(log_t, slice(None)) for log_t in grid]).argmax(0)
    total = 0.0
    for k, index in enumerate(best):
        between = grid[max(index - 1, 0)], grid[min(index + 1, len(grid) - 1)]
        finest: Any = minimize_scalar(lambda x, k=k: -evidence(x, k), bounds=between, method="bounded")
        total += max(-finest.fun, evidence(grid[index], k))
    return float(total / n / members.shape[1])


def trans_rate(centred: Spectrum, labels: np.ndarray, distortion: float = DISTORTION) -> float:
    """R(Z) - sum over classes of n_c / n R(Z_c), where R(Z) = 1/2 log det(I + Z'Z / (n e)), with e the distortion.

    Z are the centred features, scaled to a mean squared length of 1, because rates depend on the scale.
    Source: Huang et al. (2022), "Frustratingly easy transferability estimation", section 3 (e here is e^2 / d there).
    """
    n, length = len(labels), np.linalg.norm(centred.values)
    if length == 0:
        return 0.0
    scaled = centred.values * np.sqrt(n) / length
    within = 0.0
    for k in range(labels.max() + 1):
        of_class = (centred.left * scaled)[labels == k]
        within += len(of_class) / n * _rate(np.linalg.svd(of_class, compute_uv=False), len(of_class), distortion)
    return _rate(scaled, n, distortion) - within


def _rate(values: np.ndarray, n: int, distortion: float) -> float:
    return float(np.log1p(values**2 / (n * distortion)).sum() / 2)


def cka(one: Spectrum, other: Spectrum) -> float:
    """|X'Y|^2 / (|X'X| |Y'Y|) for centred features X, Y of the same images; 1: equal up to rotation and scale.

    Constant features give 0.
    Source: Kornblith et al. (2019), "Similarity of neural network representations revisited", eq. 3 and section 3.
    """
    norms = np.sqrt((one.values**4).sum() * (other.values**4).sum())
    shared = one.values[:, None] * (one.left.T @ other.left) * other.values
    return float((shared**2).sum() / norms) if norms > 0 else 0.0


def one_hot(labels: np.ndarray) -> np.ndarray:
    """float64 [n, K]."""
    return np.eye(labels.max() + 1)[labels]
