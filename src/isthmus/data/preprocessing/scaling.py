"""Scaling of columns: mean and standard deviation over chunks, and asinh scaling."""

from __future__ import annotations

from typing import Any

import numpy as np


class Moments:
    """Count, mean, variance and range of values (n,), or of the columns of (n, m), by chunks.

    Chunks are combined by the formula of Chan, Golub and LeVeque (The American Statistician
    37, 1983), with the rounding error of each mean carried along, so that no digits are lost
    where the mean is large. For a single chunk the results are NumPy's, bit for bit.

    Attributes
    ----------
    n : int
    mean, variance, low, high, rest : float, or array of shape (m,)
        `rest` is the rounding error of the mean, to be added to it.

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
        """Add values of shape (n,) or (n, m), float64, none missing."""
        if not len(values):
            return
        mean, variance = values.mean(axis=0), values.var(axis=0)
        low, high = values.min(axis=0), values.max(axis=0)
        self.add(len(values), mean, variance, low, high, (values - mean).mean(axis=0))

    def add(self, n: int, mean: Any, variance: Any, low: Any, high: Any, rest: Any = 0.0) -> None:
        """Add n values given by their moments; `rest` is the rounding error of their mean."""
        if self.n == 0:
            self.n, self.mean, self.variance, self.low, self.high = n, mean, variance, low, high
            self.rest = rest
            return
        total = self.n + n
        own, other = self.n / total, n / total
        difference = (mean - self.mean) + (rest - self.rest)
        self.variance = own * self.variance + other * variance + own * other * difference**2
        step = self.rest + other * difference
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

        The deviation of a constant column is rounding noise of its mean. That noise grows with
        the number of rows, so the range is compared as well.
        """
        noise = self.deviation <= 10 * np.finfo(np.float64).eps * np.abs(self.mean)
        return noise | (self.low == self.high)


def mean_and_scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column of (n, m); 1 for a constant column."""
    moments = Moments()
    moments.update(values.astype(np.float64, copy=False))
    return moments.mean, scale_of(moments)


def scale_of(moments: Moments) -> np.ndarray:
    """Return the standard deviation of each of m columns, 1 for a constant one."""
    return np.where(moments.constant, 1.0, moments.deviation)


#: Maximum magnitude of an asinh-scaled value, reached at 5e21 standard deviations.
MAX_SCALED = 100.0
#: `MAX_SCALED` in standard deviations, before scaling.
MAX_DEVIATIONS = 2 * np.sinh(MAX_SCALED / 2)


def asinh_scale(u: np.ndarray) -> np.ndarray:
    """Return 2 asinh(u / 2): within 4 % of u up to one deviation, 2 log |u| far out.

    The inverse hyperbolic sine is the logarithm that takes zero and negative values too
    (Burbidge, Magee and Robb, 1988); halving and doubling makes it linear up to about two
    standard deviations.

    Parameters
    ----------
    u : array of any shape
        In standard deviations; may be infinite, not NaN.

    Returns
    -------
    array of the same shape, float32
        In [-`MAX_SCALED`, `MAX_SCALED`].

    Examples
    --------
    >>> asinh_scale(np.array([0.5, 2.0, 1000.0])).round(2).tolist()
    [0.49000000953674316, 1.7599999904632568, 13.819999694824219]
    """
    # `MAX_DEVIATIONS` still fits float32, in which asinh takes a fifth of the time.
    values = np.clip(u, -MAX_DEVIATIONS, MAX_DEVIATIONS).astype(np.float32, copy=False)
    values *= np.float32(0.5)
    np.arcsinh(values, out=values)
    values *= np.float32(2)
    return np.clip(values, -MAX_SCALED, MAX_SCALED, out=values)


def sinh_unscale(v: np.ndarray) -> np.ndarray:
    """Return 2 sinh(v / 2), the inverse of `asinh_scale`, in float32.

    Values are clipped to `MAX_SCALED` first, because the outputs of a network may be larger
    and would overflow.

    Examples
    --------
    >>> sinh_unscale(asinh_scale(np.array([-3.0, 0.0, 1000.0]))).round(2).tolist()
    [-3.0, 0.0, 1000.0]
    """
    values = np.clip(v, -MAX_SCALED, MAX_SCALED).astype(np.float32, copy=False)
    values *= np.float32(0.5)
    np.sinh(values, out=values)
    values *= np.float32(2)
    return values
