"""Batches of texts: the input of networks that read them."""

import numpy as np
import torch

from yosinski.data.texts.source import Texts
from yosinski.networks.tokens import Tokens


def batch_of(of: Texts, texts: np.ndarray, most: int) -> Tokens:
    """These texts, int64 [b], cut to `most` tokens, with room for the longest of them."""
    return Tokens(*map(torch.from_numpy, of.padded(texts, most)))
