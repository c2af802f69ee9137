"""Readings of a long table at equal steps: means of bins, missing values, stretches without any."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.data.labels import labels_from_text
from isthmus.data.preprocessing import describe_empty_column, describe_filled, interpolate
from isthmus.data.windows.cutting import deciding_rows
from isthmus.data.windows.long_table import LongTable
from isthmus.data.windows.time_index import are_dates, numbers_per_second, time_numbers
from isthmus.errors import DataError

#: Missing readings in a row that are filled with windows of any length.
_MIN_FILLED = 16
#: The offset from UTC at the end of a date in ISO 8601, which has a time of day before it.
_OFFSET = r":\d\d(?:[.,]\d+)?\s*(Z|z|[+-]\d\d(?::?\d\d)?)\s*$"
#: Empty bins in a row that are filled on a line; more are a gap.
MAX_EMPTY_BINS = 8
#: A channel is dead that has the same value to the end, over so many windows and times its longest
#: other such stretch.
_DEAD_WINDOWS, _DEAD_TIMES = 2, 10


@dataclass(eq=False)
class Readings:
    """Readings of a table, group after group, and within a group in its order.

    Attributes
    ----------
    values : float array of shape (m, c)
        NaN where one is missing.
    codes : int array of shape (m,)
        Group of each time point.
    rows : int array of shape (m,)
        The row of the table whose label and keys each has.
    position_of_row : int array of shape (n_rows,)
        The time point that each row of the table belongs to.
    segments : int array of shape (s, 2)
        First and end position of each stretch without a gap.
    times : Series of m dates or numbers, or None
    facts : dict
        What resampling did, and stretches without a reading, as plain values.
    ended : list of (channel, position)
        Channels that have no reading from a position on to the end of its group.
    """

    values: np.ndarray
    codes: np.ndarray
    rows: np.ndarray
    position_of_row: np.ndarray
    segments: np.ndarray
    times: pd.Series | None
    facts: dict[str, Any] = field(default_factory=dict)
    ended: list[tuple[int, int]] = field(default_factory=list)


def read_readings(table: LongTable) -> Readings:
    """Return the readings of a table: its rows, or with `resample` the means of bins.

    Raises
    ------
    DataError
        When times do not increase or have no one sampling rate, a value is no number, or bins
        cannot be of the width asked for.
    """
    if table.cutting.resample is not None:
        return _in_bins(table, table.cutting.resample)
    first, end = table.segments()
    values = table.numbers()
    position_of_row = np.empty(len(table.rows), dtype=np.int64)
    position_of_row[table.rows] = np.arange(len(table.rows))
    times = None if table.times is None else table.times.iloc[table.rows]
    segments = np.stack([first, end], axis=1)
    return Readings(values, table.codes, table.rows, position_of_row, segments, times)


def _in_bins(table: LongTable, every: str | float) -> Readings:
    """Return the mean of the readings in each bin, see `Readings`."""
    assert table.times is not None
    numbers = table.check_order()
    width = _width(table.times, every)
    if are_dates(table.times):
        numbers = numbers * round(1e9 / numbers_per_second(table.times))
    exact = numbers.dtype.kind == "i" and isinstance(width, int)
    # Of 0.3 in steps of 0.1 rounding must not make the second bin.
    bins = numbers // width if exact else np.floor(numbers / width + 1e-9).astype(np.int64)
    new = np.ones(len(bins), dtype=bool)
    new[1:] = (bins[1:] != bins[:-1]) | (table.codes[1:] != table.codes[:-1])
    begins = np.flatnonzero(new)
    values = table.numbers()
    present = ~np.isnan(values)
    counts = np.add.reduceat(present.astype(np.int64), begins, axis=0)
    sums = np.add.reduceat(np.where(present, values, 0.0), begins, axis=0)
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    lengths = np.diff(np.append(begins, len(bins)))
    rows = table.rows[begins + lengths - 1]
    if table.label is not None:
        y = labels_from_text(table.frame[table.label])[table.rows]
        how = table.cutting
        rows = table.rows[deciding_rows(y, begins, lengths, how.window_label, how.normal)]
    codes, bins = table.codes[begins], bins[begins]
    # Short runs of empty bins are time points too.
    same = codes[1:] == codes[:-1]
    empty = np.where(same, np.diff(bins) - 1, 0)
    inserted = np.append(np.where(empty <= MAX_EMPTY_BINS, empty, 0), 0)
    copies = inserted + 1
    position = np.cumsum(copies) - copies
    of = np.repeat(np.arange(len(bins)), copies)
    within = np.arange(len(of)) - position[of]
    binned = means[of]
    binned[within > 0] = np.nan
    gap = np.ones(len(bins), dtype=bool)
    gap[1:] = ~same | (empty > MAX_EMPTY_BINS)
    first = position[gap]
    segments = np.stack([first, np.append(first[1:], len(of))], axis=1)
    position_of_row = np.empty(len(table.rows), dtype=np.int64)
    position_of_row[table.rows] = np.repeat(position, lengths)
    n_gaps = int((empty > MAX_EMPTY_BINS).sum())
    facts = {
        "value": every,
        "n_rows": len(table.rows),
        "n_time_points": len(of),
        "n_empty": int(inserted.sum()),
        "n_gaps": n_gaps,
        "reason": _what_bins_are(every, len(table.rows), len(of), int(inserted.sum()), n_gaps),
    }
    times = _beginnings((bins[of] + within) * width, table.times)
    return Readings(
        binned, codes[of], rows[of], position_of_row, segments, times, {"resample": facts}
    )


def _what_bins_are(every: str | float, rows: int, points: int, empty: int, n_gaps: int) -> str:
    words = f"resample {every}: {rows:,} rows are {points:,} time points"
    if empty:
        words += f", of which {empty:,} have no row and are filled on a line"
    if n_gaps:
        words += f"; {n_gaps:,} stretches of more than {MAX_EMPTY_BINS} such are gaps"
    return words


def _width(times: pd.Series, every: str | float) -> int | float:
    """Return the width of bins: nanoseconds of dates, otherwise a number."""
    if are_dates(times):
        try:
            if not isinstance(every, str):
                raise TypeError
            offset: Any = pd.tseries.frequencies.to_offset(every)
            width = int(pd.Timedelta(offset).value)
            if width > 0:
                return width
        except (ValueError, TypeError):
            pass
        raise DataError(
            f"got resample={shown(every)}, and times are dates; expected a width such as '1s', "
            "'5min' or '1h' (on the command line --resample 1s)"
        )
    try:
        number = float(every)
        if 0 < number < np.inf:
            return int(number) if number == int(number) else number
    except (ValueError, TypeError):
        pass
    raise DataError(
        f"got resample={shown(every)}, and times are numbers; expected a number above 0 in their "
        "unit (on the command line --resample 1)"
    )


def _beginnings(numbers: np.ndarray, like: pd.Series) -> pd.Series:
    """Return beginnings of bins as numbers, or as dates in the zone of others."""
    if not are_dates(like):
        return pd.Series(numbers)
    if like.dtype.kind == "m":
        return pd.Series(pd.to_timedelta(numbers, unit="ns"))
    dates = pd.Series(pd.to_datetime(numbers, unit="ns"))
    zone = like.dt.tz
    return dates if zone is None else dates.dt.tz_localize("UTC").dt.tz_convert(zone)


def fill_missing_readings(
    found: Readings, window: int, table: LongTable
) -> tuple[np.ndarray, np.ndarray | None]:
    """Fill missing readings in place, and take long stretches without any out of the segments.

    A stretch without a reading of a channel is filled on a line between its neighbours in time up
    to half a window, up to 16 time points, and up to one and a half times the usual distance of
    the channel's readings. A longer one is a gap: a line over it is no reading. Where a channel has
    none to the end of its group while others go on, its last reading is held, for decisions only.

    Parameters
    ----------
    found : Readings
        Whose `values`, `segments` and `facts` are changed.
    window : int
    table : LongTable

    Returns
    -------
    n_filled : int array of shape (m,)
        How many readings of each time point were missing and are filled.
    held : int array of shape (k, 2) or None
        The segments with the rows in which last readings are held; None without such.

    Raises
    ------
    DataError
        When a channel has no reading at all in a group that is as long as a window.

    Warns
    -----
    UserWarning
        With the number of values filled, of stretches without a reading, and of channels that end.
    """
    missing = np.isnan(found.values)
    if not missing.any():
        return np.zeros(len(missing), dtype=np.int64), None
    long_enough = np.diff(found.segments, axis=1)[:, 0] >= window
    _check_not_empty(found, missing, found.segments[long_enough], table)
    begins = np.zeros(len(missing), dtype=bool)
    begins[found.segments[:, 0]] = True
    all_missing = missing.all(axis=1)
    group_end = np.searchsorted(found.codes, found.codes, side="right")
    recorded = np.flatnonzero(~all_missing)
    without, without_held = np.zeros(len(missing), dtype=bool), np.zeros(len(missing), dtype=bool)
    stretches: list[tuple[int, int, int]] = []
    ended: list[tuple[int, int, int]] = []
    for channel in np.flatnonzero(missing.any(axis=0)).tolist():
        here = missing[:, channel]
        present = np.flatnonzero(~here)
        apart = np.diff(present)[found.codes[present[1:]] == found.codes[present[:-1]]]
        most = max(_most_filled(window), int(1.5 * np.median(apart)) - 1 if len(apart) else 0)
        last = np.append(found.codes[present[1:]] != found.codes[present[:-1]], [True])
        tail = np.zeros(len(here), dtype=bool)
        for at in present[last[: len(present)]].tolist():
            # Rows in which other channels go on.
            end = int(recorded[np.searchsorted(recorded, group_end[at]) - 1]) + 1
            end = end if group_end[at] - end > most else int(group_end[at])
            if end - at - 1 > most:
                tail[at + 1 : end] = True
                found.values[at + 1 : end, channel] = found.values[at, channel]
                ended.append((end - at - 1, channel, at + 1))
        first, end_of = _runs(here, begins)
        whole = begins[first] & (np.append(begins, True)[end_of])
        long = (end_of - first > most) | whole
        for a, b in zip(first[long].tolist(), end_of[long].tolist(), strict=True):
            without[a:b] = True
            without_held[a:b] |= ~tail[a:b]
            if not tail[a:b].all():
                stretches.append((b - a, channel, a))
    segments = found.segments
    if without.any():
        found.segments = _without(segments, without, begins)
    if stretches:
        _warn_of_stretches(found, stretches, int(without_held.sum()), window, table)
    if ended:
        found.ended = [(channel, first) for _, channel, first in ended]
        _warn_of_ended(found, ended, table)
    n_missing = n_values = 0
    for a, b in found.segments[np.diff(found.segments, axis=1)[:, 0] >= window].tolist():
        n_missing += int(missing[a:b].sum())
        n_values += (b - a) * missing.shape[1]
        found.values[a:b] = interpolate(found.values[a:b])
    if n_missing and table.cutting.resample is None:
        table.warn(describe_filled(n_missing, n_values))
    held = _without(segments, without_held, begins) if ended else None
    for a, b in [] if held is None else held[np.diff(held, axis=1)[:, 0] >= window].tolist():
        found.values[a:b] = interpolate(found.values[a:b])
    inside = inside_stretches(found.segments if held is None else held, len(missing))
    inside &= ~np.isnan(found.values).any(axis=1)
    return np.where(inside, missing.sum(axis=1), 0), held


def _runs(mask: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return first and end position of each run of true values, which ends at segments' ends."""
    before = np.append(False, mask[:-1]) & ~begins
    after = np.append(mask[1:] & ~begins[1:], False)
    return np.flatnonzero(mask & ~before), np.flatnonzero(mask & ~after) + 1


