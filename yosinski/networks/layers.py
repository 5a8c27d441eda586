"""Layers: standardisation of the input, dropout, and ReLU with pooling and response normalisation of our networks."""

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from yosinski.networks.batch import Batch, moved
from yosinski.randomness import generator

aten = torch.ops.aten
Network = TypeVar("Network", bound=nn.Module)
STANDARDISE = "standardise"  # name of the first module in a network's first segment


class Standardise(nn.Module):
    """Standardise a batch of crops to float32 [b, 3, s, s]: subtract the mean, divide by the standard deviation.

    The standard deviation is per channel. The mean is per channel or an image as large as the stored images; a mean
    image is cropped and mirrored like each crop.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean_side: int = 1) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, mean_side, mean_side))
        self.register_buffer("std", torch.ones(3, 1, 1))

    def forward(self, batch: Batch) -> torch.Tensor:
        """The standardised pixels."""
        made = _made.get()
        if made is None:
            return self.standardised(batch)
        key = id(batch), id(self.mean), id(self.std)
        if key not in made or made[key][1]._version:  # what a network has changed in place is of no use to another
            made[key] = batch, self.standardised(batch)  # with the batch, whose id no other gets meanwhile
        return made[key][1]

    def standardised(self, batch: Batch) -> torch.Tensor:
        """The standardised pixels, computed."""
        pixels = batch.pixels.float()
        mean = at_every_pixel(self.mean, pixels) if self.mean.shape[-1] == 1 else self.crops_of_mean(batch)
        return (pixels - mean) / at_every_pixel(self.std, pixels)

    def crops_of_mean(self, batch: Batch) -> torch.Tensor:
        """The mean image, cropped and mirrored like every image of the batch: float32 [b, 3, s, s]."""
        side = batch.pixels.shape[-1]
        orientations = torch.stack([self.mean, self.mean.flip(-1)])  # in mirrored images positions count from the right
        windows = orientations.unfold(2, side, 1).unfold(3, side, 1)  # [2, 3, rows, columns, s, s], a view
        top, left = batch.corners.unbind(1)
        column = torch.where(batch.mirrored, windows.shape[3] - 1 - left, left)
        return windows[batch.mirrored.long(), :, top, column]


def at_every_pixel(moment: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """A moment [3, 1, 1] at every pixel of an image: [1, 3, s, s], in memory as the pixels are.

    On a CPU arithmetic in whole rows takes a quarter of what it takes with three values that are repeated.
    """
    return torch.empty_like(pixels[:1], dtype=moment.dtype).copy_(moment)


_made: ContextVar[dict[tuple[int, int, int], tuple[Batch, torch.Tensor]] | None] = ContextVar("made", default=None)


@contextlib.contextmanager
def standardising_once() -> Iterator[None]:
    """Context in which modules that hold the same moments (see `tie_moments`) standardise a batch once."""
    token = _made.set({})
    try:
        yield
    finally:
        _made.reset(token)


def tie_moments(networks: Iterable[nn.Sequential]) -> None:
    """Let networks with equal moments hold the same tensors of them."""
    different: list[Standardise] = []
    for one in map(moments_in, networks):
        for other in different:
            if torch.equal(one.mean, other.mean) and torch.equal(one.std, other.std):
                one.mean, one.std = other.mean, other.std
                break
        else:
            different.append(one)


def moments_in(network: nn.Sequential) -> Standardise:
    """The module of a network that standardises its input."""
    standardise = network[0].get_submodule(STANDARDISE)
    assert isinstance(standardise, Standardise)
    return standardise


def names_of_moments(tensors: Iterable[str]) -> tuple[str, str]:
    """The names of the mean and of the standard deviation among the names of a network's tensors."""
    mean, std = sorted(name for name in tensors if STANDARDISE in name.split("."))
    return mean, std


