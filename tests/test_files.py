"""Files that appear whole."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from yosinski import files
from yosinski.errors import BadInput


def test_files_of_all_kinds_may_be_read_by_the_same_people(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    files.replace(tmp_path / "weights", lambda path: save_file({"w": torch.zeros(1)}, path))
    files.write_json(tmp_path / "record.json", {})
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("file/new/report.md", "Not a directory"),
        ("folder", "Is a directory"),
        ("/proc/new/report.md", "(No such file or directory|Permission denied)"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_known_before(name: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("as it was")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match=f"cannot write .*: {why}"):
        files.check_writable(tmp_path / name)


def test_asking_whether_a_file_can_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("as it was")
    before = (tmp_path / "file").stat()
    for name in ("file", "new", "new/folder/file"):
        files.check_writable(tmp_path / name)
    assert (tmp_path / "file").stat() == before
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
