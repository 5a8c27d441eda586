"""What tests of `yosinski decide` share: trainings that are made up, and the command on them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from trainer import Trainer

from yosinski.cli import local
from yosinski.cli.main import main

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    made = Trainer()
    monkeypatch.setattr(local, "run_sweep", made)
    return made


@pytest.fixture
def decide(trainer: Trainer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs the command in tmp_path/runs; exit status, output, error."""

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["decide", *words, "--runs", str(tmp_path / "runs"), "--stores", str(tmp_path / "stores")])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run
