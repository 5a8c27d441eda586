"""Which choice is best, a choice being a cut with a treatment: a mixed model of all targets, and what it leaves open.

`docs/where-to-cut.md` has the formulas with their sources, and what simulations say of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import logsumexp, polygamma, psi

from analysis.advice.contrasts import trigamma_inverse

SLICES = 8  # of the prior of the ratio of variances
CORRELATIONS = (0.0, 0.5, 0.8, 0.95)  # of neighbouring cuts of one treatment, equally likely before the data
CANCELLING = (0.0, 0.8)  # share of a base's variance that cancels over the targets of a replicate, likewise
UNLIKE = 1e4  # how many times as large or small as the median a variance may be: lines over n may run away
EQUAL = 1e-8  # the variance of measurements that are all equal, in squared units
WEAK = 1e-6  # of the usual precision, for choices that no chain of common targets compares
LEAST = 0.5  # degrees of freedom of residuals that say something of a choice
FITTED = 5  # steps to the variances whose residuals have those that were found
WORTH = 1.0  # degrees of freedom that the variances of all choices are worth for those of one treatment
DRAWS = 20_000
SURE = 0.95  # of the set that is not told apart from the best


@dataclass(frozen=True)
class Cells:
    """Where measurements stand: cell k is of a replicate (split), a target half in it, and a choice; codes from 0, [N].

    Cells may be missing, but every choice has at least one. treatment: the code of every choice's treatment, cut: its
    n in units of the usual distance between neighbouring cuts, 0 of training from scratch (the base), [p] both. extra:
    variance that a measurement has beyond that of others of its choice, [N], in squared units of the measurements.
    """

    replicate: np.ndarray
    target: np.ndarray
    choice: np.ndarray
    treatment: np.ndarray
    cut: np.ndarray
    extra: np.ndarray

    @property
    def choices(self) -> int:
        """How many there are."""
        return len(self.treatment)

    @cached_property
    def patterns(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]]:
        """Replicates with the same targets, choices and extra variances have the same covariance.

        For each such group: target, choice and extra [m], and the cells of every replicate.
        """
        alike: dict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]] = {}
        order = np.lexsort((self.choice, self.target))
        for replicate in np.unique(self.replicate):
            cells = order[self.replicate[order] == replicate]
            target = np.unique(self.target[cells], return_inverse=True)[1]
            key = np.concatenate([target, self.choice[cells], self.extra[cells]]).tobytes()
            alike.setdefault(key, (target, self.choice[cells], self.extra[cells], []))[3].append(cells)
        return list(alike.values())

    @cached_property
    def left(self) -> np.ndarray:
        """What target + choice, fitted by least squares, leaves of measurements y: left @ y are residuals, [N, N]."""
        design = np.hstack([np.eye(int(self.target.max()) + 1)[self.target], np.eye(self.choices)[self.choice]])
        return np.eye(len(design)) - design @ np.linalg.pinv(design)

    @cached_property
    def free(self) -> np.ndarray:
        """How many measurements of each choice that fit leaves free, [p]."""
        return np.bincount(self.choice, np.diag(self.left), self.choices)

    @cached_property
    def kept(self) -> np.ndarray:
        """What is seen of luck, [p, p, p]: residuals of choice c have the variance (kept[c] * covariance).sum().

        covariance: of luck between the choices of a target, [p, p]. A choice without residuals is taken for one of a
        full grid.
        """
        p, targets = self.choices, int(self.target.max()) + 1
        found = np.empty((p, p, p))
        for code in range(p):
            if self.free[code] > LEAST:
                rows = self.left[self.choice == code]
                by_target = np.zeros((len(rows), targets, p))
                by_target[:, self.target, self.choice] = rows
                by_target = by_target.reshape(-1, p)
                found[code] = by_target.T @ by_target / self.free[code]
            else:
                from_mean = np.eye(p)[code] - 1 / p
                found[code] = np.outer(from_mean, from_mean) / (1 - 1 / p)
        return found

    def correlation(self, neighbours: float) -> np.ndarray:
        """Of luck between choices, [p, p]: `neighbours` to the power of the distance in cuts; 0 across treatments."""
        same = np.equal.outer(self.treatment, self.treatment)
        return np.where(same, np.float_power(neighbours, np.abs(np.subtract.outer(self.cut, self.cut))), 0.0)


def cells(
    replicate: np.ndarray,
    target: np.ndarray,
    choice: np.ndarray,
    treatment: np.ndarray,
    n: np.ndarray,
    extra: np.ndarray | None = None,
) -> Cells:
    """`Cells` from the cuts n [p] of the choices as numbers of segments; a treatment's usual distance counts as 1."""
    gaps = [np.diff(np.unique(n[treatment == code])) for code in np.unique(treatment)]
    unit = float(np.median(np.concatenate(gaps))) if any(len(gap) for gap in gaps) else 1.0
    more = np.zeros(len(choice)) if extra is None else extra
    return Cells(replicate, target, choice, treatment, np.asarray(n, float) / unit, more)


