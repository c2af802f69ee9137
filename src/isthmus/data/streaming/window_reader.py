"""The reader of windows from long tables in Parquet files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from isthmus.data.containers import arrow_to_frame
from isthmus.data.instances import Chunk
from isthmus.data.places import describe_row
from isthmus.data.streaming.chunks import MAX_CHUNK_BYTES, MAX_CHUNK_ROWS, FileRange
from isthmus.data.streaming.filesystem import FileStore
from isthmus.data.streaming.parquet import FileColumns, LabelColumn, is_number, open_parquet
from isthmus.data.streaming.window_index import FileWindows, RowsInOrder, rows_in_order
from isthmus.data.streaming.window_rows import SpanReader, fill_missing, naming_file, rows_of_spans
from isthmus.data.windows import (
    LabelCounts,
    UnusedRows,
    WindowOptions,
    Windows,
    as_numbers,
    check_roles,
    check_window,
    cut,
    deciding_rows,
    missing_roles,
    place_columns,
    too_short,
    unused_rows,
)
from isthmus.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet as pq


class UnusedFileRows:
    """Rows of all files that are in no window.

    Parameters
    ----------
    window : int
        Rows in a window.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self._lost = UnusedRows()
        # Of files without a window: rows of the longest stretch, file, group, whether it has gaps.
        self._short: list[tuple[int, str, str, bool]] = []

    def add(self, lost: UnusedRows) -> None:
        """Take in what a file with windows leaves out."""
        self._lost += lost

    def add_file(self, source: str, longest: int, group: str, has_gaps: bool) -> None:
        """Take in a file without a window, whose longest stretch has so many rows of a group."""
        self._short.append((longest, source, group, has_gaps))

    def warn_of_unused(self, name: str, n_cut: int) -> None:
        """Warn of rows that are in no window.

        Parameters
        ----------
        name : str
            What to call all files.
        n_cut : int
            Files with windows.

        Raises
        ------
        DataError
            When no file has a window; it names the longest.
        """
        if self._short and not n_cut:
            rows, source, group, has_gaps = max(self._short, key=lambda one: one[0])
            n = len(self._short)
            where = source if n == 1 else f"{n} files, in {source},"
            raise DataError(too_short(where, rows, group, self.window, has_gaps))
        messages = self._lost.describe(self.window)
        if self._short:
            n = len(self._short)
            messages.insert(
                0,
                f"{n:,} of {n + n_cut:,} files hold{'s' if n == 1 else ''} no window, with fewer "
                f"than {self.window} rows of a group without a gap, such as {self._short[0][1]}",
            )
        if messages:
            warnings.warn(f"{name}: {'; '.join(messages)}", stacklevel=7)  # whoever called `load`


