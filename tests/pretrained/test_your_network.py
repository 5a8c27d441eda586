"""The worked example as it stands in docs/your-network.md, and what README.md says of an exported network."""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import oddities
import pandas as pd
import pictures
import pytest
import torch
from pages import ROOT, blocks, printed
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torchvision.transforms import v2

from yosinski.cli.main import main
from yosinski.data import find, place
from yosinski.data import store as data_stores
from yosinski.data.half import Half
from yosinski.data.halves import Split
from yosinski.data.pictures import making
from yosinski.data.pictures.crops import in_the_middle
from yosinski.data.pictures.decoding import Broken, decode
from yosinski.data.pictures.making import Making
from yosinski.data.place import FILTERS
from yosinski.data.store import Store
from yosinski.environment import Where
from yosinski.experiment.recipes import FINETUNE, Recipe
from yosinski.experiment.run import Run
from yosinski.networks import build
from yosinski.networks.batch import Batch
from yosinski.pretrained import export, outside
from yosinski.pretrained.export import plain
from yosinski.procedure import run_pack
from yosinski.records import specs, states

LOADING = re.compile(r"^    import json\n.*?load_state_dict.*?\n", re.MULTILINE | re.DOTALL)


def test_the_example_works_as_it_stands_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures.draw(tmp_path / "pictures", 24)
    torch.save(pictures.resnet18(10).state_dict(), tmp_path / "checkpoint.pth")
    monkeypatch.delenv("YOSINSKI_STORES", raising=False)
    monkeypatch.chdir(tmp_path)
    outputs = [printed(language, text) for language, text in blocks("docs/your-network.md")]
    output = "\n".join(outputs)
    for words in (
        "4 classes",
        "layer3.1",
        outside.NO_CONTROL,
        "6 runs: 6 done",
        "No BnB counts",
        "pictures.safetensors",
    ):
        assert words in output
    assert outputs[-2].strip() == "disc"
    real = "-p network=timm:tf_efficientnet_lite0@64 -p weights=lite0.pth"
    assert (tmp_path / "figure.png").stat().st_size > 0

    capsys.readouterr()
    assert main(["plan", "transfer", "--data", "imagefolder:pictures", *real.split()]) == 0
    assert "lite0.pth, 1000 classes; preprocessing taken to be that of timm:in1k" in capsys.readouterr().out
    check_that_it_loads_by_the_lines_of_the_readme()
    check_that_its_images_are_those_of_the_evaluation()
    check_refusals(capsys)


def check_that_it_loads_by_the_lines_of_the_readme() -> None:
    """Without this project it computes what the run's network does."""
    (lines,) = LOADING.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    exec(textwrap.dedent(lines), found)
    model, metadata = found["model"].eval(), found["told"]
    run = specs.load(Path("runs"), metadata["run"])
    path = specs.folder(Path("runs"), run.id)
    record = states.read_record(path)
    assert record is not None
    assert (metadata["name"], metadata["network"], metadata["test_top1"]) == (
        "W7B+",
        run.network,
        record["metrics"]["test_top1"],
    )
    assert metadata["classes"] == sorted(pictures.KINDS)
    preprocessing = metadata["preprocessing"]
    np.testing.assert_allclose(preprocessing["mean"], (0.485, 0.456, 0.406), atol=1e-7)

    pixels: Any = torch.stack([cropped(preprocessing, Path(f"pictures/{kind}/3.png")) for kind in pictures.KINDS])
    network = build.build(run.network, run.outputs).eval()
    network.load_state_dict(load_file(path / "weights.safetensors"))
    with torch.no_grad():
        plainly = model(v2.Normalize(preprocessing["mean"], preprocessing["std"])(pixels / 255))
        torch.testing.assert_close(plainly, network(Batch.whole(pixels)), rtol=1e-5, atol=1e-5)


def cropped(preprocessing: dict[str, Any], path: Path) -> torch.Tensor:
    """The bytes of an image as the documented lines prepare them, uint8 [3, s, s], before they become floats."""
    lines = oddities.documented(preprocessing)
    *steps, scaled = lines["steps"]
    assert isinstance(scaled, v2.ToDtype)
    return v2.Compose(steps)(lines["picture"](path))


