"""Series: missing values filled, channels standardised, channels first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from isthmus.data.preprocessing.scaling import mean_and_scale
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
    """Return the error text for a column without values between two rows."""
    return f"{column} is empty from {first} to {last}; leave these rows out, or drop the column"


def describe_filled(n_missing: int, n_values: int) -> str:
    """Return the warning text for values that were filled by interpolation.

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


@dataclass(frozen=True)
class SeriesPreprocessor:
    """Standardise each channel over all training windows and time steps.

    Attributes
    ----------
    schema : Schema
    mean, scale : array of shape (c,)

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

    @classmethod
    def learn(cls, X: np.ndarray, schema: Schema) -> Self:
        """Learn mean and deviation of each channel."""
        return cls(schema, *mean_and_scale(X.reshape(-1, X.shape[2])))

    @property
    def network_shape(self) -> tuple[int, ...]:
        """`(c, t)`."""
        steps, channels = self.schema.shape
        return (channels, steps)

    def to_network(self, X: np.ndarray) -> np.ndarray:
        """Standardise and put the channels first: (n, c, t)."""
        values = ((X - self.mean) / self.scale).astype(np.float32)
        return np.ascontiguousarray(values.transpose(0, 2, 1))

    def from_network(self, values: np.ndarray) -> np.ndarray:
        """Return windows of shape (n, t, c) in the units of the training data, float32."""
        return (self.per_feature(values) * self.scale + self.mean).astype(np.float32)

    def per_feature(self, values: np.ndarray) -> np.ndarray:
        """Move the channels last: one number per time step and channel."""
        return np.ascontiguousarray(values.transpose(0, 2, 1))

    def to_dict(self) -> dict[str, Any]:
        """Return mean and scale as lists."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], schema: Schema) -> Self:
        """Rebuild for the same schema."""
        return cls(schema, np.asarray(plain["mean"]), np.asarray(plain["scale"]))
