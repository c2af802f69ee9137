"""Values of any type as numbers: numbers, durations and dates, also where they are text.

Each distinct value is looked at once, so that long columns of text are quick to read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

# What begins like this is tried as a date: "2024" is a number, and pandas reads "today" as one.
_DATE = re.compile(r"\s*\d{4}-\d{2}-\d{2}")
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
    codes, distinct = pd.factorize(column)
    return spread(by(np.asarray(distinct, dtype=object)), codes)


def spread(found: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `parse`'s answer from that for k distinct values and each row's code, -1 missing."""
    values = np.append(found, np.nan)[codes]
    return values, np.isnan(values) & (codes >= 0)


def as_numbers(values: np.ndarray) -> np.ndarray:
    """Read numbers, text that is a number, durations and times of day (in seconds)."""
    series = pd.Series(values, dtype=object)
    kind = pd.api.types.infer_dtype(series)
    if kind.startswith("timedelta"):
        return pd.to_timedelta(series).dt.total_seconds().to_numpy(np.float64)
    if kind == "time":
        return np.array([_seconds_of_day(value) for value in values], dtype=np.float64)
    if kind in ("date", "datetime", "datetime64", "complex"):
        return np.full(len(values), np.nan)
    numbers = pd.to_numeric(series, errors="coerce").to_numpy()
    return numbers.real.astype(np.float64)


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
    text = series.where(alike, None)
    return pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")


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
