"""Types of columns: numbers, booleans, categories and dates told apart, and parsed.

Also what an array has to be to be a table.

Each distinct value is looked at once, so that long columns of text are quick to read.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from datetime import date
from typing import Any, Literal

import numpy as np
import pandas as pd

from isthmus.data.csv_options import NO_VALUE
from isthmus.data.notation import NUMERIC_START, unreadable
from isthmus.data.places import (
    MAX_SHOWN,
    Place,
    calendar_note,
    describe_row,
    quote,
    such_cells,
)
from isthmus.errors import DataError

# What begins like this is tried as a date: "2024" is a number, and pandas reads "today" as one.
_DATE = re.compile(r"\s*\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?")
_ZONE = re.compile(r"([zZ]|[+-]\d{2}(:?\d{2})?)\s*$")
_EPOCH, _SECOND = np.datetime64(0, "s"), np.timedelta64(1, "s")


def parse(
    column: pd.Series, by: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Turn each value of a column into a number by a function of its distinct values.

    Parameters
    ----------
    column : Series of shape (n,)
    by : callable
        From the k distinct values, an array of objects, to float64 of shape (k,), NaN where
        a value does not stand for a number.

    Returns
    -------
    values : array of shape (n,), float64
        NaN where a value is missing or is none.
    bad : boolean array of shape (n,)
        Where a value is there and is none.
    """
    try:
        codes, distinct = pd.factorize(column)
    except TypeError:  # lists and objects have no hash
        return np.full(len(column), np.nan), np.array([not _has_hash(one) for one in column])
    return spread(by(np.asarray(distinct, dtype=object)), codes)


