"""Scaling of columns: mean and deviation that extreme values do not dominate, asinh scaling."""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.errors import DataWarning

#: Deviations from the mean that most values of a column lie beyond when it has another unit, and
#: values of which that is said.
FAR, MIN_VALUES = 30.0, 10


def warn_of_other_scale(values: np.ndarray, names: Sequence[str]) -> None:
    """Warn of columns most of whose values are far from all at fit, as in another unit.

    Parameters
    ----------
    values : float array of shape (n, k) or (n, t, k)
        In deviations of the training values from their mean.
    names : sequence of k str
        What the columns are called.

    Warns
    -----
    DataWarning
        One for each such column. Of the values at fit at most one in 900 lies as far (Chebyshev).
    """
    k = values.shape[-1]
    if values.size < MIN_VALUES * max(k, 1):
        return
    columns = values.reshape(-1, k)
    far = (np.abs(columns) > FAR).mean(axis=0) > 0.5
    for at in np.flatnonzero(far).tolist():
        warnings.warn(
            f"most values of {names[at]} are more than {FAR:g} standard deviations away from those "
            "at fit, as in another unit or of another source: give it as at fit, or see what has "
            "changed",
            DataWarning,
            stacklevel=5,
        )


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
        """Add values of shape (n,) or (n, m), float64, none missing.

        Parameters
        ----------
        values : float64 array of shape (n,) or (n, m)
        """
        if not len(values):
            return
        mean, variance = values.mean(axis=0), values.var(axis=0)
        low, high = values.min(axis=0), values.max(axis=0)
        self.add(len(values), mean, variance, low, high, (values - mean).mean(axis=0))

    def add(self, n: int, mean: Any, variance: Any, low: Any, high: Any, rest: Any = 0.0) -> None:
        """Add n values given by their moments; `rest` is the rounding error of their mean.

        Parameters
        ----------
        n : int
        mean, variance, low, high, rest : float or array of shape (m,)
        """
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


class ChunkMoments:
    """Moments of values that come in chunks, some of which another process may have.

    The order in which chunks are combined changes the last bits. So the moments of each are
    stored, 48 bytes a chunk and column, and combined in the order of the rows.

    Parameters
    ----------
    shape : tuple of int
        () for values of shape (n,), (m,) for columns of (n, m).

    Examples
    --------
    >>> first, second = ChunkMoments(), ChunkMoments()
    >>> first.update(np.array([1.0, 2.0]))
    >>> second.update(np.array([6.0]))
    >>> first.extend(second)
    >>> float(first.combined().mean)
    3.0
    """

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self.shape = shape
        self._lengths, self._moments = array("q"), array("d")

    def update(self, values: np.ndarray) -> None:
        """Add a chunk, float64, none missing.

        Parameters
        ----------
        values : float64 array of shape (n,) or (n, m)
        """
        if not len(values):
            return
        own = Moments()
        own.update(values)
        self._lengths.append(own.n)
        moments = np.array([own.mean, own.variance, own.low, own.high, own.rest], np.float64)
        self._moments.frombytes(moments.tobytes())

    def extend(self, later: ChunkMoments) -> None:
        """Append the moments of later chunks.

        Parameters
        ----------
        later : ChunkMoments
        """
        self._lengths += later._lengths
        self._moments += later._moments

    def combined(self) -> Moments:
        """Return the moments of all values.

        Returns
        -------
        Moments
        """
        moments = Moments()
        stored = np.frombuffer(self._moments).reshape(len(self._lengths), 5, *self.shape)
        for n, (mean, variance, low, high, rest) in zip(self._lengths, stored, strict=True):
            moments.add(n, mean, variance, low, high, rest)
        return moments


#: Maximum share of a column's values that is left out of its mean and deviation. With more
#: extreme values than this, mean and deviation are those of all values.
BREAKDOWN = 0.05
#: Distance from the median, in radii of the nearest 95 % of the values, from which a value is
#: extreme. The radius is two standard deviations of normally distributed values.
EXTREME_RADII = 10.0
#: Ratio of the deviations of all values and of those that are not extreme, from which the extreme
#: ones are left out: otherwise they hardly change the scale.
MIN_RATIO = 2.5
#: Minimum number of values of which one may be left out.
_MIN_VALUES = 20
#: Minimum number of values that differ from the median, where most values equal it.
_MIN_DIFFERENT = 5
#: Distance from the median, in magnitudes of the median (1 at least), from which one of fewer
#: values that differ from it is extreme: far beyond those of a rare flag among zeros.
MAX_SIZES = 100.0