def spread(cells: Cells, y: np.ndarray) -> np.ndarray:
    """The variance of a measurement of each choice around target + choice, [p], for y [N].

    Of the residuals of that additive fit; variances of one treatment are squeezed towards their trend over n (a line in
    the logarithm), as those of contrasts are (`contrasts.moderated`): fine-tuned copies may vary less than frozen ones,
    and these the more, the deeper they are cut. Trends of treatments of which little is known are squeezed towards the
    mean of all. A choice with a single replicate has the variance of its trend.
    """
    p = cells.choices
    number, free = np.bincount(cells.choice, minlength=p), cells.free
    squares = np.bincount(cells.choice, (cells.left @ y) ** 2, p)
    replicates = np.array([len(np.unique(cells.replicate[cells.choice == code])) for code in range(p)])
    known = (replicates > 1) & (free > LEAST)
    if not known.any():
        return np.full(p, max(squares.sum() / max(free.sum(), 1.0), EQUAL))
    variance = squares / np.maximum(free, LEAST)
    variance = np.maximum(variance, max(1e-3 * np.median(variance[known]), EQUAL))
    # Both directions of a split are not two replicates.
    df = np.maximum(free * np.maximum(replicates - 1, 0.5) / np.maximum(number - 1, 0.5), 0.5)
    log, noise = np.log(variance) - psi(df / 2) + np.log(df / 2), polygamma(1, df / 2)
    trend, beyond = _trend(cells, log, noise, df, known)
    d0 = 2 * trigamma_inverse(beyond) if beyond > 1e-6 else np.inf
    if not np.isfinite(d0):
        return np.exp(trend)
    usual = np.exp(trend + psi(d0 / 2) - np.log(d0 / 2))
    lone = np.bincount(cells.treatment[known], minlength=int(cells.treatment.max()) + 1)[cells.treatment] < 2
    return np.where(known & ~lone, (d0 * usual + df * variance) / (d0 + df), np.where(lone, np.exp(trend), usual))


def _trend(
    cells: Cells, log: np.ndarray, noise: np.ndarray, df: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, float]:
    """The trend of log variances [p] over n, by treatment, and their variance beyond it that sampling leaves.

    The level of each treatment's is squeezed towards that of all choices, which is worth `WORTH` degrees of freedom:
    variances, not their logarithms, since few degrees of freedom may give a tiny variance, but hardly a huge one.
    """
    usual = np.average(log[known], weights=1 / noise[known])
    fitted = np.full(cells.choices, usual)
    squares = free = 0.0
    for code in np.unique(cells.treatment):
        members = cells.treatment == code
        measured = members & known
        if not measured.any():
            continue
        line = np.vander(cells.cut, 2 if measured.sum() > 3 else 1)
        root = 1 / np.sqrt(noise[measured])
        own = line @ np.linalg.lstsq(line[measured] * root[:, None], log[measured] * root, rcond=None)[0]
        level, free_here = np.average(own[measured], weights=root**2), df[measured].sum()
        squeezed = np.log((WORTH * np.exp(usual) + free_here * np.exp(level)) / (WORTH + free_here))
        fitted[members] = own[members] + squeezed - level
        left = measured.sum() - line.shape[1]
        squares += ((log - own)[measured] ** 2).sum() - left * noise[measured].mean()
        free += left
    return fitted, squares / free if free else 0.0


@dataclass(frozen=True)
class Posterior:
    """What measurements say of the p choices, as differences from the first one.

    Given ratio, correlation and what cancels (one of L combinations, with weights [L]), the differences are
    multivariate t with `df` degrees of freedom, centre [L, p - 1] and scale root root' spread, root [L, p - 1, p - 1],
    spread [L].
    """

    weights: np.ndarray
    centre: np.ndarray
    root: np.ndarray
    spread: np.ndarray
    df: float

    def means(self) -> np.ndarray:
        """Of every choice, less that of the first, [p]."""
        return np.concatenate([[0.0], self.weights @ self.centre])

    def draws(self, rng: np.random.Generator, number: int = DRAWS) -> np.ndarray:
        """Of the means of all choices less that of the first, with what is not known of the variances, [draws, p]."""
        chosen = rng.choice(len(self.weights), number, p=self.weights)
        scale = np.sqrt(self.spread[chosen] * self.df / rng.chisquare(self.df, number))
        normal = rng.standard_normal((number, self.root.shape[1]))
        drawn = np.zeros((number, 1 + normal.shape[1]))
        for combination in np.unique(chosen):
            rows = chosen == combination
            drawn[rows, 1:] = self.centre[combination] + scale[rows, None] * (normal[rows] @ self.root[combination].T)
        return drawn


