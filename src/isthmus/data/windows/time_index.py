"""Times of rows: conversion to numbers, checks of their order, and segments without gaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from isthmus.data.column_types import names_zone
from isthmus.data.places import Place, Where, calendar_note, such_cells
from isthmus.errors import DataError

#: A step of more than this many median steps of the group is a gap.
MAX_STEP = 1.5
#: Share of steps that may differ by more than half from the usual one. With more there is no one
#: sampling rate: stretches between them have ten rows on average, too few for a window.
MAX_ODD_SHARE = 0.1
#: Fewest steps that the share is taken of.
_MIN_STEPS = 20
#: Median deviation of steps, as a share of the usual one, from which they are irregular.
_MIN_JITTER = 0.02
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


def read_times(
    column: pd.Series, source: str | Path, where: Where, *, local: bool = False
) -> pd.Series:
    """Return a column of times as numbers or dates, which text becomes.

    Other parameters and errors are those of `time_numbers`.

    Parameters
    ----------
    local : bool
        Whether dates in text that say no zone are dates without one, and not in UTC.
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
    return _from_text(column, name, where, local)


def numbers_per_second(times: pd.Series) -> float:
    """Return how many of the numbers of `time_numbers` are a second of dates, 1 for numbers.

    Examples
    --------
    >>> numbers_per_second(pd.Series(pd.to_datetime(["2024-05-31"]).as_unit("ms")))
    1000.0
    """
    return {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[times.dt.unit] if are_dates(times) else 1.0


def step_text(step: float, dates: bool) -> str:
    """Return a step as a width of bins for `resample`: "500ms", "1s", "5min", of numbers "0.5".

    Examples
    --------
    >>> step_text(0.5, True), step_text(300, True), step_text(0.25, False)
    ('500ms', '5min', '0.25')
    """
    if not dates:
        return f"{step:.6g}"
    units = {"D": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
    for unit, seconds in units.items():
        count = step / seconds
        if count >= 1 and (abs(count - round(count)) < 1e-6 or count >= 10):
            return f"{count:.0f}{unit}"
    return f"{max(1, round(step * 1e9))}ns"


def round_step(step: float, dates: bool) -> float:
    """Return a round step of at least this one: 1, 2, 5, 10, ... of a unit of time.

    Examples
    --------
    >>> round_step(0.7, True), round_step(47, True), round_step(0.03, False)
    (1.0, 60.0, 0.05)
    """
    tens = 10.0 ** np.floor(np.log10(step))
    steps = [tens * one for one in (1.0, 2.0, 5.0, 10.0)]
    if dates and step > 1:
        minutes = [60.0 * one for one in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)]
        steps = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, *minutes, step]
    return float(next(one for one in steps if one >= step * (1 - 1e-9)))


