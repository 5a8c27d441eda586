"""Ranking the cuts of a base by one forward pass over the images of a target: `runs/predictions/<digest>.json`.

Features of all cuts are reduced to the same dimension, so that no cut has an advantage by its size: maps are averaged
over the coarsest grid with enough features, tokens over all positions, followed by a fixed random projection. Probes
are fitted to train images and evaluated on select images; test images are not used. Networks are in evaluation mode: no
dropout, and batch norm uses its stored statistics (before training, 0 and 1).
"""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
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
from yosinski.data.card import Card
from yosinski.data.half import Half
from yosinski.data.pictures.crops import each_once
from yosinski.data.store import Store
from yosinski.environment import Where, environment
from yosinski.errors import BadInput, Failure
from yosinski.experiment.run import Run
from yosinski.identity import digest
from yosinski.networks import build, tokens
from yosinski.networks.catalogue import architecture
from yosinski.networks.layers import mean_side, moments_in
from yosinski.networks.tokens import around
from yosinski.prediction import scores as scoring
from yosinski.prediction.scores import Labels, SetFeatures
from yosinski.procedure import base_weights, network_for
from yosinski.randomness import generator
from yosinski.records import specs
from yosinski.training.arithmetic import Arithmetic, choose_arithmetic, configure, gpu_environment, laid_out
from yosinski.training.evaluation import ImageSet, image_set
from yosinski.training.features import AT_A_TIME
from yosinski.training.moments import Moments

VERSION = 1  # increase by hand when the same question would give other numbers
DIMENSION = 256  # of the features, or the smallest dimension of a cut
IMAGES = 6000  # of each set, by default


@dataclass(frozen=True)
class Base:
    """A base as a network: after training, and before (None if that is unknown)."""

    run: Run
    weights: str  # hash of its tensors
    trained: nn.Sequential
    untrained: nn.Sequential | None


def base(run: Run, runs: Path) -> Base:
    """A finished base as a network in evaluation mode.

    Failure if its weights differ from those in its record.
    """
    weights, tensors = base_weights(run, runs)
    trained = build.build(run.network, run.outputs, mean_side(tensors))
    trained.load_state_dict(tensors)
    reads = architecture(run.network).reads  # the half of a base from outside does not say it
    moments = None if reads == "texts" else Moments(**moments_in(trained).state_dict())
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
    """The prediction, as written to `runs/predictions/`; `docs/formats.md` describes it.

    names: available predictors, see `lacking`. most: number of images used of each set, evenly per class; the images
    must fit the bases, see `check_images`. BadInput if fewer than two images of a class are left.
    """
    store = stores.of(target, where.stores)
    sets = [image_set(store, as_task_of(source.run, target), name) for name in ("train", "select")]
    train, select = (thinned(images, most, target.digest) for images in sets)
    arithmetic = choose_arithmetic(where)
    configure(arithmetic)

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
        set_features = SetFeatures(*(per_cut[k] for per_cut in of_base))
        return scoring.scores(names, set_features, labels, **{name: per_cut[k] for name, per_cut in of_others.items()})

    cuts = source.run.cuts
    with threadpool_limits(1), ThreadPoolExecutor(arithmetic.threads) as pool:  # several threads per cut are slower
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
        "arithmetic": arithmetic.values,
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
    """The unavailable predictors and why. BadInput if the bases cannot be compared."""
    why = {}
    if against is None:
        why["cka_against"] = "it compares two bases, give the other one with --against"
    elif against.network != source.network:
        networks = f"{source} is of {source.network}, {against} of {against.network}"
        raise BadInput(f"{networks}: their cuts cannot be compared")
    if not source.is_trained:
        why["cka_untrained"] = f"somebody else trained {source}, and from which weights is not known"
    return why


def as_task_of(run: Run, target: Half) -> Run:
    """The run as if it were trained on another half, to which its head must fit."""
    return replace(run, half=target, recipe=replace(run.recipe, outputs=0))


def check_images(source: Base, target: Half, card: Card) -> None:
    """BadInput if a base cannot use the images or texts of a target."""
    as_task_of(source.run, target).check_fits(card)
    if target.reads == "texts":
        return
    stored = card.side
    mean = moments_in(source.trained).mean.shape[-1]
    if mean not in (1, stored):
        raise BadInput(
            f"{source.run} subtracts a mean image of {mean} x {mean} pixels, but {target.data} has {stored} x {stored}"
        )


def thinned(images: ImageSet, most: int, key: str) -> ImageSet:
    """At most `most` images, with the same number drawn from every class; all images if there are no more."""
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
    """256, or the smallest number of features at a cut."""
    x, _ = next(each_once(store, images.rows[:1], images.labels[:1], images.side, 1, images.rule))
    sizes = []
    with around(x):
        for segment in network[:-1]:
            x = segment(x)
            sizes.append(pooled(x, x.numel()).shape[1])
    return min(DIMENSION, *sizes)


@torch.no_grad()
def features(
    network: nn.Sequential, store: Store, images: ImageSet, dimension: int, arithmetic: Arithmetic
) -> list[np.ndarray]:
    """float32 [n, dimension] for every cut, in the order of the images; unaugmented, in evaluation mode."""
    network = laid_out(network, arithmetic.device)
    of_cuts: list[list[np.ndarray]] = [[] for _ in network[:-1]]
    for batch, _ in each_once(store, images.rows, images.labels, images.side, AT_A_TIME, images.rule):
        x: Any = batch.to(arithmetic.device)
        with around(x):
            for segment, parts in zip(network[:-1], of_cuts, strict=True):
                with arithmetic.autocast():
                    x = segment(x)
                flat = pooled(x, dimension).float().cpu()
                parts.append((flat @ projection(flat.shape[1], dimension)).numpy())
    return [np.concatenate(parts) for parts in of_cuts]


def pooled(x: torch.Tensor, least: int) -> torch.Tensor:
    """Features [b, f] from the output of a segment, with f >= `least` if possible.

    [b, f]: unchanged. Tokens [b, t, f]: their mean, of texts without padding. Maps [b, c, s, s], or [b, s, s, c]: means
    over the coarsest g x g grid with c g^2 >= least. Failure for other shapes.
    """
    match x.shape:
        case (_, _):
            return x
        case (_, _, _):
            there = tokens.present()
            return x.mean(1) if there is None else (x.float() * there[..., None]).sum(1) / there.sum(1, keepdim=True)
        case (_, c, height, width):
            if height == c != width:  # channels last: the two equal sides are positions
                x, c, height, width = x.permute(0, 3, 1, 2), width, c, height
            g = math.ceil(math.sqrt(least / c))
            return F.adaptive_avg_pool2d(x, (min(g, height), min(g, width))).flatten(1)
    raise Failure(f"features of shape {tuple(x.shape)} cannot be pooled")


@lru_cache
def projection(size: int, dimension: int) -> torch.Tensor:
    """A random projection, float32 [size, dimension], with orthonormal columns; a function of these two numbers."""
    numbers = generator("projection", size, dimension).standard_normal((size, dimension))
    return torch.from_numpy(np.linalg.qr(numbers)[0]).float()
