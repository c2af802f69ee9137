"""Alarms of a series: runs of abnormal time points, and their table.

A run of abnormal time points is one alarm. With hysteresis it does not break where the score
falls below the threshold for a moment: runs whose gap is at most `merge_gap` points are one
alarm, and an alarm shorter than `min_length` points is dropped. Both are morphology in one
dimension, a closing and then an opening of the set of abnormal points, so what holds for one
threshold holds for all at once: `alarm_levels` closes and opens the scores themselves
(Serra, Image Analysis and Mathematical Morphology, 1982), and the alarms at a threshold are the
runs of levels above it. `alarm_rates.py` counts the alarms of all thresholds by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.ndimage import grey_closing, grey_opening

from isthmus._core import shown
from isthmus.errors import DataError


def find_alarms(
    abnormal: np.ndarray, segments: np.ndarray, *, merge_gap: int = 0, min_length: int = 1
) -> np.ndarray:
    """Return the alarms of abnormal time points.

    Parameters
    ----------
    abnormal : boolean array of shape (m,)
    segments : int array of shape (s, 2)
        First and end (exclusive) position of each stretch without a gap in time, in order; they
        do not overlap. No alarm reaches from one to the next, and points of none are ignored.
    merge_gap : int, at least 0
        Runs of abnormal points with at most so many other points between them are one alarm.
    min_length : int, at least 1
        An alarm of fewer points, merged gaps included, is dropped.

    Returns
    -------
    int array of shape (k, 2)
        First and end (exclusive) position of each alarm, in order.

    Raises
    ------
    DataError
        When `merge_gap` or `min_length` is out of range.

    Examples
    --------
    >>> abnormal = np.array([0, 1, 0, 1, 0, 0, 1, 1, 1, 1], dtype=bool)
    >>> find_alarms(abnormal, np.array([[0, 8], [8, 10]]), merge_gap=1, min_length=2).tolist()
    [[1, 4], [6, 8], [8, 10]]
    """
    check_hysteresis(merge_gap, min_length)
    segments = np.asarray(segments, dtype=np.int64).reshape(-1, 2)
    at, segment = _positions_in(np.asarray(abnormal, dtype=bool), segments)
    if not len(at):
        return np.zeros((0, 2), dtype=np.int64)
    starts = (np.diff(at) > merge_gap + 1) | (np.diff(segment) > 0)
    first = at[np.concatenate([[True], starts])]
    end = at[np.concatenate([starts, [True]])] + 1
    long_enough = end - first >= min_length
    return np.column_stack([first, end])[long_enough]


def known_positions(
    alarms: np.ndarray,
    abnormal: np.ndarray,
    segments: np.ndarray,
    *,
    min_length: int = 1,
    window: int = 1,
    causal: bool = False,
) -> np.ndarray:
    """Return the position at which each alarm could be known first.

    An alarm is known once an abnormal point makes it `min_length` long. A causal score of a point
    needs the past only; another one the windows that cover it, the last of which ends
    `window - 1` points later, or with the segment.

    Parameters
    ----------
    alarms : int array of shape (k, 2)
        As `find_alarms` returns them, with the same `abnormal`, `segments` and `min_length`.
    abnormal : boolean array of shape (m,)
    segments : int array of shape (s, 2)
    min_length : int
    window : int
        Time points of a window.
    causal : bool

    Returns
    -------
    int array of shape (k,)

    Examples
    --------
    >>> abnormal = np.array([0, 1, 0, 1, 0, 0, 0, 0], dtype=bool)
    >>> segments = np.array([[0, 8]])
    >>> alarms = find_alarms(abnormal, segments, merge_gap=1, min_length=2)
    >>> known_positions(alarms, abnormal, segments, min_length=2, causal=True).tolist()
    [3]
    >>> known_positions(alarms, abnormal, segments, min_length=2, window=4).tolist()
    [6]
    """
    segments = np.asarray(segments, dtype=np.int64).reshape(-1, 2)
    at, _ = _positions_in(np.asarray(abnormal, dtype=bool), segments)
    if not len(alarms):
        return np.zeros(0, dtype=np.int64)
    known = at[np.searchsorted(at, alarms[:, 0] + min_length - 1)]
    if causal:
        return known
    ends = segments[np.searchsorted(segments[:, 0], known, side="right") - 1, 1]
    return np.minimum(known + window - 1, ends - 1)


def alarm_levels(
    scores: np.ndarray, segments: np.ndarray, *, merge_gap: int = 0, min_length: int = 1
) -> np.ndarray:
    """Return for each time point below which threshold it lies in an alarm.

    Parameters
    ----------
    scores : array of shape (m,)
        Anomaly scores of time points; NaN where there is none, which is never abnormal.
    segments : int array of shape (s, 2)
        As for `find_alarms`.
    merge_gap, min_length : int
        As for `find_alarms`.

    Returns
    -------
    float64 array of shape (m,)
        The alarms of `scores > t` are the runs of `levels > t`, for every t; -inf for points that
        are in no alarm at any threshold.

    Examples
    --------
    >>> scores = np.array([0.0, 3.0, 1.0, 2.0, 0.0])
    >>> alarm_levels(scores, np.array([[0, 5]]), merge_gap=1).tolist()
    [0.0, 3.0, 2.0, 2.0, 0.0]
    """
    check_hysteresis(merge_gap, min_length)
    scores = np.asarray(scores, dtype=np.float64)
    segments = np.asarray(segments, dtype=np.int64).reshape(-1, 2)
    lengths = segments[:, 1] - segments[:, 0]
    pad = merge_gap + 1  # keeps segments apart, and closes nothing at their ends
    shifts = segments[:, 0] - pad - (np.cumsum(lengths + pad) - lengths - pad)
    inside = all_positions(segments)
    padded_at = inside - np.repeat(shifts, lengths)
    padded = np.full(int(lengths.sum()) + pad * (len(segments) + 1), -np.inf)
    values = scores[inside]
    padded[padded_at] = np.where(np.isnan(values), -np.inf, values)
    if merge_gap:
        padded = grey_closing(padded, size=(merge_gap + 1,), mode="constant", cval=-np.inf)
    if min_length > 1:
        padded = grey_opening(padded, size=(min_length,), mode="constant", cval=-np.inf)
    levels = np.full(len(scores), -np.inf)
    levels[inside] = padded[padded_at]
    return levels


def alarm_table(
    alarms: np.ndarray,
    scores: np.ndarray,
    p_values: np.ndarray,
    known: np.ndarray,
    identifiers: pd.DataFrame,
    *,
    shares: np.ndarray | None = None,
    channels: Sequence[str] = (),
) -> pd.DataFrame:
    """Return a row for each alarm.

    Parameters
    ----------
    alarms : int array of shape (k, 2)
        As `find_alarms` returns them.
    scores, p_values : arrays of shape (m,)
        Of each time point; NaN where there is none.
    known : int array of shape (k,)
        As `known_positions` returns it.
    identifiers : DataFrame of m rows
        The columns of the group, if any, and in the last one the time of each point, or its row
        in the table where there is no time.
    shares : array of shape (m, c), optional
        Share of each channel in the residual of each point.
    channels : c names

    Returns
    -------
    DataFrame
        Group columns; `first`, `last` and `peak`, times or rows; `n_points` from first to last;
        `known_at`, when it could be known first; with shares `channel`, the one with the
        largest share at the peak (None where no channel has one), and that `share`, in [0, 1];
        `anomaly_score` and `p_value` at the peak, the first point with the highest score. In the
        order of `alarms`.

    Examples
    --------
    >>> scores = np.array([0.0, 2.0, 3.0, 0.0])
    >>> shares = np.array([[0.5, 0.5], [0.1, 0.9], [0.3, 0.7], [0.5, 0.5]])
    >>> table = alarm_table(
    ...     np.array([[1, 3]]),
    ...     scores,
    ...     np.array([1.0, 0.2, 0.1, 1.0]),
    ...     np.array([1]),
    ...     pd.DataFrame({"row": range(4)}),
    ...     shares=shares,
    ...     channels=["pressure", "flow"],
    ... )
    >>> table.drop(columns="share").to_dict("records")  # doctest: +NORMALIZE_WHITESPACE
    [{'first': 1, 'last': 2, 'peak': 2, 'n_points': 2, 'known_at': 1, 'channel': 'flow',
      'anomaly_score': 3.0, 'p_value': 0.1}]
    """
    alarms = np.asarray(alarms, dtype=np.int64).reshape(-1, 2)
    lengths = alarms[:, 1] - alarms[:, 0]
    inside = all_positions(alarms)
    starts = np.cumsum(lengths) - lengths
    peak = alarms[:, 0].copy()
    if len(alarms):
        values = np.where(np.isnan(scores[inside]), -np.inf, scores[inside])
        alarm = np.repeat(np.arange(len(alarms)), lengths)
        highest = np.flatnonzero(values == np.maximum.reduceat(values, starts)[alarm])
        peak = inside[highest[np.unique(alarm[highest], return_index=True)[1]]]
    time = identifiers.iloc[:, -1]
    table = identifiers.iloc[alarms[:, 0], :-1].reset_index(drop=True)
    for name, positions in (("first", alarms[:, 0]), ("last", alarms[:, 1] - 1), ("peak", peak)):
        table[name] = time.iloc[positions].array
    table["n_points"] = lengths
    table["known_at"] = time.iloc[known].array
    if shares is not None:
        at_peak = np.nan_to_num(shares[peak]).reshape(len(alarms), len(channels))
        worst = at_peak.argmax(axis=1)
        named = pd.Series(list(channels)).iloc[worst]
        known = at_peak.any(axis=1)  # without a decoder no channel has a part in the score
        table["channel"] = (named if known.all() else named.astype(object).where(known, None)).array
        table["share"] = at_peak[np.arange(len(alarms)), worst]
    table["anomaly_score"] = scores[peak]
    table["p_value"] = p_values[peak]
    return table


def all_positions(bounds: np.ndarray) -> np.ndarray:
    """Return the positions of all stretches, one after the other.

    Parameters
    ----------
    bounds : int array of shape (k, 2)
        First and end (exclusive) position of each stretch.

    Returns
    -------
    int array

    Examples
    --------
    >>> all_positions(np.array([[1, 3], [7, 10]])).tolist()
    [1, 2, 7, 8, 9]
    """
    lengths = bounds[:, 1] - bounds[:, 0]
    offsets = bounds[:, 0] - (np.cumsum(lengths) - lengths)
    return np.arange(int(lengths.sum())) + np.repeat(offsets, lengths)


def check_hysteresis(merge_gap: Any, min_length: Any) -> None:
    """Check that `merge_gap` is an integer of at least 0, and `min_length` of at least 1.

    Parameters
    ----------
    merge_gap, min_length : object

    Raises
    ------
    DataError
        When one is not.
    """
    for name, value, least in (("merge_gap", merge_gap, 0), ("min_length", min_length, 1)):
        number = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not number or value < least:
            raise DataError(
                f"got {name}={shown(value)}, expected an integer of at least {least}: a number of "
                "time points"
            )


def _positions_in(abnormal: np.ndarray, segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the abnormal positions that lie in a segment, and the segment of each."""
    at = np.flatnonzero(abnormal)
    if not len(segments):
        return at[:0], at[:0]
    segment = np.searchsorted(segments[:, 0], at, side="right") - 1
    inside = (segment >= 0) & (at < segments[segment, 1])
    return at[inside], segment[inside]
