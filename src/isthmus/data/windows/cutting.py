"""Windows of series: cut, labelled, and split without shared rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from isthmus.data.labels import MISSING
from isthmus.errors import DataError


@dataclass(frozen=True, eq=False)
class Windows:
    """Where each window lies in the long table that it was cut from.

    Attributes
    ----------
    first_row, last_row : int array of shape (n,)
        Rows of the table, counted from 0, both part of the window.
    group : array of shape (n,) or None
        The group of each window, None when the table had no group column.
    first_time, last_time : array of shape (n,) or None
        The time in these rows, None when the table had no time column.

    Examples
    --------
    >>> at = Windows(np.array([0, 2]), np.array([3, 5]))
    >>> at.take(np.array([1])).last_row.tolist(), len(at)
    ([5], 2)
    """

    first_row: np.ndarray
    last_row: np.ndarray
    group: np.ndarray | None = None
    first_time: np.ndarray | None = None
    last_time: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.first_row)

    def take(self, rows: np.ndarray) -> Windows:
        """Return the windows at these positions (integers, or booleans of shape (n,))."""

        def take(column: np.ndarray | None) -> np.ndarray | None:
            return None if column is None else column[rows]

        return Windows(
            self.first_row[rows],
            self.last_row[rows],
            take(self.group),
            take(self.first_time),
            take(self.last_time),
        )

    @classmethod
    def joined(cls, parts: Sequence[Windows]) -> Windows:
        """Concatenate windows of one table; all have the same optional fields."""

        def all_of(name: str) -> Any:
            columns = [getattr(part, name) for part in parts]
            return None if columns[0] is None else np.concatenate(columns)

        return cls(*(all_of(field.name) for field in fields(cls)))

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row per window: group, first and last time.

        Without times the columns are the first and last row, counted from 1 as in errors.
        """
        columns: dict[str, Any] = {} if self.group is None else {"group": self.group}
        if self.first_time is None:
            columns |= {"first_row": self.first_row + 1, "last_row": self.last_row + 1}
        else:
            columns |= {"first_time": self.first_time, "last_time": self.last_time}
        return pd.DataFrame(columns)


def windows(values: np.ndarray, window: int, stride: int | None = None) -> np.ndarray:
    """Cut one long series into windows.

    Parameters
    ----------
    values : array of shape (n, c) or (n,)
        One channel without the second axis.
    window : int
        Rows in a window, at least 2.
    stride : int or None
        Rows from the beginning of one window to the next; None is `window`, so that no
        two share a row.

    Returns
    -------
    array of shape (n_windows, window, c)
        A contiguous copy. Rows left over at the end are in no window.

    Raises
    ------
    DataError
        When the series is shorter than the window, or a number is out of range.

    Examples
    --------
    >>> windows(np.arange(6), window=4, stride=2)[..., 0]
    array([[0, 1, 2, 3],
           [2, 3, 4, 5]])
    """
    values = np.asarray(values)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] == 0:
        raise DataError(f"got a series of shape {values.shape}, expected (n, c) or (n,)")
    window, stride = check_window(window, stride)
    if len(values) < window:
        raise DataError(
            f"got window={window} and a series of {len(values)} rows; pass a window of "
            f"{len(values)} rows at most"
        )
    return cut(values, [(0, len(values))], window, stride)


def check_window(window: int | None, stride: int | None) -> tuple[int, int]:
    """Return window and stride as integers; a stride of None is the window.

    Raises
    ------
    DataError
        When the window is not an integer of 2 or more, or the stride not an integer of 1 or more.
    """
    if window is None:
        raise DataError(
            "got no window; say how many rows make one window, such as window=64 (on the command "
            "line --window 64)"
        )
    stride = window if stride is None else stride
    for name, value, minimum in (("window", window, 2), ("stride", stride, 1)):
        whole = hasattr(value, "__index__") and not isinstance(value, bool)
        if not whole or int(value) < minimum:
            raise DataError(f"got {name}={value!r}, expected a whole number of {minimum} or more")
    return int(window), int(stride)


def cut(
    values: np.ndarray, segments: Sequence[tuple[int, int]], window: int, stride: int
) -> np.ndarray:
    """Cut each segment of a series into windows.

    Parameters
    ----------
    values : array of shape (n, c)
    segments : sequence of (first, end)
        Rows that follow one another; `end` is not part of it. No window crosses a border.
    window, stride : int
        See `windows`.

    Returns
    -------
    array of shape (n_windows, window, c)
    """
    counts = [window_count(end - first, window, stride) for first, end in segments]
    X = np.empty((sum(counts), window, values.shape[1]), dtype=values.dtype)
    at = 0
    for (first, end), count in zip(segments, counts, strict=True):
        if count:
            # (n, c, window): the window's own axis comes last.
            views = sliding_window_view(values[first:end], window, axis=0)[::stride]
            X[at : at + count] = views.transpose(0, 2, 1)
        at += count
    return X


def window_count(length: int, window: int, stride: int) -> int:
    """Return the number of windows in a segment of `length` rows."""
    return 0 if length < window else (length - window) // stride + 1