def posterior(cells: Cells, y: np.ndarray, cancelling: Sequence[float] = CANCELLING) -> Posterior:
    """The mixed model y = target + choice + choice x split + rest, of y [N] in any unit.

    Targets and choices are free. The other two are random and normal with covariance
    D^(1/2) R D^(1/2) between the choices of one split, and of one target: D are the variances of `spread`, R the
    correlations of `Cells.correlation`, since neighbouring cuts share their luck. Their ratio is between 0 and
    infinity, with a half-Cauchy prior on that of standard deviations (Gelman, Bayesian Analysis 1, 2006), cut into
    equal slices; the correlation of neighbours is one of `CORRELATIONS`. Given both, a flat prior on the logarithm of
    the common scale leaves the restricted likelihood, which is summed over the grid: nothing iterates. Where a choice
    has one target per split, the two variances are told apart by the prior only, which their sum does not feel.

    cancelling: the base of one target is the source of the other's copies, so that its luck is above these in one
    direction and below them in the other. So a share of the base's variance sums to 0 over the targets of a split
    (correlation -1 between two), all shares equally likely. It does nothing where a split has one target; (0,) for
    copies that are not cut from the bases of other targets.

    The degrees of freedom of the scale are those of as many independent choices as the k correlated ones of a treatment
    are worth, k / (1 + (k - 1) r2) with r2 their mean squared correlation, as in `contrasts.moderated`, since each
    treatment has variances of its own. Needs more cells than targets and choices.
    """
    p, targets = cells.choices, len(np.unique(cells.target))
    y = y - y.mean()
    variance = spread(cells, y)
    variance = np.clip(variance, np.median(variance) / UNLIKE, np.median(variance) * UNLIKE)
    slices = np.tan(np.pi / 2 * (np.arange(SLICES) + 0.5) / SLICES) ** 2
    bases = cells.cut == 0
    opposed = any(bases[of_choice].sum() > 1 for _, of_choice, _, _ in cells.patterns)
    shares = cancelling if opposed else (0.0,)
    mixed, neighbours, cancels = (axis.ravel() for axis in np.meshgrid(slices, CORRELATIONS, shares))
    of_correlation = {rho: _covariance(cells, variance, rho) for rho in CORRELATIONS}
    luck = np.stack([of_correlation[rho] for rho in neighbours])
    a, b, square, logdet = np.zeros((len(mixed), p - 1, p - 1)), 0.0, 0.0, 0.0
    for of_target, of_choice, extra, replicates in cells.patterns:
        same_target = np.equal.outer(of_target, of_target)
        shared = luck[:, of_choice][:, :, of_choice]
        v = shared * (same_target + mixed[:, None, None])
        if (number := bases[of_choice].sum()) > 1:
            share = cancels[:, None, None] * np.outer(bases[of_choice], bases[of_choice])
            opposite = np.where(same_target, 1.0, -1 / (number - 1))
            v = (1 - share) * v + share * opposite * shared * (1 + mixed[:, None, None])
        # The scale of v is 1 / (1 + mixed) where `variance` is that of single measurements; `extra` is not scaled.
        v = v + np.diag(extra) * (1 + mixed)[:, None, None]
        w = np.linalg.inv(v)
        levels = np.eye(of_target.max() + 1)[of_target]
        of_levels = levels.T @ w @ levels
        w = w - w @ levels @ np.linalg.solve(of_levels, levels.T @ w)  # nothing is left of the levels of targets
        x = np.eye(p)[of_choice][:, 1:]
        of_all = y[np.stack(replicates)]  # [replicates, m]
        weighted = of_all @ w  # [L, replicates, m]
        a += len(replicates) * (x.T @ w @ x)
        b = b + weighted.sum(axis=1) @ x
        square = square + (weighted * of_all).sum(axis=(1, 2))
        logdet = logdet + len(replicates) * (np.linalg.slogdet(v)[1] + np.linalg.slogdet(of_levels)[1])
    a = a + WEAK * np.trace(a, axis1=1, axis2=2)[:, None, None] / p * np.eye(p - 1)
    covariance = np.linalg.inv(a)
    centre = (covariance @ b[..., None])[..., 0]  # pyright: ignore
    free = len(y) - targets - (p - 1)
    rest = np.maximum(square - (centre * b).sum(axis=1), np.finfo(float).tiny)
    fits = -0.5 * (logdet + np.linalg.slogdet(a)[1]) - 0.5 * free * np.log(rest)
    weights = np.exp(fits - logsumexp(fits))
    return Posterior(weights, centre, _root(covariance), rest / free, _freedom(cells, weights, free))


