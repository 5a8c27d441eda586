"""What the records say: the frame of all evaluations, figures, and where to cut. Loads no torch, draws nothing."""

from typing import TYPE_CHECKING, Any

from analysis.frame import frame

if TYPE_CHECKING:
    from analysis.advice.report import advise

__all__ = ["advise", "frame"]


def __getattr__(name: str) -> Any:
    if name == "advise":
        from analysis.advice.report import advise

        return advise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has: {', '.join(__all__)}")
