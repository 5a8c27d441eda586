"""What torch has saved is read as data: the same tensors, and nothing in a file is executed, looked up or believed."""

import argparse
import collections
import contextlib
import copyreg
import datetime
import enum
import io
import os
import pickle
import pickletools
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from yosinski.errors import BadInput
from yosinski.networks import build
from yosinski.pretrained import torch_files, weights
from yosinski.pretrained.source import Source

NETWORK = "alexnet32"
LEGACY = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


class Colour(enum.Enum):
    """Something that only the script which saved it knows."""

    RED = 1


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return dict(build.drawn(NETWORK, 6, 1, "kaiming", 1).state_dict())


def save(value: Any, path: Path, legacy: bool = False, protocol: int = 2) -> Path:
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    return path


def read(path: Path, place: str = "") -> dict[str, torch.Tensor]:
    with torch_files.opened(path) as found:
        return {name.removeprefix(place): tensor.read() for name, tensor in found.items() if name.startswith(place)}


# What is read


@LEGACY
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_tensors_are_those_that_were_saved(tmp_path: Path, legacy: bool, protocol: int) -> None:
    long = torch.arange(60.0)
    tensors = {
        **{str(kind): torch.tensor([[0, 1], [1, 3]]).to(kind) for kind in (torch.float32, torch.float64, torch.int64)},
        **{str(kind): torch.tensor([0, 1, 1]).to(kind) for kind in (torch.float16, torch.bfloat16, torch.bool)},
        "turned": long[3:33].view(5, 6).t(),
        "every seventh": long[::7],
        "repeated": long[:3].view(3, 1).expand(3, 4),
        "empty": torch.empty(0, 4),
        "one": torch.tensor(3.0),
        "parameter": nn.Parameter(torch.rand(3)),
        "buffer": nn.Buffer(torch.rand(3)),
        "coo": torch.eye(5).to_sparse(),
        "partly coo": torch.rand(4, 3).to_sparse(1),
        "csr": torch.eye(5).to_sparse_csr(),
        "csc": torch.eye(5).to_sparse_csc(),
        "bsr": torch.eye(6).to_sparse_bsr((2, 2)),
    }
    found = read(save({"a": [tensors]}, tmp_path / "t.pth", legacy, protocol), "a.0.")
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        dense = tensor.detach() if tensor.layout is torch.strided else tensor.to_dense()
        torch.testing.assert_close(found[name], dense, rtol=0, atol=0)


@LEGACY
def test_what_lies_beside_them_need_not_be_known(tmp_path: Path, legacy: bool, state: dict[str, torch.Tensor]) -> None:
    beside = {
        "args": argparse.Namespace(lr=0.1, out=Path("out"), when=datetime.datetime(2024, 1, 1), colour=Colour.RED),
        "best_acc": np.float64(0.9),
        "curve": np.arange(3),
        "counts": collections.defaultdict(list, a=[1]),
        "set": {1, 2},
        Colour.RED: torch.device("cpu"),
        ("a", (1, 2)): slice(3),
        "function": os.path.join,
        "bytes": b"\x00" * 300,
        "large": 2**100,
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"betas": (0.9, 0.99)}]},
    }
    found = read(save({"model": collections.OrderedDict(state), **beside}, tmp_path / "t.pth", legacy), "model.")
    assert list(found) == list(state)
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


@LEGACY
def test_a_model_that_was_saved_whole_has_its_state_dict(tmp_path: Path, legacy: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Sequential(nn.BatchNorm2d(4)))
    model.register_buffer("passing", torch.ones(2), persistent=False)
    found = read(save({"ema": nn.DataParallel(model)}, tmp_path / "t.pth", legacy), "ema.module.")
    assert list(found) == list(model.state_dict())
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())


def test_what_is_no_tensor_of_numbers_says_so(tmp_path: Path) -> None:
    tensors = {
        "quantised": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "on the meta device": torch.empty(3, device="meta"),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "an array of NumPy": np.ones(3),
        "a conjugated": torch.ones(2, dtype=torch.complex64).conj(),
    }
    with torch_files.opened(save(tensors, tmp_path / "t.pth")) as found:
        for name in tensors:
            assert found[name].odd.startswith(name)


