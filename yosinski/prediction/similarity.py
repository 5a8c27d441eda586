"""How alike two bases see the same examples, layer by layer: `runs/similarities/<digest>.json`.

Of two tasks both networks see the select images of both; of two inputs each sees its own input of the same examples.
Features of all layers are reduced to the same dimension, as in `ranking`. Two networks of inputs are also asked
together: the accuracy of the mean of their probabilities is what two networks that share nothing are worth.
"""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import pdist
from scipy.stats import rankdata
from torch import nn

from yosinski import files
from yosinski.data import store as stores
from yosinski.data.store import Store
from yosinski.environment import Where, environment
from yosinski.errors import BadInput
from yosinski.identity import digest
from yosinski.networks.batch import Batch
from yosinski.networks.layers import STANDARDISE
from yosinski.prediction.ranking import Base, check_images, common_dimension, pooled, projection, thinned
from yosinski.prediction.scores import cka, spectrum
from yosinski.training.arithmetic import Arithmetic, choose_arithmetic, configure, gpu_environment, laid_out
from yosinski.training.evaluation import ImageSet, image_set
from yosinski.training.features import AT_A_TIME
from yosinski.training.partners.batches import pairs

VERSION = 1  # increase by hand when the same question would give other numbers
PAIRED = 1000  # images of which all pairs are compared by RSA
SIMILARITIES = {
    "rsa": "Spearman correlation of both networks' dissimilarities between images (RSA)",
    "cka": "linear CKA of both networks' features",
}


def similarity(bases: tuple[Base, Base], treatment: str, where: Where, most: int) -> dict[str, Any]:
    """How alike two bases are at every n, as written to `runs/similarities/`; `docs/formats.md` describes it.

    treatment: "joint" for two tasks, n from 1; "fused" for two inputs, n from 0, the pixels. most: images used of each
    set, evenly per class. BadInput if the images do not fit a base, or the inputs have no common example.
    """
    arithmetic = choose_arithmetic(where)
    configure(arithmetic)
    seen = _of_inputs if treatment == "fused" else _of_tasks
    first, *_ = bases
    one_store = stores.of(first.run.half, where.stores)
    sample = image_set(one_store, first.run, "select")
    dimension = min(common_dimension(base.trained, one_store, sample) for base in bases)
    both, labels, of = seen(bases, where, "select", most)
    (features, chances), (other_features, other_chances) = (
        passed(base.trained, views, dimension, arithmetic, pixels=treatment == "fused")
        for base, views in zip(bases, both, strict=True)
    )
    names = (["the pixels"] if treatment == "fused" else []) + list(first.run.cuts)
    start = 0 if treatment == "fused" else 1
    layers = [
        {"n": n, "name": name, "scores": {"rsa": rsa(one, other), "cka": linear_cka(one, other)}}
        for n, (name, one, other) in enumerate(zip(names, features, other_features, strict=True), start)
    ]
    question = {
        "version": VERSION,
        "treatment": treatment,
        "bases": [{"base": base.run.id, "weights": base.weights, "half": base.run.half.digest} for base in bases],
        "images": {"used": len(labels), "of": of},
        "dimension": dimension,
    }
    found = {
        "digest": digest(question),
        **question,
        "network": first.run.network,
        "arithmetic": asdict(arithmetic),
        "environment": environment() | gpu_environment(arithmetic),
        "cuts": layers,
    }
    if treatment == "fused":
        tested, answers, _ = seen(bases, where, "test", most)
        one, other = (
            passed(base.trained, views, dimension, arithmetic, pixels=False)[1]
            for base, views in zip(bases, tested, strict=True)
        )
        found["together"] = {
            "select_top1": top1((chances + other_chances) / 2, labels),
            "test_top1": top1((one + other) / 2, answers),
        }
    files.write_json(where.runs / "similarities" / f"{found['digest']}.json", found)
    return found


Views = list[tuple[Store, ImageSet]]


