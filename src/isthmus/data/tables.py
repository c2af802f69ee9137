"""Tables: a CSV or Parquet file, or a DataFrame, into numeric features and labels."""

from __future__ import annotations

import difflib
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data._csv import CsvFile
from isthmus.data.dataset import Dataset
from isthmus.data.labels import as_labels
from isthmus.errors import DataError

# A row (from 0) in words that a person can find it by.
Where = Callable[[int], str]


def load_csv(path: Path, label: str | None = None) -> Dataset:
    """Load a CSV file with a header line, gzipped or not.

    Empty cells and `NA`, `NaN`, `null` count as missing. A nameless first column that only
    numbers the rows, as pandas writes its index, is left out, and so is a nameless column
    that is empty.

    Parameters
    ----------
    path : Path
    label : str or None
        Column that holds the labels.

    Raises
    ------
    DataError
        See `dataset_from_frame`; also when the file is empty, ragged or not UTF-8.
    """
    file = CsvFile(path)
    table = _without_nameless(file.table(), path)

    def where(row: int) -> str:
        line = file.line(row)
        return f"row {row + 1}" if line is None else f"row {row + 1} (line {line} of the file)"

    return dataset_from_frame(_to_frame(table), label, path.name, source=path, where=where)


def load_parquet(path: Path, label: str | None = None) -> Dataset:
    """Load a Parquet file.

    Parameters
    ----------
    path : Path
    label : str or None
        Column that holds the labels.

    Raises
    ------
    DataError
        See `dataset_from_frame`; also when the file is damaged or not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"cannot read {path} as Parquet: {reason}; write it again") from error
    return dataset_from_frame(_to_frame(table), label, path.name, source=path)


def dataset_from_frame(
    frame: pd.DataFrame,
    label: str | None = None,
    name: str = "data",
    *,
    source: str | Path = "the table",
    where: Where = lambda row: f"row {row + 1}, counting from 1",
) -> Dataset:
    """Take labels and numeric features out of a DataFrame.

    Parameters
    ----------
    frame : DataFrame of shape (n, m)
    label : str or None
        Column that becomes `y`: of any dtype; missing ones stay as None or NaN.
    name : str
        Name of the data set.
    source : str or Path
        What to call the table in an error.
    where : callable
        Puts a row number (from 0) into words.

    Returns
    -------
    Dataset
        `X` is a DataFrame of all columns but the label, as plain integers and floats; true
        is 1 and false 0.

    Raises
    ------
    DataError
        When there are no rows or no columns, two columns share a name, the label column
        does not exist, or a feature holds text or misses a value: the error names the
        column, the first row and the value.

    Examples
    --------
    >>> frame = pd.DataFrame({"width": [1.5, 2.0], "kind": ["nut", "bolt"]})
    >>> data = dataset_from_frame(frame, label="kind")
    >>> list(data.X.columns), list(data.y)
    (['width'], ['nut', 'bolt'])
    """
    names = [str(column) for column in frame.columns]
    if len(set(names)) < len(names):
        twice = next(column for column, count in Counter(names).items() if count > 1)
        raise DataError(
            f"{source} has more than one column called {twice!r}; give each its own name"
        )
    if len(frame) == 0:
        raise DataError(f"{source} holds no rows; expected rows of numbers")
    y = None
    if label is not None:
        position = _position(str(label), names, source)
        y = as_labels(frame.iloc[:, position])
        frame = frame.drop(columns=frame.columns[position])
    if frame.shape[1] == 0:
        raise DataError(f"{source} holds no columns of features; expected at least one")
    X = _numeric(frame, label, source, where)
    return Dataset(X, y, name=name)


def _position(label: str, names: list[str], source: str | Path) -> int:
    if label in names:
        return names.index(label)
    close = difflib.get_close_matches(label, names, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    raise DataError(f"{source} has no column {label!r}; {hint}it has {shown}")


def _numeric(
    frame: pd.DataFrame, label: str | None, source: str | Path, where: Where
) -> pd.DataFrame:
    """Return the columns as plain numbers, or raise an error about the first that is not."""
    converted, without_numbers = {}, []
    for name in frame.columns:
        column = frame[name]
        values = _as_numbers(column, source, where)
        if values is None:
            without_numbers.append(name)
        elif values is not column:
            converted[name] = values
    if without_numbers:
        raise DataError(_no_numbers(frame, without_numbers, label, source))
    for name in frame.columns:
        _check_finite(converted.get(name, frame[name]), source, where)
    plain = {}
    for name in frame.columns:
        column = converted.get(name, frame[name])
        # NumPy turns a frame that mixes these with plain numbers into Python objects.
        if pd.api.types.is_bool_dtype(column.dtype):
            plain[name] = column.astype(np.int64)
        elif pd.api.types.is_extension_array_dtype(column.dtype):
            whole = pd.api.types.is_integer_dtype(column.dtype)
            plain[name] = column.astype(np.int64 if whole else np.float64)
        elif name in converted:
            plain[name] = column
    if not plain:
        return frame
    columns = {name: plain.get(name, frame[name]) for name in frame.columns}
    return pd.DataFrame(columns, index=frame.index)


def _as_numbers(column: pd.Series, source: str | Path, where: Where) -> pd.Series | None:
    """Return a column as numbers; None when not one of its values is a number."""
    kind = column.dtype
    if pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind):
        return column
    present = column.notna().to_numpy()
    if not present.any():
        return column.astype(np.float64)
    if kind.kind in "mM":  # a date converts to a number that nobody meant
        return None
    plain = column.astype(object).where(present, None)
    numbers = pd.to_numeric(plain, errors="coerce")
    bad = present & numbers.isna().to_numpy()
    if bad.sum() == present.sum():
        return None
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"column {str(column.name)!r} of {source} holds {_quote(column.iloc[row])} in "
            f"{where(row)}, expected a number; put a number there, leave the row out or "
            "drop the column"
        )
    return numbers


def _no_numbers(
    frame: pd.DataFrame, columns: list[Any], label: str | None, source: str | Path
) -> str:
    first = columns[0]
    value = frame[first].dropna().iloc[0]
    names = ", ".join(repr(str(column)) for column in columns[:10])
    names += f" and {len(columns) - 10} more" if len(columns) > 10 else ""
    what = "column" if len(columns) == 1 else "columns"
    message = (
        f"{what} {names} of {source} {'holds' if len(columns) == 1 else 'hold'} no numbers "
        f"({str(first)!r} begins with {_quote(value)}); "
    )
    if pd.notna(pd.to_numeric(str(value).replace(",", "."), errors="coerce")):
        return message + "write decimals with a point instead of a comma"
    if label is not None:
        return message + "drop them or turn them into numbers"
    which = "it" if len(columns) == 1 else "one of them"
    option = f"--label {shlex.quote(str(first))}"
    return message + (
        f"if {which} is the label pass label={str(first)!r} (on the command line {option}), "
        f"otherwise drop {'it' if len(columns) == 1 else 'them'}"
    )


def _check_finite(column: pd.Series, source: str | Path, where: Where) -> None:
    values = column.to_numpy()
    if values.dtype.kind in "iubc":  # complex numbers are refused with the schema
        return
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    name = repr(str(column.name))
    if np.isnan(values).all():
        raise DataError(f"column {name} of {source} is empty throughout; drop it")
    row, count = int(bad.argmax()), int(bad.sum())
    what = "a value is missing" if np.isnan(values[row]) else f"the value is {values[row]}"
    more = f" ({count} such cells in this column)" if count > 1 else ""
    raise DataError(
        f"{what} in column {name}, {where(row)}, of {source}{more}; "
        "fill it in, leave the row out or drop the column"
    )


def _quote(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _to_frame(table: Any) -> pd.DataFrame:
    """Turn an Arrow table into a DataFrame whose numbers stay numbers when some are missing."""
    import pyarrow as pa

    for position, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            column = table.column(position).cast(pa.float64())
            table = table.set_column(position, field.name, column)
    return table.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get)


def _without_nameless(table: Any, path: Path) -> Any:
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