def test_other_classes_of_tensors_are_named(tmp_path: Path) -> None:
    def of(module: str, name: str) -> bytes:
        return f"c{module}\n{name}\n)".encode() + b"\x81}b"

    sharded = of("torch.distributed._shard.sharded_tensor.api", "ShardedTensor")
    path = spliced(tmp_path / "t.pth", {"a": torch.ones(1)}, sharded, False)
    with torch_files.opened(path) as found:
        assert found["extra"].odd.startswith("a ShardedTensor: one process's part")


def test_a_damaged_byte_is_noticed(tmp_path: Path) -> None:
    path = save({"a": torch.arange(1000.0)}, tmp_path / "t.pth")
    content = bytearray(path.read_bytes())
    at = content.index(torch.arange(1000.0).numpy().tobytes())
    content[at + 400] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInput, match="Bad CRC-32"):
        read(path)
    torch.serialization.set_crc32_options(False)
    try:
        save({"a": torch.arange(1000.0)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read(path)["a"], torch.arange(1000.0))


def test_optimisers_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save({"model": torch.ones(3), "optimizer": torch.zeros(50)}, tmp_path / "t.pth")
    opened: list[str] = []
    monkeypatch.setattr(zipfile.ZipFile, "open", recording(opened, zipfile.ZipFile.open))
    with torch_files.opened(path) as found:
        assert found["optimizer"].shape == (50,)
        assert torch.equal(found["model"].read(), torch.ones(3))
    assert opened == ["t/byteorder", "t/data.pkl", "t/data/0"]


def recording(opened: list[str], function: Callable[..., Any]) -> Callable[..., Any]:
    def record(self: zipfile.ZipFile, name: Any, *rest: Any, **more: Any) -> Any:
        opened.append(name.filename)
        return function(self, name, *rest, **more)

    return record


# What is not executed

EVENTS = ("pickle.find_class", "exec", "compile", "import", "os.system", "subprocess.Popen", "os.posix_spawn")
watched: list[str] = []
watching = False


def hear(event: str, arguments: tuple[Any, ...]) -> None:
    """What Python does while we are watching; a hook cannot be taken away again."""
    if watching and event in EVENTS:
        watched.append(f"{event} {arguments}")


sys.addaudithook(hear)
for encoding in ("cp437", "raw_unicode_escape"):  # zipfile and pickletools load these when they first need them
    "".encode(encoding)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing is imported, executed or looked up in a pickle in this context."""
    global watching
    watched.clear()
    watching = True
    try:
        yield
    finally:
        watching = False
    assert watched == []


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def blob(value: bytes) -> bytes:
    return b"B" + len(value).to_bytes(4, "little") + value


def spliced(path: Path, tensors: dict[str, Any], payload: bytes, legacy: bool) -> Path:
    """What torch saves of {"model": tensors, "extra": ...}, where the opcodes of a payload put down the latter."""
    buffer = io.BytesIO()
    torch.save(tensors, buffer, _use_new_zipfile_serialization=not legacy)

    def around(pickled: bytes) -> bytes:
        return b"\x80\x02}(" + text("model") + pickled[2:-1] + text("extra") + payload + b"u."

    if legacy:
        ends = [0]
        for _ in range(5):
            buffer.seek(ends[-1])
            for _ in pickletools.genops(buffer):
                pass
            ends.append(buffer.tell())
        content = buffer.getvalue()
        path.write_bytes(content[: ends[3]] + around(content[ends[3] : ends[4]]) + content[ends[4] :])
        return path
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, around(content) if name.endswith("data.pkl") else content)
    return path


TOUCH = text("touch sprung")
NESTED = pickle.dumps([1])
TWICE = b")" + b"2\x86" * 60  # a tuple of tuples of tuples, of which a hash takes 2 ** 60 steps
PAYLOADS = {
    "REDUCE os.system": b"cos\nsystem\n(" + TOUCH + b"tR",
    "REDUCE eval": b"c__builtin__\neval\n(" + text("open('sprung', 'w')") + b"tR",
    "REDUCE exec": b"cbuiltins\nexec\n(" + text("open('sprung', 'w')") + b"tR",
    "STACK_GLOBAL": b"\x8c\x02os\x8c\x06system\x93(" + TOUCH + b"tR",
    "STACK_GLOBAL of odd things": b"]}\x93)R",
    "INST": b"(" + TOUCH + b"ios\nsystem\n",
    "OBJ": b"(cos\nsystem\n" + TOUCH + b"o",
    "NEWOBJ": b"csubprocess\nPopen\n(" + TOUCH + b"t\x81",
    "NEWOBJ_EX": b"csubprocess\nPopen\n(" + TOUCH + b"t}" + text("shell") + b"\x88s\x92",
    "BUILD": b"ctraps\nTrap\n)\x81}" + text("path") + text("sprung") + b"sb",
    "BUILD of a dictionary": b"}}" + text("update") + b"cos\nsystem\nsb",
    "BUILD of a class": b"ctraps\nTrap\n}" + text("__init__") + b"cos\nsystem\nsb",
    "items of a class": b"ctraps\nTrap\n)\x81(" + TOUCH + b"cos\nsystem\nuK\x01a",
    "a method": b"c__builtin__\ngetattr\n(cos\n" + b"path\n" + text("join") + b"tR(" + TOUCH + b"tR",
    "an attribute of a module": b"cos.path\njoin.__globals__\n",
    "nested": b"c_pickle\nloads\n(" + blob(b"cos\nsystem\n(" + TOUCH + b"tR.") + b"tR",
    "_load_from_bytes": b"ctorch.storage\n_load_from_bytes\n(" + blob(b"cos\nsystem\n(" + TOUCH + b"tR.") + b"tR",
    "torch.load": b"ctorch\nload\n(" + text("other.pth") + b"tR",
    "torch.hub": b"ctorch.hub\nload\n(" + text("a/b") + text("c") + b"tR",
    "a function to rebuild with": b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nN(" + TOUCH + b"t}tR",
    "copyreg": b"ccopyreg\n_reconstructor\n(ctraps\nTrap\nc__builtin__\nobject\nNtR",
    "an extension": b"\x82\x07",
    "an import": b"cpoisoned\nthing\n",
    "PERSID": b"Pos.system\n",
    "BINPERSID": b"}Q",
    "BINPERSID of a module": b"(" + text("module") + b"cos\nsystem\n" + TOUCH + TOUCH + b"tQ)R",
    "a layout": b"ctorch._utils\n_rebuild_sparse_tensor\n(cos\nsystem\n(" + TOUCH + b"tR]tR",
    "a key that is costly": b"}" + TWICE + b"K\x01s",
    "a storage whose key is costly": b"ctorch._utils\n_rebuild_tensor\n((" + text("storage") + b"ctorch\nFloatStorage\n"
    b"" + TWICE + text("cpu") + b"K\x01tQK\x00)" + b")tR",
    "itself": b"}(" + text("a") + b"2" + b"u",
    "POP and MARK": b"(K\x01K\x021(0K\x03",
}


REFUSED = ("a storage whose key is costly",)  # where the keys of all storages have to be known


@LEGACY
@pytest.mark.parametrize("name", PAYLOADS)
def test_nothing_is_executed(
    name: str, legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, torch.Tensor]
) -> None:
    (tmp_path / "poisoned.py").write_text("open('sprung', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(copyreg, "_inverted_registry", {7: ("os", "getcwd")})
    path = spliced(tmp_path / "t.pth", state, PAYLOADS[name], legacy)
    with silence():
        if legacy and name in REFUSED:
            with pytest.raises(BadInput), torch_files.opened(path):
                pass
        else:
            with torch_files.opened(path) as found:
                assert [one for one in found if not one.startswith("model.") and not found[one].odd] == []
                tensors = {one: found[f"model.{one}"].read() for one in state}
            assert all(torch.equal(tensors[one], tensor) for one, tensor in state.items())
    assert not (tmp_path / "sprung").exists()
    assert "poisoned" not in sys.modules


def test_the_traps_would_spring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("REDUCE os.system", "REDUCE eval", "INST", "BUILD", "nested"):
        path = spliced(tmp_path / "t.pth", {"a": torch.ones(1)}, PAYLOADS[name], False)
        with pytest.raises(AssertionError), silence():
            torch.load(path, weights_only=False)
        (tmp_path / "sprung").unlink()


# What is not believed


def rebuilt(shape: str, strides: str, count: str, key: str = "0", of: str = "FloatStorage") -> bytes:
    """A pickle of {"a": a tensor}, by the texts of its numbers (as opcodes LONG and TUPLE have them)."""

    def numbers(values: str) -> bytes:
        return b"(" + b"".join(f"L{value}L\n".encode() for value in values.split()) + b"t"

    storage = b"(" + text("storage") + f"ctorch\n{of}\n".encode() + text(key) + text("cpu") + f"L{count}L\ntQ".encode()
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + numbers(shape) + numbers(strides)
    return b"\x80\x02}" + text("a") + tensor + b"\x89}tRs."


def archive(path: Path, pickled: bytes, storage: bytes, compress: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compress) as made:
        made.writestr("t/data.pkl", pickled)
        made.writestr("t/data/0", storage)
    return path


def message(path: Path) -> str:
    """What is wrong with the only tensor of a file."""
    with torch_files.opened(path) as found:
        if found["a"].odd:
            return found["a"].odd
        with pytest.raises(BadInput) as refused:
            found["a"].read()
        return str(refused.value)


@pytest.mark.parametrize(
    ("shape", "strides", "count", "why"),
    [
        ("3", "1", "2", "reaches beyond its storage"),
        ("1000000000000", "1", "1000000000000", "a storage of 4,000,000,000,000 bytes has 8"),
        ("2 2", "1 1000000", "2", "reaches beyond its storage"),
        ("2", "-1", "2", "places and sizes that are none"),
        ("2", "1", "-2", "places and sizes that are none"),
        ("2", "1 1", "2", "zip"),
        ("2", "1", "1", "reaches beyond its storage"),
        (f"{2**64}", "0", "2", "places and sizes that are none"),
        ("1 " * 65, "1 " * 65, "2", "places and sizes that are none"),
        ("1", "1", "1", "a storage of 4 bytes has 8"),
    ],
)
def test_a_tensor_lies_within_the_bytes_that_there_are(
    tmp_path: Path, shape: str, strides: str, count: str, why: str
) -> None:
    assert why in message(archive(tmp_path / "t.pth", rebuilt(shape, strides, count), b"\0" * 8))


def test_storages_that_are_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.pth"
    assert "no item named 't/data/../../x'" in message(archive(path, rebuilt("1", "1", "1", key="../../x"), b"\0" * 4))
    assert "damaged" in message(archive(path, rebuilt("1", "1", "1", of="Storage"), b"\0" * 4))
    archive(path, rebuilt("50000000", "1", "50000000"), b"\0" * 200_000_000, zipfile.ZIP_DEFLATED)
    assert "data/0 is 200,000,000 bytes packed into 19" in message(path)
    drawn = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    archive(path, rebuilt("100000", "1", "100000"), drawn.tobytes(), zipfile.ZIP_DEFLATED)
    assert torch.equal(read(path)["a"], torch.from_numpy(drawn))


def test_a_tensor_that_repeats_itself_is_no_head(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    huge = torch.zeros(1).as_strided((10**12,), (0,)), torch.zeros(1, 1).as_strided((10**12, 128), (0, 0))
    save({**state, "head.bias": huge[0], "head.weight": huge[1]}, tmp_path / "t.pth")
    assert weights.read(NETWORK, Source.of(str(tmp_path / "t.pth")))[0].head == (
        "not taken: it has more numbers than the file"
    )
    save({**state, "conv2.conv.bias": huge[0]}, tmp_path / "t.pth")
    with pytest.raises(BadInput, match=r"of another shape: conv2.conv.bias \(1000000000000 for 32\)"):
        weights.read(NETWORK, Source.of(str(tmp_path / "t.pth")))
    sparse = torch.sparse_coo_tensor(torch.zeros(1, 1), torch.ones(1), (10**12,))
    save({**state, "head.bias": sparse, "head.weight": huge[1]}, tmp_path / "t.pth")
    assert weights.read(NETWORK, Source.of(str(tmp_path / "t.pth")))[0].head.startswith("not taken")


def test_places_of_a_sparse_tensor_lie_within_it(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    beyond = torch.sparse_coo_tensor(torch.tensor([[40]]), torch.ones(1), (32,), check_invariants=False)
    save({**state, "conv2.conv.bias": beyond}, tmp_path / "t.pth")
    with pytest.raises(BadInput, match=r"conv2.conv.bias cannot be read: .*size is inconsistent"):
        weights.read(NETWORK, Source.of(str(tmp_path / "t.pth")))


@pytest.mark.parametrize(
    "opcodes",
    [
        b"}q\x00" + b"".join(b"}(%bh\x00%bh\x00uq\x00" % (text("a"), text("b")) for _ in range(60)),
        b"]q\x00(" + b"h\x00" * 9 + b"e",
    ],
    ids=["a dictionary of dictionaries of dictionaries", "a list of itself"],
)
def test_what_never_ends_ends(tmp_path: Path, opcodes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_files, "MOST", 10_000)
    archive(tmp_path / "t.pth", b"\x80\x02" + opcodes + b".", b"")
    with pytest.raises(BadInput, match="it holds more than 10,000 dictionaries, lists and tensors"):
        read(tmp_path / "t.pth")


def test_what_is_deep_ends(tmp_path: Path) -> None:
    deep = b"ctorch._utils\n_rebuild_parameter\n" * 5000 + b"K\x01" + b"\x85R" * 5000
    assert "damaged" in message(archive(tmp_path / "t.pth", b"\x80\x02}" + text("a") + deep + b"s.", b""))
    module = (
        b"cm\nM\n)\x81}(" + b"".join(text(part) + b"h\x00" for part in ("_modules", "_parameters", "_buffers")) + b"ub"
    )
    nested = b"\x80\x02}q\x00" + b"".join(module + b"q\x00" for _ in range(500)) + b"."
    archive(tmp_path / "t.pth", nested, b"")
    with pytest.raises(BadInput, match="it holds no tensors"):
        read(tmp_path / "t.pth")
    archive(tmp_path / "t.pth", b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b".", b"")
    with pytest.raises(BadInput, match="it holds no tensors"):
        read(tmp_path / "t.pth")


@pytest.mark.parametrize(
    "content", [b"\x80", b"0.", b"R.", b"h\x05.", b"\x93.", b"s.", b"X\xff\xff\xff\xffa.", b"}}u."]
)
def test_what_is_no_pickle_is_told(tmp_path: Path, content: bytes) -> None:
    archive(tmp_path / "t.pth", content, b"")
    with pytest.raises(BadInput, match="as what torch has saved it is cut off or damaged: "):
        read(tmp_path / "t.pth")
    (tmp_path / "t.pth").write_bytes(content)
    with pytest.raises(BadInput, match="as what torch has saved it is cut off or damaged: "):
        read(tmp_path / "t.pth")


def test_names_do_not_reach_the_terminal_as_commands(tmp_path: Path) -> None:
    save({"\x1b]0;title\x07": torch.ones(1)}, tmp_path / "t.pth")
    with pytest.raises(BadInput) as refused:
        read(tmp_path / "t.pth")
    assert str(refused.value) == "it holds no tensors, but ?]0;title?"
