"""The time points of series: readings of a long table, and the windows that cover them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from isthmus.data.array_checks import check_step
from isthmus.data.labels import labels_from_text
from isthmus.data.places import describe_row
from isthmus.data.schema import check_names
from isthmus.data.windows.cutting import check_window
from isthmus.data.windows.long_table import LongTable
from isthmus.data.windows.readings import (
    as_written,
    fill_missing_readings,
    inside_stretches,
    median_step,
    read_readings,
    readings_of_array,
    seconds_of,
    warn_of_dead_channels,
)
from isthmus.data.windows.window_choice import WindowOptions, choose_windows
from isthmus.errors import DataError


@dataclass(frozen=True, eq=False, repr=False)
class TimePoints:
    """Readings of one or several series, time point after time point.

    Time points come group after group, and within a group in the order of the table. A *position*
    is the number of a time point in this order. `Dataset.points` holds those of a long table.

    Attributes
    ----------
    values : float64 array of shape (m, c)
        Readings. Missing ones are filled on a line between their neighbours in time, except in
        stretches that are shorter than a window.
    segments : int array of shape (s, 2)
        First and end position (exclusive) of each stretch of a group without a gap. Time points
        outside of all of them are gaps themselves: a channel is missing there for long.
    rows : int array of shape (m,)
        Row of the source table, counting from 0, whose label and keys the time point has.
    codes : int array of shape (m,)
        Group of each time point, a position in `groups`.
    groups : list
        Values of the groups as in the table, of several group columns tuples; empty without one.
    group_columns : tuple of str
    time_column : str or None
    time : array of shape (m,) or None
        Times as in the table, of text in a file dates or numbers; with `time_zone` in that zone,
        after resampling the beginnings of the bins.
    seconds : float64 array of shape (m,) or None
        Dates as seconds since 1970 in UTC; times that are numbers, unchanged.
    step : float or None
        Median difference of `seconds` between time points of a segment.
    y : array of shape (m,) or None
        Labels as loaded.
    n_filled : int array of shape (m,)
        How many readings of the time point were missing and are filled.
    channels : tuple of str
    keys : DataFrame of m rows or None
        Columns that identify rows of the table.
    window, stride : int
        Rows in a window, and between the beginnings of those that the data set holds.
    position_of_row : int array of shape (n_source_rows,)
        The time point that each row of the source table belongs to, -1 for none.
    choices : dict
        What "auto" became and why, and what resampling did, as plain values for JSON.
    label_column : str or None
        The column that `y` is from.
    source_rows : DataFrame of n_source_rows rows or None
        After resampling or with a time zone, the columns that identify the rows of the source
        table; otherwise None, because they are those of the time points.
    time_cells : Series of n_source_rows texts or None
        The times in the rows of the source table, where they are text there.
    held_segments : int array of shape (k, 2) or None
        `segments` with the rows in which a channel has ended and its last reading is held; None
        where there are no such rows.

    Examples
    --------
    >>> points = TimePoints.of(np.arange(5.0), window=3)
    >>> [(first.tolist(), found[..., 0].tolist()) for first, found in points.cut(stride=2)]
    [([0, 2], [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]])]
    >>> points
    TimePoints(5 time points of 1 channel, 1 segment, windows of 3)
    """

    values: np.ndarray
    segments: np.ndarray
    rows: np.ndarray
    codes: np.ndarray
    groups: list[Any]
    group_columns: tuple[str, ...]
    time_column: str | None
    time: Any
    seconds: np.ndarray | None
    step: float | None
    y: np.ndarray | None
    n_filled: np.ndarray
    channels: tuple[str, ...]
    keys: pd.DataFrame | None
    window: int
    stride: int
    position_of_row: np.ndarray
    choices: dict[str, Any] = field(default_factory=dict)
    label_column: str | None = None
    source_rows: pd.DataFrame | None = None
    time_cells: pd.Series | None = None
    held_segments: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        def count(n: int, what: str) -> str:
            return f"{n:,} {what}{'' if n == 1 else 's'}"

        return (
            f"TimePoints({count(len(self), 'time point')} of "
            f"{count(self.values.shape[1], 'channel')}, {count(len(self.segments), 'segment')}, "
            f"windows of {self.window})"
        )

    @classmethod
    def of(
        cls,
        new: Any,
        *,
        window: int,
        channels: Sequence[str] | None = None,
        time: str | None = None,
        group: str | Sequence[str] | None = None,
        keys: Sequence[str] = (),
        label: str | None = None,
        resample: str | float | None = None,
        time_zone: str | None = None,
        step: float | None = None,
    ) -> TimePoints:
        """Return the time points of new data for windows of the length at fit.

        Parameters
        ----------
        new : Dataset, TimePoints, DataFrame of m rows, or array of shape (m, c) or (m,)
            A data set of `load(..., kind="series")`; a long table with the columns at fit; or the
            readings of one series without a gap.
        window : int
            Rows in a window.
        channels : sequence of str or None
            Names of the channels at fit, which are found by name in a DataFrame.
        time, group, keys, label, resample, time_zone : as for `isthmus.load`
            Of a DataFrame.
        step : float or None
            The usual step in time at fit, see `check_step`.

        Returns
        -------
        TimePoints

        Raises
        ------
        DataError
            When the data is none of these, has other channels or another step in time, no stretch
            without a gap is as long as a window, or readings are missing in a data set of windows
            of another length.

        Examples
        --------
        >>> table = pd.DataFrame({"t": [1, 2, 3], "load": [0.5, 1.5, 2.5], "note": ["", "", "x"]})
        >>> TimePoints.of(table, window=2, channels=["load"], time="t").seconds.tolist()
        [1.0, 2.0, 3.0]
        """
        check_window(window, None)
        names = None if channels is None else tuple(map(str, channels))
        points = getattr(new, "points", new)
        if isinstance(points, TimePoints):
            return points.check_as_at_fit(window, names, step)
        if hasattr(new, "points"):
            raise DataError(
                f"{getattr(new, 'name', 'the data')} has windows and no time points; load the long "
                'table that they are of with load(..., kind="series"), or pass the table itself'
            )
        if isinstance(new, pd.Series):
            new = new.to_frame()
        if isinstance(new, pd.DataFrame):
            found = check_names(new)
            if names is not None and found == list(map(str, range(len(names)))):
                new = new.set_axis(list(names), axis=1)
        else:
            new = pd.DataFrame(*readings_of_array(new, names))
            names = names or tuple(check_names(new))
        group = () if group is None else group
        groups = (group,) if isinstance(group, str) else tuple(group)
        cutting = WindowOptions(
            window, 1, time, groups, names, resample=resample, time_zone=time_zone
        )
        table = LongTable(new, cutting, label, "the data", describe_row, no_channels=keys)
        return points_of_table(table, window, 1, keys=keys).check_as_at_fit(window, names, step)

    @property
    def filled(self) -> np.ndarray:
        """Whether a reading of each time point was missing and is filled, boolean of shape (m,)."""
        return self.n_filled > 0

    def to_decide(self) -> TimePoints:
        """Return the time points with the rows in which a channel has ended and others go on.

        Its last reading is held there, by which they are decided; nothing is learned from them.
        """
        held = self.held_segments
        return self if held is None else replace(self, segments=held, held_segments=None)

    def check_as_at_fit(
        self, window: int, channels: Sequence[str] | None, step: float | None = None
    ) -> TimePoints:
        """Return these time points for windows of the length at fit, after a check.

        Parameters
        ----------
        window : int
        channels : sequence of str or None
        step : float or None
            The usual step in time.

        Returns
        -------
        TimePoints

        Raises
        ------
        DataError
            When no window fits in, channels have other names, time points are further apart or
            closer together, or readings are missing and what is filled depends on the length.
        """
        missing = self.filled.any() or "without_reading" in self.choices
        if self.window != window and (missing or np.isnan(self.values).any()):
            raise DataError(
                f"got time points for windows of {self.window} rows with missing readings, which "
                f"are filled up to half a window, and the fit was on windows of {window}; load the "
                f"table with window={window} (on the command line the bundle says it)"
            )
        if channels is not None and self.channels != tuple(channels):
            raise DataError(
                f"got the channels {', '.join(map(repr, self.channels))}, expected "
                f"{', '.join(map(repr, channels))} as at fit; load the table with "
                f"channels={list(channels)!r}"
            )
        longest = int(np.diff(self.segments, axis=1).max(initial=0))
        if longest < window:
            raise DataError(
                f"the longest stretch without a gap has {longest} time points, and windows have "
                f"{window}, as at fit; pass {window} time points or more in a row"
            )
        check_step(self.step, step)
        return self if self.window == window else replace(self, window=window, stride=1)

    def cut(self, stride: int = 1) -> list[tuple[np.ndarray, np.ndarray]]:
        """Cut each segment into windows, without copying.

        Parameters
        ----------
        stride : int
            Time points from the beginning of one window to the next.

        Returns
        -------
        list of (first, windows), one for each segment that is as long as a window
            Positions of the first time points, (k,), and a read-only view of shape
            (k, window, c).
        """
        _, stride = check_window(self.window, stride)
        found = []
        for first, end in self.segments.tolist():
            if end - first < self.window:
                continue
            view = sliding_window_view(self.values[first:end], self.window, axis=0)[::stride]
            begins = np.arange(first, end - self.window + 1, stride)
            found.append((begins, view.transpose(0, 2, 1)))
        return found

    @property
    def covered(self) -> np.ndarray:
        """Whether a window covers each time point, boolean of shape (m,)."""
        long_enough = np.diff(self.segments, axis=1)[:, 0] >= self.window
        return inside_stretches(self.segments[long_enough], len(self))

    def identifiers(self) -> pd.DataFrame:
        """Return the columns that say which time point each is: groups, time, keys.

        Returns
        -------
        DataFrame of m rows, with a `RangeIndex`
            Group columns and the time column by their own names; without times `row`, the row of
            the source table.

        Examples
        --------
        >>> TimePoints.of([[0.5], [1.5]], window=2).identifiers()["row"].tolist()
        [0, 1]
        """
        columns: dict[str, Any] = {}
        groups = self.groups if len(self.group_columns) > 1 else [(one,) for one in self.groups]
        for at, name in enumerate(self.group_columns):
            columns[name] = pd.Index([one[at] for one in groups]).take(self.codes)
        if self.time_column is not None:
            columns[self.time_column] = self.time
        else:
            columns["row"] = self.rows
        table = pd.DataFrame(columns, index=pd.RangeIndex(len(self)))
        if self.keys is None:
            return table
        keys = self.keys.drop(columns=table.columns, errors="ignore").reset_index(drop=True)
        return pd.concat([table, keys], axis=1)

    def in_table_order(self) -> np.ndarray:
        """Return positions in the order of the source table, one for each of its rows.

        After resampling a time point is there once for each row that it is made of. Rows that
        belong to none of these time points are not in it.

        Returns
        -------
        integer array
        """
        return self.position_of_row[self.position_of_row >= 0]

    def table_identifiers(self) -> pd.DataFrame:
        """Return the identifying columns of the rows of `in_table_order`.

        Examples
        --------
        >>> table = pd.DataFrame({"machine": ["b", "a", "b", "a"], "load": [1.0, 2.0, 3.0, 4.0]})
        >>> points = TimePoints.of(table, window=2, group="machine")
        >>> points.values.ravel().tolist(), points.in_table_order().tolist()
        ([1.0, 3.0, 2.0, 4.0], [0, 2, 1, 3])
        >>> points.table_identifiers()["machine"].tolist()
        ['b', 'a', 'b', 'a']
        """
        if self.source_rows is None:
            return self.identifiers().iloc[self.in_table_order()].reset_index(drop=True)
        return self.source_rows[self.position_of_row >= 0].reset_index(drop=True)

    def as_written(self) -> TimePoints:
        """Return the same time points with times as the table has them, to be written in a file.

        Where the table has text, times are text: `isthmus.data.windows.readings.as_written`.
        """
        if self.time is None:
            return self
        rows, cells = self.source_rows, self.time_cells
        if rows is not None and cells is not None:
            rows = rows.assign(**{str(self.time_column): cells.to_numpy()})
        cells = None if cells is None else cells.iloc[self.rows]
        time = as_written(self.time, cells, resampled="resample" in self.choices)
        return replace(self, time=time, source_rows=rows)

    def take_windows(self, first: np.ndarray) -> tuple[TimePoints, np.ndarray]:
        """Return the time points that windows cover, and no others.

        Stretches that touch in one segment stay one segment.

        Parameters
        ----------
        first : int array of shape (k,)
            Position of the first time point of each window.

        Returns
        -------
        points : TimePoints
        first : int array of shape (k,)
            The same windows in the new positions.
        """
        begins = np.unique(first)
        segment = np.searchsorted(self.segments[:, 0], begins, side="right") - 1
        new = np.ones(len(begins), dtype=bool)
        new[1:] = (segment[1:] != segment[:-1]) | (begins[1:] > begins[:-1] + self.window)
        last = np.append(new[1:], np.ones(min(1, len(new)), dtype=bool))
        stretches = np.stack([begins[new], begins[last] + self.window], axis=1)
        kept = inside_stretches(stretches, len(self))
        if kept.all():
            return replace(self, segments=stretches), np.asarray(first)
        position = np.cumsum(kept) - 1

        def take(column: Any) -> Any:
            return None if column is None else column[kept]

        of_row = self.position_of_row
        there = (of_row >= 0) & kept[np.maximum(of_row, 0)]
        points = replace(
            self,
            values=self.values[kept],
            segments=np.stack([position[stretches[:, 0]], position[stretches[:, 1] - 1] + 1], 1),
            rows=self.rows[kept],
            codes=self.codes[kept],
            time=take(self.time),
            seconds=take(self.seconds),
            y=take(self.y),
            n_filled=self.n_filled[kept],
            held_segments=None,
            keys=None if self.keys is None else self.keys[kept].reset_index(drop=True),
            position_of_row=np.where(there, position[np.maximum(of_row, 0)], -1),
        )
        return points, position[first]

    def facts(self) -> Mapping[str, Any]:
        """Return what was counted and chosen, as plain values for JSON."""
        return {
            "n_time_points": len(self),
            "n_without_window": int((~self.covered).sum()),
            "n_filled": int(self.filled.sum()),
            "n_segments": len(self.segments),
            "window": self.window,
            "stride": self.stride,
            "step": self.step,
            "choices": self.choices,
        }


def points_of_table(
    table: LongTable,
    window: int | str | None,
    stride: int | str | None,
    *,
    keys: Sequence[str] = (),
) -> TimePoints:
    """Return the time points of a long table.

    Parameters
    ----------
    table : LongTable
    window, stride : int, "auto" or None
        See `choose_windows`.
    keys : sequence of str
        Columns that are carried along.

    Raises
    ------
    DataError
        When times do not increase or have no one sampling rate, a value is no number, or a channel
        has no value in a group that is as long as a window.

    Warns
    -----
    UserWarning
        With the number of missing values that were filled, of stretches without a reading that are
        gaps, and of channels that seem dead.
    """
    found = read_readings(table)
    chosen = choose_windows(found.values, found.segments, window, stride, table.channels)
    n_filled, held_segments = fill_missing_readings(found, chosen.window, table)
    warn_of_dead_channels(found, chosen.window, table)
    time = found.times
    of_rows = table.cutting.resample is None and table.cutting.time_zone is None
    if time is not None and of_rows:
        time = table.frame[table.time].iloc[found.rows]
    seconds = seconds_of(found, table)
    labels = None if table.label is None else labels_from_text(table.frame[table.label])
    source_rows = None
    if not of_rows:
        columns = [*table.groups.columns, str(table.time), *keys]
        source_rows = table.frame[list(dict.fromkeys(columns))].reset_index(drop=True)
    return TimePoints(
        found.values,
        found.segments,
        found.rows,
        found.codes,
        list(table.groups.names) if table.groups.columns else [],
        table.groups.columns,
        table.time,
        None if time is None else _as_array(time),
        seconds,
        median_step(seconds, found.segments),
        None if labels is None else labels[found.rows],
        n_filled,
        tuple(table.channels),
        table.frame[list(keys)].iloc[found.rows].reset_index(drop=True) if keys else None,
        chosen.window,
        chosen.stride,
        found.position_of_row,
        {**found.facts, **chosen.facts()},
        table.label,
        source_rows,
        table.time_cells(),
        held_segments,
    )


def _as_array(times: pd.Series) -> Any:
    # Dates with a time zone would become an array of objects.
    return times.array if isinstance(times.dtype, pd.DatetimeTZDtype) else times.to_numpy()
