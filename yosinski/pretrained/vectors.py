"""Word vectors as the first segment of a network that reads texts: one row for each of its tokens.

Files are those of GloVe (a word and its numbers on every line), of word2vec (the same after a line with two counts, as
text or binary), and of NumPy (.npy, with the words beside it, one a line). Only the rows of the network's tokens are
kept; the rows of other tokens are drawn.
"""

import codecs
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from yosinski.errors import BadInput
from yosinski.networks import build
from yosinski.networks.catalogue import architecture
from yosinski.networks.encoders import directory
from yosinski.networks.encoders.encoder import TOKENIZER, Encoder
from yosinski.pretrained.fitting import Fitted, anew, needs
from yosinski.pretrained.saved import BEGINNINGS
from yosinski.pretrained.source import Source, vocabulary_beside
from yosinski.randomness import generator

ROWS, ROWS_OF_ENCODER = "embed.token.weight", "embeddings.word_embeddings.weight"
STARTS = ("\u0120", "\u2581", " ")  # before a piece that begins a word: of byte-level BPE, of SentencePiece, decoded
ODD = {
    **{beginning: what for beginning, what in BEGINNINGS.items() if "NumPy" not in what},
    b"PK": "it is an archive: unpack it",
    b"\x80": "it is a pickle, and is not opened: save_word2vec_format of gensim's KeyedVectors writes what can be read",
}

Vectors = dict[bytes, np.ndarray]  # float32 [width], by word in UTF-8


def fitted(network: str, source: Source) -> Fitted:
    """The tensors of a network whose rows are those of a file, as far as it has them; everything else is drawn.

    Narrower vectors are followed by zeros, which keeps their angles and lengths. BadInput if the file cannot be read,
    if its vectors are wider, if it has none of the tokens, or if it is not said what the tokens are.
    """
    assert source.path is not None
    path, wanted = source.path, needs(network)
    tokens, ours = tokens_and_rows(network, source)
    built = build.build(network, 2).state_dict()
    anew(wanted, built, wanted.ours)
    rows = built[ours]
    whole = rows.shape[1]
    words = next(iter(vocabulary_beside(path)), None)
    vectors, width = read(path, words, {word for token in tokens for word in spellings(token)})
    if width > whole:
        raise BadInput(f"{path} has vectors of {width} numbers, and {network} has {whole} for a token")
    known = {number: word for token, number in tokens.items() for word in spellings(token)[::-1] if word in vectors}
    if not known:
        raise BadInput(f"{path} has none of the {len(tokens)} tokens of {network}")
    matrix = np.zeros((len(known), whole), np.float32)
    matrix[:, :width] = [vectors[word] for word in known.values()]
    if not np.isfinite(matrix).all():
        raise BadInput(f"{path} holds NaN or infinity")
    # Uniform, for the same bits on all machines, with the mean and the deviation of what was found.
    numbers = generator("outside", "vectors").random(tuple(rows.shape), np.float32) - np.float32(0.5)
    numbers = matrix.mean(0) + np.float32(12**0.5) * matrix.std(0) * numbers
    numbers[list(known)] = matrix
    rows.copy_(torch.from_numpy(numbers))
    told = [f"{len(known)} of {len(tokens)} tokens found, {len(tokens) - len(known)} drawn"]
    told += [f"{width} numbers of a word, then zeros up to {whole}"] * (width < whole)
    return Fitted(built, "", (), "not taken: word vectors are the first segment alone", (), tuple(told))


def tokens_and_rows(network: str, source: Source) -> tuple[dict[str, int], str]:
    """The tokens of a network with their ids, and the name of the tensor with a row for each."""
    described = architecture(network)
    if isinstance(described, Encoder):
        return _tokens(described.tokenizer[TOKENIZER], network), ROWS_OF_ENCODER
    if source.tokens is None:
        raise BadInput(
            f"{source.text}: the tokens of {network} are those of a tokenizer: write {source.text},tokens=PATH"
        )
    tokens = _tokens(directory.tokenizer_in(source.tokens), source.tokens)
    if (needed := 1 + max(tokens.values())) > described.vocabulary:
        raise BadInput(
            f"{source.tokens}: the tokenizer has {needed} tokens, {network} has rows for {described.vocabulary}: "
            f"choose textnet@{needed}"
        )
    return tokens, ROWS


