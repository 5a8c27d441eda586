"""Encoders of texts by their configuration: segments, parameters and FLOPs. No torch, and no transformers.

The embeddings are segment 1, every block is one more, and what turns the last block's tokens into outputs is the head:
the pooling, the pooler where the model has one, and the classifier.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from yosinski.identity import digest
from yosinski.networks.architectures import INITIALISERS, SegmentCost
from yosinski.networks.texts.textnet import TOKENS

PREFIX = "encoder:"  # of a network in a spec
HEAD = "head"
TOKENIZER = "tokenizer.json"  # the file of a tokenizer that says all of it; others beside it are for its library


@dataclass(frozen=True)
class Family:
    """A kind of encoder. settings: what its configuration says, with the library's defaults.

    blocks: path of the list of blocks; base: what the library calls the encoder within a model with a head.
    width, depth, heads, inner: the names of these numbers among the settings.
    """

    base: str
    blocks: str
    settings: Mapping[str, Any]
    width: str = "hidden_size"
    depth: str = "num_hidden_layers"
    heads: str = "num_attention_heads"
    inner: str = "intermediate_size"
    pooler: str = "pooler.dense"  # the layer before the classifier


_BERT = {
    **{"vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2, "pad_token_id": 0},
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    **{"hidden_act": "gelu", "layer_norm_eps": 1e-12, "initializer_range": 0.02},
    **{"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "classifier_dropout": None},
}
_ROBERTA = Family(
    "roberta", "encoder.layer", {**_BERT, "vocab_size": 50265, "pad_token_id": 1}, pooler="classifier.dense"
)
_OF_XLM = Family("roberta", "encoder.layer", {**_ROBERTA.settings, "vocab_size": 30522}, pooler="classifier.dense")
FAMILIES = {
    "bert": Family("bert", "encoder.layer", _BERT),
    "roberta": _ROBERTA,
    "xlm-roberta": _OF_XLM,
    "camembert": _OF_XLM,
    "distilbert": Family(
        "distilbert",
        "transformer.layer",
        {
            **{"vocab_size": 30522, "max_position_embeddings": 512, "pad_token_id": 0, "sinusoidal_pos_embds": False},
            **{"dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072, "activation": "gelu"},
            **{"dropout": 0.1, "attention_dropout": 0.1, "seq_classif_dropout": 0.2, "initializer_range": 0.02},
        },
        width="dim",
        depth="n_layers",
        heads="n_heads",
        inner="hidden_dim",
        pooler="pre_classifier",
    ),
}


@dataclass(frozen=True)
class Encoder:
    """An encoder of a directory that the library has saved.

    title: the name of the directory, for messages
    kind: what the library calls the family
    settings: all settings of the family, without those that change nothing here
    pooling: "mean" over the tokens, as sentence encoders say it, or "first": the library's own head on the first token
    tokenizer: the content of its files, by their names; the first is `TOKENIZER`
    path: of the directory, as far as it is known; the weights are there
    """

    title: str
    kind: str
    settings: Mapping[str, Any]
    pooling: str
    tokenizer: Mapping[str, bytes]
    path: Path | None = field(default=None, compare=False)

    @cached_property
    def digest(self) -> str:
        """16 hex digits of all that the network is, without its weights and without the directory's name."""
        files = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(self.tokenizer.items())}
        told = {"kind": self.kind, "settings": dict(self.settings), "pooling": self.pooling, "tokenizer": files}
        return digest(told)

    @property
    def name(self) -> str:
        """The name: `hf:all-MiniLM-L6-v2#1a2b3c4d`."""
        return f"hf:{self.title}#{self.digest[:8]}"

    @property
    def identity(self) -> str:
        """The network in a spec."""
        return f"{PREFIX}{self.digest}"

    @property
    def family(self) -> Family:
        """What is common to encoders of this kind."""
        return FAMILIES[self.kind]

    @property
    def width(self) -> int:
        """Number of values of a token, between segments."""
        return self.settings[self.family.width]

    @property
    def vocabulary(self) -> int:
        """Number of different tokens that it has a row for."""
        return self.settings["vocab_size"]

    @property
    def length(self) -> int:
        """The largest number of tokens of a text. RoBERTa counts positions from behind the id of its padding."""
        before = self.settings["pad_token_id"] + 1 if self.family.base == "roberta" else 0
        return self.settings["max_position_embeddings"] - before

    # The counterpart of `Architecture`

    reads: ClassVar[str] = "texts"
    side: ClassVar[int] = 0

    @property
    def left_off(self) -> tuple[str, ...]:
        """Parts of the library's model that are not used: its pooler, where tokens are averaged."""
        return ("pooler",) if self.pooling == "mean" and self.kind != "distilbert" else ()

    @property
    def paired(self) -> tuple[int, ...]:
        """Always empty: there is no batch norm."""
        return ()

    @property
    def paper(self) -> Mapping[str, tuple[float, float]]:
        """Always empty: see `Architecture`."""
        return {}

    @cached_property
    def cuts(self) -> tuple[str, ...]:
        """The names of the segments n = 1..N: `embeddings`, `encoder.layer.0`, and so on."""
        return "embeddings", *(f"{self.family.blocks}.{k}" for k in range(self.settings[self.family.depth]))

    @property
    def initialisers(self) -> tuple[str, ...]:
        """The names of initialisers for this network. All but "own" leave the embeddings as the library draws them."""
        return tuple(name for name in INITIALISERS if name != "paper")

    def costs(self, outputs: int, length: int = 0) -> list[SegmentCost]:
        """One row per segment, for one text of so many tokens (0: TOKENS); the last is the head.

        A block has four square products and two with its inner width per token, and two products of all pairs of
        tokens.
        """
        length, width, inner = length or min(TOKENS, self.length), self.width, self.settings[self.family.inner]
        rows = self.vocabulary + self.settings["max_position_embeddings"] + self.settings.get("type_vocab_size", 0)
        block = 4 * (width + 1) * width + (width + 1) * inner + (inner + 1) * width + 4 * width
        products = 2 * length * (4 * width**2 + 2 * width * inner) + 4 * length**2 * width
        parameters, flops = (width + 1) * outputs, 2 * width * outputs
        if self.pooling == "first":
            parameters, flops = parameters + (width + 1) * width, flops + 2 * width**2
        first, *blocks = self.cuts
        return [
            SegmentCost(first, (rows + 2) * width, 0, (length, width)),
            *(SegmentCost(name, block, products, (length, width)) for name in blocks),
            SegmentCost(HEAD, parameters, flops, (outputs,)),
        ]

    # Names of tensors

    def plain(self, name: str) -> str:
        """The name of a tensor in the library's model of one of this network; see `without_base`."""
        segment, _, rest = name.partition(".")
        return rest if segment == HEAD else f"{segment.replace('/', '.')}.{rest}"

    def without_base(self, name: str) -> str:
        """The name of a tensor of the library's model, whether the model has a head or is the encoder alone."""
        return name.removeprefix(f"{self.family.base}.")
