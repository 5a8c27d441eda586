"""Figures: the paper's, and those of your own runs."""
