"""The example with a real encoder as it stands in docs/text.md: from the weights to the exported model."""

import json
from pathlib import Path

import pytest
from pages import BLOCK, ROOT, printed

PAGE = (ROOT / "docs" / "text.md").read_text(encoding="utf-8")
EXAMPLE = PAGE[PAGE.index("## An example with real weights") : PAGE.index("## A picture and a word")]


def test_from_the_weights_to_the_exported_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YOSINSKI_STORES", raising=False)
    monkeypatch.chdir(tmp_path)
    made, worked, loaded = (printed(language, text) for language, text in BLOCK.findall(EXAMPLE))
    assert made == ""
    for words in ("man-made, natural", "encoder.layer.5", "left off: pooler", "W7B", "model"):
        assert words in worked
    assert loaded == "['natural', 'man-made']\n"
    told = json.loads((tmp_path / "model" / "yosinski.json").read_text())
    assert told["test_top1"] > 0.7
    assert told["length"] == 8
