"""What a text says of where weights are."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from yosinski.cli.main import main
from yosinski.errors import BadInput
from yosinski.pretrained.source import Source


@pytest.mark.parametrize(
    ("text", "library", "name"),
    [
        ("torchvision", "torchvision", ""),
        ("torchvision:IMAGENET1K_V2", "torchvision", "IMAGENET1K_V2"),
        ("timm:a1_in1k", "timm", "a1_in1k"),
    ],
)
def test_weights_of_a_library_have_its_name(text: str, library: str, name: str) -> None:
    assert Source.of(text) == Source(library, name)
    assert Source.of(text).text == text


def test_a_file_is_given_with_what_is_subtracted(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoint.parent)
    found = Source.of("checkpoint.pth:0.5,.5,0.5:0.25,0.25,1")
    assert found == Source("", "", checkpoint, (0.5, 0.5, 0.5), (0.25, 0.25, 1.0))
    assert Source.of(found.text) == found
    assert Source.of("checkpoint.pth").text == str(checkpoint)
    with pytest.raises(BadInput, match="from 0 to 1"):
        Source.of("checkpoint.pth:124,116,104:58,57,57")
    with pytest.raises(BadInput, match=r"no file .*/missing.pth of weights; write its path, or torchvision or timm"):
        Source.of("missing.pth")
    with pytest.raises(BadInput, match=r"is a directory: give a file of weights in it: checkpoint.pth"):
        Source.of(".")


def test_a_key_and_channels_follow_a_path(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoint.parent)
    grey = Source(path=checkpoint, key="a.b", channels="grey", mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    assert Source.of("checkpoint.pth#a.b:channels=grey:0.5,0.5,0.5:1,1,1") == grey
    assert Source.of("checkpoint.pth#a") == Source(path=checkpoint, key="a")
    assert Source.of("checkpoint.pth:channels=rgb") == Source(path=checkpoint, channels="rgb")
    for found in (grey, replace(grey, mean=None, std=None), replace(grey, key=""), replace(grey, channels="")):
        assert Source.of(found.text) == found
    with pytest.raises(BadInput, match=r"unknown channels of .* 'summed'; choose from: grey, rgb"):
        Source.of("checkpoint.pth:channels=summed")
    odd = checkpoint.with_name("run#3:0.5,0.5,0.5:1,1,1")
    shutil.copyfile(checkpoint, odd)
    shutil.copyfile(checkpoint, checkpoint.with_name("run#3"))
    assert Source.of(odd.name) == Source(path=odd)
    assert Source.of("run#3") == Source(path=odd.with_name("run#3"))
    assert Source.of("run#3#model_ema") == Source(path=odd.with_name("run#3"), key="model_ema")
    assert Source.of(Source.of(f"{odd.name}#model").text) == Source(path=odd, key="model")
    with pytest.raises(BadInput, match=r"no file .*/missing.pth#model of weights"):
        Source.of("missing.pth#model")


@pytest.mark.parametrize("text", ["none", "None", "scratch", "random"])
def test_no_weights_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "transfer", "--data", "emoji", "-p", "network=alexnet32", "-p", f"weights={text}"]) == 2
    errors = capsys.readouterr().err
    assert f"weights '{text}' are none, and a base from outside needs some" in errors
    assert "from scratch are what figure2 trains" in errors