def mean_side(tensors: Mapping[str, torch.Tensor]) -> int:
    """The side of the mean that a network subtracts; 1 for networks that read texts, which subtract none."""
    return max((tensor.shape[-1] for name, tensor in tensors.items() if STANDARDISE in name.split(".")), default=1)


WINDOW, ALPHA, BETA = 5, 1e-4, 0.75  # of local response normalisation


class Normalise(nn.Module):
    """Local response normalisation: x / (1 + alpha / 5 * sum of squares over five neighbouring channels) ** beta.

    Krizhevsky et al. (2012), section 3.3, with alpha 1e-4 and beta 0.75, divided by the window as in Caffe and torch.
    Always in float32, because bfloat16 cannot represent 1.003. (torch's own layer pools in three dimensions: it is
    slower, and on a GPU its gradient is not deterministic.)
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, channels, s, s], the same shape."""
        with torch.autocast(x.device.type, enabled=False):
            return _Normalise.apply(x.float())  # pyright: ignore[reportReturnType]


class _Normalise(torch.autograd.Function):
    """The gradient is torch's own, bit for bit, but sums of neighbours are padded once instead of once a neighbour."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        base = 1 + ALPHA / WINDOW * of_neighbours(x.square())
        power = base.pow(-BETA)
        ctx.save_for_backward(x, base, power)
        return x * power

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, base, power = ctx.saved_tensors
        (gradient,) = gradients
        of_base = gradient * x * (-BETA * base.pow(-BETA - 1))
        return gradient * power + of_neighbours(of_base * (ALPHA / WINDOW)) * (2 * x)


def of_neighbours(x: torch.Tensor) -> torch.Tensor:
    """Sums over `WINDOW` neighbouring channels, of [b, channels, s, s]."""
    channels, padded = x.shape[1], F.pad(x, (0, 0, 0, 0, WINDOW // 2, WINDOW // 2))
    total = padded[:, :channels] + padded[:, 1 : channels + 1]
    for k in range(2, WINDOW):
        total += padded[:, k : k + channels]
    return total


class PooledReLU(nn.Module):
    """ReLU and then max pooling, with all bits of the two layers, also in gradients, and less memory traffic.

    A window's largest value is positive where its output is, so the gradient passes ReLU at the outputs of the windows,
    which are fewer, before it goes to the pixels that they came from. The input is overwritten, without a note for
    autograd: it must be a result, as of a convolution, that nothing else uses. Where no gradient is wanted, and windows
    fill the image, a zero may have the other sign.
    """

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size, self.stride = size, stride
        self.windows = [size] * 2, [stride] * 2, [0, 0], [1, 1], True  # the last ones may end outside of the image

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, channels, s, s] to as many channels of fewer pixels."""
        size, fits = self.size, self.size == self.stride and not any(side % self.size for side in x.shape[2:])
        if fits and x.is_cpu and not (x.requires_grad and torch.is_grad_enabled()):
            # In two stages, on a CPU in half the time; elsewhere these are more calls and bytes.
            return largest(largest(x.relu_(), size, 2), size, 3)
        return _PooledReLU.apply(x, self.windows)  # pyright: ignore[reportReturnType]

    def extra_repr(self) -> str:
        """The windows, as torch shows those of its layers."""
        return f"kernel_size={self.size}, stride={self.stride}"


