"""Where weights lie in a checkpoint, which of them are taken, and what is said of the others."""

from pathlib import Path
from typing import Any

import pictures
import pytest
import torch
import torchvision

from yosinski.errors import BadInput
from yosinski.networks import build
from yosinski.pretrained import outside, weights
from yosinski.pretrained.source import PLACEHOLDERS, Source, Weights

Tensors = dict[str, torch.Tensor]
OWN, NETWORK = "alexnet32", "resnet18@32"
DRAWN = (-0.023990575224161148, -0.037841711193323135, -0.016527343541383743)  # the first three weights of such a head


@pytest.fixture(scope="module")
def state() -> Tensors:
    return dict(build.drawn(OWN, 6, 1, "kaiming", 1).state_dict())


@pytest.fixture(scope="module")
def resnet() -> Tensors:
    return dict(pictures.resnet18(7).state_dict())


def under(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def halved(tensors: Tensors) -> Tensors:
    return {name: tensor / 2 for name, tensor in tensors.items()}


def body(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name.split(".")[0] not in ("fc", "head")}


def read(value: Any, path: Path, behind: str = "", network: str = OWN) -> tuple[Weights, Tensors]:
    torch.save(value, path / "t.pth")
    return weights.read(network, Source.of(f"{path / 't.pth'}{behind}"))


# Where


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "model.",
        "backbone.",
        "net.encoder.",
        "student.module.backbone.",
        "_orig_mod.",
        "_orig_mod.net.",
    ],
)
@pytest.mark.parametrize("key", ["", "state_dict", "model_state_dict", "net", "checkpoint.net"])
def test_they_are_found_wherever_they_lie(tmp_path: Path, state: Tensors, prefix: str, key: str) -> None:
    value: Any = under(prefix, state)
    for part in reversed(key.split(".") if key else []):
        value = {part: value, "epoch": 3}
    found, tensors = read(value, tmp_path)
    assert found.half == read(state, tmp_path)[0].half
    assert all(torch.equal(tensors[name], tensor) for name, tensor in state.items())
    assert found.place == ".".join(part for part in (key, prefix.replace("_orig_mod.", "").rstrip(".")) if part)


def test_compiled_and_sharded_modules_are_called_as_if_they_were_none(tmp_path: Path, state: Tensors) -> None:
    renamed = {name.replace("conv2.", "conv2._orig_mod._checkpoint_wrapped_module."): t for name, t in state.items()}
    found = read(under("_fsdp_wrapped_module.", renamed), tmp_path)[0]
    assert (found.half, found.place) == (read(state, tmp_path)[0].half, "")


@pytest.mark.parametrize(
    ("plain", "averaged"),
    [
        ("model", "model_ema"),
        ("state_dict", "state_dict_ema"),
        ("net", "ema"),
        ("model_state_dict", "ema_state_dict"),
        ("student", "teacher"),
        ("online_network", "target_network"),
        ("base_encoder", "momentum_encoder"),
        ("net", "swa_net"),
    ],
)
def test_averages_are_taken_when_asked_for(tmp_path: Path, state: Tensors, plain: str, averaged: str) -> None:
    for value in ({averaged: halved(state), plain: state}, {plain: state, averaged: halved(state)}):
        found, tensors = read(value, tmp_path)
        assert (found.place, found.also) == (plain, (averaged,))
        assert torch.equal(tensors["fc6.linear.weight"], state["fc6.linear.weight"])
    found, tensors = read(value, tmp_path, f"#{averaged}")
    assert (found.place, found.also) == (averaged, (plain,))
    assert torch.equal(tensors["fc6.linear.weight"], state["fc6.linear.weight"] / 2)
    assert found.left_off == (f"{plain} (18 tensors)",)
    within = {"state_dict": {**under(f"{averaged}.", halved(state)), **under(f"{plain}.", state)}}
    assert read(within, tmp_path)[0].place == f"state_dict.{plain}"
    assert read(within, tmp_path, f"#state_dict.{averaged}")[0].hash == found.hash


