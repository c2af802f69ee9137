"""Parquet files, read by row groups and by the columns that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.data.frames import arrow_to_frame
from isthmus.data.instances import Piece
from isthmus.data.labels import as_labels
from isthmus.data.stream.file_columns import FileColumns
from isthmus.data.stream.part import MOST_BYTES, MOST_ROWS, Slice
from isthmus.data.stream.row_groups import OpenGroup, OpenGroups
from isthmus.data.stream.store import Store
from isthmus.errors import ShardError


class ParquetReader:
    """Reads Parquet files whose columns are those of the first.

    Parameters
    ----------
    store : Store
    columns : sequence of str or None
        Features; None takes all columns but label and keys.
    label : str or None
    keys : sequence of str
        Columns that say which row is which, and are no features.
    """

    kind = "table"
    channels = None

    def __init__(
        self, store: Store, columns: Sequence[str] | None, label: str | None, keys: Sequence[str]
    ) -> None:
        self.store, self.label, self.keys = store, label, list(dict.fromkeys(keys))
        self._of_files = FileColumns(columns, label, keys)
        self._groups = OpenGroups()

    @property
    def columns(self) -> list[str]:
        """The features."""
        return self._of_files.names

    @property
    def has_labels(self) -> bool:
        """Whether a column of labels was named."""
        return self.label is not None

    def lay_out(self, source: str) -> list[Slice]:
        """Put a file's row groups together into parts, and cut those that are too large."""
        with self.store.open(source) as file:
            footer = pq.ParquetFile(file)
            self._of_files.check(source, footer.schema_arrow)
            metadata = footer.metadata
            groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
            sizes = [(group.num_rows, group.total_byte_size) for group in groups]
        slices: list[Slice] = []
        held: list[int] = []
        rows = n_bytes = 0
        for at, (n, size) in enumerate(sizes):
            if held and (rows + n > MOST_ROWS or n_bytes + size > MOST_BYTES):
                slices.append(Slice((source,), tuple(held), 0, rows))
                held, rows, n_bytes = [], 0, 0
            if n > MOST_ROWS or (size > MOST_BYTES and n > 1):
                step = max(1, min(MOST_ROWS, n * MOST_BYTES // max(1, size)))
                slices += [
                    Slice((source,), (at,), first, min(first + step, n), cut_of=n)
                    for first in range(0, n, step)
                ]
            elif n:
                held.append(at)
                rows, n_bytes = rows + n, n_bytes + size
        if held:
            slices.append(Slice((source,), tuple(held), 0, rows))
        return slices

    def read(self, part: Slice, label: bool, keys: bool) -> Piece:
        """Read a part's features, and label and keys when they are asked for."""
        labels = [self.label] if label and self.label is not None else []
        names = [*self.columns, *labels, *(self.keys if keys else [])]
        table = self._table(part, list(dict.fromkeys(names)))
        if table.num_rows != part.n_rows:
            raise ShardError(
                f"{part.files[0]} has {table.num_rows} rows where its footer says {part.n_rows}; "
                "write the file again"
            )
        y = as_labels(arrow_to_frame(table.select(labels))[labels[0]]) if labels else None
        carried = arrow_to_frame(table.select(self.keys)) if keys and self.keys else None
        return Piece(0, arrow_to_frame(table.select(self.columns)), y, carried)

    def key_types(self) -> dict[str, pa.DataType]:
        """Return the types of the key columns in the first file."""
        return {name: self._of_files.types[name] for name in self.keys}

    def stamp(self, source: str) -> dict[str, Any]:
        """Return size and time of a file."""
        return self.store.stamp(source)

    def describe(self) -> str:
        """Return how many columns a row has."""
        return f"rows of {len(self.columns)} columns"

    def _table(self, part: Slice, names: list[str]) -> pa.Table:
        source = part.files[0]
        if not part.cut_of:
            with self.store.open(source) as file:
                groups = pq.ParquetFile(file).read_row_groups(list(part.groups), columns=names)
                return groups.replace_schema_metadata(None)
        group = self._groups.pop(part, names)
        with self.store.watch(source):
            if group is None:
                group = OpenGroup(self.store.fs.open(source, "rb"), part.groups[0], names)
                group.skip(part.start)
            table = group.take(part.n_rows)
        if part.stop < part.cut_of:
            self._groups.keep(part, names, group)
        else:
            group.close()
        return table.replace_schema_metadata(None)
