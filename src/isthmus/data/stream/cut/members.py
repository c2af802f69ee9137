"""Rows of one file that are in some spans, read a batch at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.data.frames import arrow_to_frame
from isthmus.data.missing import Beyond
from isthmus.data.readings import as_numbers
from isthmus.data.stream.cut.cut_file import CutFile, Spans, one_span
from isthmus.data.stream.store import Store
from isthmus.data.window_table import row_in_words
from isthmus.errors import DataError, ShardError

#: Rows decoded at a time, and bytes of them, at most.
_ROWS, _BYTES = 65_536, 2**23


@dataclass(frozen=True)
class Found:
    """Rows of a batch that are in spans.

    Attributes
    ----------
    table : pyarrow.Table
    at : int array of shape (n,)
        The span of each.
    rows : int array of shape (n,)
        The number of each in the file.
    """

    table: pa.Table
    at: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Members:
    """Reads a file's rows by the spans that they are in.

    Attributes
    ----------
    store : Store
    source : str
    cut : CutFile
    group : str or None
        Column that tells the groups.
    unsaid : sequence of str
        See `isthmus.data.readings.as_numbers`.
    """

    store: Store
    source: str
    cut: CutFile
    group: str | None
    unsaid: Sequence[str]

    def read(
        self, spans: Spans, names: Sequence[str], row_groups: Sequence[int] | None = None
    ) -> Iterator[Found]:
        """Read these columns of the spans' rows, in the order of the file.

        Parameters
        ----------
        spans : Spans
        names : sequence of str
        row_groups : sequence of int, optional
            Look into no others.
        """
        if row_groups is None:
            row_groups = self.cut.row_groups_of(spans).tolist()
        columns = list(dict.fromkeys([*names, *([] if self.group is None else [self.group])]))
        batch_rows = max(1, min(_ROWS, _BYTES // (8 * len(columns))))
        low, high = int(spans.first_row.min()), int(spans.last_row.max())
        with self.store.open(self.source) as file:
            # A row group may be large; so it is decoded as it is read.
            parquet = pq.ParquetFile(file, buffer_size=2**18, pre_buffer=False)
            for group in row_groups:
                first = int(self.cut.row_groups[group])
                for batch in parquet.iter_batches(
                    batch_rows, row_groups=[group], columns=columns, use_threads=False
                ):
                    if first > high:
                        return
                    if first + len(batch) > low:
                        found = self._found(batch, spans, first)
                        if len(found.at):
                            yield found
                    first += len(batch)

    def numbers(self, found: Found, channels: Sequence[str]) -> np.ndarray:
        """Return channels of rows: (n, c), float64, NaN where a value is missing."""
        frame = arrow_to_frame(found.table.select(channels))
        with of_this_file(self.source):
            return as_numbers(
                frame,
                channels,
                self.source,
                lambda row: row_in_words(int(found.rows[row])),
                self.unsaid,
            )

    def before(self, spans: Spans, channels: Sequence[str]) -> Beyond:
        """Return the last value of channels in the rows before the first span."""
        row = int(spans.first_row[0])
        return self._beyond(spans, 0, int(spans.before[0]), row - 1, channels, last=True)

    def after(self, spans: Spans, channels: Sequence[str]) -> Beyond:
        """Return the first value of channels in the rows after the last span."""
        row = int(spans.last_row[-1])
        return self._beyond(spans, -1, row + 1, int(spans.after[-1]), channels, last=False)

    def _beyond(
        self, spans: Spans, at: int, low: int, high: int, channels: Sequence[str], last: bool
    ) -> Beyond:
        values = np.full(len(channels), np.nan)
        steps = np.zeros(len(channels), dtype=np.int64)
        passed = 0
        if low > high:
            return Beyond(values, steps)
        span = one_span(int(spans.codes[at]), low, high, spans.n_rows)
        groups = self.cut.row_groups_of(span)
        for group in groups[::-1] if last else groups:
            read = [self.numbers(f, channels) for f in self.read(span, channels, [int(group)])]
            if not read:
                continue
            numbers = np.concatenate(read)[:: -1 if last else 1]
            known = ~np.isnan(numbers)
            new = np.isnan(values) & known.any(axis=0)
            place = known.argmax(axis=0)[new]
            values[new], steps[new] = numbers[place, new], passed + place + 1
            passed += len(numbers)
            if not np.isnan(values).any():
                break
        return Beyond(values, steps)

    def _found(self, batch: pa.RecordBatch, spans: Spans, first: int) -> Found:
        table = pa.Table.from_batches([batch]).replace_schema_metadata(None)
        codes = np.zeros(len(batch), dtype=np.int64)
        if self.group is not None:
            column = arrow_to_frame(table.select([self.group]))[self.group]
            with of_this_file(self.source):
                codes = self.cut.groups.codes(
                    column, self.source, lambda row: row_in_words(first + row)
                )
        at = spans.find(codes, first)
        inside = np.flatnonzero(at >= 0)
        if len(inside) < len(at):
            table = table.take(pa.array(inside))
        return Found(table, at[inside], first + inside)


@contextlib.contextmanager
def of_this_file(source: str) -> Iterator[None]:
    """Let what is wrong in one file be an error that names it, so that it may be left out."""
    try:
        yield
    except ShardError:
        raise
    except DataError as error:
        said = str(error)
        raise ShardError(said if source in said else f"{source}: {said}") from error
