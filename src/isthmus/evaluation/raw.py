"""Instances as the network sees them: the features of every control without a code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from isthmus.autoencoder import Autoencoder

#: Values that are prepared at a time: preparing a table takes float64 copies.
_AT_ONCE = 2**20


def raw_inputs(encoder: Autoencoder, X: Any, rows: np.ndarray | None = None) -> np.ndarray:
    """Return what the network would get of instances, one flat row each.

    Parameters
    ----------
    encoder : fitted Autoencoder
        Whose schema and preprocessing are used; no network is run.
    X : array or DataFrame like the one it was fitted on
    rows : integer or boolean array, optional
        Which instances; all when left out.

    Returns
    -------
    array of shape (n, m), float32
        In memory of its own, which may be written over.

    Examples
    --------
    >>> X = np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8)
    >>> encoder = Autoencoder(max_epochs=1, random_state=0).fit(X)
    >>> raw_inputs(encoder, X, np.array([3, 4])).shape, bool(raw_inputs(encoder, X).max() == 1)
    ((2, 64), True)
    """
    checked, prepare = encoder.schema_.check(X), encoder.preprocessor_.to_network
    numbers = np.arange(len(checked))
    numbers = numbers if rows is None else numbers[rows]
    width = math.prod(encoder.preprocessor_.network_shape)
    flat = np.empty((len(numbers), width), dtype=np.float32)
    step = max(1, _AT_ONCE // width)
    for first in range(0, len(numbers), step):
        part = slice(first, first + step)
        flat[part] = prepare(checked[numbers[part]]).reshape(-1, width)
    return flat