@dataclass(frozen=True)
class UsualRange:
    """Range of the values of a column that its mean and deviation are computed from.

    Attributes
    ----------
    low, high : float
        The least and the greatest of them; values beyond are extreme.
    """

    low: float
    high: float

    def outside(self, values: np.ndarray) -> np.ndarray:
        """Return which values are extreme, a boolean array of the same shape; NaN is not.

        Parameters
        ----------
        values : float array

        Returns
        -------
        boolean array of the same shape
        """
        return (values < self.low) | (values > self.high)


def usual_range(
    sample: np.ndarray, moments: Moments | None = None
) -> tuple[UsualRange, Moments] | None:
    """Return the range of the usual values and their moments; None where all are usual.

    A value is extreme when it lies farther from the median than `EXTREME_RADII` times the
    radius within which 95 % of the values lie (or, where 95 % equal the median, 95 % of the
    others; where fewer than five differ, farther than `MAX_SIZES` times the larger of 1 and the
    median's magnitude). Extreme values, at most `BREAKDOWN` of all, are left out when all values
    together deviate at least `MIN_RATIO` times as much as the others. The result for a column
    without such values is None, so that its mean and deviation are those of all values.

    Parameters
    ----------
    sample : float64 array of shape (n,)
        The values, or some of them drawn at random; none missing.
    moments : Moments, optional
        Of all values, where `sample` holds some of them.

    Returns
    -------
    (UsualRange, Moments) or None

    Examples
    --------
    >>> values = np.append(np.arange(100.0), 1e6)
    >>> usual, moments = usual_range(values)
    >>> usual, float(moments.mean)
    (UsualRange(low=0.0, high=99.0), 49.5)
    >>> usual_range(np.arange(100.0)) is None
    True
    """
    n = len(sample)
    if n < _MIN_VALUES:
        return None
    middle = float(np.median(sample))
    distances = np.abs(sample - middle)
    limit = EXTREME_RADII * _radius(distances, middle)
    low, high = (sample.min(), sample.max()) if moments is None else (moments.low, moments.high)
    if max(middle - low, high - middle) <= limit:
        return None
    usual = sample[distances <= limit]
    own = Moments()
    own.update(usual)
    deviation = sample.std() if moments is None else moments.deviation
    if deviation < MIN_RATIO * own.deviation:
        return None
    return UsualRange(float(own.low), float(own.high)), own


def usual_to_dict(usual: UsualRange | None) -> dict[str, Any]:
    """Return the entry of a range in the JSON of a column; nothing where all values are usual."""
    return {} if usual is None else {"usual": [usual.low, usual.high]}


def usual_from_dict(plain: Mapping[str, Any]) -> UsualRange | None:
    """Return the range that `usual_to_dict` wrote, None where there is none."""
    return None if plain.get("usual") is None else UsualRange(*plain["usual"])


def _radius(distances: np.ndarray, middle: float) -> float:
    """Return the distance from the median within which 95 % of the values lie."""
    at = int(np.ceil((1 - BREAKDOWN) * len(distances))) - 1
    radius = float(np.partition(distances, at)[at])
    noise = 10 * np.finfo(np.float64).eps * abs(middle)
    if radius > noise:
        return radius
    different = distances[distances > noise]
    if len(different) < _MIN_DIFFERENT:
        return MAX_SIZES * max(1.0, abs(middle)) / EXTREME_RADII
    at = int((1 - BREAKDOWN) * (len(different) - 1))
    return float(np.partition(different, at)[at])


def scale_of(moments: Moments) -> np.ndarray:
    """Return the standard deviation of each of m columns, 1 for a constant one."""
    return np.where(moments.constant, 1.0, moments.deviation)


#: Entry of a preprocessor's `to_dict` whose row hashes are computed from standardised values.
#: Those of the first bundles, which do not have it, are computed from the network inputs.
HASH_STANDARDISED = {"hashed": "standardised"}

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
