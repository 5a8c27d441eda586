"""Looking at every file: what is an image, what is said of the rest, and by how many threads."""

import os
import sys
import threading
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import PIL.Image
import pytest
from image_folders import listed, put, refused, write

from yosinski.cli.main import main
from yosinski.data import find
from yosinski.data.pictures import making
from yosinski.data.sources import scanning
from yosinski.data.sources.scanning import each

# ----------------------------------------------------------------------------------------------- nothing without a word


def test_what_pillow_opens_is_taken_and_the_rest_is_said(tmp_path: Path) -> None:
    write(tmp_path, {"a": 3, "b": 3}, ".png")
    kinds = {".jfif": "JPEG", ".jpe": "JPEG", ".PPM": "PPM", ".pgm": "PPM", ".avif": "AVIF", ".jp2": "JPEG2000"}
    kinds |= {".tga": "TGA", ".mpo": "MPO", ".apng": "PNG", ".pnm": "PPM", ".ico": "ICO"}
    for suffix, kind in kinds.items():
        put(tmp_path / "a", f"x{suffix}", kind)
    for name in ("1.HEIC", "2.heif", "paper.pdf", "sub.eps", "film.mpg", "noted.txt", "README", "data.h5", "l.jpg.txt"):
        (tmp_path / "a" / name).write_bytes(b"x")
    (tmp_path / "labels.csv").write_bytes(b"x")
    put(tmp_path, "cover.png")
    found = listed(f"imagefolder:{tmp_path}")
    assert {image.file.name for image in found.images if image.class_name == "a"} == {
        *(f"0{k}.png" for k in range(3)),
        *(f"x{suffix}" for suffix in kinds),
    }
    assert sorted(found.notes) == sorted(
        [
            "not used: files .heic, which cannot be read: that needs pillow-heif: 1 (a/1.HEIC)",
            "not used: files .heif, which cannot be read: that needs pillow-heif: 1 (a/2.heif)",
            *(f"not used: files .{s}: 1 (a/{n}.{s})" for n, s in (("paper", "pdf"), ("sub", "eps"), ("film", "mpg"))),
            "not used: files .txt: 2 (a/l.jpg.txt)",
            "not used: files .h5: 1 (a/data.h5)",
            "not used: files .csv: 1 (labels.csv)",
            "not used: files without a suffix: 1 (a/README)",
            "not used: images beside the folders of classes: 1 (cover.png)",
        ]
    )
    begun = making.begin(f"imagefolder-16:{tmp_path}", tmp_path / ".stores")
    assert isinstance(begun, making.Making)
    making.fill(begun, workers=1)


def test_heif_is_taken_where_it_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def register() -> None:
        PIL.Image.register_open("HEIF", lambda *_: None)  # pyright: ignore[reportArgumentType]
        PIL.Image.register_extension("HEIF", ".heic")

    write(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "1.HEIC").write_bytes(b"x")
    monkeypatch.setattr(PIL.Image, "OPEN", dict(PIL.Image.OPEN))
    monkeypatch.setattr(PIL.Image, "ID", list(PIL.Image.ID))
    monkeypatch.setattr(PIL.Image, "EXTENSION", dict(PIL.Image.EXTENSION))
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    scanning.suffixes.cache_clear()
    try:
        found = listed(f"imagefolder:{tmp_path}")
    finally:
        scanning.suffixes.cache_clear()
    assert "1.HEIC" in {image.file.name for image in found.images}
    assert found.notes == ()


def test_folders_of_systems_and_hidden_things_are_no_images(tmp_path: Path) -> None:
    write(tmp_path, {"a": 3, "b": 3, "__MACOSX": 2, "@eaDir": 1})
    for inner in ("a/@eaDir/00.jpg", "a/@eaDir/01.jpg", "a/.AppleDouble", "b/deep/@eaDir"):
        put(tmp_path / inner, "thumbnail.jpg")
    put(tmp_path / "a", "._00.jpg", "JPEG")
    (tmp_path / "b" / "Thumbs.db").write_bytes(b"x")
    found = listed(f"imagefolder:{tmp_path}")
    assert found.classes == ("a", "b")
    assert len(found.images) == 6
    assert set(found.notes) == {
        "not used: folders @eaDir: 3 (@eaDir)",
        "not used: folders __MACOSX: 1 (__MACOSX)",
        "not used: hidden folders: 1 (a/.AppleDouble)",
        "not used: hidden files: 1 (a/._00.jpg)",
        "not used: files .db: 1 (b/Thumbs.db)",
    }


