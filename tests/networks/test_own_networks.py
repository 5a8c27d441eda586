"""Networks from files of somebody's own: what they are known by, what they compute, and what is refused."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from analysis import frame
from slurm.prune import prunable
from sweeps.merge import merge
from yosinski import files
from yosinski.cli.main import main
from yosinski.data.halves import Split
from yosinski.data.store import Store
from yosinski.environment import Where
from yosinski.errors import BadInput
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.networks import catalogue, own
from yosinski.networks.batch import Batch
from yosinski.networks.build import build, drawn
from yosinski.networks.catalogue import architecture
from yosinski.networks.tensors import fingerprint
from yosinski.networks.tracing import own_graph
from yosinski.pretrained import outside
from yosinski.procedure import run_pack
from yosinski.records import specs

PLAIN = """
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        {init}
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        {before}
        x = F.relu(self.first(x))
        {between}
        x = F.relu(self.second(x))
        {after}
        x = self.fc(x.mean((2, 3)))
        {last}
        return x


def build(num_classes):
    return Net(num_classes)
"""
SIDE = 16


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """One thread, and generators that stand where they stood."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in another process, which has looked at nothing yet."""
    monkeypatch.setattr(own, "_known", {})
    monkeypatch.setattr(catalogue, "_looked", {})
    own_graph._survey.cache_clear()


def plain(**parts: str) -> str:
    return PLAIN.format(**{"init": "", "before": "", "between": "", "after": "", "last": "", **parts})


def put(folder: Path, source: str, name: str = "net.py") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


def made(network: str, outputs: int) -> nn.Module:
    """The plain model."""
    known = catalogue.resolve(network)
    with known.code.loaded() as module:
        return own_graph.made(known.code, module, known.maker, outputs, known.side)[0].eval()


@torch.no_grad()
def difference(network: str, outputs: int = 7) -> float:
    """The largest difference at any cut between head, tail and the plain model, relative to the largest output.

    Asserted: tensors have the plain model's names, parameters and shapes are as described, segments keep their input.
    """
    segments, model, described = build(network, outputs).eval(), made(network, outputs), architecture(network)
    names = [name.partition(".")[2] for name in segments.state_dict()]
    expected = [*(set(model.state_dict()) - set(described.left_off)), "standardise.mean", "standardise.std"]
    assert sorted(names) == sorted(expected)
    for name, tensor in segments.state_dict().items():
        if "standardise" not in name:
            tensor.copy_(model.state_dict()[name.partition(".")[2]])
    pixels = torch.randint(0, 256, (5, 3, described.side, described.side), dtype=torch.uint8)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    segments[0].get_submodule("standardise").load_state_dict(
        {"mean": torch.full((3, 1, 1), 120.0), "std": torch.full((3, 1, 1), 60.0)}
    )
    whole: Any = model((pixels.float() - 120) / 60)
    whole = whole if isinstance(whole, torch.Tensor) else whole.logits
    features: Any = Batch.whole(pixels)
    worst, rows = 0.0, described.costs(outputs)
    for n, (row, segment) in enumerate(zip(rows, segments, strict=True), 1):
        assert sum(p.numel() for p in segment.parameters()) == row.parameters, row.name
        features = segment(features)
        assert features.shape == (5, *row.shape), row.name
        kept = features.clone()
        found = segments[n:](features)
        assert torch.equal(features, kept), f"what follows {row.name} changes its input"
        worst = max(worst, float((found - whole).abs().max() / whole.abs().max()))
    return worst


# What it is known by


