"""What the instances look like: learned from the training data, checked ever after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from isthmus.data.checks import check_images, check_series, check_table
from isthmus.errors import DataError, SchemaError

Kind = Literal["images", "series", "table"]
KINDS = ("auto", "images", "series", "table")


@dataclass(frozen=True)
class Schema:
    """Kind, shape, dtype, value range and column names of the instances.

    Attributes
    ----------
    kind : {"images", "series", "table"}
        Images are `(n, h, w)` or `(n, h, w, c)` arrays; windows of series are `(n, t, c)`;
        a table is `(n, m)`.
    shape : tuple of int
        Shape of one instance: `(h, w)`, `(h, w, c)`, `(t, c)` or `(m,)`.
    dtype : str
        `"uint8"` for images of 0..255, otherwise the floating or integer type seen.
    minimum, maximum : float
        Range of the values seen, in their own units.
    columns : tuple of str or None
        Names of a table's columns or a series' channels, None when it came without names.

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
            not allow (see `check_images` and `check_table`).
        """
        if kind not in KINDS:
            raise DataError(f"got kind={kind!r}, expected one of {', '.join(KINDS)}")
        if isinstance(X, pd.DataFrame):
            if kind not in ("auto", "table"):
                raise DataError(f"got kind={kind!r} and a DataFrame, which is a table")
            values = check_table(X)
            columns = tuple(str(name) for name in X.columns)
            return cls("table", values.shape[1:], str(values.dtype), *_range(values), columns)
        values = np.asarray(X)
        if kind == "series":
            check_series(values)
            return cls("series", values.shape[1:], str(values.dtype), *_range(values))
        if kind == "images" or (kind == "auto" and values.ndim in (3, 4)):
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
        if self.kind == "table":
            return check_table(values)
        (check_images if self.kind == "images" else check_series)(values)
        return values

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


def _range(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())
