"""Word vectors: files of several kinds, and the rows of a network's tokens."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import small_encoders

from sweeps.transfer import transfer
from yosinski.errors import BadInput
from yosinski.networks.tensors import fingerprint
from yosinski.pretrained import outside, vectors, weights
from yosinski.pretrained.source import Source, vocabulary_beside

WORDS = ["the", "Dog", "dog", "über", "cat"]
NUMBERS = np.array([[k + 0.5, -k, k / 4] for k in range(len(WORDS))], np.float32)


def as_glove(path: Path) -> None:
    lines = [f"{word} {' '.join(map(str, row))}\n" for word, row in zip(WORDS, NUMBERS, strict=True)]
    path.write_text("".join([*lines, "of course 1 2 3\n"]), encoding="utf-8")  # as in GloVe's largest files


def as_word2vec(path: Path) -> None:
    as_glove(path)
    path.write_bytes(b"6 3\n" + path.read_bytes())


def as_binary(path: Path) -> None:
    rows = [
        word.encode() + b" " + row.astype("<f4").tobytes() + b"\n" for word, row in zip(WORDS, NUMBERS, strict=True)
    ]
    path.write_bytes(b"5 3\n" + b"".join(rows))


def as_numpy(path: Path) -> None:
    np.save(path, NUMBERS)
    path.with_suffix(".txt").write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")


KINDS: dict[str, Callable[[Path], None]] = {
    **{"glove.txt": as_glove, "word2vec.txt": as_word2vec},
    **{"word2vec.bin": as_binary, "vectors.npy": as_numpy},
}


@pytest.mark.parametrize("name", KINDS)
def test_files_of_all_kinds_hold_the_same(name: str, tmp_path: Path) -> None:
    KINDS[name](path := tmp_path / name)
    beside = vocabulary_beside(path)
    found, width = vectors.read(path, *(beside or [None]), wanted={b"Dog", "über".encode(), b"of", b"none"})
    assert width == 3
    assert {word: row.tolist() for word, row in found.items()} == {
        b"Dog": NUMBERS[1].tolist(),
        "über".encode(): NUMBERS[3].tolist(),
    }
    assert all(row.dtype == np.float32 for row in found.values())


def test_a_token_is_the_word_as_it_is_or_in_small_letters() -> None:
    assert vectors.spellings("Dog") == (b"Dog", b"dog")
    assert vectors.spellings("\u0120dog") == vectors.spellings("\u2581dog") == vectors.spellings("dog") == (b"dog",)
    assert vectors.spellings("##ing") == (b"##ing",)
    assert vectors.spellings("\u2581") == ("\u2581".encode(),)


def test_tokens_of_bytes_are_spelled_as_the_words_that_they_are() -> None:
    """As the library writes them, in every script; a part of a letter is no word, and no token is taken for another."""
    library = pytest.importorskip("tokenizers")
    split = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = [before + text for text in ("über", "кошка", "猫", "dog") for before in ("", " ")]
    written = [split.pre_tokenize_str(word)[0][0] for word in words]
    letters = [letter for letter in sorted(library.pre_tokenizers.ByteLevel.alphabet()) if letter not in written]
    tokens = {token: k for k, token in enumerate([*written, *letters])}
    made = library.Tokenizer(library.models.BPE(tokens, []))
    assert vectors._tokens(made.to_str().encode(), "it") == tokens
    made.decoder = library.decoders.ByteLevel()
    decoded = vectors._tokens(made.to_str().encode(), "it")
    assert sorted(decoded.values()) == sorted(tokens.values())
    for word, token in zip(words, written, strict=True):
        assert decoded[word] == tokens[token]
        assert vectors.spellings(word)[0] == word.strip().encode()
    part = split.pre_tokenize_str("ü")[0][0][0]
    assert decoded[f"\ufffd{part}"] == tokens[part]
    assert part not in decoded


def test_words_of_an_array_may_begin_with_a_mark_of_their_encoding(tmp_path: Path) -> None:
    as_numpy(path := tmp_path / "vectors.npy")
    words = path.with_suffix(".txt")
    words.write_bytes(b"\xef\xbb\xbf" + words.read_bytes())
    assert vectors.read(path, words, wanted={b"the"})[0][b"the"].tolist() == NUMBERS[0].tolist()


def of_width(width: int, path: Path) -> Path:
    """A file of vectors for four of the seventeen words of a small encoder, one in small letters, and for another."""
    rows = np.arange(4 * width).reshape(4, width) / 7
    words = ["dog", "snow", "[cls]", "moon"]
    lines = [f"{word} {' '.join(map(str, row))}\n" for word, row in zip(words, rows, strict=True)]
    path.write_text("".join([*lines, f"elephant {'1 ' * width}\n"]), encoding="utf-8")
    return path


def test_rows_of_known_words_are_the_file_s_and_all_else_is_drawn_and_counted(tmp_path: Path) -> None:
    network = f"hf:{small_encoders.saved(tmp_path / 'it')}"
    text = f"embeddings={of_width(16, tmp_path / 'vectors.txt')}"
    described, tensors = weights.read(network, Source.of(text))
    rows = tensors["embeddings.word_embeddings.weight"].numpy()
    for k, word in enumerate(["dog", "snow", "[CLS]", "moon"]):
        expected = (np.arange(16 * k, 16 * k + 16) / 7).astype(np.float32)
        np.testing.assert_array_equal(rows[small_encoders.WORDS.index(word)], expected)
    assert described.changed == ("4 of 17 tokens found, 13 drawn",)
    assert (described.reach, described.head.partition(":")[0]) == (1, "not taken")
    others = np.delete(rows, [small_encoders.WORDS.index(word) for word in ("dog", "snow", "[CLS]", "moon")], 0)
    known = np.arange(64).reshape(4, 16) / 7
    assert len(others) == 16
    assert (abs(others - known.mean(0)) <= 3**0.5 * known.std(0) * 1.001).all()
    assert others.std() > known.std(0).mean() / 2
    # the id of a base is made of all of it, so that the rest must be the same everywhere, and not the library's draw
    again = weights.read(network, Source.of(text))[0]
    assert again.hash == described.hash == fingerprint(tensors)
    assert float(tensors["encoder/layer/0.attention.self.query.weight"].abs().max()) <= 0.25
    assert outside.described(network, text).half == described.half
    assert outside.described(network, text).source == Source.of(text).text == text


def test_narrower_vectors_are_followed_by_zeros(tmp_path: Path) -> None:
    network = f"hf:{small_encoders.saved(tmp_path / 'it')}"
    described, tensors = weights.read(network, Source.of(f"embeddings={of_width(6, tmp_path / 'vectors.txt')}"))
    rows = tensors["embeddings.word_embeddings.weight"].numpy()
    np.testing.assert_array_equal(
        rows[small_encoders.WORDS.index("snow"), :6], (np.arange(6, 12) / 7).astype(np.float32)
    )
    assert not rows[:, 6:].any()
    assert described.changed[1] == "6 numbers of a word, then zeros up to 16"


def test_textnet_has_the_tokens_of_the_tokenizer_of_its_texts(tmp_path: Path) -> None:
    small_encoders.saved(tmp_path / "it")
    text = f"embeddings={of_width(50, tmp_path / 'vectors.txt')}"
    with pytest.raises(BadInput, match="the tokens of textnet@17 are those of a tokenizer"):
        outside.described("textnet@17", text)
    with pytest.raises(BadInput, match="the tokenizer has 17 tokens, textnet@9 has rows for 9: choose textnet@17"):
        outside.described("textnet@9", f"{text},tokens={tmp_path / 'it'}")
    data = f"words:en,tokens={tmp_path / 'it'}"
    base, *copies = transfer(data, "textnet@17", text, seeds=(0,), scratch=False)
    assert {run.cut for run in copies} == {1}
    with pytest.raises(BadInput, match="has weights of the first 1 segment alone: cuts=1, not 2, 3"):
        transfer(data, "textnet@17", text, cuts=(1, 2, 3))
    described, tensors = weights.read("textnet@17", Source.of(f"{text},tokens={tmp_path / 'it'}"))
    assert described.half == base.half
    rows = tensors["embed.token.weight"].numpy()
    snow = (np.arange(50, 100) / 7).astype(np.float32)
    np.testing.assert_array_equal(rows[small_encoders.WORDS.index("snow")], [*snow, *[0] * 14])


def test_what_has_no_word_vectors_is_said_in_one_line(tmp_path: Path) -> None:
    network = f"hf:{small_encoders.saved(tmp_path / 'it')}"

    def refused(path: Path, other: str = "") -> str:
        with pytest.raises(BadInput) as error:
            outside.described(other or network, f"embeddings={path}")
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "no file" in refused(tmp_path / "nothing.txt")
    assert "vectors of 17 numbers, and hf:it#" in refused(of_width(17, tmp_path / "wide.txt"))
    assert "sees pictures, and has no rows for words" in refused(of_width(16, tmp_path / "it.txt"), "alexnet32")
    path = tmp_path / "odd.txt"
    path.write_text("elephant 1 2\ngiraffe 3 4\n")
    assert "has none of the 17 tokens" in refused(path)
    path.write_text("elephant 1 2\ndog 3 x\n")
    assert "no word vectors in line 2: a word and 2 numbers" in refused(path)
    path.write_text("It was a dark and stormy night\n")
    assert "no word vectors in line 1" in refused(path)
    path.write_text("1 0\ndog\n")
    assert "first line says that they have 0 numbers" in refused(path)
    path.write_text("dog\t1\t2\n")
    assert "a word and 2 numbers are expected, with spaces between them" in refused(path)
    path.write_text(f"dog {'nan ' * 16}\n")
    assert "holds NaN or infinity" in refused(path)
    path.write_bytes(b"")
    assert "no word vectors" in refused(path)
    path.write_bytes(b"\x1f\x8b\x08")
    assert "compressed (gzip): unpack it" in refused(path)
    path.write_bytes(b"\x80\x04\x95")
    assert "it is a pickle, and is not opened" in refused(path)
    path.write_bytes(b"3 16\ndog " + struct.pack("<16f", *range(16)) + b"\ncat 12")
    assert "is cut off: it has fewer than its 3 words of 16 numbers" in refused(path)
    np.save(path.with_suffix(".npy"), np.zeros((2, 16)))
    (tmp_path / "odd.txt").unlink()
    assert "has no words beside it, one a line: odd.txt or odd.vocab" in refused(tmp_path / "odd.npy")
    path.write_text("dog\n")
    assert "is 2 x 16 of float64, and odd.txt has 1 words: one row each" in refused(tmp_path / "odd.npy")
    np.save(path.with_suffix(".npy"), np.array([{}, {}], dtype=object), allow_pickle=True)
    assert "no array that NumPy reads without pickle" in refused(tmp_path / "odd.npy")
