"""Weights of a library, and a base from outside: read once, brought in once."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import pictures
import pytest
import torch
import torchvision

from yosinski.cli.main import main
from yosinski.errors import BadInput
from yosinski.networks.tensors import fingerprint_of_file
from yosinski.pretrained import outside, source, weights
from yosinski.records import specs, states

NETWORK = "resnet18@32"


def test_weights_in_the_hubs_cache_are_taken_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
    file.parent.mkdir(parents=True)
    torch.save(pictures.resnet18(1000).state_dict(), file)
    found = outside.described(NETWORK)
    assert found.source == "torchvision:IMAGENET1K_V1"
    assert found.sha256 == source.sha256(file)
    assert found.classes[:2] == ("tench", "goldfish")
    assert found.saw.told_by == "that of torchvision:IMAGENET1K_V1"
    assert outside.described(NETWORK, "torchvision:DEFAULT").half == found.half


def test_weights_that_cannot_be_fetched_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: object, **__: object) -> NoReturn:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    assert main(["plan", "transfer", "--data", "emoji", "-p", "network=resnet34@32", "-p", "weights=torchvision"]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "weights torchvision:IMAGENET1K_V1 of resnet34 cannot be fetched" in errors
    assert "put https://" in errors


@pytest.mark.parametrize(
    ("network", "text", "message"),
    [
        ("resnet50", "torchvision:IMAGENET", "choose from: IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT"),
        ("timm:resnet18", "timm:best", "choose from: a1_in1k, "),
        ("resnet18", "timm", "timm names no weights of resnet18"),
        ("timm:resnet18", "torchvision", "torchvision names no weights of timm:resnet18"),
        ("alexnet32", None, "no published weights of alexnet32"),
    ],
)
def test_unknown_weights_are_refused_with_the_known_ones(network: str, text: str | None, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        outside.described(network, text)


def test_the_id_is_that_of_the_tensors_and_of_what_is_subtracted(checkpoint: Path) -> None:
    def base(text: object) -> Any:
        return outside.base(NETWORK, outside.described(NETWORK, str(text)))

    one = base(checkpoint)
    other = checkpoint.with_name("copy.pt")
    shutil.copyfile(checkpoint, other)
    assert base(other) == one
    assert base(f"{checkpoint}:0.5,0.5,0.5:0.5,0.5,0.5").id != one.id
    state = torch.load(checkpoint, weights_only=True)
    torch.save({**state, "fc.bias": state["fc.bias"] + 1}, checkpoint)
    assert base(checkpoint).id != one.id
    assert (one.name, one.is_base, one.is_trained) == ("outsideW", True, False)


def test_what_was_read_once_is_remembered(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "SETTLED", 0.0)  # as if it had been written some time ago: a change would show
    argv = ["plan", "transfer", "--data", "emoji", "-p", "network=alexnet32", "-p", f"weights={own}", "--json"]
    assert main(argv) == 0
    code = f"from yosinski.cli.main import main\nassert main({argv}) == 0\nimport sys\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_other_content_of_the_same_size_and_time_is_noticed(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "SETTLED", 0.0)
    os.utime(own, (1e9, 1e9))
    before, size = outside.described("alexnet32", str(own)), own.stat().st_size
    torch.save({**torch.load(own, weights_only=True), "head.bias": torch.ones(6)}, own)
    os.utime(own, (1e9, 1e9))
    assert own.stat().st_size == size
    after = outside.described("alexnet32", str(own))
    assert after.hash != before.hash
    other = own.with_name("other.pth")
    torch.save({**torch.load(own, weights_only=True), "head.bias": -torch.ones(6)}, other)
    os.utime(other, (1e9, 1e9))
    other.replace(own)
    assert outside.described("alexnet32", str(own)).hash not in (before.hash, after.hash)


def test_what_has_just_changed_is_not_remembered(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(own, (1e9, 1e9))  # says that it is old
    before = outside.described("alexnet32", str(own))
    monkeypatch.setattr(weights, "read", lambda *_: (replace(before, hash="read again"), {}))
    assert outside.described("alexnet32", str(own)).hash == "read again"


def test_it_is_brought_in_once_and_again_when_it_is_damaged(own: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    base = outside.base("alexnet32", outside.described("alexnet32", str(own)))
    outside.bring(base, runs)
    path = specs.folder(runs, base.id)
    record = states.read_record(path)
    assert record is not None
    assert record["weights"] == fingerprint_of_file(path / "weights.safetensors")
    assert record["outside"]["sha256"] == source.sha256(own)
    assert specs.load(runs, base.id) == base
    before = (path / "record.json").stat().st_mtime_ns
    outside.bring(base, runs)
    assert (path / "record.json").stat().st_mtime_ns == before

    (path / "weights.safetensors").write_bytes(b"gone")
    assert states.spoilt(path)
    aside = own.rename(own.with_name("elsewhere.pth"))
    with pytest.raises(BadInput, match="no file"):
        outside.bring(base, runs)
    assert states.state(path) == "done"  # nothing was touched
    aside.rename(own)
    outside.bring(base, runs)
    assert not states.spoilt(path)
    assert (path / "weights.safetensors.damaged-1").read_bytes() == b"gone"

    torch.save({**torch.load(own, weights_only=True), "head.bias": torch.ones(6)}, own)
    with pytest.raises(BadInput, match="they have changed"):
        outside.bring(base, tmp_path / "other")
