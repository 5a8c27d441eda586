"""Networks of somebody's own: what they are known by, their life in a runs directory, and the page about them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from own_files import BLOCK, difference, forget, made, plain, put
from pages import blocks
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from analysis import frame
from slurm.prune import prunable
from sweeps.running.merge import merge
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
from yosinski.networks.build import build
from yosinski.networks.catalogue import architecture
from yosinski.networks.tracing import own_graph
from yosinski.pretrained import outside
from yosinski.procedure import run_pack
from yosinski.records import specs

pytestmark = pytest.mark.usefixtures("alone")


# What it is known by


def test_the_side_is_that_of_the_text_of_the_code_or_224(tmp_path: Path) -> None:
    path = put(tmp_path, plain())
    assert architecture(f"{path}:build").side == 224
    assert architecture(f"{path}:build@16").side == 16
    sized, fixed = (
        f"\n\ndef {head}:\n    net = Net(num_classes)\n    net.{line}\n    return net\n"
        for head, line in (
            ("sized(num_classes, image_size=48)", "asked = image_size"),
            ("fixed(num_classes)", "image_size = 40"),
        )
    )
    path = put(tmp_path, plain() + sized + fixed)
    assert [architecture(f"{path}:{maker}").side for maker in ("sized", "sized@16", "fixed")] == [48, 16, 40]
    known = catalogue.resolve(f"{path}:sized@16")
    with known.code.loaded() as module:
        model, arguments, _ = own_graph.made(known.code, module, "sized", 3, 16)
    assert (arguments, model.asked) == ({"num_classes": 3, "image_size": 16}, 16)


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


# Its life


def parameters(path: Path, *more: str) -> list[str]:
    texts = [f"network={path}:build@32", "recipe=sketch", "recipe.epochs=1", "recipe.evaluations=1", "cuts=2", *more]
    return [part for text in texts for part in ("-p", text)]


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
        metadata = {name: json.loads(text) for name, text in file.metadata().items()}
    assert (metadata["library"], metadata["model"], metadata["arguments"]) == (
        "file",
        "net.py:build",
        {"num_classes": 5},
    )
    assert metadata["network"] == base.network
    assert metadata["sha256"] == catalogue.resolve(base.network).code.hashes()
    folder = out.parent / "exported"
    for name, text in metadata["sources"].items():
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
    assert known.saw.told_by == "taken to be ImageNet's mean and deviation"
    assert known.saw.mean == (0.485, 0.456, 0.406)
    assert (known.saw.resize, known.saw.crop) == (32, 32)
    assert known.left_off == ("unused.bias", "unused.weight")
    described = outside.described(network, f"{tmp_path / 'trained.pth'}:0.5,0.5,0.5:0.2,0.2,0.2")
    assert (described.saw.mean, described.saw.told_by) == ((0.5, 0.5, 0.5), "as given")
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
    content = json.loads(capsys.readouterr().out)
    assert content["network"] == catalogue.resolve(f"{path}:build@16").name
    assert [row["name"] for row in content["cuts"]] == ["first", "second"]
    assert (tmp_path / "x.png").stat().st_size > 0


# The page that tells of them


def test_the_example_of_the_page_can_be_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (_, example), (_, commands), (_, transformers) = blocks("docs/networks.md")
    put(tmp_path, example)
    monkeypatch.chdir(tmp_path)
    for line in commands.splitlines()[:2]:
        assert main(line.replace(" run ", " plan ").split()[1:]) == 0
    output = capsys.readouterr().out
    assert "net.py:build@32#" in output
    assert "6 runs, 4 edges to a base; 6 missing" in output
    pytest.importorskip("transformers")
    small = "hidden_size=16, num_attention_heads=2, num_hidden_layers=2, image_size=image_size"
    network = f"{put(tmp_path, transformers.replace('image_size=image_size', small))}:build@32"
    assert (architecture(network).side, len(architecture(network).cuts)) == (32, 3)


@pytest.mark.slow
def test_the_example_of_the_page_works_as_it_stands_there(tmp_path: Path, stores: Path) -> None:
    (_, example), (_, commands), _ = blocks("docs/networks.md")
    put(tmp_path, example)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "YOSINSKI_STORES": str(stores)}
    done = subprocess.run(["bash", "-ec", commands], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "6 runs: 6 done" in done.stdout
    assert {"net.png", "net.safetensors"} < {path.name for path in tmp_path.iterdir()}
