"""Weights from outside: found, read safely, refused by name where they do not fit, brought in once."""

import argparse
import gzip
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import numpy as np
import pictures
import pytest
import synthetic
import torch
import torchvision
from safetensors.torch import load_file, save_file

import sweeps
from analysis import frame
from analysis.advice.answer import answer
from analysis.advice.blocks import blocks
from analysis.advice.settle import settling
from analysis.paired import one_row_per_run
from slurm import status
from slurm.heal import with_spoilt_bases
from sweeps.merge import merge
from sweeps.plan import plan
from sweeps.transfer import transfer
from yosinski.cli.main import main
from yosinski.cli.prepare import prepare
from yosinski.data.halves import Split
from yosinski.data.place import suited
from yosinski.environment import Where
from yosinski.errors import BadInput
from yosinski.experiment.recipes import SKETCH
from yosinski.experiment.run import Run
from yosinski.networks import build
from yosinski.networks.batch import Batch
from yosinski.networks.tensors import fingerprint, fingerprint_of_file
from yosinski.pretrained import outside, source, weights
from yosinski.pretrained.export import export
from yosinski.pretrained.outside import NO_CONTROL
from yosinski.pretrained.source import Source, Weights
from yosinski.procedure import run_pack
from yosinski.records import specs, states

NETWORK = "resnet18@32"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Console:
    """One that shows nothing."""

    def status(self, text: str) -> Any:
        """A context that does nothing."""
        return pytest.MonkeyPatch.context()


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return pictures.resnet18()


