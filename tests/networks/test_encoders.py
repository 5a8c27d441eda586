"""Encoders of transformers as segments: equal to the library's, and described without it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import small_encoders
import torch
from small_encoders import NUMBERS
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from yosinski.errors import BadInput
from yosinski.networks import build, catalogue
from yosinski.networks.encoders import known
from yosinski.networks.encoders.encoder import FAMILIES, Encoder
from yosinski.networks.layers import Dropout, Masks, dropping
from yosinski.networks.tokens import Tokens, around
from yosinski.pretrained import outside, weights
from yosinski.pretrained.source import Source

IDS = torch.tensor([[2, 7, 9, 3, 0, 0, 0], [2, 5, 6, 7, 8, 9, 3], [2, 3, 0, 0, 0, 0, 0]])
TEXTS = Tokens(IDS, torch.tensor([4, 7, 2]))


def as_the_library_has_them(texts: Tokens, padding: int) -> dict[str, torch.Tensor]:
    """The same batch for the library's models: its own id where there is no token, and the mask."""
    return {"input_ids": texts.ids.masked_fill(~texts.mask, padding), "attention_mask": texts.mask.long()}


def loaded(path: Path) -> torch.nn.Sequential:
    """The segmented network with the weights of a directory."""
    network = f"hf:{path}"
    tensors = weights.read(network, Source.of(str(path)))[1]
    built = build.build(network, len(list(tensors.values())[-1]))
    built.load_state_dict(tensors)
    return built.eval()


def output(network: torch.nn.Sequential, texts: Tokens = TEXTS) -> torch.Tensor:
    with torch.no_grad(), around(texts):
        return network(texts)