def _has_hash(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def first_without_hash(column: pd.Series) -> int:
    """Return the row of the first list or other object without a hash, which is no single value."""
    return next(row for row, value in enumerate(column) if not _has_hash(value))


def spread(found: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `parse`'s answer from that for k distinct values and each row's code, -1 missing."""
    values = np.append(found, np.nan)[codes]
    return values, np.isnan(values) & (codes >= 0)


def as_numbers(values: np.ndarray) -> np.ndarray:
    """Read numbers, text that is a number, durations and times of day (10:30) in seconds."""
    series = pd.Series(values, dtype=object)
    kind = pd.api.types.infer_dtype(series)
    if kind.startswith("timedelta"):
        return pd.to_timedelta(series).dt.total_seconds().to_numpy(np.float64)
    if kind == "time":
        return np.array([_seconds_of_day(value) for value in values], dtype=np.float64)
    if kind in ("date", "datetime", "datetime64", "complex"):
        return np.full(len(values), np.nan)
    numbers = pd.to_numeric(series, errors="coerce").to_numpy().real.astype(np.float64)
    for at in np.flatnonzero(np.isnan(numbers)):
        if not isinstance(values[at], str):
            continue
        if "\u2212" in values[at]:  # the minus sign that is no hyphen
            numbers[at] = pd.to_numeric(
                values[at].strip().replace("\u2212", "-", 1), errors="coerce"
            )
        elif time := _TIME.fullmatch(values[at].strip()):
            hours, minutes, rest = (float(part or 0) for part in time.groups())
            numbers[at] = 3600 * hours + 60 * minutes + rest
    return numbers


def as_dates(values: np.ndarray) -> np.ndarray:
    """Read dates and ISO 8601 text as seconds since 1970 in UTC; without a zone means UTC."""
    return seconds(dates_of(values))


def dates_of(values: np.ndarray) -> pd.Series:
    """Read dates and ISO 8601 text as datetimes in UTC, NaT where a value is none."""
    series = pd.Series(values, dtype=object)
    kind = pd.api.types.infer_dtype(series)
    if kind in ("date", "datetime", "datetime64"):
        return pd.to_datetime(series, utc=True, errors="coerce")
    alike = np.array([isinstance(v, str) and bool(_DATE.match(v)) for v in values], dtype=bool)
    given = np.array([isinstance(v, date | np.datetime64) for v in values], dtype=bool)
    if not (alike | given).any():  # pandas takes a millisecond for each column
        return pd.Series(pd.DatetimeIndex([pd.NaT] * len(values), tz="UTC"))
    # As plain text: pandas before 3 refuses that of NumPy.
    text = pd.Series([str(v) if a else None for v, a in zip(values, alike, strict=True)])
    dates = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    if given.any():
        others = pd.to_datetime(series[given], utc=True, errors="coerce")
        dates[given] = others.dt.as_unit(dates.dt.unit)
    return dates


def names_zone(values: np.ndarray) -> bool:
    """Whether one of some dates, or of some ISO 8601 texts, says which zone it is in."""
    return any(
        _ZONE.search(value.lstrip(), 10) is not None
        if isinstance(value, str)
        else getattr(value, "tzinfo", None) is not None
        for value in values
    )


def as_truth(values: np.ndarray) -> np.ndarray:
    """Read true and false, in any spelling, and 1 and 0."""
    known = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
    found = [known.get(str(value).strip().lower(), np.nan) for value in values]
    return np.array(found, dtype=np.float64)


def seconds(dates: pd.Series) -> np.ndarray:
    """Return datetimes as seconds since 1970 in UTC, float64, NaN for NaT."""
    if dates.dt.tz is not None:
        dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
    return (dates.to_numpy() - _EPOCH) / _SECOND


def _seconds_of_day(value: Any) -> float:
    return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6


ColumnType = Literal["number", "boolean", "category", "date"]

_TRUTHS = ("true", "false")
_DATES = ("date", "datetime", "datetime64")


def recognise(
    column: pd.Series, place: Place, counts: np.ndarray | None = None
) -> tuple[ColumnType, pd.Series]:
    """Tell what a column holds, and return it with a dtype that says so.

    A dtype decides where it can. Of text and Python objects: all numbers are numbers, all
    true or false booleans, all ISO dates dates, and other values categories. A text of `NO_VALUE`
    is missing among numbers, booleans and dates, and a category among other text. Where at
    least half of the values are numbers, or dates, the others are taken for mistakes.

    Parameters
    ----------
    column : Series of shape (n,)
    place : Place
        What the errors call it.
    counts : int array of shape (n,), optional
        How many rows hold each of the values, where they are the distinct ones of a column, in
        the order of their first rows. Default: each is one row.

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
        return _from_objects(column.astype(object), place, counts)
    if pd.api.types.is_bool_dtype(dtype):
        whole = isinstance(dtype, np.dtype) or not column.isna().any()
        return "boolean", column.astype(bool) if whole else column
    if pd.api.types.is_complex_dtype(dtype):
        raise _no_use(place, f"{dtype} values")
    if pd.api.types.is_numeric_dtype(dtype):
        return "number", column if isinstance(dtype, np.dtype) else _plain_numbers(column)
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "date", column
    if isinstance(dtype, pd.PeriodDtype):
        return "date", column.dt.to_timestamp()
    if pd.api.types.is_timedelta64_dtype(dtype):
        return "number", column.dt.total_seconds()
    return _from_objects(column, place, counts)


def _from_objects(
    column: pd.Series, place: Place, counts: np.ndarray | None
) -> tuple[ColumnType, pd.Series]:
    try:
        codes, distinct = pd.factorize(column)
    except TypeError as error:
        row = first_without_hash(column)
        value = column.iloc[row]
        what = f"{type(value).__name__} values ({quote(value)} in {place.where(row)})"
        raise _no_use(place, what) from error
    values = np.asarray(distinct, dtype=object)
    if len(values) == 0:
        return "number", column.astype(np.float64)
    missing = np.array([isinstance(value, str) and value in NO_VALUE for value in values])
    if missing.any() and not missing.all():
        # As in a file, unless the other values are names: then it may be one too.
        type_, there = _from_objects(column.mask(missing[codes] & (codes >= 0)), place, counts)
        if type_ != "category":
            return type_, there
    kind = pd.api.types.infer_dtype(values)
    if kind == "boolean":
        truth = column.astype("boolean")
        return "boolean", truth if truth.isna().any() else truth.astype(bool)
    if all(isinstance(value, str) and value.strip().lower() in _TRUTHS for value in values):
        truth = pd.Series(spread(as_truth(values), codes)[0], column.index).astype("boolean")
        return "boolean", truth if truth.isna().any() else truth.astype(bool)
    if kind == "complex":
        raise _no_use(place, f"{kind} values")
    if kind in _DATES:
        return "date", _at_rows(dates_of(values), values, codes, column.index)
    numbers, bad = spread(as_numbers(values), codes)
    if not bad.any():
        return "number", pd.Series(numbers, column.index)
    dates = dates_of(values)
    _, no_date = spread(seconds(dates), codes)
    if not no_date.any():
        return "date", _at_rows(dates, values, codes, column.index)
    bad = place.unread(column, bad, "number")
    no_date = place.unread(column, no_date, "date")
    counts = np.ones(len(column), np.intp) if counts is None else counts
    counts = np.where(codes >= 0, counts, 0)
    texts = _sample_of_text(values, codes, counts)
    _check_other_marks(values, codes, bad & no_date, texts, place)
    _check_half(column, counts, bad, "number", place)
    _check_half(column, counts, no_date, "date", place)
    _check_unreadable(values, codes, bad & no_date, texts, place)
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
    column: pd.Series,
    counts: np.ndarray,
    bad: np.ndarray,
    type_: Literal["number", "date"],
    place: Place,
) -> None:
    """Refuse a few values that are not like the others; a few that are make no type."""
    if 2 * counts[bad].sum() > counts.sum():
        return
    row = int(bad.argmax())
    value = column.iloc[row]
    written = unreadable([value]) if isinstance(value, str) else None
    how = "" if written is None else f" ({written[1]})"
    distinct = pd.unique(column[bad]).tolist()
    missing = [one for one in distinct if isinstance(one, str)][:MAX_SHOWN]
    raise DataError(
        f"{place} holds {quote(value)}{calendar_note(value)} in {place.where(row)}"
        f"{such_cells(int(counts[bad].sum()), distinct)}, "
        f"expected {place.expected(type_)} as in other rows; put a {type_} there{how}; "
        "if it is missing, "
        f"{place.how_to_mark_missing(*missing)}; if these are categories, "
        f"{place.how_to_take_as_names()}"
    )


def _sample_of_text(values: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> list[str]:
    """Return up to 1000 distinct texts as often as they occur; none where all are plain words."""
    if not all(isinstance(value, str) for value in values):
        return []
    if not any(NUMERIC_START.match(value) for value in values):
        return []  # most columns of text, which thousands of columns would spend seconds on
    # Each distinct value counts as often as it occurs, up to a bound.
    present = codes >= 0
    of_values = np.bincount(codes[present], counts[present], minlength=len(values))
    weights = np.ceil(1000 * of_values / of_values.sum()).astype(np.int64)
    sample = values[:1000]
    return np.repeat(sample, weights[: len(sample)]).tolist()


def _check_other_marks(
    values: np.ndarray, codes: np.ndarray, bad: np.ndarray, texts: list[str], place: Place
) -> None:
    """Refuse numbers and dates that are written in another way than Python's, or the options'.

    Rows that are `bad` are neither numbers nor dates as they are read. As categories, which they
    would become, they would be names without order or distance.
    """
    fix = place.how_to_read(texts) if texts else None
    if fix is None:
        return
    row = int(bad.argmax())
    raise DataError(
        f"{place} holds {quote(values[codes[row]])} in {place.where(row)}, "
        f"expected numbers with a decimal point, or dates such as 2024-05-17; {fix}"
        f"{_left_unread(values, codes, texts, place)}; "
        f"if these are names, {place.how_to_take_as_names()}"
    )


def _left_unread(values: np.ndarray, codes: np.ndarray, texts: list[str], place: Place) -> str:
    """Return for an error which cells are left when a column is read as the error advises."""
    left = place.left_unread(texts, values)
    if not left.any():
        return ""
    rows = np.append(left, False)[codes]
    row = int(rows.argmax())
    value = values[codes[row]]
    n = int(rows.sum())
    verb = "is" if n == 1 else "are"
    missing = place.how_to_mark_missing(value)
    return (
        f"; {n:,} of its cells {verb} not written so, the first {quote(value)} in "
        f"{place.where(row)}: correct it, or if it is missing, {missing}"
    )


def _check_unreadable(
    values: np.ndarray, codes: np.ndarray, bad: np.ndarray, texts: list[str], place: Place
) -> None:
    """Refuse what looks like numbers or dates, and what no option reads."""
    found = unreadable(texts) if texts else None
    if found is None:
        return
    row = int(bad.argmax())
    raise DataError(
        f"{place} holds {quote(values[codes[row]])} in {place.where(row)}, and seems to hold "
        f"{found[0]}, expected numbers with a decimal point, or dates such as 2024-05-17; "
        f"{found[1]}; if these are names, {place.how_to_take_as_names()}"
    )


def _no_use(place: Place, what: str) -> DataError:
    fix = f"drop it with X.drop(columns={place.column!r})"
    if place.table:
        option = f"--drop {shlex.quote(place.column)}"
        fix = f"leave it out with drop=[{place.column!r}] (on the command line {option})"
    return DataError(
        f"{place} holds {what}, expected numbers, text, true and false, or dates; "
        f"{fix} or turn it into one of these"
    )


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
            "a DataFrame for columns of text or dates",
            request_fix="send numbers",
        )
    # The sum is finite when all values are, and needs no array as large as the data.
    with np.errstate(over="ignore", invalid="ignore"):
        finite = X.dtype.kind != "f" or np.isfinite(X.sum(dtype=np.float64))
    if not finite and (bad := np.isinf(X)).any():
        row, column = np.unravel_index(int(bad.argmax()), bad.shape)
        raise DataError(
            f"got infinite values in {int(bad.sum())} of {X.size} cells, the first in column "
            f"{column}, {describe_row(int(row))}; put NaN there if they are missing, or drop them"
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
