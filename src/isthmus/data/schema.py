"""The schema of instances: learned from training data, checked for all later data."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from isthmus.data.column_types import check_table, check_table_shape
from isthmus.data.columns import Column, learn_columns, match_columns, read_array, read_frame
from isthmus.data.containers import as_array_or_frame
from isthmus.errors import DataError, SchemaError

#: Share of the range at fit up to which a batch may have another scale, as 12 bits among 16 have.
TINY_SHARE = 1 / 16
_SAME_CONSTANT = "by the same constant at fit and after (X / 255 for 8 bits, X / 65535 for 16)"


def check_images(X: np.ndarray) -> tuple[float, float]:
    """Check that `X` holds images: uint8 of 0..255, or floats in [0, 1], none missing.

    Parameters
    ----------
    X : array of shape (n, h, w) or (n, h, w, c)

    Returns
    -------
    low, high : float
        The least and the greatest pixel.

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
    if X.dtype != np.uint8 and X.dtype.kind != "f":
        raise DataError(
            f"got images of dtype {X.dtype}, expected uint8 (0..255) or float in [0, 1]; "
            f"use {_image_fix(X.dtype)}"
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
    if X.dtype != np.uint8 and (low < 0 or high > 1):
        fix = f"divide them {_SAME_CONSTANT}"
        if low < 0:
            fix = "scale them by two constants, the same at fit and after: (X - LOW) / (HIGH - LOW)"
        raise DataError(
            f"got float images with values from {low:.4g} to {high:.4g}, "
            f"expected [0, 1]; {fix}, or say kind='series' when they are "
            "windows of time series (n, t, c)"
        )
    return low, high


def _image_fix(dtype: np.dtype) -> str:
    """Return what makes images of a dtype; constants, never such as this batch suggests."""
    if dtype.kind == "b":
        return "X.astype('uint8') * 255"
    if dtype == np.uint16:
        return (
            "X / 65535, the same at fit and after (or another constant that the camera cannot "
            "exceed, such as 4095 for 12 bits)"
        )
    if dtype.kind not in "iu":
        return "numbers"
    return (
        "X.astype('uint8') for values of 0..255, X / 65535 for values of 16 bits, "
        "X.astype('float32') for 0 and 1, and the same at fit and after"
    )


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


def check_complete(missing: np.ndarray, names: Sequence[str] | None) -> None:
    """Check that no value (n, m) is missing where none was at fit.

    Raises
    ------
    DataError
        Naming column and row of the first.
    """
    if missing.any():
        row, at = (int(i) for i in np.unravel_index(int(missing.argmax()), missing.shape))
        name = at if names is None else repr(names[at])
        raise DataError(
            f"got {int(missing.sum()):,} values missing in columns that were complete at fit, the "
            f"first in column {name}, row {row} of its batch, counting from 0; fill them or leave "
            "the rows out, or fit the detector with missing='unusual' or missing='ignore'"
        )


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
        X = as_array_or_frame(X)
        if isinstance(X, pd.DataFrame) and self.kind == "table":
            return self._check_frame(X)
        values = np.asarray(X)
        self.check_shape(values.shape)
        if self.kind == "table":
            if self.column_types is not None:
                values = read_array(values, self.column_types, self.columns or ())
            return check_table(values)
        if self.kind == "series":
            check_series(values)
        else:
            self._check_scale(values, *check_images(values))
        return values

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Check the shape of new data.

        Raises
        ------
        SchemaError
            When its instances are of another shape than at fit; with the call that mends it.

        Examples
        --------
        >>> schema = Schema.learn(np.zeros((5, 20, 24, 3)))
        >>> try:
        ...     schema.check_shape((7, 3, 20, 24))
        ... except SchemaError as error:
        ...     print(str(error).partition("; ")[2])
        the axes are in another order: X.transpose(0, 2, 3, 1)
        """
        if shape[1:] != self.shape or len(shape) != len(self.shape) + 1:
            inner = ", ".join(str(side) for side in self.shape)
            raise SchemaError(
                f"got an array of shape {shape}, expected (n, {inner}) as at fit; "
                f"{_shape_fix(self.kind, shape, self.shape)}"
            )

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
            expected = list(self.columns)
            nameless = names == list(map(str, range(len(expected))))
            X, names = match_columns(X, expected if nameless else names, expected), expected
        self.check_shape(X.shape)
        check_table_shape(X.shape)
        return read_frame(X, self.types, names)

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
            scale = f"divide them {_SAME_CONSTANT}"
            if X.dtype == np.uint8 and high <= one:
                scale = "use X * 255 where 0 and 1 are black and white"
            warnings.warn(
                f"the pixels of {len(X)} images are {low:.4g} to {high:.4g}, those at fit "
                f"{self.minimum:.4g} to {self.maximum:.4g}: they are dark or "
                "of low contrast, or on another scale; in that "
                f"case {scale}",
                stacklevel=3,
            )


def _shape_fix(kind: Kind, shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """Return the call that turns an array into instances of the shape at fit."""
    batch = (-1, *expected)
    if shape == expected:
        return "for one instance pass it as a batch of one, X[None]"
    if kind == "table":
        fits = tuple(side for side in shape[1:] if side != 1) == expected
        return f"use X.reshape({batch})" if fits else "pass the same columns as at fit"
    colour = kind == "images" and len(expected) == 3 and expected[-1] > 1
    if len(shape) in (1, 2) and shape[-1] == int(np.prod(expected)):
        planes = (-1, expected[-1], *expected[:2])
        other = f", of channels first X.reshape({planes}).transpose(0, 2, 3, 1)" if colour else ""
        return f"the number of values fits: X.reshape({batch}){other}"
    # An axis of one may stand anywhere; all others are in the same order.
    if [side for side in shape[1:] if side != 1] == [side for side in expected if side != 1]:
        return f"the number of values fits: X.reshape({batch})"
    orders = itertools.permutations(range(len(shape)))
    if len(shape) == len(batch):
        for order in orders:  # the first is the one that moves least
            if tuple(shape[axis] for axis in order[1:]) == expected:
                return f"the axes are in another order: X.transpose{order}"
    elif len(shape) == len(expected):
        for order in orders:
            if tuple(shape[axis] for axis in order) == expected:
                return f"for one instance, with its axes in order: X.transpose{order}[None]"
    if kind == "series":
        return "pass windows of as many time steps and channels"
    return _channels_fix(shape, expected) or (
        f"resize the images to {expected[0]}x{expected[1]} (height x width) as at fit, or "
        f"load(X, resize={expected[:2]}).X does, on the command line --resize "
        f"{expected[0]}x{expected[1]}"
    )


def _channels_fix(shape: tuple[int, ...], expected: tuple[int, ...]) -> str | None:
    """Return the call that makes the channels those at fit, None where the sizes differ."""
    if shape[1:3] != expected[:2] or len(shape) not in (3, 4):
        return None
    given = shape[3] if len(shape) == 4 else 1
    if len(expected) == 2:
        first = "X[..., :3]" if given == 4 else "X"
        return (
            "these images have colour and those at fit are grey: for uint8 use "
            f"({first} @ [0.299, 0.587, 0.114]).round().astype('uint8'), for floats without the "
            "last two calls"
        )
    if given == 1:
        grey = "X[..., None]" if len(shape) == 3 else "X"
        return (
            f"these images are grey and those at fit have {expected[2]} channels: "
            f"np.repeat({grey}, {expected[2]}, axis=-1)"
        )
    if (given, expected[2]) == (4, 3):
        return "the fourth channel is transparency, which the fit had not: X[..., :3]"
    return f"pass images of {expected[2]} channels as at fit"


def _range(values: np.ndarray) -> tuple[float, float]:
    """Return the least and the greatest value, NaN left out; 0 and 0 when there is none."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if np.isnan(low):  # only then, because it takes longer
        low, high = (float(bound.reduce(values, axis=None)) for bound in (np.fmin, np.fmax))
    return (0.0, 0.0) if np.isnan(low) else (low, high)
