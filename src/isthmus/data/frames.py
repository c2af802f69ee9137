"""A table's file as a DataFrame, before anything is made of its columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from isthmus.data._csv import CsvFile
from isthmus.data.columns.place import Where
from isthmus.errors import DataError


def read_csv_file(path: Path | str, content: bytes | None = None) -> tuple[pd.DataFrame, Where]:
    """Read a CSV file with a header line, gzipped or not; or content that lies in memory.

    Returns
    -------
    frame : DataFrame
        Columns of the types that their text looks like.
    where : callable
        Puts a row number (from 0) into words, with the line of the file.

    Raises
    ------
    DataError
        When the file is empty, ragged or not UTF-8, or a column has no name.
    """
    file = CsvFile(path, content)

    def where(row: int) -> str:
        line = file.line(row)
        return f"row {row + 1}" if line is None else f"row {row + 1} (line {line} of the file)"

    return arrow_to_frame(_without_nameless(file.table(), path)), where


def read_parquet_file(path: Path) -> pd.DataFrame:
    """Read a Parquet file.

    Raises
    ------
    DataError
        When the file is damaged or not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"cannot read {path} as Parquet: {reason}; write it again") from error
    return arrow_to_frame(table)


def arrow_to_frame(table: Any) -> pd.DataFrame:
    """Turn an Arrow table into a DataFrame that keeps types where values are missing."""
    import pyarrow as pa

    for position, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            column = table.column(position).cast(pa.float64())
            table = table.set_column(position, field.name, column)
    return table.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get)


def _without_nameless(table: Any, path: Path | str) -> Any:
    keep = []
    for position, name in enumerate(table.column_names):
        if name:
            keep.append(position)
            continue
        column = table.column(position)
        if column.null_count == table.num_rows:
            continue
        if position == 0 and column.to_pylist() == list(range(table.num_rows)):
            continue
        raise DataError(f"column {position + 1} of {path} has no name; give it one in the header")
    return table.select(keep)
