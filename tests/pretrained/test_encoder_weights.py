"""Weights of encoders on their way in: directories as transformers saves them, and what does not fit."""

import shutil
from pathlib import Path

import pytest
import small_encoders
import torch
from safetensors.torch import load_file, save_file

from yosinski.errors import BadInput
from yosinski.prediction import ranking
from yosinski.pretrained import outside, weights
from yosinski.pretrained.source import Source


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return small_encoders.saved(tmp_path / "it")


def test_the_default_are_the_weights_of_the_directory(encoder: Path) -> None:
    described = outside.described(f"hf:{encoder}")
    assert described.source == str(encoder / "model.safetensors")
    assert described == outside.described(f"hf:{encoder}", str(encoder))
    assert described == outside.described(f"hf:{encoder}", str(encoder / "model.safetensors"))
    assert described.preprocessing is None
    assert described.head.startswith("not taken: no classifier.weight")
    (line,) = outside.notes([outside.base(f"hf:{encoder}", described)])[:1]
    assert line.startswith(f"outsideW: {encoder}/model.safetensors, 2 placeholder classes; head not taken")


def test_a_base_from_a_directory_can_be_looked_at(encoder: Path, tmp_path: Path) -> None:
    base = outside.base(f"hf:{encoder}", outside.described(f"hf:{encoder}"))
    outside.bring(base, tmp_path / "runs")
    looked_at = ranking.base(base, tmp_path / "runs")
    assert looked_at.untrained is None
    assert len(looked_at.trained) == len(base.cuts) + 1


def test_names_of_all_times_and_heads_are_known(encoder: Path, tmp_path: Path) -> None:
    """As TensorFlow called them, beneath a head of another kind, in several files, with positions that are computed."""
    tensors = load_file(encoder / "model.safetensors")
    expected = weights.read(f"hf:{encoder}", Source.of(str(encoder)))[1]
    below = {name for name in expected if not name.startswith("head.")}

    def same(path: Path) -> None:
        read = weights.read(f"hf:{encoder}", Source.of(str(path)))[1]
        assert all(torch.equal(read[name], expected[name]) for name in below)

    old = {"gamma": "LayerNorm.weight", "beta": "LayerNorm.bias"}
    renamed = {}
    for name, tensor in tensors.items():
        for late, early in old.items():
            name = name.replace(early, f"LayerNorm.{late}")
        renamed[f"bert.{name}"] = tensor
    renamed["bert.embeddings.position_ids"] = torch.arange(24)[None]
    renamed["cls.predictions.bias"] = torch.zeros(20)
    save_file(renamed, tmp_path / "old.safetensors")
    same(tmp_path / "old.safetensors")
    save_file({name: tensor.half() for name, tensor in tensors.items()}, tmp_path / "half.safetensors")
    assert outside.described(f"hf:{encoder}", str(tmp_path / "half.safetensors")).changed == ("float16 to float32",)

    from transformers import AutoModel

    AutoModel.from_pretrained(encoder).save_pretrained(tmp_path / "sharded", max_shard_size="4KB")
    assert (tmp_path / "sharded" / "model.safetensors.index.json").exists()
    same(tmp_path / "sharded")


def test_a_head_that_fits_is_taken(tmp_path: Path) -> None:
    path = small_encoders.saved(tmp_path / "it", "distilbert", headed=True, outputs=4)
    described, tensors = weights.read(f"hf:{path}", Source.of(str(path)))
    assert (described.head, len(described.classes)) == ("taken", 4)
    assert torch.equal(tensors["head.classifier.bias"], load_file(path / "model.safetensors")["classifier.bias"])


def test_what_does_not_fit_is_said_in_one_line(encoder: Path, tmp_path: Path) -> None:
    def refused(text: object, network: str = f"hf:{encoder}") -> str:
        with pytest.raises(BadInput) as error:
            outside.described(network, str(text))
        assert "\n" not in str(error.value)
        return str(error.value)

    bare = tmp_path / "bare"
    shutil.copytree(encoder, bare)
    (bare / "model.safetensors").rename(bare / "pytorch_model.bin")
    assert "has no model.safetensors; what it has (pytorch_model.bin) is not read" in refused(bare)
    assert "has no model.safetensors" in refused("", f"hf:{bare}")
    deeper = small_encoders.saved(tmp_path / "deeper", num_hidden_layers=4)
    assert "does not fit hf:it#" in refused(deeper)
    assert "unexpected: encoder.layer.3." in refused(deeper)
    larger = small_encoders.saved(tmp_path / "larger", vocab_size=31)
    assert "embeddings.word_embeddings.weight (31 x 16 for 20 x 16)" in refused(larger)
    assert "reads texts, and has neither channels nor a mean of pixels" in refused(
        f"{bare}/pytorch_model.bin:channels=grey"
    )
    assert "names no weights of hf:it#" in refused("torchvision:IMAGENET1K_V1")
    other = small_encoders.saved(tmp_path / "other", "distilbert")
    assert "does not fit" in refused(other)