def _without(segments: np.ndarray, without: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Return segments without some rows."""
    first, end = _runs(inside_stretches(segments, len(without)) & ~without, begins)
    return np.stack([first, end], axis=1)


def inside_stretches(stretches: np.ndarray, n: int) -> np.ndarray:
    """Return which of n positions lie in stretches (s, 2) that do not overlap."""
    depth = np.zeros(n + 1, dtype=np.int8)
    np.add.at(depth, stretches[:, 0], 1)
    np.add.at(depth, stretches[:, 1], -1)
    return np.cumsum(depth, dtype=np.int8)[:-1] > 0


def _check_not_empty(
    found: Readings, missing: np.ndarray, segments: np.ndarray, table: LongTable
) -> None:
    for code in np.unique(found.codes[segments[:, 0]]):
        group = np.flatnonzero(found.codes == code)
        empty = missing[group].all(axis=0)
        if empty.any():
            raise DataError(
                describe_empty_column(
                    f"{table.groups.of(code)}column {table.channels[int(empty.argmax())]!r} of "
                    f"{table.source}",
                    table.where(int(found.rows[group[0]])),
                    table.where(int(found.rows[group[-1]])),
                )
            )


def _warn_of_stretches(
    found: Readings,
    stretches: list[tuple[int, int, int]],
    n_rows: int,
    window: int,
    table: LongTable,
) -> None:
    length, channel, first = max(stretches)
    n = len(stretches)
    found.facts["without_reading"] = {"n_stretches": n, "n_time_points": n_rows}
    table.warn(
        f"{n:,} stretch{'' if n == 1 else 'es'} of more than {_most_filled(window)} rows without a "
        f"reading of a channel {'is a gap' if n == 1 else 'are gaps'} of {n_rows:,} rows together; "
        f"the longest is {length:,} rows of column {table.channels[channel]!r}, from "
        f"{table.where(int(found.rows[first]))}"
    )


def _warn_of_ended(found: Readings, ended: list[tuple[int, int, int]], table: LongTable) -> None:
    n_rows, channel, first = max(ended)
    rows = np.concatenate([np.arange(at, at + n) for n, _, at in ended])
    n = {"n_channels": len(ended), "n_time_points": len(np.unique(rows))}
    found.facts["without_reading_to_the_end"] = n
    more = f" and {len(ended) - 1} more like it" if len(ended) > 1 else ""
    table.warn(
        f"column {table.channels[channel]!r} has no reading from "
        f"{table.where(int(found.rows[first]))} on, to the end, for {n_rows:,} rows{more}: a dead "
        "sensor? A fit leaves such rows out, and time points are decided with the last reading"
    )


def _most_filled(window: int) -> int:
    """Return how many readings in a row are filled of a channel that has one in each row."""
    return max(window // 2, _MIN_FILLED)


def warn_of_dead_channels(found: Readings, window: int, table: LongTable) -> None:
    """Warn of channels that have one value to the end of a group, and varied before.

    Over two windows at least, and ten times as long as the channel has one value otherwise. The
    readings are kept.
    """
    ends = np.flatnonzero(np.append(found.codes[1:] != found.codes[:-1], True)) + 1
    dead = []
    first = 0
    for end in ends.tolist():
        length = _DEAD_WINDOWS * window
        tail = found.values[max(first, end - length - 1) : end]
        still = (tail == tail[-1]).all(axis=0) & (end - first > length)
        gone = {channel for channel, at in found.ended if first <= at < end}
        for channel in set(np.flatnonzero(still).tolist()) - gone:
            values = found.values[first:end, channel]
            begins = np.flatnonzero(values[1:] != values[:-1]) + 1
            if not len(begins):
                continue
            rows = end - first - int(begins[-1])
            if rows >= _DEAD_TIMES * int(np.diff(np.append(0, begins)).max()):
                dead.append((rows, channel, first + int(begins[-1])))
        first = end
    if not dead:
        return
    n_rows, channel, at = max(dead)
    more = f" and {len(dead) - 1} more like it" if len(dead) > 1 else ""
    table.warn(
        f"column {table.channels[channel]!r} holds the same value from "
        f"{table.where(int(found.rows[at]))} on, for {n_rows:,} rows{more}: a dead sensor? Leave "
        "these rows out of a fit, or drop the column"
    )


def seconds_of(found: Readings, table: LongTable) -> np.ndarray | None:
    """Return the times as seconds since 1970 in UTC, or as the numbers that they are."""
    if found.times is None:
        return None
    numbers = time_numbers(found.times, table.source, table.where)
    seconds: np.ndarray = numbers / numbers_per_second(found.times)
    return seconds


def readings_of_array(new: Any, channels: tuple[str, ...] | None) -> tuple[np.ndarray, None, Any]:
    """Return the readings of one series, (m, c), an index and the names of its channels.

    Raises
    ------
    DataError
        When it is no array of numbers of shape (m, c) or (m,).
    """
    try:
        values = np.asarray(new, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"got {type(new).__name__}, expected the readings of a series as numbers: an array "
            "of shape (m, c) or (m,), or a DataFrame with the columns at fit"
        ) from error
    if values.ndim == 3:
        raise DataError(
            f"got windows of shape {values.shape}, which have no order in time; expected readings "
            "of shape (m, c), a DataFrame with the columns at fit, or a data set of load"
        )
    values = values[:, None] if values.ndim == 1 else values
    n = "c" if channels is None else len(channels)
    if values.ndim != 2 or not values.size or n not in ("c", values.shape[1]):
        raise DataError(
            f"got readings of shape {values.shape}, expected (m, {n}): a row for each time point"
        )
    return values, None, None if channels is None else list(channels)


def median_step(seconds: np.ndarray | None, segments: np.ndarray) -> float | None:
    """Return the median step of times within segments, None without two times in one.

    Examples
    --------
    >>> median_step(np.array([0.0, 1.0, 2.0, 60.0, 61.0]), np.array([[0, 3], [3, 5]]))
    1.0
    """
    if seconds is None:
        return None
    inside = np.ones(len(seconds), dtype=bool)
    inside[segments[:, 0]] = False
    inside &= inside_stretches(segments, len(seconds))
    steps = np.diff(seconds)[inside[1:]]
    return float(np.median(steps)) if len(steps) else None


def as_written(times: Any, cells: pd.Series | None, *, resampled: bool) -> Any:
    """Return times in the way of writing of the table that they are from.

    Parameters
    ----------
    times : array of m dates or numbers
        With a zone where the table was read with one.
    cells : Series of m texts, or None
        The times in the table's rows, where they are text there. Of bins one row of each.
    resampled : bool
        Whether times are beginnings of bins, in no cell themselves.

    Returns
    -------
    array of m texts, or `times` where the table has no text
        Cells, or beginnings of bins as "2024-05-31 13:00:00", with the offset from UTC that the
        cell of the row has. Where cells say no offset and a zone has several ones, each with its
        own. Dates that are all at midnight are text too, as pandas writes them without a time.

    Examples
    --------
    >>> cells = pd.Series(["2024-10-27 02:30", "2024-10-27 02:30", "2024-10-27 03:30"])
    >>> hours = pd.date_range("2024-10-27 00:30", periods=3, freq="h", tz="UTC")
    >>> hours = hours.tz_convert("Europe/Berlin")
    >>> as_written(hours.array, cells, resampled=False).tolist()
    ['2024-10-27 02:30+02:00', '2024-10-27 02:30+01:00', '2024-10-27 03:30+01:00']
    """
    index = pd.Index(times)
    if cells is None:
        dates = isinstance(index, pd.DatetimeIndex) and index.tz is None
        midnight = dates and (index == index.normalize()).all()
        return index.map(str).to_numpy() if midnight else times
    cells = cells.reset_index(drop=True).astype(object)
    zoned = isinstance(index.dtype, pd.DatetimeTZDtype)
    if resampled and not isinstance(index, pd.DatetimeIndex):
        return times
    named = cells.str.extract(_OFFSET, expand=False).fillna("")
    if not (named == "").all():
        if not resampled:
            return cells.to_numpy()
        local = pd.Series(index.tz_convert("UTC").tz_localize(None))
        for offset in set(named) - {"", "Z", "z"}:
            minutes = offset[3:].lstrip(":") or "00"
            local[named == offset] += pd.Timedelta(f"{offset[:3]}:{minutes}:00")
        return (local.map(str) + named).to_numpy()
    if not zoned:
        return index.map(str).to_numpy() if resampled else cells.to_numpy()
    local = pd.Series(index.tz_localize(None))
    offsets = local - pd.Series(index.tz_convert("UTC").tz_localize(None))
    texts = local.map(str) if resampled else cells
    if offsets.nunique() > 1:
        texts = texts + offsets.map({one: _offset_text(one) for one in offsets.unique()})
    return texts.to_numpy()


def _offset_text(offset: pd.Timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
