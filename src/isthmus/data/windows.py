"""Windows of series: cut out of longer ones, and where each of them lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

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

        def some(column: np.ndarray | None) -> np.ndarray | None:
            return None if column is None else column[rows]

        return Windows(
            self.first_row[rows],
            self.last_row[rows],
            some(self.group),
            some(self.first_time),
            some(self.last_time),
        )

    @classmethod
    def joined(cls, parts: Sequence[Windows]) -> Windows:
        """Return windows of one table after each other; all say the same of theirs."""

        def all_of(name: str) -> Any:
            columns = [getattr(part, name) for part in parts]
            return None if columns[0] is None else np.concatenate(columns)

        return cls(*(all_of(field.name) for field in fields(cls)))

    def to_frame(self) -> pd.DataFrame:
        """Return one row a window, for people: group, and first and last time.

        Without times it has the first and last row instead, counted from 1 as in errors.
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
        A contiguous copy. What is left over at the end is in no window.

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
    """Return window and stride as integers, the stride settled.

    Raises
    ------
    DataError
        When the window is no whole number of 2 or more, or the stride none of 1 or more.
    """
    if window is None:
        raise DataError(
            "got no window; say how many rows make one window, such as window=64 (on the command "
            "line --window 64)"
        )
    stride = window if stride is None else stride
    for name, value, least in (("window", window, 2), ("stride", stride, 1)):
        whole = hasattr(value, "__index__") and not isinstance(value, bool)
        if not whole or int(value) < least:
            raise DataError(f"got {name}={value!r}, expected a whole number of {least} or more")
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
    """Return how many windows fit into so many rows."""
    return 0 if length < window else (length - window) // stride + 1