def _of_tasks(bases: tuple[Base, Base], where: Where, name: str, most: int) -> tuple[list[Views], np.ndarray, int]:
    """The images of both tasks, for both networks; labels mean nothing across tasks. Pictures of both count once."""
    views, of = [], 0
    for base in {base.run.half.pictures.digest: base for base in bases}.values():
        half = base.run.half
        store = stores.of(half, where.stores)
        whole = image_set(store, base.run, name)
        of += len(whole.rows)
        views.append((store, thinned(whole, most, half.digest)))
        for other in bases:
            check_images(other, half.pictures, store.card.side)
    labels = np.concatenate([images.labels for _, images in views])
    return [views, views], labels, of


def _of_inputs(bases: tuple[Base, Base], where: Where, name: str, most: int) -> tuple[list[Views], np.ndarray, int]:
    """The examples that have both inputs, as each network sees them, and their labels."""
    (one, first), (other, second) = ((stores.of(base.run.half, where.stores), base) for base in bases)
    whole = image_set(one, first.run, name)
    found = pairs(one, first.run.half, other, second.run.half, name)
    kept = np.isin(whole.rows, thinned(whole, most, first.run.half.digest).rows) & (found >= 0)
    theirs = image_set(other, second.run, name)
    images = replace(whole, rows=whole.rows[kept], labels=whole.labels[kept])
    paired = replace(theirs, rows=theirs.rows[found[kept]], labels=theirs.labels[found[kept]])
    if len(images.rows) < 2:
        raise BadInput(f"{first.run} and {second.run} have {len(images.rows)} common {name} examples: two are needed")
    return [[(one, images)], [(other, paired)]], images.labels, int((found >= 0).sum())


@torch.no_grad()
def passed(
    network: nn.Sequential, views: Views, dimension: int, arithmetic: Arithmetic, pixels: bool
) -> tuple[list[np.ndarray], np.ndarray]:
    """Features float32 [images, dimension] of every n, and probabilities float32 [images, outputs].

    pixels: whether n = 0 is among them, the standardised pixels.
    """
    network = laid_out(network, arithmetic.device)
    layers: list[list[np.ndarray]] = [[] for _ in range(len(network) - 1 + pixels)]
    chances = []
    for batch in _batches(views):
        x: Any = batch.to(arithmetic.device)
        outputs = [network[0].get_submodule(STANDARDISE)(x)] if pixels else []
        for segment in network[:-1]:
            with arithmetic.autocast():
                x = segment(x)
            outputs.append(x)
        for parts, output in zip(layers, outputs, strict=True):
            flat = pooled(output, dimension).float().cpu()
            parts.append((flat @ projection(flat.shape[1], dimension)).numpy())
        chances.append(network[-1](x.float()).softmax(1).cpu().numpy())
    return [np.concatenate(parts) for parts in layers], np.concatenate(chances)


def _batches(views: Views) -> Iterator[Batch]:
    for store, images in views:
        for start in range(0, len(images.rows), AT_A_TIME):
            batch = images.batch(store, slice(start, start + AT_A_TIME))
            assert isinstance(batch, Batch)
            yield batch


def rsa(one: np.ndarray, other: np.ndarray) -> float:
    """Representational similarity of two networks' features of the same images, float [n, d] and [n, d']: -1..1.

    The dissimilarity of two images is 1 - r of their features; the score is Spearman's correlation of both networks'
    dissimilarities, over all pairs of at most `PAIRED` images, evenly spaced. Constant dissimilarities give 0.
    Source: Vandenhende et al. (2020), "Branched multi-task networks: deciding what layers to share" (task affinity).
    """
    few = np.unique(np.linspace(0, len(one) - 1, min(PAIRED, len(one))).round().astype(int))
    ranks = [rankdata(np.nan_to_num(pdist(x[few].astype(np.float64), "correlation"))) for x in (one, other)]
    centred = [rank - rank.mean() for rank in ranks]
    norms = np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum())
    return float(centred[0] @ centred[1] / norms) if norms > 0 else 0.0


def linear_cka(one: np.ndarray, other: np.ndarray) -> float:
    """Linear CKA of features of the same images, float [n, d] and [n, d']; see `scores.cka`."""
    centred = [x.astype(np.float64) - x.mean(0, dtype=np.float64) for x in (one, other)]
    return cka(*map(spectrum, centred))


def top1(chances: np.ndarray, labels: np.ndarray) -> float:
    """The share of images whose label has the highest probability."""
    return float((chances.argmax(1) == labels).mean())
