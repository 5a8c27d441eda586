"""Prediction: scores of all cuts of a base from one forward pass."""
