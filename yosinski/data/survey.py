"""Statistics of a data set: balance of classes, sizes of images, duplicates."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from yosinski import files
from yosinski.data.card import SETS, Card
from yosinski.data.pictures import oddities
from yosinski.data.place import Place
from yosinski.data.sources import kinds
from yosinski.data.store import Store

QUANTILES = {"least": 0.0, "quarter": 0.25, "median": 0.5, "three_quarters": 0.75, "most": 1.0}
SAMPLE = 1000  # number of headers that are read if there is no store
NEAR = 2  # maximum number of differing bits in the hashes of near duplicates
EXAMPLES = 5  # number of named pairs of each kind


def balance(card: Card) -> dict[str, dict[str, float]]:
    """Images per class (and domain) of each set: least, median, most, and the imbalance (most / least)."""
    balances = {}
    for name in card.images:
        counts = card.per_class(name)
        least, most = min(counts), max(counts)
        balances[name] = {"least": least, "median": float(np.median(counts)), "most": most, "imbalance": most / least}
    return balances


def sizes(widths: Sequence[int], heights: Sequence[int]) -> dict[str, Any]:
    """Quantiles of widths and heights in pixels, and the number of images."""
    quantiles = {
        name: {quantile: float(np.quantile(values, share)) for quantile, share in QUANTILES.items()}
        for name, values in (("width", widths), ("height", heights))
    }
    return {"images": len(widths), **quantiles}


def of_sources(place: Place) -> dict[str, Any]:
    """`sources` (see `sizes`) and `pixels` (see `oddities.counted`) from the headers of evenly spaced images.

    None where no header can be read, or where headers do not contain it. `unreadable`: the number of those that cannot
    be read.
    """
    listing = kinds.list_images(place)
    sides, odd, unreadable = [], [], 0
    for image in listing.images[:: -(-len(listing.images) // SAMPLE)]:
        if image.file.state is None:  # not a file of its own; all have the side of the source
            continue
        try:
            with warnings.catch_warnings(action="ignore"), PIL.Image.open(listing.root / image.file.path) as opened:
                sides.append(oddities.upright(opened))
                odd.append(oddities.by_header(opened, place.depth).text)
        except (OSError, ValueError, PIL.Image.DecompressionBombError):
            unreadable += 1
    if not sides:
        return {"sources": None, "pixels": None, "unreadable": unreadable}
    nothing = dict.fromkeys(("least", "greatest", "mean"))
    content = {"images": len(odd), **nothing, **oddities.counted(odd), "constant": None}
    return {"sources": sizes(*map(list, zip(*sides, strict=True))), "pixels": content, "unreadable": unreadable}


def of_store(path: Path) -> dict[str, Any] | None:
    """As `of_sources`, for all images of a store; `pixels` are the stored ones. None if the store has no sizes."""
    import pandas as pd
    import pyarrow.parquet

    if not (path / "sources.parquet").exists():
        return None
    names = set(pyarrow.parquet.read_schema(path / "sources.parquet").names)
    if "width" not in names:
        return None
    columns = ["width", "height", *(("least", "greatest", "mean", "odd") if "odd" in names else ())]
    whole: Any = pd.read_parquet(path / "sources.parquet", columns=columns).dropna()
    content = {"sources": sizes(whole["width"].tolist(), whole["height"].tolist()), "pixels": None, "unreadable": 0}
    if "odd" in names:
        content["pixels"] = {
            "images": len(whole),
            "least": int(whole["least"].min()),
            "greatest": int(whole["greatest"].max()),
            "mean": round(float(whole["mean"].astype(float).mean()), 2),
            **oddities.counted(whole["odd"]),
        }
    return content


# --------------------------------------------------------------------------------------------------------- duplicates


def exact_duplicates(hashes: list[str], sets: np.ndarray, classes: np.ndarray, names: Sequence[str]) -> dict:
    """How many images have the same bytes as an earlier image in train.

    hashes: SHA-256 of every image's source; sets and classes: int [N], sets as in stores (-1: skipped). Counted per
    set; `between_classes` counts those whose first double has another class; `examples` are pairs of names.
    """
    first: dict[str, int] = {}
    pairs = []
    for k in np.argsort(np.where(sets < 0, len(SETS), sets), kind="stable").tolist():
        if sets[k] == 0 and hashes[k] not in first:
            first[hashes[k]] = k
        elif sets[k] >= 0 and hashes[k] in first:
            pairs.append((k, first[hashes[k]]))
    return _summary(pairs, sets, classes, names)


def near_duplicates(
    hashes: np.ndarray, sets: np.ndarray, classes: np.ndarray, names: Sequence[str], leave_out: np.ndarray
) -> dict:
    """Candidates: images whose `dhash` differs in at most 2 of 64 bits from that of another image in train.

    hashes: uint64 [N]; leave_out: bool [N], such as exact duplicates; the rest as in `exact_duplicates`.
    """
    pairs = []
    rows = np.flatnonzero((sets >= 0) & ~leave_out)
    unique, which = np.unique(hashes[rows], return_inverse=True)
    order = np.argsort(which, kind="stable")
    starts = np.searchsorted(which[order], np.arange(len(unique) + 1))
    members = [rows[order[a:b]] for a, b in pairwise(starts)]
    in_train = [group[sets[group] == 0] for group in members]
    others: dict[int, list[int]] = {}
    for one, other in neighbours(unique):
        others.setdefault(one, []).append(other)
        others.setdefault(other, []).append(one)
    for u, group in enumerate(members):
        trained = [int(t[0]) for t in (in_train[v] for v in others.get(u, ())) if len(t)]
        for k in group.tolist():
            alike = next((int(t) for t in in_train[u][:2] if t != k), None)
            if alike is None and trained:
                alike = trained[0]
            if alike is not None:
                pairs.append((k, alike))
    return _summary(pairs, sets, classes, names)


def _summary(pairs: list[tuple[int, int]], sets: np.ndarray, classes: np.ndarray, names: Sequence[str]) -> dict:
    counts = {name: sum(1 for k, _ in pairs if sets[k] == s) for s, name in enumerate(SETS)}
    return {
        **counts,
        "between_classes": sum(1 for k, double in pairs if classes[k] != classes[double]),
        "examples": [[names[k], names[double]] for k, double in pairs[:EXAMPLES]],
    }


def neighbours(hashes: np.ndarray) -> list[tuple[int, int]]:
    """All pairs of different hashes, uint64 [M], that differ in one or two bits, as pairs of indices.

    Such hashes are equal in at least two of four bands of 16 bits, so only hashes with two equal bands are compared.
    """
    bands = [np.uint64(0xFFFF << 16 * k) for k in range(4)]
    pairs: set[tuple[int, int]] = set()
    for mask in (bands[a] | bands[b] for a in range(4) for b in range(a)):
        keys = hashes & mask
        order = np.argsort(keys, kind="stable")
        keys, ordered = keys[order], hashes[order]
        first, step = np.arange(len(hashes)), 0
        while len(first):
            step += 1
            first = first[first + step < len(hashes)]
            first = first[keys[first] == keys[first + step]]
            differ = ordered[first] ^ ordered[first + step]
            for _ in range(NEAR):
                differ &= differ - (differ > 0)  # removes the lowest bit
            close = first[differ == 0]
            pairs |= set(map(tuple, np.sort(np.stack([order[close], order[close + step]], 1)).tolist()))
    return sorted(pairs)


def dhash(images: np.ndarray) -> np.ndarray:
    """The difference hash of images, uint64 [b]: whether each of 8 x 9 grey means is darker than its right neighbour.

    images: uint8 [b, s, s, 3]. (N. Krawetz, "Kind of like that", 2013.) It ignores colour and size, not mirroring.
    """
    side = images.shape[1]
    grey = images.sum(3, dtype=np.uint16).astype(np.float64)
    for axis, parts in ((1, 8), (2, 9)):
        edges = np.linspace(0, side, parts + 1).astype(int)
        widths = np.diff(edges).reshape((-1, 1) if axis == 1 else -1)
        grey = np.add.reduceat(grey, edges[:-1], axis) / widths
    bits = (grey[:, :, :-1] < grey[:, :, 1:]).reshape(len(images), 64)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def hashes_kept(store: Path) -> Path:
    """Path of a store's difference hashes, beside the stores."""
    return store.parent / "hashes" / f"{store.name}.npy"


