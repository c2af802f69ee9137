"""Mean, deviation and range of values, gathered in as many pieces as they come."""

from __future__ import annotations

from typing import Any

import numpy as np


class Moments:
    """Number, mean, variance and range of values of shape (n,), or of the columns of (n, m).

    Pieces are put together by the formula of Chan, Golub and LeVeque (The American
    Statistician 37, 1983), with the rounding of each mean carried along, so that no digits are
    lost where the mean is large. Values that come in one piece get what NumPy gives for them,
    to the last bit.

    Attributes
    ----------
    n : int
    mean, variance, low, high, rest : float, or array of shape (m,)
        The rest is what rounding took from the mean.

    Examples
    --------
    >>> moments = Moments()
    >>> moments.update(np.array([1.0, 2.0]))
    >>> moments.update(np.array([6.0]))
    >>> moments.n, float(moments.mean), float(moments.high)
    (3, 3.0, 6.0)
    """

    def __init__(self) -> None:
        self.n = 0
        self.mean: Any = 0.0
        self.rest: Any = 0.0
        self.variance: Any = 0.0
        self.low: Any = np.inf
        self.high: Any = -np.inf

    def update(self, values: np.ndarray) -> None:
        """Take in values of shape (n,) or (n, m), float64, none missing."""
        if not len(values):
            return
        mean, variance = values.mean(axis=0), values.var(axis=0)
        low, high = values.min(axis=0), values.max(axis=0)
        self.add(len(values), mean, variance, low, high, (values - mean).mean(axis=0))

    def add(self, n: int, mean: Any, variance: Any, low: Any, high: Any, rest: Any = 0.0) -> None:
        """Take in n values of which this is known; `rest` is to be added to their mean."""
        if self.n == 0:
            self.n, self.mean, self.variance, self.low, self.high = n, mean, variance, low, high
            self.rest = rest
            return
        total = self.n + n
        own, other = self.n / total, n / total
        apart = (mean - self.mean) + (rest - self.rest)
        self.variance = own * self.variance + other * variance + own * other * apart**2
        step = self.rest + other * apart
        before, self.mean = self.mean, self.mean + step
        self.rest = step - (self.mean - before)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.n = total

    @property
    def deviation(self) -> Any:
        """Standard deviation."""
        return np.sqrt(self.variance)

    @property
    def constant(self) -> Any:
        """Whether all values are the same, up to rounding.

        A constant column's deviation is rounding noise of its mean, not information. That noise
        grows with the number of rows; that all values are one does not depend on it.
        """
        noise = self.deviation <= 10 * np.finfo(np.float64).eps * np.abs(self.mean)
        return noise | (self.low == self.high)
