"""Labels in whatever form they come, as one array with one label for each instance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.errors import DataError


def as_labels(y: Any) -> np.ndarray:
    """Return labels as an array, missing ones as NaN among numbers and None otherwise.

    Parameters
    ----------
    y : array, Series, list or tuple of shape (n,) or (n, 1)
        Integers, strings, booleans or floats.

    Returns
    -------
    array of shape (n,)
        A NumPy array keeps its dtype. A Series or list of integers gives int64, or float64
        with NaN when some are missing; of strings, objects with None for missing ones.

    Raises
    ------
    DataError
        When `y` has another shape.

    Examples
    --------
    >>> as_labels(["cat", None, "dog"])
    array(['cat', None, 'dog'], dtype=object)
    >>> as_labels([1, None, 0])
    array([ 1., nan,  0.])
    """
    if isinstance(y, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return _from_series(pd.Series(y))
    # Straight to an array, a list of strings with a gap would get the string "nan".
    listed = isinstance(y, list | tuple)
    values = _from_list(y) if listed else np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(
            f"got labels of shape {values.shape}, expected (n,): one label for each instance"
        )
    return _from_series(pd.Series(values).infer_objects()) if listed else values


def distinct_names(y: np.ndarray) -> tuple[str, ...]:
    """Return the sorted distinct labels as text, missing ones left out.

    Examples
    --------
    >>> distinct_names(np.array([2.0, np.nan, 1.0]))
    ('1', '2')
    """
    distinct = list(pd.unique(pd.Series(y).dropna()))
    try:
        distinct.sort()
    except TypeError:  # numbers and text together
        distinct.sort(key=str)
    return tuple(label_text(label) for label in distinct)


def label_text(label: Any) -> str:
    """Return a label as text.

    Examples
    --------
    >>> label_text(2.0), label_text("nut")
    ('2', 'nut')
    """
    if isinstance(label, bytes):
        return label.decode("utf-8", "replace")
    # Whole numbers are floats only because some label of theirs is missing.
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def _from_list(y: list[Any] | tuple[Any, ...]) -> np.ndarray:
    try:
        return np.asarray(y, dtype=object)
    except ValueError as error:
        raise DataError("got labels of uneven length, expected one label per instance") from error


def _from_series(y: pd.Series) -> np.ndarray:
    if isinstance(y.dtype, pd.CategoricalDtype):
        y = y.astype(y.dtype.categories.dtype if not y.isna().any() else object).infer_objects()
    missing = y.isna().to_numpy()
    if pd.api.types.is_bool_dtype(y.dtype) and not missing.any():
        return y.to_numpy(dtype=bool)
    if pd.api.types.is_integer_dtype(y.dtype) and not missing.any():
        return y.to_numpy(dtype=np.int64)
    if pd.api.types.is_numeric_dtype(y.dtype) and not pd.api.types.is_bool_dtype(y.dtype):
        return y.to_numpy(dtype=np.float64, na_value=np.nan)
    values = y.to_numpy(dtype=object).copy()
    values[missing] = None
    return values
