"""What a table must be like to be learned from, in words that say how to mend it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from isthmus.errors import DataError


def check_table(X: np.ndarray) -> np.ndarray:
    """Check that `X` is a table of real numbers, none infinite, and return it.

    Parameters
    ----------
    X : array of shape (n, m)
        NaN where a value is missing.

    Returns
    -------
    array of shape (n, m)
        The array itself.

    Raises
    ------
    DataError
        Naming the first column and row at fault.
    """
    X = np.asarray(X)
    check_table_shape(X.shape)
    if X.dtype.kind not in "fiub":
        raise DataError(
            f"got values of dtype {X.dtype}, expected real numbers; use X.astype('float64'), or "
            "a DataFrame for columns of text or dates"
        )
    # The sum is finite when all values are, and needs no array as large as the data.
    with np.errstate(over="ignore", invalid="ignore"):
        finite = X.dtype.kind != "f" or np.isfinite(X.sum(dtype=np.float64))
    if not finite and (bad := np.isinf(X)).any():
        row, column = np.unravel_index(int(bad.argmax()), bad.shape)
        raise DataError(
            f"got infinite values in {int(bad.sum())} of {X.size} cells, the first in column "
            f"{column}, row {row}, counting from 0; put NaN there if they are missing, or drop them"
        )
    return X


def check_table_shape(shape: tuple[int, ...]) -> None:
    """Check that an array or DataFrame of this shape is a table with something in it.

    Raises
    ------
    DataError
        When it has other than two dimensions, no rows or no columns.
    """
    if len(shape) != 2:
        raise DataError(
            f"got an array of shape {shape}, expected (n, m) for a table, "
            "(n, h, w) or (n, h, w, c) for images"
        )
    if 0 in shape:
        raise DataError(
            f"got no values: an array of shape {shape}; expected at least one row and one column"
        )


def check_names(X: pd.DataFrame, table: str = "") -> list[str]:
    """Return the columns' names as text, after checking that each is there once.

    Parameters
    ----------
    X : DataFrame of shape (n, m)
    table : str
        What to call it in an error.

    Raises
    ------
    DataError
        Naming the first that is there twice.
    """
    names = [str(name) for name in X.columns]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        has = f"{table} has " if table else ""
        raise DataError(
            f"{has}more than one column {'' if table else 'is '}called {twice!r}; "
            "give each its own name"
        )
    return names