def _root(covariance: np.ndarray) -> np.ndarray:
    """Of covariances [L, p, p], which rounding may have made indefinite where choices are hardly compared."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return _root_of_any((covariance + covariance.swapaxes(1, 2)) / 2)


def _root_of_any(covariance: np.ndarray) -> np.ndarray:
    """Of symmetric matrices [..., p, p], with negative eigenvalues taken for 0."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0))[..., None, :]


def _covariance(cells: Cells, variance: np.ndarray, neighbours: float) -> np.ndarray:
    """Of luck between choices, [p, p], from the variances of residuals, which lack what choices of a target share."""
    correlation, full = cells.correlation(neighbours), variance
    for _ in range(FITTED if len(variance) > 2 else 0):
        covariance = correlation * np.sqrt(np.outer(full, full))
        full = full * variance / np.maximum((cells.kept * covariance).sum(axis=(1, 2)), 0.05 * full)
    return correlation * np.sqrt(np.outer(full, full))


def _freedom(cells: Cells, weights: np.ndarray, free: int) -> float:
    """Of one treatment's variances, the mean over those with several choices: each treatment has a scale of its own."""
    replicates, found = len(np.unique(cells.replicate)), []
    of_correlation = [cells.correlation(rho) for rho in CORRELATIONS]
    for code in np.unique(cells.treatment):
        members = cells.treatment == code
        k = int(members.sum())
        if k > 1:
            pairs = np.outer(members, members) & ~np.eye(cells.choices, dtype=bool)
            squared = float(
                np.repeat([(r[pairs] ** 2).mean() for r in of_correlation], len(weights) // len(CORRELATIONS)) @ weights
            )
            found.append((replicates - 1) * k / (1 + (k - 1) * squared))
    return max(1.0, min(free, float(np.mean(found)) if found else replicates - 1))


def overlapping(fitted: Posterior, replicates: int, trained: float, measured: float) -> Posterior:
    """The posterior where replicates are divisions of the same images, which share most of what they are trained on.

    trained, measured: how many images each was trained and measured on. Variances of means over K divisions are
    1 / K + measured / trained times that of one, in place of 1 / K.
    Source: Nadeau and Bengio, Machine Learning 52 (2003), the corrected resampled t.
    """
    return replace(fitted, spread=fitted.spread * (1 + replicates * measured / trained))


def normal(rng: np.random.Generator, number: int, covariance: np.ndarray) -> np.ndarray:
    """Normal draws [number, p] of mean 0 with a covariance [p, p] that may be singular."""
    return rng.standard_normal((number, len(covariance))) @ _root_of_any(covariance).T


def best(draws: np.ndarray) -> np.ndarray:
    """The probability that each choice is the best one, [p]."""
    return np.bincount(draws.argmax(axis=1), minlength=draws.shape[1]) / len(draws)


def behind(draws: np.ndarray) -> np.ndarray:
    """How far each choice is below the best one, [draws, p]; its mean over draws is the expected regret."""
    return draws.max(axis=1, keepdims=True) - draws


def luck(draws: np.ndarray) -> float:
    """By how much the score of the highest mean is expected to be too high, since it was chosen for being high.

    As a parametric bootstrap has it: were the means the truth, and new estimates drawn around them, the highest of
    these would be above its own truth by so much. Source: Efron and Tibshirani, An Introduction to the Bootstrap
    (1993), chapter 10.
    """
    chosen = draws.argmax(axis=1)
    return max(0.0, float((draws[np.arange(len(draws)), chosen] - draws.mean(axis=0)[chosen]).mean()))


def not_told_from_best(draws: np.ndarray, sure: float = SURE) -> np.ndarray:
    """Whether each choice may be the best, [p]: multiple comparisons with the best, in paired differences.

    Choice i is left out if some j is above it by more than d_i standard errors of their difference, where d_i is the
    quantile of the largest of such differences, were i the best (one-sided, as in Dunnett's test with i as control).
    The best choice stays with probability `sure`, whichever it is. Source: Hsu, Multiple Comparisons (1996), chapter 4.
    """
    draws = draws - draws.mean(axis=1, keepdims=True)  # a level that all share would take the digits of the covariance
    means, covariance = draws.mean(axis=0), np.cov(draws.T)
    among = np.zeros(len(means), dtype=bool)
    for i in range(len(means)):
        error = np.sqrt(np.maximum(np.diag(covariance) + covariance[i, i] - 2 * covariance[i], np.finfo(float).tiny))
        error[i] = np.inf
        ahead = (means - means[i]) / error
        chance = ((draws - means - (draws[:, [i]] - means[i])) / error).max(axis=1)
        among[i] = ahead.max() <= np.quantile(chance, sure)
    return among
