"""Data sets of torchvision: `torchvision:NAME:ROOT` with torchvision's name and root. Nothing is downloaded.

torch is loaded only to list a data set, and to store one whose images are not files of their own (such as MNIST). Cards
are made from the last listing if all files are unchanged.
"""

import hashlib
import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from yosinski.data.place import Place
from yosinski.data.sources.listing import File, Listing, Sets, drawn, listing
from yosinski.data.sources.scanning import State, files_below
from yosinski.errors import BadInput, choose, printable

# torchvision's names of the sets, by ours: values of `split=`, or of `train=` if they are boolean.
TRAIN_AND_TEST = {"train": "train", "test": "test"}
ALL_THREE = {"train": "train", "select": "val", "test": "test"}
TRUE_AND_FALSE = {"train": True, "test": False}
SETS_OF: dict[str, dict[str, Any]] = {
    "Country211": {"train": "train", "select": "valid", "test": "test"},
    "DTD": ALL_THREE,
    "FashionMNIST": TRUE_AND_FALSE,
    "FER2013": TRAIN_AND_TEST,
    "FGVCAircraft": ALL_THREE,
    "Flowers102": ALL_THREE,
    "Food101": TRAIN_AND_TEST,
    "GTSRB": TRAIN_AND_TEST,
    "Imagenette": {"train": "train", "test": "val"},
    "KMNIST": TRUE_AND_FALSE,
    "MNIST": TRUE_AND_FALSE,
    "OxfordIIITPet": {"train": "trainval", "test": "test"},
    "QMNIST": TRUE_AND_FALSE,
    "RenderedSST2": ALL_THREE,
    "STL10": TRAIN_AND_TEST,
    "SVHN": TRAIN_AND_TEST,
    "StanfordCars": TRAIN_AND_TEST,
    "USPS": TRUE_AND_FALSE,
}
LIES_IN = {  # folder below ROOT, or files in it, that torchvision reads
    "Country211": "country211",
    "DTD": "dtd",
    "FashionMNIST": "FashionMNIST",
    "FER2013": "fer2013",
    "FGVCAircraft": "fgvc-aircraft-2013b",
    "Flowers102": "flowers-102",
    "Food101": "food-101",
    "GTSRB": "gtsrb",
    "Imagenette": "imagenette2",
    "KMNIST": "KMNIST",
    "MNIST": "MNIST",
    "OxfordIIITPet": "oxford-iiit-pet",
    "QMNIST": "QMNIST",
    "RenderedSST2": "rendered-sst2",
    "STL10": "stl10_binary",
    "SVHN": "*_32x32.mat",
    "StanfordCars": "stanford_cars",
    "USPS": "usps*.bz2",
}
INSTEAD = {
    "CIFAR10": "torchvision unpickles it; write cifar10:PATH",
    "CIFAR100": "torchvision unpickles it; write cifar100:PATH",
    "LSUN": "torchvision unpickles it",
    "ImageNet": "write imagenet:PATH",
    "ImageFolder": "write imagefolder:PATH",
}


def list_images(place: Place) -> Listing:
    """List a data set of torchvision. BadInput if it is not supported, or if its files are not in ROOT."""
    if place.dataset in INSTEAD:
        raise BadInput(f"torchvision's {place.dataset} is not used here: {INSTEAD[place.dataset]}")
    choose("data set of torchvision", place.dataset, list(SETS_OF))
    root = place.path
    assert root is not None
    _dataset.cache_clear()
    sets: Sets = {}
    classes: list[str] = []
    for set_name in SETS_OF[place.dataset]:
        dataset = _dataset(place, set_name)
        files = list(_files(dataset, root, set_name))
        labels = sorted({label for label, _ in files})
        names = _class_names(dataset, labels)
        sets[set_name] = {names[label]: [] for label in labels}
        for label, file in files:
            sets[set_name][names[label]].append(file)
        classes = classes or [names[label] for label in labels]
    return listing(root, sets, classes, drawn(place.source))


def read_from(place: Place) -> list[tuple[str, Path, State]]:
    """The files that a listing is read from, images and others: path within ROOT, path and state."""
    root = place.path
    assert root is not None
    entries: list[tuple[str, Path, State]] = []
    for top in sorted(root.glob(LIES_IN[place.dataset])) if place.dataset in LIES_IN else ():
        inner = files_below(top) if top.is_dir() else [("", State.of(top.stat()))]
        entries += [(f"{top.name}/{name}", top / name, state) for name, state in inner]
    return entries


def content(place: Place, file: File) -> bytes:
    """One image that is not a file of its own, as the bytes of an image file."""
    set_name, k = file.path.split("/")
    return _encoded(_dataset(place, set_name)[int(k)][0])


@lru_cache(maxsize=3)
def _dataset(place: Place, set_name: str) -> Any:
    from torchvision import datasets

    value = SETS_OF[place.dataset][set_name]
    keyword = "train" if isinstance(value, bool) else "split"
    try:  # without download=True nothing is downloaded
        return getattr(datasets, place.dataset)(root=str(place.path), **{keyword: value})
    except MemoryError:
        raise
    except Exception as error:  # data sets raise all kinds of exceptions
        message = str(error).partition("\n")[0] or type(error).__name__
        raise BadInput(f"{place.source}: torchvision cannot read it from there: {message}") from error


def _files(dataset: Any, root: Path, set_name: str) -> Iterator[tuple[int, File]]:
    """All images with their labels, without decoding: by path if they are files, else by number."""
    samples = getattr(dataset, "samples", None) or getattr(dataset, "_samples", None)
    if samples is None and hasattr(dataset, "_labels"):
        samples = zip(getattr(dataset, "_image_files", None) or dataset._images, dataset._labels, strict=True)
    samples = list(samples or ())
    if samples and isinstance(samples[0][0], str | Path):
        for path, label in samples:
            inner, state = Path(path).relative_to(root).as_posix(), State.of(Path(path).stat())
            yield int(label), File(inner, state.size, printable(inner), "", state)
    else:
        for k in range(len(dataset)):
            image, label = dataset[k]
            encoded = _encoded(image)
            yield int(label), File(f"{set_name}/{k}", len(encoded), f"{k:06d}", hashlib.sha256(encoded).hexdigest())


def _class_names(dataset: Any, labels: list[int]) -> dict[int, str]:
    """Names by label; the number itself if torchvision has no name."""
    named = [one if isinstance(one, str) else one[0] for one in getattr(dataset, "classes", ())]
    names = {label: named[label].replace("/", "-") if label < len(named) else str(label) for label in labels}
    return names if len(set(names.values())) == len(names) else {label: str(label) for label in labels}


def _encoded(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PPM")
    return file.getvalue()
