"""Caffenet agrees with the same layers computed independently: by scipy and loops, group by group, in float64."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter1d
from torch import nn
from torch.nn import functional

from yosinski.data.half import Half
from yosinski.data.pictures.crops import crops
from yosinski.experiment.recipes import PAPER
from yosinski.experiment.run import Run
from yosinski.networks.architectures import ARCHITECTURES
from yosinski.networks.build import build, initialise
from yosinski.networks.layers import Dropout, Normalise, Standardise, dropping
from yosinski.randomness import generator
from yosinski.training.pack import masks_of

STORED, SIDE = 256, 227
BASE = Run("caffenet", Half("toy", "f00d", ("ant", "bat")), PAPER)


@pytest.fixture(scope="module")
def caffenet() -> nn.Sequential:
    """With the paper's weights (drawn wider, so that no layer fades away), random biases and a mean image of noise."""
    network = build("caffenet", 1000, STORED)
    for name, segment in network.named_children():
        deviation, bias = ARCHITECTURES["caffenet"].paper[name]
        initialise(segment, "paper", name, paper=(3 * deviation, bias))
        for part, tensor in segment.named_parameters():
            if part.endswith("bias"):
                tensor.data += torch.from_numpy(generator("bias", name).normal(0, 0.1, tensor.shape)).float()
    mean = generator("mean").uniform(0, 255, (3, STORED, STORED))
    network.get_buffer("conv1.standardise.mean").copy_(torch.from_numpy(mean))
    return network


@pytest.fixture(scope="module")
def stored() -> np.ndarray:
    """Two images as they are stored."""
    return generator("stored").integers(0, 256, (2, STORED, STORED, 3), np.uint8)


CORNERS, MIRRORED = np.array([[3, 29], [17, 0]]), np.array([False, True])


