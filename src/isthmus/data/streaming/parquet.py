"""Parquet files of a stream: columns by name, row groups by bounded chunks."""

from __future__ import annotations

import threading
import warnings
from collections import Counter, OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from isthmus._core import parquet_file
from isthmus.data.containers import arrow_to_frame
from isthmus.data.formats import find_image_column
from isthmus.data.groups import as_groups
from isthmus.data.instances import Chunk
from isthmus.data.labels import AS_WRITTEN, as_labels, label_kind, labels_from_text
from isthmus.data.schema import check_is_there
from isthmus.data.streaming.chunks import MAX_CHUNK_BYTES, MAX_CHUNK_ROWS, FileRange
from isthmus.data.streaming.filesystem import FileStore
from isthmus.errors import DataError, ShardError

if TYPE_CHECKING:
    import pyarrow.parquet as pq


class FileColumns:
    """Columns with the same names and types in every file.

    Parameters
    ----------
    columns : sequence of str or None
        Features; None takes all columns of the first file but label and keys.
    label : str or None
    keys : sequence of str
        Columns that are read beside, and are no features.
    option : str
        How a person names the features: "columns" or "channels".
    drop : sequence of str
        Columns that are never read.
    category : sequence of str
        Columns that the first file must have.
    carry : bool
        Carry along the columns that are nothing of the above.
    """

    def __init__(
        self,
        columns: Sequence[str] | None,
        label: str | None,
        keys: Sequence[str],
        option: str = "columns",
        drop: Sequence[str] = (),
        category: Sequence[str] = (),
        carry: bool = False,
    ) -> None:
        self.label, self.keys, self.option, self.drop = label, list(keys), option, list(drop)
        self._category, self._carries = list(category), carry
        self._carried: dict[str, pa.DataType] | None = None
        #: Columns that are not carried along, because files differ in them.
        self.not_carried: dict[str, None] = {}
        self.names: list[str] = [] if columns is None else list(columns)
        self._takes_all = columns is None
        self._first: tuple[str, dict[str, pa.DataType]] | None = None

    def check(self, source: str, schema: pa.Schema) -> None:
        """Check a file's columns against the first file's.

        Raises
        ------
        DataError
            When the first file lacks a column, or has no features.
        ShardError
            When a later file is unlike it, or a name comes twice.
        """
        wanted = [*([] if self.label is None else [self.label]), *self.keys, *self.names]
        types = {
            field.name: field.type
            for field in schema
            if field.name not in _index(schema) or field.name in wanted
        }
        of_first = [*self.drop, *self._category] if self._first is None else []
        asked = [*wanted, *of_first]
        in_first = [name for name in asked if self._first is not None and name in self.types]
        check_is_there(in_first, list(types), source, self._first[0] if self._first else None)
        check_is_there(asked, list(types), source)
        twice = next((name for name, n in Counter(schema.names).items() if n > 1), None)
        if twice is not None and (self._takes_all or twice in wanted):
            raise ShardError(
                f"{source} has more than one column called {twice!r}; give each its own name"
            )
        if self._first is None:
            left_out = {self.label, *self.keys, *self.drop}
            if self._takes_all:
                self.names = [name for name in types if name not in left_out]
            image = find_image_column(schema)
            if image in self.names:
                raise DataError(
                    f"{source} holds images in the column {image!r}, and Parquet files of images "
                    "are read one at a time, into memory: numpy.concatenate([load(file).X for file "
                    "in files]); write larger data to a folder of image files, which lazy=True "
                    f"(--lazy) reads in chunks; drop=[{image!r}] (--drop) reads the other columns"
                )
            if not self.names:
                raise DataError(f"{source} holds no columns of features; expected at least one")
            self._first = source, types
            self._carry(types)
            return
        first, expected = self._first
        for name in wanted:
            kinds = _kind_of(types[name]), _kind_of(expected[name])
            if kinds[0] != kinds[1] and "null" not in kinds:
                raise ShardError(
                    f"column {name!r} is {types[name]} in {source} and {expected[name]} in "
                    f"{first}, expected the same type in both; write one of the files again"
                )
        extra = [name for name in types if name not in expected]
        if extra and self._takes_all:
            raise ShardError(
                f"{source} has columns {extra} that {first} has not; write it again without "
                f"them, or name the columns to learn from with {self.option}=[...]"
            )
        self._carry(types)

    def _carry(self, types: dict[str, pa.DataType]) -> None:
        """Take in the columns of a file that are carried along: those of all files alike."""
        if not self._carries:
            return
        known = {self.label, *self.keys, *self.drop, *self.names}
        others = {name: type_ for name, type_ in types.items() if name not in known}
        before = others if self._carried is None else self._carried
        self._carried = {}
        for name in {**before, **others}:
            found = [of[name] for of in (before, others) if name in of]
            typed = [type_ for type_ in found if not pa.types.is_null(type_)]
            if len(found) == 2 and all(type_ == typed[0] for type_ in typed):
                self._carried[name] = typed[0] if typed else found[0]
            else:
                self.not_carried[name] = None

    @property
    def carried(self) -> dict[str, pa.DataType]:
        """Columns that are carried along, and their types."""
        return self._carried or {}

    @property
    def types(self) -> dict[str, pa.DataType]:
        """The types of the first file's columns."""
        return {} if self._first is None else self._first[1]


