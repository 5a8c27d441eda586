"""Networks: the initialisers' distributions, what they depend on, and the standardising of the input."""

import math

import pytest
import torch
from torch import nn

from yosinski.networks.architectures import INITIALISERS
from yosinski.networks.batch import Batch
from yosinski.networks.build import build, initialise
from yosinski.networks.layers import Standardise, moments_in, standardising_once, tie_moments

PLAIN = tuple(name for name in INITIALISERS if name not in ("paper", "own"))  # those that need no description


def conv() -> nn.Sequential:
    """A segment with a convolution from 8 to 32 channels: fan-in 200, fan-out 800."""
    return nn.Sequential(nn.Conv2d(8, 32, 5), nn.ReLU())


def weight(segment: nn.Module) -> torch.Tensor:
    return next(segment.parameters()).detach()


@pytest.mark.parametrize(
    ("initialiser", "deviation"),
    [("kaiming", 0.1), ("xavier", math.sqrt(2 / 1000)), ("orthogonal", math.sqrt(2 / 200)), ("gaussian", 0.01)],
)
def test_standard_deviations(initialiser: str, deviation: float) -> None:
    segment = conv()
    initialise(segment, initialiser, "key")
    drawn = weight(segment)  # 6400 numbers: the estimate's standard error is 0.9 %
    assert drawn.std().item() == pytest.approx(deviation, rel=0.04)
    assert abs(drawn.mean().item()) < 4 * deviation / 80


@pytest.mark.parametrize("initialiser", PLAIN)
def test_biases_are_zero_and_what_was_there_is_gone(initialiser: str) -> None:
    first, second = conv(), conv()
    nn.init.constant_(weight(second), 7)
    for segment in (first, second):
        initialise(segment, initialiser, "key")
    for mine, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, other)
    assert not any(p.any() for name, p in first.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("initialiser", PLAIN)
def test_weights_depend_on_the_key_alone(initialiser: str) -> None:
    def drawn(*key: str | int, channels_last: bool = False) -> torch.Tensor:
        segment = conv().to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        torch.rand(3)  # the global generator stands elsewhere every time
        initialise(segment, initialiser, *key)
        return weight(segment)

    reference = drawn(0, "copy", "f00d", "conv1")
    assert torch.equal(drawn(0, "copy", "f00d", "conv1"), reference)
    assert torch.equal(drawn(0, "copy", "f00d", "conv1", channels_last=True), reference)
    for key in ((1, "copy", "f00d", "conv1"), (0, "base", "f00d", "conv1"), (0, "copy", "f00d", "conv2")):
        both = torch.stack([drawn(*key).flatten(), reference.flatten()])
        assert abs(torch.corrcoef(both)[0, 1]) < 0.06  # 6400 numbers: the standard error is 0.0125


def test_initialising_leaves_torchs_global_generator_alone() -> None:
    segment = conv()
    before = torch.get_rng_state()
    for initialiser in PLAIN:
        initialise(segment, initialiser, "key")
    assert torch.equal(torch.get_rng_state(), before)


def test_orthogonal_rows_are_orthonormal_times_the_gain() -> None:
    segment, head = conv(), nn.Linear(20, 5)
    initialise(segment, "orthogonal", "key")
    initialise(head, "orthogonal", "key", gain=1)
    rows = weight(segment).flatten(1)
    torch.testing.assert_close(rows @ rows.T, 2 * torch.eye(32), atol=1e-5, rtol=0)
    torch.testing.assert_close(weight(head) @ weight(head).T, torch.eye(5), atol=1e-5, rtol=0)


def test_the_head_has_a_gain_of_one() -> None:
    hidden, head = nn.Sequential(nn.Linear(100, 64), nn.ReLU()), nn.Linear(100, 64)
    initialise(hidden, "kaiming", "key")
    initialise(head, "kaiming", "key", gain=1)
    torch.testing.assert_close(weight(hidden), weight(head) * math.sqrt(2))
    assert weight(head).std().item() == pytest.approx(0.1, rel=0.04)


def test_the_papers_initialiser_draws_a_layer_as_it_is_described() -> None:
    segment = conv()
    initialise(segment, "paper", "key", paper=(0.005, 1.0))
    assert weight(segment).std().item() == pytest.approx(0.005, rel=0.04)
    assert (segment[0].get_parameter("bias") == 1).all()
    with pytest.raises(ValueError, match="paper"):
        initialise(segment, "paper", "key")


def test_a_groups_fan_out_is_its_own() -> None:
    segment = nn.Sequential(nn.Conv2d(16, 64, 5, groups=2))
    initialise(segment, "xavier", "key")  # fan-in 8 * 25, fan-out 32 * 25
    assert weight(segment).std().item() == pytest.approx(math.sqrt(2 / 1000), rel=0.04)


def test_an_unknown_initialiser_is_refused() -> None:
    with pytest.raises(ValueError, match="he"):
        initialise(conv(), "he", "key")


def test_standardising_subtracts_the_mean_and_divides_by_the_deviation() -> None:
    first = Standardise()
    first.load_state_dict(
        {"mean": torch.tensor([10.0, 20, 30]).view(3, 1, 1), "std": torch.tensor([1.0, 2, 4]).view(3, 1, 1)}
    )
    pixels = torch.tensor([12, 24, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    assert first(Batch.whole(pixels)).flatten().tolist() == [2.0, 2.0, -7.5]
    assert first(Batch.whole(pixels)).dtype == torch.float32
    assert not list(first.parameters())


def test_the_moments_are_buffers_of_the_first_segment_only() -> None:
    network = build("alexnet32", 3)
    buffers = {name: tuple(tensor.shape) for name, tensor in network.named_buffers()}
    assert buffers == {"conv1.standardise.mean": (3, 1, 1), "conv1.standardise.std": (3, 1, 1)}
    assert set(buffers) < set(network.state_dict())
    initialise(network[0], "kaiming", "key")
    assert not network.get_buffer("conv1.standardise.mean").any()  # initialising does not touch them


def test_the_head_has_an_output_per_class_and_no_activation() -> None:
    network = build("alexnet32", 3)
    assert list(dict(network.named_children()))[-1] == "head"
    assert isinstance(network[-1], nn.Linear)
    assert network(Batch.whole(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))).shape == (2, 3)


def test_networks_of_equal_moments_standardise_a_batch_once() -> None:
    """Until one of them changes it in place; with the same values, and other ones for another batch or mean."""
    networks = [build("alexnet32", 5) for _ in range(3)]
    for network, mean in zip(networks, (7.0, 7.0, 8.0), strict=True):
        moments_in(network).mean.fill_(mean)
    names = [list(network.state_dict()) for network in networks]
    tie_moments(networks)
    assert [list(network.state_dict()) for network in networks] == names
    first, second, other = map(moments_in, networks)
    batches = [Batch.whole(torch.full((2, 3, 32, 32), value, dtype=torch.uint8)) for value in (9, 10)]
    with standardising_once():
        shared = first(batches[0])
        assert second(batches[0]) is shared
        assert [float(made.unique()) for made in (shared, other(batches[0]), first(batches[1]))] == [2.0, 1.0, 3.0]
        shared.add_(1)
        assert float(second(batches[0]).unique()) == 2.0
    assert first(batches[0]) is not first(batches[0])
