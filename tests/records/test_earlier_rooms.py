"""A runs directory of the version before modules were moved: planned, shown, tabulated, advised and exported."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from analysis.frame import PARTNERED, frame, write
from yosinski.cli.main import main
from yosinski.experiment.recipes import SHARING
from yosinski.networks.tensors import fingerprint_of_file
from yosinski.records import specs, states

EARLIER = Path(__file__).parents[1] / "earlier" / "one_flat_room"
SKETCH = "-p recipe=sketch -p recipe.epochs=2 -p recipe.evaluations=2 -p recipe.batch_size=16 -p splits=small.json"
SWEEPS = (
    "-p seeds=0,1,2 -p cuts=3",
    "-p cuts=3 -p treatments=frozen,tuned,decayed,probed,thawed,single -p random=kaiming,matched",
    "-p network=net.py:build@32 -p cuts=1",
)


@pytest.fixture
def there(tmp_path: Path, stores: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    shutil.copytree(EARLIER, tmp_path, dirs_exist_ok=True)
    (tmp_path / "stores").symlink_to(stores)
    return tmp_path


@pytest.mark.parametrize("chosen", SWEEPS)
def test_nothing_is_left_of_its_sweeps(chosen: str, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(f"plan figure2 -p directions=AB {SKETCH} {chosen} --json".split()) == 0  # pyright: ignore[reportArgumentType]
    content = json.loads(capsys.readouterr().out)
    assert {run["state"] for run in content["runs"]} == {"done"}


def test_every_id_is_that_of_its_spec(there: Path) -> None:
    for path in specs.scan(there / "runs"):
        run = specs.load(there / "runs", path.name)
        written = json.loads((path / "run.json").read_text())
        assert (run.id, run.name, run.spec) == (path.name, written["name"], written["spec"])


def test_its_frame_is_what_it_was(there: Path) -> None:
    write(frame(there / "runs"), there / "now.csv")
    now = pd.read_csv(there / "now.csv")
    assert (now.pop("division") == 0).all()  # which came later, as the columns that are not there
    assert (now.pop("task") == 0).all()
    then = pd.read_csv(there / "frame.csv")
    later = set(now.columns) - set(then.columns)
    assert later == {
        "input",
        "partners",
        "partner_half",
        "partner_asks",
        "control",
        "asks",
        "ceiling",
        "emap_examples",
        "processes",
        "recipe_length",
        *PARTNERED,
        *(f"recipe_{name}" for name in SHARING),
    }
    now = now.reindex(columns=then.columns)
    pd.testing.assert_frame_equal(now, then)


def test_it_is_shown_and_advised(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "runs"]) == 0
    assert "34 runs: 34 done" in capsys.readouterr().out
    assert main(["advise", "--where", "network=alexnet32"]) == 0
    output = capsys.readouterr().out
    for choice in ("A3B+thawed", "A3B+single", "A3B+", "base"):
        assert f" {choice} " in output


def test_its_networks_are_exported(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frame", "--where", "name=A1B+", "--out", "own.csv"]) == 0
    (run_id,) = pd.read_csv("own.csv")["run"].unique()
    assert main(["export", run_id, "--out", "own.safetensors"]) == 0
    path = specs.folder(there / "runs", run_id)
    record = states.read_record(path)
    assert record is not None
    assert fingerprint_of_file(path / "weights.safetensors") == record["weights"]
    kept, plain = load_file(path / "weights.safetensors"), load_file("own.safetensors")
    assert torch.equal(plain["5.weight"], kept["head.5.weight"])
    with safe_open("own.safetensors", "pt") as file:
        assert json.loads(file.metadata()["test_top1"]) == record["metrics"]["test_top1"]
