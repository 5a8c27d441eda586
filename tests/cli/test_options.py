"""Options that several commands share."""

from pathlib import Path

import pytest
from commands import yosinski


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("advise --runs nowhere", "html"),
        ("advise --paper", "md"),
        ("frame --runs nowhere", "csv"),
        ("table 1 --runs nowhere", "json"),
        ("early --runs nowhere", "png"),
        ("draw 2 --runs nowhere", "pdf"),
        ("cuts alexnet32", "svg"),
        ("export A3B --runs nowhere", "safetensors"),
        ("predict --base baseA --runs nowhere", "csv"),
        ("data show emoji --stores nowhere", "png"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_before_anything_is_computed(
    command: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before records are read, too: of these there are none."""
    from analysis.tables import TABLES

    command = command.replace("table 1", f"table {next(iter(TABLES))}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a directory")
    (tmp_path / f"folder.{kind}").mkdir()
    for path, why in ((f"file/out.{kind}", "Not a directory"), (f"folder.{kind}", "Is a directory")):
        ended = yosinski(*command.split(), "--out", path)
        assert (ended.status, ended.out) == (2, ""), ended
        assert ended.errors == f"yosinski: cannot write {path}: {why}\n"


def test_numbers_of_a_figure_are_a_file_that_must_be_writable_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.csv").mkdir()
    ended = yosinski("draw", "2", "--paper", "--out", "out.pdf")
    assert (ended.status, ended.errors) == (2, "yosinski: cannot write out.csv: Is a directory\n")
