"""Mean and deviation of columns, where a constant column is no reason to divide by zero."""

from __future__ import annotations

import numpy as np

from isthmus.data.preprocessing.moments import Moments


def mean_and_scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column of (n, m); 1 for a constant column."""
    moments = Moments()
    moments.update(values.astype(np.float64, copy=False))
    return moments.mean, scale_of(moments)


def scale_of(moments: Moments) -> np.ndarray:
    """Return the standard deviation of each of m columns, 1 for a constant one."""
    return np.where(moments.constant, 1.0, moments.deviation)