def test_the_side_is_that_of_the_text_of_the_code_or_224(tmp_path: Path) -> None:
    path = put(tmp_path, plain())
    assert architecture(f"{path}:build").side == 224
    assert architecture(f"{path}:build@16").side == 16
    sized, said = (
        f"\n\ndef {head}:\n    net = Net(num_classes)\n    net.{line}\n    return net\n"
        for head, line in (
            ("sized(num_classes, image_size=48)", "asked = image_size"),
            ("said(num_classes)", "image_size = 40"),
        )
    )
    path = put(tmp_path, plain() + sized + said)
    assert [architecture(f"{path}:{maker}").side for maker in ("sized", "sized@16", "said")] == [48, 16, 40]
    known = catalogue.resolve(f"{path}:sized@16")
    with known.code.loaded() as module:
        model, given, _ = own_graph.made(known.code, module, "sized", 3, 16)
    assert (given, model.asked) == ({"num_classes": 3, "image_size": 16}, 16)


def test_a_function_a_class_and_what_else_can_be_called(tmp_path: Path) -> None:
    more = "\nfrom functools import partial\nmade = partial(Net)\nshort = lambda num_classes: Net(num_classes)\n"
    path = put(tmp_path, plain() + more)
    for maker in ("build", "Net", "made", "short"):
        assert architecture(f"{path}:{maker}@16").cuts == ("first", "second")


def ids(path: Path, half: Any, recipe: Recipe, text: str = ":build@16") -> str:
    return Run(f"{path}{text}", half, recipe).id


def test_an_id_depends_on_what_the_file_holds_and_not_on_where_it_lies(
    tmp_path: Path, small_split: Split, small_recipe: Recipe
) -> None:
    half = small_split.a
    path = put(tmp_path, plain())
    run = Run(f"{path}:build@16", half, small_recipe)
    assert run.network.startswith("net.py:build@16#")
    assert len(run.network) == len("net.py:build@16#") + 8
    assert run.spec["network"] == f"file:{catalogue.resolve(run.network).digest}"
    assert Run(run.network, half, small_recipe) == run  # known by its name from then on
    for place in ("elsewhere/net.py", "with space@8/a:b/other name.py"):
        assert ids(put(tmp_path, plain(), place), half, small_recipe) == run.id
    assert ids(path, half, small_recipe, ":Net@16") != run.id
    assert ids(path, half, small_recipe, ":build@32") != run.id
    path.write_text(plain().replace("F.relu(self.second(x))", "F.gelu(self.second(x))"))
    assert ids(path, half, small_recipe) != run.id
    path.write_text(plain(before="# a remark"))
    assert ids(path, half, small_recipe) != run.id
    path.write_text(plain())
    assert ids(path, half, small_recipe) == run.id


def test_the_directory_of_a_package_and_of_the_process_may_be_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_split: Split, small_recipe: Recipe
) -> None:
    path = put(tmp_path, plain())
    monkeypatch.chdir(tmp_path)
    assert ids(Path("net.py"), small_split.a, small_recipe) == ids(path, small_split.a, small_recipe)
    assert not list(tmp_path.rglob("__pycache__"))


BLOCK = """
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x).{activation}()
"""


