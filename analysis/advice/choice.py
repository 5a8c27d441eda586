"""Which choice is best, a choice being a cut with a treatment: a mixed model of all targets, and what it leaves open.

`docs/where-to-cut.md` has the formulas with their sources, and what simulations say of them.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import logsumexp

SLICES = 8  # of the prior of each ratio of standard deviations
DRAWS = 20_000
SURE = 0.95  # of the set that is not told apart from the best


@dataclass(frozen=True)
class Cells:
    """Where measurements stand: cell k is of a replicate (split), a target half in it, and a choice; codes from 0, [N].

    Cells may be missing, but every choice has at least one.
    """

    replicate: np.ndarray
    target: np.ndarray
    choice: np.ndarray

    @property
    def choices(self) -> int:
        """How many there are."""
        return int(self.choice.max()) + 1

    @cached_property
    def patterns(self) -> list[tuple[np.ndarray, np.ndarray, list[np.ndarray]]]:
        """Replicates with the same targets and choices have the same covariance: target and choice [m], their cells."""
        alike: dict[bytes, tuple[np.ndarray, np.ndarray, list[np.ndarray]]] = {}
        order = np.lexsort((self.choice, self.target))
        for replicate in np.unique(self.replicate):
            cells = order[self.replicate[order] == replicate]
            target = np.unique(self.target[cells], return_inverse=True)[1]
            key = np.stack([target, self.choice[cells]]).tobytes()
            alike.setdefault(key, (target, self.choice[cells], []))[2].append(cells)
        return list(alike.values())


@dataclass(frozen=True)
class Posterior:
    """What measurements y [N, G] of G experiments with the same cells say of the p choices.

    Given the variance ratios (one of L combinations, with weights [L, G]), the means of the choices are multivariate t
    with `df` degrees of freedom, centre [L, p, G] and scale root root' spread, root [L, p, p], spread [L, G].
    """

    weights: np.ndarray
    centre: np.ndarray
    root: np.ndarray
    spread: np.ndarray
    df: int
    mixed: np.ndarray  # the ratio of choice x split in each combination, [L]

    def means(self) -> np.ndarray:
        """Of every choice, [p, G]."""
        return np.einsum("lg,lpg->pg", self.weights, self.centre)

    def per_replicate(self, targets: float, g: int = 0) -> float:
        """Standard deviation of the difference of two choices in one replicate that has so many targets."""
        of_rest = self.spread[:, g] * self.df / max(self.df - 2, 1)
        return float(np.sqrt(2 * (self.weights[:, g] * of_rest * (self.mixed + 1 / targets)).sum()))

    def draws(self, rng: np.random.Generator, number: int = DRAWS, g: int = 0) -> np.ndarray:
        """Of the means of all choices in experiment g, with everything that is not known of the variances, [draws, p].

        The same random numbers move every choice, so that a level that all share cancels in their differences.
        """
        ratio = rng.choice(len(self.weights), number, p=self.weights[:, g])
        spread = self.spread[ratio, g] * self.df / rng.chisquare(self.df, number)
        normal = rng.standard_normal((number, self.root.shape[1]))
        return self.centre[ratio, :, g] + np.sqrt(spread)[:, None] * np.einsum("dpq,dq->dp", self.root[ratio], normal)


def posterior(cells: Cells, y: np.ndarray) -> Posterior:
    """The mixed model y = choice + split + target in split + choice x split + rest, of y [N] or [N, G] in any unit.

    Choices are fixed, the others random and normal. With r a vector of the three ratios of variances to that of the
    rest, V(r) is known, and flat priors on the choices and on the log of the rest's variance leave the restricted
    likelihood of r, which is summed over a grid: the midpoints of equal slices of half-Cauchy priors on the ratios of
    standard deviations (Gelman, Bayesian Analysis 1, 2006). So nothing is plugged in and nothing iterates. Needs more
    cells than choices. Where a choice has one target per split, choice x split and the rest are told apart by the
    prior only, which their sum does not feel.
    """
    y = np.atleast_2d(y.T).T
    level = y.mean(axis=0)
    y = y - level
    slices = np.tan(np.pi / 2 * (np.arange(SLICES) + 0.5) / SLICES) ** 2
    split, target, mixed = (axis.ravel()[:, None, None] for axis in np.meshgrid(slices, slices, slices))
    p = cells.choices
    a, b, square, logdet = np.zeros((SLICES**3, p, p)), 0.0, 0.0, 0.0
    for of_target, of_choice, replicates in cells.patterns:
        same_target, same_choice = np.equal.outer(of_target, of_target), np.equal.outer(of_choice, of_choice)
        v = np.eye(len(of_target)) + split + target * same_target + mixed * same_choice
        w = np.linalg.inv(v)
        x = np.eye(p)[of_choice]
        of_all = y[np.stack(replicates)]  # [replicates, m, G]
        wy = w @ of_all.sum(axis=0)
        a += len(replicates) * (x.T @ w @ x)
        b = b + x.T @ wy
        square = square + sum(np.einsum("mg,lmg->lg", measurements, w @ measurements) for measurements in of_all)
        logdet = logdet + len(replicates) * np.linalg.slogdet(v)[1]
    covariance = np.linalg.inv(a)
    centre = covariance @ b
    df = len(y) - p
    rest = np.maximum(square - np.einsum("lpg,lpg->lg", centre, b), np.finfo(float).tiny)
    fits = -0.5 * (logdet + np.linalg.slogdet(a)[1])[:, None] - 0.5 * df * np.log(rest)
    weights = np.exp(fits - logsumexp(fits, axis=0))
    return Posterior(weights, centre + level, np.linalg.cholesky(covariance), rest / df, df, mixed.ravel())


def best(draws: np.ndarray) -> np.ndarray:
    """The probability that each choice is the best one, [p]."""
    return np.bincount(draws.argmax(axis=1), minlength=draws.shape[1]) / len(draws)


def not_told_from_best(draws: np.ndarray, sure: float = SURE) -> np.ndarray:
    """Whether each choice may be the best, [p]: multiple comparisons with the best, in paired differences.

    Choice i is left out if some j is above it by more than d_i standard errors of their difference, where d_i is the
    quantile of the largest of such differences, were i the best (one-sided, as in Dunnett's test with i as control).
    The best choice stays with probability `sure`, whichever it is. Source: Hsu, Multiple Comparisons (1996), chapter 4.
    """
    means, covariance = draws.mean(axis=0), np.cov(draws.T)
    among = np.zeros(len(means), dtype=bool)
    for i in range(len(means)):
        error = np.sqrt(np.maximum(np.diag(covariance) + covariance[i, i] - 2 * covariance[i], np.finfo(float).tiny))
        error[i] = np.inf
        ahead = (means - means[i]) / error
        chance = ((draws - means - (draws[:, [i]] - means[i])) / error).max(axis=1)
        among[i] = ahead.max() <= np.quantile(chance, sure)
    return among


def one_standard_error(draws: np.ndarray) -> np.ndarray:
    """Whether each choice is within one standard error, of their difference, of the one with the highest mean, [p].

    Source: the rule of Breiman, Friedman, Olshen and Stone (1984), section 3.4.3, with the error of paired differences.
    """
    means = draws.mean(axis=0)
    behind = draws[:, [int(means.argmax())]] - draws
    return behind.mean(axis=0) <= behind.std(axis=0)
