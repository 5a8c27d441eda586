"""Pretrained weights from outside, and export of trained networks."""
