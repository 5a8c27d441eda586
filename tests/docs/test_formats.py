"""docs/formats.md says what is written: every key and column, no more and no fewer."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from imagenet import make_tree
from pages import first_column, section

from analysis.frame import frame
from sweeps.running.plan import plan
from yosinski import files, procedure
from yosinski.cli.main import main
from yosinski.data import find, place
from yosinski.data import store as data_stores
from yosinski.data.half import Half
from yosinski.data.halves import Split
from yosinski.data.pictures import making
from yosinski.environment import Where
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.records import attempts, specs, states


def named(text: str) -> set[str]:
    """All names in backticks."""
    return set(re.findall(r"`([a-z_0-9]+)`", text))


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory, stores: Path, small_split: Split, small_recipe: Recipe) -> Where:
    """A base that is done, a frozen copy of it that was stopped, and one that was never started."""
    where = Where(tmp_path_factory.mktemp("runs"), stores, device="cpu", precision="float32")
    base = Run("alexnet32", small_split.a, small_recipe)
    copy, never = base.copy(2, "frozen", base), base.copy(3, "frozen", base)
    for run in (base, copy, never):
        specs.enrol(where.runs, run)
    procedure.run_pack([base.id], where)
    looks = iter([False] * 8 + [True] * 8)
    procedure.run_pack([copy.id], where, stopping=lambda: next(looks))
    return where


def folders(where: Where) -> dict[str, Path]:
    return {path.name: path for path in specs.scan(where.runs)}


def by_treatment(where: Where, treatment: str, cut: int = 0) -> Path:
    for path in specs.scan(where.runs):
        spec = files.read_json(path / "run.json")["spec"]
        if spec["treatment"] == treatment and cut == (spec["cut"] or {"n": 0})["n"]:
            return path
    raise AssertionError(treatment)


def test_run(where: Where) -> None:
    written = files.read_json(by_treatment(where, "frozen", 2) / "run.json")
    keys = {f"spec.{name}" for name in written["spec"]} | (written.keys() - {"format"})
    assert keys == set(first_column("run.json"))


def test_recipe() -> None:
    assert sorted(first_column("A recipe")) == sorted(Recipe.__dataclass_fields__)


def test_record(where: Where) -> None:
    written = files.read_json(by_treatment(where, "base") / "record.json")
    listed = {name for name in first_column("record.json") if not name.startswith("<")}
    assert written.keys() - {"format"} == listed - {"tasks", "fusion"}  # which joint and fused runs have
    metrics = {"train_loss"} | {f"{name}_{what}" for name in ("select", "test", "unseen") for what in ("loss", "top1")}
    assert written["metrics"].keys() == metrics
    assert {tuple(counts) for counts in written["per_class"].values()} == {("images", "correct")}
    assert set(written["arithmetic"]) == {"dtype", "device", "threads", "head", "processor"}


def test_curve(where: Where) -> None:
    header = (by_treatment(where, "base") / "curve.csv").read_text().splitlines()[0].split(",")
    paragraph = section("curve.csv").split("On resume")[0]
    assert set(header) == named(paragraph)
    assert tuple(header) == attempts.CURVE


def test_claim_progress_and_checkpoint(where: Where) -> None:
    path = by_treatment(where, "frozen", 2)
    claim = json.loads((path / "claim.1.json").read_text())
    beat = states.progress(path)
    text = section("progress.json, claim.&lt;attempt&gt;.json, failure.json")
    claim_text = text.split("`claim`:")[1].split("A claim holds")[0]
    assert claim.keys() - {"format"} == named(claim_text)
    if beat is not None:
        assert set(beat) == named(text.split("`claim`:")[0]) - {"progress"}
    checkpoint = torch.load(path / "checkpoint.pt", weights_only=True)
    assert set(checkpoint) == named(section("checkpoint.pt").split("Keys:")[1])


def test_halves(where: Where) -> None:
    written: dict[str, Any] = files.read_json(next((where.runs / "halves").iterdir()))
    text, of_files = section("halves/&lt;digest&gt;.json").split("Halves of image files")
    assert written.keys() - {"format"} == named(text)
    half = Half("imagefolder-32-crop:/d", "f00d", ("ant", "bat"), rule=place.RULE)
    specs.enrol_half(where.runs.parent / "others", half)
    written = files.read_json(next((where.runs.parent / "others" / "halves").iterdir()))
    assert written.keys() - {"format"} - named(text) == {"rule"} <= named(of_files)
    assert specs.load_half(where.runs.parent / "others", half.digest).rule == 2


def test_store(stores: Path) -> None:
    path = data_stores.location(find.card("emoji"), stores)
    text = section("A store")
    of_files = {"fit", "interpolation", "decoder", "skipped", "rule"}
    assert json.loads((path / "store.json").read_text()).keys() - {"format"} == set(first_column("A store")) - of_files
    with np.load(path / "index.npz") as index:
        assert set(index) <= named(text)
        assert {index[name].dtype for name in index} == {np.dtype(np.int32)}
    assert {file.name for file in path.iterdir()} == {"images.npy", "index.npz", "store.json"}
    assert all(f"`{name}`" in text for name in ("images.npy", "index.npz", "store.json"))


def test_store_of_image_files(tmp_path: Path) -> None:
    text = f"imagenet-32:{make_tree(tmp_path / 't', 4, train=2, val=2)}"
    begun = making.begin(text, tmp_path / "stores")
    assert isinstance(begun, making.Making)
    path = making.fill(begun, workers=1)
    assert (path / "store.json").parent == data_stores.location(find.card(text), tmp_path / "stores")
    assert json.loads((path / "store.json").read_text()).keys() - {"format"} == set(first_column("A store"))
    listed = named(section("A store").split("`sources.parquet`, too:")[1].split("in the order of")[0])
    assert set(pd.read_parquet(path / "sources.parquet")) == listed
    assert {file.name for file in path.iterdir()} == {"images.npy", "index.npz", "sources.parquet", "store.json"}


def test_data_show(stores: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOSINSKI_STORES", str(stores))
    assert main(["data", "show", "emoji", "--stores", str(stores), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert set(content) == set(first_column("The JSON of `data show`"))
    inner = {*content["per_class"]["train"], *content["duplicates"], *content["duplicates"]["near"]} - {
        "train",
        "select",
        "test",
    }
    assert inner <= named(section("The JSON of `data show`"))


def test_data_texts() -> None:
    assert tuple(first_column("Where data sets are found")) == place.FORMS
    assert first_column("The geometry of stores") == re.findall(r"-\w+", place.GEOMETRY)


def test_frame(where: Where) -> None:
    recipe_columns = {name for name in frame(where.runs).columns if name.startswith("recipe_")}
    listed = [name for name in first_column("The frame") if name != "recipe_<value>"]
    assert [name for name in frame(where.runs).columns if name not in recipe_columns] == listed
    assert recipe_columns == {f"recipe_{name}" for name in Recipe.__dataclass_fields__}


def test_plan(where: Where) -> None:
    runs = [specs.load(where.runs, run_id) for run_id in folders(where)]
    written = plan(runs, where.runs, workers=2).as_json()
    text = section("The JSON of `plan`")
    keys = set(written) | {key for part in ("runs", "packs") for item in written[part] for key in item}
    assert keys | {"sweep", "parameters", "notes"} == named(text.split("--json`:")[1])
