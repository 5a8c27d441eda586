"""Cards of image files: what its fingerprint covers, remembered listings, and stores of what the tree was before."""

import shutil
import time
from pathlib import Path

import pytest
from imagenet import make_tree, wnids

from yosinski import data
from yosinski.data import Place, cards, imagenet, making, sources, synsets
from yosinski.spec import BadInput


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree `t` in the working directory, and a stores directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YOSINSKI_STORES", str(tmp_path / "stores"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_tree(tmp_path / "t", 4, train=3, val=4)


def stored(text: str, skip_broken: bool = False) -> Path:
    begun = making.begin(text, data.stores())
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
    assert {text: data.place(text) for text in expected} == expected
    own = [data.place(text).text for text in expected]
    t = f"{tmp_path}/t"
    assert own == [
        f"imagenet:{t}",
        f"imagenet:{t}",
        f"imagenet-128:{t}",
        f"imagenet-256-crop:{t}",
        "imagenet-64-crop:/a:b",
    ]
    assert [data.place(text) for text in own] == list(expected.values())
    for deep in (
        f"imagenet-256-12bit:{t}",
        f"imagefolder-64-warp-lanczos-9bit:{t}",
        f"torchvision-64-crop-15bit:DTD:{t}",
    ):
        assert data.place(deep).text == deep
        assert data.place(deep).depth < 16 == data.place(f"imagefolder-64:{t}").depth


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("imagenet", "data set 'imagenet' does not say where its images are; write imagenet:PATH"),
        ("imagenet-64:", "does not say where its images are; write imagenet-64:PATH"),
        ("imagenet-8:t", "the side must be 16 to 1024, not 8"),
        ("imagefolder-64-16bit:t", "of greys of 16 bits 9 to 15 may be said to be used, not 16"),
        ("imagefolder-8bit:t", "of greys of 16 bits 9 to 15 may be said to be used, not 8"),
        ("cifar10-12bit:t", "12bit is for greys of 16 bits; the images of cifar10 have 8"),
        ("imagenet-64-fill:t", "unknown data set 'imagenet-64-fill:t'; choose from: emoji, imagenet:PATH"),
        ("imagenette:t", "unknown data set 'imagenette:t'"),
        ("emoji:t", "unknown data set"),
        ("imagenet:/nowhere", "data set imagenet:/nowhere: no directory /nowhere"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        data.card(text)


def test_the_card_says_what_is_in_the_tree(here: Path) -> None:
    (here / "train" / wnids(4)[1] / f"{wnids(4)[1]}_3.JPEG").unlink()
    card = data.card("imagenet-32:t")
    assert (card.name, card.side, card.classes) == (f"imagenet-32:{here}", 32, tuple(wnids(4)))
    assert card.groups == tuple(synsets.groups()[wnid] for wnid in wnids(4))
    assert card.images == {"train": (3, 2, 3, 3), "select": (2,) * 4, "test": (2,) * 4}
    assert card.total("train") == 11


def test_classes_beyond_the_papers_are_neither_natural_nor_man_made(tmp_path: Path) -> None:
    make_tree(tmp_path / "t", [*wnids(4), "n99999999"], train=2, val=2)
    assert data.card(f"imagenet-32:{tmp_path}/t").groups[-1] == "other"


def test_the_fingerprint_covers_files_geometry_generator_and_what_is_skipped(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = data.place("imagenet-32:t")
    listing = sources.listed(place)
    found = {data.card(f"imagenet{geometry}:t").fingerprint for geometry in ("", "-32", "-32-crop", "-64")}
    assert data.card("imagenet-32:t").fingerprint in found
    found.add(cards.card_of(place, listing.summary, [listing.images[0].name]).fingerprint)
    with monkeypatch.context() as patch:
        patch.setattr(imagenet, "GENERATOR", 99)
        found.add(data.card("imagenet-32:t").fingerprint)
    shutil.move(here, here.with_name("moved"))
    assert data.card("imagenet-32:moved").fingerprint in found
    (here.with_name("moved") / "train" / wnids(4)[0] / f"{wnids(4)[0]}_1.JPEG").unlink()
    found.add(data.card("imagenet-32:moved").fingerprint)
    assert len(found) == 7


def test_skipping_a_whole_class_is_refused(here: Path) -> None:
    place = data.place("imagenet:t")
    listing = sources.listed(place)
    names = [i.name for i in listing.images if i.class_name == wnids(4)[0] and i.set_name == "test"]
    with pytest.raises(BadInput, match=f"no test image that is not broken in {wnids(4)[0]}"):
        cards.card_of(place, listing.summary, names)


def test_a_listing_is_remembered_until_a_directory_changes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = []
    real = sources.listed
    monkeypatch.setattr(sources, "listed", lambda place: lists.append(place) or real(place))
    monkeypatch.setattr(cards, "SETTLED", -60.0)  # as if a minute had passed
    found = [data.card(text) for text in ("imagenet-32:t", "imagenet-32:t", "imagenet-64:t")]
    assert found[0] == found[1]
    assert len(lists) == 1
    (here / "train" / wnids(4)[0] / f"{wnids(4)[0]}_1.JPEG").unlink()
    assert data.card("imagenet-32:t").total("train") == 11
    assert len(lists) == 2
    next((here.parent / "cache" / "yosinski").iterdir()).write_text("{")  # it is only a cache
    assert data.card("imagenet-32:t").total("train") == 11


def test_a_listing_of_a_directory_that_has_just_changed_is_not_remembered(here: Path) -> None:
    began = time.time()
    data.card("imagenet-32:t")
    assert time.time() - began > cards.SETTLED or not (here.parent / "cache").exists()


def test_a_store_of_what_the_tree_was_before_is_named(here: Path) -> None:
    path = stored("imagenet-32:t")
    first = here / "train" / wnids(4)[0] / f"{wnids(4)[0]}_1.JPEG"
    content = first.read_bytes()
    first.write_bytes(content + b"\0")
    (first.parent / "new.JPEG").write_bytes(content)
    (first.parent / f"{wnids(4)[0]}_2.JPEG").unlink()
    message = (
        rf"{path} was made of {here} when that held other images: 1 new \(train/\w+/new.JPEG\); "
        rf"1 gone \(train/\w+_2.JPEG\); 1 of another size \(train/\w+_1.JPEG\); undo that, or delete the store"
    ).replace(r"train/\w+_", r"train/\w+/\w+_")
    for ask in (data.card, lambda text: making.begin(text, data.stores())):
        with pytest.raises(BadInput, match=message):
            ask("imagenet-32:t")
    assert data.card("imagenet-64:t").side == 64  # of which there is no store yet
    shutil.rmtree(path)
    assert data.card("imagenet-32:t").total("train") == 12


def test_a_store_of_another_version_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored("imagenet-32:t")
    monkeypatch.setattr(imagenet, "GENERATOR", 99)
    with pytest.raises(BadInput, match=r"was made of .* by another version"):
        data.card("imagenet-32:t")


def test_what_a_store_skipped_is_found_by_the_same_text_and_by_any_other_path(tmp_path: Path, here: Path) -> None:
    make_tree(tmp_path / "torn", 4, train=3, val=4, truncated=1)
    whole = data.card("imagenet-32:torn")
    stored("imagenet-32:torn", skip_broken=True)
    card = data.card("imagenet-32:torn")
    assert card.images["train"] == (2, 3, 3, 3)
    assert card.fingerprint != whole.fingerprint
    shutil.copytree(tmp_path / "torn", tmp_path / "elsewhere")
    assert data.card("imagenet-32:elsewhere").fingerprint == card.fingerprint
    assert data.card("imagenet-64:torn").images["train"] == (3, 3, 3, 3)  # nobody said that this may skip


def test_a_tree_that_is_gone_is_known_from_its_store(here: Path) -> None:
    stored("imagenet-32:t")
    card = data.card("imagenet-32:t")
    shutil.rmtree(here)
    assert data.card("imagenet-32:t") == card
    with pytest.raises(BadInput, match="no directory"):
        data.card("imagenet-64:t")


def test_imagenets_fingerprints_stay(tmp_path: Path) -> None:
    for wnid, count in (("n01440764", 3), ("n01443537", 4)):
        for folder, images in (("train", count), ("val", 2)):
            (tmp_path / folder / wnid).mkdir(parents=True)
            for k in range(images):
                (tmp_path / folder / wnid / f"{wnid}_{k}.JPEG").write_bytes(b"x" * (10 + k))
    found = {
        kind: data.card(f"{kind}:{tmp_path}").fingerprint for kind in ("imagenet", "imagenet-32", "imagenet-64-crop")
    }
    assert found == {
        "imagenet": "132312d55a9970ec",
        "imagenet-32": "0e1cd1151d6af9e7",
        "imagenet-64-crop": "c1f77ffd44bb4c06",
    }
    assert data.card(f"imagenet-32-bilinear:{tmp_path}").fingerprint not in found.values()


SUITED = {
    "imagefolder:/d": {224: "imagefolder-256-crop:/d", 299: "imagefolder-342-crop:/d", 64: "imagefolder-73-crop:/d"},
    "list-warp-bicubic:/d.txt": {224: "list-256-warp-bicubic:/d.txt"},
    "torchvision:DTD:/r:x": {64: "torchvision-73-crop:DTD:/r:x"},
    "imagefolder-12bit:/d": {64: "imagefolder-73-crop-12bit:/d"},
    "imagefolder-crop-bicubic-10bit:/d": {64: "imagefolder-73-crop-bicubic-10bit:/d"},
    "imagenet-12bit:/d": {64: "imagenet-12bit:/d"},
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
        assert data.suited(text, side) == completed
        assert data.suited(completed, 48) == completed


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
        assert {data.place(text).text for text in texts} == {name}
        assert data.place(name).text == name
