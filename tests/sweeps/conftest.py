"""What tests of sweeps share."""

import pytest

from yosinski import data
from yosinski.data import find


@pytest.fixture
def card_of_emoji(monkeypatch: pytest.MonkeyPatch) -> None:
    """The card is asked for once per run; reading the pictures once is enough here."""
    card = find.card("emoji")
    monkeypatch.setattr(data, "card", lambda name: card)
