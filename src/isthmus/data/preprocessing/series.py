"""Series: missing values filled, channels standardised, channels first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from isthmus.data.preprocessing.scaling import (
    HASH_STANDARDISED,
    Moments,
    UsualRange,
    scale_of,
    usual_range,
    warn_of_other_scale,
)
from isthmus.data.schema import Schema


@dataclass(frozen=True)
class ValuesBeyond:
    """The nearest values beyond one end of a segment.

    Attributes
    ----------
    values : float array of shape (c,)
        NaN where there is none.
    steps : int array of shape (c,)
        Distance of each from the row at the end, 1 or more.
    """

    values: np.ndarray
    steps: np.ndarray


def interpolate(
    values: np.ndarray, before: ValuesBeyond | None = None, after: ValuesBeyond | None = None
) -> np.ndarray:
    """Fill NaN along time by linear interpolation, and by the nearest value at the ends.

    Parameters
    ----------
    values : float array of shape (t, c)
        No channel may be NaN throughout, unless there is a value before or after.
    before, after : ValuesBeyond, optional
        The nearest values outside, where this is a segment of a longer series: it is filled
        as the whole series would be.

    Returns
    -------
    array of shape (t, c)
        The input itself when no value is missing, otherwise a copy.

    Examples
    --------
    >>> interpolate(np.array([[np.nan], [1.0], [np.nan], [3.0]])).ravel()
    array([1., 1., 2., 3.])
    >>> before = ValuesBeyond(np.array([2.0]), np.array([2]))
    >>> interpolate(np.array([[np.nan], [5.0]]), before).ravel()
    array([4., 5.])
    """
    missing = np.isnan(values)
    if not missing.any():
        return values
    filled = values.copy()
    steps = np.arange(len(values))
    for channel in np.flatnonzero(missing.any(axis=0)):
        gap = missing[:, channel]
        at, present = steps[~gap], values[~gap, channel]
        if before is not None and not np.isnan(before.values[channel]):
            at = np.append(-before.steps[channel], at)
            present = np.append(before.values[channel], present)
        if after is not None and not np.isnan(after.values[channel]):
            at = np.append(at, len(values) - 1 + after.steps[channel])
            present = np.append(present, after.values[channel])
        filled[gap, channel] = np.interp(steps[gap], at, present)
    return filled


def describe_empty_column(column: str, first: str, last: str) -> str:
    """Return the error text for a column without values between two rows.

    Parameters
    ----------
    column, first, last : str
        Name of the column, and the two rows in words.

    Returns
    -------
    str
    """
    return f"{column} is empty from {first}, to {last}; leave these rows out, or drop the column"


def describe_filled(n_missing: int, n_values: int) -> str:
    """Return the warning text for values that were filled by interpolation.

    Parameters
    ----------
    n_missing, n_values : int

    Returns
    -------
    str

    Examples
    --------
    >>> describe_filled(1, 20000)
    '1 of 20,000 values is missing: filled on a line between its neighbours in time'
    """
    verb, possessive = ("is", "its") if n_missing == 1 else ("are", "their")
    return (
        f"{n_missing:,} of {n_values:,} values {verb} missing: filled on a line between "
        f"{possessive} neighbours in time"
    )


#: Deviations from which the values of a channel with extreme training values are compressed.
COMPRESSED_FROM = 20.0


def compress(u: np.ndarray) -> np.ndarray:
    """Return u up to `COMPRESSED_FROM` = c in magnitude, beyond it c (1 + log(|u| / c)).

    Examples
    --------
    >>> compress(np.array([-3.0, 20.0, 20e6])).round(1).tolist()
    [-3.0, 20.0, 296.3]
    """
    far = np.maximum(np.abs(u) / COMPRESSED_FROM, 1.0)
    return np.where(far > 1, np.sign(u) * COMPRESSED_FROM * (1 + np.log(far)), u)


def decompress(v: np.ndarray) -> np.ndarray:
    """Return the inverse of `compress`, for magnitudes up to 1e30 deviations."""
    far = np.clip(np.abs(v) / COMPRESSED_FROM - 1, 0.0, 66.0)
    return np.where(far > 0, np.sign(v) * COMPRESSED_FROM * np.exp(far), v)


@dataclass(frozen=True)
class SeriesPreprocessor:
    """Standardise each channel over all training windows and time steps.

    Attributes
    ----------
    schema : Schema
    mean, scale : array of shape (c,)
    usual : tuple of UsualRange or None, one for each channel
        Range of the training values that mean and scale are computed from, where a few extreme
        ones were left out (see `usual_range`). Values of such a channel are compressed from
        `COMPRESSED_FROM` deviations on: features of training windows with extreme values would
        otherwise dominate those of all others.
    hashes_inputs : bool, default=False
        Whether row hashes are those of the network inputs, as in the first bundles.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[[0.0], [2.0]], [[2.0], [0.0]]])
    >>> prepare = SeriesPreprocessor.learn(X, Schema.learn(X, "series"))
    >>> prepare.to_network(X).tolist()
    [[[-1.0, 1.0]], [[1.0, -1.0]]]
    """

    schema: Schema
    mean: np.ndarray
    scale: np.ndarray
    usual: tuple[UsualRange | None, ...] = ()
    hashes_inputs: bool = False

    @classmethod
    def learn(cls, X: np.ndarray, schema: Schema) -> Self:
        """Learn mean and deviation of each channel.

        Parameters
        ----------
        X : array of shape (n, t, c)
        schema : Schema

        Returns
        -------
        SeriesPreprocessor
        """
        values = X.reshape(-1, X.shape[2]).astype(np.float64, copy=False)
        moments = Moments()
        moments.update(values)
        return cls.of(schema, moments, [usual_range(channel) for channel in values.T])

    @classmethod
    def of(
        cls,
        schema: Schema,
        moments: Moments,
        usual: Sequence[tuple[UsualRange, Moments] | None],
    ) -> Self:
        """Build from the moments of all values, and of the usual ones where some are extreme.

        Parameters
        ----------
        schema : Schema
        moments : Moments
            Of each channel.
        usual : sequence of (UsualRange, Moments) or None
            One of each channel.

        Returns
        -------
        SeriesPreprocessor
        """
        mean, scale = np.array(moments.mean), np.array(scale_of(moments))
        for channel, found in enumerate(usual):
            if found is not None:
                mean[channel], scale[channel] = found[1].mean, scale_of(found[1])
        return cls(schema, mean, scale, tuple(None if one is None else one[0] for one in usual))

    @property
    def network_shape(self) -> tuple[int, ...]:
        """`(c, t)`."""
        steps, channels = self.schema.shape
        return (channels, steps)

    @property
    def compressed(self) -> np.ndarray:
        """Which channels are compressed, boolean of shape (c,)."""
        return np.array([one is not None for one in self.usual or (None,) * len(self.mean)])

    def to_network(self, X: np.ndarray) -> np.ndarray:
        """Standardise and put the channels first: (n, c, t).

        Parameters
        ----------
        X : array of shape (n, t, c)

        Returns
        -------
        float32 array of shape (n, c, t)
        """
        values = self._standardise(X)
        names = self.schema.columns or range(values.shape[-1])
        warn_of_other_scale(values, [f"channel {name!r}" for name in names])
        if (channels := self.compressed).any():
            values[..., channels] = compress(values[..., channels])
        return np.ascontiguousarray(values.astype(np.float32).transpose(0, 2, 1))

    def to_hash(self, X: np.ndarray) -> np.ndarray:
        """Standardise: (n, t, c).

        Parameters
        ----------
        X : array of shape (n, t, c)

        Returns
        -------
        float32 array
        """
        return self.to_network(X) if self.hashes_inputs else self._standardise(X).astype(np.float32)

    def to_training(self, X: np.ndarray) -> np.ndarray:
        """Clip extreme values to the usual range of their channel, then as `to_network`.

        Parameters
        ----------
        X : array of shape (n, t, c)

        Returns
        -------
        float32 array of shape (n, c, t)
        """
        if not self.compressed.any():
            return self.to_network(X)
        low = [-np.inf if one is None else one.low for one in self.usual]
        high = [np.inf if one is None else one.high for one in self.usual]
        return self.to_network(np.clip(X, low, high))

    def from_network(self, values: np.ndarray) -> np.ndarray:
        """Return windows of shape (n, t, c) in the units of the training data, float32.

        Parameters
        ----------
        values : array of shape (n, c, t)

        Returns
        -------
        float32 array of shape (n, t, c)
        """
        last = self.per_feature(values)
        if (channels := self.compressed).any():
            last[..., channels] = decompress(last[..., channels])
        return (last * self.scale + self.mean).astype(np.float32)

    def per_feature(self, values: np.ndarray) -> np.ndarray:
        """Move the channels last: one number per time step and channel.

        Parameters
        ----------
        values : array of shape (n, c, t)

        Returns
        -------
        array of shape (n, t, c)
        """
        return np.ascontiguousarray(values.transpose(0, 2, 1))

    def to_dict(self) -> dict[str, Any]:
        """Return mean and scale as lists; the usual ranges where there are any.

        Returns
        -------
        dict
        """
        plain = {"mean": self.mean.tolist(), "scale": self.scale.tolist()}
        usual = {"usual": [None if one is None else [one.low, one.high] for one in self.usual]}
        hashed = {} if self.hashes_inputs else HASH_STANDARDISED
        return plain | (usual if self.compressed.any() else {}) | hashed

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], schema: Schema) -> Self:
        """Rebuild for the same schema.

        Parameters
        ----------
        plain : mapping
        schema : Schema

        Returns
        -------
        SeriesPreprocessor
        """
        usual = plain.get("usual") or ()
        ranges = tuple(None if one is None else UsualRange(*one) for one in usual)
        mean, scale = np.asarray(plain["mean"]), np.asarray(plain["scale"])
        return cls(schema, mean, scale, ranges, not HASH_STANDARDISED.items() <= plain.items())

    def _standardise(self, X: np.ndarray) -> np.ndarray:
        return np.asarray((X - self.mean) / self.scale)