def open_parquet(
    file: IO[bytes], source: str, columns: FileColumns
) -> tuple[pq.ParquetFile, list[pq.RowGroupMetaData]]:
    """Open a Parquet file, check its columns, and return it with the metadata of its row groups.

    Raises
    ------
    DataError, ShardError
        As `FileColumns.check` does.
    """
    parquet = parquet_file(file)
    columns.check(source, parquet.schema_arrow)
    metadata = parquet.metadata
    return parquet, [metadata.row_group(at) for at in range(metadata.num_row_groups)]


class LabelColumn:
    """The column of labels of several files, of which text is read as in one file in memory.

    Parameters
    ----------
    store : FileStore
    name : str
    """

    def __init__(self, store: FileStore, name: str) -> None:
        self.store, self.name = store, name

    def read(self, column: pa.ChunkedArray) -> np.ndarray:
        """Return the labels of some rows: numbers or truth values where those of all rows are."""
        values = arrow_to_frame(pa.table({"y": column}))["y"]
        present = values.dropna().unique().tolist()
        if present and label_kind(present) == AS_WRITTEN:
            return as_labels(values)
        return labels_from_text(values, self._kind)

    @cached_property
    def _kind(self) -> str:
        """`label_kind` of all rows, for which other files are read up to the first word."""
        kinds: set[str] = set()
        for source in self.store.shards():
            try:
                with self.store.open(source) as file:
                    parquet = parquet_file(file)
                    for group in range(parquet.num_row_groups):
                        labels = parquet.read_row_group(group, [self.name]).column(0)
                        present = labels.unique().drop_null().to_pylist()
                        kinds |= {label_kind(present)} if present else set()
                        if len(kinds) > 1 or AS_WRITTEN in kinds:
                            return AS_WRITTEN
            except ShardError:
                continue  # an error, or skipped, when its rows are read
        return next(iter(kinds), AS_WRITTEN)


def _index(schema: pa.Schema) -> set[str]:
    """Return the columns that pandas wrote its index into, which are no features."""
    stored = (schema.pandas_metadata or {}).get("index_columns", [])
    return {name for name in stored if isinstance(name, str)}


def is_number(type_: pa.DataType) -> bool:
    """Return whether a column holds numbers by its type."""
    kinds = pa.types
    return kinds.is_integer(type_) or kinds.is_floating(type_) or kinds.is_decimal(type_)


def _kind_of(type_: pa.DataType) -> str:
    """Return what two files must agree on: widths of numbers and packings of text may differ."""
    kinds = pa.types
    if kinds.is_null(type_):
        return "null"
    if kinds.is_dictionary(type_):
        return _kind_of(type_.value_type)
    if is_number(type_):
        return "number"
    if kinds.is_string(type_) or kinds.is_large_string(type_) or str(type_) == "string_view":
        return "text"
    if kinds.is_timestamp(type_) or kinds.is_date(type_):
        return f"date {getattr(type_, 'tz', None) is not None}"
    return str(type_)


#: Row groups that stay open in the middle: going there again means decoding all before it.
_MAX_OPEN = 8
#: Rows decoded at a time.
_BATCH = 16_384


