"""Labels: read in any form, told from no label, and matched with the classes of a head."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
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


def read_as_binary(label: Any) -> bool | int | None:
    """Return the 0 or 1, or the True or False, that a label is or reads as; None for any other.

    Examples
    --------
    >>> [read_as_binary(label) for label in (1.0, "0", "true", False, 2, "ok")]
    [1, 0, True, False, None, None]
    """
    readings = _readings(label_text(label)) if isinstance(label, str | bytes) else [label]
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


class ClassMatcher:
    """Match labels with classes that may be written in another way.

    Files change how a label is written: 0 is "0" as the name of a folder, "01" is 1 and "true" is
    True once a CSV file is read, and 3 is 3.0 where another label is missing. A label is the class
    that it equals, number with number and text with text; or that it reads as, where one of the two
    is text and the other a number, or True or False. What may be several classes is refused.

    Parameters
    ----------
    classes : array of shape (n_classes,), or list

    Examples
    --------
    >>> matcher = ClassMatcher(np.array([0, 1, 7]))
    >>> rows, labels = matcher.labelled(np.array(["7", "", "01", "8"]))
    >>> rows.tolist(), labels.tolist()
    ([0, 2, 3], [7, 1, 8])
    """

    def __init__(self, classes: np.ndarray | list[Any]) -> None:
        self._classes = classes.tolist() if isinstance(classes, np.ndarray) else list(classes)
        self._texts: dict[str, list[Any]] = {}
        self._values: dict[Any, list[Any]] = {}
        # Text by the number, or the truth, that it reads as.
        self._texts_as: dict[tuple[bool, Any], list[Any]] = {}
        for one in self._classes:
            if not isinstance(one, str | bytes):
                self._values.setdefault(one, []).append(one)
            if not isinstance(one, bool | int | float):
                self._texts.setdefault(label_text(one), []).append(one)
            if isinstance(one, str | bytes):
                for reading in _readings(label_text(one)):
                    self._texts_as.setdefault(_key(reading), []).append(one)
        # How the labels so far write each class.
        self._written: dict[Any, tuple[str | None, Any]] = {}

    def labelled(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return which instances have a label, and the labels as the head writes its classes.

        Parameters
        ----------
        y : array of shape (n,)
            What is no label says `CLASSES`; -1 is one where the head has that class.

        Returns
        -------
        rows : integer array of shape (k,)
        labels : array of shape (k,)
            See `match`.

        Raises
        ------
        DataError
            As `match` does.
        """
        y = y if isinstance(y, np.ndarray) else as_labels(y)
        classes = _typed(self._classes)
        rows = np.flatnonzero(CLASSES.has_label(y, classes))
        labels = self.match(y[rows])
        there = CLASSES.has_label(labels, classes)  # "-1" is the number now
        return rows[there], labels[there]

    def match(self, labels: np.ndarray) -> np.ndarray:
        """Return labels, none missing, as the head writes its classes: (k,).

        Labels that are no class are among them: numbers where the classes are numbers, text where
        they are text.

        Raises
        ------
        DataError
            When a label may be several classes, when two different labels read as one class, or
            when a label is no class and of another kind than the classes.
        """
        distinct, places = factorize_labels(labels)
        found = [self.class_of(label) for label in distinct]
        written = [
            self._as_class(label) if one is None else one
            for label, one in zip(distinct, found, strict=True)
        ]
        self._warn_of_alike(
            [label for label, one in zip(distinct, found, strict=True) if one is None]
        )
        strange = [label for label, one in zip(distinct, written, strict=True) if one is None]
        if strange:
            raise self._of_another_kind(strange)
        for label, one in zip(distinct, written, strict=True):
            self._check_written(label, one)
        return (_typed(written) if written else _typed(self._classes)[:0])[places]

    def class_of(self, label: Any) -> Any:
        """Return the class that a label is, or None.

        Raises
        ------
        DataError
            When it may be several.
        """
        if isinstance(label, str | bytes):
            text = label_text(label)
            found = [*self._texts.get(text, [])]
            for reading in _readings(text):
                same = self._values.get(reading, [])
                found += [one for one in same if _key(one) == _key(reading)]
        elif isinstance(label, bool | int | float):
            found = [*self._values.get(label, []), *self._texts_as.get(_key(label), [])]
        else:
            found = self._values.get(label) or self._texts.get(label_text(label), [])
        if len(found) > 1:
            raise DataError(
                f"got the label {shown(label)}, which may be each of the classes "
                f"{' and '.join(sorted(map(repr, found)))}; write labels as the classes are written"
            )
        return found[0] if found else None

    def _as_class(self, label: Any) -> Any:
        """Return a label that is no class as a class would be written; None where it cannot be."""
        texts = [one for one in self._classes if isinstance(one, str | bytes)]
        if not isinstance(label, str | bytes):
            if len(texts) < len(self._classes):
                return label
            alike = any(truth == isinstance(label, bool) for truth, _ in self._texts_as)
            return label_text(label) if alike else None
        if texts:
            return label_text(label).encode() if isinstance(texts[0], bytes) else label_text(label)
        kinds = {isinstance(one, bool) for one in self._classes}
        readings = [one for one in _readings(label_text(label)) if isinstance(one, bool) in kinds]
        return readings[0] if readings else None

    def _check_written(self, label: Any, one: Any) -> None:
        """Check that a class that is or reads as a number is written in one way."""
        text = label_text(label) if isinstance(label, str | bytes) else None
        if isinstance(label, bool) or isinstance(one, bool):
            return
        if text is not None and text == one and not _readings(text):
            return
        before, first = self._written.setdefault(one, (text, label))
        if before != text:
            raise DataError(
                f"got the labels {shown(first)} and {shown(label)}, which both read as "
                f"{shown(one)}; write each class in one way"
            )

    def _warn_of_alike(self, labels: list[Any]) -> None:
        """Warn of labels that are no class, and look like one."""
        looks = {appearance(one): one for one in self._classes}
        alike = [(one, looks[appearance(one)]) for one in labels if appearance(one) in looks]
        if alike:
            pairs = ", ".join(f"{label!r} beside {known!r}" for label, known in alike[:10])
            warnings.warn(
                "got labels that differ from a class of the head in case or spaces alone, and "
                f"count as another one: {pairs}; write them as at fit",
                DataWarning,
                stacklevel=4,
            )

    def _of_another_kind(self, labels: list[Any]) -> DataError:
        listed = ", ".join(map(shown, labels[:5])) + ", ..." * (len(labels) > 5)
        example = f", such as {shown(self._classes[0])}" if self._classes else ""
        return DataError(
            f"got labels that are {_kind(labels)}, such as {listed}, but the classes of the head "
            f"are {_kind(self._classes)}{example}; pass labels of the same kind (numbers with "
            "numbers, text with text), or leave those rows out"
        )


def are_normal(labels: list[Any], normal: Any) -> list[bool]:
    """Return which of some distinct labels is the one that means normal, see `ClassMatcher`."""
    meant = ClassMatcher(labels).class_of(normal)
    return [meant is not None and one is meant for one in labels]


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


def _readings(text: str) -> list[bool | int | float]:
    """Return what text reads as: a number, or True or False, or nothing."""
    if NUMBER.fullmatch(text):
        return [int(text) if text.lstrip("+-").isdigit() else float(text)]
    return [TRUTHS[text.lower()]] if text.lower() in TRUTHS else []


def _key(value: Any) -> tuple[bool, Any]:
    """Return what keeps True and 1 apart, which are equal to Python."""
    return isinstance(value, bool), value


def _typed(labels: list[Any]) -> np.ndarray:
    """Return an array of the labels' own type; text beside anything else stays apart from it."""
    texts = {isinstance(label, str | bytes) for label in labels}
    return np.array(labels, dtype=object if len(texts) > 1 else None)


def _kind(labels: list[Any]) -> str:
    texts = {isinstance(label, str | bytes) for label in labels}
    if texts == {True, False}:
        return "numbers and text"
    return "text" if True in texts else "numbers"


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
