"""torchvision's data sets: real ones, written here; torch is loaded to list them, and not for a card afterwards."""

import gzip
import hashlib
import inspect
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yosinski.data import find
from yosinski.data import store as data_stores
from yosinski.data.pictures import making
from yosinski.data.pictures.decoding import decode
from yosinski.data.place import Place
from yosinski.data.sources import hashes, kinds, torchvision_sets
from yosinski.errors import BadInput


def mnist(root: Path) -> np.ndarray:
    """MNIST's own files with 60 training digits and 20 for test; returns the training images."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    kept = np.empty(0)
    for name, count in (("t10k", 20), ("train", 60)):
        kept = draw.integers(0, 256, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, count, 28, 28) + kept.tobytes())
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels.tobytes())
    return kept


def textures(root: Path) -> None:
    """DTD: three lists and the images in folders."""
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    draw = np.random.default_rng(1)
    for k, name in enumerate(("train", "val", "test")):
        lines = [f"{c}/{c}_{k}{n}.jpg" for c in ("dotted", "woven") for n in range(2)]
        (folder / "labels" / f"{name}1.txt").write_text("\n".join(lines))
        for line in lines:
            (folder / "images" / line).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (30, 40, 3), np.uint8)).save(folder / "images" / line)


def test_every_listed_name_takes_the_sets_that_are_said() -> None:
    from torchvision import datasets

    for name, sets in torchvision_sets.SETS_OF.items():
        keyword = "train" if isinstance(sets["train"], bool) else "split"
        assert keyword in inspect.signature(getattr(datasets, name)).parameters, name
        assert "test" in sets
    assert not set(torchvision_sets.SETS_OF) & set(torchvision_sets.INSTEAD)
    assert all(hasattr(datasets, name) for name in torchvision_sets.INSTEAD)


def test_digits_are_read_by_number(tmp_path: Path) -> None:
    pixels = mnist(tmp_path)
    place = Place.of(f"torchvision-28:MNIST:{tmp_path}")
    listing = kinds.list_images(place)
    assert listing.classes[:2] == ("0 - zero", "1 - one")
    assert listing.summary["per_class"] == {"train": [5] * 10, "select": [1] * 10, "test": [2] * 10}
    learned = [image for image in listing.images if image.set_name != "test"]
    assert sorted(int(image.file.path.removeprefix("train/")) for image in learned) == list(range(60))
    for image in learned:
        content = kinds.content(place, listing.root, image)
        assert (len(content), hashlib.sha256(content).hexdigest()) == (image.file.size, image.file.sha256)
        number = int(image.file.path.removeprefix("train/"))
        assert (decode(content, 28, "crop", "bilinear") == pixels[number][..., None]).all()
        assert listing.classes.index(image.class_name) == number % 10


def test_images_that_are_files_are_listed_as_files(tmp_path: Path) -> None:
    textures(tmp_path / "r")
    text = f"torchvision-16:DTD:{tmp_path}/r"
    listing = kinds.list_images(Place.of(text))
    assert listing.classes == ("dotted", "woven")
    assert listing.summary["per_class"] == {"train": [2, 2], "select": [2, 2], "test": [2, 2]}
    for image in listing.images:
        assert image.file.sha256 == hashlib.sha256((tmp_path / "r" / image.file.path).read_bytes()).hexdigest()
    begun = making.begin(text, tmp_path / "stores")
    assert isinstance(begun, making.Making)
    path = making.fill(begun, workers=1)
    assert path.name.startswith("torchvision-16-crop-")
    store = data_stores.load(begun.card, tmp_path / "stores")
    for row, image in zip(store.images, listing.images, strict=True):
        assert (row == decode((tmp_path / "r" / image.file.path).read_bytes(), 16, "crop", "bilinear")).all()


def test_torch_is_not_loaded_for_a_card_that_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    textures(tmp_path / "r")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "SETTLED", -60.0)  # as if a minute had passed
    text = f"torchvision:DTD:{tmp_path}/r"
    card = find.card(text)
    code = (
        f"import sys; from yosinski.data import find; card = find.card({text!r}); "
        "print(card.fingerprint, 'torch' in sys.modules or 'torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [card.fingerprint, "False"]


def put_back(path: Path, content: bytes) -> None:
    """Write a file in place, with the time of modification that it had."""
    then = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))


def test_a_card_follows_images_labels_and_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "SETTLED", -60.0)  # as if a minute had passed
    monkeypatch.chdir(tmp_path)
    textures(tmp_path)
    mnist(tmp_path)
    lists = []
    real = kinds.list_images
    monkeypatch.setattr(kinds, "list_images", lambda place: lists.append(place) or real(place))
    texts = {name: f"torchvision-28:{name}:{tmp_path}" for name in ("DTD", "MNIST")}
    found = {name: {find.card(text).fingerprint, find.card(text).fingerprint} for name, text in texts.items()}
    assert len(lists) == 2
    one, other = (tmp_path / "dtd" / "dtd" / "images" / name for name in ("dotted/dotted_00.jpg", "woven/woven_00.jpg"))
    put_back(one, other.read_bytes()[: one.stat().st_size].ljust(one.stat().st_size, b"\0"))
    found["DTD"].add(find.card(texts["DTD"]).fingerprint)
    labels = tmp_path / "dtd" / "dtd" / "labels" / "train1.txt"
    lines = labels.read_text().splitlines()
    put_back(labels, "\n".join(lines[:3]).encode())
    found["DTD"].add(find.card(texts["DTD"]).fingerprint)
    raw = tmp_path / "MNIST" / "raw"
    for name, at in (("train-images-idx3-ubyte", 500), ("train-labels-idx1-ubyte", 9)):
        content = bytearray((raw / name).read_bytes())
        content[at], content[at + 1] = content[at + 1], content[at]
        put_back(raw / name, bytes(content))
        found["MNIST"].add(find.card(texts["MNIST"]).fingerprint)
    assert [len(fingerprints) for fingerprints in found.values()] == [3, 3]
    assert len(lists) == 6


def test_every_listed_name_is_read_from_where_torchvision_has_it() -> None:
    from torchvision import datasets

    assert torchvision_sets.LIES_IN.keys() == torchvision_sets.SETS_OF.keys()
    for name, lies_in in torchvision_sets.LIES_IN.items():
        kind = getattr(datasets, name)
        source = "".join(
            inspect.getsource(one) for one in kind.__mro__ if one.__module__.startswith("torchvision.datasets")
        )
        by_name = {"DTD": "type(self).__name__.lower()", "Imagenette": "imagenette2.tgz"}
        by_name |= dict.fromkeys(("MNIST", "FashionMNIST", "KMNIST", "QMNIST"), "self.__class__.__name__")
        by_name |= {"SVHN": "_32x32.mat", "USPS": "usps.t.bz2"}
        assert by_name.get(name, f'"{lies_in}"') in source, name


def test_what_is_refused(tmp_path: Path) -> None:
    for name, message in {
        "CIFAR10": r"torchvision's CIFAR10 is not used here: torchvision unpickles it; write cifar10:PATH",
        "ImageNet": "write imagenet:PATH",
        "Birds": "unknown data set of torchvision 'Birds'; choose from: Country211, DTD, .*USPS",
        "Food101": f"torchvision:Food101:{tmp_path}: torchvision cannot read it from there: Dataset not found",
        "USPS": "torchvision cannot read it from there",
    }.items():
        with pytest.raises(BadInput, match=message):
            find.card(f"torchvision:{name}:{tmp_path}")
    for text in ("torchvision", "torchvision:DTD", "torchvision-64:DTD:"):
        with pytest.raises(BadInput, match=r"does not say where its images are; write torchvision.*:NAME:ROOT"):
            find.card(text)


def test_a_damaged_file_is_bad_input(tmp_path: Path) -> None:
    mnist(tmp_path)
    raw = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    raw.write_bytes(gzip.compress(raw.read_bytes()))
    with pytest.raises(BadInput, match="torchvision cannot read it"):
        find.card(f"torchvision:MNIST:{tmp_path}")
