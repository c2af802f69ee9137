"""Labels: read in any form, from text of a file too, and told from no label."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.data.containers import MAX_EXACT_INTEGER, column_of_objects
from isthmus.errors import DataError, DataWarning

# No number is longer than the largest float; Python reads no whole number of 4,300 digits.
_SHORT = r"(?!.{310})"
#: What a number looks like in a file.
NUMBER = re.compile(rf"{_SHORT}[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
#: Without leading zeros: a label such as 007 is a name.
PLAIN_NUMBER = re.compile(rf"{_SHORT}[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
TRUTHS = {"true": True, "false": False}
#: The `label_kind` of labels that are no numbers and no truth values.
AS_WRITTEN = "as written"
#: How `appearance` writes text that missing labels become, as in `numpy.array(["ok", numpy.nan])`,
#: and marks that people write for them.
LOOK_MISSING = ("nan", "<na>", "nat", "?", "-", "--", "n/a")


def as_labels(y: Any) -> np.ndarray:
    """Return labels as an array, missing ones as NaN among numbers and None otherwise.

    Parameters
    ----------
    y : array, Series, list or tuple of shape (n,) or (n, 1)
        Integers, strings, booleans or floats.

    Returns
    -------
    array of shape (n,)
        A NumPy array keeps its dtype, but for text of variable width (`StringDType`), which gives
        objects, and a masked array, whose masked labels are missing. A Series or list of integers
        gives int64, or float64 with NaN when some are missing (objects with None where one is
        beyond 2**53); of strings, objects with None for missing ones. Bytes are read as UTF-8.

    Raises
    ------
    DataError
        When `y` has another shape, or labels that are neither numbers, text nor truth values.

    Examples
    --------
    >>> as_labels(["cat", None, "dog"])
    array(['cat', None, 'dog'], dtype=object)
    >>> as_labels([1, None, 0])
    array([ 1., nan,  0.])
    """
    if isinstance(y, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return _from_series(pd.Series(y))
    # Straight to an array, a list of strings with a gap would get the string "nan".
    listed = isinstance(y, list | tuple)
    values = _from_list(y) if listed else _from_array(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(
            f"got labels of shape {values.shape}, expected (n,): one label for each instance"
        )
    return _from_series(column_of_objects(values)) if listed else values


def label_kind(labels: Collection[Any]) -> str:
    """Return what labels of a file are: "number" or "truth" where all are text that is so.

    Examples
    --------
    >>> label_kind(["1", "2.5"]), label_kind(["True", "false"]), label_kind(["007", "7"])
    ('number', 'truth', 'as written')
    """
    if not labels or not all(isinstance(label, str) for label in labels):
        return AS_WRITTEN
    if all(PLAIN_NUMBER.fullmatch(label) for label in labels):
        return "number"
    return "truth" if all(label.lower() in TRUTHS for label in labels) else AS_WRITTEN


def labels_from_text(column: pd.Series, kind: str | None = None) -> np.ndarray:
    """Return the labels in a column of a file: numbers only where all are written as such.

    Parameters
    ----------
    column : Series of shape (n,)
        Text as it is written, of which 007 stays what it is; others are taken by `as_labels`.
    kind : str, optional
        `label_kind` of all rows, where the column has some of them.

    Returns
    -------
    array of shape (n,)

    Examples
    --------
    >>> labels_from_text(pd.Series(["0", "1", None]))
    array([ 0.,  1., nan])
    >>> labels_from_text(pd.Series(["007", "7"]))
    array(['007', '7'], dtype=object)
    >>> labels_from_text(pd.Series(["9" * 5000])).dtype
    dtype('O')
    """
    distinct = column.dropna().unique().tolist()
    kind = label_kind(distinct) if kind is None else kind
    if kind == "number":
        if distinct and all(label.lstrip("+-").isdigit() for label in distinct):
            integers = {label: int(label) for label in distinct}
            return as_labels(column_of_objects([integers.get(label) for label in column]))
        return as_labels(pd.to_numeric(column).convert_dtypes())
    if kind == "truth":
        return as_labels(column.astype(object).str.lower().map(TRUTHS).astype("boolean"))
    return as_labels(column)


def read_as_binary(label: Any) -> bool | int | None:
    """Return the 0 or 1, or the True or False, that a label is or reads as; None for any other.

    Examples
    --------
    >>> [read_as_binary(label) for label in (1.0, "0", "true", False, 2, "ok")]
    [1, 0, True, False, None, None]
    """
    readings = readings_of(label_text(label)) if isinstance(label, str | bytes) else [label]
    for one in readings:
        if isinstance(one, bool | np.bool_):
            return bool(one)
        if isinstance(one, int | float | np.number) and one in (0, 1):
            return int(one)
    return None


def label_text(label: Any) -> str:
    """Return a label as text.

    Examples
    --------
    >>> label_text(2.0), label_text("nut")
    ('2', 'nut')
    """
    if isinstance(label, bytes):
        return label.decode("utf-8", "backslashreplace")
    # Whole numbers are floats only because some label of theirs is missing.
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def appearance(label: Any, *, letters_apart: bool = True) -> str:
    """Return a label or category without case and spaces: what a reader sees of it.

    With `letters_apart`, as for labels, "A" and "a" are two, as single letters often are.

    Examples
    --------
    >>> appearance(" OK"), appearance("ok"), appearance("A "), appearance("A ", letters_apart=False)
    ('ok', 'ok', 'A', 'a')
    """
    text = " ".join(label_text(label).split())
    return text if letters_apart and len(text) < 2 else text.casefold()


def alike_texts(texts: Sequence[Any]) -> list[Any]:
    """Return those of some distinct texts that differ from another in case or spaces alone.

    Parameters
    ----------
    texts : sequence
        What is no text is left out.

    Returns
    -------
    list

    Examples
    --------
    >>> alike_texts(["yes", "no", "Yes ", 1])
    ['yes', 'Yes ']
    """
    words = [one for one in texts if isinstance(one, str | bytes)]
    counts = Counter(map(appearance, words))
    return [one for one in words if counts[appearance(one)] > 1]


@dataclass(frozen=True)
class LabelPolicy:
    """What counts as no label.

    None, NaN, NaT, `pandas.NA` and empty text (nothing, or white space alone) always do, and so
    does one number, the mark. Text is never the mark, and neither are True and False.

    Parameters
    ----------
    mark : int, optional
        Without one no number means "no label".
    beside : int, optional
        Where all labels are the mark or this number, these are two classes.

    Examples
    --------
    >>> CLASSES.has_label(np.array([0, 2, -1])).tolist()
    [True, True, False]
    >>> CLASSES.has_label(np.array([1, 1, -1])).tolist()
    [True, True, True]
    >>> DETECTION.has_label(np.array([1, 0, None, " "], dtype=object)).tolist()
    [True, False, False, False]
    """

    mark: int | None = None
    beside: int | None = None

    def has_label(self, y: Any, classes: np.ndarray | None = None) -> np.ndarray:
        """Return which instances are labelled, boolean of shape (n,).

        Parameters
        ----------
        y : array of shape (n,)
        classes : array, optional
            Those of a head: the mark is a label where it is one of them, and only there.
        """
        y = y if isinstance(y, np.ndarray) else as_labels(y)
        there = ~_are_missing(y)
        if self.mark is None or (classes is not None and self.mark in classes.tolist()):
            return there
        marked = _equal(y, self.mark)
        pair = classes is None and self.beside is not None
        if pair and _equal(y[there & ~marked], self.beside).all():
            return there
        return there & ~marked

    def __str__(self) -> str:
        return "None, NaN and empty text" if self.mark is None else f"{MISSING}, and {self.mark}"


#: What is no label, whatever labels are for.
MISSING = LabelPolicy()
#: Classes. Labels 1 and -1 alone are two of them.
CLASSES = LabelPolicy(mark=-1, beside=1)
#: Classes for a head that learns from unlabelled instances too, by scikit-learn's mark.
PARTIAL_CLASSES = LabelPolicy(mark=-1)
#: Normal (1) or abnormal (-1); 0 where unlabelled.
DETECTION = LabelPolicy(mark=0)


def as_normal_value(normal: Any) -> str | int | float | bool | None:
    """Return the label that means normal as a plain value; None where it is not stated.

    Parameters
    ----------
    normal : object

    Returns
    -------
    str, int, float, bool or None

    Raises
    ------
    DataError
        When it is several values, or no label.

    Examples
    --------
    >>> as_normal_value(np.int64(0)), as_normal_value("ok"), as_normal_value(None)
    (0, 'ok', None)
    """
    if normal is None:
        return None
    plain = normal.item() if isinstance(normal, np.generic) else normal
    if isinstance(plain, bytes):
        plain = label_text(plain)
    if not isinstance(plain, str | bool | int | float) or is_missing(plain):
        raise DataError(
            f"got normal={shown(normal)}, expected the one label that means normal, as a number or "
            "text, such as normal=0 (on the command line --normal 0)"
        )
    return plain


def warn_of_order(X: Any, y: Any, called: str = "y") -> None:
    """Warn where labels or groups have the index of X in another order: they count by position.

    Parameters
    ----------
    X, y : DataFrame and Series, or others, of which nothing is warned
    called : str, default="y"
        What the second is called.

    Warns
    -----
    DataWarning

    Examples
    --------
    >>> X, y = pd.DataFrame({"width": [1, 2]}), pd.Series(["a", "b"], index=[1, 0])
    >>> with warnings.catch_warnings(record=True, action="always") as issued:
    ...     warn_of_order(X, y)
    ...     warn_of_order(X, y.loc[X.index])
    >>> print(*(str(one.message).partition(",")[0] for one in issued))
    y has the index of X in another order
    """
    if not isinstance(X, pd.DataFrame) or not isinstance(y, pd.Series | pd.DataFrame):
        return
    one, other = X.index, y.index
    if len(one) != len(other) or one.equals(other) or not (one.is_unique and other.is_unique):
        return
    if other.isin(one).all():
        warnings.warn(
            f"{called} has the index of X in another order, and is taken row by row all the same; "
            f"where the index says which row is which pass {called}.loc[X.index]",
            DataWarning,
            stacklevel=4,
        )


def factorize_labels(labels: np.ndarray) -> tuple[list[Any], np.ndarray]:
    """Return the distinct labels as plain values, and for each label its place among them.

    Examples
    --------
    >>> distinct, places = factorize_labels(np.array(["b", "a", "b"], dtype=object))
    >>> distinct, places.tolist()
    (['b', 'a'], [0, 1, 0])
    """
    if labels.dtype.kind != "O":
        distinct, places = np.unique(labels, return_inverse=True)
        return distinct.tolist(), places
    try:
        places, distinct = pd.factorize(labels)
    except TypeError as error:
        kinds = sorted({type(label).__name__ for label in labels})
        raise DataError(
            f"got labels of the types {', '.join(kinds)}, expected numbers, text, or True and False"
        ) from error
    return [one.item() if isinstance(one, np.generic) else one for one in distinct], places


def is_missing(label: Any) -> bool:
    """Return whether a value is no label whatever labels are for, see `MISSING`."""
    if isinstance(label, str | bytes):
        return not label.strip()
    return bool(pd.isna(label))


def _are_missing(y: np.ndarray) -> np.ndarray:
    if y.dtype.kind in "US":
        return np.char.strip(y) == y.dtype.type()
    missing = np.asarray(pd.isna(y))
    if y.dtype.kind == "O":
        missing |= np.array([isinstance(one, str | bytes) and not one.strip() for one in y], bool)
    return missing


def _equal(y: np.ndarray, number: int | None) -> np.ndarray:
    """Return where labels are a number; True and False are none."""
    if y.dtype.kind in "iuf":
        return y == number
    if y.dtype.kind != "O":
        return np.zeros(len(y), dtype=bool)
    numbers = [isinstance(one, int | float | np.number) and type(one) is not bool for one in y]
    return np.array([is_ and one == number for is_, one in zip(numbers, y, strict=True)], bool)


def readings_of(text: str) -> list[bool | int | float]:
    """Return what text reads as: a number, or True or False, or nothing.

    Examples
    --------
    >>> readings_of("01"), readings_of("TRUE"), readings_of("worn")
    ([1], [True], [])
    """
    if NUMBER.fullmatch(text):
        return [int(text) if text.lstrip("+-").isdigit() else float(text)]
    return [TRUTHS[text.lower()]] if text.lower() in TRUTHS else []


def _from_list(y: list[Any] | tuple[Any, ...]) -> np.ndarray:
    try:
        return np.asarray(y, dtype=object)
    except ValueError as error:
        raise DataError("got labels of uneven length, expected one label per instance") from error


def _from_array(y: Any) -> np.ndarray:
    """Return an array in which text is text and masked labels are missing."""
    if isinstance(y, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(y)
        values = _from_array(y.data)
        if not masked.any():
            return values
        values = values.astype(np.float64 if values.dtype.kind in "iuf" else object)
        values[masked] = np.nan if values.dtype.kind == "f" else None
        return values
    values = np.asarray(y)
    if values.dtype.kind in "cV":
        kind = " (Complex data not supported)" if values.dtype.kind == "c" else ""
        raise DataError(
            f"got labels of dtype {values.dtype}{kind}, expected numbers, text, or True and False"
        )
    if values.dtype.kind == "T":
        values = values.astype(object)
        values[np.asarray(pd.isna(values))] = None
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "backslashreplace")
    return _decoded(values) if values.dtype.kind == "O" else values


def _decoded(values: np.ndarray) -> np.ndarray:
    """Return an array of objects with bytes as text."""
    if not any(isinstance(one, bytes) for one in values.flat):
        return values
    found = np.empty(values.size, dtype=object)
    found[:] = [label_text(one) if isinstance(one, bytes) else one for one in values.flat]
    return found.reshape(values.shape)


def _from_series(y: pd.Series) -> np.ndarray:
    if isinstance(y.dtype, pd.CategoricalDtype):
        y = y.astype(y.dtype.categories.dtype if not y.isna().any() else object).infer_objects()
    missing = y.isna().to_numpy()
    if pd.api.types.is_bool_dtype(y.dtype) and not missing.any():
        return y.to_numpy(dtype=bool)
    if y.dtype.kind in "iu" and not missing.any():
        return y.to_numpy(dtype=np.int64)
    inexact = y.dtype.kind in "iu" and (y.abs() > MAX_EXACT_INTEGER).any()
    if y.dtype.kind in "iufc" and not inexact:
        return y.to_numpy(dtype=np.float64, na_value=np.nan)
    values = y.to_numpy(dtype=object).copy()
    values[missing] = None
    return _decoded(values)