def deciding_rows(y: np.ndarray, first: np.ndarray, window: int) -> np.ndarray:
    """Return the row of each window whose label becomes the label of the window.

    If any row is labelled -1 (abnormal, numeric labels only), so is the window. Otherwise
    the most frequent label wins, and of equally frequent ones the one that occurs last.
    Rows without a label do not count.

    Parameters
    ----------
    y : array of shape (n,)
        Labels of the rows; those without one see `isthmus.data.labels.MISSING`.
    first : int array of shape (n_windows,)
        First row of each window.
    window : int
        Rows in a window.

    Returns
    -------
    int array of shape (n_windows,)
        One row per window; an unlabelled row when the whole window is unlabelled.

    Examples
    --------
    >>> y = np.array([1, 1, 0, 0, 1, -1])
    >>> y[deciding_rows(y, np.array([0, 1, 2]), 4)].tolist()
    [0, 1, -1]
    """
    codes, distinct = pd.factorize(y)
    codes[~MISSING.has_label(np.asarray(y))] = -1
    rows = first + window - 1
    # Cumulative count of label changes: a window is mixed where it grows inside the window.
    changes = np.concatenate([[0], np.cumsum(codes[1:] != codes[:-1])])
    mixed = np.flatnonzero(changes[rows] != changes[first])
    abnormal = -1
    if np.issubdtype(np.asarray(distinct).dtype, np.number):
        found = np.flatnonzero(np.asarray(distinct) == -1)
        abnormal = int(found[0]) if len(found) else -1
    for at in mixed:
        inside = codes[first[at] : first[at] + window]
        rows[at] = first[at] + _deciding(inside, abnormal)
    return rows


def _deciding(codes: np.ndarray, abnormal: int) -> int:
    """Return the position of the deciding label in one window."""
    if abnormal >= 0 and (codes == abnormal).any():
        candidates = codes == abnormal
    else:
        counts = np.bincount(codes[codes >= 0])
        candidates = (codes >= 0) & (np.append(counts, 0)[codes] == counts.max())
    return int(np.flatnonzero(candidates)[-1])


#: Minimum number of groups for a split by whole groups.
MIN_GROUPS = 5


def split_windows(
    windows: Windows,
    test_fraction: float,
    random_state: int | None = None,
    y: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose windows for training and for testing.

    With five groups or more, a random share of the groups is for testing, whole; of
    labelled windows that share of the groups of each label, at least one group where there
    are two (a group is of the label that most of its windows have). With fewer groups, or
    none, the last windows of each group are: what comes later is predicted from what came
    before. Training windows that share a row with a test window are in neither part.

    Parameters
    ----------
    windows : Windows
    test_fraction : float in (0, 1)
        Share of the groups, or of the windows of each group: at least one of them.
    random_state : int or None
        Which groups are set aside; with fewer than five nothing is random.
    y : array of shape (n,) or None
        Labels of the windows.

    Returns
    -------
    train, test : int array
        Positions, in order.

    Raises
    ------
    DataError
        When one of the parts would be empty.

    Examples
    --------
    >>> first = np.arange(0, 20, 2)
    >>> train, test = split_windows(Windows(first, first + 3), 0.2)
    >>> first[train].tolist(), first[test].tolist()
    ([0, 2, 4, 6, 8, 10, 12], [16, 18])
    """
    n = len(windows)
    if not 0 < test_fraction < 1:
        raise DataError(
            f"cannot set {test_fraction:.0%} of {n} windows aside; expected a fraction between "
            "0 and 1"
        )
    codes = np.zeros(n, dtype=np.int64)
    if windows.group is not None:
        codes = pd.factorize(windows.group)[0]
    n_groups = int(codes.max()) + 1
    if n_groups >= MIN_GROUPS:
        tested = np.isin(codes, _draw_groups(codes, y, test_fraction, random_state))
    else:
        tested = np.zeros(n, dtype=bool)
        for group in range(n_groups):
            inside = np.flatnonzero(codes == group)
            later = inside[np.argsort(windows.first_row[inside], kind="stable")]
            count = max(1, round(len(inside) * test_fraction)) if len(inside) > 1 else 0
            tested[later[len(later) - count :]] = True
    trained = ~tested & ~_overlapping(windows, codes, tested)
    if not trained.any() or not tested.any():
        raise DataError(
            f"cannot set {test_fraction:.0%} of {n} windows aside: no window is left that shares "
            "no row with the test windows; pass a shorter window or a longer table"
        )
    return np.flatnonzero(trained), np.flatnonzero(tested)


def _draw_groups(
    codes: np.ndarray, y: np.ndarray | None, test_fraction: float, random_state: int | None
) -> np.ndarray:
    """Draw the groups for testing and return their codes."""
    order = np.random.default_rng(random_state).permutation(int(codes.max()) + 1)
    if y is not None:
        labels = pd.Series(pd.factorize(y)[0]).groupby(codes).agg(lambda found: found.mode()[0])
        of_label = [order[labels[order] == label] for label in labels.unique()]
        drawn = [
            groups[: min(max(1, round(len(groups) * test_fraction)), len(groups) - 1)]
            for groups in of_label
        ]
        if sum(map(len, drawn)):
            return np.concatenate(drawn)
    return order[: min(max(1, round(len(order) * test_fraction)), len(order) - 1)]


def _overlapping(windows: Windows, codes: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Return which windows share a row with a test window of their group, boolean (n,)."""
    shared = np.zeros(len(codes), dtype=bool)
    for group in np.unique(codes[tested]):
        inside = np.flatnonzero(codes == group)
        test = inside[tested[inside]]
        # Within a group rows come in order, so windows share one exactly when their spans meet:
        # when more test windows have begun by a window's end than had ended before its start.
        begun = np.searchsorted(np.sort(windows.first_row[test]), windows.last_row[inside], "right")
        ended = np.searchsorted(np.sort(windows.last_row[test]), windows.first_row[inside], "left")
        shared[inside] = begun > ended
    return shared