@pytest.fixture
def checkpoint(model: torch.nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pth"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Weights of one of our own networks: small and quick."""
    path = tmp_path / "own.pth"
    tensors = build.drawn("alexnet32", 6, 1, "kaiming", 1).state_dict()
    torch.save({**tensors, "conv1.standardise.mean": tensors["conv1.standardise.mean"] + 100}, path)
    return path


def read(path: Path, network: str = NETWORK) -> tuple[Weights, weights.Tensors]:
    return weights.read(network, Source.of(str(path)))


# What a text says


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
    told = capsys.readouterr().err
    assert f"weights '{text}' are none, and a base from outside needs some" in told
    assert "from scratch are what figure2 trains" in told


# How they are read


def test_the_network_computes_what_the_model_does(model: torch.nn.Module, checkpoint: Path) -> None:
    known, tensors = read(checkpoint)
    network = build.build(NETWORK, 6).eval()
    network.load_state_dict(tensors)
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    prepare = torchvision.transforms.Normalize(MEAN, STD)
    with torch.no_grad():
        torch.testing.assert_close(network(Batch.whole(pixels)), model(prepare(pixels / 255)), rtol=1e-5, atol=1e-5)
    assert known.classes == tuple(f"class {k}" for k in range(6))
    assert known.hash == fingerprint(tensors)
    assert (known.preprocessing.mean, known.preprocessing.stored(32)) == (MEAN, 37)
    assert "taken to be" in known.preprocessing.told_by
    assert read(Path(f"{checkpoint}:0.5,0.5,0.5:0.5,0.5,0.5"))[1]["conv1.standardise.std"].unique() == 127.5


def test_however_they_are_wrapped_they_are_the_same(model: torch.nn.Module, checkpoint: Path) -> None:
    state = model.state_dict()
    plain = read(checkpoint)[0]
    prefixed = {f"module.model.{name}": tensor for name, tensor in state.items()}
    old = {name: tensor for name, tensor in state.items() if "num_batches_tracked" not in name}
    for k, value in enumerate([{"state_dict": prefixed, "epoch": 9}, {"model": state, "args": {"lr": 0.1}}, old]):
        torch.save(value, checkpoint.with_name(f"{k}.pt"))
        assert read(checkpoint.with_name(f"{k}.pt"))[0].half == plain.half
    save_file(prefixed, checkpoint.with_suffix(".safetensors"))
    assert read(checkpoint.with_suffix(".safetensors"))[0].half == plain.half


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def test_nothing_in_a_file_is_executed(model: torch.nn.Module, checkpoint: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    torch.save({"state_dict": Trap(str(sprung))}, tmp_path / "trap.pth")
    with pytest.raises(BadInput, match=r"trap.pth cannot be read as weights: it holds no tensors, but state_dict"):
        read(tmp_path / "trap.pth")
    torch.save({"state_dict": model.state_dict(), "args": Trap(str(sprung))}, tmp_path / "trap.pth")
    assert read(tmp_path / "trap.pth")[0].half == read(checkpoint)[0].half
    assert not sprung.exists()


def test_what_training_scripts_save_is_taken(model: torch.nn.Module, checkpoint: Path) -> None:
    plain, state = read(checkpoint)[0], model.state_dict()
    args = argparse.Namespace(lr=0.1, output=Path("out"))
    for value in (
        {"model": state, "optimizer": {"state": {}}, "epoch": 1, "args": args, "model_ema": state},
        {"state_dict": state, "state_dict_ema": state, "args": args, "arch": "resnet18", "metric": np.float64(0.9)},
        {"state_dict": {**{f"model.{k}": v for k, v in state.items()}, "criterion.weight": torch.ones(6)}},
        model,
        {"net": torch.nn.DataParallel(model)},
    ):
        torch.save(value, checkpoint)
        assert read(checkpoint)[0].half == plain.half


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"no weights at all", "as what torch has saved|it does not begin as safetensors do"),
        (b"PK\x03\x04", "as what torch has saved"),
        (b"\n<!DOCTYPE html><html>404", "it is a web page: what was downloaded is not the file"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "it is a web page"),
        (b'{"error": "not found"}', "it is JSON"),
        (LFS, "it is a pointer of Git LFS to a file that was not fetched: git lfs pull"),
        (gzip.compress(b"weights", mtime=0), r"it is compressed \(gzip\): unpack it"),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file, as Keras writes them"),
        (b"\x93NUMPY\x01\x00", "it is an array of NumPy"),
        (b"storages".ljust(257, b"\0") + b"ustar".ljust(255, b"\0"), r"it is a tar archive: .* torch before 0.1.10"),
        (
            pickle.dumps({"conv1.weight": [1.0]}),
            "as what torch has saved it is cut off or damaged: torch.save begins otherwise",
        ),
        ((100).to_bytes(8, "little") + b'{"a":' + b" " * 200, "as safetensors: "),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_file_of_weights_is_named(tmp_path: Path, content: bytes, told: str, suffix: str) -> None:
    (tmp_path / f"bad{suffix}").write_bytes(content)
    with pytest.raises(BadInput, match=rf"bad{suffix} cannot be read as weights: ({told})"):
        read(tmp_path / f"bad{suffix}")


def test_archives_of_something_else_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", kernel=np.ones(3))
    with pytest.raises(BadInput, match=r"it is a zip archive that torch.save has not written, of kernel.npy"):
        read(tmp_path / "bad.npz")
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "bad.pt")
    with pytest.raises(BadInput, match=r"it is a program \(TorchScript\): save model.state_dict\(\)"):
        read(tmp_path / "bad.pt")
    whole = tmp_path / "whole.pth"
    torch.save({"a": torch.ones(1000)}, whole)
    whole.write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(BadInput, match=r"whole.pth cannot be read as weights: as what torch has saved"):
        read(whole)


def test_what_holds_no_tensors_is_told_by_its_keys(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "optimiser": {}}, tmp_path / "odd.pth")
    with pytest.raises(BadInput, match=r"odd.pth cannot be read as weights: it holds no tensors, but epoch, optimiser"):
        read(tmp_path / "odd.pth")


def test_files_are_known_by_what_they_hold(model: torch.nn.Module, checkpoint: Path) -> None:
    plain, state = read(checkpoint)[0], model.state_dict()
    save_file(state, checkpoint.with_name("pytorch_model.bin"))
    assert read(checkpoint.with_name("pytorch_model.bin"))[0].half == plain.half
    torch.save(state, checkpoint.with_name("other.safetensors"))
    assert read(checkpoint.with_name("other.safetensors"))[0].half == plain.half


def test_numbers_of_safetensors_are_looked_at(model: torch.nn.Module, tmp_path: Path) -> None:
    path, state = tmp_path / "t.safetensors", model.state_dict()
    save_file({**state, "bn1.bias": state["bn1.bias"] * torch.nan}, path)
    with pytest.raises(BadInput, match=r"holds NaN or infinity in bn1.bias"):
        read(path)
    save_file({**state, "bn1.bias": state["bn1.bias"].long()}, path)
    with pytest.raises(BadInput, match=r"no floating-point numbers: bn1.bias \(int64\)"):
        read(path)


