"""Learning curves with known ends, by a generator that is not the model of the early answer."""

from typing import Literal

import numpy as np
import pandas as pd

from analysis.early.model import Contest

EVALUATIONS = 20


def contests(
    random: np.random.Generator, splits: int, cuts: int, noisy: Literal["frozen", "tuned"], collapses: float = 0.02
) -> list[Contest]:
    """Finished contests of both directions of some splits, frozen and fine-tuned copies at every cut.

    Saturating curves of unlike speed, with a level that a contest's choices share, and noise of training that is
    correlated between evaluations (0.6), beside that of each evaluation. noisy: where training is noisy, deep frozen
    cuts or all fine-tuned ones, which are the ones to choose among. collapses: how probably a copy falls by 3 to 10
    points for good in the second half of its training.
    """
    depth, share = np.arange(1, cuts + 1) / cuts, np.arange(1, EVALUATIONS + 1) / EVALUATIONS
    choices = [f"{n} {treatment}" for treatment in ("frozen", "tuned") for n in range(1, cuts + 1)]
    end = np.r_[0.80 - 0.17 * depth**3, 0.84 + 0.02 * np.minimum(2 * depth, 1)]
    speed = np.r_[0.30 - 0.20 * depth, 0.30 - 0.05 * depth]
    flat = np.ones(cuts)
    noise = np.r_[0.004 + 0.010 * depth**2, 0.004 * flat] if noisy == "frozen" else np.r_[0.003 * flat, 0.012 * flat]
    made = []
    for k in range(2 * splits):
        of_contest = speed * np.exp(random.normal(0, 0.1) + random.normal(0, 0.08, len(choices)))
        height = end + random.normal(0, 0.03) + random.normal(0, 0.006, len(choices))
        rise = (1 - np.exp(-share[:, None] / of_contest)) / (1 - np.exp(-1 / of_contest))
        training = np.zeros((EVALUATIONS, len(choices)))
        state = random.normal(0, 1, len(choices))
        for row in training:
            state = 0.6 * state + 0.8 * random.normal(0, 1, len(choices))
            row[:] = state
        curves = height * rise + training * noise * (1.4 - 0.9 * share[:, None])
        curves += random.normal(0, 0.004, curves.shape)
        for j in np.flatnonzero(random.random(len(choices)) < collapses):
            curves[random.integers(EVALUATIONS // 2, EVALUATIONS) :, j] -= random.uniform(0.03, 0.1)
        source, target = ("A", "B") if k % 2 else ("B", "A")
        about = {
            "origin": "runs",
            "split": f"random:{k // 2}",
            "source": source,
            "target": target,
            "seed": 0,
            "division": 0,
        }
        runs = {choice: f"{k} {choice}" for choice in choices}
        table = pd.DataFrame(curves.clip(0, 1), pd.Index(share), choices)
        made.append(Contest(about, ("simulated",), runs, table, 1000, "select_top1", True))
    return made
