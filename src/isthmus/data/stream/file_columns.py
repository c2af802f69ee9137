"""Which columns are read of Parquet files: those of the first, by name."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from isthmus.errors import DataError, ShardError


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
    """

    def __init__(
        self,
        columns: Sequence[str] | None,
        label: str | None,
        keys: Sequence[str],
        option: str = "columns",
    ) -> None:
        self.label, self.keys, self.option = label, list(keys), option
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
        for name in wanted:
            if name not in types:
                raise _no_column(source, name, types, self._first)
        twice = next((name for name, n in Counter(schema.names).items() if n > 1), None)
        if twice is not None and (self._takes_all or twice in wanted):
            raise ShardError(
                f"{source} has more than one column called {twice!r}; give each its own name"
            )
        if self._first is None:
            left_out = {self.label, *self.keys}
            if self._takes_all:
                self.names = [name for name in types if name not in left_out]
            if not self.names:
                raise DataError(f"{source} holds no columns of features; expected at least one")
            self._first = source, types
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

    @property
    def types(self) -> dict[str, pa.DataType]:
        """The types of the first file's columns."""
        return {} if self._first is None else self._first[1]


def _no_column(
    source: str,
    name: str,
    types: dict[str, pa.DataType],
    first: tuple[str, dict[str, pa.DataType]] | None,
) -> DataError:
    close = difflib.get_close_matches(name, list(types), 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    shown = ", ".join(list(types)[:20]) + (
        f" and {len(types) - 20} more" if len(types) > 20 else ""
    )
    if first is None or name not in first[1]:
        return DataError(f"{source} has no column {name!r}; {hint}it has {shown}")
    return ShardError(
        f"{source} has no column {name!r}, which {first[0]} has; it has {shown}; write it again"
    )


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