def test_an_index_names_the_files_of_its_weights(model: torch.nn.Module, checkpoint: Path, tmp_path: Path) -> None:
    state = model.state_dict()
    names = {name: f"model-0000{1 + (k % 2)}-of-00002.safetensors" for k, name in enumerate(state)}
    for file in set(names.values()):
        save_file({name: tensor for name, tensor in state.items() if names[name] == file}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": names}))
    known = read(index)[0]
    assert known.half == read(checkpoint)[0].half
    assert known.sha256 == source.sha256(*source.parts(index))
    assert len(source.parts(index)) == 3
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(BadInput, match=r"names files that are not there: model-00002-of-00002.safetensors"):
        read(index)
    for content in (
        "[]",
        "{}",
        '{"weight_map": {"a": "../b"}}',
        '{"weight_map": {"a": ".."}}',
        '{"weight_map": {}}',
        "[",
    ):
        index.write_text(content)
        with pytest.raises(BadInput, match="is no index of weights"):
            read(index)


def test_what_does_not_fit_is_listed(model: torch.nn.Module, checkpoint: Path) -> None:
    state = model.state_dict()
    del state["bn1.weight"], state["layer4.1.conv1.weight"]
    torch.save({**state, "neck.bias": torch.zeros(3), "conv1.weight": torch.zeros(64, 3, 3, 3)}, checkpoint)
    with pytest.raises(BadInput) as refused:
        read(checkpoint)
    assert str(refused.value) == (
        f"{checkpoint} does not fit {NETWORK}; missing: bn1.weight, layer4.1.conv1.weight; unexpected: neck.bias; "
        "of another shape: conv1.weight (64 x 3 x 3 x 3 for 64 x 3 x 7 x 7)"
    )
    with pytest.raises(BadInput, match=r"does not fit alexnet32; missing: conv1.conv.bias"):
        read(checkpoint, "alexnet32")


def test_heads_for_training_only_are_left_out(tmp_path: Path) -> None:
    googlenet = torchvision.models.googlenet(num_classes=5, init_weights=False)
    torch.save(googlenet.state_dict(), tmp_path / "googlenet.pth")
    known, tensors = read(tmp_path / "googlenet.pth", "googlenet@64")
    assert known.left_off == ("aux1", "aux2")
    assert not any("aux" in name for name in tensors)
    assert known.preprocessing.mean == (0.5, 0.5, 0.5)  # torchvision's own are used with transform_input


def test_classes_of_one_name_are_told_apart() -> None:
    assert weights.told_apart(["crane", "frog", "crane"]) == ("crane (0)", "frog", "crane (2)")
    imagenet = torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"]
    assert len(set(weights.told_apart(imagenet))) == 1000


# Weights of a library


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
    assert found.preprocessing.told_by == "that of torchvision:IMAGENET1K_V1"
    assert outside.described(NETWORK, "torchvision:DEFAULT").half == found.half


def test_weights_that_cannot_be_fetched_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: object, **__: object) -> NoReturn:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    assert main(["plan", "transfer", "--data", "emoji", "-p", "network=resnet34@32", "-p", "weights=torchvision"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "weights torchvision:IMAGENET1K_V1 of resnet34 cannot be fetched" in told
    assert "put https://" in told


@pytest.mark.parametrize(
    ("network", "text", "told"),
    [
        ("resnet50", "torchvision:IMAGENET", "choose from: IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT"),
        ("timm:resnet18", "timm:best", "choose from: a1_in1k, "),
        ("resnet18", "timm", "timm names no weights of resnet18"),
        ("timm:resnet18", "torchvision", "torchvision names no weights of timm:resnet18"),
        ("alexnet32", None, "no published weights of alexnet32"),
    ],
)
def test_unknown_weights_are_refused_with_the_known_ones(network: str, text: str | None, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        outside.described(network, text)


# A base from outside


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


# The sweep, and what plans, records and other commands make of such a base


def test_transfer_is_what_a_practitioner_asks(own: Path, tmp_path: Path) -> None:
    runs = transfer("emoji", "alexnet32", str(own), cuts=(3, "conv5"), seeds=(0, 1))
    expected = ["baseB", "W3B", "W5B", "W3B+", "W5B+"]
    assert [run.name for run in runs] == ["outsideW", *expected, *expected]
    assert len(runs[1].half.classes) == 200
    assert {run.parent for run in runs[2:6]} == {runs[0]}
    told = outside.notes(runs)
    assert told[-1] == NO_CONTROL
    assert f"{own}, 6 classes; preprocessing that of the file: mean 0.392" in told[0]

    with_control = transfer("emoji", "alexnet32", str(own), (3,), ("frozen",), (0,), selffers=True, half="random:0:A")
    assert [run.name for run in with_control] == ["outsideW", "baseB", "B3B", "W3B"]
    assert NO_CONTROL not in outside.notes(with_control)
    assert [run.name for run in transfer("emoji", "alexnet32", str(own), (3,), ("tuned",), (0,), scratch=False)] == [
        *("outsideW", "W3B+")
    ]
    with pytest.raises(BadInput, match="leave out scratch=false"):
        transfer("emoji", "alexnet32", str(own), selffers=True, scratch=False)
    with pytest.raises(BadInput, match="unknown treatment 'base'"):
        transfer("emoji", "alexnet32", str(own), treatments=("base",))


def test_images_are_stored_as_the_weights_have_seen_theirs(tmp_path: Path) -> None:
    text = suited(f"imagefolder:{tmp_path}", 224, 232, "bicubic")
    assert text == f"imagefolder-232-crop-bicubic:{tmp_path}"
    assert suited(f"imagefolder-warp-bilinear:{tmp_path}", 224, 232, "bicubic").startswith("imagefolder-232-warp:")
    assert suited(f"imagefolder-300:{tmp_path}", 224, 232, "bicubic") == f"imagefolder-300:{tmp_path}"


def test_images_that_do_not_fit_are_refused(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["plan", "transfer", "--data", "emoji", "-p", "network=resnet18@64", "-p", f"weights={checkpoint}"]
    assert main(argv) == 2
    assert "resnet18@64 sees 64 x 64 pixels at a time, emoji has 32 x 32" in capsys.readouterr().err


def test_no_pack_trains_it_and_it_counts_as_nobodys_work(own: Path, tmp_path: Path, stores: Path) -> None:
    runs = transfer("emoji", "alexnet32", str(own), (3,), ("frozen",), (0,))
    made = plan(runs, tmp_path / "runs", 1)
    assert [[run.name for run in pack.runs] for pack in made.packs] == [["baseB"], ["W3B"]]
    assert made.as_json()["done"] == 0
    assert made.costs[runs[0].id].flops == 0
    prepare(made.left, tmp_path / "runs", stores, Console())
    made = plan(runs, tmp_path / "runs", 1)
    assert (made.states[runs[0].id], made.as_json()["done"]) == ("done", 1)
    assert "nothing has been measured" in made.speeds.basis


def test_status_frame_heal_and_merge_know_it(own: Path, tmp_path: Path) -> None:
    runs, merged = tmp_path / "runs", tmp_path / "merged"
    base, _, copy = transfer("emoji", "alexnet32", str(own), (3,), ("frozen",), (0,))
    outside.bring(base, runs)
    specs.enrol(runs, copy)
    seen, _ = status.sights(runs, status.entries_of(runs))
    assert [(sight.entry.row, sight.state) for sight in seen] == [("outside", "done"), ("AnB", "missing")]
    table = frame(runs)
    assert set(table["series"]) == {"outside", "AnB"}
    assert table.loc[table["series"] == "outside", "data"].item() == f"weights:{own}"

    (specs.folder(runs, base.id) / "weights.safetensors").write_bytes(b"gone")
    failed = [replace(sight, state="failed") if sight.entry.id == copy.id else sight for sight in seen]
    assert with_spoilt_bases(runs, failed) == failed  # `prepare` brings it in again
    outside.bring(base, runs)
    assert str(merge([runs], merged)) == ("1 copied, 0 already here, 1 not finished, 0 left to who is training them")
    assert not states.spoilt(specs.folder(merged, base.id))
    assert json.loads((specs.folder(merged, base.id) / "record.json").read_text())["outside"]["left_off"] == []


def test_a_base_without_a_head_of_its_own_is_one(own: Path, tmp_path: Path, stores: Path, small_split: Split) -> None:
    """Copies never take a head: frozen, single and preserved ones are trained, predictions made, and it is exported."""
    state = torch.load(own, weights_only=True)
    body = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    torch.save({"state_dict": body, "queue": torch.ones(3)}, own)
    runs = tmp_path / "runs"
    base = outside.base("alexnet32", outside.described("alexnet32", str(own)))
    target = Run("alexnet32", small_split.b, SKETCH.with_values({"batch_size": 32, "epochs": 1.0, "evaluations": 1}))
    copies = [target.copy(7, "frozen", base), target.copy(3, "single", base), target.copy(3, "frozen", base, None, 2)]
    (line, _) = outside.notes([*copies, target])
    assert line.count("\n") == 0
    assert f"{own}, 2 placeholder classes; " in line
    assert line.endswith("; taken: #state_dict; head not taken: no head.weight, head.bias; left off: queue (1 tensor)")
    prepare(copies, runs, stores, Console())
    record = states.read_record(specs.folder(runs, base.id))
    assert record is not None
    assert record["outside"] | {"preprocessing": None, "sha256": None} == {
        "source": str(own),
        "sha256": None,
        "place": "state_dict",
        "also": [],
        "head": "not taken: no head.weight, head.bias",
        "changed": [],
        "left_off": ["queue (1 tensor)"],
        "preprocessing": None,
    }
    run_pack([run.id for run in copies], Where(runs, stores, "cpu", "float32"))
    assert {states.state(specs.folder(runs, run.id)) for run in copies} <= {"done", "stuck"}
    kept = load_file(specs.folder(runs, copies[1].id) / "weights.safetensors")
    assert torch.equal(kept["fc7.linear.weight"], body["fc7.linear.weight"])
    export(runs, base, tmp_path / "base.safetensors")
    again = outside.described("alexnet32", str(tmp_path / "base.safetensors"))
    assert (again.hash, again.classes) == (record["weights"], base.half.classes)


def end(runs: Path, run: Run, top1: float) -> None:
    """A finished record, if there is none yet, beside that of its base."""
    theirs = states.read_record(specs.folder(runs, run.parent.id)) if run.parent else None
    if states.state(specs.folder(runs, run.id)) != "done":
        synthetic.finish(runs, run, top1, (0.3, top1), parent_weights=theirs["weights"] if theirs else None)


def test_advice_is_given_on_its_copies_beside_the_selffers(own: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    base, *others = transfer("emoji", "alexnet32", str(own), (3, 5), ("frozen",), (0, 1), selffers=True)
    outside.bring(base, runs)
    for k, run in enumerate(others):
        end(runs, run, 0.5 + k / 100)
    table = frame(runs)
    (block,) = blocks(table, directory=runs)
    assert set(block.runs["series"]) == {"base", "BnB", "AnB"}
    assert block.weights == str(own)
    assert set(one_row_per_run(table, "test_top1")["series"]) == {"base", "BnB", "AnB"}

    said = answer(block)
    assert set(said.rows["choice"]) == {"base", "W3B", "W5B"}  # as `status` and `export` call these copies
    todo = settling(block, said)
    assert todo is not None
    (tmp_path / "settle.py").write_text(todo.sweep, encoding="utf-8")
    planned = sweeps.find(str(tmp_path / "settle.py"))()
    new = {run.id for run in planned if states.state(specs.folder(runs, run.id)) == "missing"}
    assert {run.id for run in planned} - new == {run.id for run in [base, *others] if not run.selffer}
    assert sum(run.parent is not None for run in planned if run.id in new) == todo.missing


def test_copies_of_different_weights_are_not_averaged(own: Path, tmp_path: Path) -> None:
    other = own.with_name("other.pth")
    torch.save({**torch.load(own, weights_only=True), "head.bias": torch.ones(6)}, other)
    for path in (own, other):
        base, target, copy = transfer("emoji", "alexnet32", str(path), (3,), ("frozen",), (0,))
        outside.bring(base, tmp_path / "runs")
        for run in (target, copy):
            end(tmp_path / "runs", run, 0.5)
    table = frame(tmp_path / "runs")
    with pytest.raises(BadInput, match=rf"mix weights from outside: {other}, {own}"):
        one_row_per_run(table, "test_top1")
    assert sorted(block.weights for block in blocks(table)) == sorted([str(own), str(other)])
