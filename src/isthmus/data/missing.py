"""Missing values of a series, filled from those before and after."""

from __future__ import annotations

import numpy as np


def interpolate(values: np.ndarray) -> np.ndarray:
    """Fill NaN along time: on a straight line between neighbours, held at the ends.

    Parameters
    ----------
    values : float array of shape (t, c)
        No channel may be NaN throughout.

    Returns
    -------
    array of shape (t, c)
        The array itself when nothing is missing, otherwise a copy.

    Examples
    --------
    >>> interpolate(np.array([[np.nan], [1.0], [np.nan], [3.0]])).ravel()
    array([1., 1., 2., 3.])
    """
    missing = np.isnan(values)
    if not missing.any():
        return values
    filled = values.copy()
    steps = np.arange(len(values))
    for channel in np.flatnonzero(missing.any(axis=0)):
        gap = missing[:, channel]
        filled[gap, channel] = np.interp(steps[gap], steps[~gap], values[~gap, channel])
    return filled


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