@pytest.mark.parametrize("kind", NUMBERS)
def test_with_a_head_outputs_are_the_library_s(kind: str, tmp_path: Path) -> None:
    path = small_encoders.saved(tmp_path / "it", kind, headed=True, outputs=5)
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    with torch.no_grad():
        expected = model(**as_the_library_has_them(TEXTS, model.config.pad_token_id)).logits
    network = loaded(path)
    torch.testing.assert_close(output(network), expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.1
    # what stands behind the end of a text changes nothing
    torch.testing.assert_close(output(network, TEXTS._replace(ids=IDS + 4 * ~TEXTS.mask)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", NUMBERS)
def test_every_block_gives_what_the_library_s_gives(kind: str, tmp_path: Path) -> None:
    path = small_encoders.saved(tmp_path / "it", kind)
    model = AutoModel.from_pretrained(path).eval()
    network, there = loaded(path), TEXTS.mask
    with torch.no_grad(), around(TEXTS):
        batch = as_the_library_has_them(TEXTS, model.config.pad_token_id)
        expected = model(**batch, output_hidden_states=True).hidden_states
        features: Any = TEXTS
        for segment, those in zip(network[:-1], expected, strict=True):
            features = segment(features)
            torch.testing.assert_close(features[there], those[there], atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("kind", NUMBERS)
def test_parameters_fall_into_segments_and_are_counted_without_the_library(
    kind: str, pooling: str, tmp_path: Path
) -> None:
    path = small_encoders.saved(tmp_path / "it", kind)
    if pooling == "mean":
        small_encoders.averaged(path)
    network, described = build.build(f"hf:{path}", 7), catalogue.architecture(f"hf:{path}")
    assert isinstance(described, Encoder)
    assert [name for name, _ in network.named_children()] == [
        *(cut.replace(".", "/") for cut in described.cuts),
        "head",
    ]
    rows = described.costs(7, 6)
    counted = [sum(parameter.numel() for parameter in segment.parameters()) for segment in network]
    assert [row.parameters for row in rows] == counted
    model = (AutoModelForSequenceClassification if pooling == "first" else AutoModel).from_config(
        AutoConfig.for_model(kind, **NUMBERS[kind], num_labels=7)
    )
    names = {described.without_base(name) for name in model.state_dict() if not name.startswith("pooler.")}
    plain = {described.plain(name) for name in network.state_dict()}
    assert plain == names | ({"classifier.weight", "classifier.bias"} if pooling == "mean" else set())
    assert {row.shape for row in rows[:-1]} == {(6, 16)}


def test_flops_are_those_of_the_products(tmp_path: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    for pooling, kind in enumerate(NUMBERS):
        path = small_encoders.saved(tmp_path / kind, kind)
        if pooling % 2:
            small_encoders.averaged(path)
        network, described = build.build(f"hf:{path}", 7), catalogue.architecture(f"hf:{path}")
        assert isinstance(described, Encoder)
        features: Any = TEXTS
        with around(TEXTS):
            for row, segment in zip(described.costs(7, IDS.shape[1]), network, strict=True):
                with FlopCounterMode(display=False) as counted:
                    features = segment(features)
                assert counted.get_total_flops() == row.flops * len(IDS), (kind, row.name)


@pytest.mark.parametrize("kind", FAMILIES)
def test_settings_that_a_file_leaves_out_are_the_library_s(kind: str) -> None:
    config = AutoConfig.for_model(kind)
    assert {name: getattr(config, name) for name in FAMILIES[kind].settings} == FAMILIES[kind].settings


def test_dropout_is_drawn_by_counter_everywhere(tmp_path: Path) -> None:
    for kind in NUMBERS:
        network = build.build(f"hf:{small_encoders.saved(tmp_path / kind, kind)}", 3).train()
        modules = dict(network.named_modules())
        assert not [name for name, module in modules.items() if isinstance(module, torch.nn.Dropout)]
        layers = [module.layer for module in modules.values() if isinstance(module, Dropout)]
        assert len(layers) == len(set(layers)) == (3 * 2 + 2 if kind == "distilbert" else 3 * 3 + 2)
        quiet = output(network)
        with dropping(Masks(1)):
            first = output(network)
            masks = Masks(1)
        with dropping(masks):
            assert torch.equal(output(network), first)
        assert set(masks.drawn) == set(layers)
        assert torch.equal(output(network), quiet)
        assert not torch.allclose(first, quiet, atol=1e-3)


def test_weights_of_scratch_come_from_their_key_alone(tmp_path: Path) -> None:
    network = f"hf:{small_encoders.saved(tmp_path / 'it')}"
    first, again, other = (build.drawn(network, 3, 1, "own", *key).state_dict() for key in [("a",), ("a",), ("b",)])
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not torch.equal(first["embeddings.word_embeddings.weight"], other["embeddings.word_embeddings.weight"])


def test_masks_drawn_ahead_for_texts_of_another_length_are_drawn_anew(tmp_path: Path) -> None:
    network = build.build(f"hf:{small_encoders.saved(tmp_path / 'it')}", 3).train()
    shorter = Tokens(IDS[:, :5], TEXTS.lengths.clamp(max=5))
    with dropping(before := Masks(1)):
        output(network)
    with dropping(alone := Masks(2)):
        expected = output(network, shorter)
    (ahead := Masks(2)).draw_like(before)
    with dropping(ahead):
        assert torch.equal(output(network, shorter), expected)
    assert {name: mask.shape for name, mask in ahead.drawn.items()} == {
        name: mask.shape for name, mask in alone.drawn.items()
    }


# Identity


def test_what_the_network_is_does_not_depend_on_where_it_lies_or_on_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "_known", {})
    here = small_encoders.saved(tmp_path / "here")
    there = small_encoders.saved(tmp_path / "there" / "other", headed=True, outputs=9)
    one, other = (catalogue.identity_of(f"hf:{path}") for path in (here, there))
    assert one == other
    assert {catalogue.name_of(f"hf:{path}") for path in (here, there)} == {f"hf:here#{one[-16:-8]}"}
    assert outside.described(f"hf:{here}").hash != outside.described(f"hf:{there}").hash  # each its own weights
    assert catalogue.identity_of(catalogue.name_of(f"hf:{here}")) == one
    wider = small_encoders.saved(tmp_path / "wider", intermediate_size=32)
    assert catalogue.identity_of(f"hf:{wider}") != one
    small_encoders.tokenizer(there, words=[*small_encoders.WORDS, "more"])
    assert catalogue.identity_of(f"hf:{there}") != one
    small_encoders.averaged(here)
    assert catalogue.identity_of(f"hf:{here}") != one


def test_it_is_read_again_from_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = f"hf:{small_encoders.saved(tmp_path / 'it', 'roberta')}"
    identity, costs = catalogue.identity_of(network), catalogue.architecture(network).costs(3)
    catalogue.keep(tmp_path / "runs", network)
    monkeypatch.setattr(known, "_known", {})
    with pytest.raises(BadInput, match="give the path of its directory, or its --runs"):
        catalogue.architecture(identity)
    assert catalogue.read(tmp_path / "runs", identity) == catalogue.name_of(identity)
    assert catalogue.architecture(identity).costs(3) == costs
    assert catalogue.kept(tmp_path / "runs") == [catalogue.name_of(identity)]
    note = next((tmp_path / "runs").glob("networks/*/tokenizer.json"))
    note.write_bytes(note.read_bytes().replace(b"dog", b"god"))
    with pytest.raises(BadInput, match=r"encoder\.json"):
        catalogue.read(tmp_path / "runs", identity)


def test_runs_that_know_an_encoder_do_not_hide_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second command on the same sweep reads the runs first; weights and tokens still come from the directory."""
    path = small_encoders.saved(tmp_path / "it")
    catalogue.keep(tmp_path / "runs", f"hf:{path}")
    monkeypatch.setattr(known, "_known", {})
    monkeypatch.setattr(known, "_read", {})
    catalogue.read_all(tmp_path / "runs")
    name = catalogue.name_of(f"hf:{path}")
    assert catalogue.tokens_of(name) == path
    assert outside.described(name).hash == outside.described(f"hf:{path}").hash


def test_descriptions_load_neither_torch_nor_transformers(tmp_path: Path) -> None:
    path = small_encoders.saved(tmp_path / "it")
    program = (
        "import sys; from yosinski.networks.catalogue import architecture; "
        f"print(len(architecture('hf:{path}').costs(5)), {{'torch', 'transformers'}} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "5 set()\n"


# Bad input


def test_settings_of_which_the_library_makes_no_network_are_said_in_one_line(tmp_path: Path) -> None:
    path = small_encoders.saved(tmp_path / "it")
    config = (path / "config.json").read_text()
    assert '"hidden_act": "gelu"' in config
    (path / "config.json").write_text(config.replace('"hidden_act": "gelu"', '"hidden_act": "cubic"'))
    with pytest.raises(BadInput, match=r"^hf:it#.*makes no network of its settings: KeyError.'cubic'.$"):
        build.build(f"hf:{path}", 2)


def test_what_is_no_network_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(text: str, **content: Any) -> str:
        with pytest.raises(BadInput) as error:
            catalogue.architecture(text)
        assert "\n" not in str(error.value)
        return str(error.value)

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert "no directory" in refused(f"hf:{tmp_path}/nowhere")
    said = refused("hf:sentence-transformers/nothing")
    assert "the local cache of the hub, has no sentence-transformers/nothing: nothing is downloaded" in said
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in refused(f"hf:{tmp_path}/empty")
    (tmp_path / "file").touch()
    assert "is a file" in refused(f"hf:{tmp_path}/file")

    path = small_encoders.saved(tmp_path / "it")
    config = (path / "config.json").read_text()

    def changed(old: str, new: str) -> str:
        assert old in config
        (path / "config.json").write_text(config.replace(old, new))
        said = refused(f"hf:{path}")
        (path / "config.json").write_text(config)
        return said

    assert "is of albert; known are: bert, roberta" in changed('"model_type": "bert"', '"model_type": "albert"')
    assert "is of ['bert']; known are: bert, roberta" in changed('"model_type": "bert"', '"model_type": ["bert"]')
    assert "it has 17 tokens, they have rows for 16" in changed('"vocab_size": 20', '"vocab_size": 16')
    assert "hidden_size is 15, which 2 heads cannot share" in changed('"hidden_size": 16', '"hidden_size": 15')
    assert "vocab_size is 'x'" in changed('"vocab_size": 20', '"vocab_size": "x"')
    assert "is no JSON object" in changed(config, config[:-9])
    assert "is_decoder is True" in changed('"is_decoder": false', '"is_decoder": true')
    (path / "tokenizer.json").rename(tmp_path / "away")
    assert "has no tokenizer.json" in refused(f"hf:{path}")
    (path / "tokenizer.json").write_text("{}")
    assert "is no tokenizer" in refused(f"hf:{path}")