@pytest.mark.parametrize(
    ("main", "beside", "line"),
    [
        ("net.py", "blocks.py", "from blocks import Block"),
        ("net.py", "parts/blocks.py", "from parts.blocks import Block"),
        ("mine/net.py", "mine/blocks.py", "from .blocks import Block"),
        ("mine/net.py", "mine/blocks.py", "from mine.blocks import Block"),
        ("mine/net.py", "mine/blocks.py", "from blocks import Block"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_what_is_imported_from_beside_belongs_to_the_network(
    main: str, beside: str, line: str, late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = main.startswith("mine/")
    inside = {"init": f"{line if late else 'pass'}; self.block = Block(8)", "between": "x = self.block(x)"}
    source = ("" if late else f"{line}\n") + plain(**inside)
    found = {}
    for activation in ("relu", "sigmoid"):
        folder = tmp_path / activation
        path = put(folder, source, main)
        put(folder, BLOCK.format(activation=activation), beside)
        if packaged:
            put(folder, "", "mine/__init__.py")
        put(folder, "1 / 0", f"{Path(main).parent}/unused.py")
        found[activation] = catalogue.resolve(f"{path}:build@16")
        assert found[activation].described.cuts == ("first", "block", "second")
        assert difference(f"{path}:build@16") < 1e-5
    assert "blocks" not in sys.modules
    assert found["relu"].digest != found["sigmoid"].digest
    sources = {main, beside, "mine/__init__.py"} if packaged else {main, beside}
    assert found["relu"].code.sources.keys() == (sources - {"mine/__init__.py"} | sources)
    own.keep(tmp_path / "runs", found["relu"])
    shutil.rmtree(tmp_path / "relu")
    forget(monkeypatch)
    kept = own.read(tmp_path / "runs", found["relu"].digest)
    assert difference(kept.name) < 1e-5


def test_what_is_neither_installed_nor_beside_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "WIDTH = 3", "far/helpers_of_mine.py")
    monkeypatch.syspath_prepend(tmp_path / "far")
    path = put(tmp_path, "import helpers_of_mine\n" + plain(), "near/net.py")
    with pytest.raises(BadInput, match=r"net.py imports helpers_of_mine .*, which is neither installed nor beside it"):
        catalogue.resolve(f"{path}:build@16")
    monkeypatch.delitem(sys.modules, "helpers_of_mine")
    put(tmp_path, "WIDTH = 4", "near/timm.py")
    path = put(tmp_path, "import timm\n" + plain(), "near/net.py")
    with pytest.raises(BadInput, match=r"net.py imports timm, which is installed, but lies beside it, too"):
        catalogue.resolve(f"{path}:build@16")


def test_files_that_it_reads_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(8, 8).state_dict(), tmp_path / "trained.pt")
    put(tmp_path, "8", "width.txt")
    for line, name in (
        ("WIDTH = int(open(__file__.replace('net.py', 'width.txt')).read())", "width.txt"),
        (f"STATE = torch.load({str(tmp_path / 'trained.pt')!r})", "trained.pt"),
    ):
        path = put(tmp_path, f"import torch\n{line}\n" + plain())
        with pytest.raises(BadInput, match=rf"net.py reads .*{name}, which is no part of the network"):
            catalogue.resolve(f"{path}:build@16")


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
    source, said = FAULTS[fault]
    path = put(tmp_path, source)
    modules = set(sys.modules)
    try:
        with pytest.raises(BadInput, match=said) as caught:
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
    ("text", "said"),
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
    text: str, said: str, tmp_path: Path, forgotten: None, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, plain())
    with pytest.raises(BadInput, match=said):
        catalogue.resolve(f"{tmp_path}/{text}")
    assert main(["cuts", f"{tmp_path}/{text}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# Its life


def parameters(path: Path, *more: str) -> list[str]:
    given = [f"network={path}:build@32", "recipe=sketch", "recipe.epochs=1", "recipe.evaluations=1", "cuts=2", *more]
    return [part for text in given for part in ("-p", text)]


def test_runs_outlive_their_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    small_split: Split,
    small_recipe: Recipe,
    stores: Path,
    store: Store,
) -> None:
    path, runs = put(tmp_path, plain(init="self.unused = nn.Linear(2, 2)")), tmp_path / "runs"
    base = Run(f"{path}:build@32", small_split.a, small_recipe.with_values({"epochs": 1.0, "evaluations": 1}))
    copy = base.copy(1, "frozen", base)
    specs.enrol(runs, copy)
    path.unlink()
    forget(monkeypatch)
    for run in (base, copy):  # as in a job on another machine
        run_pack([run.id], Where(runs, stores, "cpu", "float32"))
    loaded = specs.load(runs, copy.id)
    assert (loaded, loaded.parent) == (copy, base)

    label = base.network
    assert set(frame(runs)["network"]) == {label}
    assert main(["status", str(runs)]) == 0
    assert main(["cuts", label, "--runs", str(runs)]) == 0
    out = tmp_path / "a.safetensors"
    assert main(["export", base.id, "--runs", str(runs), "--out", str(out)]) == 0
    check_export(out, base, runs)

    put(tmp_path, plain(before="# another one"))
    assert Run(f"{path}:build@32", small_split.a, base.recipe).id != base.id
    path.unlink()
    assert main(["plan", "figure2", *parameters(path), "--runs", str(runs)]) == 2
    assert f"there was {label}" in capsys.readouterr().err
    assert (
        main(["plan", "figure2", *parameters(path)[2:], "-p", f"network={label}", "--runs", str(runs), "--json"]) == 0
    )

    merge([runs], tmp_path / "merged")
    forget(monkeypatch)
    assert specs.load(tmp_path / "merged", copy.id).network == label
    assert not [found for found in prunable(tmp_path / "merged", set()) if "networks" in found.path.parts]
    (code,) = (tmp_path / "merged" / "networks").glob("*/net.py")
    code.write_text(code.read_text() + "\n")
    forget(monkeypatch)
    with pytest.raises(files.Damaged):
        specs.load(tmp_path / "merged", copy.id)
    with pytest.raises(files.Damaged):
        merge([tmp_path / "merged"], tmp_path / "again")
    assert not (tmp_path / "again").exists()
    shutil.rmtree(tmp_path / "merged" / "networks")
    with pytest.raises(BadInput, match="the code of a network of these runs"):
        specs.load(tmp_path / "merged", copy.id)


def check_export(out: Path, base: Run, runs: Path) -> None:
    """By what it says of itself the exported file becomes a model, which computes what the run's network does."""
    with safe_open(out, "pt") as file:
        told = {name: json.loads(text) for name, text in file.metadata().items()}
    assert (told["library"], told["model"], told["arguments"]) == ("file", "net.py:build", {"num_classes": 5})
    assert told["network"] == base.network
    assert told["sha256"] == catalogue.resolve(base.network).code.hashes()
    folder = out.parent / "exported"
    for name, text in told["sources"].items():
        put(folder, text, name)
    program = (
        "import sys, torch; from safetensors.torch import load_file; from net import build\n"
        "model = build(num_classes=5).eval(); model.load_state_dict(load_file(sys.argv[1]))\n"
        "torch.manual_seed(0); torch.save(model(torch.rand(3, 3, 32, 32)), 'found.pt')\n"
    )
    subprocess.run([sys.executable, "-c", program, str(out)], cwd=folder, check=True)
    network = build(base.network, 5).eval()
    network.load_state_dict(load_file(specs.folder(runs, base.id) / "weights.safetensors"))
    network[0].get_submodule("standardise").load_state_dict({"mean": torch.zeros(3, 1, 1), "std": torch.ones(3, 1, 1)})
    torch.manual_seed(0)
    with torch.no_grad():
        expected = network(Batch.whole(torch.rand(3, 3, 32, 32)))
    torch.testing.assert_close(torch.load(folder / "found.pt", weights_only=True), expected, rtol=1e-4, atol=1e-5)


def test_other_packages_that_make_another_network_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_split: Split, small_recipe: Recipe
) -> None:
    monkeypatch.setattr(torch, "width_of_mine", 8, raising=False)
    source = (
        plain()
        .replace("nn.Conv2d(3, 8,", "nn.Conv2d(3, torch.width_of_mine,")
        .replace("nn.Conv2d(8, 8,", "nn.Conv2d(torch.width_of_mine, 8,")
    )
    path = put(tmp_path, source)
    run = Run(f"{path}:build@32", small_split.a, small_recipe)
    specs.enrol(tmp_path / "runs", run)
    monkeypatch.setattr(torch, "width_of_mine", 9)
    forget(monkeypatch)
    loaded = specs.load(tmp_path / "runs", run.id)  # nothing is executed
    with pytest.raises(BadInput, match="is not what it was when it was recorded"):
        build(loaded.network, 5)
    forget(monkeypatch)
    assert Run(f"{path}:build@32", small_split.a, small_recipe).id != run.id


def test_weights_of_the_very_model_can_be_cut(tmp_path: Path) -> None:
    path = put(tmp_path, plain(init="self.unused = nn.Linear(2, 2)", last="x = x * 1"))
    network = catalogue.resolve(f"{path}:build@32").name
    state = made(network, 6).state_dict()
    torch.save({"state_dict": state}, tmp_path / "trained.pth")
    known = outside.described(f"{path}:build@32", str(tmp_path / "trained.pth"))
    assert len(known.classes) == 6
    assert known.preprocessing.told_by == "taken to be ImageNet's mean and deviation"
    assert known.preprocessing.mean == (0.485, 0.456, 0.406)
    assert (known.preprocessing.resize, known.preprocessing.crop) == (32, 32)
    assert known.left_off == ("unused.bias", "unused.weight")
    given = outside.described(network, f"{tmp_path / 'trained.pth'}:0.5,0.5,0.5:0.2,0.2,0.2")
    assert (given.preprocessing.mean, given.preprocessing.told_by) == ((0.5, 0.5, 0.5), "as given")
    base = outside.base(network, known)
    outside.bring(base, tmp_path / "runs")
    out = tmp_path / "out.safetensors"
    assert main(["export", base.id, "--runs", str(tmp_path / "runs"), "--out", str(out)]) == 0
    found = load_file(out)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state if "unused" not in name)
    del state["second.bias"]
    torch.save(state, tmp_path / "torn.pth")
    with pytest.raises(BadInput, match=r"missing: second\.bias"):
        outside.described(network, str(tmp_path / "torn.pth"))
    with pytest.raises(BadInput, match=r"no published weights of net\.py:build@32#"):
        outside.described(network)


