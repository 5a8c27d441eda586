"""From a directory of JPEGs to the paper's figure, command by command, with the paper's network and recipe.

Only sizes and numbers of steps are smaller. A network of 61 million weights learns nothing in one step, and says so.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from imagenet import make_tree

from yosinski.records import specs


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Path]:
    """A directory of which nothing stays: weights take a gigabyte."""
    yield tmp_path
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)


def yosinski(there: Path, *arguments: str, status: int = 0) -> str:
    """What a command prints."""
    line = [sys.executable, "-m", "yosinski", *arguments]
    done = subprocess.run(line, cwd=there, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def take_for_learned(runs: Path) -> None:
    """What stands in for 450,000 steps: nobody cuts a network that has learned nothing, or draws it as a result."""
    for path in specs.scan(runs):
        record = json.loads((path / "record.json").read_text())
        if record["state"] == "stuck":
            (path / "record.json").write_text(json.dumps({**record, "state": "done", "reason": None}))
        elif record["state"] == "blocked":
            (path / "record.json").unlink()


def test_a_tree_of_jpegs_goes_through_store_halves_bases_copies_and_figure(there: Path) -> None:
    make_tree(there / "ilsvrc", 20, train=4, val=2, truncated=1)
    refused = yosinski(there, "data", "store", "imagenet:ilsvrc", "--yes", status=2)
    assert "_1.JPEG" in refused
    assert not list((there / "stores").glob("imagenet*"))
    yosinski(there, "data", "store", "imagenet:ilsvrc", "--yes", "--skip-broken")
    shown = json.loads(yosinski(there, "halves", "random:0", "--data", "imagenet:ilsvrc", "--json"))
    assert [len(shown[letter]) for letter in "AB"] == [10, 10]

    sweep = ["figure2", "--data", "imagenet:ilsvrc", "-p", "network=caffenet", "-p", "recipe=paper", "-p", "cuts=7"]
    sweep += ["-p", "directions=AB", "-p", "treatments=frozen", "-p", "recipe.iterations=1"]
    sweep += ["-p", "recipe.batch_size=4", "-p", "recipe.evaluations=1"]
    told = yosinski(there, "run", *sweep, "--workers", "1", "--device", "cpu", "--precision", "float32")
    assert "2 stuck" in told
    assert "2 blocked" in told
    take_for_learned(there / "runs")
    yosinski(there, "run", *sweep, "--workers", "1", "--device", "cpu", "--precision", "float32")
    take_for_learned(there / "runs")
    written = yosinski(there, "draw", "2", "--metric", "select_top1", "--out", "figure2.png")
    assert {path.name for path in there.glob("figure2.*")} == {"figure2.png", "figure2.csv"}
    assert "figure2.png" in written
    assert set(pd.read_csv(there / "figure2.csv")["series"]) == {"base", "BnB", "AnB"}