def check_that_its_images_are_those_of_the_evaluation() -> None:
    """Prepared as the metadata say, pictures become the very bytes that the network was evaluated on."""
    with safe_open("pictures.safetensors", "pt") as file:
        metadata = {name: json.loads(text) for name, text in file.metadata().items()}
    run = specs.load(Path("runs"), metadata["run"])
    stored = data_stores.of(run.half, Path("stores"))
    rows, labels = stored.rows(run.half, "test")
    preprocessing = metadata["preprocessing"]
    evaluated = in_the_middle(stored.images, rows, preprocessing["crop"]).pixels
    drawn = {
        cropped(preprocessing, path).numpy().tobytes(): path.parent.name for path in Path("pictures").glob("*/*.png")
    }
    kinds = [drawn[np.ascontiguousarray(one).tobytes()] for one in evaluated.numpy()]
    assert kinds == [run.half.classes[label] for label in labels]


def check_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be exported is named; what is there stays."""
    copy = next(run for run in loaded() if run.name == "W3B")
    specs.enrol(Path("runs"), copy.copy(5, "frozen", copy.parent))
    before = Path("pictures.safetensors").read_bytes()
    for argv, message in (
        (["W7B+", "--out", "pictures.safetensors"], "is there already; --force replaces it"),
        (["W7B+", "--out", "pictures.pth"], "unknown kind of file (pictures.pth) '.pth'; choose from: .safetensors"),
        (["W5B", "--out", "again.safetensors"], "is missing; only what is done can be exported"),
        (["W9B", "--out", "again.safetensors"], "no run 'W9B'"),
        (["0000", "--out", "again.safetensors"], "no run '0000'"),
    ):
        assert main(["export", *argv]) == 2
        assert message in capsys.readouterr().err
    assert Path("pictures.safetensors").read_bytes() == before
    assert not Path("again.safetensors").exists()
    assert main(["export", "outsideW", "--out", "pictures.safetensors", "--force"]) == 0
    weights = load_file("pictures.safetensors")
    for name, tensor in torch.load("checkpoint.pth", weights_only=True).items():
        assert torch.equal(weights[name], tensor)


def loaded() -> list[Run]:
    """All runs of the example."""
    return [specs.load(Path("runs"), path.name) for path in specs.scan(Path("runs"))]


SIDES = [(73, 64), (342, 299), (439, 384), (37, 32), (40, 29)]  # stored, and what a network sees


def exported(text: str, side: int, rule: int = place.RULE) -> tuple[Run, dict[str, Any]]:
    """A run on such images by a network of this side, and what would be exported of it."""
    run = Run(f"resnet18@{side}", Half(text, "f00d", ("a", "b"), rule=rule), FINETUNE)
    tensors = {f"conv1.standardise.{name}": torch.ones(3, 1, 1) for name in ("mean", "std")}
    return run, export.description(run, {"metrics": {}}, tensors)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of odd files, all of them in one class; the other one is ordinary."""
    path = tmp_path_factory.mktemp("odd") / "set"
    oddities.files(path / "train" / "odd")
    for k, folder in enumerate(("train/plain", "val/odd", "val/plain", "test/odd", "test/plain")):
        (path / folder).mkdir(parents=True)
        oddities.noise(40, 50, seed=k).save(path / folder / "0.png")
    return path


def test_what_is_stored_of_odd_files_is_what_the_documented_lines_make_of_them(odd: Path, tmp_path: Path) -> None:
    text = f"imagefolder-73-crop:{odd}"
    begun = making.begin(text, tmp_path)
    assert isinstance(begun, Making)
    path = making.fill(begun, workers=1)
    stored = data_stores.load(find.card(text), tmp_path)
    files = pd.read_parquet(path / "sources.parquet")["file"]
    run, metadata = exported(text, 62)
    evaluated = in_the_middle(stored.images, np.arange(len(files)), 62, run.half.rule).pixels
    assert len(files) > 100
    for file, pixels in zip(files, evaluated, strict=True):
        assert torch.equal(cropped(metadata["preprocessing"], odd / file), pixels), file


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("fit", ["crop", "warp"])
def test_odd_files_are_prepared_alike_with_every_geometry(odd: Path, fit: str, interpolation: str) -> None:
    _, metadata = exported(f"imagefolder-45-{fit}-{interpolation}:{odd}", 38)
    for file in sorted((odd / "train" / "odd").iterdir()):
        pixels = decode(file.read_bytes(), 45, fit, interpolation)[4:42, 4:42]  # 3.5 is rounded to 4
        assert torch.equal(
            cropped(metadata["preprocessing"], file), torch.from_numpy(pixels.copy()).permute(2, 0, 1)
        ), file


