"""Columns of a table: what each was at fit, and later values read by it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from isthmus.data.array_checks import check_no_infinity
from isthmus.data.column_types import (
    ColumnType,
    as_dates,
    as_numbers,
    as_truth,
    first_without_hash,
    parse,
    recognise,
    seconds,
)
from isthmus.data.csv_options import NO_VALUE
from isthmus.data.places import ColumnErrors, Place, calendar_note, quote, such_cells
from isthmus.errors import SchemaError

_INTEGER = re.compile(r"[+-]?[0-9]+")
# What a datetime64[ns] can hold, in seconds since 1970; other units show years 1 to 9999, here
# less a day at either end, which a time zone may need.
_NANOSECONDS = (-9_223_372_000.0, 9_223_372_000.0)
_YEARS = (-62_135_510_400.0, 253_402_214_399.0)


@dataclass(frozen=True)
class Column:
    """What a column of the training data held.

    Attributes
    ----------
    type : {"number", "boolean", "category", "date"}
    categories : tuple of str, int, float or bool
        The distinct values of a category column, sorted; empty otherwise.
    dtype : str
        As pandas calls it, for a category or date column; "" otherwise.

    Examples
    --------
    >>> kinds = pd.Series(["nut", "bolt", "nut"])
    >>> column = Column.learn(kinds, Place("kind"))
    >>> column.type, column.categories
    ('category', ('bolt', 'nut'))
    >>> column.read(pd.Series(["bolt", "rivet", None]), Place("kind")).tolist()
    [0.0, 2.0, nan]
    """

    type: ColumnType = "number"
    categories: tuple[Any, ...] = ()
    dtype: str = ""

    @classmethod
    def learn(cls, column: pd.Series, place: Place, counts: np.ndarray | None = None) -> Column:
        """Tell what a column holds and list its categories; the parameters are `recognise`'s.

        Raises
        ------
        DataError
            See `recognise`.
        """
        type_, values = recognise(column, place, counts)
        if type_ == "category":
            own = isinstance(column.dtype, pd.CategoricalDtype)
            seen = values.cat.remove_unused_categories().cat.categories
            categories = {as_plain(value) for value in seen}
            ordered = sorted(categories, key=lambda value: (isinstance(value, str), value))
            return cls("category", tuple(ordered), "category" if own else "object")
        return cls(type_, dtype=str(values.dtype) if type_ == "date" else "")

    def read(self, column: pd.Series, place: Place) -> np.ndarray:
        """Return values as numbers.

        Parameters
        ----------
        column : Series of shape (n,)
        place : Place
            What the errors call it.

        Returns
        -------
        array of shape (n,), float64
            Numbers as they are; true as 1 and false as 0; a category as its position among
            `categories`, `len(categories)` for one never seen; dates as seconds since 1970
            in UTC, taken for UTC when they name no zone. NaN where a value is missing, or is
            a text of `NO_VALUE` that is none of the categories, as in a file.

        Raises
        ------
        SchemaError
            When the column holds values of another type: the first is named, and their number.
        DataError
            When a number is infinite.
        """
        dtype = column.dtype
        if self.type == "category":
            return self._positions(column, place)
        if self.type == "date" and pd.api.types.is_datetime64_any_dtype(dtype):
            if not isinstance(dtype, pd.ArrowDtype):
                return seconds(column)
        elif self.type != "date" and not isinstance(dtype, pd.CategoricalDtype):
            real = pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype)
            if pd.api.types.is_bool_dtype(dtype) or real:
                return self._checked(column, place)
            if self.type == "number" and pd.api.types.is_timedelta64_dtype(dtype):
                return column.dt.total_seconds().to_numpy(np.float64)
        if self.type == "date" and isinstance(dtype, pd.PeriodDtype):
            return seconds(column.dt.to_timestamp())
        by = {"number": _as_numbers_or_truth, "boolean": as_truth, "date": as_dates}[self.type]
        values, bad = parse(column, by)
        if bad.any():
            bad &= ~column.isin(NO_VALUE).to_numpy(bool)
        if bad.any():
            if self.type != "boolean":
                bad = place.unread(column, bad, self.type)
            self._refuse(column, int(bad.argmax()), place, int(bad.sum()))
        check_no_infinity(values, place)
        return values

    def check_numbers(self, values: np.ndarray, place: Place) -> None:
        """Check numbers that stand for values already, as `read` gives them.

        Raises
        ------
        SchemaError
            When a number stands for no truth value or no position.
        """
        most = {"boolean": 1, "category": len(self.categories)}.get(self.type)
        if most is None:
            return
        bad = ~np.isnan(values) & ~np.isin(values, np.arange(most + 1))
        if bad.any():
            row = int(bad.argmax())
            raise SchemaError(
                f"{place} is a {self.type} and the array holds {values[row]:g} in "
                f"{place.where(row)}, expected a whole number from 0 to {most}; "
                "pass a DataFrame with the column's own values",
                request_fix="send JSON or CSV with the column's own values",
            )

    def restore_dates(self, values: np.ndarray) -> pd.Series:
        """Return seconds since 1970, shape (n,), as datetimes of the column's own dtype.

        What lies beyond the years that the dtype holds becomes the first or last of them.
        """
        low, high = _NANOSECONDS if self.dtype.startswith("datetime64[ns") else _YEARS
        whole = np.rint(np.clip(values, low, high)).astype(np.int64).astype("datetime64[s]")
        unit = np.dtype(self.dtype.split(",")[0].rstrip("]") + "]")
        dates = pd.Series(whole.astype(unit))
        zone = getattr(pd.api.types.pandas_dtype(self.dtype), "tz", None)
        return dates if zone is None else dates.dt.tz_localize("UTC").dt.tz_convert(zone)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values; `from_dict` is the way back."""
        plain: dict[str, Any] = {"type": self.type}
        if self.type == "category":
            plain["categories"] = list(self.categories)
        return plain | ({"dtype": self.dtype} if self.dtype else {})

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Column:
        """Rebuild a column from what `to_dict` gave."""
        return cls(plain["type"], tuple(plain.get("categories", ())), plain.get("dtype", ""))

    @property
    def texts(self) -> dict[str, int]:
        """Position of each category by the texts that stand for it."""
        return {text: position for text, position in self._known.items() if isinstance(text, str)}

    @cached_property
    def _known(self) -> dict[Any, int]:
        """Position of each category, under its own value and under what a file would say."""
        known: dict[Any, int] = {}
        for spelling in (lambda value: value, category_text):
            for position, value in enumerate(self.categories):
                known.setdefault(spelling(value), position)
        return known

    @cached_property
    def all_text(self) -> bool:
        """Whether it holds categories that are all text: `read` then takes any text."""
        return self.type == "category" and all(isinstance(one, str) for one in self.categories)

    def alike(self) -> list[tuple[int, bool, str, int | float]]:
        """Return which values mean a category though they are not written like it.

        Returns
        -------
        list of (position, text, type, number)
            The category's position, whether the value is text, and what it reads as: a "number",
            a "boolean" (1 and 0) or a "date" (in seconds since 1970). Text means categories that
            are no text; true is 1 among these. Other values mean text, or equal a category.

        Examples
        --------
        >>> Column("category", (2, "007")).alike()
        [(0, False, 'number', 2), (0, True, 'number', 2), (1, False, 'number', 7)]
        """
        own: dict[tuple[str, int | float], int] = {}
        for position, value in enumerate(self.categories):
            if not isinstance(value, str):
                own["number", int(value) if isinstance(value, bool) else value] = position
                if value in (0, 1):
                    own["boolean", int(value)] = position
        return [
            *((position, text, *what) for what, position in own.items() for text in (False, True)),
            *(
                (position, False, *what)
                for position, value in enumerate(self.categories)
                for what in (_meanings(value) if isinstance(value, str) else [])
                if what not in own
            ),
        ]

    @cached_property
    def _positions_by_meaning(self) -> dict[tuple[bool, str, int | float], list[int]]:
        """Positions of the categories that a value may mean, by whether it is text."""
        positions: dict[tuple[bool, str, int | float], list[int]] = {}
        for position, text, type_, number in self.alike():
            positions.setdefault((text, type_, number), []).append(position)
        return positions

    def _positions(self, column: pd.Series, place: Place) -> np.ndarray:
        try:
            codes, distinct = pd.factorize(_truths_apart(column))
        except TypeError:
            self._refuse(column, first_without_hash(column), place)
        values = [bool(one.value) if isinstance(one, _Truth) else one for one in distinct]
        positions = [self._position(value, place) for value in values]
        unseen = len(self.categories)
        if not _is_text(column.dtype) and all(at == unseen for at in positions):
            self._check_type(column, place)
        return np.append(np.array(positions, dtype=np.float64), np.nan)[codes]

    def _position(self, value: Any, place: Place) -> float:
        """Return the position of a category: as written, else the one that means the same.

        NaN for a text that stands for a missing value, unless it is a category. A program that
        reads a file guesses types from the rows at hand, so that the category "007" comes as the
        number 7, and "True" as a truth value, where no other row differs.
        """
        plain, known = as_plain(value), self._known
        if plain in known:
            return known[plain]
        text = isinstance(value, str)
        if text and value in NO_VALUE:
            return math.nan
        if text and self.all_text:
            return len(self.categories)
        alike = {
            position
            for meaning in _meanings(value)
            for position in self._positions_by_meaning.get((text, *meaning), [])
        }
        if len(alike) > 1:
            both = " and ".join(quote(self.categories[at]) for at in sorted(alike)[:2])
            raise SchemaError(
                f"{place} holds {quote(value)} ({type(value).__name__}), which both {both} were "
                "written for at fit; read the column as text (dtype=str), as it is in the file",
                request_fix="send the text that is meant, in JSON in quotes",
            )
        return alike.pop() if alike else known.get(category_text(plain), len(self.categories))

    def _check_type(self, column: pd.Series, place: Place) -> None:
        """Refuse numbers, truth values or dates where no category is written like one."""
        present = column.notna().to_numpy()
        by = as_numbers
        if pd.api.types.is_bool_dtype(column.dtype):
            by = as_truth
        elif pd.api.types.is_datetime64_any_dtype(column.dtype):
            by = as_dates
        if present.any() and np.isnan(by(np.array(self.categories, dtype=object))).all():
            self._refuse(column, int(present.argmax()), place)

    def _checked(self, column: pd.Series, place: Place) -> np.ndarray:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        if self.type == "boolean":
            bad = ~np.isnan(values) & (values != 0) & (values != 1)
            if bad.any():
                self._refuse(column, int(bad.argmax()), place, int(bad.sum()))
            return values
        check_no_infinity(values, place)
        return values

    def _refuse(self, column: pd.Series, row: int, place: Place, count: int = 1) -> NoReturn:
        if self.type == "category":
            some = ", ".join(quote(value) for value in self.categories[:3])
            expected = f"text such as {some}"
        else:
            expected = "true or false" if self.type == "boolean" else place.expected(self.type)
        value = column.iloc[row]
        text = isinstance(value, str) and self.type != "category"
        fix = place.how_to_read([value]) if text else None
        read = "" if fix is None else f"{fix}, "
        note = calendar_note(value) if self.type == "date" else ""
        missing = ""
        if text and fix is None and place.csv is not None:
            missing = f"if it is missing, {place.how_to_mark_missing(value)}; otherwise "
        raise SchemaError(
            f"{place} holds {column.dtype} values ({quote(value)}{note} in "
            f"{place.where(row)}{such_cells(count)}), expected {expected} as at fit; "
            f"{read}{missing}turn it into what it was, or fit again",
            request_fix="write numbers with a decimal point and no other mark, and dates as "
            "2024-05-17"
            if read
            else "send values as at fit, and null or an empty cell where one is missing",
        )


