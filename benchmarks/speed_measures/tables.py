"""Tables of numbers to learn from: columns that hang together, as a code needs."""

from __future__ import annotations

import numpy as np


def numbers(n: int, m: int) -> np.ndarray:
    """Return float32 numbers of shape (n, m): mixtures of half as many, and noise."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(n, m // 2)) @ rng.normal(size=(m // 2, m))
    return np.float32(mixed + 0.5 * rng.normal(size=(n, m)))