class WindowReader:
    """Cuts each file into the windows that it has in memory, see `series_from_frame`.

    Opening reads times, groups and labels of one file at a time; what is kept of them grows with
    gaps and groups. Reading a chunk reads the row groups that its windows lie in.

    Parameters
    ----------
    store : FileStore
    cutting : WindowOptions
    label : str or None
    keys : sequence of str
        Columns to carry along; a window's are those of its last row.
    drop : sequence of str
        Columns that are never read.

    Raises
    ------
    DataError
        When window or stride cannot be, or one column is named for two things.
    """

    kind = "series"
    identifies_rows = True

    def __init__(
        self,
        store: FileStore,
        cutting: WindowOptions,
        label: str | None,
        keys: Sequence[str],
        drop: Sequence[str] = (),
    ) -> None:
        self.store, self.label, self.keys = store, label, list(dict.fromkeys(keys))
        self.window, self.stride = self._check_lengths(cutting)
        self.options, self.time, self.groups = cutting, cutting.time, cutting.groups
        self._missing_roles = missing_roles(self.time, self.groups, label)
        check_roles(self.time, self.groups, label)
        self._places = place_columns(self.time, self.groups, self.keys)
        beside = [*([] if self.time is None else [self.time]), *self.groups, *keys]
        self._of_files = FileColumns(cutting.channels, label, beside, "channels", drop)
        self._label_column = LabelColumn(store, label or "")
        self._cut: dict[str, FileWindows] = {}
        self._rows_before: dict[str, int] = {}
        self._n_rows = 0
        self._unlabelled: set[str] = set()
        self.label_rule: str | None = None
        self._unused = UnusedFileRows(self.window)
        self._labels_found = LabelCounts(cutting, self.window)

    @staticmethod
    def _check_lengths(cutting: WindowOptions) -> tuple[int, int]:
        for name in ("resample", "time_zone"):
            if getattr(cutting, name) is not None:
                raise DataError(
                    f"got {name}=, which is for a table in memory, and these files are read chunk "
                    "by chunk; leave it out, and write them with equal steps and times in UTC"
                )
        for name in ("window", "stride"):
            if getattr(cutting, name) == "auto":
                raise DataError(
                    f"got {name}='auto', which is for a table in memory, and these files are read "
                    "chunk by chunk; say how many rows, such as window=64, stride=16 (on the "
                    "command line --window 64 --stride 16)"
                )
        return check_window(cutting.window, cutting.stride)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(self._of_files.names)

    @property
    def has_labels(self) -> bool:
        """Whether a column of labels was named."""
        return self.label is not None

    def lay_out(self, source: str) -> list[FileRange]:
        """Find where a file's windows begin, and divide them into chunks.

        Parameters
        ----------
        source : str

        Returns
        -------
        list of FileRange
        """
        with self.store.open(source) as file:
            parquet, groups = open_parquet(file, source, self._of_files)
            row_groups = np.cumsum([0, *(group.num_rows for group in groups)])
            if not row_groups[-1]:
                return []
            with naming_file(source):
                self._check_text(parquet, source)
                found = rows_in_order(parquet, source, self.time, self.groups)
            y = None if self.label is None else parquet.read(columns=[self.label]).column(0)
        if self._has_missing_labels(groups):
            self._unlabelled.add(source)
        first, end = found.first, found.end
        codes, lengths = found.codes[first], end - first
        long_enough = lengths >= self.window
        name = found.groups.name
        if not long_enough.any():
            longest = int(lengths.argmax())
            has_gaps = len(first) > len(np.unique(codes))
            self._unused.add_file(source, int(lengths[longest]), name(codes[longest]), has_gaps)
            return []
        self._unused.add(unused_rows(codes, lengths, self.window, self.stride, name))
        if y is not None:
            with naming_file(source):
                self._count_labels(y, found, long_enough)
        row_bytes = 8 * len(self.channels) * max(self.window, self.stride)
        here = FileWindows(
            found.groups,
            found.codes,
            found.rows,
            first[long_enough],
            end[long_enough],
            window=self.window,
            stride=self.stride,
            step=max(1, min(MAX_CHUNK_ROWS, MAX_CHUNK_BYTES // row_bytes)),
            row_groups=row_groups,
        )
        self._cut[source], self._rows_before[source] = here, self._n_rows
        self._n_rows += int(row_groups[-1])
        return [
            FileRange((source,), (), start, min(start + here.step, here.n_windows))
            for start in range(0, here.n_windows, here.step)
        ]

    def warn_of_unused(self, name: str) -> None:
        """Warn of rows that are in no window of any file, and of classes that no window has.

        Parameters
        ----------
        name : str
            What to call the table.

        Raises
        ------
        DataError
            When no file holds a window; it names the longest. When the rule for labels of windows
            needs the label that is normal.
        """
        self._unused.warn_of_unused(name, len(self._cut))
        if self.label is not None and self._cut:
            self.label_rule = self._labels_found.rule
            for message in self._labels_found.describe():
                warnings.warn(f"{name}: {message}", stacklevel=6)  # whoever called `load`

    def read(self, file_range: FileRange, label: bool, keys: bool) -> Chunk:
        """Read the rows of a chunk and cut its windows.

        Parameters
        ----------
        file_range : FileRange
        label, keys : bool

        Returns
        -------
        Chunk
        """
        source = file_range.files[0]
        here = self._cut[source]
        spans = here.spans(file_range.start, file_range.stop)
        members = SpanReader(self.store, source, here, self._missing_roles)
        # As a key, the label of a window is the one that decides, not that of its last row.
        labelled = self.label is not None and (label or (keys and self.label in self.keys))
        labels = [self.label] if labelled and self.label is not None else []
        times = [self.time] if keys and self.time is not None else []
        carried = list(dict.fromkeys([*labels, *times, *(self.keys if keys else [])]))
        values, rows, beside = rows_of_spans(members, spans, self.channels, carried)
        fill_missing(values, members, spans, self.channels)
        ends = np.cumsum(spans.lengths)
        segments = list(zip((ends - spans.lengths).tolist(), ends.tolist(), strict=True))
        X = cut(values, segments, self.window, self.stride)
        of, first = spans.windows(self.window, self.stride)
        last = first + self.window - 1
        y = decided = None
        if labels:
            y = self._labels(beside[labels[0]], source in self._unlabelled)
            decided = self._deciding(y, first)
            y = y[decided] if label else None
        group = here.groups.of_codes(spans.codes[of])
        time = None if not times else arrow_to_frame(beside.select(times))[times[0]]
        lie = Windows(
            rows[first],
            rows[last],
            group,
            None if time is None else time.iloc[first].to_numpy(),
            None if time is None else time.iloc[last].to_numpy(),
            self.groups,
            self.label_rule,
        )
        # Windows of several files, taken together, share no row.
        before = self._rows_before[source]
        through = replace(lie, first_row=lie.first_row + before, last_row=lie.last_row + before)
        if not keys:
            return Chunk(0, X, y, windows=through)
        frame = lie.to_frame()
        own = self.keys
        columns = arrow_to_frame(beside.select(own), exact=own) if own else pd.DataFrame()
        for name, column in columns.items():
            at = decided if name == self.label and decided is not None else last
            frame[name] = column.iloc[at].array
        return Chunk(0, X, y, frame, through)

    def key_types(self) -> dict[str, pa.DataType]:
        """Return what says where a window lies, and the key columns.

        Returns
        -------
        dict of str to pyarrow.DataType
        """
        types = self._of_files.types
        of = {"first_time": self.time, "last_time": self.time}
        of |= dict(zip(self._places, self.groups, strict=False))
        places = {
            name: pa.int64() if (column := of.get(name)) is None else types[column]
            for name in self._places
        }
        return places | {name: types[name] for name in self.keys}

    def stamp(self, source: str) -> dict[str, Any]:
        """Return size and time of a file.

        Parameters
        ----------
        source : str

        Returns
        -------
        dict
        """
        return self.store.stamp(source)

    def describe(self) -> str:
        """Return what an instance looks like.

        Returns
        -------
        str
        """
        channels = f" and {len(self.channels)} channels" if len(self.channels) > 1 else ""
        return f"series of {self.window} time steps{channels}"

    @property
    def cutting(self) -> str:
        """How files are cut, in words that differ when windows do."""
        how = WindowOptions(self.window, self.stride, self.time, self.options.group)
        if self.label in self.keys:
            how = replace(how, window_label=self.label_rule)
        return ", ".join(f"{name}={getattr(how, name)!r}" for name in how.given)

    def _deciding(self, y: np.ndarray, first: np.ndarray) -> np.ndarray:
        return deciding_rows(y, first, self.window, self.options.window_label, self.options.normal)

    def _count_labels(
        self, column: pa.ChunkedArray, found: RowsInOrder, long_enough: np.ndarray
    ) -> None:
        """Count the labels of a file's rows and windows."""
        y = self._label_column.read(column)[found.rows]
        segments = zip(found.first[long_enough], found.end[long_enough], strict=True)
        begins = [np.arange(a, b - self.window + 1, self.stride) for a, b in segments]
        first = np.concatenate(begins)
        self._labels_found.add(y, found.codes, first, self._deciding(y, first))

    def _labels(self, column: pa.ChunkedArray, some_missing: bool) -> np.ndarray:
        """Return labels with the dtype that those of the whole file have."""
        n_rows = len(column)
        if some_missing:
            column = pa.chunked_array([*column.chunks, pa.nulls(1, column.type)], column.type)
        return self._label_column.read(column)[:n_rows]

    def _has_missing_labels(self, row_groups: Sequence[Any]) -> bool:
        """Return whether row groups say that labels are missing."""
        columns = (group.column(at) for group in row_groups for at in range(group.num_columns))
        return self.label is not None and any(
            column.path_in_schema == self.label
            and column.statistics is not None
            and bool(column.statistics.null_count)
            for column in columns
        )

    def _check_text(self, parquet: pq.ParquetFile, source: str) -> None:
        """Look at the first rows of channels that are no numbers by their type."""
        types = {field.name: field.type for field in parquet.schema_arrow}
        odd = [name for name in self.channels if not _may_be_numbers(types[name])]
        if not odd:
            return
        batch = next(parquet.iter_batches(1024, columns=odd))
        frame = arrow_to_frame(pa.Table.from_batches([batch]).replace_schema_metadata(None))
        as_numbers(frame, odd, source, describe_row, self._missing_roles)


def _may_be_numbers(type_: pa.DataType) -> bool:
    return is_number(type_) or pa.types.is_boolean(type_) or pa.types.is_null(type_)
