"""Surgery: everything below the cut is copied, nothing above is touched, and certificates notice any change."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from yosinski.data.half import Half
from yosinski.errors import Failure
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.networks.build import build
from yosinski.networks.tensors import fingerprint, fingerprint_of_file
from yosinski.records import attempts
from yosinski.training import surgery
from yosinski.training.pack import Member
from yosinski.training.steps.optimiser import take

NAMES = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "head")
RECIPE = Recipe(
    epochs=1.0,
    batch_size=8,
    learning_rate=0.1,
    warmup=0.2,
    momentum=0.9,
    weight_decay=0.5,
    clip=0.0,
    augment=True,
    shift=2,
    initialiser="kaiming",
)
BASE = Run("alexnet32", Half("toy", "f00d", ("a", "b", "c")), RECIPE)


def network(value: float) -> nn.Sequential:
    """alexnet32 with all parameters and buffers set to one value."""
    made = build("alexnet32", 3)
    for tensor in made.state_dict().values():
        tensor.fill_(value)
    return made


@pytest.mark.parametrize("n", range(8))
def test_all_tensors_below_the_cut_are_copied_and_none_above(n: int) -> None:
    base, copy = network(1.0), network(2.0)
    surgery.transplant(base.state_dict(), copy, n)
    for name, tensor in copy.state_dict().items():
        wanted = 1.0 if NAMES.index(name.split(".")[0]) < n else 2.0
        assert (tensor == wanted).all(), name
    assert all((tensor == 1.0).all() for tensor in base.state_dict().values())
    with torch.no_grad():
        for tensor in copy.state_dict().values():
            tensor.fill_(3.0)  # the copy has its own memory
    assert all((tensor == 1.0).all() for tensor in base.state_dict().values())


def test_buffers_are_copied_too() -> None:
    copy = network(2.0)
    surgery.transplant(network(1.0).state_dict(), copy, 1)
    assert (copy.get_buffer("conv1.standardise.mean") == 1).all()
    assert (copy.get_buffer("conv1.standardise.std") == 1).all()


def test_what_fits_neither_is_named_in_order() -> None:
    base = network(1.0).state_dict()
    del base["conv2.conv.bias"]
    base["conv1.norm.weight"] = torch.ones(16)
    base["fc7.norm.weight"] = torch.ones(128)  # above the cut: nobody's business
    copy = network(2.0)
    with pytest.raises(Failure, match=r"^below cut 3 base and copy differ in: conv1.norm.weight, conv2.conv.bias$"):
        surgery.transplant(base, copy, 3)


def test_another_shape_is_named_and_nothing_is_copied() -> None:
    base, copy = network(1.0).state_dict(), network(2.0)
    base["conv2.conv.weight"] = torch.ones(32, 16, 5, 5)
    with pytest.raises(
        Failure, match=r"conv2.conv.weight is \(32, 16, 5, 5\) in the base, \(32, 16, 3, 3\) in the copy"
    ):
        surgery.transplant(base, copy, 2)
    assert all((tensor == 2.0).all() for tensor in copy.state_dict().values())


def test_another_type_is_named() -> None:
    base = network(1.0).state_dict()
    base["conv1.conv.bias"] = torch.ones(16, dtype=torch.float64)
    with pytest.raises(Failure, match=r"conv1.conv.bias is .*float64"):
        surgery.transplant(base, network(2.0), 1)


def test_a_longer_name_is_another_segment() -> None:
    tensors = {"conv1.weight": torch.ones(1), "conv10.weight": torch.ones(1), "head.weight": torch.ones(1)}
    assert list(surgery.below(tensors, network(0.0), 1)) == ["conv1.weight"]
    assert list(surgery.below(tensors, network(0.0), 0)) == []


def test_a_fingerprint_is_the_hash_of_names_types_shapes_and_bytes_in_order() -> None:
    tensors = {"b": torch.tensor([[1, 2]], dtype=torch.uint8), "a": torch.tensor(1.0)}
    text = b"a torch.float32 ()\n" + b"\x00\x00\x80\x3f" + b"b torch.uint8 (1, 2)\n" + b"\x01\x02"
    assert fingerprint(tensors) == hashlib.sha256(text).hexdigest()
    assert fingerprint(dict(reversed(tensors.items()))) == fingerprint(tensors)


def test_the_hash_of_a_file_of_weights_is_the_fingerprint_of_its_tensors(tmp_path: Path) -> None:
    kinds = (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)
    tensors = {f"{k}.weight": torch.arange(6).reshape(2, 3).to(kind) for k, kind in enumerate(kinds)}
    tensors["scalar"] = torch.tensor(3.0)
    save_file(tensors, tmp_path / "weights.safetensors")
    assert fingerprint_of_file(tmp_path / "weights.safetensors") == fingerprint(tensors)


def test_a_fingerprint_does_not_see_how_tensors_lie_in_memory() -> None:
    plain = torch.arange(48.0).view(2, 3, 4, 2)
    assert fingerprint({"w": plain.to(memory_format=torch.channels_last)}) == fingerprint({"w": plain})
    assert fingerprint({"w": plain.flip(0)}) != fingerprint({"w": plain})


@pytest.mark.parametrize("name", network(0.0).state_dict())
def test_a_certificate_changes_exactly_when_a_tensor_below_the_cut_does(name: str) -> None:
    subject = network(0.5)
    names = {n: list(surgery.below(subject.state_dict(), subject, n)) for n in range(8)}
    certified = {n: surgery.certificate(subject, names[n]) for n in range(8)}
    tensor = subject.state_dict()[name]
    last = (-1,) * tensor.dim()
    tensor[last] += 2**-20
    changed = [n for n in range(8) if surgery.certificate(subject, names[n]) != certified[n]]
    assert changed == list(range(NAMES.index(name.split(".")[0]) + 1, 8))
    tensor[last] -= 2**-20
    assert {n: surgery.certificate(subject, names[n]) for n in range(8)} == certified


def member(run: Run) -> Member:
    return Member(run, attempts.Attempt(Path("nowhere"), 1), network(0.5), None)


@pytest.mark.parametrize("n", range(1, 8))
def test_frozen_tensors_are_not_in_the_optimiser(n: int) -> None:
    frozen = member(replace(BASE, seed=1).copy(n, "frozen", BASE))
    wanted = [name for name, _ in frozen.network.named_parameters() if NAMES.index(name.split(".")[0]) >= n]
    assert list(frozen.trained) == wanted
    assert len(wanted) == 2 * (8 - n)
    held = [name for group in frozen.optimiser.groups for name in group.parameters]
    assert sorted(held) == sorted(wanted)
    assert all(p is frozen.trained[name] for group in frozen.optimiser.groups for name, p in group.parameters.items())


@pytest.mark.parametrize("run", [BASE, replace(BASE, seed=1).copy(3, "tuned", BASE)], ids=str)
def test_bases_and_tuned_copies_train_everything(run: Run) -> None:
    whole = member(run)
    assert list(whole.trained) == [name for name, _ in whole.network.named_parameters()]


def test_a_step_with_weight_decay_moves_what_is_trained_and_nothing_that_is_frozen() -> None:
    frozen = member(replace(BASE, seed=1).copy(2, "frozen", BASE))
    for p in frozen.network.parameters():
        p.grad = torch.zeros_like(p)
    take([(frozen.optimiser, 0.1)])
    for name, p in frozen.network.named_parameters():
        assert (p == 0.5).all() == (name.split(".")[0] in ("conv1", "conv2")), name
    assert surgery.certificate(frozen.network, frozen.fixed) == frozen.certificate


def test_the_rate_falls_with_every_segment_below_the_cut() -> None:
    decayed = member(replace(BASE, seed=1).copy(2, "decayed", BASE))
    times = {name: group.times for group in decayed.optimiser.groups for name in group.parameters}
    found = {name: times[name] for name, _ in decayed.network.named_parameters()}
    expected = {"conv1": 0.25, "conv2": 0.5}
    assert found == {name: expected.get(name.split(".")[0], 1.0) for name in found}


def trained_now(run: Run, step: int) -> set[str]:
    """The segments that have gradients in a step of 8."""
    trained = member(run)
    trained.ready(step, 8)
    return {name.split(".")[0] for name, p in trained.network.named_parameters() if p.requires_grad}


def test_segments_are_trained_when_their_time_has_come() -> None:
    base, everything = replace(BASE, seed=1), set(NAMES)
    above = set(NAMES[3:])
    probed, thawed, single = (base.copy(3, treatment, BASE) for treatment in ("probed", "thawed", "single"))
    assert [trained_now(probed, step) for step in (0, 3, 4)] == [above, above, everything]
    assert [trained_now(thawed, step) for step in (0, 2, 3, 4)] == [
        above, above | {"conv3"}, above | {"conv2", "conv3"}, everything
    ]  # fmt: skip
    assert trained_now(single, 0) == {"conv3", "head"}
    names = network(0.0).state_dict()
    assert member(single).fixed == {name for name in names if name.split(".")[0] not in ("conv3", "head")}


def test_matched_tensors_have_the_moments_of_the_bases_and_none_of_its_values() -> None:
    base, copy = build("alexnet32", 5), network(2.0)
    for tensor in base.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(3)) * 0.1 + 0.5)
    surgery.match(base.state_dict(), copy, 2, 0, "half")
    for name, tensor in copy.named_parameters():
        if name.split(".")[0] in ("conv1", "conv2"):
            original = base.get_parameter(name)
            slack = 4 / tensor.numel() ** 0.5
            assert abs(tensor.mean() - original.mean()) < slack * original.std(), name
            assert abs(tensor.std() / original.std() - 1) < slack, name
            assert abs(torch.corrcoef(torch.stack([tensor.flatten(), original.flatten()]))[0, 1]) < slack, name
        else:
            assert (tensor == 2.0).all(), name