def _tokens(tokenizer: bytes, where: object) -> dict[str, int]:
    """The tokens of a tokenizer's file with their ids. Those of byte-level BPE, a letter for each byte, are decoded.

    One whose bytes are a part of a letter has U+FFFD before it, and is no word.
    """
    tokens = directory.vocabulary(tokenizer, where)
    if (json.loads(tokenizer).get("decoder") or {}).get("type") != "ByteLevel":
        return tokens
    try:
        from tokenizers.decoders import ByteLevel
    except ImportError as error:
        raise BadInput(f"word pieces need tokenizers, which is not installed: {directory.HOW}") from error
    texts = {token: ByteLevel().decode([token]) for token in tokens}
    return {f"\ufffd{token}" if "\ufffd" in texts[token] else texts[token]: k for token, k in tokens.items()}


def spellings(token: str) -> tuple[bytes, ...]:
    """The words that a file may have for a token, the best first: as it is, then in small letters.

    The mark of a word's beginning is left out. A piece that continues a word (##ing) is spelled as no word is.
    """
    word = token[1:] if token.startswith(STARTS) and len(token) > 1 else token
    return tuple(dict.fromkeys((word.encode("utf-8", "replace"), word.lower().encode("utf-8", "replace"))))


# Files


def read(path: Path, words: Path | None, wanted: Collection[bytes]) -> tuple[Vectors, int]:
    """The vectors of these words, and the width of all vectors of a file. BadInput if it has no word vectors."""
    if words is not None:
        return of_numpy(path, words, wanted)
    with path.open("rb") as file:
        beginning = file.read(512)
        if not beginning:
            raise BadInput(f"{path} has no word vectors: it is empty")
        for odd, what in ODD.items():
            if beginning.startswith(odd):
                raise BadInput(f"{path} has no word vectors: {what}")
        file.seek(0)
        first = file.readline().split()
        if len(first) == 2 and all(part.isdigit() for part in first):
            number, width = map(int, first)
            if not width:
                raise BadInput(f"{path} has no word vectors: its first line says that they have 0 numbers")
            place, second = file.tell(), file.readline()
            file.seek(place)
            if not _is_line(second, width):
                return of_binary(path, file, number, width, wanted), width
            return of_text(path, file, 2, width, wanted), width
        file.seek(0)
        width = len(first) - 1
        return of_text(path, file, 1, width, wanted), width


def _is_line(line: bytes, width: int) -> bool:
    """Whether a line ends with so many numbers."""
    parts = line.split()[-width:]
    return len(parts) == width > 0 and _numbers(parts) is not None


def _numbers(parts: Sequence[bytes]) -> np.ndarray | None:
    try:
        return np.array([float(part) for part in parts], np.float32)
    except ValueError:
        return None


def of_text(path: Path, file: BinaryIO, first: int, width: int, wanted: Collection[bytes]) -> Vectors:
    """Vectors from lines of a word and its numbers. first: the number of the next line, from 1.

    A word with spaces is none of a network's tokens, and left out.
    """
    vectors: Vectors = {}
    for number, line in enumerate(file, first):
        word, _, rest = line.partition(b" ")
        if number > first and word not in wanted:
            continue
        parts = rest.split()
        values = _numbers(parts[-width:]) if len(parts) >= width > 0 else None
        if values is None:
            raise BadInput(
                f"{path} has no word vectors in line {number}: a word and {max(width, 1)} numbers are expected, "
                "with spaces between them"
            )
        if word in wanted and len(parts) == width:
            vectors.setdefault(word, values)
    return vectors


def of_binary(path: Path, file: BinaryIO, number: int, width: int, wanted: Collection[bytes]) -> Vectors:
    """Vectors from words that end with a space, each with its numbers in float32, as word2vec writes them."""
    vectors: Vectors = {}
    content, place = file.read(), 0
    for _ in range(number):
        end = content.find(b" ", place)
        numbers = content[end + 1 : end + 1 + 4 * width]
        if end < 0 or len(numbers) < 4 * width:
            raise BadInput(f"{path} is cut off: it has fewer than its {number} words of {width} numbers")
        word = content[place:end].lstrip(b"\n")
        if word in wanted:
            vectors.setdefault(word, np.frombuffer(numbers, "<f4").astype(np.float32))
        place = end + 1 + 4 * width
    return vectors


def of_numpy(path: Path, words: Path, wanted: Collection[bytes]) -> tuple[Vectors, int]:
    """Vectors from an array [words, width], and the width. words: the file of the words, one a line."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BadInput(f"{path} is no array that NumPy reads without pickle: {error}") from error
    named = words.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    if array.ndim != 2 or array.dtype.kind != "f" or len(array) != len(named):
        shape = " x ".join(map(str, array.shape))
        raise BadInput(f"{path} is {shape} of {array.dtype}, and {words.name} has {len(named)} words: one row each")
    rows = {word: k for k, word in reversed(list(enumerate(named))) if word in wanted}
    return {word: np.array(array[k], np.float32) for word, k in rows.items()}, array.shape[1]
