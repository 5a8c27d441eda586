"""Rank the cuts of a base from one forward pass over the images of a target: `runs/predictions/<digest>.json`.

Features of all cuts get the same dimension, so that none looks better for being larger: maps are averaged over the
coarsest grid that still has enough of them, tokens over all places; then they are projected at random, always in the
same way. Probes learn from train images and are judged on select images; test images are not touched. Networks are in
evaluation: nothing is dropped out, and batch norm uses the statistics that it has (before training, 0 and 1).
"""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional as F

from yosinski import files
from yosinski.data import store as stores
from yosinski.data.crops import in_order
from yosinski.data.half import Half
from yosinski.data.store import Store
from yosinski.environment import Where, environment
from yosinski.errors import BadInput, Failure
from yosinski.experiment.run import Run
from yosinski.identity import digest
from yosinski.networks import build
from yosinski.networks.layers import moments_in, names_of_moments
from yosinski.prediction import scores as scoring
from yosinski.prediction.scores import Labels, SetFeatures
from yosinski.procedure import base_weights, network_for
from yosinski.randomness import generator
from yosinski.records import specs
from yosinski.training.arithmetic import Arithmetic, choose_arithmetic, gpu_environment, laid_out, settle
from yosinski.training.evaluation import ImageSet, image_set
from yosinski.training.features import AT_A_TIME
from yosinski.training.moments import Moments

VERSION = 1  # bump by hand when the same question would now be answered by other numbers
DIMENSION = 256  # of the features, or as many as the poorest cut has
IMAGES = 6000  # of each set, unless told otherwise


@dataclass(frozen=True)
class Base:
    """A base as a network: trained, and as it was before (None where that is not known)."""

    run: Run
    weights: str  # the hash of its tensors
    trained: nn.Sequential
    untrained: nn.Sequential | None


def base(run: Run, runs: Path) -> Base:
    """A base that is done as a network in evaluation; the only place where one becomes the other.

    Failure if its weights are not those of its record.
    """
    weights, tensors = base_weights(run, runs)
    side = tensors[names_of_moments(tensors)[0]].shape[-1]
    trained = build.build(run.network, run.outputs, side)
    trained.load_state_dict(tensors)
    moments = Moments(**moments_in(trained).state_dict())
    untrained = network_for(run, moments, {}).eval() if run.is_trained else None
    return Base(run, weights, trained.eval(), untrained)


def predict(
    source: Base,
    target: Half,
    where: Where,
    names: Sequence[str],
    against: Base | None = None,
    most: int = IMAGES,
) -> dict[str, Any]:
    """The prediction, as it was written to `runs/predictions/`; `docs/formats.md` describes it.

    names: of predictors that can be had, see `lacking`; the images fit the bases, see `check_images`. most: images of
    each set that are used, evenly per class. BadInput if that leaves fewer than two of a class.
    """
    store = stores.of(target, where.stores)
    sets = [image_set(store, as_task_of(source.run, target), name) for name in ("train", "select")]
    train, select = (thinned(images, most, target.digest) for images in sets)
    arithmetic = choose_arithmetic(where)
    settle(arithmetic)

    began = time.perf_counter()
    dimension = common_dimension(source.trained, store, train)
    others = {"against": against and against.trained, "untrained": source.untrained}
    of_others = {
        name: features(network, store, train, dimension, arithmetic)
        for name, network in others.items()
        if network is not None and f"cka_{name}" in names
    }
    of_base = [features(source.trained, store, images, dimension, arithmetic) for images in (train, select)]
    passed = time.perf_counter()
    labels = Labels(train.labels, select.labels)

    def of_cut(k: int) -> dict[str, float]:
        mine = SetFeatures(*(per_cut[k] for per_cut in of_base))
        return scoring.scores(names, mine, labels, **{name: per_cut[k] for name, per_cut in of_others.items()})

    cuts = source.run.cuts
    with threadpool_limits(1), ThreadPoolExecutor(arithmetic.threads) as pool:  # more threads for one cut only wait
        scores = list(pool.map(of_cut, range(len(cuts))))

    question = {
        "version": VERSION,
        "base": source.run.id,
        "weights": source.weights,
        "half": target.digest,
        "against": against and {"base": against.run.id, "weights": against.weights},
        "predictors": list(names),
        "images": {
            used.name: {"used": len(used.rows), "of": len(whole.rows)}
            for used, whole in zip((train, select), sets, strict=True)
        },
        "dimension": dimension,
    }
    prediction = {
        "digest": digest(question),
        **question,
        "network": source.run.network,
        "source": source.run.half.digest,
        "fingerprint": target.fingerprint,
        "arithmetic": asdict(arithmetic),
        "environment": environment() | gpu_environment(arithmetic),
        "seconds": {"features": passed - began, "scores": time.perf_counter() - passed},
        "cuts": [
            {"n": n, "name": cut, "scores": values} for n, (cut, values) in enumerate(zip(cuts, scores, strict=True), 1)
        ],
    }
    specs.enrol_half(where.runs, target)
    files.write_json(where.runs / "predictions" / f"{prediction['digest']}.json", prediction)
    return prediction


