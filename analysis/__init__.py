"""What the records say: the frame of all evaluations, figures, and where to cut. Loads no torch, draws nothing."""

from analysis.frame import frame

__all__ = ["frame"]
