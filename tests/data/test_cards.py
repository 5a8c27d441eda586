"""Cards of image files: what a fingerprint covers; stores of what the files were before, or of earlier versions."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from imagenet import make_tree, wnids
from PIL import Image

from sweeps.grid import all_classes
from yosinski.cli.main import main
from yosinski.data import find, reading
from yosinski.data import store as data_stores
from yosinski.data.pictures import image_files, making
from yosinski.data.place import RULE, Place, suited
from yosinski.data.reading import one_reading, usual_stores
from yosinski.data.sources import hashes, imagenet, kinds, synsets
from yosinski.errors import BadInput


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree `t` in the working directory, and a stores directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YOSINSKI_STORES", str(tmp_path / "stores"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_tree(tmp_path / "t", 4, train=3, val=4)


def stored(text: str, skip_broken: bool = False) -> Path:
    begun = making.begin(text, usual_stores())
    return begun if isinstance(begun, Path) else making.fill(begun, skip_broken, workers=1)


def test_texts_say_kind_side_fit_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = {
        "imagenet:t": Place("imagenet", tmp_path / "t", 256, "warp", "lanczos"),
        "imagenet-256-warp:./t/": Place("imagenet", tmp_path / "t", 256, "warp", "lanczos"),
        "imagenet-128:t": Place("imagenet", tmp_path / "t", 128, "warp", "lanczos"),
        "imagenet-crop:t": Place("imagenet", tmp_path / "t", 256, "crop", "lanczos"),
        "imagenet-64-crop:/a:b": Place("imagenet", Path("/a:b"), 64, "crop", "lanczos"),
    }
    assert {text: Place.of(text) for text in expected} == expected
    own = [Place.of(text).text for text in expected]
    t = f"{tmp_path}/t"
    assert own == [
        f"imagenet:{t}",
        f"imagenet:{t}",
        f"imagenet-128:{t}",
        f"imagenet-256-crop:{t}",
        "imagenet-64-crop:/a:b",
    ]
    assert [Place.of(text) for text in own] == list(expected.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("imagenet", "data set 'imagenet' does not say where its images are; write imagenet:PATH"),
        ("imagenet-64:", "does not say where its images are; write imagenet-64:PATH"),
        ("imagenet-8:t", "the side must be 16 to 1024, not 8"),
        ("imagenet-64-fill:t", "unknown data set 'imagenet-64-fill:t'; choose from: emoji, imagenet:PATH"),
        ("imagenette:t", "unknown data set 'imagenette:t'"),
        ("emoji:t", "unknown data set"),
        ("imagenet:/nowhere", "data set imagenet:/nowhere: no directory /nowhere"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        find.card(text)


def test_the_card_says_what_is_in_the_tree(here: Path) -> None:
    (here / "train" / wnids(4)[1] / f"{wnids(4)[1]}_3.JPEG").unlink()
    card = find.card("imagenet-32:t")
    assert (card.name, card.side, card.classes) == (f"imagenet-32:{here}", 32, tuple(wnids(4)))
    assert card.groups == tuple(synsets.groups()[wnid] for wnid in wnids(4))
    assert card.images == {"train": (3, 2, 3, 3), "select": (2,) * 4, "test": (2,) * 4}
    assert card.total("train") == 11


def test_classes_beyond_the_papers_are_neither_natural_nor_man_made(tmp_path: Path) -> None:
    make_tree(tmp_path / "t", [*wnids(4), "n99999999"], train=2, val=2)
    assert find.card(f"imagenet-32:{tmp_path}/t").groups[-1] == "other"


def test_the_fingerprint_covers_files_geometry_generator_and_what_is_skipped(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place.of("imagenet-32:t")
    listing = kinds.list_images(place)
    found = {find.card(f"imagenet{geometry}:t").fingerprint for geometry in ("", "-32", "-32-crop", "-64")}
    assert find.card("imagenet-32:t").fingerprint in found
    found.add(image_files.card_without(place, listing, [listing.images[0].name]).fingerprint)
    with monkeypatch.context() as patch:
        patch.setattr(imagenet, "GENERATOR", 99)
        found.add(find.card("imagenet-32:t").fingerprint)
    shutil.move(here, here.with_name("moved"))
    assert find.card("imagenet-32:moved").fingerprint in found
    (here.with_name("moved") / "train" / wnids(4)[0] / f"{wnids(4)[0]}_1.JPEG").unlink()
    found.add(find.card("imagenet-32:moved").fingerprint)
    assert len(found) == 7


def test_skipping_a_whole_class_is_refused(here: Path) -> None:
    place = Place.of("imagenet:t")
    listing = kinds.list_images(place)
    names = [i.name for i in listing.images if i.class_name == wnids(4)[0] and i.set_name != "train"]
    assert image_files.card_without(place, listing, names[:2]).images["test"] == (1, 2, 2, 2)
    with pytest.raises(BadInput, match=f"class {wnids(4)[0]} has one validation image"):
        image_files.card_without(place, listing, names[:3])
    with pytest.raises(BadInput, match=f"no val image that is not broken in {wnids(4)[0]}"):
        image_files.card_without(place, listing, names)


def test_a_sample_of_imagenet_is_read_and_all_sizes_are_looked_at(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = sorted(path for path in here.rglob("*.JPEG"))
    assert all(len(image.file.sha256) == 64 for image in kinds.list_images(Place.of("imagenet:t")).images)
    monkeypatch.setattr(imagenet, "SAMPLE", 7)
    listed = kinds.list_images(Place.of("imagenet:t")).images
    read = {here / image.file.path for image in listed if image.file.sha256}
    assert len(read) == 7
    assert {path.relative_to(here).parts[0] for path in read} == {"train", "val"}
    before = find.card("imagenet:t").fingerprint
    other = next(path for path in images if path not in read)
    other.write_bytes(other.read_bytes()[::-1])
    assert find.card("imagenet:t").fingerprint == before  # nobody reads 140 GB for a plan
    other.write_bytes(other.read_bytes() + b"x")
    assert find.card("imagenet:t").fingerprint != before
    other.write_bytes(other.read_bytes()[:-1])
    assert find.card("imagenet:t").fingerprint == before
    one = min(read)
    one.write_bytes(one.read_bytes()[::-1])
    assert find.card("imagenet:t").fingerprint != before


def test_a_store_of_what_the_tree_was_before_is_named(here: Path) -> None:
    path = stored("imagenet-32:t")
    first = here / "train" / wnids(4)[0] / f"{wnids(4)[0]}_1.JPEG"
    content = first.read_bytes()
    first.write_bytes(content + b"\0")
    (first.parent / "new.JPEG").write_bytes(content)
    (first.parent / f"{wnids(4)[0]}_2.JPEG").unlink()
    message = (
        rf"{path} was made of {here} when that held other images: 1 new \(train/\w+/new.JPEG\); "
        rf"1 gone \(train/\w+_2.JPEG\); 1 of other content \(train/\w+_1.JPEG\); undo that, or delete the store"
    ).replace(r"train/\w+_", r"train/\w+/\w+_")
    for ask in (find.card, lambda text: making.begin(text, usual_stores())):
        with pytest.raises(BadInput, match=message):
            ask("imagenet-32:t")
    assert find.card("imagenet-64:t").side == 64  # of which there is no store yet
    shutil.rmtree(path)
    assert find.card("imagenet-32:t").total("train") == 12


def test_a_store_of_another_version_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored("imagenet-32:t")
    monkeypatch.setattr(imagenet, "GENERATOR", 99)
    with pytest.raises(BadInput, match=r"was made of .* by another version"):
        find.card("imagenet-32:t")


def test_what_a_store_skipped_is_found_by_the_same_text_and_by_any_other_path(tmp_path: Path, here: Path) -> None:
    make_tree(tmp_path / "torn", 4, train=3, val=4, truncated=1)
    whole = find.card("imagenet-32:torn")
    stored("imagenet-32:torn", skip_broken=True)
    card = find.card("imagenet-32:torn")
    assert card.images["train"] == (2, 3, 3, 3)
    assert card.fingerprint != whole.fingerprint
    shutil.copytree(tmp_path / "torn", tmp_path / "elsewhere")
    assert find.card("imagenet-32:elsewhere").fingerprint == card.fingerprint
    assert find.card("imagenet-64:torn").images["train"] == (3, 3, 3, 3)  # nobody said that this may skip


def test_a_tree_that_is_gone_is_known_from_its_store(here: Path) -> None:
    stored("imagenet-32:t")
    card = find.card("imagenet-32:t")
    shutil.rmtree(here)
    assert find.card("imagenet-32:t") == card
    with pytest.raises(BadInput, match="no directory"):
        find.card("imagenet-64:t")


def test_imagenets_fingerprints_stay(tmp_path: Path) -> None:
    for wnid, count in (("n01440764", 3), ("n01443537", 4)):
        for folder, images in (("train", count), ("val", 2)):
            (tmp_path / folder / wnid).mkdir(parents=True)
            for k in range(images):
                (tmp_path / folder / wnid / f"{wnid}_{k}.JPEG").write_bytes(b"x" * (10 + k))
    found = {
        kind: find.card(f"{kind}:{tmp_path}").fingerprint for kind in ("imagenet", "imagenet-32", "imagenet-64-crop")
    }
    assert found == {
        "imagenet": "787be49a4a506066",
        "imagenet-32": "1f237a6d44cdb8db",
        "imagenet-64-crop": "47d3f5d0d66d56d1",
    }
    assert find.card(f"imagenet-32-bilinear:{tmp_path}").fingerprint not in found.values()


SUITED = {
    "imagefolder:/d": {224: "imagefolder-256-crop:/d", 299: "imagefolder-342-crop:/d", 64: "imagefolder-73-crop:/d"},
    "list-warp-bicubic:/d.txt": {224: "list-256-warp-bicubic:/d.txt"},
    "torchvision:DTD:/r:x": {64: "torchvision-73-crop:DTD:/r:x"},
    "imagefolder-128:/d": {224: "imagefolder-128:/d"},
    "imagefolder-128-warp:/d": {32: "imagefolder-128-warp:/d"},
    "cifar10:/d": {29: "cifar10-32:/d", 64: "cifar10-64:/d"},
    "tinyimagenet-bicubic:/d": {64: "tinyimagenet-64-bicubic:/d", 224: "tinyimagenet-224-bicubic:/d"},
    "imagenet:/d": {64: "imagenet:/d"},
    "emoji": {29: "emoji"},
}


@pytest.mark.parametrize("text", SUITED)
def test_open_texts_are_completed_for_a_network(text: str) -> None:
    for side, completed in SUITED[text].items():
        assert suited(text, side) == completed
        assert suited(completed, 48) == completed


def test_texts_of_the_same_store_have_the_same_name() -> None:
    names = {
        "imagefolder-256-crop:/d": ("imagefolder:/d", "imagefolder-256:/d", "imagefolder-crop-bilinear:/d"),
        "imagefolder-256-crop-lanczos:/d": ("imagefolder-lanczos:/d",),
        "imagenet:/d": ("imagenet-256-warp-lanczos:/d", "imagenet-lanczos:/d"),
        "cifar100-32:/d": ("cifar100:/d", "cifar100-32-warp:/d", "cifar100-crop:/d/"),
        "imagenet-256-bilinear:/d": ("imagenet-bilinear:/d", "imagenet-256-warp-bilinear:/d"),
        "torchvision-256-crop:DTD:/d": ("torchvision:DTD:/d",),
    }
    for name, texts in names.items():
        assert {Place.of(text).text for text in texts} == {name}
        assert Place.of(name).text == name


# ------------------------------------------- data sets that differ in a pixel or a label share no store, half or record


def pictures(path: Path, seed: int = 0, classes: tuple[str, ...] = ("ok", "reject"), images: int = 5) -> Path:
    """Uncompressed pictures: whatever they show, they have the same size in bytes."""
    draw = np.random.default_rng(seed)
    for name in classes:
        (path / name).mkdir(parents=True)
        for k in range(images):
            Image.fromarray(draw.integers(0, 256, (18, 18, 3), np.uint8)).save(path / name / f"{k}.bmp")
    return path


def swap(one: Path, other: Path) -> None:
    both = one.read_bytes(), other.read_bytes()
    assert len(both[0]) == len(both[1])
    one.write_bytes(both[1])
    other.write_bytes(both[0])


def rename_classes(path: Path) -> None:
    (path / "ok").rename(path / "x")
    (path / "reject").rename(path / "ok")
    (path / "x").rename(path / "reject")


def overwrite(path: Path) -> None:
    """In place, with the time of modification restored: no folder changes, and no size."""
    one = path / "ok" / "3.bmp"
    then = one.stat()
    with one.open("r+b") as file:
        file.seek(100)
        file.write(b"\0\1\2")
    os.utime(one, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert one.stat().st_mtime_ns == then.st_mtime_ns


CHANGES = {
    "two labels swapped": lambda path: swap(path / "ok" / "1.bmp", path / "reject" / "1.bmp"),
    "within a class": lambda path: swap(path / "ok" / "1.bmp", path / "ok" / "2.bmp"),
    "class folders renamed": rename_classes,
    "overwritten in place": overwrite,
}


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if files had been there for a minute before they were read: so their hashes are remembered."""
    monkeypatch.setattr(hashes, "SETTLED", -60.0)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_was_changed_is_another_data_set_for_every_command(
    change: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pictures(here.parent / "v1")
    copied = shutil.copytree(path, here.parent / "v2")
    made = stored("imagefolder-16:v1")
    assert find.card("imagefolder-16:v2").fingerprint == find.card("imagefolder-16:v1").fingerprint
    for one in (path, copied):
        CHANGES[change](one)
    message = f"{made} was made of {path} when that held other images: "
    for command in ("data show", "data store", "run figure2 --data", "plan figure2 --data", "halves random:0 --data"):
        assert main([*command.split(), "imagefolder-16:v1"]) == 2
        assert message in capsys.readouterr().err, command
    card = find.card("imagefolder-16:v2")  # of which there is no store
    assert stored("imagefolder-16:v2") == made.with_name(f"imagefolder-16-crop-{card.fingerprint}") != made
    assert find.card("imagefolder-16:v1").fingerprint == card.fingerprint  # now there is one that holds what v1 does


@pytest.mark.usefixtures("settled")
def test_halves_of_folders_that_look_alike_differ_in_store_and_pixels(here: Path) -> None:
    stores = []
    for seed in (1, 2):
        pictures(here.parent / f"v{seed}", seed)
        made, card = stored(f"imagefolder-16:v{seed}"), find.card(f"imagefolder-16:v{seed}")
        stores.append((made, all_classes(card).digest, data_stores.load(card, made.parent).images[:].tobytes()))
    assert all(one != other for one, other in zip(*stores, strict=True))


@pytest.mark.usefixtures("settled")
def test_a_path_that_leads_elsewhere_now_is_followed(here: Path) -> None:
    for seed in (1, 2):
        pictures(here.parent / f"v{seed}", seed)
    link = here.parent / "now"
    link.symlink_to("v1")
    before = find.card("imagefolder-16:now")
    link.unlink()
    link.symlink_to("v2")
    assert find.card("imagefolder-16:now").fingerprint == find.card("imagefolder-16:v2").fingerprint
    assert find.card("imagefolder-16:v1").fingerprint == before.fingerprint
    inner = here.parent / "v1" / "ok" / "0.bmp"
    inner.unlink()
    inner.symlink_to(here.parent / "v2" / "ok" / "0.bmp")  # of the same size: the folder is another by its content
    assert find.card("imagefolder-16:v1").fingerprint != before.fingerprint


@pytest.mark.usefixtures("settled")
def test_a_list_with_a_label_changed_is_another_data_set(here: Path) -> None:
    pictures(here.parent / "v1")
    lines = [f"v1/{name}/{k}.bmp {name}" for name in ("ok", "reject") for k in range(5)]
    text = here.parent / "all.txt"
    text.write_text("\n".join(lines))
    made = stored("list-16:all.txt")
    then = text.stat()
    lines[1], lines[7] = f"{lines[1].split()[0]} reject", f"{lines[7].split()[0]} ok"
    text.write_text("\n".join(lines))
    os.utime(text, ns=(then.st_atime_ns, then.st_mtime_ns))
    with pytest.raises(BadInput, match=rf"{made} was made of .*: \d of another class or set \(.*v1/ok/1.bmp"):
        find.card("list-16:all.txt")
    with one_reading(here.parent / "others"):
        assert find.card("list-16:all.txt").fingerprint not in made.name


def test_a_store_of_an_earlier_version_is_named_and_not_used(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures(here.parent / "v1", classes=("a", "b", "c", "d"))
    made = stored("imagefolder-32:v1")
    described = json.loads((made / "store.json").read_text())
    assert described.pop("rule") == RULE
    (made / "store.json").write_text(json.dumps({**described, "fingerprint": "f00d"}))
    old = made.rename(made.with_name("imagefolder-32-crop-f00d"))
    message = f"{old} is not used: its images were listed by names and sizes, and prepared, by an earlier version"
    card = find.card("imagefolder-32:v1")
    assert card.fingerprint in made.name
    assert card.notes == (f"{message}; it can be deleted",)
    for command in ("data store", "data show", "plan figure2 -p cuts=1 --data"):
        assert main([*command.split(), "imagefolder-32:v1"]) == 0
        assert message in capsys.readouterr().out
    assert len(list(made.parent.glob("imagefolder-32-*"))) == 2
    shutil.rmtree(here.parent / "v1")
    shutil.rmtree(made)
    with pytest.raises(BadInput, match=rf"no directory .*/v1; {old} is not used"):
        find.card("imagefolder-32:v1")


def test_a_command_looks_once_and_the_next_one_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    real = kinds.list_images
    monkeypatch.setattr(kinds, "list_images", lambda place: looks.append(place) or real(place))
    with reading.one_reading():
        assert find.card("imagenet-32:t") is find.card("imagenet-32:t")
        assert len(looks) == 1
    with reading.one_reading():
        find.card("imagenet-32:t")
    find.card("imagenet-32:t")
    find.card("imagenet-32:t")
    assert len(looks) == 4
