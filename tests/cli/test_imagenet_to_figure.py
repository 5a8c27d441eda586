"""From a directory of JPEGs to the paper's figure, command by command, with the paper's network and recipe.

Only sizes and numbers of steps are smaller. A network of 61 million weights learns nothing in one step, and says so.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from commands import yosinski
from imagenet import make_tree
from this_process import packs_in_this_process

from yosinski.records import specs


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory of which nothing stays: weights take a gigabyte."""
    monkeypatch.delenv("YOSINSKI_STORES", raising=False)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)


def printed(*arguments: str, status: int = 0) -> str:
    """What a command prints."""
    with packs_in_this_process():
        ended = yosinski(*arguments)
    assert ended.status == status, ended.out + ended.errors
    return ended.out + ended.errors


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
    refused = printed("data", "store", "imagenet:ilsvrc", "--yes", status=2)
    assert "_1.JPEG" in refused
    assert not list((there / "stores").glob("imagenet*"))
    printed("data", "store", "imagenet:ilsvrc", "--yes", "--skip-broken")
    shown = json.loads(printed("halves", "random:0", "--data", "imagenet:ilsvrc", "--json"))
    assert [len(shown[letter]) for letter in "AB"] == [10, 10]

    sweep = ["figure2", "--data", "imagenet:ilsvrc", "-p", "network=caffenet", "-p", "recipe=paper", "-p", "cuts=7"]
    sweep += ["-p", "directions=AB", "-p", "treatments=frozen", "-p", "recipe.iterations=1"]
    sweep += ["-p", "recipe.batch_size=4", "-p", "recipe.evaluations=1"]
    trained = printed("run", *sweep, "--workers", "1", "--device", "cpu", "--precision", "float32")
    assert "2 stuck" in trained
    assert "2 blocked" in trained
    take_for_learned(there / "runs")
    printed("run", *sweep, "--workers", "1", "--device", "cpu", "--precision", "float32")
    take_for_learned(there / "runs")
    written = printed("draw", "2", "--metric", "select_top1", "--out", "figure2.png")
    assert {path.name for path in there.glob("figure2.*")} == {"figure2.png", "figure2.csv"}
    assert "figure2.png" in written
    assert set(pd.read_csv(there / "figure2.csv")["series"]) == {"base", "BnB", "AnB"}
