"""Instances as the network sees them: the features of every control without a code."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from isthmus.autoencoder import Autoencoder

#: Values that are prepared at a time: preparing a table takes float64 copies.
_AT_ONCE = 2**20


def raw_inputs(
    encoder: Autoencoder,
    X: Any,
    rows: np.ndarray | None = None,
    then: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Return what the network would get of instances, one flat row each.

    Parameters
    ----------
    encoder : fitted Autoencoder
        Whose schema and preprocessing are used; no network is run.
    X : array or DataFrame like the one it was fitted on
    rows : integer or boolean array, optional
        Which instances; all when left out.
    then : callable, optional
        What to make of the inputs, some rows at a time, each by itself.

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
    step = max(1, _AT_ONCE // width)
    made: np.ndarray | None = None
    for first in range(0, max(1, len(numbers)), step):
        inputs = prepare(checked[numbers[first : first + step]]).reshape(-1, width)
        some = inputs if then is None else then(inputs)
        if made is None:
            made = np.empty((len(numbers), some.shape[1]), dtype=np.float32)
        made[first : first + len(some)] = some
    assert made is not None  # there is at least one part
    return made
