"""A table's file as a DataFrame, before anything is made of its columns."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from isthmus.data._csv import CsvFile
from isthmus.data.columns.place import Where
from isthmus.data.tables import _to_frame, _without_nameless
from isthmus.errors import DataError


def read_table_file(path: Path) -> tuple[pd.DataFrame, Where]:
    """Read a CSV or Parquet file.

    Returns
    -------
    frame : DataFrame
        Columns with the types the file has, or that its text looks like.
    where : callable
        Puts a row number (from 0) into words, for errors.

    Raises
    ------
    DataError
        When the file is empty, damaged, or not what its name says.
    """
    if path.name.lower().endswith((".parquet", ".pq")):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(path).read()
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"cannot read {path} as Parquet: {reason}; write it again") from error
        return _to_frame(table), row_in_words
    file = CsvFile(path)

    def where(row: int) -> str:
        line = file.line(row)
        return f"row {row + 1}" if line is None else f"row {row + 1} (line {line} of the file)"

    return _to_frame(_without_nameless(file.table(), path)), where


def row_in_words(row: int) -> str:
    """Return a row number, from 0, as people count."""
    return f"row {row + 1}"
