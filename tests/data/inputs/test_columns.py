"""Lists with columns of images: what is stored of every example and input, what is missing, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_lists import HEADER, Cells, examples, lines_of, stored, write_list
from image_folders import counts, listed, refused

from sweeps.fuse import fuse
from sweeps.grid import all_classes
from yosinski.cli.main import main
from yosinski.data import find
from yosinski.data import store as data_stores
from yosinski.data.card import SETS
from yosinski.data.halves import split
from yosinski.data.pictures.decoding import decode
from yosinski.data.store import Store
from yosinski.errors import BadInput
from yosinski.experiment.cost import images
from yosinski.experiment.recipes import SKETCH
from yosinski.experiment.run import Run
from yosinski.training.partners.batches import pairs

MISSING = {5: 1, 6: 1, 11: 3}  # y of two examples, and the artist of one


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Cells], Store]:
    """A list with missing pictures and labels, its lines, and its store."""
    folder = tmp_path_factory.mktemp("list")
    rows = examples(folder)
    return folder, rows, stored(write_list(folder, rows, MISSING), folder / "stores")


def test_every_input_of_every_example_is_stored_under_one_number(made: tuple[Path, list[Cells], Store]) -> None:
    folder, rows, store = made
    card = store.card
    assert (card.domains, card.default_domain) == (("x", "y"), ("x",))
    assert len(store.images) == 78 == sum(card.total(name) for name in SETS)
    keys = list(zip(store.sets, store.classes, store.numbers, strict=True))
    row_of = {(key, int(domain)): k for k, (key, domain) in enumerate(zip(keys, store.domains, strict=True))}
    assert len(row_of) == 78
    seen = set()
    for found in listed(f"list-36:{folder}/all.txt").images:
        line = next(k for k, row in enumerate(rows) if found.file.path in row)
        row = rows[line]
        key = SETS.index(found.set_name), "abcd".index(row[2]), found.number
        here = row_of[key, ("x", "y").index(found.domain)]
        assert (store.images[here] == decode((folder / found.file.path).read_bytes(), 36, "crop", "bilinear")).all()
        assert store.answers["artist"][here] == ("pq".index(row[3]) if line != 11 else -1)
        seen.add((line, found.domain))
    assert seen == {(k, domain) for k in range(40) for domain in "xy"} - {(5, "y"), (6, "y")}
    assert (np.diff(store.sets * 1000 + store.classes * 100 + store.domains * 50 + store.numbers) > 0).all()  # in order


def test_pairs_know_what_is_missing(made: tuple[Path, list[Cells], Store]) -> None:
    _, _, store = made
    x = all_classes(store.card)
    y = replace(x, domain=("y",))
    there = pairs(store, x, store, y, "train")
    assert ((there < 0).sum(), len(there)) == (2, 32)
    assert (pairs(store, y, store, x, "train") >= 0).all()
    rows = [store.rows(half, "train")[0] for half in (x, y)]
    assert (store.numbers[rows[0][there >= 0]] == store.numbers[rows[1][there[there >= 0]]]).all()
    assert (pairs(store, x, store, y, "test") >= 0).all()
    for half, count in ((x, 32), (y, 30), (replace(x, domain=("x", "y")), 62)):
        assert images(Run("alexnet32", half, SKETCH), store.card, "train") == len(store.rows(half, "train")[0]) == count


def test_missing_inputs_and_labels_are_said(
    made: tuple[Path, list[Cells], Store], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, store = made
    text = f"list-36:{folder}/all.txt"
    told = (
        "input y is missing in 2 of 40 examples (2 in train)",
        "question artist has no label in 1 of 40 examples (1 in train)",
    )
    stores = ["--stores", str(folder / "stores")]
    assert main(["data", "show", text, *stores]) == 0
    said = capsys.readouterr().out.splitlines()
    assert {*told, "inputs: x, y", "artist: 2 labels: p, q"} <= set(said)
    assert main(["data", "show", text, *stores, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["missing"] == {"y": {"train": 2, "select": 0, "test": 0}}
    assert content["images"] == {"train": 62, "select": 8, "test": 8}
    assert (content["fingerprint"], tuple(content["notes"])) == (store.card.fingerprint, told)


def test_the_store_is_known_when_the_files_are_gone(tmp_path: Path) -> None:
    rows = examples(tmp_path / "d", 4)
    text = write_list(tmp_path / "d", rows, {5: 1})
    there = stored(text, tmp_path / "stores").card
    shutil.rmtree(tmp_path / "d")
    path = data_stores.location(there, tmp_path / "stores")
    assert data_stores.described_card(data_stores.description(path)) == there
    assert there.missing == {"y": {"train": (0, 1, 0, 0), "select": (0,) * 4, "test": (0,) * 4}}


def test_a_broken_picture_takes_the_example_along_if_it_is_the_first(tmp_path: Path) -> None:
    rows = examples(tmp_path, 5)
    text = write_list(tmp_path, rows)
    train = lines_of(text, rows, "train")
    first, other = (next(k for k in train if rows[k][2] == c) for c in "ab")
    for name in (rows[first][0], rows[other][1]):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-60])
    store = stored(text, tmp_path / "stores", skip_broken=True)
    assert (store.sets < 0).sum() == 3
    assert store.card.missing == {"y": {"train": (0, 1, 0, 0), "select": (0,) * 4, "test": (0,) * 4}}
    assert store.card.per_class("train") == (2, 3, 3, 3)
    y = replace(all_classes(store.card), domain=("y",))
    assert (pairs(store, y, store, all_classes(store.card), "train") >= 0).all()


def test_fingerprints_cover_labels_pairs_and_what_is_missing(tmp_path: Path) -> None:
    rows = examples(tmp_path, 4)
    swapped = [(row[0], rows[k ^ 4][1], *row[2:]) for k, row in enumerate(rows)]
    renamed = [(*row[:3], row[3].replace("q", "r")) for row in rows]
    lists = [
        (rows, {}),
        (rows, {0: 1}),
        (rows, {0: 3}),
        (swapped, {}),
        (renamed, {}),
        (rows[:-1], {}),
    ]
    found = {find.card(write_list(tmp_path, of, without)).fingerprint for of, without in lists}
    assert len(found) == len(lists)
    assert find.card(write_list(tmp_path, rows, between=",")).fingerprint in found
    # columns of one picture and its class alone are what they are without a header
    plain = [f"{row[0]}\t{row[2]}\n" for row in rows]
    (tmp_path / "all.txt").write_text("".join(plain))
    before = listed(f"list-36:{tmp_path}/all.txt").summary
    (tmp_path / "all.txt").write_text("path\tlabel\n" + "".join(plain))
    assert listed(f"list-36:{tmp_path}/all.txt").summary == before
    assert before.keys() == {"classes", "groups", "per_class", "sources", "notes"}


def test_columns_in_any_order_by_commas_or_white_space_and_in_several_lists(tmp_path: Path) -> None:
    rows = examples(tmp_path, 4)
    for name in (name for row in rows[8:] for name in row[:2]):
        (tmp_path / name).rename(tmp_path / name.replace(" ", ""))
    quoted = [f'{row[2]}, "{row[1]}", {row[0]}\n' for row in rows[:8]]
    spaced = [f"{row[2]} {row[0].replace(' ', '')}  {row[1].replace(' ', '')}\r\n" for row in rows[8:]]
    (tmp_path / "train.txt").write_text("\nlabel,path_y,path_x\n" + "".join(quoted))
    (tmp_path / "val.txt").write_text("label path_x path_y\r\n\r\n" + "".join(spaced))
    found = listed(f"list:{tmp_path}")
    assert counts(found) == {"train": [1] * 4, "select": [1] * 4, "test": [2] * 4}
    assert found.beside.inputs == ("y", "x")
    assert all(image.file.path[0] == image.domain for image in found.images)
    (tmp_path / "train.txt").write_text("label,path_y,path_x\n" + "".join(quoted).replace("x 07.jpg", '"x 07.jpg'))
    refused(f"list:{tmp_path}", "train.txt, line 9: unexpected end of data")


def test_a_picture_that_is_called_path_is_no_header(tmp_path: Path) -> None:
    rows = examples(tmp_path, 4)
    (tmp_path / rows[0][0]).rename(tmp_path / "path")
    text = "path label\n" + "".join(f"{row[0]} {row[2]}\n" for row in rows[1:])
    (tmp_path / "all.txt").write_text(text.replace(" c\n", " label\n"))
    assert listed(f"list:{tmp_path}/all.txt").classes == ("a", "b", "d", "label")


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        (HEADER, ("x 00.jpg", "y 00.png", "a"), "all.txt, line 18: 3 cells, but the header has 4: path_x, path_y, la"),
        (HEADER, ("", "y 00.png", "a", "p"), "all.txt, line 18: no path_x; the first input must be there"),
        (HEADER, ("x 00.jpg", "y 01.png", "", "p"), "all.txt, line 18: the label must be a name without /, not ''"),
        (HEADER, ("x 00.jpg", "y 00.png", "a", "p"), "line 18: x 00.jpg and y 00.png is listed twice"),
        (HEADER, ("x 99.jpg", "y 99.png", "a", "p"), r"2 of 34 listed files are not there: x 99.jpg \(.*all.txt\), y"),
        (("path_x", "path_y", "label", "artist"), (), "line 1: unknown column 'artist'; columns are path or path_<inp"),
        (("path_x", "path_x", "label", "label_artist"), (), "line 1: two columns path_x$"),
        (("path", "path_y", "label", "label_artist"), (), "line 1: of several inputs each has a name"),
        (("path_x", "path_y", "label_kind", "label_artist"), (), "line 1: no column label, which names the classes"),
        (("path_x", "path_y", "label", "label_class"), (), "line 1: no question may be called class$"),
        (("path_x", "path_grey", "label", "label_artist"), (), "line 1: no input may be called grey$"),
    ],
)
def test_tables_that_are_refused(header: Cells, line: Cells, message: str, tmp_path: Path) -> None:
    text = write_list(tmp_path, examples(tmp_path, 4))
    content = (tmp_path / "all.txt").read_text().replace("\t".join(HEADER), "\t".join(header))
    (tmp_path / "all.txt").write_text(content + "\t".join(line))
    refused(text, message)


def test_lists_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    rows = examples(tmp_path, 4)
    text = write_list(tmp_path, rows, dict.fromkeys(range(16), 1))
    refused(text, "inputs x and y have no common example: column path_y is empty")
    write_list(tmp_path, [(*row[:3], "p") for row in rows])
    refused(text, r"column label_artist has 1 label\(s\): p; a question needs at least two")
    (tmp_path / "train.txt").write_text("path_x,label\nx 00.jpg,a\n")
    for val, message in (("x 01.jpg b\n", "train.txt has a header, val.txt has none"), ("path\tlabel\nx\ta", "diff")):
        (tmp_path / "val.txt").write_text(val)
        refused(f"list:{tmp_path}", message)
    (tmp_path / "all.txt").write_text('path_x,label\nx 00.jpg,a\n"x 01.jpg,b\n')
    refused(text, "all.txt, line 3: unexpected end of data")


def test_an_error_takes_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = write_list(tmp_path, examples(tmp_path, 1)).replace("all.txt", "no.txt")
    (tmp_path / "no.txt").write_text("path_x path_y label\nx y\n")
    assert main(["data", "show", text, "--stores", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_input_that_a_set_lacks_is_no_input_of_a_task(tmp_path: Path) -> None:
    rows = examples(tmp_path, 4)
    text = write_list(tmp_path, rows)
    text = write_list(tmp_path, rows, dict.fromkeys(lines_of(text, rows, "select"), 1))
    card = find.card(text)
    with pytest.raises(BadInput, match=r"no select example of half A of .* has an input y"):
        fuse(text, x="x", y="y")
    with pytest.raises(BadInput, match=r"no select example of half B of .* has an input y"):
        split(card, "domains:x/y")
    assert fuse(text, x="x", y="grey")
