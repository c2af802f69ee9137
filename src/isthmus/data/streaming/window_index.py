"""The index of windows in long-table files: rows in order, and where windows lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from isthmus.data.containers import arrow_to_frame
from isthmus.data.places import describe_row
from isthmus.data.streaming.parquet import is_number
from isthmus.data.windows import Groups, segments, time_numbers, window_count

if TYPE_CHECKING:
    import pyarrow.parquet as pq


@dataclass(frozen=True, eq=False)
class WindowSpans:
    """Stretches of rows, each of one group, in the order of the windows cut from them.

    Attributes
    ----------
    codes : int array of shape (k,)
        The group of each.
    first_row, last_row : int array of shape (k,)
        Its first and last row in the file; between them rows of other groups may lie.
    lengths, counts : int array of shape (k,)
        Its rows, and the windows that are cut from it.
    before, after : int array of shape (k,)
        First and last row of the stretch without a gap that it is of.
    n_rows : int
        Rows in the file.
    """

    codes: np.ndarray
    first_row: np.ndarray
    last_row: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray
    before: np.ndarray
    after: np.ndarray
    n_rows: int

    def find(self, codes: np.ndarray, first: int) -> np.ndarray:
        """Return the span that each of some rows is in, -1 where it is in none.

        Parameters
        ----------
        codes : int array of shape (n,)
            Groups of rows that follow one another in the file.
        first : int
            Number of the first of them.
        """
        rows = np.arange(first, first + len(codes))
        # Spans come in the order of groups, and of rows within a group.
        begins = self.codes * self.n_rows + self.first_row
        at = np.searchsorted(begins, codes * self.n_rows + rows, side="right") - 1
        inside = (at >= 0) & (self.codes[at] == codes) & (rows <= self.last_row[at])
        return np.where(inside, at, -1)

    def windows(self, window: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the span of each window, and its first row when all spans' rows are one array."""
        of = np.repeat(np.arange(len(self.counts)), self.counts)
        within = np.arange(len(of)) - np.repeat(np.cumsum(self.counts) - self.counts, self.counts)
        return of, (np.cumsum(self.lengths) - self.lengths)[of] + within * stride