def in_time_zone(
    times: pd.Series, zone: str, groups: np.ndarray, name: str, where: Where
) -> tuple[pd.Series, int]:
    """Return local times of a zone as moments.

    Of the hour that comes twice when clocks go back, a row is in the second one when an earlier
    row of its group in that hour has the same or a later time; otherwise in the first.

    Parameters
    ----------
    times : Series of n dates without a zone
    zone : str
        Name of the zone, such as "Europe/Berlin".
    groups : int array of shape (n,)
        Codes of the groups of the rows, which are in order within each group.
    name : str
        What to call the column in errors.
    where : callable
        Returns the description of a row number.

    Returns
    -------
    times : Series of n dates in the zone
    n_guessed : int
        Rows in an hour that comes twice of which the group has only one.

    Raises
    ------
    DataError
        When the zone is not known, or a time does not exist in it.

    Examples
    --------
    >>> local = pd.Series(pd.to_datetime(["2024-10-27 02:30", "2024-10-27 02:30"]))
    >>> codes = np.zeros(2, dtype=int)
    >>> in_time_zone(local, "Europe/Berlin", codes, "column 't'", str)[0].tolist()[1].isoformat()
    '2024-10-27T02:30:00+01:00'
    """
    if not are_dates(times) or times.dtype.kind == "m" or times.dt.tz is not None:
        found = "says its zone" if are_dates(times) else "holds no dates"
        raise DataError(
            f"got time_zone={zone!r}, which is for local times, and {name} {found}; leave it out "
            "(on the command line --time-zone)"
        )
    try:
        twice = times.dt.tz_localize(zone, ambiguous="NaT", nonexistent="shift_forward").isna()
    except (KeyError, ValueError, OSError) as error:
        raise DataError(
            f"got time_zone={zone!r}, which is no time zone; expected a name such as "
            "'Europe/Berlin', 'America/New_York' or 'UTC'"
        ) from error
    first = np.ones(len(times), dtype=bool)
    n_guessed = 0
    at = np.flatnonzero(twice.to_numpy())
    local = times.astype("int64").to_numpy()
    hours = times.dt.floor("D").astype("int64").to_numpy()
    for one in pd.Series(at).groupby([groups[at], hours[at]]).groups.values():
        rows = at[np.asarray(one)]
        back = np.flatnonzero(np.diff(local[rows]) <= 0)
        if len(back):
            first[rows[back[0] + 1 :]] = False
        else:
            n_guessed += len(rows)
    moments = times.dt.tz_localize(zone, ambiguous=first, nonexistent="NaT")
    none = moments.isna().to_numpy()
    if none.any():
        row = int(none.argmax())
        raise DataError(
            f"{name} holds {times.iloc[row]} in {where(row)}, which does not exist in {zone}: "
            "clocks go forward over it; pass the zone that the times are of, or leave time_zone out"
        )
    return moments, n_guessed


