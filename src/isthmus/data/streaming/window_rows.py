"""Rows of windows in a file: found by group, read in batches, gaps filled."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from isthmus._core import parquet_file
from isthmus.data.containers import arrow_to_frame
from isthmus.data.places import describe_row
from isthmus.data.preprocessing import ValuesBeyond, describe_empty_column, interpolate
from isthmus.data.streaming.filesystem import FileStore
from isthmus.data.streaming.window_index import FileWindows, WindowSpans, one_span
from isthmus.data.windows import as_numbers
from isthmus.errors import DataError, ShardError

#: Rows decoded at a time, and bytes of them, at most.
_ROWS, _BYTES = 65_536, 2**23


@dataclass(frozen=True)
class FoundRows:
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
class SpanReader:
    """Reads a file's rows by the spans that they are in.

    Attributes
    ----------
    store : FileStore
    source : str
    cut : FileWindows
    free_roles : sequence of str
        See `isthmus.data.windows.as_numbers`.
    """

    store: FileStore
    source: str
    cut: FileWindows
    free_roles: Sequence[str]

    def read(
        self, spans: WindowSpans, names: Sequence[str], row_groups: Sequence[int] | None = None
    ) -> Iterator[FoundRows]:
        """Read these columns of the spans' rows, in the order of the file.

        Parameters
        ----------
        spans : WindowSpans
        names : sequence of str
        row_groups : sequence of int, optional
            Look into no others.
        """
        if row_groups is None:
            row_groups = self.cut.row_groups_of(spans).tolist()
        columns = list(dict.fromkeys([*names, *self.cut.groups.columns]))
        batch_rows = max(1, min(_ROWS, _BYTES // (8 * len(columns))))
        low, high = int(spans.first_row.min()), int(spans.last_row.max())
        with self.store.open(self.source) as file:
            # A row group may be large; so it is decoded as it is read.
            parquet = parquet_file(file, buffer_size=2**18, pre_buffer=False)
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

    def numbers(self, found: FoundRows, channels: Sequence[str]) -> np.ndarray:
        """Return channels of rows: (n, c), float64, NaN where a value is missing."""
        frame = arrow_to_frame(found.table.select(channels))
        with naming_file(self.source):
            return as_numbers(
                frame,
                channels,
                self.source,
                lambda row: describe_row(int(found.rows[row])),
                self.free_roles,
            )

    def before(self, spans: WindowSpans, channels: Sequence[str]) -> ValuesBeyond:
        """Return the last value of channels in the rows before the first span."""
        row = int(spans.first_row[0])
        return self._beyond(spans, 0, int(spans.before[0]), row - 1, channels, last=True)

    def after(self, spans: WindowSpans, channels: Sequence[str]) -> ValuesBeyond:
        """Return the first value of channels in the rows after the last span."""
        row = int(spans.last_row[-1])
        return self._beyond(spans, -1, row + 1, int(spans.after[-1]), channels, last=False)

    def _beyond(
        self, spans: WindowSpans, at: int, low: int, high: int, channels: Sequence[str], last: bool
    ) -> ValuesBeyond:
        values = np.full(len(channels), np.nan)
        steps = np.zeros(len(channels), dtype=np.int64)
        passed = 0
        if low > high:
            return ValuesBeyond(values, steps)
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
        return ValuesBeyond(values, steps)

    def _found(self, batch: pa.RecordBatch, spans: WindowSpans, first: int) -> FoundRows:
        table = pa.Table.from_batches([batch]).replace_schema_metadata(None)
        groups = self.cut.groups
        codes = np.zeros(len(batch), dtype=np.int64)
        if groups.columns:
            frame = arrow_to_frame(table.select(list(groups.columns)), exact=groups.columns)
            with naming_file(self.source):
                codes = groups.codes(frame, self.source, lambda row: describe_row(first + row))
        at = spans.find(codes, first)
        inside = np.flatnonzero(at >= 0)
        if len(inside) < len(at):
            table = table.take(pa.array(inside))
        return FoundRows(table, at[inside], first + inside)


@contextlib.contextmanager
def naming_file(source: str) -> Iterator[None]:
    """Let what is wrong in one file be an error that names it, so that it may be left out."""
    try:
        yield
    except ShardError:
        raise
    except DataError as error:
        message = str(error)
        raise ShardError(message if source in message else f"{source}: {message}") from error


def rows_of_spans(
    members: SpanReader, spans: WindowSpans, channels: Sequence[str], carried: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, pa.Table]:
    """Read all rows of some spans, span after span.

    Parameters
    ----------
    members : SpanReader
    spans : WindowSpans
    channels, carried : sequence of str
        Columns that are numbers, and others.

    Returns
    -------
    values : array of shape (n, c)
        The channels, NaN where a value is missing.
    rows : int array of shape (n,)
        The number of each row in the file.
    beside : pyarrow.Table
        The other columns, without any an empty table.

    Raises
    ------
    ShardError
        When the file has other rows than when it was opened, or a channel holds what is no number.
    """
    n = int(spans.lengths.sum())
    values, rows = np.empty((n, len(channels))), np.empty(n, dtype=np.int64)
    ends = np.cumsum(spans.lengths)
    filled = ends - spans.lengths
    tables, places = [], []
    for found in members.read(spans, [*channels, *carried]):
        order = np.argsort(found.at, kind="stable")
        counts = np.bincount(found.at, minlength=len(ends))
        if (filled + counts > ends).any():
            break
        # The rows of a span follow those of it that were read before.
        begins = np.cumsum(counts) - counts
        place = np.empty(len(order), dtype=np.int64)
        place[order] = (filled - begins)[found.at[order]] + np.arange(len(order))
        filled += counts
        values[place], rows[place] = members.numbers(found, channels), found.rows
        tables.append(found.table.select(carried))
        places.append(place)
    if (filled != ends).any():
        raise ShardError(f"{members.source} has other rows than when it was opened; open it again")
    if not carried:
        return values, rows, pa.table({})
    order = np.argsort(np.concatenate(places))
    return values, rows, pa.concat_tables(tables).unify_dictionaries().take(pa.array(order))


def fill_missing(
    values: np.ndarray, members: SpanReader, spans: WindowSpans, channels: Sequence[str]
) -> None:
    """Fill what is missing in place, as it is filled when all rows of a stretch are at hand.

    Parameters
    ----------
    values : array of shape (n, c)
        Rows of the spans, span after span.

    Raises
    ------
    ShardError
        When a channel has no value in all of a stretch.
    """
    missing = np.isnan(values)
    if not missing.any():
        return
    end = np.cumsum(spans.lengths)
    for at, (a, b) in enumerate(zip(end - spans.lengths, end, strict=True)):
        here = missing[a:b]
        if not here.any():
            continue
        before = after = None
        if at == 0 and here[0].any():
            before = _beyond(members.before, spans, channels, here[0])
        if at == len(end) - 1 and here[-1].any():
            after = _beyond(members.after, spans, channels, here[-1])
        empty = here.all(axis=0)
        for beyond in (before, after):
            empty &= True if beyond is None else np.isnan(beyond.values)
        if empty.any():
            column = f"column {channels[int(empty.argmax())]!r} of {members.source}"
            raise ShardError(
                describe_empty_column(
                    members.cut.groups.of(spans.codes[at]) + column,
                    describe_row(int(spans.before[at])),
                    describe_row(int(spans.after[at])),
                )
            )
        values[a:b] = interpolate(values[a:b], before, after)


def _beyond(
    look: Callable[[WindowSpans, Sequence[str]], ValuesBeyond],
    spans: WindowSpans,
    channels: Sequence[str],
    missing: np.ndarray,
) -> ValuesBeyond:
    """Look beyond an end for the channels that are missing there."""
    wanted = np.flatnonzero(missing).tolist()
    found = look(spans, [channels[at] for at in wanted])
    values = np.full(len(missing), np.nan)
    steps = np.ones(len(missing), dtype=np.int64)
    values[wanted], steps[wanted] = found.values, found.steps
    return ValuesBeyond(values, steps)
