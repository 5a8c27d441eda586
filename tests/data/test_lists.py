"""List files: which images they name, and what of them is refused."""

import codecs
import os
from pathlib import Path

import pytest
from image_folders import counts, listed, paths, refused, write

from yosinski.data import find
from yosinski.data.pictures import making
from yosinski.errors import BadInput


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Pictures, one in a folder with spaces, and lists of them: train.txt and val.txt."""
    write(tmp_path, {"pictures of cats": 4, "other": 4})
    lines = [f"pictures of cats/0{k}.jpg 10\nother/0{k}.jpg\t9\n" for k in range(4)]
    (tmp_path / "train.txt").write_text("".join(lines[:3]) + "\n")
    (tmp_path / "val.txt").write_text(lines[3])
    return tmp_path


def test_lists_take_paths_with_spaces_and_order_numbers(lists: Path) -> None:
    found = listed(f"list:{lists}")
    assert found.classes == ("9", "10")
    assert counts(found) == {"train": [2, 2], "select": [1, 1], "test": [1, 1]}
    assert paths(found, "test") == ["other/03.jpg", "pictures of cats/03.jpg"]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", [b"", codecs.BOM_UTF8])
def test_lists_with_a_byte_order_mark_and_any_line_ends(ends: str, bom: bytes, lists: Path) -> None:
    before = listed(f"list:{lists}")
    for name in ("train.txt", "val.txt"):
        text = (lists / name).read_text()
        (lists / name).write_bytes(bom + text.replace("\n", ends).encode())
    assert listed(f"list:{lists}").summary == before.summary
    (lists / "train.txt").write_text("pictures of cats/00.jpg 10", encoding="utf-16")
    refused(f"list:{lists}", "train.txt is UTF-16: save it as UTF-8")


def test_lists_name_files_by_their_bytes_and_say_which_texts_are_not_used(lists: Path) -> None:
    (lists / "other" / "00.jpg").rename(lists / "other" / os.fsdecode(b"\xe9.jpg"))
    content = (lists / "train.txt").read_bytes()
    (lists / "train.txt").write_bytes(content.replace(b"other/00", b"other/\xe9"))
    (lists / "val.txt").rename(lists / "dev.txt")
    (lists / "classes.txt").write_text("9\n10\n")
    found = listed(f"list:{lists}")
    assert counts(found) == {"train": [2, 2], "select": [1, 1], "test": [1, 1]}
    assert "train/9/other/\\xe9.jpg" in {image.name.replace("select", "train") for image in found.images}
    assert found.notes == ("not used: text files, which are no list of a set by their name: 1 (classes.txt)",)
    (lists / "train.txt").write_bytes(content.replace(b"other/00", b"other/\xea"))
    refused(f"list:{lists}", r"1 of 8 listed files are not there: other/\\xea.jpg \(")


def test_a_single_list_is_divided_wherever_it_lies(lists: Path) -> None:
    (lists / "lists").mkdir()
    (lists / "val.txt").unlink()
    text = (lists / "train.txt").read_text()
    (lists / "train.txt").unlink()
    (lists / "lists" / "all.txt").write_text(
        text.replace("other/", "../other/").replace("pictures", f"{lists}/pictures")
    )
    expected = {"train": [1, 1], "select": [1, 1], "test": [1, 1]}
    for path in (lists / "lists", lists / "lists" / "all.txt"):
        assert counts(listed(f"list:{path}")) == expected
    begun = making.begin(f"list-16:{lists}/lists/all.txt", lists / "stores")
    assert isinstance(begun, making.Making)
    path = making.fill(begun, workers=1)
    card = find.card(f"list-16:{lists}/lists/all.txt")
    assert path.name == f"list-16-crop-{card.fingerprint}"


def test_lists_that_are_refused(lists: Path) -> None:
    train = lists / "train.txt"
    for line, message in {
        "alone": "train.txt, line 8: not a path and a label .*'alone'",
        "other/03.jpg a/b": "train.txt, line 8: not a path and a label",
        "other/00.jpg 9": "train.txt, line 8: other/00.jpg is listed twice",
        "nowhere.jpg 9": r"1 of 9 listed files are not there: nowhere.jpg \(.*train.txt\)",
        "other/../other/03.jpg 11": "classes that are in the training images but not in the others: 11",
    }.items():
        before = train.read_text()
        train.write_text(before + line)
        refused(f"list:{lists}", message)
        train.write_text(before)
    (lists / "validation.txt").write_text("")
    refused(f"list:{lists}", "holds both val.txt and validation.txt")
    (lists / "validation.txt").rename(lists / "more.txt")
    train.rename(lists / "most.txt")
    refused(f"list:{lists}", "holds neither train.txt nor a single list, but more.txt, most.txt, val.txt")
    refused(f"list:{lists}/more.txt", "more.txt lists no images")
    with pytest.raises(BadInput, match="nowhere"):
        find.card(f"list:{lists}/nowhere.txt")
