"""What tests of texts share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def stores_of_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of stores of texts."""
    return tmp_path_factory.mktemp("texts")
