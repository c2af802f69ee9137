"""The rows of one Parquet file in order: group after group, with gaps in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.data.frames import arrow_to_frame
from isthmus.data.groups import Groups
from isthmus.data.stream.file_columns import is_number
from isthmus.data.time_order import segments, time_numbers
from isthmus.data.window_table import row_in_words

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
    parquet: pq.ParquetFile, source: str, time: str | None, group: str | None
) -> RowsInOrder:
    """Read times and groups of a file, and nothing else.

    Parameters
    ----------
    parquet : ParquetFile
    source : str
        What to call it in errors.
    time, group : str or None
        Columns.

    Raises
    ------
    DataError
        When times do not increase within a group, or one of the two is missing.
    """
    groups = Groups(group)
    codes, times = _read(parquet, source, time, group, groups)
    rows = np.arange(len(codes))
    if group is not None:
        rows = np.argsort(codes, kind="stable")
        codes = codes[rows]
        times = None if times is None else times[rows]

    def in_words(row: int) -> str:
        assert time is not None
        return str(_frame(parquet.read(columns=[time]))[time].iloc[row])

    first, end = segments(
        codes,
        rows,
        times,
        in_words=in_words,
        of_group=groups.of,
        where=row_in_words,
        columns=[name for name in (group, time) if name is not None],
    )
    return RowsInOrder(groups, rows, codes, first, end)


def _read(
    parquet: pq.ParquetFile, source: str, time: str | None, group: str | None, groups: Groups
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the code of each row's group, and its time as a number."""
    names = [name for name in (time, group) if name is not None]
    n_rows = parquet.metadata.num_rows
    codes = np.zeros(n_rows, dtype=np.int64)
    # What text means shows in all of it: "2024" is a number, or a year among dates.
    whole = time is not None and not _is_plain(parquet.schema_arrow.field(time).type)
    times: np.ndarray | None = None
    columns: list[pd.Series] = []
    first = 0
    for batch in parquet.iter_batches(_BATCH, columns=names) if names else ():
        frame = _frame(pa.Table.from_batches([batch]))

        def where(row: int, first: int = first) -> str:
            return row_in_words(first + row)

        if group is not None:
            codes[first : first + len(frame)] = groups.codes(frame[group], source, where)
        if whole:
            columns.append(frame[time])
        elif time is not None:
            numbers = time_numbers(frame[time], source, where)
            times = np.empty(n_rows, dtype=numbers.dtype) if times is None else times
            times[first : first + len(frame)] = numbers
        first += len(frame)
    if columns:
        times = time_numbers(pd.concat(columns, ignore_index=True), source, row_in_words)
    return codes, times


def _frame(table: pa.Table) -> pd.DataFrame:
    return arrow_to_frame(table.replace_schema_metadata(None))


def _is_plain(type_: pa.DataType) -> bool:
    """Return whether times are the same numbers, however many of them are looked at."""
    return is_number(type_) or pa.types.is_timestamp(type_) or pa.types.is_duration(type_)
