"""What tests of training share."""

import json
from pathlib import Path

import pytest
from packs import train
from sharing import Shared

from yosinski.data.halves import Split
from yosinski.environment import Where
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.records import specs


@pytest.fixture(scope="module")
def trained(shared: Shared, stores: Path, small_split: Split, small_recipe: Recipe) -> Where:
    """A runs directory with the bases of both halves in float32."""

    def make(runs: Path) -> None:
        for half in (small_split.a, small_split.b):
            train(Where(runs, stores, "cpu", "float32"), [Run("alexnet32", half, small_recipe)])

    return Where(shared("trained bases", make), stores, device="cpu", precision="float32")


@pytest.fixture
def bases(small_split: Split, small_recipe: Recipe) -> tuple[Run, Run]:
    return Run("alexnet32", small_split.a, small_recipe), Run("alexnet32", small_split.b, small_recipe)


@pytest.fixture
def where(trained: Where, tmp_path: Path) -> Where:
    """A fresh runs directory that holds the trained bases (linked, so that nobody can change them by accident)."""
    for path in specs.scan(trained.runs):
        if json.loads((path / "run.json").read_text())["spec"]["treatment"] == "base":
            target = tmp_path / path.relative_to(trained.runs)
            target.mkdir(parents=True)
            for file in path.iterdir():
                (target / file.name).write_bytes(file.read_bytes())
    (tmp_path / "halves").symlink_to(trained.runs / "halves")
    return Where(tmp_path, trained.stores, device="cpu", precision="float32")
