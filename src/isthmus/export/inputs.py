"""Inputs of the graph: their declaration from a schema, and rows in the form of ONNX Runtime."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data import NO_VALUE, Schema, category_text
from isthmus.data.preprocessing import Preprocessor, more_missing_values

#: Name of the one input of images, series and tables without column names.
WHOLE_INPUT = "X"
#: What the input of groups holds, and its name unless a column has it.
GROUP = "group"
#: Training rows that are assumed of an export of an earlier isthmus.
ASSUMED_ROWS = 1000
#: Distance from a level of uint8 up to which a float in [0, 1] is one that was divided by 255.
_LEVEL_TOLERANCE = 0.01
#: Kinds of outputs; a column of such a name becomes the input `column:NAME`.
OUTPUTS = (
    "code",
    "class",
    "probabilities",
    "class_p_values",
    "class_p_values_by_class",
    "anomaly_score",
    "p_value",
    "verdict",
    "reconstruction_error",
    "residual",
    "reconstruction",
)
#: Text of a cell by the type of its column, as regular expressions; U+2212 is a minus sign.
_FORMS = {
    "number": r"(?a)nan|(?i:true|false)|[+\u2212-]?(\d+\.?\d*|\.\d+)([eE][+\u2212-]?\d+)?"
    r"|([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?",
    "boolean": r"(?i)true|false|[01](\.0)?",
    "date": r"(?a)\d{4}-\d\d-\d\d.*",
}


@dataclass(frozen=True)
class Input:
    """One input of the graph.

    Attributes
    ----------
    name : str
        `"X"`, or the column's name; `"column:NAME"` where an output is called so.
    dtype : str
        As NumPy calls it; `"str"` for text.
    shape : tuple of int
        Of one instance.
    column : str or None
        The column's name.
    type : str
        `"images"`, `"series"`, `"table"`, or what the column holds: `"number"`, `"boolean"` (1
        and 0), `"date"` (seconds since 1970 in UTC) or `"category"`; of the input of groups, the
        last one, `"group"`.
    missing : str or None
        The text that stands for a missing category; a missing number is NaN.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    column: str | None = None
    type: str = "table"
    missing: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"shape": list(self.shape)}


def inputs_of(schema: Schema) -> list[Input]:
    """Return the graph's inputs, in the order of the columns.

    Images keep their dtype, uint8 or float32; all other numbers are float64.

    Parameters
    ----------
    schema : Schema
        Of the encoder.

    Returns
    -------
    list of Input

    Examples
    --------
    >>> schema = Schema.learn(pd.DataFrame({"width": [1.5, None], "class": ["nut", "bolt"]}))
    >>> [(one.name, one.dtype, one.missing) for one in inputs_of(schema)]
    [('width', 'float64', None), ('column:class', 'str', '')]
    """
    if schema.kind != "table" or schema.columns is None:
        image = "uint8" if schema.dtype == "uint8" else "float32"
        dtype = image if schema.kind == "images" else "float64"
        return [Input(WHOLE_INPUT, dtype, schema.shape, type=schema.kind)]
    inputs: list[Input] = []
    for name, column in zip(schema.columns, schema.types, strict=True):
        free = name and name not in OUTPUTS and not name.startswith(("isthmus/", "column:"))
        # Outputs of several heads have a dot in them.
        free = free and name.rpartition(".")[2] not in OUTPUTS
        input_name = name if free else f"column:{name}"
        if column.type == "category":
            missing = _missing_text([category_text(value) for value in column.categories])
            inputs.append(Input(input_name, "str", (), name, column.type, missing))
        else:
            inputs.append(Input(input_name, "float64", (), name, column.type))
    return inputs


def describe_cells(schema: Schema) -> dict[str, Any]:
    """Return how the cells of a table's columns are read, for programs without isthmus.

    Returns
    -------
    dict
        `number`, `boolean` and `date`, regular expressions for the text of a cell; `missing`, the
        texts that stand for a missing value, unless they are categories of their column;
        `categories` of each such column, as text; and `alike`, for those columns the cells that
        mean a category without being written like it: the category, whether the cell is text,
        what it reads as ("number", "boolean" or "date") and the number that it then is.

    Examples
    --------
    >>> schema = Schema.learn(pd.DataFrame({"width": [1.5, None], "kind": ["nut", "bolt"]}))
    >>> cells = describe_cells(schema)
    >>> cells["categories"], "NA" in cells["missing"]
    ({'kind': ['bolt', 'nut']}, True)
    """
    names = schema.columns or ()
    columns = {
        name: column
        for name, column in zip(names, schema.types if names else (), strict=True)
        if column.type == "category"
    }
    categories = {name: [*map(category_text, one.categories)] for name, one in columns.items()}
    alike = {
        name: [[categories[name][at], *rest] for at, *rest in one.alike()]
        for name, one in columns.items()
    }
    return _FORMS | {"missing": list(NO_VALUE), "categories": categories, "alike": alike}


def describe_readings() -> dict[str, Any]:
    """Return how the cells of a long table of series are read, as `describe_cells` does."""
    return {"number": _FORMS["number"], "missing": list(NO_VALUE)}


