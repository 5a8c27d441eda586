"""Networks of somebody's own as segments: what they compute, what is refused, and models of transformers."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from own_files import BLOCK, difference, plain, put
from torch import nn

from yosinski.cli.main import main
from yosinski.errors import BadInput
from yosinski.networks import catalogue
from yosinski.networks.build import build, drawn
from yosinski.networks.catalogue import architecture
from yosinski.networks.tensors import fingerprint

pytestmark = pytest.mark.usefixtures("alone")


# What it computes

USES = {
    "its size": {"before": "b, c, h, w = x.shape\n        assert c == 3 and h % 8 == 0", "last": "x = x.view(b, -1)"},
    "a multiple of the batch": {"between": "b = x.size(0); x = x.reshape(b * 4, 2, 16, 16).reshape(b, 8, 16, 16)"},
    "a view": {"after": "x = x.view(x.shape[0], 8, -1).view(x.size(0), 8, 16, 16)"},
    "writing into what it is given": {"between": "y = x; x = self.second(x); x += y; y.mul_(0.5); x = x + y"},
    "assignment": {"between": "x[:, 0] = 0"},
    "new tensors": {"between": "y = torch.zeros(len(x), 8, 16, 16); y[:, :4] = x[:, :4]; x = x + y"},
    "constants": {
        "init": "self.c = torch.ones(8, 1, 1)",
        "between": "x = x * self.c + torch.arange(16, device=x.device)",
    },
    "dropout": {
        "between": "x = F.dropout(x, 0.1, self.training)",
        "init": "self.drop = nn.Dropout(0.1)",
        "after": "x = self.drop(x)",
    },
    "batch norm": {"init": "self.bn = nn.BatchNorm2d(8)", "between": "x = self.bn(x)"},
    "computed weights": {
        "after": "w = self.second.weight; x = F.conv2d(x, w - w.mean((1, 2, 3), keepdim=True), padding=1)"
    },
    "weight norm": {"init": "self.second = nn.utils.parametrizations.weight_norm(self.second)"},
    "attention": {
        "init": "self.attend = nn.MultiheadAttention(8, 2, batch_first=True)",
        "between": "t = x.flatten(2).mT; x = x + self.attend(t, t, t)[0].mT.reshape(x.shape)",
    },
    "checkpoints": {
        "before": "from torch.utils.checkpoint import checkpoint",
        "between": "x = checkpoint(self.second, x, use_reentrant=False)",
    },
    "a layer twice": {"between": "x = self.second(x)"},
    "a layer under two names": {"init": "self.again = self.second", "between": "x = self.again(x)"},
    "what it does not use": {"init": "self.unused = nn.Linear(2, 2)"},
    "the name of the head": {"init": "self.head = nn.Conv2d(8, 8, 1)", "after": "x = self.head(x)"},
    "drop paths": {
        "init": "from torchvision.ops import StochasticDepth; self.path = StochasticDepth(0.2, 'row')",
        "after": "x = x + self.path(x)",
    },
}


@pytest.mark.parametrize("use", USES)
def test_head_and_tail_are_the_whole(use: str, tmp_path: Path) -> None:
    assert difference(f"{put(tmp_path, plain(**USES[use]))}:build@16") < 1e-5


def test_einops_can_be_used(tmp_path: Path) -> None:
    pytest.importorskip("einops")
    lines = {
        "init": "from einops.layers.torch import Rearrange; self.turned = Rearrange('b c h w -> b h w c')",
        "before": "from einops import rearrange, reduce",
        "between": "x = rearrange(self.turned(x), 'b h w c -> b c h w')",
        "after": "x = rearrange(x, 'b c h w -> b (h w) c'); x = rearrange(x, 'b (h w) c -> b c h w', h=16)",
    }
    path = put(tmp_path, plain(**lines))
    assert architecture(f"{path}:build@16").cuts == ("first", "second")
    assert difference(f"{path}:build@16") < 1e-5


def test_blocks_are_not_cut_within_and_stacks_are(tmp_path: Path) -> None:
    source = BLOCK.format(activation="relu") + plain(
        init="self.body = nn.ModuleDict({'deep': nn.Sequential(Block(8), Block(8))})",
        between="b = x.shape[0]; x = self.body['deep'](x).reshape(b, 8, 16, 16)",
    )
    network = f"{put(tmp_path, source)}:build@16"
    assert architecture(network).cuts == ("first", "body.deep.0", "body.deep.1", "second")


def test_weights_depend_on_the_key_alone(tmp_path: Path) -> None:
    lines = (
        "import random, numpy; self.scale = nn.Parameter(torch.full((8, 1, 1), random.random() + numpy.random.rand()))"
    )
    network = f"{put(tmp_path, plain(init=lines, between='x = x * self.scale'))}:build@16"
    key = (0, "base", "f00d")

    def tensors(*key: str | int) -> dict[str, torch.Tensor]:
        for stir in (torch.rand, random.betavariate, np.random.rand):
            stir(1, 1)
        return drawn(network, 3, 1, "own", *key).state_dict()

    states = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    one = drawn(network, 3, 1, "own", *key).state_dict()
    assert random.getstate() == states[0]
    assert str(np.random.get_state()) == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert fingerprint(one) == fingerprint(tensors(*key))
    other = tensors(1, *key[1:])
    changed = {name for name in one if not torch.equal(one[name], other[name])}
    assert changed == {name for name in one if "standardise" not in name}


def test_convolutions_have_their_channels_last(tmp_path: Path) -> None:
    five = {"init": "self.five = nn.Parameter(torch.ones(1, 1, 1, 1, 1))", "between": "x = x * self.five.mean()"}
    network = build(f"{put(tmp_path, plain(**five))}:build@16", 3)
    assert network.get_parameter("first.first.weight").is_contiguous(memory_format=torch.channels_last)


# What is refused

FAULTS = {
    "is no Python": ("def build(num_classes:", r"cannot be loaded: SyntaxError: .*\(net.py, line 1: def build"),
    "fails when it is loaded": ("x = 1\ny = 1 / 0\n", r"ZeroDivisionError: .* \(net.py, line 2: y = 1 / 0\)"),
    "ends Python": ("import sys\nsys.exit(3)", r"SystemExit: 3 \(net.py, line 2: sys.exit\(3\)\)"),
    "lacks a package": ("import no_such_package", r"No module named 'no_such_package' \(net.py, line 1"),
    "lacks the function": ("def other(num_classes): pass", "no function or class 'build'; it has: other"),
    "takes other arguments": ("def build(classes): pass", "build takes no num_classes, .*; it takes: classes"),
    "takes more arguments": ("def build(num_classes, width): pass", "needs width, too"),
    "makes no module": ("def build(num_classes): return [num_classes]", "returns a list, not a torch.nn.Module"),
    "makes a class": ("from torch import nn\ndef build(num_classes): return nn.ReLU", "returns a type"),
    "fails when it is called": (
        plain(init="raise RuntimeError('no such width')"),
        r"makes no network: RuntimeError: no such width \(net.py, line \d+: raise RuntimeError",
    ),
    "has another head": (
        plain().replace("nn.Linear(8, num_classes)", "nn.Linear(8, 10)"),
        "gives 10 numbers for every",
    ),
    "gives a map": (plain(last="x = x[:, :, None]"), "gives 1009 x 1 numbers"),
    "gives several": (plain(last="return x, x"), r"it gives a tuple, not one tensor .*\(net.py, line \d+"),
    "gives a dictionary": (plain(last="return {'out': x}"), "it gives a dict, not one tensor"),
    "wants other channels": (
        plain().replace("nn.Conv2d(3, 8,", "nn.Conv2d(1, 8,"),
        r"3 x 16 x 16 pixels: .*\(in first, net.py",
    ),
    "wants other sizes": (
        plain(after="x = x.reshape(-1, 8, 9, 9)"),
        r"16 x 16 pixels: .*\(net.py, line \d+: x = x.reshape",
    ),
    "looks at the images": (
        plain(between="x = x if x.sum() > 0 else -x"),
        r"the values of the images.*\(net.py, line \d+: x = x if",
    ),
    "reads numbers": (plain(between="x = x * x.max().item()"), "depends on the values of the images"),
    "counts the images": (plain(between="x = x if len(x) == 2 else -x"), "depends on the number of images in a batch"),
    "multiplies by their number": (plain(between="x = x * x.shape[0]"), "depends on the number of images in a batch"),
    "subtracts their mean": (plain(between="x = x - x.mean(0, keepdim=True)"), "depends on the other images"),
    "divides by one number": (plain(between="x = x / x.std()"), "depends on the other images"),
    "adds the first": (plain(between="x = x + x[:1]"), "depends on the other images"),
    "knows its mode": (
        plain(between="x = x + self.training"),
        r"in training than in evaluation.*\(net.py, line \d+: x = x \+",
    ),
    "is noisy": (plain(between="x = x + torch.randn_like(x)"), r"draws random numbers .*\(net.py, line \d+: x = x \+"),
    "throws dice": (plain(before="import random", between="x = x * random.random()"), "draws random numbers of Python"),
    "drops in evaluation": (plain(between="x = F.dropout(x, 0.1)"), "drops outputs in evaluation, too"),
    "drops within attention": (
        plain(
            init="self.a = nn.MultiheadAttention(8, 2, dropout=0.1)",
            between="t = x.flatten(2).mT; x = x + self.a(t, t, t)[0].mT.reshape(x.shape)",
        ),
        "drops outputs within MultiheadAttention",
    ),
    "stops gradients": (
        plain(between="torch.set_grad_enabled(False)", after="torch.set_grad_enabled(True)"),
        "switches gradients off",
    ),
    "checkpoints as of old": (
        plain(
            before="from torch.utils.checkpoint import checkpoint",
            between="x = checkpoint(self.second, x, use_reentrant=True)",
        ),
        "switches gradients off",
    ),
    "chooses its precision": (
        plain(between="torch.set_autocast_enabled('cpu', True)", after="torch.set_autocast_enabled('cpu', False)"),
        "switches autocast on",
    ),
    "writes down what it saw": (
        plain(init="self.register_buffer('seen', torch.zeros(8))", between="self.seen.mul_(0.9)"),
        "it writes to seen",
    ),
    "freezes": (plain(init="self.first.requires_grad_(False)"), "parameter first.weight does not require gradients"),
    "is compiled": (
        plain(last="return x\n\n\ndef compiled(num_classes):\n    return torch.compile(Net(num_classes))")
        .replace("        return x\n\n\ndef build", "\n\ndef build")
        .replace("return Net(num_classes)\n", "return compiled(num_classes)\n"),
        "hides its operations",
    ),
    "waits for an image": (plain(init="self.lazy = nn.LazyLinear(3)"), "lazy.weight has no shape"),
    "takes our name": (
        plain(init="self.standardise = nn.BatchNorm2d(8)", between="x = self.standardise(x)"),
        "may be called standardise",
    ),
    "grows below": (
        plain()
        .replace("nn.Conv2d(3, 8,", "nn.Conv2d(3, num_classes,")
        .replace("nn.Conv2d(8, 8,", "nn.Conv2d(num_classes, 8,"),
        "segment first, grows with num_classes",
    ),
    "has one layer": (
        "from torch import nn\ndef build(num_classes): return nn.Sequential(nn.Flatten(), nn.Linear(768, num_classes))",
        "has no cut",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_a_network_is_refused_by_name_and_line(
    fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, message = FAULTS[fault]
    path = put(tmp_path, source)
    modules = set(sys.modules)
    try:
        with pytest.raises(BadInput, match=message) as caught:
            catalogue.resolve(f"{path}:build@16")
    finally:
        torch.set_autocast_enabled("cpu", False)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("net.py")
    assert not {name for name in set(sys.modules) - modules if name.startswith("network_of")}
    assert nn.Module.__call__ is nn.Module._wrapped_call_impl


def test_a_module_within_is_named(tmp_path: Path) -> None:
    block = BLOCK.format(activation="relu").replace("return x +", "return x if x.mean() > 0 else x +")
    path = put(
        tmp_path, block + plain(init="self.body = nn.Sequential(Block(8), Block(8))", between="x = self.body(x)")
    )
    with pytest.raises(BadInput, match=r"\(in body.0, net.py, line \d+: return x if x.mean\(\) > 0"):
        catalogue.resolve(f"{path}:build@16")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net.py", "say what makes it, as in net.py:build; net.py has: Net, build"),
        ("net.py@16", "say what makes it"),
        ("net.py:build@9", "16 to 1024"),
        ("net.py:build@big", "16 to 1024"),
        ("other.py:build", "no file .*other.py"),
        ("net.py:build@16#0123abcd", "the code of network .* is not known here"),
    ],
)
def test_texts_that_mean_no_network(
    text: str, message: str, tmp_path: Path, forgotten: None, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, plain())
    with pytest.raises(BadInput, match=message):
        catalogue.resolve(f"{tmp_path}/{text}")
    assert main(["cuts", f"{tmp_path}/{text}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# Models of transformers

SIZES = "hidden_size=16, num_hidden_layers=2, num_attention_heads=2"
STAGES = "hidden_sizes=[8, 16], depths=[2, 2]"
TRANSFORMERS = {
    "ViT": (f"image_size=16, patch_size=8, intermediate_size=16, {SIZES}", 3),
    "Dinov2": (f"image_size=16, patch_size=8, {SIZES}", 3),
    "Swin": ("image_size=16, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=2", 6),
    "ConvNext": (f"image_size=16, num_stages=2, {STAGES}", 6),
    "ConvNextV2": (f"image_size=16, num_stages=2, {STAGES}", 6),
    "ResNet": (f"embedding_size=8, layer_type='basic', {STAGES}", 5),
}
MORE_TRANSFORMERS = {
    "MobileNetV2": ("image_size=16, depth_multiplier=0.25", 18),
    "Swinv2": ("image_size=16, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=2", 6),
    "Beit": (f"image_size=16, patch_size=8, intermediate_size=16, {SIZES}", 3),
    "DeiT": (f"image_size=16, patch_size=8, intermediate_size=16, {SIZES}", 3),
    "RegNet": (f"embedding_size=8, groups_width=8, {STAGES}", 5),
    "PoolFormer": ("hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1]", 8),
    "FocalNet": (
        "image_size=16, embed_dim=8, depths=[2, 2], hidden_sizes=[8, 16], focal_levels=[2, 2], focal_windows=[3, 3]",
        6,
    ),
}


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_models_of_transformers(model: str, tmp_path: Path) -> None:
    check_model_of_transformers(tmp_path, model, *TRANSFORMERS[model])


@pytest.mark.slow
@pytest.mark.parametrize("model", MORE_TRANSFORMERS)
def test_more_models_of_transformers(model: str, tmp_path: Path) -> None:
    check_model_of_transformers(tmp_path, model, *MORE_TRANSFORMERS[model])


def check_model_of_transformers(tmp_path: Path, model: str, arguments: str, cuts: int) -> None:
    """It is cut so often, and head and tail are the whole."""
    pytest.importorskip("transformers")
    source = (
        f"from transformers import {model}Config, {model}ForImageClassification\n\n\n"
        f"def build(num_classes):\n    config = {model}Config({arguments}, num_labels=num_classes)\n"
        f"    return {model}ForImageClassification(config)\n"
    )
    network = f"{put(tmp_path, source)}:build@16"
    assert len(architecture(network).cuts) == cuts
    assert difference(network) < 1e-5


def test_models_that_transformers_chooses(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    source = (
        "from transformers import AutoModelForImageClassification, ViTConfig\n\n\ndef build(num_classes):\n"
        f"    config = ViTConfig(image_size=32, patch_size=8, intermediate_size=16, {SIZES}, num_labels=num_classes)\n"
        "    return AutoModelForImageClassification.from_config(config)\n"
    )
    described = architecture(f"{put(tmp_path, source)}:build")
    assert (described.side, len(described.cuts)) == (32, 3)
