"""Stores of image files: what is decoded, resuming, broken images, and what a failure leaves behind."""

import errno
import hashlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from commands import yosinski
from imagenet import make_tree, wnids

import yosinski.cli.data as commands_data
from yosinski.cli import prepare
from yosinski.cli.main import main
from yosinski.data import find
from yosinski.data import store as data_stores
from yosinski.data.card import SETS
from yosinski.data.half import Half
from yosinski.data.halves import split
from yosinski.data.pictures import making
from yosinski.data.pictures.decoding import decode
from yosinski.data.pictures.making import Making
from yosinski.data.reading import one_reading
from yosinski.errors import BadInput, Failure

FEW = wnids(4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with nothing wrong in it: 4 classes, 6 + 4 images each."""
    return make_tree(tmp_path_factory.mktemp("whole") / "t", 4, train=6, val=4)


@pytest.fixture
def torn(tmp_path: Path) -> Path:
    """The same with two truncated images."""
    return make_tree(tmp_path / "t", 4, train=6, val=4, truncated=2)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_stores, "SHARD", 6)  # 40 images: 7 shards, the last one of 4 images


def begun(tree: Path, stores: Path, kind: str = "imagenet-32") -> Making:
    found = making.begin(f"{kind}:{tree}", stores)
    assert isinstance(found, Making)
    return found


def filled(tree: Path, stores: Path, kind: str = "imagenet-32", skip_broken: bool = False, workers: int = 1) -> Path:
    return making.fill(begun(tree, stores, kind), skip_broken, workers)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


# -------------------------------------------------------------------------------------------------------- all images


def test_a_store_holds_every_image_at_its_place(whole: Path, tmp_path: Path) -> None:
    path = filled(whole, tmp_path)
    card = find.card(f"imagenet-32:{whole}")
    assert path == data_stores.location(card, tmp_path)
    assert sorted(contents(path)) == ["images.npy", "index.npz", "sources.parquet", "store.json"]
    store = data_stores.load(card, tmp_path)
    assert store.images.shape == (40, 32, 32, 3)
    assert np.bincount(store.sets).tolist() == [24, 8, 8]
    halves = split(card, "random:0")
    for half in (halves.a, halves.b):
        for set_name, folder, of_class in (
            ("train", "train", slice(None)),
            ("select", "val", slice(0, None, 2)),
            ("test", "val", slice(1, None, 2)),
        ):
            files = [file for wnid in half.classes for file in sorted((whole / folder / wnid).iterdir())[of_class]]
            rows, labels = store.rows(half, set_name)
            assert labels.tolist() == [half.classes.index(file.parent.name) for file in files]
            for row, file in zip(rows, files, strict=True):
                assert (store.images[row] == decode(file.read_bytes(), 32, "warp", "lanczos")).all()
    assert data_stores.of(halves.a, tmp_path).card == card


def test_a_store_says_what_it_was_made_of_and_has_checksums(whole: Path, tmp_path: Path) -> None:
    path = filled(whole, tmp_path, "imagenet-48-crop")
    described = json.loads((path / "store.json").read_text())
    assert described["data"] == f"imagenet-48-crop:{whole}"
    assert (described["fit"], described["side"], described["skipped"]) == ("crop", 48, {})
    assert described["decoder"].startswith("Pillow ")
    sources = pd.read_parquet(path / "sources.parquet")
    assert len(sources) == 40
    for row in sources.to_dict("records"):
        content = (whole / row["file"]).read_bytes()
        assert (row["bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert row["broken"] is None
    assert all(right for _, right in data_stores.check(path))
    images = np.load(path / "images.npy", mmap_mode="r+")
    images[13, 5, 5, 1] ^= 1
    images.flush()
    assert [shard.start for shard, right in data_stores.check(path) if not right] == [12]


def test_the_number_of_processes_does_not_matter(whole: Path, tmp_path: Path) -> None:
    one, two = (filled(whole, tmp_path / name, workers=n) for name, n in (("one", 1), ("two", 2)))
    assert contents(one) == contents(two)


def test_what_a_killed_process_has_stored_is_kept(whole: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, multiprocessing\n"
        "from pathlib import Path\n"
        "from yosinski.data import store\n"
        "from yosinski.data.pictures import making\n"
        "store.SHARD = 6\n"
        "done = []\n"
        "def advance(work, images):\n"
        "    done.extend([images] * (work == 'stored'))\n"
        "    if len(done) == 3:\n"
        "        print(*[child.pid for child in multiprocessing.active_children()], flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        f"making.fill(making.begin('imagenet-32:{whole}', Path({str(tmp_path)!r})), workers=1, advance=advance)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -9
    deadline = time.monotonic() + 30
    for pid in map(int, killed.stdout.split()):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "a process outlives the one that it works for"
            time.sleep(0.01)
    left = begun(whole, tmp_path)
    assert list(data_stores.made(tmp_path, "imagenet-32")) == []
    assert 1 <= len(left.left) <= 4
    assert left.written > 0
    kept = {note.name: note.stat().st_mtime_ns for note in (left.partial / "shards").iterdir()}
    images = np.load(left.partial / "images.npy", mmap_mode="r+")
    images[7] ^= 1  # as after a power cut: the note of the second shard is there, its pixels are not
    images.flush()
    renewed: list[str] = []

    def look(work: str, images: int) -> None:
        notes = {note.name: note.stat().st_mtime_ns for note in (left.partial / "shards").iterdir()}
        renewed[:] = [name for name in kept if notes[name] != kept[name]]

    path = making.fill(left, workers=1, advance=look)
    assert renewed == ["6-12.json"]
    assert contents(path) == contents(filled(whole, tmp_path / "undisturbed"))
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name, "undisturbed"]


def test_a_half_made_store_is_none(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(work: str, images: int) -> None:
        if work == "stored":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        making.fill(begun(whole, tmp_path), workers=1, advance=interrupt)
    half = split(find.card(f"imagenet-32:{whole}"), "random:0").a
    with pytest.raises(
        Failure, match=r"no store .*imagenet-32-\w+; yosinski data store imagenet-32:.*/t --stores .* makes it"
    ):
        data_stores.of(half, tmp_path)
    with pytest.raises(Failure, match="no store"):
        data_stores.load(find.card(f"imagenet-32:{whole}"), tmp_path)
    filled(whole, tmp_path)
    assert len(data_stores.of(half, tmp_path).images) == 40


def test_two_at_once_make_one_store(whole: Path, tmp_path: Path) -> None:
    plans, found = [begun(whole, tmp_path) for _ in range(2)], []
    threads = [threading.Thread(target=lambda plan=plan: found.append(making.fill(plan, workers=1))) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert [one.name for one in tmp_path.iterdir()] == [found[0].name] == [found[1].name]


def test_a_store_that_is_there_is_not_made_again(whole: Path, tmp_path: Path) -> None:
    path = filled(whole, tmp_path)
    assert making.begin(f"imagenet-32:{whole}", tmp_path) == path
    (path / "store.json").unlink()
    with pytest.raises(BadInput, match="is in the way"):
        making.begin(f"imagenet-32:{whole}", tmp_path)


# ------------------------------------------------------------------------------------------------------ what is wrong


def test_truncated_images_are_all_named_and_nothing_is_left(torn: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        filled(torn, tmp_path / "stores")
    message = str(refused.value)
    assert message.startswith("2 of 40 images are broken: ")
    for k in (1, 2):
        assert f"{torn}/train/{FEW[0]}/{FEW[0]}_{k}.JPEG (image file is truncated" in message
    assert f"yosinski data store imagenet-32:{torn} --skip-broken" in message
    assert list((tmp_path / "stores").iterdir()) == []


def test_skipped_images_are_written_down_and_never_seen(torn: Path, tmp_path: Path) -> None:
    path = filled(torn, tmp_path / "stores", skip_broken=True)
    described = data_stores.description(path)
    assert list(described["skipped"]) == [f"train/{FEW[0]}/{FEW[0]}_{k}.JPEG" for k in (1, 2)]
    card = data_stores.described_card(described)
    assert card.images["train"] == (4, 6, 6, 6)
    store = data_stores.load(card, tmp_path / "stores")
    rows, labels = store.rows(split(card, "natman").b, "train")
    assert np.bincount(labels).tolist() == [4, 6]
    files = sorted((torn / "train" / FEW[0]).iterdir())[2:]
    expected = [decode(file.read_bytes(), 32, "warp", "lanczos") for file in files]
    assert (store.images[rows[labels == 0]] == expected).all()
    assert len(pd.read_parquet(path / "sources.parquet").dropna(subset="broken")) == 2
    assert making.begin(f"imagenet-32:{torn}", tmp_path / "stores") == path


@pytest.fixture
def sly(tmp_path: Path) -> Path:
    """A tree with an image that is broken in the middle and whole at both ends."""
    path = make_tree(tmp_path / "t", 4, train=6, val=4)
    image = path / "train" / FEW[3] / f"{FEW[3]}_6.JPEG"
    content = image.read_bytes()
    image.write_bytes(content[:2] + bytes(len(content) - 4) + content[-2:])
    return path


def test_images_that_only_decoding_finds_broken(sly: Path, tmp_path: Path) -> None:
    stores = tmp_path / "stores"
    with pytest.raises(BadInput, match=rf"1 of 40 images are broken: {sly}/train/{FEW[3]}/{FEW[3]}_6.JPEG \("):
        filled(sly, stores)
    assert list(stores.iterdir()) == []
    path = filled(sly, stores, skip_broken=True)
    assert list(data_stores.description(path)["skipped"]) == [f"train/{FEW[3]}/{FEW[3]}_6.JPEG"]
    assert data_stores.described_card(data_stores.description(path)).images["train"] == (6, 6, 6, 5)


def test_bad_input_does_not_delete_what_an_interrupted_call_left(sly: Path, tmp_path: Path) -> None:
    stores = tmp_path / "stores"

    def interrupt(work: str, images: int) -> None:
        if work == "stored":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        making.fill(begun(sly, stores), workers=1, advance=interrupt)
    with pytest.raises(BadInput, match="1 of 40 images are broken"):
        filled(sly, stores)
    assert begun(sly, stores).left == []
    filled(sly, stores, skip_broken=True)  # there is nothing more to decode
    assert len(list(stores.iterdir())) == 1


def test_space_is_compared_before_anything_is_written(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=7_000_000))
    with pytest.raises(BadInput, match=r"imagenet-\w+ needs 7.9 MB, of which 0.0 MB are written; .* has 7.0 MB free"):
        making.begin(f"imagenet:{whole}", tmp_path / "stores")
    assert not (tmp_path / "stores").exists()
    assert begun(whole, tmp_path / "stores", "imagenet-128").bytes == 40 * (128 * 128 * 3 + 256)


def test_a_full_disk_keeps_what_is_done(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(making.ProcessPoolExecutor, "submit", full)
        with pytest.raises(Failure, match=r"no space left on the disk of .*; what is done so far is kept"):
            filled(whole, tmp_path)
    assert filled(whole, tmp_path).exists()


def test_an_image_that_changes_meanwhile_is_named(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", 4, train=6, val=4)
    plan = begun(tree, tmp_path / "stores")
    image = tree / "train" / FEW[0] / f"{FEW[0]}_3.JPEG"
    image.write_bytes(image.read_bytes() + b"\0\xff\xd9")
    with pytest.raises(Failure, match=f"{image} has changed since it was listed"):
        making.fill(plan, workers=1)


def test_an_image_of_the_same_size_that_changes_meanwhile_is_named(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", 4, train=6, val=4)
    plan = begun(tree, tmp_path / "stores")
    image = tree / "train" / FEW[0] / f"{FEW[0]}_3.JPEG"
    whole = image.read_bytes()
    image.write_bytes(whole[:-2] + b"\0\0")  # as long, but torn: that is looked for first
    with pytest.raises(Failure, match=f"{image} has changed since it was listed; the same command looks again"):
        making.fill(plan, skip_broken=True, workers=1)
    image.write_bytes(whole)
    path = filled(tree, tmp_path / "stores", skip_broken=True)
    assert data_stores.description(path)["skipped"] == {}


def rows_of(path: Path) -> dict[tuple[str, str], bytes]:
    """The pixels of every set and class of a store, in the order of their numbers."""
    store = data_stores.load(data_stores.described_card(data_stores.description(path)), path.parent)
    half = Half(store.card.name, store.card.fingerprint, store.card.classes)
    found = {}
    for set_name in SETS:
        rows, labels = store.rows(half, set_name)
        for label, name in enumerate(half.classes):
            found[set_name, name] = store.images[rows[labels == label]].tobytes()
    return found


@pytest.mark.parametrize("kind", ["imagefolder-16", "imagenet-16"])
def test_without_broken_images_the_rest_is_divided_as_if_they_were_not_there(kind: str, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", 4, train=14, val=5)
    if kind.startswith("imagefolder"):
        tree = tree / "train"
    listed = begun(tree, tmp_path / "stores", kind).listing.images
    torn = [
        next(i for i in listed if (i.set_name, i.class_name) == (which, FEW[k]))
        for which in ("select", "test")
        for k in (0, 1)
    ]
    for image in torn:
        path = tree / image.file.path
        path.write_bytes(path.read_bytes()[:-40])
    assert {image.name for image in torn} >= {f"select/{FEW[0]}/{torn[0].file.name}"}
    skipped = filled(tree, tmp_path / "stores", kind, skip_broken=True)
    card = data_stores.described_card(data_stores.description(skipped))
    named = pd.read_parquet(skipped / "sources.parquet")
    assert set(data_stores.description(skipped)["skipped"]) == set(named.dropna(subset="broken")["image"])
    for image in torn:
        (tree / image.file.path).unlink()
    without = filled(tree, tmp_path / "others", kind)
    assert card.images == data_stores.described_card(data_stores.description(without)).images
    assert rows_of(skipped) == rows_of(without)
    left = named[named["broken"].isna()]
    assert dict(zip(left["image"], left["sha256"], strict=True)) == dict(
        pd.read_parquet(without / "sources.parquet")[["image", "sha256"]].itertuples(index=False)
    )


def test_too_few_whole_images_are_refused_and_a_card_is_that_of_its_store(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "t", 2, train=4, val=2) / "train"
    listed = begun(tree, tmp_path / "stores", "imagefolder-16").listing.images
    first, second = (i for i in listed if i.set_name != "train" and i.class_name == min(x.class_name for x in listed))
    for image in (first, second):
        path = tree / image.file.path
        whole = path.read_bytes()
        path.write_bytes(whole[:-40])
        if image is first:
            made = filled(tree, tmp_path / "stores", "imagefolder-16", skip_broken=True)
            with one_reading(tmp_path / "stores"):
                card = find.card(f"imagefolder-16:{tree}")
            assert card == data_stores.described_card(data_stores.description(made))
            assert card.images == {"train": (1, 2), "select": (1, 1), "test": (1, 1)}
            assert making.begin(f"imagefolder-16:{tree}", tmp_path / "stores") == made
    with pytest.raises(BadInput, match="at least 3 of them; too few are in"):
        filled(tree, tmp_path / "others", "imagefolder-16", skip_broken=True)
    assert list((tmp_path / "others").iterdir()) == []


def test_what_is_to_be_done_is_a_whole_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    make_tree(tmp_path / "our trees", 4, train=6, val=4, truncated=1)
    for stores in ([], ["--stores", "a disk/stores"]):
        assert main(["data", "store", "imagenet-32:our trees", *stores]) == 2
        errors = capsys.readouterr().err
        line = shlex.split(errors[errors.index("out: yosinski") + 5 :])
        assert line[:5] == ["yosinski", "data", "store", f"imagenet-32:{tmp_path}/our trees", "--skip-broken"]
        assert line[5:] == stores
        assert main(line[1:]) == 0
        assert "is there; 1 broken images are left out" in capsys.readouterr().out


def test_the_estimate_is_for_what_is_left(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(making, "_processes", ThreadPoolExecutor)  # which have that clock
    plan = begun(whole, tmp_path)
    assert plan.seconds(workers=2, sample=10) == pytest.approx(40 / 10 / 2)  # the clock says one second for ten


# ------------------------------------------------------------------------------------------------ from the command line


def test_much_is_asked_about_with_the_time_that_it_takes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["data", "store", f"imagenet-32:{whole}", "--stores", str(tmp_path / "s"), "--workers", "1"]
    for much in (prepare, commands_data):
        monkeypatch.setattr(much, "MUCH", 1000)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert re.search(r"will hold 40 images .* free; 1 process takes about 0:00:0\d$", captured.out, re.MULTILINE)
    assert "nobody to ask: give --yes" in captured.err
    assert not (tmp_path / "s").exists()
    assert main([*argv, "--yes"]) == 0


@pytest.fixture
def here(torn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in which the damaged tree is `t`."""
    monkeypatch.delenv("YOSINSKI_STORES", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_data_store_and_show(here: Path) -> None:
    refused = yosinski("data", "store", "imagenet-32:t")
    assert refused.status == 2
    assert refused.errors.startswith("yosinski: 2 of 40 images are broken: ")
    assert refused.errors.count("\n") == 1
    assert "will hold 40 images" in refused.out
    assert list((here / "stores").iterdir()) == []
    made = yosinski("data", "store", "imagenet-32:t", "--skip-broken", "--workers", "1")
    assert made.status == 0, made.errors
    assert made.out.endswith("is there; 2 broken images are left out\n")

    shown = json.loads(yosinski("data", "show", "imagenet-32:t", "--json", "--check").out)
    assert (shown["state"], shown["images"]) == ("there", {"train": 22, "select": 8, "test": 8})
    assert shown["per_class"]["train"] == {"least": 4, "median": 6, "most": 6, "imbalance": 1.5}
    store, hashes = sorted((here / "stores").iterdir(), key=lambda path: path.name == "hashes")
    assert (shown["store"], hashes.name) == (f"stores/{store.name}", "hashes")
    shown_as_text = yosinski("data", "show", "imagenet-32:t").out
    assert "4 classes (2 man-made, 2 natural)" in shown_as_text
    assert f"left out: train/{FEW[0]}/{FEW[0]}_1.JPEG (image file is truncated" in shown_as_text
    images = np.load(store / "images.npy", mmap_mode="r+")
    images[0] ^= 255
    images.flush()
    damaged = yosinski("data", "show", "imagenet-32:t", "--check")
    assert damaged.status == 1
    assert "images.npy is damaged: images 0 to 5;" in damaged.errors


def test_run_refuses_broken_images_and_plan_finds_what_a_store_skipped(here: Path) -> None:
    plan = ["-pdata=imagenet-32:t", "-psplits=natman", "-pcuts=1", "-ptreatments=frozen", "-pdirections=AB"]
    tiny = ["-precipe=sketch", "-precipe.epochs=1", "-precipe.evaluations=1", "--device=cpu"]
    refused = yosinski("run", "figure2", *plan, *tiny, "--stores", "elsewhere")
    assert refused.status == 2
    assert "2 of 40 images are broken" in refused.errors
    assert not list((here / "elsewhere").iterdir())
    made = yosinski("data", "store", "imagenet-32:t", "--skip-broken", "--stores", "elsewhere")
    assert made.status == 0, made.errors
    plans = [
        json.loads(yosinski("plan", "figure2", *plan, "--json", *stores).out)
        for stores in ([], ["--stores", "elsewhere"])
    ]
    assert {run["id"] for run in plans[0]["runs"]}.isdisjoint({run["id"] for run in plans[1]["runs"]})