def _as_numbers_or_truth(values: np.ndarray) -> np.ndarray:
    """Read numbers as `as_numbers` does, and true and false as 1 and 0, text in any case too."""
    words = np.array([str(value).strip().lower() in ("true", "false") for value in values], bool)
    return np.where(words, as_truth(values), as_numbers(values))


def as_plain(value: Any) -> Any:
    """Return a category as JSON can hold it: text, a number or a truth value."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    plain = isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    return value if plain else str(value)


def category_text(value: Any) -> str:
    """Return a category as a file spells it: whole numbers without a point, true in lower case."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _meanings(value: Any) -> list[tuple[str, int | float]]:
    """Return what a value, or a text, stands for as numbers: by type, none for a word."""
    if isinstance(value, bool | np.bool_):
        return [("boolean", float(value))]
    if isinstance(value, int | float | np.number):
        return [("number", value.item() if isinstance(value, np.number) else value)]
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return [("number", int(value))]  # exact, which a float beyond 2**53 is not
    alone = np.empty(1, dtype=object)
    alone[0] = value
    try:
        readers = {"number": as_numbers, "date": as_dates}
        if str(value).strip().lower() in ("true", "false"):
            readers = {"boolean": as_truth}
        found = {name: float(read(alone)[0]) for name, read in readers.items()}
    except (TypeError, ValueError):  # neither text, number nor date
        return []
    return [(name, number) for name, number in found.items() if not math.isnan(number)]


