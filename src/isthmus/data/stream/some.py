"""Some rows of many, by their numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isthmus.data.stream.part import Piece


def draw(n_rows: int, n: int, seed: int | Sequence[int]) -> np.ndarray:
    """Draw `n` of the numbers below `n_rows` uniformly, or all: sorted, each once."""
    rng = np.random.default_rng(seed)
    if 2 * n >= n_rows:
        return np.sort(rng.permutation(n_rows)[:n])
    # In memory for `n` rows, however many there are; whatever set comes out is as likely.
    rows = np.empty(0, np.int64)
    while len(rows) < n:
        rows = np.union1d(rows, rng.integers(n_rows, size=2 * (n - len(rows)) + 100))
    return np.sort(rng.choice(rows, n, replace=False))


def rows_of(rows: np.ndarray, piece: Piece) -> np.ndarray:
    """Return which of some sorted row numbers lie in a piece, as positions in it."""
    first, end = np.searchsorted(rows, [piece.first_row, piece.first_row + len(piece)])
    return rows[first:end] - piece.first_row
