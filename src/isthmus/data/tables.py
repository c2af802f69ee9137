"""Tables: a CSV or Parquet file, or a DataFrame, into features and labels."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np
import pandas as pd

from isthmus.data.checks import check_names
from isthmus.data.columns import Place, Where, check_no_infinity, recognise
from isthmus.data.dataset import Dataset
from isthmus.data.frames import read_csv_file, read_parquet_file
from isthmus.data.labels import as_labels
from isthmus.errors import DataError


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
    frame, where = read_csv_file(path)
    return dataset_from_frame(frame, label, path.name, source=path, where=where)


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
    return dataset_from_frame(read_parquet_file(path), label, path.name, source=path)


def read_table(path: Path) -> pd.DataFrame:
    """Read a `.csv`, `.tsv` or `.parquet` file as it is."""
    if path.suffix.lower() in (".parquet", ".pq"):
        return read_parquet_file(path)
    return read_csv_file(path)[0]


def dataset_from_frame(
    frame: pd.DataFrame,
    label: str | None = None,
    name: str = "data",
    *,
    source: str | Path = "the table",
    where: Where = lambda row: f"row {row + 1}, counting from 1",
) -> Dataset:
    """Take labels and features out of a DataFrame.

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
        `X` is a DataFrame of all columns but the label. Text that is all numbers, all true
        and false or all ISO dates has become that; other text stays as it is and is a
        category (see `isthmus.data.columns.recognise`). Missing values stay missing.

    Raises
    ------
    DataError
        When there are no rows or no columns, two columns share a name, the label column
        does not exist, or a feature is infinite or holds a value unlike its others: the
        error names the column, the first row and the value.

    Examples
    --------
    >>> frame = pd.DataFrame({"width": ["1.5", "2"], "hue": ["red", None], "kind": ["a", "b"]})
    >>> data = dataset_from_frame(frame, label="kind")
    >>> [column.type for column in data.schema.types], list(data.y)
    (['number', 'category'], ['a', 'b'])
    """
    names = check_names(frame, str(source))
    if len(frame) == 0:
        raise DataError(f"{source} holds no rows; expected at least one")
    y = None
    if label is not None:
        position = _position(str(label), names, source)
        y = as_labels(frame.iloc[:, position])
        frame = frame.drop(columns=frame.columns[position])
        names.pop(position)
    if frame.shape[1] == 0:
        raise DataError(f"{source} holds no columns of features; expected at least one")
    return Dataset(_typed(frame, names, source, where), y, name=name)


def _position(label: str, names: list[str], source: str | Path) -> int:
    if label in names:
        return names.index(label)
    close = difflib.get_close_matches(label, names, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    raise DataError(f"{source} has no column {label!r}; {hint}it has {shown}")


def _typed(frame: pd.DataFrame, names: list[str], source: str | Path, where: Where) -> pd.DataFrame:
    """Return the columns with dtypes that say what they hold; text stays as it is."""
    typed = {}
    for at, name in enumerate(names):
        column = frame.iloc[:, at]
        place = Place(name, str(source), where)
        type_, values = recognise(column, place)
        if type_ == "number":
            check_no_infinity(values.to_numpy(dtype=np.float64, na_value=np.nan), place)
        typed[frame.columns[at]] = column if type_ == "category" else values
    return pd.DataFrame(typed, index=frame.index)