class _PooledReLU(torch.autograd.Function):
    """Of the input only the shape and the layout are needed for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, windows: tuple[Any, ...]) -> torch.Tensor:
        pooled, places = aten.max_pool2d_with_indices(x.relu_(), *windows)
        ctx.save_for_backward(x, pooled, places)
        ctx.windows = windows
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        x, pooled, places = ctx.saved_tensors
        of_pooled = aten.threshold_backward(gradients[0], pooled, 0)
        return aten.max_pool2d_with_indices_backward(of_pooled, x, *ctx.windows, places), None


def largest(x: torch.Tensor, size: int, axis: int) -> torch.Tensor:
    """The largest of every `size` neighbours along an axis. Only gradients need to know which one that was."""
    first, *others = (x[(slice(None),) * axis + (slice(k, None, size),)] for k in range(size))
    return functools.reduce(torch.maximum, others, first)


class Masks:
    """Dropout masks of one step: a function of a random key (of the step, see `pack.py`) and the layer.

    Drawn on the CPU, once per layer, for all devices. parts: those of each task or input, if there are several; the
    first has the key of the whole. rows: which images of a batch are computed here, and how many it has; None: all.
    """

    def __init__(self, *key: str | int, parts: "Sequence[Masks]" = (), rows: tuple[slice, int] | None = None) -> None:
        self.key, self.parts, self.rows = key, parts, rows
        self.drawn: dict[str, torch.Tensor] = {}
        self.asked: dict[str, tuple[float, tuple[int, ...], slice, torch.device]] = {}

    def draw_like(self, earlier: "Masks") -> None:
        """Draw the masks that were asked for in an earlier step, ahead of this one."""
        for layer, asked in list(earlier.asked.items()):
            self._draw(layer, *asked)
        for part, before in zip(self.parts, earlier.parts, strict=False):  # none before the first step
            part.draw_like(before)

    def follow(self, other: "Masks") -> None:
        """Ask for the same masks as another step."""
        self.asked, self.parts = other.asked, other.parts

    def _draw(self, layer: str, rate: float, shape: tuple[int, ...], rows: slice, device: torch.device) -> None:
        self.asked[layer] = rate, shape, rows, device
        kept = generator("dropout", *self.key, layer).random(shape, np.float32) >= rate
        self.drawn[layer] = moved(torch.from_numpy(kept[rows]), device.type) / (1 - rate)

    def of(self, layer: str, rate: float, like: torch.Tensor, axes: int | None = None) -> torch.Tensor:
        """A mask of 0 (dropped) and 1 / (1 - rate) (kept), of the type and on the device of `like`.

        axes: outputs with the same indices in the first `axes` axes share one value; None: independent outputs. What
        was drawn ahead in another shape, as for texts of another length, is drawn anew.
        """
        shape = [size if axes is None or k < axes else 1 for k, size in enumerate(like.shape)]
        rows = slice(None)
        if self.rows and axes != 0:
            rows, shape[0] = self.rows
        asked = rate, tuple(shape), rows, like.device
        if layer not in self.drawn or self.asked[layer] != asked:
            self._draw(layer, *asked)
        return self.drawn[layer].to(like.dtype)


_masks: ContextVar[Masks | None] = ContextVar("masks", default=None)


@contextlib.contextmanager
def dropping(masks: Masks | None) -> Iterator[None]:
    """Context in which `Dropout` uses these masks; without masks, as outside of it, nothing is dropped."""
    token = _masks.set(masks)
    try:
        yield
    finally:
        _masks.reset(token)


@contextlib.contextmanager
def of_part(k: int) -> Iterator[None]:
    """Context in which `Dropout` uses the masks of part k of the present masks; outside, of the first part."""
    masks = _masks.get()
    with dropping(masks.parts[k] if masks is not None and masks.parts else masks):
        yield


class Dropout(nn.Module):
    """Dropout within `dropping`, with masks from there. Kept outputs are scaled up; elsewhere it is the identity.

    axes: number of first axes with independent masks; None: all. 2 drops whole channels, 1 whole images (a residual
    path: Huang et al. 2016), 0 the whole batch.
    """

    def __init__(self, layer: str, rate: float, axes: int | None = None) -> None:
        super().__init__()
        self.layer, self.rate, self.axes = layer, rate, axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, ...], the same shape."""
        masks = _masks.get()
        return x if masks is None else x * masks.of(self.layer, self.rate, x, self.axes)


def channels_last(network: Network) -> Network:
    """Store all tensors of four axes channels-last, in which convolutions are faster on the CPU."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == 4:  # torch's own `to` fails for tensors of five axes
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return network