class FileWindows:
    """Windows of a file, in numbers that grow with its gaps and groups, not with its rows.

    Parameters
    ----------
    groups : Groups
    codes, rows : int array of shape (n,)
        Groups and numbers of the file's rows, group after group.
    first, end : int array of shape (n_segments,)
        Where in that order the stretches without a gap begin and end; windows fit in each.
    window, stride : int
    step : int
        Windows in a chunk, at most.
    row_groups : int array of shape (n_row_groups + 1,)
        First row of each row group, and the number of rows.
    """

    def __init__(
        self,
        groups: Groups,
        codes: np.ndarray,
        rows: np.ndarray,
        first: np.ndarray,
        end: np.ndarray,
        *,
        window: int,
        stride: int,
        step: int,
        row_groups: np.ndarray,
    ) -> None:
        self.groups, self.window, self.stride, self.step = groups, window, stride, step
        self.row_groups = row_groups
        self.codes, self.lengths = codes[first], end - first
        self.first_row, self.last_row = rows[first], rows[end - 1]
        counts = [window_count(int(length), window, stride) for length in self.lengths]
        self.begins = np.cumsum([0, *counts])
        starts = np.arange(0, self.n_windows, step)
        lasts = np.minimum(starts + step, self.n_windows) - 1

        def order(windows: np.ndarray) -> np.ndarray:
            segment = np.searchsorted(self.begins, windows, side="right") - 1
            return first[segment] + (windows - self.begins[segment]) * stride

        self._from = rows[order(starts)]
        self._to = rows[order(lasts) + window - 1]

    @property
    def n_windows(self) -> int:
        """All windows of the file."""
        return int(self.begins[-1])

    def spans(self, start: int, stop: int) -> WindowSpans:
        """Return the rows of the windows `start` to `stop`."""
        begins = self.begins
        s = slice(np.searchsorted(begins, start, "right") - 1, np.searchsorted(begins, stop))
        first_row, last_row = self.first_row[s].copy(), self.last_row[s].copy()
        lengths, counts = self.lengths[s].copy(), np.diff(begins)[s]
        over = int(begins[s.stop]) - stop
        if over:
            kept = int(counts[-1]) - over
            last_row[-1] = self._to[start // self.step]
            lengths[-1] = (kept - 1) * self.stride + self.window
            counts[-1] = kept
        skipped = start - int(begins[s.start])
        if skipped:
            first_row[0] = self._from[start // self.step]
            lengths[0] -= skipped * self.stride
            counts[0] -= skipped
        whole = self.first_row[s], self.last_row[s]
        n_rows = int(self.row_groups[-1])
        return WindowSpans(self.codes[s], first_row, last_row, lengths, counts, *whole, n_rows)

    def row_groups_of(self, spans: WindowSpans) -> np.ndarray:
        """Return the row groups that rows of these spans may lie in, in order."""
        touched = np.zeros(len(self.row_groups), dtype=np.int64)
        np.add.at(touched, np.searchsorted(self.row_groups, spans.first_row, "right") - 1, 1)
        np.add.at(touched, np.searchsorted(self.row_groups, spans.last_row, "right"), -1)
        return np.flatnonzero(np.cumsum(touched)[:-1] > 0)


def one_span(code: int, first: int, last: int, n_rows: int) -> WindowSpans:
    """Return the rows of one group between two rows of a file of `n_rows`."""
    one = np.array([0])
    rows = np.array([first]), np.array([last])
    return WindowSpans(np.array([code]), *rows, one, one, *rows, n_rows)


#: Rows decoded at a time.
_BATCH = 131_072


@dataclass(frozen=True)
class RowsInOrder:
    """Rows of a file, group after group, each in the order of the file.

    Attributes
    ----------
    groups : Groups
    rows, codes : int array of shape (n,)
        The number of each row in the file, and its group.
    first, end : int array of shape (n_segments,)
        Where in that order the stretches without a gap begin and end.
    """

    groups: Groups
    rows: np.ndarray
    codes: np.ndarray
    first: np.ndarray
    end: np.ndarray


def rows_in_order(
    parquet: pq.ParquetFile, source: str, time: str | None, columns: Sequence[str]
) -> RowsInOrder:
    """Read times and groups of a file, and nothing else.

    Parameters
    ----------
    parquet : ParquetFile
    source : str
        What to call it in errors.
    time : str or None
        Column of times.
    columns : sequence of str
        Group columns.

    Raises
    ------
    DataError
        When times do not increase within a group, or one of the two is missing.
    """
    groups = Groups(columns)
    codes, times = _read(parquet, source, time, groups)
    rows = np.arange(len(codes))
    if columns:
        rows = np.argsort(codes, kind="stable")
        codes = codes[rows]
        times = None if times is None else times[rows]

    def describe_time(row: int) -> str:
        assert time is not None
        return str(_frame(parquet.read(columns=[time]))[time].iloc[row])

    first, end = segments(
        codes,
        rows,
        times,
        describe_time=describe_time,
        of_group=groups.of,
        where=describe_row,
        columns=[*columns, *([] if time is None else [time])],
        fix=lambda _: "write the files at one rate, or leave time out to take rows as they come",
    )
    return RowsInOrder(groups, rows, codes, first, end)


def _read(
    parquet: pq.ParquetFile, source: str, time: str | None, groups: Groups
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the code of each row's group, and its time as a number."""
    names = [*([] if time is None else [time]), *groups.columns]
    n_rows = parquet.metadata.num_rows
    codes = np.zeros(n_rows, dtype=np.int64)
    # What text means shows in all of it: "2024" is a number, or a year among dates.
    whole = time is not None and not _is_plain(parquet.schema_arrow.field(time).type)
    times: np.ndarray | None = None
    columns: list[pd.Series] = []
    first = 0
    for batch in parquet.iter_batches(_BATCH, columns=names) if names else ():
        frame = _frame(pa.Table.from_batches([batch]), groups.columns)

        def where(row: int, first: int = first) -> str:
            return describe_row(first + row)

        codes[first : first + len(frame)] = groups.codes(frame, source, where)
        if whole:
            columns.append(frame[time])
        elif time is not None:
            numbers = time_numbers(frame[time], source, where)
            times = np.empty(n_rows, dtype=numbers.dtype) if times is None else times
            times[first : first + len(frame)] = numbers
        first += len(frame)
    if columns:
        times = time_numbers(pd.concat(columns, ignore_index=True), source, describe_row)
    return codes, times


def _frame(table: pa.Table, exact: Sequence[str] = ()) -> pd.DataFrame:
    return arrow_to_frame(table.replace_schema_metadata(None), exact)


def _is_plain(type_: pa.DataType) -> bool:
    """Return whether times are the same numbers, however many of them are looked at."""
    return is_number(type_) or pa.types.is_timestamp(type_) or pa.types.is_duration(type_)