@pytest.mark.parametrize(("stored", "side"), SIDES)
@pytest.mark.parametrize("fit", ["crop", "warp"])
def test_the_corner_is_that_of_the_documented_lines(fit: str, stored: int, side: int, tmp_path: Path) -> None:
    _, metadata = exported(f"imagefolder-{stored}-{fit}:/nowhere", side)
    for width, height in ((stored, stored), (stored + 7, stored + 2), (90, 61), (60, 91), (33, 32), (700, 501)):
        file = tmp_path / f"{width}.png"
        oddities.noise(width, height).save(file)
        images = decode(file.read_bytes(), stored, fit, "bilinear")[None]
        pixels = in_the_middle(images, np.zeros(1, int), side).pixels[0]
        assert torch.equal(cropped(metadata["preprocessing"], file), pixels), (width, height)


def test_greys_that_use_12_of_16_bits_are_prepared_alike_if_their_text_says_so(tmp_path: Path) -> None:
    _, metadata = exported("imagefolder-45-crop-12bit:/nowhere", 38)
    assert metadata["preprocessing"]["depth"] == 12
    greys = oddities.deep(50, 61, bits=12)
    contents = {
        "png": oddities.encoded(Image.fromarray(greys), "PNG"),
        "tif": oddities.tiff(greys, 16, white_is_zero=True),
        "tiff": oddities.tiff(greys, 12),
        "more.png": oddities.encoded(Image.fromarray(oddities.deep(50, 61)), "PNG"),
    }
    for suffix, content in contents.items():
        (tmp_path / f"a.{suffix}").write_bytes(content)
        pixels = torch.from_numpy(decode(content, 45, "crop", "bilinear", 12)[4:42, 4:42].copy()).permute(2, 0, 1)
        assert torch.equal(cropped(metadata["preprocessing"], tmp_path / f"a.{suffix}"), pixels), suffix
        assert pixels.float().mean() > 80
    with pytest.raises(Broken):
        decode(oddities.png16(greys, 2), 45, "crop", "bilinear", 12)


def test_what_was_prepared_by_the_earlier_rule_says_so() -> None:
    _, now = exported("imagefolder-342-crop:/nowhere", 299)
    _, then = exported("imagefolder-342-crop:/nowhere", 299, rule=1)
    _, drawn = exported("emoji", 29, rule=1)
    assert now["preprocessing"] == then["preprocessing"] == now["preprocessing"] | {"square": 342, "resize": 342}
    for words in ("upright", "drops alpha", "the colour beneath it counts", "CenterCrop does both", "16 times"):
        assert words in now["pictures"]
    for words in ("lies on white", "not turned by EXIF", "but for TIFFs", "(square - crop) // 2"):
        assert words in then["pictures"]
        assert words not in now["pictures"]
    assert "Drawn" in drawn["pictures"]
    assert "(square - crop) // 2" in drawn["pictures"]


def test_our_own_networks_keep_their_names_and_can_be_bases_again(
    small_split: Split, small_recipe: Recipe, stores: Path, store: Store, tmp_path: Path
) -> None:
    run = Run("alexnet32", small_split.a, small_recipe)
    specs.enrol(tmp_path / "runs", run)
    run_pack([run.id], Where(tmp_path / "runs", stores, "cpu", "float32"))
    out = tmp_path / "own.safetensors"
    assert main(["export", run.id, "--out", str(out), "--runs", str(tmp_path / "runs")]) == 0
    trained = load_file(specs.folder(tmp_path / "runs", run.id) / "weights.safetensors")
    assert plain("alexnet32", trained).keys() == load_file(out).keys() == trained.keys()
    with safe_open(out, "pt") as file:
        metadata = {name: json.loads(text) for name, text in file.metadata().items()}
    assert metadata["library"] == "yosinski"
    build.build(metadata["model"], **metadata["arguments"]).load_state_dict(load_file(out))
    again = outside.described("alexnet32", str(out))
    assert again.classes == run.half.classes
    assert again.saw.told_by == "as the file says"
    record = states.read_record(specs.folder(tmp_path / "runs", run.id))
    assert record is not None
    assert again.hash == record["weights"]
