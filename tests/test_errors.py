"""Names that can be printed, and commands that can be repeated as they stand."""

import os
import shlex
from pathlib import Path

import pytest

from yosinski.errors import command, printable


def test_names_are_printable_whatever_their_bytes() -> None:
    assert printable("cat 1.jpg") == "cat 1.jpg"
    assert printable("café") == "café"
    assert printable(os.fsdecode(b"caf\xe9")) == "caf\\xe9"
    assert printable(Path(os.fsdecode(b"a/caf\xe9.jpg"))).encode() == b"a/caf\\xe9.jpg"


def test_commands_are_quoted_and_name_the_directories_that_are_not_the_usual_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "imagefolder-37:/our data/it's $HOME"
    assert shlex.split(command("data", "store", text)) == ["yosinski", "data", "store", text]
    usual = command("heal", "figure2", "-p", "cuts=3", stores=Path("stores"), runs=Path("runs"))
    assert usual == "yosinski heal figure2 -p cuts=3"
    assert command("plan", runs=tmp_path / "runs", stores=tmp_path / "stores") == "yosinski plan"
    assert command("plan", runs=Path("my runs"), stores=Path("s")) == "yosinski plan --stores s --runs 'my runs'"
    monkeypatch.setenv("YOSINSKI_STORES", str(tmp_path / "stores"))  # which the next shell may not have
    assert command("plan", stores=tmp_path / "stores") == f"yosinski plan --stores {tmp_path}/stores"
