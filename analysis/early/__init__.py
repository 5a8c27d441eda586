"""The early answer: what stopping now would cost."""
