"""Times of rows: conversion to numbers, checks of their order, and segments without gaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from isthmus.data.places import Where
from isthmus.errors import DataError

#: A step of more than this many median steps of the group is a gap.
MAX_STEP = 1.5
_MAX_ROWS_AT_ONCE = 2**18


def time_numbers(column: pd.Series, source: str | Path, where: Where) -> np.ndarray:
    """Convert a column of times to numbers with the same order and differences.

    Parameters
    ----------
    column : Series of n numbers, dates, or text of dates in ISO 8601
    source : str or Path
        What to call the table in an error.
    where : callable
        Returns the description of a row number (from 0).

    Returns
    -------
    array of shape (n,)
        Numbers as int64 or float64; dates as int64 in the unit of their dtype.

    Raises
    ------
    DataError
        When a time is missing, infinite or cannot be read; names the column and row.
    """
    times = read_times(column, source, where)
    if not pd.api.types.is_float_dtype(times.dtype):
        # Of dates with a zone, the moment in UTC; as floats, nanoseconds since 1970 are rounded.
        return times.astype("int64").to_numpy()
    values = times.to_numpy(dtype=np.float64)
    infinite = np.isinf(values)
    if infinite.any():
        name = f"column {str(column.name)!r} of {source}"
        raise DataError(f"the time is infinite in {where(int(infinite.argmax()))} ({name})")
    return values


def read_times(column: pd.Series, source: str | Path, where: Where) -> pd.Series:
    """Return a column of times as numbers or dates, which text becomes.

    Parameters and errors are those of `time_numbers`.
    """
    name = f"column {str(column.name)!r} of {source}"
    missing = column.isna().to_numpy()
    if missing.any():
        raise DataError(
            f"the time is missing in {where(int(missing.argmax()))} ({name}); fill it in or leave "
            "the row out"
        )
    if pd.api.types.is_bool_dtype(column.dtype):
        raise DataError(f"{name} holds true and false, expected numbers or dates as times")
    if pd.api.types.is_numeric_dtype(column.dtype) or are_dates(column):
        return column
    return _from_text(column, name, where)


def numbers_per_second(times: pd.Series) -> float:
    """Return how many of the numbers of `time_numbers` are a second of dates, 1 for numbers.

    Examples
    --------
    >>> numbers_per_second(pd.Series(pd.to_datetime(["2024-05-31"]).as_unit("ms")))
    1000.0
    """
    return {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[times.dt.unit] if are_dates(times) else 1.0


def check_order(
    time: np.ndarray,
    groups: np.ndarray,
    rows: np.ndarray,
    *,
    describe_time: Callable[[int], str],
    of_group: Callable[[int], str],
    where: Where,
    sort: str,
) -> None:
    """Check that time increases from row to row within each group.

    Parameters
    ----------
    time, groups, rows : array of shape (n,)
        Times, codes of the groups, and positions in the table; groups one after the other.
    describe_time : callable
        Returns the time in a row of the table as text.
    of_group : callable
        Returns the prefix of a group code, such as "group 'A': ".
    where : callable
        Returns the description of a row number.
    sort : str
        The call that sorts the table, for the error.

    Raises
    ------
    DataError
        When times repeat or decrease; names the group, the rows and the two times.
    """
    back = (groups[1:] == groups[:-1]) & ~(time[1:] > time[:-1])
    if not back.any():
        return
    at = int(back.argmax()) + 1
    row, before = int(rows[at]), int(rows[at - 1])
    if time[at] == time[at - 1]:
        raise DataError(
            f"{of_group(groups[at])}the time {describe_time(row)} is in {where(before)}, and "
            f"again in {where(row)}; leave one of them out, or name the column that tells the "
            "series apart with group="
        )
    raise DataError(
        f"{of_group(groups[at])}the time in {where(row)}, is {describe_time(row)}, after "
        f"{describe_time(before)} in {where(before)}; expected times that increase: sort the table "
        f"with {sort}, or name the column that tells the series apart with group="
    )


def segments(
    groups: np.ndarray,
    rows: np.ndarray,
    time: np.ndarray | None,
    *,
    describe_time: Callable[[int], str],
    of_group: Callable[[int], str],
    where: Where,
    columns: Sequence[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and end positions of the segments of each group without a gap in time.

    Parameters
    ----------
    groups, rows, time : array of shape (n,)
        As for `check_order`; without times each group is one segment.
    describe_time, of_group, where : callable
        As for `check_order`.
    columns : sequence of str
        Columns to sort the table by, for the error.

    Returns
    -------
    first, end : int array of shape (n_segments,)
        `end` is exclusive.

    Raises
    ------
    DataError
        When times do not increase.
    """
    new = np.ones(len(groups), dtype=bool)
    new[1:] = groups[1:] != groups[:-1]
    if time is not None:
        sort = f"table.sort_values({list(columns)!r})"
        check_order(
            time,
            groups,
            rows,
            describe_time=describe_time,
            of_group=of_group,
            where=where,
            sort=sort,
        )
        new |= gaps(time, groups)
    first = np.flatnonzero(new)
    return first, np.append(first[1:], len(groups))


def gaps(time: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return whether each row comes after a gap in time.

    A gap is a step of more than one and a half times the median step of the group.

    Parameters
    ----------
    time, groups : array of shape (n,)
        Increasing times, and codes of the groups, one after the other.

    Returns
    -------
    boolean array of shape (n,)

    Examples
    --------
    >>> gaps(np.array([1, 2, 3, 7, 8]), np.zeros(5, dtype=int)).tolist()
    [False, False, False, True, False]
    """
    after = np.zeros(len(time), dtype=bool)
    borders = np.flatnonzero(groups[1:] != groups[:-1]) + 1
    first = 0
    while first < len(time):
        # Several whole groups at a time: temporary arrays are several times the input.
        at = np.searchsorted(borders, first + _MAX_ROWS_AT_ONCE)
        end = int(borders[at]) if at < len(borders) else len(time)
        after[first:end] = _gaps(time[first:end], groups[first:end])
        first = end
    return after


def _gaps(time: np.ndarray, groups: np.ndarray) -> np.ndarray:
    after = np.zeros(len(time), dtype=bool)
    same = groups[1:] == groups[:-1]
    if same.any():
        steps = pd.Series(np.diff(time)[same].astype(np.float64))
        usual = steps.groupby(groups[1:][same]).transform("median")
        after[1:][same] = (steps > MAX_STEP * usual).to_numpy()
    return after


def are_dates(column: pd.Series) -> bool:
    """Return whether a column holds dates or durations by its type."""
    return column.dtype.kind in "mM"


def _from_text(column: pd.Series, name: str, where: Where) -> pd.Series:
    plain = column.astype(object)
    numbers = pd.to_numeric(plain, errors="coerce")
    if numbers.notna().all():
        return numbers
    try:
        dates = pd.to_datetime(plain, errors="coerce", format="ISO8601", utc=True)
    except (ValueError, TypeError):
        dates = pd.Series(pd.NaT, index=column.index)
    bad = dates.isna().to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{name} holds {str(column.iloc[row])!r:.60} in {where(row)}, expected a number or a "
            "date such as 2024-05-31 13:00:00"
        )
    return dates