def lacking(source: Run, against: Run | None) -> dict[str, str]:
    """Which predictors cannot be had, and why; BadInput if the bases cannot be compared."""
    why = {}
    if against is None:
        why["cka_against"] = "it compares two bases, give the other one with --against"
    elif against.network != source.network:
        both = f"{source} is of {source.network}, {against} of {against.network}"
        raise BadInput(f"{both}: their cuts cannot be compared")
    if not source.is_trained:
        why["cka_untrained"] = f"somebody else trained {source}, and from which weights is not known"
    return why


def as_task_of(run: Run, target: Half) -> Run:
    """The run as if it were trained on another half: then its head has to fit that one."""
    return replace(run, half=target, recipe=replace(run.recipe, outputs=0))


def check_images(source: Base, target: Half, stored: int) -> None:
    """BadInput if a base cannot see the images of a target, stored with so many pixels a side."""
    as_task_of(source.run, target).check_side(stored)
    mean = moments_in(source.trained).mean.shape[-1]
    if mean not in (1, stored):
        raise BadInput(
            f"{source.run} subtracts a mean image of {mean} x {mean} pixels, but {target.data} has {stored} x {stored}"
        )


def thinned(images: ImageSet, most: int, key: str) -> ImageSet:
    """At most `most` of the images, the same number drawn from every class; all images if there are no more."""
    if len(images.rows) <= most:
        return images
    each = most // images.classes
    if each < 2:
        raise BadInput(f"{most} images of {images.classes} classes are too few: at least two of each are needed")
    lots = generator("predict", key, images.name).random(len(images.rows))
    order = np.lexsort((lots, images.labels))
    labels = images.labels[order]
    kept = np.sort(order[np.arange(len(order)) - np.searchsorted(labels, labels) < each])
    return replace(images, rows=images.rows[kept], labels=images.labels[kept])


@torch.no_grad()
def common_dimension(network: nn.Sequential, store: Store, images: ImageSet) -> int:
    """256, or as many features as the cut with the fewest has."""
    x, _ = next(in_order(store.images, images.rows[:1], images.labels[:1], images.side, 1, images.rule))
    sizes = []
    for segment in network[:-1]:
        x = segment(x)
        sizes.append(pooled(x, x.numel()).shape[1])
    return min(DIMENSION, *sizes)


@torch.no_grad()
def features(
    network: nn.Sequential, store: Store, images: ImageSet, dimension: int, arithmetic: Arithmetic
) -> list[np.ndarray]:
    """float32 [n, dimension] for every cut, in the order of the images; unaugmented, the network in evaluation mode."""
    network = laid_out(network, arithmetic.device)
    of_cuts: list[list[np.ndarray]] = [[] for _ in network[:-1]]
    for batch, _ in in_order(store.images, images.rows, images.labels, images.side, AT_A_TIME, images.rule):
        x: Any = batch.to(arithmetic.device)
        for segment, parts in zip(network[:-1], of_cuts, strict=True):
            with arithmetic.autocast():
                x = segment(x)
            flat = pooled(x, dimension).float().cpu()
            parts.append((flat @ projection(flat.shape[1], dimension)).numpy())
    return [np.concatenate(parts) for parts in of_cuts]


def pooled(x: torch.Tensor, least: int) -> torch.Tensor:
    """Features [b, f] of what passes a cut: at least so many if there are that many.

    [b, f]: as they are. Tokens [b, t, f]: their mean. Maps [b, c, s, s], or [b, s, s, c]: means over the coarsest g x g
    grid with c g^2 >= least. Failure for any other shape.
    """
    match x.shape:
        case (_, _):
            return x
        case (_, _, _):
            return x.mean(1)
        case (_, c, height, width):
            if height == c != width:  # channels last: the two equal sides are the places
                x, c, height, width = x.permute(0, 3, 1, 2), width, c, height
            g = math.ceil(math.sqrt(least / c))
            return F.adaptive_avg_pool2d(x, (min(g, height), min(g, width))).flatten(1)
    raise Failure(f"features of shape {tuple(x.shape)} cannot be pooled")


@lru_cache
def projection(size: int, dimension: int) -> torch.Tensor:
    """float32 [size, dimension], orthonormal columns: where random projections go depends on these two numbers only."""
    numbers = generator("projection", size, dimension).standard_normal((size, dimension))
    return torch.from_numpy(np.linalg.qr(numbers)[0]).float()
