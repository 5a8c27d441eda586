"""Whole grids of finished runs with made-up numbers, for reports on where to cut."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import synthetic

from yosinski.experiment.run import Run
from yosinski.records.right import packed

IMAGES = 20  # of each of three classes, in select and in test


def points_of(n: int, treatment: str, own: bool) -> float:
    """Frozen copies lose two points per layer, fine-tuned ones gain one, but for n = 7; selffers lose nothing."""
    if treatment == "tuned":
        return 1.0 - (n == 7)
    return 0.0 if own else -2.0 * n


def fill(
    runs: Path,
    splits: int | Sequence[str] = 4,
    volumes: tuple[int | None, ...] = (None,),
    seeds: tuple[int, ...] = (0,),
    cuts: tuple[int, ...] = (3, 7),
    noise: float = 0.2,
    left_out: Callable[[Run], bool] = lambda run: False,
    failed: Callable[[Run], bool] = lambda run: False,
    points: Callable[[int, str, bool], float] = points_of,
    bits: bool = False,
    drawn: int = 0,
) -> list[Run]:
    """Bases, copies and selffers in both directions, frozen and fine-tuned, with points as `points` has them.

    noise: standard deviation of every run, in points; drawn: which noise it is. left_out: runs that were never
    trained; failed: those that got stuck. bits: whether records say which images were right.
    """
    rng, made = np.random.default_rng(drawn), []
    named = [f"random:{k}" for k in range(splits)] if isinstance(splits, int) else list(splits)

    def finish(run: Run, above: float) -> None:
        top1 = 0.8 + (above + rng.normal(0, noise)) / 100
        made.append(run)
        if left_out(run):
            return
        if failed(run):
            synthetic.finish(runs, run, 0.1, [0.1], state="stuck")
            return
        right = {"images": [IMAGES] * 3, "correct": [round(IMAGES * top1)] * 3}
        about: dict = {"per_class": {"select": right, "test": right}}
        if bits:
            which = rng.random(3 * IMAGES) < top1
            counts = {"images": [IMAGES] * 3, "correct": which.reshape(3, IMAGES).sum(1).tolist()}
            about = {"per_class": {"select": counts, "test": counts}}
            about["right"] = {"select": packed(which), "test": packed(which)}
            top1 = float(which.mean())
        synthetic.finish(runs, run, top1 - 0.01 * (not bits), [top1], **about)

    for k, split in enumerate(named):
        for seed in seeds:
            bases = [synthetic.base(half, seed) for half in synthetic.halves(split)]
            for base in bases:
                finish(base, k)
            for volume in volumes:
                lost = 0.0 if volume is None else 100 / volume
                for target, source in (bases, bases[::-1]):
                    own = replace(target, examples_per_class=volume)
                    if volume is not None:
                        finish(own, k - lost)
                    for n in cuts:
                        for parent in (source, target):
                            for treatment in ("frozen", "tuned"):
                                above = points(n, treatment, parent is target)
                                if treatment == "tuned":
                                    above -= 0.9 * lost
                                elif volume == 5:  # few images: it is better to train little
                                    above /= 2
                                finish(own.copy(n, treatment, parent), k + above)
    return made


def choices(made: Iterable[Run]) -> set[tuple[str, int]]:
    """The treatments and cuts of copies."""
    return {(run.treatment, run.cut) for run in made if run.parent}
