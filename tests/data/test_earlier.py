"""Records of a version that knew image files by names and sizes: read, shown and exported, and said to be such."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors import safe_open
from this_process import packs_in_this_process

from analysis import frame
from yosinski.cli.main import main
from yosinski.data import find, place
from yosinski.records import specs

EARLIER = Path(__file__).parents[1] / "earlier" / "listed_by_names_and_sizes"
TOLD = "listed by names and sizes, and prepared, by an earlier version"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, in the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(EARLIER / "stores", "stores")
    return Path(shutil.copytree(EARLIER / "runs", "runs"))


def test_their_halves_are_of_rule_1_and_their_ids_are_what_they_were(runs: Path) -> None:
    for path in specs.scan(runs):
        run = specs.load(runs, path.name)
        assert (run.id, run.half.rule, place.earlier(run.half.data, run.half.rule)) == (path.name, 1, True)
        specs.enrol_half(runs / "again", run.half)
    for path in (runs / "halves").iterdir():
        assert (runs / "again" / "halves" / path.name).read_text() == path.read_text()


def test_status_frame_and_advice_say_so(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "runs"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"4 runs on images {TOLD}: baseA (5d954604), baseB (e64299ed), A2A (a812d1f4), B2A (f03094fd)" in shown
    assert main(["status", "runs", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert set(content["earlier"]) == {run["id"] for run in content["runs"]}
    table = frame(runs)
    assert set(table["rule"]) == {1}
    assert main(["frame", "--runs", "runs", "--out", "frame.csv"]) == 0
    assert set(pd.read_csv("frame.csv")["rule"]) == {1}
    capsys.readouterr()
    assert main(["advise", "--runs", "runs", "--json"]) == 0
    assert f"Images were {TOLD}." in capsys.readouterr().out


def test_what_is_done_can_be_exported(runs: Path) -> None:
    assert main(["export", "B2A", "--runs", "runs", "--out", "b2a.safetensors"]) == 0
    with safe_open("b2a.safetensors", "pt") as file:
        assert json.loads(file.metadata()["run"]) == "f03094fd00e72471"


def test_the_same_files_are_trained_on_anew_and_stand_apart(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    for name in ("cat", "dog", "hen", "owl"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for k in range(40):
            pixels = draw.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{k:02d}.bmp")
    (old,) = Path("stores").iterdir()
    described = json.loads((old / "store.json").read_text())
    text = f"imagefolder-32-crop:{tmp_path}/pictures"
    (old / "store.json").write_text(json.dumps({**described, "data": text}))
    command = ["figure2", f"-pdata={text}", "-pdirections=BA", "-pcuts=2", "-ptreatments=frozen", "-precipe=sketch"]
    assert main(["plan", *command, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert {run["state"] for run in planned["runs"]} == {"missing"}
    assert planned["notes"] == [f"{text}: {old} is not used: its images were {TOLD}; it can be deleted"]
    for half in (runs / "halves").iterdir():
        half.write_text(half.read_text().replace("imagefolder-32-crop:/pictures", text))
    half = find.card(text).fingerprint
    assert half != described["fingerprint"]
    parts = ["-precipe.epochs=1", "-precipe.evaluations=1", "--workers=1", "--device=cpu"]
    with packs_in_this_process():
        assert main(["run", *command, *parts]) == 0
    assert sorted(set(frame(runs)["rule"])) == [1, 2]
    capsys.readouterr()
    assert main(["advise", "--json"]) == 0
    titles = [part["title"] for part in json.loads(capsys.readouterr().out)["parts"]]
    assert len([title for title in titles if "images listed and prepared by rule" in title]) == 2
