"""The segments of textnet: embedding, transformer blocks, and the mean over tokens.

Blocks normalise their input (Xiong et al. 2020) and add to it; `mean` normalises the sum. Padding is masked by
`tokens.mask`: what stands after the end of a text changes nothing.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from yosinski.networks.texts.textnet import TextNet
from yosinski.networks.tokens import Tokens, mask


class Vectors(nn.Embedding):
    """A vector for each token or place, which this package initialises."""


class Embed(nn.Module):
    """The vector of each token, plus that of its place."""

    def __init__(self, net: TextNet) -> None:
        super().__init__()
        self.token = Vectors(net.vocabulary, net.width)
        self.place = Vectors(net.length, net.width)

    def forward(self, tokens: Tokens) -> torch.Tensor:
        """float32 [b, L, width]."""
        return self.token(tokens.ids) + self.place.weight[: tokens.ids.shape[1]]


class Block(nn.Module):
    """Attention of tokens to tokens, then two layers on each token."""

    def __init__(self, net: TextNet) -> None:
        super().__init__()
        self.heads = net.heads
        self.norm1, self.norm2 = nn.LayerNorm(net.width), nn.LayerNorm(net.width)
        self.query, self.key, self.value, self.out = (nn.Linear(net.width, net.width) for _ in range(4))
        self.widen, self.narrow = nn.Linear(net.width, net.hidden), nn.Linear(net.hidden, net.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, L, width], the same shape."""
        x = x + self.attend(self.norm1(x))
        return x + self.narrow(F.gelu(self.widen(self.norm2(x))))

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        """[b, L, width], the same shape: of every token a mean of all, weighted by how its query fits their keys."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        fits = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        weights = fits.float().masked_fill(~mask()[:, None, None], -math.inf).softmax(-1)
        return self.out((weights.to(value.dtype) @ value).transpose(1, 2).flatten(2))


class Mean(nn.Module):
    """The mean over the tokens of a text, each normalised."""

    def __init__(self, net: TextNet) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(net.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, L, width] -> float32 [b, width]."""
        there = mask()[..., None]
        return (self.norm(x).float() * there).sum(1) / there.sum(1)


def segments(net: TextNet, outputs: int) -> dict[str, nn.Module]:
    """The segments by name, the head last."""
    blocks = {name: Block(net) for name in net.cuts[1:-1]}
    return {"embed": Embed(net), **blocks, "mean": Mean(net), "head": nn.Linear(net.width, outputs)}