class _Truth(Enum):
    """A truth value that equals no number: pandas takes True and 1 for one category."""

    FALSE = 0
    TRUE = 1


def _truths_apart(column: pd.Series) -> pd.Series:
    """Return a column of objects of several types with its truth values as `_Truth`."""
    if column.dtype != object or not pd.api.types.infer_dtype(column).startswith("mixed"):
        return column
    apart = [_Truth(int(one)) if isinstance(one, bool | np.bool_) else one for one in column]
    return pd.Series(apart, column.index, dtype=object)


def _is_text(dtype: Any) -> bool:
    return pd.api.types.is_string_dtype(dtype) or isinstance(dtype, pd.CategoricalDtype)


def learn_columns(frame: pd.DataFrame, names: Sequence[str]) -> tuple[Column, ...]:
    """Tell what each column of a DataFrame of shape (n, m) holds.

    Raises
    ------
    DataError
        See `recognise`.
    """
    # Taking a column out of a frame costs more than all else where there are 100,000.
    columns = [Column()] * len(names)
    errors = ColumnErrors()
    for at, plain in enumerate(holds_numbers(frame)):
        if not plain:
            with errors:
                columns[at] = Column.learn(frame.iloc[:, at], Place(names[at]))
    errors.check()
    return tuple(columns)


def holds_numbers(frame: pd.DataFrame) -> list[bool]:
    """Return which columns hold NumPy's integers or floats, which are numbers by that alone."""
    return [isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in frame.dtypes]


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
    given = (values for _, values in frame.items())
    errors = ColumnErrors()
    for at, (column, values, name) in enumerate(zip(columns, given, names, strict=True)):
        with errors:
            matrix[:, at] = column.read(values, Place(name))
    errors.check()
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
        Other columns are left out.

    Raises
    ------
    SchemaError
        When a column is missing: all such are named, and those not known.
    """
    if list(got) == list(expected):
        return frame
    there = set(got)
    missing = [name for name in expected if name not in there]
    if missing:
        known = set(expected)
        extra = [name for name in got if name not in known]
        parts = [f"missing {missing}"] + [f"not known {extra}"] * bool(extra)
        raise SchemaError(
            f"the columns are not those the model was fitted on: {' and '.join(parts)}; "
            f"expected {list(expected)}"
        )
    position = {name: at for at, name in enumerate(got)}
    return frame.iloc[:, [position[name] for name in expected]]
