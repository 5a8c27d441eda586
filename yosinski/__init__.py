"""At which layer to cut a trained network for transfer, and whether to freeze or fine-tune below the cut.

Names for users' sweeps are listed here, and loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yosinski.data.find import card
    from yosinski.data.half import Half
    from yosinski.data.halves import split
    from yosinski.experiment.recipes import EMOJI, FINETUNE, MODERN, PAPER, PAPER_REDUCED, SKETCH, Recipe, recipe
    from yosinski.experiment.run import Run

__all__ = [
    "EMOJI",
    "FINETUNE",
    "MODERN",
    "PAPER",
    "PAPER_REDUCED",
    "SKETCH",
    "Half",
    "Recipe",
    "Run",
    "card",
    "recipe",
    "split",
]

_ELSEWHERE = {"Half": "data.half", "Run": "experiment.run", "card": "data.find", "split": "data.halves"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'experiment.recipes')}"), name)
