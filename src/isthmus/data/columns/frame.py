"""A DataFrame, or an array of the same columns, as one matrix of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from isthmus.data.columns.column import Column
from isthmus.data.columns.place import Place
from isthmus.errors import SchemaError


def learn_columns(frame: pd.DataFrame, names: Sequence[str]) -> tuple[Column, ...]:
    """Tell what each column of a DataFrame of shape (n, m) holds.

    Raises
    ------
    DataError
        See `recognise`.
    """
    return tuple(Column.learn(frame.iloc[:, at], Place(name)) for at, name in enumerate(names))


def read_frame(frame: pd.DataFrame, columns: Sequence[Column], names: Sequence[str]) -> np.ndarray:
    """Return a DataFrame whose columns are in order as numbers (see `Column.read`).

    Parameters
    ----------
    frame : DataFrame of shape (n, m)
    columns : sequence of Column, of length m
    names : sequence of str, of length m
        What the errors call the columns.

    Returns
    -------
    array of shape (n, m), float64

    Raises
    ------
    SchemaError, DataError
        See `Column.read`.
    """
    if all(column.type == "number" for column in columns) and all(
        isinstance(dtype, np.dtype) and dtype.kind in "fiub" for dtype in frame.dtypes
    ):
        matrix = frame.to_numpy(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(matrix.sum()) or not np.isinf(matrix).any():
                return matrix
    matrix = np.empty(frame.shape)
    for at, (column, name) in enumerate(zip(columns, names, strict=True)):
        matrix[:, at] = column.read(frame.iloc[:, at], Place(name))
    return matrix


def read_array(X: np.ndarray, columns: Sequence[Column], names: Sequence[str]) -> np.ndarray:
    """Return an array of columns that are not all numbers as numbers.

    Parameters
    ----------
    X : array of shape (n, m)
        Objects or text hold each column's own values. Numbers are taken for what
        `read_frame` gives, and come back as they are.
    columns, names : sequences of length m

    Raises
    ------
    SchemaError, DataError
        See `Column.read` and `Column.check_numbers`.
    """
    if X.dtype.kind not in "fiub":
        return read_frame(pd.DataFrame(X), columns, names)
    matrix = X.astype(np.float64, copy=False)
    for at, (column, name) in enumerate(zip(columns, names, strict=True)):
        column.check_numbers(matrix[:, at], Place(name))
    return matrix


def match_columns(frame: pd.DataFrame, got: Sequence[str], expected: Sequence[str]) -> pd.DataFrame:
    """Return a DataFrame with its columns in the order of `expected`.

    Parameters
    ----------
    frame : DataFrame of shape (n, m)
    got : sequence of str
        Names of its columns.
    expected : sequence of str

    Raises
    ------
    SchemaError
        When a column is missing or not known: all such are named.
    """
    if list(got) == list(expected):
        return frame
    missing = [name for name in expected if name not in set(got)]
    extra = [name for name in got if name not in set(expected)]
    if missing or extra:
        parts = [f"missing {missing}"] * bool(missing) + [f"not known {extra}"] * bool(extra)
        raise SchemaError(
            f"the columns are not those the model was fitted on: {' and '.join(parts)}; "
            f"expected {list(expected)}"
        )
    position = {name: at for at, name in enumerate(got)}
    return frame.iloc[:, [position[name] for name in expected]]
