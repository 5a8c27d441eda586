"""Weights that others have trained, on their way in; and trained networks on their way out."""