class OpenGroup:
    """One row group, read from its beginning.

    Parameters
    ----------
    file : binary file
        Closed by `close`.
    group : int
    columns : sequence of str
    """

    def __init__(self, file: IO[bytes], group: int, columns: Sequence[str]) -> None:
        self.file = file
        self.batches = parquet_file(file, buffer_size=2**18, pre_buffer=False).iter_batches(
            _BATCH, row_groups=[group], columns=list(columns), use_threads=False
        )
        self.left: list[pa.RecordBatch] = []

    def take(self, n_rows: int) -> pa.Table:
        """Return the next rows, fewer at the end."""
        taken: list[pa.RecordBatch] = []
        missing = n_rows
        while missing > 0:
            batch = self.left.pop() if self.left else next(self.batches, None)
            if batch is None:
                break
            taken.append(batch.slice(0, missing))
            if len(batch) > missing:
                self.left.append(batch.slice(missing))
            missing -= len(taken[-1])
        return pa.Table.from_batches(taken)

    def skip(self, n_rows: int) -> None:
        """Pass over rows."""
        while n_rows > 0:
            n_rows -= self.take(min(n_rows, _BATCH)).num_rows

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class OpenGroups:
    """The row groups read last, each at the row where reading stopped."""

    def __init__(self) -> None:
        self._groups: OrderedDict[Any, OpenGroup] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        # What is open here cannot be sent to another process, which opens its own.
        return OpenGroups, ()

    def pop(self, file_range: FileRange, columns: Sequence[str]) -> OpenGroup | None:
        """Return the row group that stands at which a chunk begins, if it is open."""
        with self._lock:
            return self._groups.pop(_key(file_range, file_range.start, columns), None)

    def keep(self, file_range: FileRange, columns: Sequence[str], group: OpenGroup) -> None:
        """Keep a row group from which a chunk was just read."""
        with self._lock:
            same = self._groups.pop(_key(file_range, file_range.stop, columns), None)
            self._groups[_key(file_range, file_range.stop, columns)] = group
            oldest = self._groups.popitem(last=False)[1] if len(self._groups) > _MAX_OPEN else None
        for closed in (same, oldest):
            if closed is not None:
                closed.close()


def _key(file_range: FileRange, row: int, columns: Sequence[str]) -> tuple[Any, ...]:
    return (file_range.files[0], file_range.groups[0], row, *columns)