def check_order(
    time: np.ndarray,
    groups: np.ndarray,
    rows: np.ndarray,
    *,
    twice: bool = False,
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
    twice : bool
        Whether times may repeat.

    Raises
    ------
    DataError
        When times repeat or decrease; names the group, the rows and the two times.
    """
    forward = time[1:] >= time[:-1] if twice else time[1:] > time[:-1]
    back = (groups[1:] == groups[:-1]) & ~forward
    if not back.any():
        return
    at = int(back.argmax()) + 1
    row, before = int(rows[at]), int(rows[at - 1])
    note = _clock_change_note(describe_time(before), describe_time(row))
    name_it = f"name the column that tells the series apart with group= (--group){note}"
    if time[at] == time[at - 1]:
        raise DataError(
            f"{of_group(groups[at])}the time {describe_time(row)} is in {where(before)}, and "
            f"again in {where(row)}; leave one of them out, or {name_it}"
        )
    raise DataError(
        f"{of_group(groups[at])}the time in {where(row)}, is {describe_time(row)}, after "
        f"{describe_time(before)} in {where(before)}; expected times that increase: sort the table "
        f"with {sort}, or {name_it}"
    )


def _clock_change_note(before: str, now: str) -> str:
    """Return what to do where clocks went back by an hour, empty where they did not."""
    if not all("-" in text and ":" in text for text in (before, now)):
        return ""
    try:
        earlier, later = pd.Timestamp(before), pd.Timestamp(now)
        back = (later - earlier).total_seconds()
    except (ValueError, TypeError):
        return ""
    # Where clocks change, they do on a Sunday night.
    if earlier.tz is not None or not -3600 <= back <= 0 or later.weekday() != 6 or later.hour > 3:
        return ""
    return (
        ". It may be the hour that comes twice when clocks go back: pass the time zone, such as "
        "time_zone='Europe/Berlin' (on the command line --time-zone), or times in UTC"
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
    fix: Callable[[float], str],
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
    fix : callable
        Returns what to do where there is no one sampling rate, from the median step.

    Returns
    -------
    first, end : int array of shape (n_segments,)
        `end` is exclusive.

    Raises
    ------
    DataError
        When times do not increase, or more than a tenth of the steps differ by more than half from
        the usual one of the group.
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
        after, odd = uneven_steps(time, groups)
        new |= after
        n_steps = len(time) - 1 - int((groups[1:] != groups[:-1]).sum())
        share = int(odd.sum()) / max(n_steps, 1)
        if n_steps >= _MIN_STEPS and share > MAX_ODD_SHARE:
            steps = np.diff(time)[groups[1:] == groups[:-1]]
            raise DataError(
                f"the steps of time vary: {share:.0%} of them differ by more than half from the "
                f"usual one, so that there is no one sampling rate; {fix(float(np.median(steps)))}"
            )
    first = np.flatnonzero(new)
    return first, np.append(first[1:], len(groups))


def jitter(time: np.ndarray, groups: np.ndarray) -> tuple[float, int]:
    """Return by how much of the usual step others differ, and how many are gaps for that.

    Parameters
    ----------
    time, groups : array of shape (n,)
        As for `gaps`.

    Returns
    -------
    share : float
        Median deviation of steps from the median one, as a share of it.
    n_gaps : int
        Gaps of fewer than two and a half steps, where the share is above 0.02; otherwise 0: at
        regular times each is a row that is missing.

    Examples
    --------
    >>> steps = np.random.default_rng(0).normal(scale=0.15, size=1000)
    >>> share, n_gaps = jitter(np.arange(1000) + steps, np.zeros(1000, dtype=int))
    >>> round(share, 2), n_gaps
    (0.14, 9)
    """
    same = groups[1:] == groups[:-1]
    steps = pd.Series(np.diff(time)[same].astype(np.float64))
    if not len(steps):
        return 0.0, 0
    relative = (steps / steps.groupby(groups[1:][same]).transform("median")).to_numpy()
    share = float(np.median(np.abs(relative - 1)))
    near = (relative > MAX_STEP) & (relative < MAX_STEP + 1)
    return share, int(near.sum()) if share > _MIN_JITTER else 0


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
    return uneven_steps(time, groups)[0]


def uneven_steps(time: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each row comes after a gap, and whether after a gap or a step too short.

    A step is too short when it is less than half of the median step of the group.

    Parameters
    ----------
    time, groups : array of shape (n,)
        As for `gaps`.

    Returns
    -------
    after, odd : boolean array of shape (n,)
    """
    after, odd = np.zeros(len(time), dtype=bool), np.zeros(len(time), dtype=bool)
    borders = np.flatnonzero(groups[1:] != groups[:-1]) + 1
    first = 0
    while first < len(time):
        # Several whole groups at a time: temporary arrays are several times the input.
        at = np.searchsorted(borders, first + _MAX_ROWS_AT_ONCE)
        end = int(borders[at]) if at < len(borders) else len(time)
        after[first:end], odd[first:end] = _gaps(time[first:end], groups[first:end])
        first = end
    return after, odd


def _gaps(time: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    after, odd = np.zeros(len(time), dtype=bool), np.zeros(len(time), dtype=bool)
    same = groups[1:] == groups[:-1]
    if same.any():
        steps = pd.Series(np.diff(time)[same].astype(np.float64))
        usual = steps.groupby(groups[1:][same]).transform("median")
        after[1:][same] = (steps > MAX_STEP * usual).to_numpy()
        odd[1:][same] = after[1:][same] | (steps < usual / 2).to_numpy()
    return after, odd


def are_dates(column: pd.Series) -> bool:
    """Return whether a column holds dates or durations by its type."""
    return column.dtype.kind in "mM"


def _from_text(column: pd.Series, name: str, where: Where, local: bool = False) -> pd.Series:
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
        place = Place(str(column.name), where=where)
        unread = place.unread(column, bad, "date")
        row = int(unread.argmax())
        fix = place.how_to_read([one for one in plain[:1000] if isinstance(one, str)])
        expected = "a number or a date such as 2024-05-31 13:00:00"
        if place.csv is not None and place.csv.date_format:
            expected = place.expected("date")
        value = str(column.iloc[row])
        raise DataError(
            f"{name} holds {value!r:.60}{calendar_note(value)} in {where(row)}"
            f"{such_cells(int(unread.sum()))}, expected {expected}; "
            f"{fix or 'correct it, or leave the row out'}"
        )
    if local and not names_zone(plain.to_numpy()):
        return dates.dt.tz_localize(None)
    return dates