def test_of_several_the_order_is_that_which_is_written(tmp_path: Path, state: Tensors) -> None:
    value = {
        "anything": {"deep": state},
        "other": state,
        "model": state,
        "model_state_dict": state,
        "state_dict": state,
    }
    for name in ("state_dict", "model_state_dict", "model", "other", "anything.deep"):
        assert read(value, tmp_path)[0].place == name
        del value[name.split(".")[0]]
    assert read({"backbone": body(state), "whole": state}, tmp_path)[0].place == "whole"
    larger = {**state, "conv2.conv.bias": torch.ones(50)}
    assert read({"model": larger, "net": state}, tmp_path)[0].place == "net"


def test_a_key_that_leads_nowhere_is_refused_with_those_that_do(tmp_path: Path, state: Tensors) -> None:
    value = {"model": state, "model_ema": state, "optimizer": {"state": [torch.ones(3)]}}
    for key in ("ema", "optimizer", "model.conv1"):
        with pytest.raises(BadInput, match=rf"t.pth#{key}: no weights at '{key}'; choose from: model, model_ema$"):
            read(value, tmp_path, f"#{key}")
    with pytest.raises(BadInput, match="no weights at 'model'; leave it out"):
        read(state, tmp_path, "#model")
    with pytest.raises(BadInput, match="no weights at 'model'; choose from: a, b"):
        read({"a": torch.ones(1), "b": torch.ones(1)}, tmp_path, "#model")
    with pytest.raises(BadInput, match=r"missing: fc7.linear.bias"):
        read({"a": {name: t for name, t in state.items() if name != "fc7.linear.bias"}}, tmp_path, "#a")


def test_other_names_of_the_same_shapes_are_noticed(tmp_path: Path, state: Tensors) -> None:
    for renamed in (state, body(state), {**state, "head.weight": torch.ones(9, 9)}):
        with pytest.raises(BadInput, match=r"missing: .*; unexpected: .*; yet all shapes are the network's, in its"):
            read(under("_", renamed), tmp_path)
    with pytest.raises(BadInput, match=r"missing: conv1.conv.bias, .*; unexpected: _conv1.conv.bias, [^;]*$"):
        read(dict(reversed(under("_", state).items())), tmp_path)


# The head


def test_of_moco_the_encoder_of_queries_is_taken(tmp_path: Path, resnet: Tensors) -> None:
    pairs = {f"module.encoder_{x}.fc.{k}.weight": torch.zeros(9, 512) for x in "kq" for k in (0, 2)}
    encoders = {**under("module.encoder_k.", body(resnet)), **under("module.encoder_q.", body(resnet)), **pairs}
    value = {"epoch": 200, "arch": "resnet18", "state_dict": {**encoders, "module.queue": torch.zeros(9, 5)}}
    found, tensors = read(value, tmp_path, network=NETWORK)
    assert (found.place, found.also) == ("state_dict.module.encoder_q", ("state_dict.module.encoder_k",))
    assert found.head == "not taken: fc.0.weight, fc.2.weight instead of fc.weight, fc.bias"
    assert found.left_off == ("encoder_k (122 tensors)", "queue (1 tensor)")
    assert found.classes == PLACEHOLDERS
    assert torch.equal(tensors["layer4/1.layer4.1.conv2.weight"], resnet["layer4.1.conv2.weight"])
    assert tensors["head.fc.weight"].shape == (2, 512)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ({}, "no fc.weight, fc.bias"),
        ({"fc.bias": torch.zeros(7)}, "no fc.weight"),
        ({"fc.weight": torch.zeros(7, 512)}, "no fc.bias"),
        ({"fc.weight": torch.zeros(1, 512), "fc.bias": torch.zeros(1)}, "1 output, and a base needs two"),
        ({"fc.weight": torch.zeros(7, 100), "fc.bias": torch.zeros(7)}, "fc.weight is 7 x 100"),
        ({"fc.weight": torch.zeros(5, 512), "fc.bias": torch.zeros(7)}, "fc.weight is 5 x 512"),
        ({f"fc.{k}.weight": torch.zeros(7, 512) for k in range(5)}, "fc.0.weight, fc.1.weight, fc.2.weight and 2 more"),
        ({"fc.weight": torch.zeros(7, 512).long(), "fc.bias": torch.zeros(7)}, "fc.weight is int64"),
        ({"fc.weight": torch.zeros(7, 512, device="meta"), "fc.bias": torch.zeros(7)}, "fc.weight is on the meta"),
    ],
)
def test_a_head_that_does_not_fit_is_drawn(tmp_path: Path, resnet: Tensors, head: Tensors, why: str) -> None:
    found, tensors = read({**body(resnet), **head}, tmp_path, network=NETWORK)
    assert found.head.startswith(f"not taken: {why}")
    assert (found.classes, found.left_off) == (PLACEHOLDERS, ())
    assert outside.base(NETWORK, found).outputs == 2
    drawn = tensors["head.fc.weight"]  # as in every other process: it is part of the base's id
    assert tuple(drawn.flatten()[:3].tolist()) == DRAWN
    assert drawn.abs().max() == pytest.approx(512**-0.5, rel=0.01)


