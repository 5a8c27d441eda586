"""Networks in files of somebody's own, for tests: their code, made, and compared with their segments."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from yosinski.networks import catalogue, own
from yosinski.networks.batch import Batch
from yosinski.networks.build import build
from yosinski.networks.catalogue import architecture
from yosinski.networks.tracing import own_graph

PLAIN = """
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        {init}
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        {before}
        x = F.relu(self.first(x))
        {between}
        x = F.relu(self.second(x))
        {after}
        x = self.fc(x.mean((2, 3)))
        {last}
        return x


def build(num_classes):
    return Net(num_classes)
"""


BLOCK = """
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x).{activation}()
"""
SIDE = 16


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in another process, which has looked at nothing yet."""
    monkeypatch.setattr(own, "_known", {})
    monkeypatch.setattr(catalogue, "_looked", {})
    own_graph._survey.cache_clear()


def plain(**parts: str) -> str:
    return PLAIN.format(**{"init": "", "before": "", "between": "", "after": "", "last": "", **parts})


def put(folder: Path, source: str, name: str = "net.py") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


def made(network: str, outputs: int) -> nn.Module:
    """The plain model."""
    known = catalogue.resolve(network)
    with known.code.loaded() as module:
        return own_graph.made(known.code, module, known.maker, outputs, known.side)[0].eval()


@torch.no_grad()
def difference(network: str, outputs: int = 7) -> float:
    """The largest difference at any cut between head, tail and the plain model, relative to the largest output.

    Asserted: tensors have the plain model's names, parameters and shapes are as described, segments keep their input.
    """
    segments, model, described = build(network, outputs).eval(), made(network, outputs), architecture(network)
    names = [name.partition(".")[2] for name in segments.state_dict()]
    expected = [*(set(model.state_dict()) - set(described.left_off)), "standardise.mean", "standardise.std"]
    assert sorted(names) == sorted(expected)
    for name, tensor in segments.state_dict().items():
        if "standardise" not in name:
            tensor.copy_(model.state_dict()[name.partition(".")[2]])
    pixels = torch.randint(0, 256, (5, 3, described.side, described.side), dtype=torch.uint8)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    segments[0].get_submodule("standardise").load_state_dict(
        {"mean": torch.full((3, 1, 1), 120.0), "std": torch.full((3, 1, 1), 60.0)}
    )
    whole: Any = model((pixels.float() - 120) / 60)
    whole = whole if isinstance(whole, torch.Tensor) else whole.logits
    features: Any = Batch.whole(pixels)
    worst, rows = 0.0, described.costs(outputs)
    for n, (row, segment) in enumerate(zip(rows, segments, strict=True), 1):
        assert sum(p.numel() for p in segment.parameters()) == row.parameters, row.name
        features = segment(features)
        assert features.shape == (5, *row.shape), row.name
        kept = features.clone()
        found = segments[n:](features)
        assert torch.equal(features, kept), f"what follows {row.name} changes its input"
        worst = max(worst, float((found - whole).abs().max() / whole.abs().max()))
    return worst
