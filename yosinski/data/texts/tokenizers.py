"""Tokenizers: texts -> ids of tokens. Letters, which are bytes, or the word pieces of a tokenizer in a directory.

Letters need no library, know every text, and are the same for all data sets, so that networks can be copied between
them. Id 0 is `tokens.PADDING` for letters; of word pieces padding is masked, whatever its id.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yosinski.errors import BadInput, printable
from yosinski.identity import digest

FILE = "tokenizer.json"  # of a tokenizer, in a directory as `transformers` saves it
HOW = 'pip install "yosinski[text]"'


class Encoded(NamedTuple):
    """Texts as ids of tokens, one after the other."""

    ids: np.ndarray  # uint16 or uint32 [T]
    lengths: np.ndarray  # int64, one for each text
    unknown: int  # tokens that the vocabulary does not hold


class Tokenizer(ABC):
    """What stores need of a tokenizer.

    identity: JSON value that fingerprints of data sets cover
    vocabulary: number of ids, from 0
    closing: number of tokens that end every text, such as [SEP]; they stay where a text is cut
    around: number of tokens that every text has, those that end it among them
    saved: what a store keeps of it, the text of FILE; "" for letters
    """

    identity: Any
    vocabulary: int
    closing: int
    around: int
    saved: str

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> Encoded:
        """The tokens of these texts."""


class Letters(Tokenizer):
    """The bytes of UTF-8, from id 1."""

    identity, vocabulary, closing, around, saved = {"letters": 1}, 257, 0, 0, ""

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The bytes of these texts."""
        encoded = [text.encode() for text in texts]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return Encoded(np.frombuffer(b"".join(encoded), np.uint8).astype(np.uint16) + np.uint16(1), lengths, 0)


class Pieces(Tokenizer):
    """A tokenizer of the library `tokenizers`, with the special tokens that it puts around a text."""

    def __init__(self, saved: str, where: object) -> None:
        try:
            from tokenizers import Tokenizer as Library
        except ImportError as error:
            raise BadInput(f"word pieces need tokenizers, which is not installed: {HOW}") from error
        try:
            self._library: Any = Library.from_str(saved)
        except Exception as error:  # the library raises nothing more special
            raise BadInput(f"{printable(where)} holds no tokenizer: {error}") from error
        self._library.no_padding()
        self._library.no_truncation()
        self.saved = self._library.to_str()
        model = json.loads(self.saved)["model"]
        number, token = model.get("unk_id"), model.get("unk_token")  # a number of unigram models, whose first is 0
        self.unknown: int | None = self._library.token_to_id(token) if number is None and token else number
        self.identity = {"pieces": digest(json.loads(self.saved))}
        self.vocabulary = 1 + max(self._library.get_vocab(with_added_tokens=True).values())
        special = self._library.encode("a").special_tokens_mask
        self.around = sum(special)
        self.closing = next((k for k, one in enumerate(reversed(special)) if not one), 0)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The pieces of these texts."""
        ids = [encoding.ids for encoding in self._library.encode_batch_fast(list(texts))]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        kind = np.uint16 if self.vocabulary <= 1 << 16 else np.uint32
        flat = np.fromiter(chain.from_iterable(ids), kind, int(lengths.sum()))
        return Encoded(flat, lengths, 0 if self.unknown is None else int((flat == self.unknown).sum()))


def tokenizer(directory: Path | None) -> Tokenizer:
    """Letters, or the tokenizer of a directory. BadInput if there is none in it."""
    return Letters() if directory is None else Pieces(_text(directory), directory)


def _text(directory: Path) -> str:
    """The content of a directory's tokenizer; without FILE as `transformers` makes it from what else is there."""
    path = directory / FILE
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{printable(path)} cannot be read: {error}") from error
    if not directory.is_dir():
        raise BadInput(f"no directory {printable(directory)} of a tokenizer")
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise BadInput(f"{printable(path)} is missing; other tokenizers need transformers: {HOW}") from error
    try:
        made: Any = AutoTokenizer.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
        return made.backend_tokenizer.to_str()
    except Exception as error:  # the library raises errors of many kinds
        raise BadInput(
            f"{printable(directory)} holds no tokenizer that can be read: {error}".splitlines()[0]
        ) from error
