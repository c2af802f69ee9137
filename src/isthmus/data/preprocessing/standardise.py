"""Mean and deviation of columns, where a constant column is no reason to divide by zero."""

from __future__ import annotations

import numpy as np


def mean_and_scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column of (n, m); 1 for a constant column."""
    values = values.astype(np.float64, copy=False)
    mean = values.mean(axis=0)
    deviation = values.std(axis=0)
    # A constant column's deviation is rounding noise of its mean, not information. That noise
    # grows with the number of rows; that all values are one does not depend on it.
    noise = deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean)
    constant = noise | (values.max(axis=0) == values.min(axis=0))
    return mean, np.where(constant, 1.0, deviation)