def hashes(of: Store, path: Path) -> np.ndarray:
    """The difference hashes of all images in the store at this path, uint64 [N], cached in a file."""
    cache = hashes_kept(path)
    if cache.exists():
        return np.load(cache, allow_pickle=False)
    values = np.concatenate([dhash(of.images[start : start + 256]) for start in range(0, len(of.images), 256)])

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, values)

    cache.parent.mkdir(exist_ok=True)
    files.replace(cache, write)
    return values


def duplicates(of: Store, path: Path, near: bool) -> Mapping[str, Any]:
    """`exact` duplicates by the bytes of image files, and `near` ones if `near`; null where unknown."""
    import pandas as pd

    exact, double = None, np.zeros(len(of.images), bool)
    names: Sequence[str] = [
        f"{SETS[s] if s >= 0 else '-'}/{of.card.classes[c]}/{number}"
        for s, c, number in zip(of.sets, of.classes, of.numbers, strict=True)
    ]
    if (path / "sources.parquet").exists():
        frame = pd.read_parquet(path / "sources.parquet", columns=["image", "sha256"])
        names = frame["image"].tolist()
        exact = exact_duplicates(frame["sha256"].tolist(), of.sets, of.classes, names)
        double = frame["sha256"].duplicated().to_numpy()
    candidates = near_duplicates(hashes(of, path), of.sets, of.classes, names, double) if near else None
    return {"exact": exact, "near": candidates}
