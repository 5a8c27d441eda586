"""Encoders as they leave: directories that the libraries load with the same outputs."""

import json
from pathlib import Path

import pytest
import small_encoders
import torch
from safetensors.torch import load_file
from small_encoders import NUMBERS
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from yosinski.errors import BadInput
from yosinski.networks import build
from yosinski.networks.encoders.known import encoder_of
from yosinski.networks.tensors import fingerprint
from yosinski.networks.tokens import Tokens, around
from yosinski.pretrained import directories, outside

TEXTS = ["the dog", "sun moon tree leaf rain", "cat", "snow fish bird"]
TOLD = {"classes": ["animal", "plant", "weather"], "length": 24}


def exported(source: Path, out: Path) -> tuple[torch.nn.Sequential, Path]:
    """A network of three classes with random weights, and the directory that it is exported to."""
    network = build.build(f"hf:{source}", 3, 1, "test").eval()
    directories.save(encoder_of(f"hf:{source}"), network.state_dict(), TOLD, out)
    return network, out


@torch.no_grad()
def ours(network: torch.nn.Sequential, out: Path) -> torch.Tensor:
    """The outputs of our network for the texts as the exported tokenizer encodes them."""
    given = AutoTokenizer.from_pretrained(out)(TEXTS, padding=True, return_tensors="pt")
    texts = Tokens(given["input_ids"] * given["attention_mask"], given["attention_mask"].sum(1))
    with around(texts):
        return network(texts)


@pytest.mark.parametrize("kind", NUMBERS)
@torch.no_grad()
def test_with_the_library_s_head_it_is_loaded_as_a_classifier(kind: str, tmp_path: Path) -> None:
    network, out = exported(small_encoders.saved(tmp_path / "it", kind), tmp_path / "out")
    model, seen = AutoModelForSequenceClassification.from_pretrained(out, output_loading_info=True)
    assert not any(seen.values()), seen
    given = AutoTokenizer.from_pretrained(out)(TEXTS, padding=True, return_tensors="pt")
    given.pop("token_type_ids", None)
    expected = model.eval()(**given).logits
    torch.testing.assert_close(ours(network, out), expected, atol=1e-5, rtol=0)
    assert model.config.id2label == dict(enumerate(TOLD["classes"]))
    assert json.loads((out / directories.NOTE).read_text())["classes"] == TOLD["classes"]


@torch.no_grad()
def test_a_sentence_encoder_is_loaded_by_either_library(tmp_path: Path) -> None:
    source = small_encoders.averaged(small_encoders.saved(tmp_path / "it"))
    network, out = exported(source, tmp_path / "out")
    expected = ours(network, out)

    given = AutoTokenizer.from_pretrained(out)(TEXTS, padding=True, return_tensors="pt")
    given.pop("token_type_ids", None)
    there = given["attention_mask"][..., None]
    mean = (AutoModel.from_pretrained(out).eval()(**given).last_hidden_state * there).sum(1) / there.sum(1)
    head = load_file(out / "2_Dense" / "model.safetensors")
    by_hand = torch.nn.functional.linear(mean, head["linear.weight"], head["linear.bias"])
    torch.testing.assert_close(by_hand, expected, atol=1e-5, rtol=0)

    from sentence_transformers import SentenceTransformer

    encoded = SentenceTransformer(str(out), device="cpu", local_files_only=True).encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(torch.as_tensor(encoded), expected, atol=1e-5, rtol=0)


def test_what_is_exported_is_a_network_again_with_the_same_tensors(tmp_path: Path) -> None:
    for k, source in enumerate(small_encoders.saved(tmp_path / kind, kind) for kind in NUMBERS):
        network, out = exported(source, tmp_path / f"out{k}")
        assert encoder_of(f"hf:{out}").digest == encoder_of(f"hf:{source}").digest
        weights = outside.described(f"hf:{out}")
        assert (weights.head, weights.left_off, len(weights.classes)) == ("taken", (), 3)
        assert weights.hash == fingerprint(network.state_dict())


def test_only_an_export_is_replaced(tmp_path: Path) -> None:
    source = small_encoders.saved(tmp_path / "it")
    with pytest.raises(BadInput, match=r"leave out \.safetensors"):
        directories.check(tmp_path / "out.safetensors", force=False)
    directories.check(tmp_path / "v1.5", force=False)
    _, out = exported(source, tmp_path / "out")
    with pytest.raises(BadInput, match="is there already; --force replaces it"):
        directories.check(out, force=False)
    directories.check(out, force=True)
    with pytest.raises(BadInput, match=r"has no yosinski\.json, and is no directory that was exported"):
        directories.check(source, force=True)
    before = {file.name for file in out.iterdir()}
    exported(source, out)
    assert {file.name for file in out.iterdir()} == before
    assert {file.name for file in tmp_path.iterdir()} == {"it", "out"}
