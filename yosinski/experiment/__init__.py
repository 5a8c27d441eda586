"""Runs: what is trained, with treatments, recipes and costs. No torch."""
