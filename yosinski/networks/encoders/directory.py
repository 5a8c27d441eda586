"""Encoders in directories, as the library transformers saves them. No torch; nothing in them is executed.

A directory has `config.json`, `tokenizer.json` and the weights as safetensors. A sentence encoder says in
`1_Pooling/config.json` what becomes of its tokens.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from yosinski.errors import BadInput, some
from yosinski.networks.encoders.encoder import FAMILIES, TOKENIZER, Encoder

HOW = 'pip install "yosinski[text]"'
BESIDE = ("tokenizer_config.json", "special_tokens_map.json")  # what the library reads beside the tokenizer
POOLING = "1_Pooling/config.json"
USUAL = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}  # of no other value
HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")  # a model's name on the hub


def found(place: str) -> Path:
    """The directory of a path, or of a name in the local cache of the hub; nothing is downloaded.

    BadInput if there is none.
    """
    path = Path(place).expanduser().absolute()
    if path.is_dir():
        return path
    if path.exists():
        raise BadInput(f"{path} is a file: a network hf:PATH is a directory, as transformers saves it")
    if find_spec("huggingface_hub") is None or not HUB.fullmatch(place):
        raise BadInput(f"no directory {path}, as transformers saves networks")
    from huggingface_hub import constants, try_to_load_from_cache

    cached = try_to_load_from_cache(place, "config.json")
    if not isinstance(cached, str):
        raise BadInput(
            f"no directory {path}, and {constants.HF_HUB_CACHE}, the local cache of the hub, has no {place}: nothing "
            f"is downloaded here; `hf download {place}` does, or give the path of a directory"
        )
    return Path(cached).parent


def read(place: str) -> Encoder:
    """The encoder of a directory or of a name in the hub's cache.

    BadInput if it is not known here, if its settings make no network, or if its tokenizer does not fit.
    """
    path = found(place)
    encoder = described(path.name if Path(place).expanduser().is_dir() else place.rpartition("/")[2], path)
    if find_spec("transformers") is None:
        raise BadInput(f"network hf:{place} needs transformers, which is not installed: {HOW}")
    return encoder


def described(title: str, path: Path) -> Encoder:
    """The encoder in a directory, under this title."""
    config = _json(path / "config.json", "as transformers saves networks")
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise BadInput(f"{path / 'config.json'} is of {kind or 'no model_type'}; known are: {', '.join(FAMILIES)}")
    settings = {name: config.get(name, usual) for name, usual in FAMILIES[kind].settings.items()}
    _check(path / "config.json", kind, config, settings)
    tokenizer = {TOKENIZER: tokenizer_in(path)}
    for name in BESIDE:
        with suppress(OSError):
            tokenizer[name] = (path / name).read_bytes()
    encoder = Encoder(title, kind, settings, _pooling(path), tokenizer, path)
    _check_vocabulary(path, encoder)
    return encoder


def _json(path: Path, what: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__}")
    except OSError as error:
        raise BadInput(f"{path.parent} has no {path.name}, {what}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is no JSON object: {error}") from error
    return content


def tokenizer_in(path: Path) -> bytes:
    """The tokenizer of a directory. BadInput if there is none."""
    try:
        return (path / TOKENIZER).read_bytes()
    except OSError as error:
        there = sorted(
            file.name for file in path.iterdir() if file.name.startswith(("vocab", "merges", "sentencepiece"))
        )
        hint = f" (it has {', '.join(there)})" if there else ""
        raise BadInput(
            f"{path} has no {TOKENIZER}{hint}: from_pretrained and save_pretrained of transformers.AutoTokenizer "
            "write one"
        ) from error


def _check(path: Path, kind: str, config: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    family = FAMILIES[kind]
    for name, usual in USUAL.items():
        if config.get(name, usual) != usual:
            raise BadInput(f"{path}: {name} is {config[name]}, and only {usual} is known here")
    for name, usual in family.settings.items():
        value = settings[name]
        counts = type(usual) is int
        if counts and (type(value) is not int or value < (0 if name in ("pad_token_id", "type_vocab_size") else 1)):
            raise BadInput(f"{path}: {name} is {value!r}, and must be a number of them")
        if isinstance(usual, float) and (type(value) not in (int, float) or not 0 <= value < 1):
            raise BadInput(f"{path}: {name} is {value!r}, and must be at least 0 and below 1")
    width, heads = settings[family.width], settings[family.heads]
    if width % heads:
        raise BadInput(f"{path}: {family.width} is {width}, which {heads} heads cannot share")


def _pooling(path: Path) -> str:
    """What the directory says of the pooling; without a word the library's own head takes the first token."""
    if not (path / POOLING).exists():
        return "first"
    told = _json(path / POOLING, "which says what becomes of the tokens")
    modes = [
        name.removeprefix("pooling_mode_")
        for name, on in told.items()
        if name.startswith("pooling_mode_") and on is True
    ]
    modes += [told["pooling_mode"]] if isinstance(told.get("pooling_mode"), str) else []
    known = {"mean_tokens": "mean", "mean": "mean", "cls_token": "first", "cls": "first"}
    if len(modes) != 1 or modes[0] not in known:
        raise BadInput(f"{path / POOLING} pools by {some(modes) or 'nothing'}; known are: mean_tokens, cls_token")
    return known[modes[0]]


# Vocabularies


def vocabulary(tokenizer: bytes, where: object) -> dict[str, int]:
    """The tokens of a tokenizer's file with their ids. BadInput if it is no tokenizer."""
    try:
        content = json.loads(tokenizer)
        tokens = content["model"]["vocab"]
        if isinstance(tokens, list):  # of a unigram model: with their logarithmic probabilities
            tokens = {token: number for number, (token, _) in enumerate(tokens)}
        return {**tokens, **{added["content"]: added["id"] for added in content.get("added_tokens") or []}}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{where}: {TOKENIZER} is no tokenizer: {type(error).__name__} {error}") from error


def _check_vocabulary(path: Path, encoder: Encoder) -> None:
    tokens = vocabulary(encoder.tokenizer[TOKENIZER], path)
    needs = 1 + max(tokens.values(), default=-1)
    if not 0 < needs <= encoder.vocabulary:
        raise BadInput(
            f"{path}: the tokenizer does not fit the weights: it has {needs} tokens, they have rows for "
            f"{encoder.vocabulary}"
        )
