"""What a table must be like to be learned from, in words that say how to mend it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from isthmus.errors import DataError


def check_table(X: np.ndarray | pd.DataFrame) -> np.ndarray:
    """Check that `X` is a table of finite numbers, and return it as an array.

    Parameters
    ----------
    X : array or DataFrame of shape (n, m)

    Returns
    -------
    array of shape (n, m)
        Of a DataFrame, float64; of an array, the array itself.

    Raises
    ------
    DataError
        Naming the first column and row at fault.
    """
    names: list[str] | None = None
    if isinstance(X, pd.DataFrame):
        names = [str(name) for name in X.columns]
        _check_columns(X, names)
        X = X.to_numpy(dtype=np.float64, na_value=np.nan)
    X = np.asarray(X)
    if X.ndim != 2:
        raise DataError(
            f"got an array of shape {X.shape}, expected (n, m) for a table, "
            "(n, h, w) or (n, h, w, c) for images"
        )
    if 0 in X.shape:
        raise DataError(
            f"got no values: an array of shape {X.shape}; expected at least one row and one column"
        )
    if X.dtype.kind not in "fiub":
        raise DataError(
            f"got values of dtype {X.dtype}, expected real numbers; use X.astype('float64')"
        )
    # The sum is finite when all values are, and needs no array as large as the data.
    with np.errstate(over="ignore", invalid="ignore"):
        finite = X.dtype.kind != "f" or np.isfinite(X.sum(dtype=np.float64))
    if not finite and (bad := ~np.isfinite(X)).any():
        row, column = np.unravel_index(int(bad.argmax()), bad.shape)
        where = f"column {column}" if names is None else f"column {names[column]!r}"
        raise DataError(
            f"got NaN or infinite values in {int(bad.sum())} of {X.size} cells, "
            f"the first in {where}, row {row}, counting from 0; drop or fill them"
        )
    return X


def _check_columns(X: pd.DataFrame, names: list[str]) -> None:
    """Check that the columns have distinct names and hold real numbers."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"more than one column is called {twice!r}; give each its own name")
    for name, kind in zip(names, X.dtypes, strict=True):
        numeric = pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind)
        if not numeric or pd.api.types.is_complex_dtype(kind):
            raise DataError(
                f"column {name!r} holds {kind} values, expected real numbers; "
                f"drop it with X.drop(columns={name!r}) or turn it into numbers"
            )
