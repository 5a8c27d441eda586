"""Random numbers by key: they depend on their purpose, never on earlier draws."""

import hashlib

import numpy as np

from yosinski.identity import canonical


def generator(*key: str | int) -> np.random.Generator:
    """A generator that depends on the key alone (Philox, keyed by the SHA-256 of the key)."""
    hashed = hashlib.sha256(canonical(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(hashed[:16], "little")))


def seed_of(*key: str | int) -> int:
    """A seed for torch's generators that depends on the key alone."""
    hashed = hashlib.sha256(canonical(("weights", *key)).encode()).digest()
    return int.from_bytes(hashed[:8], "little") >> 1