def feed(schema: Schema, inputs: Sequence[Input], X: Any) -> dict[str, np.ndarray]:
    """Check rows as the library does, and return them as inputs of ONNX Runtime.

    Parameters
    ----------
    schema : Schema
    inputs : sequence of Input
        As `inputs_of` gives them.
    X : array or DataFrame of n instances

    Returns
    -------
    dict of str to array of shape (n, ...)

    Raises
    ------
    DataError
        When the rows do not fit the schema.
    """
    values = schema.check(X)
    if inputs[0].column is None:
        return {WHOLE_INPUT: _as_input(values, inputs[0].dtype)}
    rows: dict[str, np.ndarray] = {}
    for at, (one, column) in enumerate(zip(inputs, schema.types, strict=True)):
        if one.missing is None:
            rows[one.name] = values[:, at].astype(np.float64)
        else:
            names = [
                *map(category_text, column.categories),
                unseen_category_text(column.categories),
                one.missing,
            ]
            places = np.where(np.isnan(values[:, at]), len(names) - 1, values[:, at])
            rows[one.name] = np.array(names, dtype=object)[places.astype(np.intp)]
    return rows


def columns_by_name(schema: Schema, X: Any) -> pd.DataFrame | None:
    """Return a table with text as column names; None where X is an array of numbers."""
    raw = X if isinstance(X, pd.DataFrame) else None
    if raw is None and np.asarray(X).dtype.kind not in "fiub":
        raw = pd.DataFrame(np.asarray(X, dtype=object), columns=list(schema.columns or ()))
    return None if raw is None else raw.set_axis([str(name) for name in raw.columns], axis=1)


def _as_input(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "uint8" and values.dtype != np.uint8:
        scaled = values.astype(np.float64) * 255
        levels = np.rint(scaled)
        if np.abs(scaled - levels).max() > _LEVEL_TOLERANCE:
            warnings.warn(
                "the pixels are floats in [0, 1], and were rounded to the 256 levels of uint8, "
                "which the exported graph takes as at fit; pass uint8 to decide exactly as the "
                "library does",
                stacklevel=4,
            )
        return levels.astype(np.uint8)
    if dtype == "float32" and values.dtype == np.uint8:
        return values.astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(values, dtype=dtype)


def _missing_text(texts: Sequence[str]) -> str:
    """Return a text that stands for a missing category: the empty one unless it is a category."""
    mark = ""
    while mark in texts:
        mark = f"<missing{mark}>"
    return mark


def unseen_category_text(categories: Sequence[Any]) -> str:
    """Return a text that is none of the categories.

    Examples
    --------
    >>> unseen_category_text(["bolt", "nut"])
    '?boltnut'
    """
    return "?" + "".join(category_text(value) for value in categories)


class MissingInputs:
    """What an `Exported` finds missing in the inputs of its graph."""

    inputs: list[Input]
    facts: dict[str, Any]
    schema: Schema
    _preprocessor: Preprocessor | None

    def missing_where_complete(
        self, rows: Mapping[str, np.ndarray], policy: str = "unusual"
    ) -> np.ndarray | None:
        """Return the values that are missing in columns that were complete at fit, or rarely not.

        Parameters
        ----------
        rows : mapping of str to array
            As `feed` returns them.
        policy : {"unusual", "error"}
            `"unusual"`: the values that raise a detector's anomaly score; `"error"`: those that a
            detector refuses, all in columns that were complete at fit.

        Returns
        -------
        boolean array of shape (n, m) or None
            None where no detector has this policy, or no value is missing so.
        """
        columns: set[int] = set()
        heads = list(self.facts["heads"].values())
        for head in heads + [one["rejecter"] for one in heads if one.get("rejecter")]:
            penalty = head.get("missing_penalty", {})
            columns |= set(penalty.get("columns", []) if head.get("missing") == policy else [])
            columns |= set(penalty.get("rare", []) if policy == "unusual" else [])
        if not columns:
            return None
        missing = self.missing(rows)
        found: np.ndarray = missing & np.isin(np.arange(missing.shape[1]), sorted(columns))
        return found if found.any() else None

    def count_missing(self, rows: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Return how many rows lack the value of each column, shape (m,); None but for tables.

        Parameters
        ----------
        rows : mapping of str to array
            As `feed` returns them.

        Returns
        -------
        int array of shape (m,) or None
        """
        return self.missing(rows).sum(axis=0) if self.schema.kind == "table" else None

    def count_empty(self, rows: Mapping[str, np.ndarray]) -> int:
        """Return how many rows of a table, as `feed` returns them, have no value at all.

        Parameters
        ----------
        rows : mapping of str to array

        Returns
        -------
        int
        """
        return int(self.missing(rows).all(axis=1).sum()) if self.schema.kind == "table" else 0

    def more_missing(self, n_missing: np.ndarray | None, n: int) -> list[dict[str, Any]]:
        """Return the columns that lack values more often than at fit.

        Parameters
        ----------
        n_missing : int array of shape (m,) or None
            As `count_missing` gives it, of `n` rows.
        n : int

        Returns
        -------
        list of dict
            See `isthmus.data.preprocessing.more_missing_values`; empty for exports of an earlier
            isthmus that hold no preprocessing.
        """
        if n_missing is None or self._preprocessor is None:
            return []
        n_fit = self.facts.get("n_fit", ASSUMED_ROWS)
        return more_missing_values(n_missing, n, self._preprocessor, n_fit)

    def missing(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return which values of a table, as `feed` returns it, are missing, boolean (n, m).

        Parameters
        ----------
        rows : mapping of str to array

        Returns
        -------
        boolean array of shape (n, m)
        """
        if self.inputs[0].column is None:
            return np.isnan(rows[self.inputs[0].name])
        given = ((rows[one.name], one.missing) for one in self.inputs)
        return np.stack([np.isnan(c) if m is None else c == m for c, m in given], axis=1)
