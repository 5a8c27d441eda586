"""Texts go the whole way of pictures: trained, looked at, predicted from, decided about, and found again."""

import csv
import itertools
from pathlib import Path

import pytest
import small_encoders
from commands import Ended, yosinski
from this_process import packs_in_this_process

from yosinski.networks.encoders import known

WORDS = {
    **{"animal": ("dog", "cat", "fish", "bird"), "sky": ("sun", "moon", "rain", "snow")},
    **{"plant": ("tree", "leaf", "root", "bark"), "tool": ("saw", "hammer", "nail", "drill")},
}
RECIPE = ["recipe.epochs=12", "recipe.length=12", "recipe.evaluations=2", "recipe.batch_size=32"]
SWEEP = ["--data", "textfile:texts.csv", "-p", "network=textnet", *(word for one in RECIPE for word in ("-p", one))]
GRID = ["figure2", *SWEEP, "-p", "cuts=1", "-p", "directions=AB", "-p", "treatments=frozen"]


@pytest.fixture(scope="module", autouse=True)
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with texts, and a small grid on them."""
    folder = tmp_path_factory.mktemp("texts")
    with (folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for label, words in WORDS.items():
            rows.writerows((f"{colour} {word}", label) for colour, word in itertools.product("abcdefgh", words))
    with pytest.MonkeyPatch.context() as patch, packs_in_this_process():
        patch.chdir(folder)
        ended = yosinski("run", *GRID, "--precision", "float32", "--device", "cpu")
        assert ended.status == 0, ended.errors
    return folder


def command(*words: str, status: int = 0) -> Ended:
    """As a process of its own, which knows of encoders what the runs directory says."""
    with packs_in_this_process(), pytest.MonkeyPatch.context() as patch:
        for registry in ("_known", "_read"):
            patch.setattr(known, registry, {})
        ended = yosinski(*words)
    assert ended.status == status, ended.out + ended.errors
    return ended


def test_a_grid_is_predicted_decided_and_shown(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    assert "5 runs: 5 done" in command("status", *GRID).out
    shown = command("predict", "--base", "baseA", "--split", "random:0", "--half", "B").out
    assert "4   block3" in shown
    assert "train texts and" in shown
    assert "textfile:" in command("predict", "branch", *SWEEP, "--images", "20").out
    assert "not decided within the budget" in command("decide", *GRID, "--budget", "4").out
    assert "A1B" in command("advise").out


def test_an_encoder_is_found_again_by_the_second_command(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    small_encoders.saved(trained / "encoder")
    values = ["cuts=1", "treatments=frozen", "seeds=0", "recipe.length=8", "recipe.epochs=1", "recipe.evaluations=1"]
    given = (word for one in values for word in ("-p", one))
    sweep = ["transfer", "--data", "textfile:texts.csv", "-p", "network=hf:encoder", *given, "--runs", "tuned"]
    command("run", *sweep, "--precision", "float32", "--device", "cpu")
    assert "nothing is left to do" in command("run", *sweep).out
    assert "3 runs" in command("status", *sweep).out
    base = next(path.parent.name for path in (trained / "tuned").glob("*/*/weights.safetensors") if _outside(path))
    target = ["--data", "textfile:texts.csv", "--runs", "tuned", "--images", "20"]
    refused = command("predict", "--base", base, *target, status=2).errors
    assert "add ,tokens=DIRECTORY" in refused
    assert "embeddings" in command("predict", "--base", base, "--network", "hf:encoder", *target).out


def _outside(weights: Path) -> bool:
    return '"outside"' in (weights.parent / "run.json").read_text(encoding="utf-8")