def test_weights_whose_head_ends_with_another_tensor(tmp_path: Path) -> None:
    source = plain(init="self.scale = nn.Parameter(torch.ones(()))", last="x = x * self.scale")
    path = put(tmp_path, source.replace("self.fc = nn.Linear", "self.fc = nn.Linear"))
    torch.save(made(f"{path}:build@32", 6).state_dict(), tmp_path / "trained.pth")
    assert len(outside.described(f"{path}:build@32", str(tmp_path / "trained.pth")).classes) == 6


def test_cuts_of_a_file_can_be_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = put(tmp_path, plain())
    assert main(["cuts", f"{path}:build@16", "--out", str(tmp_path / "x.png"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["network"] == catalogue.resolve(f"{path}:build@16").name
    assert [row["name"] for row in told["cuts"]] == ["first", "second"]
    assert (tmp_path / "x.png").stat().st_size > 0


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


# The page that tells of them

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
BLOCK_OF_PAGE = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_example_of_the_page_can_be_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (_, example), (_, commands), (_, transformers) = BLOCK_OF_PAGE.findall(PAGE.read_text(encoding="utf-8"))
    put(tmp_path, example)
    monkeypatch.chdir(tmp_path)
    for line in commands.splitlines()[:2]:
        assert main(line.replace(" run ", " plan ").split()[1:]) == 0
    told = capsys.readouterr().out
    assert "net.py:build@32#" in told
    assert "6 runs, 4 edges to a base; 6 missing" in told
    pytest.importorskip("transformers")
    small = "hidden_size=16, num_attention_heads=2, num_hidden_layers=2, image_size=image_size"
    network = f"{put(tmp_path, transformers.replace('image_size=image_size', small))}:build@32"
    assert (architecture(network).side, len(architecture(network).cuts)) == (32, 3)


@pytest.mark.slow
def test_the_example_of_the_page_works_as_it_stands_there(tmp_path: Path, stores: Path) -> None:
    (_, example), (_, commands), _ = BLOCK_OF_PAGE.findall(PAGE.read_text(encoding="utf-8"))
    put(tmp_path, example)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "YOSINSKI_STORES": str(stores)}
    done = subprocess.run(["bash", "-ec", commands], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "6 runs: 6 done" in done.stdout
    assert {"net.png", "net.safetensors"} < {path.name for path in tmp_path.iterdir()}
