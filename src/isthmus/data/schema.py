"""The schema of instances: learned from training data, checked for all later data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from isthmus.data.columns import Column, learn_columns, match_columns, read_array, read_frame
from isthmus.errors import DataError, SchemaError


def check_images(X: np.ndarray) -> None:
    """Check that `X` holds images: uint8 of 0..255, or floats in [0, 1], none missing.

    Parameters
    ----------
    X : array of shape (n, h, w) or (n, h, w, c)

    Raises
    ------
    DataError
        Naming the first image at fault and the call that mends it.
    """
    if X.ndim not in (3, 4):
        raise DataError(f"got images of shape {X.shape}, expected (n, h, w) or (n, h, w, c)")
    if 0 in X.shape:
        raise DataError(f"got no images: an array of shape {X.shape}; expected at least one pixel")
    if X.ndim == 4 and X.shape[1] in (1, 3) and X.shape[3] > 4:
        raise DataError(
            f"got images of shape {X.shape}, which looks like channels first; "
            "expected (n, h, w, c): use X.transpose(0, 2, 3, 1)"
        )
    if X.dtype == np.uint8:
        return
    if X.dtype.kind != "f":
        raise DataError(
            f"got images of dtype {X.dtype}, expected uint8 (0..255) or float in [0, 1]; "
            f"use {_image_fix(X)}"
        )
    # One pass each, without a boolean array as large as the data when all is well.
    low, high = float(X.min()), float(X.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = ~np.isfinite(X).reshape(len(X), -1).all(axis=1)
        raise DataError(
            f"{int(bad.sum())} of {len(X)} images hold NaN or infinite pixels, "
            f"the first is image {int(bad.argmax())}, counting from 0; "
            "drop them or fill the pixels"
        )
    if low < 0 or high > 1:
        fix = "X / 255" if low >= 0 and high <= 255 else "(X - X.min()) / (X.max() - X.min())"
        raise DataError(
            f"got float images with values from {low:.4g} to {high:.4g}, "
            f"expected [0, 1]; scale them with {fix}, or say kind='series' when they are "
            "windows of time series (n, t, c)"
        )


def _image_fix(X: np.ndarray) -> str:
    if X.dtype.kind == "b":
        return "X.astype('uint8') * 255"
    if X.dtype.kind not in "iu":
        return "numbers"
    low, high = int(X.min()), int(X.max())
    # A plain cast would wrap values that a byte cannot hold.
    if low >= 0 and high <= 255:
        return "X.astype('uint8')"
    return f"X / {high}" if low >= 0 else "(X - X.min()) / (X.max() - X.min())"


def check_series(X: np.ndarray) -> None:
    """Check that `X` holds windows of series: finite numbers, at least two time steps.

    Parameters
    ----------
    X : array of shape (n, t, c)

    Raises
    ------
    DataError
        Naming the first window at fault and the call that mends it.
    """
    if X.ndim != 3:
        fix = "for one channel pass X[..., None]" if X.ndim == 2 else "one window is (t, c)"
        raise DataError(f"got series of shape {X.shape}, expected (n, t, c); {fix}")
    if 0 in X.shape or X.shape[1] < 2:
        raise DataError(
            f"got series of shape {X.shape}, expected (n, t, c) with at least two time steps"
        )
    if X.dtype.kind not in "fiu":
        raise DataError(
            f"got series of dtype {X.dtype}, expected real numbers; use X.astype('float64')"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        finite = X.dtype.kind != "f" or np.isfinite(X.sum(dtype=np.float64))
    if not finite and (bad := ~np.isfinite(X)).any():
        window, step, channel = np.unravel_index(int(bad.argmax()), bad.shape)
        raise DataError(
            f"got NaN or infinite values in {int(bad.any(axis=(1, 2)).sum())} of {len(X)} windows, "
            f"the first in window {window}, time step {step}, channel {channel}, counting "
            "from 0; drop those windows or interpolate"
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


Kind = Literal["images", "series", "table"]
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
    """

    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    minimum: float
    maximum: float
    columns: tuple[str, ...] | None = None
    column_types: tuple[Column, ...] | None = None

    @classmethod
    def learn(cls, X: np.ndarray | pd.DataFrame, kind: str = "auto") -> Schema:
        """Read the schema off training data.

        Parameters
        ----------
        X : array of shape (n, h, w), (n, h, w, c), (n, t, c) or (n, m), or DataFrame of (n, m)
        kind : {"auto", "images", "series", "table"}
            `"auto"` takes three and four dimensions for images, two for a table: only the
            person knows whether `(n, a, b)` is pictures or windows.

        Raises
        ------
        DataError
            When `X` is not one of these, is empty, or holds values that its kind does
            not allow (see `check_images`, `check_series`, `check_table` and `recognise`).
        """
        if kind not in KINDS:
            raise DataError(f"got kind={kind!r}, expected one of {', '.join(KINDS)}")
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
        if isinstance(X, pd.DataFrame) and self.kind == "table":
            return self._check_frame(X)
        values = np.asarray(X)
        if values.shape[1:] != self.shape or values.ndim != len(self.shape) + 1:
            raise self._other_shape(values)
        if self.kind == "table":
            if self.column_types is not None:
                values = read_array(values, self.column_types, self.columns or ())
            return check_table(values)
        (check_images if self.kind == "images" else check_series)(values)
        return values

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values; `from_dict` is the way back."""
        types = self.column_types
        return {
            "kind": self.kind,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "columns": None if self.columns is None else list(self.columns),
            "column_types": None if types is None else [column.to_dict() for column in types],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Schema:
        """Rebuild a schema from what `to_dict` gave."""
        columns, types = plain["columns"], plain["column_types"]
        return cls(
            kind=plain["kind"],
            shape=tuple(plain["shape"]),
            dtype=plain["dtype"],
            minimum=plain["minimum"],
            maximum=plain["maximum"],
            columns=None if columns is None else tuple(columns),
            column_types=None if types is None else tuple(map(Column.from_dict, types)),
        )

    def _check_frame(self, X: pd.DataFrame) -> np.ndarray:
        names = check_names(X)
        if self.columns is not None:
            X = match_columns(X, names, self.columns)
            names = list(self.columns)
        if X.shape[1:] != self.shape:
            raise self._other_shape(X.to_numpy())
        check_table_shape(X.shape)
        return read_frame(X, self.types, names)

    def _other_shape(self, values: np.ndarray) -> SchemaError:
        inner = ", ".join(str(side) for side in self.shape)
        return SchemaError(
            f"got an array of shape {values.shape}, expected (n, {inner}) as at fit; "
            f"{self._shape_fix(values)}"
        )

    def _shape_fix(self, values: np.ndarray) -> str:
        if values.shape == self.shape:
            return "for one instance pass it as a batch of one, X[None]"
        if values.ndim > 1 and int(np.prod(values.shape[1:])) == self.n_features:
            return f"the number of values fits: X.reshape({(-1, *self.shape)})"
        if self.kind == "series":
            return "pass windows of as many time steps and channels"
        if self.kind == "images":
            return "resize the images to the fitted size (load(..., resize=(h, w)) does)"
        return "pass the same columns as at fit"


def _range(values: np.ndarray) -> tuple[float, float]:
    """Return the least and the greatest value, NaN left out; 0 and 0 when there is none."""
    if values.size == 0:
        return 0.0, 0.0
    low, high = float(values.min()), float(values.max())
    if np.isnan(low):  # only then, because it takes longer
        low, high = (float(bound.reduce(values, axis=None)) for bound in (np.fmin, np.fmax))
    return (0.0, 0.0) if np.isnan(low) else (low, high)
