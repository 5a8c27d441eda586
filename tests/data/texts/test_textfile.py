"""Texts in files: tables and folders, divided, as tokens in a store; and what is wrong with some."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import yosinski

from yosinski.data import find
from yosinski.data import store as stores
from yosinski.data.card import SETS
from yosinski.data.store import Store
from yosinski.data.texts.source import Texts
from yosinski.data.texts.tokenizers import Letters, tokenizer
from yosinski.data.texts.words import keywords
from yosinski.errors import BadInput

SENTENCES = [f"{word} number {k}" for k in range(20) for word in ("good", "bad")]
LABELS = ["yes", "no"] * 20


def table() -> pd.DataFrame:
    return pd.DataFrame({"text": SENTENCES, "label": LABELS, "label_odd": [str(k // 2 % 2) for k in range(40)]})


def spelled(store: Store) -> list[str]:
    assert store.texts is not None
    ids, lengths = store.texts.padded(store.texts.shown, 1000)
    return [bytes((row[:n] - 1).astype(np.uint8)).decode() for row, n in zip(ids, lengths, strict=True)]


def as_csv(path: Path) -> str:
    table().to_csv(path / "a.csv", index=False)
    return f"textfile:{path / 'a.csv'}"


def as_parquet(path: Path) -> str:
    table().rename(columns={"text": "review", "label": "stars"}).to_parquet(path / "a.parquet")
    return f"textfile:{path / 'a.parquet'},text=review,label=stars"


def as_sets(path: Path) -> str:
    whole = table()
    for name, part in (("train", whole[:20]), ("dev", whole[20:30]), ("test", whole[30:])):
        part.to_csv(path / f"{name}.tsv", index=False, sep="\t")
    return f"textfile:{path}"


def as_folders(path: Path) -> str:
    for k, (text, label) in enumerate(zip(SENTENCES, LABELS, strict=True)):
        folder = path / ("train" if k < 30 else "test") / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{k:02}.txt").write_text(text)
    return f"textfile:{path}"


FORMS: dict[str, Callable[[Path], str]] = {"csv": as_csv, "parquet": as_parquet, "sets": as_sets, "folders": as_folders}
COUNTS = {"csv": (32, 4, 4), "parquet": (32, 4, 4), "sets": (20, 10, 10), "folders": (26, 4, 10)}


@pytest.mark.parametrize("form", FORMS)
def test_every_text_is_in_the_store_once_with_its_label(form: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    card = find.card(FORMS[form](tmp_path / "data"))
    assert card.classes == ("no", "yes")
    assert tuple(map(card.total, SETS)) == COUNTS[form]
    store = stores.load(card, stores.make(card, tmp_path / "stores").parent)
    told = dict(zip(spelled(store), (card.classes[c] for c in store.classes), strict=True))
    assert told == dict(zip(SENTENCES, LABELS, strict=True))
    if form == "sets":
        assert {text for text, s in zip(spelled(store), store.sets, strict=True) if s == 1} == set(SENTENCES[20:30])
    if form == "csv":
        assert card.answers == {"odd": ("0", "1")}
        odd = dict(zip(SENTENCES, table()["label_odd"], strict=True))
        assert [str(k) for k in store.answers["odd"]] == [odd[text] for text in spelled(store)]
    assert all(right for _, right in stores.check(stores.location(card, tmp_path / "stores")))


def test_the_fingerprint_covers_texts_columns_and_tokens_but_not_the_path(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one, other = (find.card(as_csv(tmp_path / name)).fingerprint for name in ("one", "other"))
    assert one == other
    pieces = find.card(f"{as_csv(tmp_path / 'one')},tokens={tokenizer_in(tmp_path / 'tokens')}")
    assert pieces.fingerprint != one
    changed = table().assign(text=[text.upper() for text in SENTENCES])
    changed.to_csv(tmp_path / "other" / "a.csv", index=False)
    assert find.card(f"textfile:{tmp_path / 'other' / 'a.csv'}").fingerprint != one


def tokenizer_in(folder: Path) -> Path:
    """A directory with a tokenizer of words, which puts [SEP] after every text."""
    library = pytest.importorskip("tokenizers")
    vocabulary = {"[UNK]": 0, "[SEP]": 1, "good": 2, "bad": 3, "number": 4}
    made = library.Tokenizer(library.models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = library.pre_tokenizers.Whitespace()
    made.post_processor = library.processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 1)])
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    return folder


def test_word_pieces_end_as_the_tokenizer_ends_them_also_where_texts_are_cut(tmp_path: Path) -> None:
    pieces = tokenizer(tokenizer_in(tmp_path / "tokens"))
    assert (pieces.vocabulary, pieces.closing) == (5, 1)
    encoded = pieces.encode(["good number 7 bad", "bad"])
    assert encoded.ids.tolist() == [2, 4, 0, 3, 1, 3, 1]
    assert encoded.unknown == 1
    every = np.arange(2)
    texts = Texts(encoded.ids, np.array([0, 5, 7]), every, every + 1, every, pieces.closing)
    ids, lengths = texts.padded(every, 3)
    assert ids.tolist() == [[2, 4, 1], [3, 1, 0]]
    assert lengths.tolist() == [3, 2]


def test_the_unknown_token_may_have_the_first_id_of_a_unigram_model(tmp_path: Path) -> None:
    library = pytest.importorskip("tokenizers")
    made = library.Tokenizer(library.models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -1.0)], unk_id=0))
    made.save(str(tmp_path / "tokenizer.json"))
    assert tokenizer(tmp_path).encode(["ab", "ax"]).unknown == 1


def test_letters_are_bytes() -> None:
    encoded = Letters().encode(["ab", "é"])
    assert encoded.ids.tolist() == [98, 99, 0xC3 + 1, 0xA9 + 1]
    assert encoded.lengths.tolist() == [2, 2]


def test_show_tells_lengths_tokens_and_what_is_in_two_sets(tmp_path: Path) -> None:
    whole = table()
    for name, part in (("train", whole[:20]), ("dev", whole[16:30]), ("test", whole[30:])):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    tokens = tokenizer_in(tmp_path / "tokens")
    made = yosinski("data", "store", f"textfile:{tmp_path},tokens={tokens}", "--stores", tmp_path / "stores")
    assert made.status == 0, made.errors
    shown = yosinski("data", "show", f"textfile:{tmp_path},tokens={tokens}", "--stores", tmp_path / "stores")
    assert "word pieces with 5 ids, 5 of them used; 44 tokens are unknown (25.00%)" in shown.out
    assert "lengths: 4 to 4 (median 4) tokens, of 44 texts" in shown.out
    # the numbers are unknown to it, so that two texts are left
    assert "in train already: 18 in train, 14 in select, 10 in test; 0 of them in another class" in shown.out
    letters = yosinski("data", "store", f"textfile:{tmp_path}", "--stores", tmp_path / "stores")
    assert letters.status == 0, letters.errors
    shown = yosinski("data", "show", f"textfile:{tmp_path}", "--stores", tmp_path / "stores")
    assert "in train already: 0 in train, 4 in select, 0 in test; 0 of them in another class" in shown.out


def test_texts_that_a_run_cuts_are_counted(tmp_path: Path) -> None:
    text = as_csv(tmp_path)
    words = ["figure2", "--data", text, "-p", "network=textnet", "-p", "recipe.length=12", "-p", "cuts=1"]
    assert yosinski("data", "store", text, "--stores", tmp_path / "stores").status == 0
    split = tmp_path / "split.json"
    split.write_text('{"A": ["no", "yes"], "B": ["yes", "no"]}')
    planned = yosinski(
        "plan", *words, "-p", f"splits={split}", "--stores", tmp_path / "stores", "--runs", tmp_path / "r"
    )
    assert planned.status == 0, planned.errors
    longer = sum(len(one) > 12 for one in SENTENCES)
    assert f"{longer} of 40 texts are cut to 12 tokens" in planned.out + planned.errors


def test_files_that_are_not_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "folders").mkdir()
    text = as_folders(tmp_path / "folders")
    assert find.card(text).notes == ()
    (tmp_path / "folders" / "README").touch()
    (tmp_path / "folders" / ".git").mkdir()
    (tmp_path / "folders" / ".git" / "config").touch()
    (tmp_path / "folders" / "train" / "no" / "deep").mkdir()
    (tmp_path / "folders" / "train" / "no" / "deep" / "a.txt").write_text("a")
    assert find.card(text).notes == ("2 files are not read: README, train/no/deep/a.txt",)
    (tmp_path / "tables").mkdir()
    text = as_sets(tmp_path / "tables")
    assert find.card(text).notes == ()
    (tmp_path / "tables" / "more.tsv").write_text("text\tlabel\na\tyes\n")
    assert find.card(text).notes == ("1 files are not read: more.tsv",)


def test_cut_words_are_those_of_the_languages_and_classes_of_runs(tmp_path: Path) -> None:
    where = ("--stores", tmp_path / "stores", "--runs", tmp_path / "r")
    assert yosinski("data", "store", "words:en", "--stores", tmp_path / "stores").status == 0
    split = tmp_path / "split.json"
    split.write_text('{"A": ["ant", "avocado"], "B": ["banana", "ant"]}')
    words = ["figure2", "--data", "words:en", "-p", "network=textnet", "-p", "recipe.length=4", "-p", f"splits={split}"]
    planned = yosinski("plan", *words, *where)
    assert planned.status == 0, planned.errors
    order = find.card("words:en").classes
    own = [word for name in ("ant", "avocado", "banana") for word in keywords()["en"][order.index(name)]]
    longer = sum(len(word) > 4 for word in own)
    assert f"words:en: {longer} of {len(own)} texts are cut to 4 tokens" in planned.out + planned.errors


def test_a_text_of_special_tokens_alone_is_refused(tmp_path: Path) -> None:
    folder = tokenizer_in(tmp_path / "tokens")
    library = pytest.importorskip("tokenizers")
    made = library.Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.normalizer = library.normalizers.Replace("\u200b", "")
    made.save(str(folder / "tokenizer.json"))
    whole = table().assign(text=["\u200b", *SENTENCES[1:]])
    whole.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(BadInput, match="1 texts have no token"):
        stores.make(find.card(f"textfile:{tmp_path / 'a.csv'},tokens={folder}"), tmp_path / "stores")


def test_a_length_that_leaves_nothing_of_a_text_is_refused(tmp_path: Path) -> None:
    text = f"{as_csv(tmp_path)},tokens={tokenizer_in(tmp_path / 'tokens')}"
    where = ("--stores", tmp_path / "stores", "--runs", tmp_path / "r")
    assert yosinski("data", "store", text, "--stores", tmp_path / "stores").status == 0
    split = tmp_path / "split.json"
    split.write_text('{"A": ["no", "yes"], "B": ["yes", "no"]}')
    words = ["figure2", "--data", text, "-p", "network=textnet", "-p", "recipe.length=1", "-p", f"splits={split}"]
    planned = yosinski("plan", *words, *where)
    assert (planned.status, planned.errors.count("\n")) == (2, 1)
    assert "recipe.length 1: of textfile:" in planned.errors


WRONG: dict[str, tuple[bytes, str]] = {
    "a column that is not there": (b"text,stars\na,x\n", "has no column 'label'; choose from: text, stars"),
    "an empty text": (b"text,label\na,x\n ,y\n", "column text is empty in row 2"),
    "no label": (b"text,label\na,x\nb,\n", "column label is empty in row 2"),
    "one class": (b"text,label\na,x\nb,x\n", "one class, x; two are needed"),
    "other bytes": (b"text,label\na,x\n\xe9,y\n", "line 3: not UTF-8 .byte 0xe9."),
    "UTF-16": ("text,label\na,x\n".encode("utf-16"), "UTF-16: save it as UTF-8"),
    "few": (b"text,label\na,x\nb,y\n", "at least 3 of them; too few are in x, y"),
    "nothing": (b"text,label\n", "holds no texts"),
    "a folder as label": (b"text,label\na,x\nb,y/z\n", "a label must be a name without /"),
    "letters of two forms": (
        "text,label\na,\u00e9\nb,e\u0301\n".encode(),
        r"label has 'e.u0301' and '.xe9', which look",
    ),
    "spaces": (b"text,label,label_q\na,x,1\nb,y,1 \n", "label_q has '1' and '1 ', which look alike"),
    "more values than names": (b"text,label\na,x,1\nb,y,2\n", "its rows have more values than its header has names"),
    "an open quote": (b'text,label\na,x\n"b,y\nc,y\n', "line 3: a quote opens that does not enclose a value"),
    "a quote within": (b'text,label\na,x\n"b" c,y\n', "line 3: a quote opens that does not enclose a value"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_tables_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    content, says = WRONG[case]
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(BadInput, match=says) as refused:
        find.card(f"textfile:{tmp_path / 'a.csv'}")
    assert "\n" not in str(refused.value)


def test_quotes_join_no_rows_of_a_tab_separated_table(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\na\tx\n"one\ty\ntwo"\tx\n')
    with pytest.raises(BadInput, match="line 3: a quote opens that does not enclose a value"):
        find.card(f"textfile:{path}")
    whole = table().assign(text=[f'"{text}"\nsaid' + " they" * 50_000 * (k == 0) for k, text in enumerate(SENTENCES)])
    whole.to_csv(path, sep="\t", index=False)
    assert find.card(f"textfile:{path}").total("train") == 32


@pytest.mark.parametrize(("column", "says"), [("text", "holds bytes, not texts"), ("label", "holds bytes; labels")])
def test_bytes_are_no_texts(column: str, says: str, tmp_path: Path) -> None:
    whole = table()
    whole.assign(**{column: [one.encode() for one in whole[column]]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(BadInput, match=f"column {column} {says}"):
        find.card(f"textfile:{tmp_path / 'a.parquet'}")


def test_labels_that_one_set_alone_has_are_named(tmp_path: Path) -> None:
    for name, label in (("train", "y"), ("test", "z")):
        (tmp_path / f"{name}.csv").write_text(f"text,label\na,x\nb,{label}\n" * 5)
    with pytest.raises(BadInput, match="in the texts of train but not in those of test: y"):
        find.card(f"textfile:{tmp_path}")


def test_an_empty_file_of_a_folder_is_named(tmp_path: Path) -> None:
    as_folders(tmp_path)
    (tmp_path / "train" / "no" / "07.txt").write_text(" \n")
    with pytest.raises(BadInput, match=r"07\.txt is empty"):
        find.card(f"textfile:{tmp_path}")


def test_what_has_changed_since_its_store_was_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOSINSKI_STORES", str(tmp_path / "stores"))
    text = as_csv(tmp_path)
    stores.make(find.card(text), tmp_path / "stores")
    (tmp_path / "a.csv").write_text((tmp_path / "a.csv").read_text().replace("good", "fine"))
    with pytest.raises(BadInput, match="when that held other texts"):
        find.card(text)
    (tmp_path / "a.csv").unlink()
    assert find.card(text).total("train") == 32
