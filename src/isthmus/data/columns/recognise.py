"""What a column holds: told from its dtype, and from its values where that says too little."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from isthmus.data.columns.parse import as_numbers, dates_of, names_zone, seconds, spread
from isthmus.data.columns.place import Place, quote
from isthmus.errors import DataError

ColumnType = Literal["number", "boolean", "category", "date"]

_DATES = ("date", "datetime", "datetime64")


def recognise(column: pd.Series, place: Place) -> tuple[ColumnType, pd.Series]:
    """Tell what a column holds, and return it with a dtype that says so.

    A dtype decides where it can. Of text and Python objects: all numbers are numbers, all
    true or false booleans, all ISO dates dates, and other values categories. Where at
    least half of the values are numbers, or dates, the others are taken for mistakes.

    Parameters
    ----------
    column : Series of shape (n,)
    place : Place
        What the errors call it.

    Returns
    -------
    type : {"number", "boolean", "category", "date"}
    column : Series of shape (n,)
        Numbers and booleans as NumPy holds them ("boolean" when some are missing), dates as
        datetimes, categories as a pandas categorical.

    Raises
    ------
    DataError
        When a column is partly numbers or partly dates, holds complex numbers or lists,
        or writes decimals with a comma.

    Examples
    --------
    >>> recognise(pd.Series(["nut", "bolt", None]), Place("kind"))[0]
    'category'
    >>> recognise(pd.Series(["2024-05-17", "2024-05-18T06:30Z"]), Place("day"))[0]
    'date'
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "category", column
    if isinstance(dtype, pd.ArrowDtype):
        return _from_objects(column.astype(object), place)
    if pd.api.types.is_bool_dtype(dtype):
        whole = isinstance(dtype, np.dtype) or not column.isna().any()
        return "boolean", column.astype(bool) if whole else column
    if pd.api.types.is_complex_dtype(dtype):
        raise _no_use(place, str(dtype))
    if pd.api.types.is_numeric_dtype(dtype):
        return "number", column if isinstance(dtype, np.dtype) else _plain_numbers(column)
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "date", column
    if isinstance(dtype, pd.PeriodDtype):
        return "date", column.dt.to_timestamp()
    if pd.api.types.is_timedelta64_dtype(dtype):
        return "number", column.dt.total_seconds()
    return _from_objects(column, place)


def _from_objects(column: pd.Series, place: Place) -> tuple[ColumnType, pd.Series]:
    try:
        codes, distinct = pd.factorize(column)
    except TypeError as error:  # what cannot be hashed is no single value
        first = type(column.dropna().iloc[0]).__name__
        raise _no_use(place, first) from error
    values = np.asarray(distinct, dtype=object)
    if len(values) == 0:
        return "number", column.astype(np.float64)
    kind = pd.api.types.infer_dtype(values)
    if kind == "boolean":
        truth = column.astype("boolean")
        return "boolean", truth if truth.isna().any() else truth.astype(bool)
    if kind == "complex":
        raise _no_use(place, kind)
    if kind in _DATES:
        return "date", _at_rows(dates_of(values), values, codes, column.index)
    numbers, bad = spread(as_numbers(values), codes)
    if not bad.any():
        return "number", pd.Series(numbers, column.index)
    present = codes >= 0
    _check_half(column, present, bad, "a number", place)
    dates = dates_of(values)
    _, bad = spread(seconds(dates), codes)
    if not bad.any():
        return "date", _at_rows(dates, values, codes, column.index)
    _check_half(column, present, bad, "a date such as 2024-05-17", place)
    _check_commas(values, place)
    # Built from what is known by now; pandas would factorise once more.
    grouped = pd.Categorical.from_codes(codes, pd.Index(values, dtype=object))
    return "category", pd.Series(grouped, column.index)


def _at_rows(dates: pd.Series, values: np.ndarray, codes: np.ndarray, index: pd.Index) -> pd.Series:
    """Return the dates of distinct values at their rows; in UTC when one names a zone."""
    if not names_zone(values):
        dates = dates.dt.tz_localize(None)
    return pd.Series(dates.array.take(codes, allow_fill=True), index)


def _plain_numbers(column: pd.Series) -> pd.Series:
    """Return pandas' own number types as NumPy's."""
    whole = pd.api.types.is_integer_dtype(column.dtype) and not column.isna().any()
    if whole:
        return column.astype(np.int64 if column.dtype.kind == "i" else np.uint64)
    return pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan), column.index)


def _check_half(
    column: pd.Series, present: np.ndarray, bad: np.ndarray, expected: str, place: Place
) -> None:
    """Refuse a few values that are not like the others; a few that are make no type."""
    if 2 * bad.sum() > present.sum():
        return
    row = int(bad.argmax())
    one = expected.split(" such")[0]
    raise DataError(
        f"{place} holds {quote(column.iloc[row])} in {place.where(row)}, expected {expected} as "
        f"in other rows; put {one} there, or leave it empty if it is missing; "
        f"if these are categories, pass a DataFrame with X[{place.column!r}].astype('category')"
    )


def _check_commas(values: np.ndarray, place: Place) -> None:
    if not all(isinstance(value, str) and "," in value for value in values):
        return
    pointed = np.array([value.replace(",", ".") for value in values], dtype=object)
    if not np.isnan(as_numbers(pointed)).any():
        raise DataError(
            f"{place} holds no numbers ({place.column!r} begins with {quote(values[0])}); "
            "write decimals with a point instead of a comma"
        )


def _no_use(place: Place, what: str) -> DataError:
    return DataError(
        f"{place} holds {what} values, expected numbers, text, true and false, or dates; "
        f"drop it with X.drop(columns={place.column!r}) or turn it into one of these"
    )
