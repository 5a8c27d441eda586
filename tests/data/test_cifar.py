"""CIFAR in both versions: the same images, whoever wrote the pickle, and no code that is run."""

import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from yosinski.data import find
from yosinski.data import store as data_stores
from yosinski.data.pictures import making
from yosinski.data.place import Place
from yosinski.data.sources import cifar, hashes, kinds
from yosinski.data.sources.pickles import array, plain
from yosinski.errors import BadInput

TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def text(value: bytes) -> bytes:
    """SHORT_BINSTRING or BINSTRING, as Python 2 wrote texts and bytes."""
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


def whole(values: list[int]) -> bytes:
    return b"](" + b"".join(b"K" + bytes([value]) for value in values) + b"e"


def bytes_array(pixels: np.ndarray, by_columns: bool = False) -> bytes:
    """A numpy array as Python 2's cPickle wrote it in protocol 2: opcode by opcode, after the distributed files."""
    shape = b"(" + b"".join(b"M" + struct.pack("<H", n) for n in pixels.shape) + b"t"
    dtype = b"cnumpy\ndtype\nq\x02(U\x02u1K\x00K\x01tRq\x03(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    content = pixels.tobytes(order="F" if by_columns else "C")
    made = b"cnumpy.core.multiarray\n_reconstruct\nq\x01(cnumpy\nndarray\nK\x00\x85U\x01btR"
    return made + b"(K\x01" + shape + dtype + (b"\x88" if by_columns else b"\x89") + text(content) + b"tb"


def dictionary(**items: bytes) -> bytes:
    return b"\x80\x02}(" + b"".join(text(key.encode()) + value for key, value in items.items()) + b"u."


def drawn(count: int, classes: int) -> tuple[np.ndarray, list[int]]:
    draw = np.random.default_rng(count)
    return draw.integers(0, 256, (count, 3072), np.uint8), [k % classes for k in range(count)]


def make_ten(path: Path, version: str) -> Path:
    """150 training images and 20 for test: real layout, few images."""
    pixels, labels = drawn(150, 10)
    test, test_labels = drawn(20, 10)
    parts = [(f"data_batch_{k + 1}", pixels[30 * k : 30 * k + 30], labels[30 * k : 30 * k + 30]) for k in range(5)]
    folder = path / f"cifar-10-batches-{'py' if version == 'python' else 'bin'}"
    folder.mkdir(parents=True)
    for name, rows, of in [*parts, ("test_batch", test, test_labels)]:
        if version == "python":
            batch = dictionary(batch_label=text(b"batch"), labels=whole(of), data=bytes_array(rows))
            (folder / name).write_bytes(batch)
        else:
            (folder / f"{name}.bin").write_bytes(np.hstack([np.array(of, np.uint8)[:, None], rows]).tobytes())
    if version == "python":
        names = b"](" + b"".join(text(name.encode()) for name in TEN) + b"e"
        (folder / "batches.meta").write_bytes(dictionary(num_vis=b"M\x00\x0c", label_names=names))
    else:
        (folder / "batches.meta.txt").write_text("\n".join(TEN) + "\n\n")
    return folder


def make_hundred(path: Path, version: str) -> Path:
    fine, coarse = [f"fine {k}" for k in range(6)], ["big", "small"]
    folder = path / f"cifar-100-{version}"
    folder.mkdir(parents=True)
    for name, count in (("train", 24), ("test", 12)):
        rows, of = drawn(count, 6)
        group = [k // 3 for k in of]
        if version == "python":
            content = dictionary(fine_labels=whole(of), coarse_labels=whole(group), data=bytes_array(rows, True))
            (folder / name).write_bytes(content)
        else:
            labels = np.array([group, of], np.uint8).T
            (folder / f"{name}.bin").write_bytes(np.hstack([labels, rows]).tobytes())
    if version == "python":
        named = {
            f"{what}_label_names": b"](" + b"".join(text(n.encode()) for n in names) + b"e"
            for what, names in (("fine", fine), ("coarse", coarse))
        }
        (folder / "meta").write_bytes(dictionary(**named))
    else:
        (folder / "fine_label_names.txt").write_text("\n".join(fine))
        (folder / "coarse_label_names.txt").write_text("\n".join(coarse))
    return folder


def packed(folder: Path, name: str) -> Path:
    with tarfile.open(folder.parent / name, "w:gz") as archive:
        archive.add(folder, folder.name)
    return folder.parent / name


def test_our_pickles_are_those_of_python() -> None:
    rows, labels = drawn(300, 10)
    for by_columns in (False, True):
        content = dictionary(labels=whole(labels), data=bytes_array(rows, by_columns))
        found = pickle.loads(content, encoding="latin1")
        assert (found["data"] == rows).all()
        assert found["labels"] == labels
        assert (array(plain(content)["data"]) == rows).all()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL))
