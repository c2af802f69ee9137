"""What the instances look like: learned from the training data, checked ever after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from isthmus.errors import DataError, SchemaError

Kind = Literal["images", "table"]


@dataclass(frozen=True)
class Schema:
    """Kind, shape, dtype, value range and column names of the instances.

    Attributes
    ----------
    kind : {"images", "table"}
        Images are `(n, h, w)` or `(n, h, w, c)` arrays; a table is `(n, m)`.
    shape : tuple of int
        Shape of one instance: `(h, w)`, `(h, w, c)` or `(m,)`.
    dtype : str
        `"uint8"` for images of 0..255, otherwise the floating or integer type seen.
    minimum, maximum : float
        Range of the values seen, in their own units.
    columns : tuple of str or None
        Column names of a table, None when it came without names.

    Examples
    --------
    >>> import numpy as np
    >>> schema = Schema.learn(np.zeros((5, 8, 8), dtype=np.uint8))
    >>> schema.kind, schema.shape, schema.n_features
    ('images', (8, 8), 64)
    """

    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    minimum: float
    maximum: float
    columns: tuple[str, ...] | None = None

    @classmethod
    def learn(cls, X: np.ndarray | pd.DataFrame) -> Schema:
        """Read the schema off training data.

        Parameters
        ----------
        X : array of shape (n, h, w), (n, h, w, c) or (n, m), or DataFrame of (n, m)

        Raises
        ------
        DataError
            When `X` is not one of these, is empty, or holds values that its kind does
            not allow (see `check_images` and `check_table`).
        """
        if isinstance(X, pd.DataFrame):
            values = check_table(X)
            columns = tuple(str(name) for name in X.columns)
            return cls("table", values.shape[1:], str(values.dtype), *_range(values), columns)
        values = np.asarray(X)
        if values.ndim in (3, 4):
            check_images(values)
            return cls("images", values.shape[1:], str(values.dtype), *_range(values))
        values = check_table(values)
        return cls("table", values.shape[1:], str(values.dtype), *_range(values))

    @property
    def n_features(self) -> int:
        """Number of values in one instance (pixels times channels, or columns)."""
        return int(np.prod(self.shape))

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

        Raises
        ------
        SchemaError
            When kind, shape or column names differ from what was learned.
        DataError
            When values are missing, infinite or out of range.
        """
        if isinstance(X, pd.DataFrame) and self.kind == "table":
            values = check_table(self._match_columns(X))
        else:
            values = np.asarray(X)
        if values.shape[1:] != self.shape or values.ndim != len(self.shape) + 1:
            raise SchemaError(
                f"got an array of shape {values.shape}, expected {self._shape_in_words()}; "
                f"{self._shape_fix(values)}"
            )
        if self.kind == "images":
            check_images(values)
            return values
        return check_table(values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values; `from_dict` is the way back."""
        plain = asdict(self)
        plain["shape"] = list(self.shape)
        plain["columns"] = None if self.columns is None else list(self.columns)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Schema:
        """Rebuild a schema from what `to_dict` gave."""
        columns = plain["columns"]
        return cls(
            kind=plain["kind"],
            shape=tuple(plain["shape"]),
            dtype=plain["dtype"],
            minimum=plain["minimum"],
            maximum=plain["maximum"],
            columns=None if columns is None else tuple(columns),
        )

    def _match_columns(self, X: pd.DataFrame) -> pd.DataFrame:
        if self.columns is None:
            return X
        got = [str(name) for name in X.columns]
        missing = [name for name in self.columns if name not in got]
        extra = [name for name in got if name not in self.columns]
        if missing or extra:
            parts = [f"missing {missing}"] * bool(missing) + [f"not known {extra}"] * bool(extra)
            raise SchemaError(
                f"the columns are not those the model was fitted on: {' and '.join(parts)}; "
                f"expected {list(self.columns)}"
            )
        return X.set_axis(got, axis=1)[list(self.columns)]

    def _shape_in_words(self) -> str:
        inner = ", ".join(str(side) for side in self.shape)
        return f"(n, {inner}) as at fit"

    def _shape_fix(self, values: np.ndarray) -> str:
        if values.shape == self.shape:
            return "for one instance pass it as a batch of one, X[None]"
        if values.ndim > 1 and int(np.prod(values.shape[1:])) == self.n_features:
            return f"the number of values fits: X.reshape({(-1, *self.shape)})"
        if self.kind == "images":
            return "resize the images to the fitted size (load(..., resize=(h, w)) does)"
        return "pass the same columns as at fit"


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
            f"expected [0, 1]; scale them with {fix}"
        )


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


def _range(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())
