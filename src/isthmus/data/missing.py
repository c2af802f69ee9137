"""Missing values of a series, filled from those before and after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Beyond:
    """The nearest values beyond one end of a stretch.

    Attributes
    ----------
    values : float array of shape (c,)
        NaN where there is none.
    steps : int array of shape (c,)
        How far each is from the row at the end, 1 or more.
    """

    values: np.ndarray
    steps: np.ndarray


def interpolate(
    values: np.ndarray, before: Beyond | None = None, after: Beyond | None = None
) -> np.ndarray:
    """Fill NaN along time: on a straight line between neighbours, held at the ends.

    Parameters
    ----------
    values : float array of shape (t, c)
        No channel may be NaN throughout, unless there is a value before or after.
    before, after : Beyond, optional
        Of a longer series that this is a stretch of: what is filled is the same as there.

    Returns
    -------
    array of shape (t, c)
        The array itself when nothing is missing, otherwise a copy.

    Examples
    --------
    >>> interpolate(np.array([[np.nan], [1.0], [np.nan], [3.0]])).ravel()
    array([1., 1., 2., 3.])
    >>> interpolate(np.array([[np.nan], [5.0]]), Beyond(np.array([2.0]), np.array([2]))).ravel()
    array([4., 5.])
    """
    missing = np.isnan(values)
    if not missing.any():
        return values
    filled = values.copy()
    steps = np.arange(len(values))
    for channel in np.flatnonzero(missing.any(axis=0)):
        gap = missing[:, channel]
        at, known = steps[~gap], values[~gap, channel]
        if before is not None and not np.isnan(before.values[channel]):
            at = np.append(-before.steps[channel], at)
            known = np.append(before.values[channel], known)
        if after is not None and not np.isnan(after.values[channel]):
            at = np.append(at, len(values) - 1 + after.steps[channel])
            known = np.append(known, after.values[channel])
        filled[gap, channel] = np.interp(steps[gap], at, known)
    return filled


def empty_in_words(column: str, first: str, last: str) -> str:
    """Say that a column holds nothing from one row to another, for an error."""
    return f"{column} is empty from {first} to {last}; leave these rows out, or drop the column"


def filled_in_words(n_missing: int, n_values: int) -> str:
    """Say how many values were filled and how, for a warning.

    Examples
    --------
    >>> filled_in_words(1, 20000)
    '1 of 20,000 values is missing: filled on a line between its neighbours in time'
    """
    verb, whose = ("is", "its") if n_missing == 1 else ("are", "their")
    return (
        f"{n_missing:,} of {n_values:,} values {verb} missing: filled on a line between {whose} "
        "neighbours in time"
    )