def test_pickles_of_newer_pythons_are_read_too(protocol: int) -> None:
    rows, labels = drawn(300, 10)
    found = plain(pickle.dumps({"data": rows, "labels": labels, "name": "é", "no": None}, protocol))
    assert (array(found["data"]) == rows).all()
    assert (found["labels"], found["name"], found["no"]) == (labels, "é", None)


def test_nothing_in_a_pickle_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "evil"),)

    content = pickle.dumps({"data": Evil(), "labels": []})
    assert plain(content)["data"].arguments == (str(tmp_path / "evil"),)
    folder = make_ten(tmp_path, "python")
    (folder / "data_batch_3").write_bytes(content)
    with pytest.raises(BadInput, match="cifar-10-batches-py: not cifar10 as it is distributed"):
        find.card(f"cifar10:{folder}")
    assert not (tmp_path / "evil").exists()


def test_both_versions_packed_or_not_are_the_same_data_set(tmp_path: Path) -> None:
    cards = []
    for version, archive in (("python", "cifar-10-python.tar.gz"), ("binary", "cifar-10-binary.tar.gz")):
        folder = make_ten(tmp_path / version, version)
        alone = tmp_path / f"{version} packed"
        alone.mkdir()
        packed(folder, archive).rename(alone / archive)
        cards += [find.card(f"cifar10:{path}") for path in (folder, folder.parent, alone, alone / archive)]
    assert len({card.fingerprint for card in cards}) == 1
    assert cards[0].classes == tuple(TEN)
    assert cards[0].images == {"train": (13,) * 10, "select": (2,) * 10, "test": (2,) * 10}
    assert {card.side for card in cards} == {32}
    assert cards[0].name == f"cifar10-32:{tmp_path}/python/cifar-10-batches-py"


@pytest.mark.parametrize("archive", [False, True])
def test_a_card_follows_the_files_and_takes_a_listing_that_is_known(
    archive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "SETTLED", -60.0)  # as if a minute had passed
    folder = make_ten(tmp_path, "binary")
    read = packed(folder, "cifar-10-binary.tar.gz") if archive else folder / "data_batch_2.bin"
    text = f"cifar10:{read if archive else folder}"
    lists = []
    real = cifar.list_images
    monkeypatch.setitem(kinds.LISTED, "cifar10", lambda place: lists.append(place) or real(place))
    before = find.card(text)
    assert find.card(text) == before
    assert len(lists) == 1
    then = read.stat()
    row = folder / "data_batch_2.bin"
    content = bytearray(row.read_bytes())
    content[0], content[3073] = content[3073], content[0]  # the labels of its first two images
    row.write_bytes(content)
    if archive:
        packed(folder, "cifar-10-binary.tar.gz")
    os.utime(read, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert find.card(text).fingerprint != before.fingerprint
    assert len(lists) == 2


@pytest.mark.parametrize("version", ["python", "binary"])
def test_a_store_holds_the_very_pixels(version: str, tmp_path: Path) -> None:
    folder = make_hundred(tmp_path / "d", version)
    listing = kinds.list_images(Place.of(f"cifar100:{folder}"))
    assert listing.classes == tuple(f"fine {k}" for k in range(6))
    assert listing.groups == ("big",) * 3 + ("small",) * 3
    begun = making.begin(f"cifar100:{folder}", tmp_path / "stores")
    assert isinstance(begun, making.Making)
    store = data_stores.load(begun.card, making.fill(begun, workers=1).parent)
    assert np.bincount(store.sets).tolist() == [18, 6, 12]
    rows = {"train": drawn(24, 6)[0], "test": drawn(12, 6)[0]}
    for pixels, image in zip(store.images, listing.images, strict=True):
        set_name, k = image.file.path.split("/")
        assert set_name == ("test" if image.set_name == "test" else "train")
        assert (pixels == rows[set_name][int(k)].reshape(3, 32, 32).transpose(1, 2, 0)).all()
        assert listing.classes.index(image.class_name) == int(k) % 6


def test_what_is_not_there_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"is neither cifar-10-batches-py/ or cifar-10-python.tar.gz or cifar-10-b"):
        find.card(f"cifar10:{tmp_path}")
    folder = make_ten(tmp_path, "binary")
    first = folder / "data_batch_1.bin"
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(BadInput, match="not cifar10 as it is distributed"):
        find.card(f"cifar10:{folder}")
    archive = packed(folder, "cifar-10-binary.tar.gz")
    archive.write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(BadInput, match=r"cifar-10-binary.tar.gz is damaged"):
        find.card(f"cifar10:{archive}")