def test_a_head_behind_layers_of_its_list_is_known(tmp_path: Path) -> None:
    network = "mobilenet_v3_small@64"  # classifier.0 lies below the last cut
    state = torchvision.models.mobilenet_v3_small(num_classes=7).state_dict()
    found = read({**state, "classifier.5.weight": torch.ones(7, 7)}, tmp_path, network=network)[0]
    assert (found.head, len(found.classes)) == ("taken", 7)
    two = {name: tensor for name, tensor in state.items() if not name.startswith("classifier.3")}
    found = read({**two, "classifier.3.0.weight": torch.ones(7, 7)}, tmp_path, network=network)[0]
    assert found.head == "not taken: classifier.3.0.weight instead of classifier.3.weight, classifier.3.bias"
    with pytest.raises(BadInput, match=r"unexpected: classifier.2.weight"):
        read({**state, "classifier.2.weight": torch.ones(7)}, tmp_path, network=network)


def test_what_other_networks_have_below_the_head_is_unexpected(tmp_path: Path, resnet: Tensors) -> None:
    for name in ("conv1.bias", "layer1.0.se.fc.weight", "layer4.2.conv1.weight"):
        with pytest.raises(BadInput, match=f"does not fit {NETWORK}; unexpected: {name}$"):
            read({**resnet, name: torch.ones(64)}, tmp_path, network=NETWORK)
    found = read(
        {**resnet, "neck.weight": torch.ones(64), "criterion.weight": torch.ones(7)}, tmp_path, network=NETWORK
    )
    assert found[0].left_off == ("neck (1 tensor)", "criterion (1 tensor)")


# The image's channels