def test_linked_folders_are_followed_once_and_never_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "d", {"a": 3, "b": 3, "b/deep": 2})
    write(tmp_path, {"more": 4})
    for link, to in {"a/0": "more", "a/1": "more", "a/up": "d", "a/here": "d/a", "b/again": "d/b/deep"}.items():
        (tmp_path / "d" / link).symlink_to(tmp_path / to)
    (tmp_path / "d" / "c").symlink_to(tmp_path / "d" / "c")  # to itself
    (tmp_path / "more" / "back").symlink_to(tmp_path / "d" / "a")
    found = listed(f"imagefolder:{tmp_path}/d")
    assert {path for path in (image.file.path for image in found.images) if path.startswith("a/")} == {
        *(f"a/0{k}.jpg" for k in range(3)),
        *(f"a/0/0{k}.jpg" for k in range(4)),
    }
    assert sum(image.class_name == "b" for image in found.images) == 5
    assert sorted(found.notes) == [
        "not used: linked folders that lead back, or to what was looked into already: 5 (a/0/back/)",
        "not used: links that lead nowhere: 1 (c)",
    ]
    (tmp_path / "d" / "b" / "wrong").symlink_to(tmp_path / "more")
    refused(f"imagefolder:{tmp_path}/d", "one folder belongs to two classes, by links: .*/d/a and .*/d/b")


def test_pipes_and_links_to_nowhere(tmp_path: Path) -> None:
    write(tmp_path, {"a": 3, "b": 3})
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    assert listed(f"imagefolder:{tmp_path}").notes == ("not used: things .jpg that are no files: 1 (a/pipe.jpg)",)
    (tmp_path / "a" / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "b" / "lost").symlink_to(tmp_path / "nowhere")
    assert "not used: links that lead nowhere: 2 (a/lost.jpg)" in listed(f"imagefolder:{tmp_path}").notes


def test_names_that_are_no_utf_8_work_to_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "d", {"a": 4, "b": 4})
    odd = os.fsdecode(b"caf\xe9"), os.fsdecode(b"\xfcber.jpg"), os.fsdecode(b"d\xe9")
    (tmp_path / "d" / "b").rename(tmp_path / "d" / odd[0])
    (tmp_path / "d" / "a" / "00.jpg").rename(tmp_path / "d" / "a" / odd[1])
    (tmp_path / "d" / "a" / "01.jpg").write_bytes(b"no image")
    text, stores = f"imagefolder-32:{tmp_path}/d", ["--stores", str(tmp_path / "stores")]
    assert find.card(text).classes == ("a", "caf\\xe9")
    assert "a/\\xfcber.jpg" in {image.name.partition("/")[2] for image in listed(text).images}
    assert main(["data", "store", text, *stores]) == 2
    assert "a/01.jpg (cannot identify" in capsys.readouterr().err
    assert main(["data", "store", text, "--skip-broken", *stores]) == 0
    assert main(["data", "show", text, *stores]) == 0
    assert "2 classes: a, caf\\xe9" in capsys.readouterr().out
    (path,) = (tmp_path / "stores").glob("imagefolder-*")
    assert "a/\\xfcber.jpg" in set(pd.read_parquet(path / "sources.parquet")["file"])
    (tmp_path / "d").rename(tmp_path / odd[2])
    assert main(["data", "show", f"imagefolder-32:{tmp_path}/{odd[2]}", *stores]) == 0
    assert "d\\udce9 (" in capsys.readouterr().out


# -------------------------------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("items", [0, 1, 5, 40, 1000])
@pytest.mark.parametrize("worked", [0.0, 1.0])
def test_all_is_found_in_order_by_threads_if_most_of_the_time_is_waiting(
    items: int, worked: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(time, "thread_time", lambda: worked * next(clock))
    by = set()

    def look(item: int) -> int:
        by.add(threading.get_ident())
        return -item

    assert list(each(look, range(items))) == [-item for item in range(items)]
    assert (by <= {threading.get_ident()}) == (worked == 1.0 or items < 2)


def test_what_goes_wrong_is_raised_whoever_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for worked in (time.perf_counter, lambda: 0.0):
        monkeypatch.setattr(time, "thread_time", worked)
        found = each(lambda item: time.sleep(0.06) or 1 // (item - 3), range(5))
        with pytest.raises(ZeroDivisionError):
            list(found)
