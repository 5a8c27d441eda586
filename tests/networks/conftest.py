"""What tests of networks share."""

from collections.abc import Iterator

import pytest
import torch
from own_files import forget


@pytest.fixture
def alone() -> Iterator[None]:
    """Generators that stand where they stood, and one thread: two processes with two each take eight times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)