def shown(tensors: Tensors, images: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.conv2d(images, tensors["conv1.conv1.weight"], stride=2)


def test_one_channel_is_refused_and_taken_as_grey(tmp_path: Path, resnet: Tensors) -> None:
    grey = {**resnet, "conv1.weight": torch.rand(64, 1, 7, 7)}
    with pytest.raises(BadInput, match=r"conv1.weight takes 1 channel, the network red, .*; :channels=grey behind"):
        read(grey, tmp_path, network=NETWORK)
    found, tensors = read(grey, tmp_path, ":channels=grey", NETWORK)
    assert found.changed == ("conv1.weight of 1 channel(s) as grey",)
    assert found.source.endswith("t.pth:channels=grey")
    images = torch.rand(2, 3, 32, 32)
    as_it_did = torch.nn.functional.conv2d(images.mean(1, keepdim=True), grey["conv1.weight"], stride=2)
    torch.testing.assert_close(shown(tensors, images), as_it_did)
    with pytest.raises(BadInput, match="cannot be red, green and blue: channels=grey"):
        read(grey, tmp_path, ":channels=rgb", NETWORK)


def test_four_channels_are_taken_as_rgb_or_grey(tmp_path: Path, resnet: Tensors) -> None:
    weight = torch.rand(64, 4, 7, 7)
    four = {"model": {**resnet, "conv1.weight": weight}}
    with pytest.raises(BadInput, match=r"takes 4 channels, .* for each colour, channels=rgb the first three"):
        read(four, tmp_path, network=NETWORK)
    images = torch.rand(2, 3, 32, 32)
    tensors = read(four, tmp_path, "#model:channels=rgb:0.5,0.5,0.5:1,1,1", NETWORK)[1]
    opaque = torch.cat([images, torch.zeros(2, 1, 32, 32)], 1)
    torch.testing.assert_close(shown(tensors, images), torch.nn.functional.conv2d(opaque, weight, stride=2))
    tensors = read(four, tmp_path, "#model:channels=grey", NETWORK)[1]
    same = images.mean(1, keepdim=True).expand(-1, 4, -1, -1)
    torch.testing.assert_close(shown(tensors, images), torch.nn.functional.conv2d(same, weight, stride=2))
    with pytest.raises(BadInput, match="takes 3 channels, as the network does: leave out channels=rgb"):
        read(resnet, tmp_path, ":channels=rgb", NETWORK)


# The numbers


def test_numbers_that_are_none_are_refused_by_name(tmp_path: Path, state: Tensors) -> None:
    def with_(**values: Any) -> Tensors:
        return {**state, **{name.replace("_", "."): value for name, value in values.items()}}

    bias = state["conv2.conv.bias"]
    for value in (torch.nan, torch.inf, -torch.inf):
        with pytest.raises(BadInput, match=r"t.pth holds NaN or infinity in conv2.conv.bias, head.bias$"):
            read(with_(conv2_conv_bias=bias + value, head_bias=torch.ones(6) * value), tmp_path)
    with pytest.raises(BadInput, match=r"holds NaN or infinity in conv2.conv.bias"):
        read(with_(conv2_conv_bias=bias.double() + 1e300), tmp_path)
    for tensor, what in (
        (bias.long(), "int64"),
        (bias.to(torch.complex64), "complex64"),
        (torch.quantize_per_tensor(bias, 0.1, 0, torch.qint8), "quantised"),
        (torch.empty(32, device="meta"), "on the meta device, without numbers"),
    ):
        with pytest.raises(BadInput, match=rf"no floating-point numbers: conv2.conv.bias \({what}\)"):
            read(with_(conv2_conv_bias=tensor), tmp_path)


def test_other_types_and_layouts_become_dense_float32(tmp_path: Path, state: Tensors) -> None:
    for kind, type_name in ((torch.float16, "float16"), (torch.bfloat16, "bfloat16"), (torch.float64, "float64")):
        found, tensors = read({name: tensor.to(kind) for name, tensor in state.items()}, tmp_path)
        assert found.changed == (f"{type_name} to float32",)
        assert all(torch.equal(tensors[name], tensor.to(kind).float()) for name, tensor in state.items())
    pruned = {**state, "fc6.linear.weight": torch.eye(*state["fc6.linear.weight"].shape)}
    sparse = {**pruned, "fc6.linear.weight": pruned["fc6.linear.weight"].to_sparse()}
    assert read(sparse, tmp_path)[0].half == read(pruned, tmp_path)[0].half


def test_variances_below_zero_are_refused_by_name(tmp_path: Path) -> None:
    state = torchvision.models.resnet18(num_classes=3).state_dict()
    state["bn1.running_var"] = -state["bn1.running_var"]
    torch.save(state, tmp_path / "t.pth")
    with pytest.raises(BadInput, match=r"t.pth holds variances below zero in bn1.running_var$"):
        weights.read("resnet18@32", Source.of(str(tmp_path / "t.pth")))
