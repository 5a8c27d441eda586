"""The worked example as it stands in docs/your-network.md, and what README.md says of an exported network."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pictures
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torchvision import transforms

from yosinski import networks, outside, records
from yosinski.__main__ import main
from yosinski.data import store as data_stores
from yosinski.data.store import Store
from yosinski.data.stream import Batch, in_the_middle
from yosinski.environment import Where
from yosinski.export import plain
from yosinski.halves import Split
from yosinski.run import run_pack
from yosinski.spec import Recipe, Run

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LOADING = re.compile(r"^    import json\n.*?load_state_dict.*?\n", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Where the example has been followed, command by command, and what each block printed."""
    path = tmp_path_factory.mktemp("example")
    pictures.draw(path / "pictures")
    torch.save(pictures.resnet18(10).state_dict(), path / "checkpoint.pth")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    printed = []
    for language, text in BLOCK.findall((ROOT / "docs" / "your-network.md").read_text(encoding="utf-8")):
        command = ["bash", "-ec", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        printed.append(done.stdout)
    return path, printed


def test_the_example_works_as_it_stands_there(there: tuple[Path, list[str]]) -> None:
    path, printed = there
    told = "\n".join(printed)
    for words in ("4 classes", "layer3.1", outside.NO_CONTROL, "6 runs: 6 done", "pictures.safetensors"):
        assert words in told
    assert printed[-1].strip() == "disc"
    assert (path / "figure.png").stat().st_size > 0


def test_a_network_loads_elsewhere_by_the_lines_of_the_readme(
    there: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = there[0]
    monkeypatch.chdir(path)
    (lines,) = LOADING.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    exec(textwrap.dedent(lines), found)
    model, told = found["model"].eval(), found["told"]

    run = records.load(path / "runs", told["run"])
    record = records.read_record(records.folder(path / "runs", run.id))
    assert record is not None
    assert (told["name"], told["network"], told["test_top1"]) == ("W7B+", run.network, record["metrics"]["test_top1"])
    assert told["classes"] == sorted(pictures.KINDS)
    np.testing.assert_allclose(told["preprocessing"]["mean"], (0.485, 0.456, 0.406), atol=1e-7)

    saw = told["preprocessing"]
    resize = transforms.Resize(saw["resize"], transforms.InterpolationMode(saw["interpolation"]))
    crop = transforms.Compose([resize, transforms.CenterCrop(saw["crop"]), transforms.PILToTensor()])
    seen = [Image.open(path / "pictures" / kind / "3.png") for kind in pictures.KINDS]
    pixels = torch.stack([crop(image) for image in seen])
    network = networks.build(run.network, run.outputs).eval()
    network.load_state_dict(load_file(records.folder(path / "runs", run.id) / "weights.safetensors"))
    with torch.no_grad():
        plainly = model(transforms.Normalize(saw["mean"], saw["std"])(pixels / 255))
        torch.testing.assert_close(plainly, network(Batch.whole(pixels)), rtol=1e-5, atol=1e-5)


def test_its_images_are_those_that_the_network_was_evaluated_on(there: tuple[Path, list[str]]) -> None:
    path = there[0]
    with safe_open(path / "pictures.safetensors", "pt") as file:
        told = {name: json.loads(text) for name, text in file.metadata().items()}
    saw = told["preprocessing"]
    run = records.load(path / "runs", told["run"])
    stored = data_stores.of(run.half, path / "stores")
    rows, labels = stored.rows(run.half, "test")
    evaluated = in_the_middle(stored.images, rows, saw["crop"]).pixels
    resize = transforms.Resize(saw["resize"], transforms.InterpolationMode(saw["interpolation"]))
    crop = transforms.Compose([resize, transforms.CenterCrop(saw["crop"]), transforms.PILToTensor()])
    drawn = {
        crop(Image.open(image)).numpy().tobytes(): kind
        for kind in pictures.KINDS
        for image in (path / "pictures" / kind).glob("*.png")
    }
    kinds = [drawn[np.ascontiguousarray(one).tobytes()] for one in evaluated.numpy()]
    assert kinds == [run.half.classes[label] for label in labels]


def test_what_cannot_be_exported_is_refused(there: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    path = there[0]
    runs, out = ["--runs", str(path / "runs")], path / "again.safetensors"
    copy = next(run for run in map(_loaded(path), records.scan(path / "runs")) if run.name == "W3B")
    records.enrol(path / "runs", copy.copy(5, "frozen", copy.parent))
    for argv, told in (
        (["W7B+", "--out", str(path / "pictures.safetensors")], "is there already; --force replaces it"),
        (["W7B+", "--out", str(path / "pictures.pth")], "unknown kind of file '.pth'; choose from: .safetensors"),
        (["W5B", "--out", str(out)], "is missing; only what is done can be exported"),
        (["W9B", "--out", str(out)], "no run 'W9B'"),
        (["0000", "--out", str(out)], "no run '0000'"),
    ):
        assert main(["export", *argv, *runs]) == 2
        assert told in capsys.readouterr().err
    assert not out.exists()
    assert main(["export", "outsideW", "--out", str(out), *runs]) == 0
    weights = load_file(out)
    for name, tensor in torch.load(path / "checkpoint.pth", weights_only=True).items():
        assert torch.equal(weights[name], tensor)


def _loaded(path: Path) -> Any:
    return lambda folder: records.load(path / "runs", folder.name)


def test_our_own_networks_keep_their_names_and_can_be_bases_again(
    small_split: Split, small_recipe: Recipe, stores: Path, store: Store, tmp_path: Path
) -> None:
    run = Run("alexnet32", small_split.a, small_recipe)
    records.enrol(tmp_path / "runs", run)
    run_pack([run.id], Where(tmp_path / "runs", stores, "cpu", "float32"))
    out = tmp_path / "own.safetensors"
    assert main(["export", run.id, "--out", str(out), "--runs", str(tmp_path / "runs")]) == 0
    trained = load_file(records.folder(tmp_path / "runs", run.id) / "weights.safetensors")
    assert plain("alexnet32", trained).keys() == load_file(out).keys() == trained.keys()
    with safe_open(out, "pt") as file:
        told = {name: json.loads(text) for name, text in file.metadata().items()}
    assert told["library"] == "yosinski"
    networks.build(told["model"], **told["arguments"]).load_state_dict(load_file(out))
    again = outside.known("alexnet32", str(out))
    assert again.classes == run.half.classes
    assert again.preprocessing.told_by == "as the file says"
    record = records.read_record(records.folder(tmp_path / "runs", run.id))
    assert record is not None
    assert again.hash == record["weights"]
