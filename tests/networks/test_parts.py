"""Networks of several parts compute what their parts do: joined inputs, shared segments, combined outputs."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from yosinski.networks import parts
from yosinski.networks.batch import Batch
from yosinski.networks.build import drawn
from yosinski.networks.layers import moments_in

N = 7  # of alexnet32


def single(seed: int, outputs: int = 5) -> nn.Sequential:
    """A network with moments of its own."""
    network = drawn("alexnet32", outputs, 1, "kaiming", seed)
    moments_in(network).load_state_dict(
        {"mean": torch.full((3, 1, 1), 100.0 + seed), "std": torch.full((3, 1, 1), 50.0)}
    )
    return network.eval()


def batch(seed: int, count: int = 4) -> Batch:
    """Random pictures."""
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), generator=random, dtype=torch.uint8)
    return Batch.whole(pixels.contiguous(memory_format=torch.channels_last))


def fused(n: int, join: str, seeds: tuple[int, ...] = (0, 1), flags: bool = False) -> nn.Sequential:
    """A fused network; with "gaussian" weights keep their scale."""
    return parts.of_inputs([single(seed) for seed in seeds], n, join, 0.5, "gaussian", flags).eval()


@pytest.mark.parametrize("n", range(N + 1))
def test_an_input_with_weights_of_zero_is_not_there(n: int) -> None:
    network = fused(n, "concat")
    for name, module in network.named_modules():
        if isinstance(module, parts.Summed):
            assert name.startswith(("conv", "fc", "head"))
            module.of[1].weight.data.zero_()  # pyright: ignore
    assert torch.equal(network([batch(0), batch(1)]), single(0)(batch(0)))


@pytest.mark.parametrize("n", range(N + 1))
def test_summed_layers_are_the_wider_layer_on_concatenated_inputs(n: int) -> None:
    network, inputs = fused(n, "concat"), [batch(0), batch(1)]
    towers = [single(seed) for seed in (0, 1)]
    features = [tower[:n](x) if n else moments_in(tower)(x) for tower, x in zip(towers, inputs, strict=True)]
    layers = [parts._first_layer(tower[n])[1] for tower in towers]
    weight = torch.cat([layer.weight for layer in layers], 1)
    if isinstance(layers[0], nn.Conv2d):
        first = F.conv2d(torch.cat(features, 1), weight, layers[0].bias, layers[0].stride, layers[0].padding)
    else:
        first = F.linear(torch.cat([feature.flatten(1) for feature in features], 1), weight, layers[0].bias)
    (summed,) = [module for module in network.modules() if isinstance(module, parts.Summed)]
    found = []
    summed.register_forward_hook(lambda module, args, output: found.append(output.clone()))
    network(inputs)
    torch.testing.assert_close(found[0], first, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("n", range(N + 1))
def test_the_mean_of_twins_is_the_one(n: int) -> None:
    assert torch.equal(fused(n, "mean", (0, 0))([batch(0), batch(0)]), single(0)(batch(0)))


def test_the_mean_of_the_logits_of_twins_is_the_one() -> None:
    assert torch.equal(fused(N, "logits", (0, 0))([batch(0), batch(0)]), single(0)(batch(0)))


def test_a_linear_head_at_the_end_is_additive() -> None:
    network, (x, y, other_x, other_y) = fused(N, "concat").double(), (batch(seed) for seed in range(4))
    both, crossed = network([x, y]) + network([other_x, other_y]), network([x, other_y]) + network([other_x, y])
    torch.testing.assert_close(both, crossed, rtol=0, atol=1e-12)


def test_multiplicative_without_an_exponent_is_a_product_of_experts() -> None:
    logits = [torch.randn(6, 5, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    product = torch.stack([one.softmax(1) for one in logits]).prod(0)
    torch.testing.assert_close(parts.multiplied(logits, 0.0).exp(), product)


def test_multiplicative_of_one_input_is_cross_entropy() -> None:
    logits, labels = torch.randn(6, 5), torch.arange(6) % 5
    torch.testing.assert_close(F.nll_loss(parts.multiplied([logits], 0.5), labels), F.cross_entropy(logits, labels))


def test_multiplicative_weighs_each_input_by_what_the_others_leave_open() -> None:
    logits = [torch.randn(6, 5, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    p = [one.softmax(1) for one in logits]
    left = [((1 - p[1]) * (1 - p[2])), ((1 - p[0]) * (1 - p[2])), ((1 - p[0]) * (1 - p[1]))]
    expected = sum((rest ** (0.5 / 2) * one.log() for rest, one in zip(left, p, strict=True)), torch.zeros(6, 5))
    torch.testing.assert_close(parts.multiplied(logits, 0.5), expected)


def test_a_sure_input_has_finite_gradients() -> None:
    logits = [torch.tensor([[100.0, 0.0]], requires_grad=True), torch.tensor([[0.0, 1.0]], requires_grad=True)]
    F.nll_loss(parts.multiplied(logits, 0.5), torch.tensor([0])).backward()
    assert all(one.grad is not None and bool(one.grad.isfinite().all()) for one in logits)


@pytest.mark.parametrize("join", ["concat", "mean"])
def test_the_variance_of_what_is_joined_is_kept(join: str) -> None:
    random = torch.Generator().manual_seed(0)
    x = [torch.randn(4000, 128, generator=random) for _ in range(2)]
    network = parts.of_inputs([single(seed) for seed in (0, 1)], 6, join, 0.5, "kaiming", False)
    if join == "concat":
        (summed,) = [module for module in network.modules() if isinstance(module, parts.Summed)]
        alone = F.linear(x[0], single(0)[6].linear.weight)  # pyright: ignore
        assert summed(torch.cat(x)).var().item() == pytest.approx(alone.var().item(), rel=0.1)
    else:
        assert parts.mean(x).var().item() == pytest.approx(0.5, rel=0.1)


ABSENT = torch.tensor([True, False, False, True])


def test_inputs_that_are_missing_in_evaluation_only_are_not_seen_either() -> None:
    network, inputs = fused(3, "concat"), [batch(0), batch(1)]
    other = [inputs[0], inputs[1]._replace(pixels=255 - inputs[1].pixels)]
    with parts.missing([None, ABSENT]):
        assert torch.equal(network(inputs)[ABSENT], network(other)[ABSENT])
        assert not torch.equal(network(inputs)[~ABSENT], network(other)[~ABSENT])


def test_missing_inputs_count_as_zeros_with_a_flag() -> None:
    network, inputs, absent = fused(3, "concat", flags=True), [batch(0), batch(1)], ABSENT
    other = [inputs[0], inputs[1]._replace(pixels=255 - inputs[1].pixels)]
    with parts.missing([None, absent]):
        assert torch.equal(network(inputs)[absent], network(other)[absent])
        assert not torch.equal(network(inputs)[~absent], network(other)[~absent])
        before = network(inputs)
        (summed,) = [module for module in network.modules() if isinstance(module, parts.Summed)]
        summed.flags.data[1] += 1  # pyright: ignore
        assert torch.equal(network(inputs)[~absent], before[~absent])
        assert not torch.equal(network(inputs)[absent], before[absent])


@pytest.mark.parametrize(("n", "join"), [(3, "mean"), (N, "logits")])
def test_the_mean_goes_over_inputs_that_are_there(n: int, join: str) -> None:
    absent = torch.ones(4, dtype=torch.bool)
    with parts.missing([None, absent]):
        without = fused(n, join)([batch(0), batch(1)])
    assert torch.equal(without, single(0)(batch(0)))


@pytest.mark.parametrize("n", [0, 3, N])
def test_tasks_share_segments_below_n_and_each_computes_what_it_would_alone(n: int) -> None:
    first, second = single(0), single(1, outputs=3)
    network = parts.of_tasks([single(0), single(1, outputs=3)], n, uncertain=False).eval()
    outputs = network([batch(0), batch(1)])
    assert torch.equal(outputs[0], first(batch(0)))
    assert torch.equal(outputs[1], second[n:](first[:n](batch(1))) if n else second(batch(1)))
    assert network([batch(0), None])[1] is None
    shared, own = (sum(p.numel() for p in part.parameters()) for part in (first[:n], first))
    assert sum(p.numel() for p in network.parameters()) == own + sum(p.numel() for p in second.parameters()) - shared
    alone = parts.of_one_task(network.state_dict(), 0)
    assert alone.keys() == first.state_dict().keys()
    assert all(torch.equal(alone[name], tensor) for name, tensor in first.state_dict().items())


def test_tasks_on_the_same_pictures_share_the_pass() -> None:
    network, calls = parts.of_tasks([single(0), single(1)], 3, uncertain=False), []
    network[0].register_forward_hook(lambda module, args, output: calls.append(output))
    one = batch(0)
    network([one, one])
    assert calls[0][0] is calls[0][1]
