"""What tests of a cluster share."""

from pathlib import Path

import pytest
from watched import Sweep

from slurm import cluster


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    made = Sweep(tmp_path / "runs")
    made.runs.mkdir()
    monkeypatch.setattr(cluster, "elements", lambda names: {name: made.answers.get(name, {}) for name in names})
    monkeypatch.setattr(cluster, "name", lambda: "here")
    return made