class ParquetReader:
    """Reads Parquet files whose columns are those of the first.

    Parameters
    ----------
    store : FileStore
    columns : sequence of str or None
        Features; None takes all columns but label and keys.
    label : str or None
    keys : sequence of str
        Columns that say which row is which, and are no features.
    drop : sequence of str
        Columns that are never read.
    category : sequence of str
        Features that are categories though they hold numbers.
    carry : bool
        Carry along all other columns, which are then key columns too.
    groups : sequence of str
        Those of `keys` that name the group of a row.
    """

    kind = "table"
    channels = None

    def __init__(
        self,
        store: FileStore,
        columns: Sequence[str] | None,
        label: str | None,
        keys: Sequence[str],
        drop: Sequence[str] = (),
        category: Sequence[str] = (),
        carry: bool = False,
        groups: Sequence[str] = (),
    ) -> None:
        self.group_columns = tuple(groups)
        self.store, self.label, self.category = store, label, list(category)
        self._own_keys = list(dict.fromkeys(keys))
        self._of_files = FileColumns(columns, label, keys, "columns", drop, category, carry)
        self._labels = LabelColumn(store, label or "")
        self._groups = OpenGroups()

    @property
    def columns(self) -> list[str]:
        """The features."""
        return self._of_files.names

    @property
    def keys(self) -> list[str]:
        """The key columns, then those that are carried along."""
        return [*self._own_keys, *self._of_files.carried]

    @property
    def identifies_rows(self) -> bool:
        """Whether key columns were named, beside those of groups."""
        return bool(set(self._own_keys).difference(self.group_columns))

    @property
    def has_labels(self) -> bool:
        """Whether a column of labels was named."""
        return self.label is not None

    @property
    def facts(self) -> dict[str, Any] | None:
        """The columns that are not carried along, because files differ in them; None without."""
        columns = list(self._of_files.not_carried)
        return {"columns_not_carried": columns} if columns else None

    def warn_of_unused(self, name: str) -> None:
        """Warn of columns that are not carried along, because files differ in them."""
        columns = list(self._of_files.not_carried)
        if columns:
            shown = ", ".join(map(repr, columns[:5]))
            warnings.warn(
                f"{name}: {len(columns)} columns that the model does not take, {shown}"
                + (", ..." if len(columns) > 5 else "")
                + ", are not in every file with the same type, and not carried along to the "
                "output; name them in keys=[...] (--key) or drop=[...] (--drop)",
                stacklevel=6,  # whoever called `load`
            )

    def lay_out(self, source: str) -> list[FileRange]:
        """Put a file's row groups together into chunks, and divide those that are too large."""
        with self.store.open(source) as file:
            _, groups = open_parquet(file, source, self._of_files)
            sizes = [(group.num_rows, group.total_byte_size) for group in groups]
        ranges: list[FileRange] = []
        together: list[int] = []
        rows = n_bytes = before = 0
        for at, (n, size) in enumerate(sizes):
            if together and (rows + n > MAX_CHUNK_ROWS or n_bytes + size > MAX_CHUNK_BYTES):
                ranges.append(FileRange((source,), tuple(together), 0, rows, before=before))
                before += rows
                together, rows, n_bytes = [], 0, 0
            if n > MAX_CHUNK_ROWS or (size > MAX_CHUNK_BYTES and n > 1):
                step = max(1, min(MAX_CHUNK_ROWS, n * MAX_CHUNK_BYTES // max(1, size)))
                ranges += [
                    FileRange((source,), (at,), first, min(first + step, n), n, before)
                    for first in range(0, n, step)
                ]
                before += n
            elif n:
                together.append(at)
                rows, n_bytes = rows + n, n_bytes + size
        if together:
            ranges.append(FileRange((source,), tuple(together), 0, rows, before=before))
        return ranges

    def read(self, file_range: FileRange, label: bool, keys: bool) -> Chunk:
        """Read the features of a chunk, and its labels and keys where asked for."""
        labels = [self.label] if label and self.label is not None else []
        names = [*self.columns, *labels, *(self.keys if keys else [])]
        table = self._table(file_range, list(dict.fromkeys(names)))
        if table.num_rows != file_range.n_rows:
            raise ShardError(
                f"{file_range.files[0]} has {table.num_rows} rows where its footer says "
                f"{file_range.n_rows}; write the file again"
            )
        y = self._labels.read(table.column(labels[0])) if labels else None
        carried = None
        if keys and self.keys:
            carried = arrow_to_frame(table.select(self.keys), exact=self.keys)
        X = arrow_to_frame(table.select(self.columns))
        for name in self.category:
            if name in X:
                X[name] = X[name].astype("category")
        groups = None
        if carried is not None and self.group_columns:
            groups = as_groups(carried[list(self.group_columns)], len(carried))
        return Chunk(0, X, y, carried, groups=groups)

    def key_types(self) -> dict[str, pa.DataType]:
        """Return the types of the key columns in the first file."""
        own = {name: self._of_files.types[name] for name in self._own_keys}
        return own | self._of_files.carried

    def stamp(self, source: str) -> dict[str, Any]:
        """Return size and time of a file."""
        return self.store.stamp(source)

    def describe(self) -> str:
        """Return how many columns a row has."""
        return f"rows of {len(self.columns)} columns"

    def _table(self, file_range: FileRange, names: list[str]) -> pa.Table:
        source = file_range.files[0]
        if not file_range.cut_of:
            with self.store.open(source) as file:
                groups = parquet_file(file).read_row_groups(list(file_range.groups), columns=names)
                return groups.replace_schema_metadata(None)
        group = self._groups.pop(file_range, names)
        with self.store.watch(source):
            if group is None:
                group = OpenGroup(self.store.fs.open(source, "rb"), file_range.groups[0], names)
                group.skip(file_range.start)
            table = group.take(file_range.n_rows)
        if file_range.stop < file_range.cut_of:
            self._groups.keep(file_range, names, group)
        else:
            group.close()
        return table.replace_schema_metadata(None)
