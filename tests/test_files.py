"""Files that appear whole."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from yosinski import files


def test_files_of_all_kinds_may_be_read_by_the_same_people(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    files.replace(tmp_path / "weights", lambda path: save_file({"w": torch.zeros(1)}, path))
    files.write_json(tmp_path / "record.json", {})
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1
