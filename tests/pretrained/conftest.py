"""Weights as people have them: a model of torchvision's, its checkpoint, and one of a network of our own."""

from pathlib import Path

import pictures
import pytest
import torch

from yosinski.networks import build


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
