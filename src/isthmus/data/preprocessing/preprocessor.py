"""The interface of preprocessing, and scaling of columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from isthmus.data.schema import Schema


class Preprocessor(ABC):
    """Turns instances into network inputs, and reconstructions into instances.

    Attributes
    ----------
    schema : Schema
    """

    schema: Schema

    @classmethod
    @abstractmethod
    def learn(cls, X: np.ndarray, schema: Schema) -> Self:
        """Learn from checked training data of shape `(n, *schema.shape)`."""

    @property
    @abstractmethod
    def network_shape(self) -> tuple[int, ...]:
        """Shape of one network input."""

    @abstractmethod
    def to_network(self, X: np.ndarray) -> np.ndarray:
        """Prepare checked instances.

        Parameters
        ----------
        X : array of shape (n, *schema.shape)

        Returns
        -------
        array of shape (n, *network_shape), float32, C-contiguous
        """

    @abstractmethod
    def from_network(self, values: np.ndarray) -> Any:
        """Return reconstructions of shape (n, *network_shape) in the units of the data."""

    @abstractmethod
    def per_feature(self, values: np.ndarray) -> np.ndarray:
        """Sum a number for each network input over the inputs of each value.

        Parameters
        ----------
        values : array of shape (n, *network_shape)
            One number for each network input, such as a squared residual.

        Returns
        -------
        array of shape (n, *schema.shape)
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values; `from_dict` is the way back."""

    @classmethod
    @abstractmethod
    def from_dict(cls, plain: Mapping[str, Any], schema: Schema) -> Self:
        """Rebuild from what `to_dict` gave, for the same schema."""


class Moments:
    """Number, mean, variance and range of values of shape (n,), or of the columns of (n, m).

    Chunks are put together by the formula of Chan, Golub and LeVeque (The American
    Statistician 37, 1983), with the rounding of each mean carried along, so that no digits are
    lost where the mean is large. Values that come in one chunk get what NumPy gives for them,
    to the last bit.

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

        A constant column's deviation is rounding noise of its mean, not information. That noise
        grows with the number of rows; that all values are one does not depend on it.
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


#: Largest magnitude of an asinh-scaled value, that of 5e21 standard deviations and more.
BOUND = 100.0
#: `BOUND` in standard deviations, before scaling.
FARTHEST = 2 * np.sinh(BOUND / 2)


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
        In [-`BOUND`, `BOUND`].

    Examples
    --------
    >>> asinh_scale(np.array([0.5, 2.0, 1000.0])).round(2).tolist()
    [0.49000000953674316, 1.7599999904632568, 13.819999694824219]
    """
    # `FARTHEST` still fits float32, in which asinh takes a fifth of the time.
    values = np.clip(u, -FARTHEST, FARTHEST).astype(np.float32, copy=False)
    values *= np.float32(0.5)
    np.arcsinh(values, out=values)
    values *= np.float32(2)
    return np.clip(values, -BOUND, BOUND, out=values)


def sinh_unscale(v: np.ndarray) -> np.ndarray:
    """Return 2 sinh(v / 2), the way back from `asinh_scale`, in float32.

    Values beyond `BOUND`, which a network can give, count as `BOUND`, so that none
    overflows.

    Examples
    --------
    >>> sinh_unscale(asinh_scale(np.array([-3.0, 0.0, 1000.0]))).round(2).tolist()
    [-3.0, 0.0, 1000.0]
    """
    values = np.clip(v, -BOUND, BOUND).astype(np.float32, copy=False)
    values *= np.float32(0.5)
    np.sinh(values, out=values)
    values *= np.float32(2)
    return values