def layers(network: nn.Sequential, stored: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The outputs of all segments for one crop of every image, [b, ...] float64, as the paper's table has them."""
    tensors = {name: tensor.detach().double().numpy() for name, tensor in network.state_dict().items()}
    images = stored.transpose(0, 3, 1, 2) - tensors["conv1.standardise.mean"]  # subtracted before anything is cut
    x = np.stack([image[:, y : y + SIDE, x : x + SIDE] for image, (y, x) in zip(images, CORNERS, strict=True)])
    x[MIRRORED] = x[MIRRORED, :, :, ::-1].copy()
    #             stride, padding, groups, pooled, normalised
    table = {
        "conv1": (4, 0, 1, True, True),
        "conv2": (1, 2, 2, True, True),
        "conv3": (1, 1, 1, False, False),
        "conv4": (1, 1, 2, False, False),
        "conv5": (1, 1, 2, True, False),
    }
    for name, (stride, padding, groups, pooled, normalised) in table.items():
        weight, bias = tensors[f"{name}.conv.weight"], tensors[f"{name}.conv.bias"]
        parts = zip(np.split(x, groups, 1), np.split(weight, groups), strict=True)
        x = np.concatenate([convolved(part, kernel, stride, padding) for part, kernel in parts], 1)
        x = np.maximum(x + bias[:, None, None], 0)
        x = pooled_3_2(x) if pooled else x
        x = normalised_by_hand(x) if normalised else x
        yield name, x
    x = x.reshape(len(x), -1)
    for name in ("fc6", "fc7"):
        x = np.maximum(x @ tensors[f"{name}.linear.weight"].T + tensors[f"{name}.linear.bias"], 0)
        yield name, x
    yield "head", x @ tensors["head.weight"].T + tensors["head.bias"]


def convolved(x: np.ndarray, weight: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """[b, c, s, s] and [out, c, k, k]: the sum over all places of the kernel."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    kernel = weight.shape[-1]
    side = (x.shape[-1] - kernel) // stride + 1
    total = np.zeros((len(weight), len(x), side, side))
    for down in range(kernel):
        for right in range(kernel):
            seen = x[:, :, down : down + stride * side : stride, right : right + stride * side : stride]
            total += np.tensordot(weight[:, :, down, right], seen, (1, 1))
    return total.transpose(1, 0, 2, 3)


def pooled_3_2(x: np.ndarray) -> np.ndarray:
    """The highest of 3 x 3, every second place; at the end, of what is there."""
    starts = range(0, x.shape[-1] - 1, 2)
    return np.stack([np.stack([x[..., r : r + 3, c : c + 3].max((-2, -1)) for c in starts], -1) for r in starts], -2)


def normalised_by_hand(x: np.ndarray) -> np.ndarray:
    """Across channels: size 5, alpha 1e-4 (divided by the size), beta 0.75."""
    return x / (1 + 1e-4 * uniform_filter1d(x**2, 5, axis=1, mode="constant")) ** 0.75


def test_a_forward_pass_agrees_with_an_independent_computation(caffenet: nn.Sequential, stored: np.ndarray) -> None:
    features = crops(stored, np.arange(2), SIDE, CORNERS, MIRRORED)
    wanted = layers(caffenet, stored)
    for name, segment in caffenet.named_children():
        with torch.no_grad():
            features = segment(features)
        layer, by_hand = next(wanted)
        assert layer == name
        assert features.shape == by_hand.shape
        assert np.abs(features.numpy() - by_hand).max() < 1e-5 * np.abs(by_hand).max(), name
        assert by_hand.std() > 1e-3 * np.abs(by_hand).max(), name  # something is left to compare


def test_normalisation_is_torchs() -> None:
    x = torch.from_numpy(generator("x").normal(0, 50, (2, 7, 3, 3))).float()
    torch.testing.assert_close(Normalise()(x), nn.LocalResponseNorm(5, 1e-4, 0.75)(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Normalise()(x), Normalise()(x.clone()))
        assert Normalise()(x.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("size", [1.0, 1000.0])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
def test_the_gradient_of_normalisation_has_the_bits_of_torchs_from_its_formula(
    size: float, layout: torch.memory_format
) -> None:
    def formula(x: torch.Tensor) -> torch.Tensor:
        squares = functional.pad(x.square(), (0, 0, 0, 0, 2, 2))
        total = squares[:, : x.shape[1]]
        for k in range(1, 5):
            total = total + squares[:, k : k + x.shape[1]]
        return x * (1 + 1e-4 / 5 * total).pow(-0.75)

    drawn, above = (torch.from_numpy(generator(name).normal(0, size, (2, 7, 5, 5))).float() for name in ("x", "above"))
    drawn[0, :3] = drawn[0, :3].relu()
    found = []
    for compute in (formula, Normalise()):
        x = drawn.to(memory_format=layout, copy=True).requires_grad_()
        normalised = compute(x)
        normalised.backward(above.to(memory_format=layout))
        assert x.grad is not None
        found.append([normalised.detach().contiguous().view(torch.int32), x.grad.contiguous().view(torch.int32)])
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_mean_is_subtracted_where_the_crop_was_cut_before_it_was_mirrored(mirrored: bool) -> None:
    images = generator("images").integers(0, 256, (3, 9, 9, 3), np.uint8)
    first = Standardise(9)
    mean = generator("mean").uniform(0, 255, (9, 9, 3)).astype(np.float32)
    first.mean.copy_(torch.from_numpy(mean).permute(2, 0, 1))
    for corner in np.ndindex(5, 5):
        batch = crops(images, np.arange(3), 5, np.array([corner] * 3), np.full(3, mirrored))
        top, left = corner
        by_hand = (images - mean)[:, top : top + 5, left : left + 5]
        by_hand = by_hand[:, :, ::-1] if mirrored else by_hand
        assert (first(batch).permute(0, 2, 3, 1).numpy() == by_hand).all()


def test_outputs_are_dropped_in_training_only() -> None:
    layer = Dropout("fc6", 0.5)
    x = torch.ones(64, 500)
    assert layer(x) is x
    with dropping(masks_of(BASE, 0)):
        inside = layer(x)
        with dropping(None):
            assert layer(x) is x
    assert layer(x) is x
    assert set(inside.unique().tolist()) == {0.0, 2.0}
    assert inside.mean().item() == pytest.approx(1, abs=0.03)  # 32,000 numbers: the standard error is 0.006
    with dropping(masks_of(BASE, 0)):
        assert Dropout("fc6", 0.2)(x).mean().item() == pytest.approx(1, abs=0.03)


def test_masks_are_functions_of_seed_role_half_step_and_layer() -> None:
    def mask(run: Run, step: int, layer: str) -> torch.Tensor:
        torch.rand(3)  # the global generator stands elsewhere every time
        with dropping(masks_of(run, step)):
            return Dropout(layer, 0.5)(torch.ones(8, 100))

    other_half = Run("caffenet", Half("toy", "f00d", ("ant", "cat")), PAPER)
    copies = BASE.copy(3, "frozen", BASE), BASE.copy(7, "tuned", other_half), BASE.copy(1, "random", below="paper")
    first, *others = (mask(copy, 5, "fc6") for copy in copies)
    assert all(torch.equal(first, other) for other in others)
    different = [first, mask(copies[0], 5, "fc7"), mask(copies[0], 6, "fc6"), mask(BASE, 5, "fc6")]
    different.append(mask(other_half.copy(3, "frozen", BASE), 5, "fc6"))
    different.append(mask(Run("caffenet", BASE.half, PAPER, seed=1).copy(3, "frozen", BASE), 5, "fc6"))
    assert not any(torch.equal(a, b) for k, a in enumerate(different) for b in different[:k])


def test_one_step_has_one_mask_per_layer_whatever_the_type() -> None:
    masks, layer = masks_of(BASE, 0), Dropout("fc6", 0.5)
    with dropping(masks):
        full, half = layer(torch.ones(4, 50)), layer(torch.ones(4, 50, dtype=torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert torch.equal(full, half.float())
