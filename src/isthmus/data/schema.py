"""The schema of instances: learned from training data, checked for all later data."""

from __future__ import annotations

import difflib
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.array_checks import SAME_CONSTANT, Kind, check_images, check_series, shape_fix
from isthmus.data.column_types import check_table, check_table_shape
from isthmus.data.columns import Column, learn_columns, match_columns, read_array, read_frame
from isthmus.data.containers import as_array_or_frame
from isthmus.data.labels import appearance
from isthmus.errors import DataError, DataWarning, SchemaError, ShardError

#: Share of the range at fit up to which a batch may have another scale, as 12 bits among 16 have.
TINY_SHARE = 1 / 16
#: Values of a category column, and the share of them that were no category at fit, for a warning.
MIN_VALUES, UNSEEN_SHARE = 10, 0.5


def check_names(X: pd.DataFrame, table: str = "") -> list[str]:
    """Return the columns' names as text, after checking that each is there once.

    Parameters
    ----------
    X : DataFrame of shape (n, m)
    table : str
        What to call it in an error.

    Returns
    -------
    list of str

    Raises
    ------
    DataError
        Naming the first that is there twice.

    Examples
    --------
    >>> check_names(pd.DataFrame({1: [0], "width": [0]}))
    ['1', 'width']
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


def check_is_there(
    wanted: str | Sequence[str],
    names: Sequence[str],
    source: str | Path,
    first: str | None = None,
) -> None:
    """Check that a table has a column, or several.

    Parameters
    ----------
    wanted : str or sequence of str
    names : sequence of str
        The columns of the table.
    source : str or Path
        What to call the table in the error.
    first : str, optional
        Of one file among several, the first of them, where that has the column.

    Raises
    ------
    DataError
        Naming all that are not there, with the columns it has, and those of similar names; with
        `first` a `ShardError`.
    """
    there = set(names)
    asked = dict.fromkeys([wanted] if isinstance(wanted, str) else wanted)
    missing = [name for name in asked if name not in there]
    if not missing:
        return
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    if first is not None:
        raise ShardError(
            f"{source} has no column {missing[0]!r}, which {first} has; it has {shown}; write it "
            "again"
        )
    close = [one for name in missing for one in difflib.get_close_matches(name, names, 1)]
    hint = f"did you mean {', '.join(map(repr, close))}? " if close else ""
    lacking = f"column{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}"
    raise DataError(f"{source} has no {lacking}; {hint}it has {shown}")


KINDS = ("auto", "images", "series", "table")


@dataclass(frozen=True)
class Schema:
    """Kind, shape, dtype, value range and columns of the instances.

    Attributes
    ----------
    kind : {"images", "series", "table"}
        Images are `(n, h, w)` or `(n, h, w, c)` arrays; windows of series are `(n, t, c)`;
        a table is `(n, m)`.
    shape : tuple of int
        Shape of one instance: `(h, w)`, `(h, w, c)`, `(t, c)` or `(m,)`.
    dtype : str
        `"uint8"` for images of 0..255, otherwise the floating or integer type seen;
        `"float64"` for a DataFrame.
    minimum, maximum : float
        Range of the values seen, in their own units; of a table with other columns beside
        numbers, the range of the numbers (0 and 0 when there are none).
    columns : tuple of str or None
        Names of a table's columns or a series' channels, None when it came without names.
    column_types : tuple of Column or None
        What each column of a table holds; None when all are numbers.
    step : float or None
        Of windows cut from a long table with times, the usual step in time: in seconds, where
        times are numbers in their unit.

    Examples
    --------
    >>> import numpy as np
    >>> schema = Schema.learn(np.zeros((5, 8, 8), dtype=np.uint8))
    >>> schema.kind, schema.shape, schema.n_features
    ('images', (8, 8), 64)
    >>> table = pd.DataFrame({"width": [1.5, None], "kind": ["nut", "bolt"]})
    >>> schema = Schema.learn(table)
    >>> schema.check(table[["kind", "width"]])
    array([[1.5, 1. ],
           [nan, 0. ]])
    >>> schema.check_shape((7, 2), frame=True)
    >>> Schema.from_dict(schema.to_dict()) == schema
    True
    >>> windows = Schema.learn(np.zeros((5, 64, 2)), "series").with_channel_names(["flow", "heat"])
    >>> windows.with_step(60).columns
    ('flow', 'heat')
    """

    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    minimum: float
    maximum: float
    columns: tuple[str, ...] | None = None
    column_types: tuple[Column, ...] | None = None
    step: float | None = None

    @classmethod
    def learn(cls, X: np.ndarray | pd.DataFrame, kind: str = "auto") -> Schema:
        """Read the schema off training data.

        Parameters
        ----------
        X : array of shape (n, h, w), (n, h, w, c), (n, t, c) or (n, m), or DataFrame of (n, m)
        kind : {"auto", "images", "series", "table"}
            `"auto"` takes three and four dimensions for images, two for a table: only the
            person knows whether `(n, a, b)` is pictures or windows.

        Returns
        -------
        Schema

        Raises
        ------
        DataError
            When `X` is not one of these, is empty, or holds values that its kind does
            not allow (see `check_images`, `check_series`, `check_table` and `recognise`).
        """
        if kind not in KINDS:
            raise DataError(f"got kind={kind!r}, expected one of {', '.join(KINDS)}")
        X = as_array_or_frame(X)
        if isinstance(X, pd.DataFrame):
            if kind not in ("auto", "table"):
                raise DataError(f"got kind={kind!r} and a DataFrame, which is a table")
            return cls._of_frame(X)
        values = np.asarray(X)
        if kind == "series":
            check_series(values)
            return cls("series", values.shape[1:], str(values.dtype), *_range(values))
        if kind == "images" or (kind == "auto" and values.ndim in (3, 4)):
            check_images(values)
            return cls("images", values.shape[1:], str(values.dtype), *_range(values))
        values = check_table(values)
        return cls("table", values.shape[1:], str(values.dtype), *_range(values))

    @classmethod
    def _of_frame(cls, X: pd.DataFrame) -> Schema:
        check_table_shape(X.shape)
        names = check_names(X)
        types = learn_columns(X, names)
        numbers = [at for at, column in enumerate(types) if column.type == "number"]
        values = read_frame(
            X.iloc[:, numbers], [types[at] for at in numbers], [names[at] for at in numbers]
        )
        return cls(
            "table",
            (len(names),),
            str(values.dtype),
            *_range(values),
            columns=tuple(names),
            column_types=types if len(numbers) < len(names) else None,
        )

    @property
    def n_features(self) -> int:
        """Number of values in one instance (pixels times channels, or columns)."""
        return int(np.prod(self.shape))

    @property
    def types(self) -> tuple[Column, ...]:
        """What each column of a table holds."""
        return self.column_types or (Column(),) * self.n_features

    def with_channel_names(self, names: Sequence[str]) -> Schema:
        """Return the schema of series with a name for each channel.

        Parameters
        ----------
        names : sequence of str

        Returns
        -------
        Schema

        Raises
        ------
        SchemaError
            When it is of no series, or there is not one name a channel.
        """
        names = tuple(map(str, names))
        if self.kind != "series":
            raise SchemaError(f"got channel_names, which are for series, and {self.kind}")
        if len(set(names)) != len(names) or len(names) != self.shape[-1]:
            raise SchemaError(
                f"got channel_names={names!r}, expected {self.shape[-1]} different ones, one for "
                "each channel"
            )
        return replace(self, columns=names)

    def with_step(self, step: float | None) -> Schema:
        """Return the schema of series with the usual step in time.

        Parameters
        ----------
        step : float or None

        Returns
        -------
        Schema
        """
        return replace(self, step=step)

    def check(self, X: np.ndarray | pd.DataFrame) -> np.ndarray:
        """Check new data against this schema and return it as an array.

        Parameters
        ----------
        X : array or DataFrame
            Instances of the same shape. Images may be uint8 of 0..255 or floats in
            [0, 1], also where the model was fitted on the other of the two. A DataFrame's
            columns are matched by name: another order is put right.

        Returns
        -------
        array of shape (n, *self.shape)
            Of a DataFrame, float64. A table is numbers alone: true is 1 and false 0, a
            category its position among the categories learned (their number for one never
            seen), a date seconds since 1970 in UTC, and what is missing NaN. Such an array
            passes the check itself.

        Raises
        ------
        SchemaError
            When kind, shape, column names or types differ from what was learned.
        DataError
            When values are infinite or out of range, or missing where the kind does not
            allow it.
        """
        X = as_array_or_frame(X)
        if isinstance(X, pd.DataFrame) and self.kind == "table":
            return self._check_frame(X)
        values = np.asarray(X)
        self.check_shape(values.shape, frame=isinstance(X, pd.DataFrame))
        if self.kind == "table":
            if self.column_types is not None:
                values = read_array(values, self.column_types, self.columns or ())
            return check_table(values)
        if self.kind == "series":
            check_series(values)
        else:
            self._check_scale(values, *check_images(values))
        return values

    def check_shape(self, shape: tuple[int, ...], *, frame: bool = False) -> None:
        """Check the shape of new data, which is a DataFrame or an array.

        Parameters
        ----------
        shape : tuple of int
        frame : bool, default=False

        Raises
        ------
        SchemaError
            When its instances are of another shape than at fit; with the call that mends it.
        """
        if shape[1:] != self.shape or len(shape) != len(self.shape) + 1:
            inner = ", ".join(str(side) for side in self.shape)
            fix = shape_fix(self.kind, shape, self.shape)
            if frame and self.kind != "table":  # has neither reshape nor such a transpose
                fix = fix.replace("X.", "X.to_numpy().").replace("X[", "X.to_numpy()[")
            raise SchemaError(
                f"got {'a DataFrame' if frame else 'an array'} of shape {shape}, expected "
                f"(n, {inner}) as at fit; {fix}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values; `from_dict` is the way back.

        Returns
        -------
        dict
        """
        types = self.column_types
        step = {} if self.step is None else {"step": self.step}
        return {
            "kind": self.kind,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "columns": None if self.columns is None else list(self.columns),
            "column_types": None if types is None else [column.to_dict() for column in types],
            **step,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Schema:
        """Rebuild a schema from what `to_dict` gave.

        Parameters
        ----------
        plain : mapping

        Returns
        -------
        Schema
        """
        columns, types = plain["columns"], plain["column_types"]
        return cls(
            kind=plain["kind"],
            shape=tuple(plain["shape"]),
            dtype=plain["dtype"],
            minimum=plain["minimum"],
            maximum=plain["maximum"],
            columns=None if columns is None else tuple(columns),
            column_types=None if types is None else tuple(map(Column.from_dict, types)),
            step=plain.get("step"),
        )

    def _check_frame(self, X: pd.DataFrame) -> np.ndarray:
        names = check_names(X)
        if self.columns is not None:
            expected = list(self.columns)
            nameless = names == list(map(str, range(len(expected))))
            X, names = match_columns(X, expected if nameless else names, expected), expected
        self.check_shape(X.shape)
        check_table_shape(X.shape)
        values = read_frame(X, self.types, names)
        for at, (column, name) in enumerate(zip(self.types, names, strict=True)):
            if column.type == "category":
                _warn_of_unseen(X.iloc[:, at], values[:, at], column, name)
        return values

    def _check_scale(self, X: np.ndarray, low: float, high: float) -> None:
        """Check pixels from `low` to `high` against the scale at fit.

        Whether images are refused depends on each by itself, never on those beside it.
        """
        unit, own = (255 if dtype == "uint8" else 1 for dtype in (str(X.dtype), self.dtype))
        # In units of the data at fit, up to rounding.
        low, high, one = low * own / unit, high * own / unit, own / 255
        if 0 < self.maximum <= one < high / 1.001:
            raise DataError(
                f"got images with pixels of up to {high:.4g}, expected {self.minimum:.4g} to "
                f"{self.maximum:.4g} as at fit, on the scale of {self.dtype}; pass them on the "
                "scale at fit, or fit again on images that use all of the range"
            )
        if X.dtype == np.uint8 and self.dtype != "uint8" and self.maximum > one:
            found = X.reshape(len(X), -1).max(axis=1) == 1
            if found.any():
                raise DataError(
                    f"got uint8 images of which {int(found.sum())} of {len(X)} hold only 0 and 1 "
                    f"of 0..255, the first is image {int(found.argmax())}, counting from 0, "
                    f"expected the scale at fit, floats from {self.minimum:.4g} to "
                    f"{self.maximum:.4g}; use X.astype('float32') where 1 is white as at fit, and "
                    "X / 255 where they are nearly black"
                )
        span = self.maximum - self.minimum
        if low < high <= low + span * TINY_SHARE:
            scale = f"divide them {SAME_CONSTANT}"
            if X.dtype == np.uint8 and high <= one:
                scale = "use X * 255 where 0 and 1 are black and white"
            warnings.warn(
                f"the pixels of {len(X)} images are {low:.4g} to {high:.4g}, those at fit "
                f"{self.minimum:.4g} to {self.maximum:.4g}: they are dark or "
                "of low contrast, or on another scale; in that "
                f"case {scale}",
                stacklevel=3,
            )


def _warn_of_unseen(given: pd.Series, positions: np.ndarray, column: Column, name: str) -> None:
    """Warn of a column whose values are mostly no categories of the fit, as if written otherwise.

    Parameters
    ----------
    given : Series of shape (n,)
    positions : float array of shape (n,)
        As `Column.read` gives them.
    """
    unseen = positions == len(column.categories)
    n_present = len(positions) - int(np.isnan(positions).sum())
    if n_present < MIN_VALUES or unseen.sum() <= UNSEEN_SHARE * n_present:
        return
    found, at_fit = given[unseen].unique().tolist(), list(column.categories)
    looks, at_fit_looks = (
        {appearance(one, letters_apart=False) for one in some} for some in (found, at_fit)
    )
    alike = looks <= at_fit_looks
    fix = "they differ in case or spaces alone, write them as at fit" if alike else ""
    listed, expected = (
        ", ".join(map(repr, some[:3])) + ", ..." * (len(some) > 3) for some in (found, at_fit)
    )
    warnings.warn(
        f"most values of the column {name!r} are categories that were not there at fit: "
        f"{listed} (at fit {expected}); {fix or 'see that they are written as at fit'}: a decision "
        "on a category never seen says little",
        DataWarning,
        stacklevel=4,
    )


def _range(values: np.ndarray) -> tuple[float, float]:
    """Return the least and the greatest value, NaN left out; 0 and 0 when there is none."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if np.isnan(low):  # only then, because it takes longer
        low, high = (float(bound.reduce(values, axis=None)) for bound in (np.fmin, np.fmax))
    return (0.0, 0.0) if np.isnan(low) else (low, high)
