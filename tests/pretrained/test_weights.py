"""Files of weights: read safely, known by what they hold, refused by name where they do not fit."""

import argparse
import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from yosinski.errors import BadInput
from yosinski.networks import build
from yosinski.networks.batch import Batch
from yosinski.networks.tensors import fingerprint
from yosinski.pretrained import source, weights
from yosinski.pretrained.source import Source, Weights

NETWORK = "resnet18@32"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def read(path: Path, network: str = NETWORK) -> tuple[Weights, weights.Tensors]:
    return weights.read(network, Source.of(str(path)))


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
    assert (known.saw.mean, known.saw.stored(32)) == (MEAN, 37)
    assert "taken to be" in known.saw.told_by
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
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"no weights at all", "as what torch has saved|it does not begin as safetensors do"),
        (b"PK\x03\x04", "it is cut off: a zip archive, as torch saves one, without its end"),
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
def test_what_is_no_file_of_weights_is_named(tmp_path: Path, content: bytes, message: str, suffix: str) -> None:
    (tmp_path / f"bad{suffix}").write_bytes(content)
    with pytest.raises(BadInput, match=rf"bad{suffix} cannot be read as weights: ({message})"):
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
    with pytest.raises(BadInput, match=r"whole.pth cannot be read as weights: it is cut off: a zip archive"):
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
    assert known.saw.mean == (0.5, 0.5, 0.5)  # torchvision's own are used with transform_input


def test_classes_of_one_name_are_told_apart() -> None:
    assert weights.told_apart(["crane", "frog", "crane"]) == ("crane (0)", "frog", "crane (2)")
    imagenet = torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"]
    assert len(set(weights.told_apart(imagenet))) == 1000
