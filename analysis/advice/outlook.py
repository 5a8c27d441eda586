"""How often more training, or more images, would be enough for an answer: a look ahead, before anything is trained."""

import numpy as np

from analysis.advice.answer import ENOUGH, Answer
from analysis.advice.choice import normal

FUTURES = 200
DRAWS = 500
EVEN = 0.8  # share of futures in which what is asked for should be enough
MOST = 12  # replicates more that are thought of
CHANCE = 0.005  # of being the best, below which a choice is hopeless


def contenders(answer: Answer) -> np.ndarray:
    """Which rows may still be the best, bool [rows]: the leading one, and those with P(best) of at least `CHANCE`."""
    rows = answer.rows
    return ((rows["p_best"] >= CHANCE) | (rows["choice"] == answer.top)).to_numpy(bool)


def enough(answer: Answer, left: float = 1.0, images: float = 1.0, seed: int = 0) -> float:
    """The share of futures in which some choice has P(within) of at least `ENOUGH`.

    left: the share of today's variance by training that more of it would leave; images: times as many as now. In a
    future the estimates are what the posterior predicts them to be after so much more data: with covariance C of the
    choices by training and V by images, now, and C' = left C, V' = V / images then, they are normal around today's with
    C - C' + V - V', and what is left is normal with C' + V' (the preposterior analysis of Raiffa and Schlaifer, Applied
    Statistical Decision Theory, 1961, chapter 5).
    """
    rng = np.random.default_rng(seed)
    kept = contenders(answer)
    draws = answer.trainings[:, kept].astype(float)
    draws = draws - draws.mean(axis=1, keepdims=True)
    by_training, by_images = np.cov(draws.T).reshape((kept.sum(),) * 2), answer.images[np.ix_(kept, kept)]
    told = normal(rng, FUTURES, by_training * (1 - left) + by_images * (1 - 1 / images))
    rest = normal(rng, DRAWS, by_training * left + by_images / images)
    future = draws.mean(axis=0) + told
    highest = future.argmax(axis=1)
    then = future[:, None] + rest[None]  # [futures, draws, choices]
    chosen = np.take_along_axis(then, highest[:, None, None], axis=2)[..., 0]
    return float(((then.max(axis=2) - chosen < answer.matters).mean(axis=1) >= ENOUGH).mean())


def needed(answer: Answer, replicates: int, most: int = MOST) -> tuple[int, float]:
    """The fewest replicates more that are enough in a share `EVEN` of futures, at most `most`, and their share.

    0 more: the contenders' missing trainings on the `replicates` that there are, which come first. Of divisions, which
    share images (`choice.overlapping`), no number takes away more than the part that is not shared.
    """
    targets = answer.rows["targets"].to_numpy(float)
    trained = replicates * targets[contenders(answer)].mean() / targets.max()
    more, chance = 0, 0.0
    for more in range(0 if trained < replicates else 1, most + 1):
        chance = enough(answer, (1 / (replicates + more) + answer.shared) / (1 / trained + answer.shared))
        if chance >= EVEN:
            break
    return more, chance
