"""Class labels: checks, unlabelled instances, and the labelled codes of a classifier."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from isthmus.data import (
    CLASSES,
    LOOK_MISSING,
    MISSING,
    PARTIAL_CLASSES,
    ClassMatcher,
    alike_texts,
    appearance,
    as_labels,
    factorize_labels,
    label_text,
)
from isthmus.encoding import find_known_rows
from isthmus.errors import DataError, DataWarning

#: Instances whose codes a classifier stores, at most: more would make its bundle large.
MAX_LABELLED_CODES = 20_000


def check_labels(y: Any, n_instances: int, *, unlabelled: bool = False) -> np.ndarray:
    """Check class labels and return them as an array of shape (n,).

    Parameters
    ----------
    y : array of shape (n,)
    n_instances : int
    unlabelled : bool, default=False
        Whether instances may be unlabelled, for a head that uses them (see `PARTIAL_CLASSES`);
        the result then has None there, see `partial_labels`.

    Returns
    -------
    array of shape (n,)

    Raises
    ------
    DataError
        When labels are missing (None, NaN, empty text), infinite, marked unlabelled (-1 beside
        other classes than 1), too few or too many, or all of one class.
    """
    if y is None:
        raise DataError(
            "requires y to be passed, but the target y is None; "
            "pass one label for each instance, of the few that are labelled"
        )
    y = label_column(y)
    if len(y) != n_instances:
        raise DataError(
            f"got {n_instances} instances and {len(y)} labels; expected one label for each"
        )
    if n_instances == 0:
        raise DataError("got no labelled instances; expected at least two, of different classes")
    if unlabelled:
        y = partial_labels(y)
        known = labelled_rows(y)
        if len(known) < 2:
            raise DataError(
                f"got {len(known)} labelled among {len(y)} instances ({PARTIAL_CLASSES} mark one "
                "as unlabelled); expected at least two, of different classes"
            )
        check_labels(known_labels(y), len(known))
        return y
    missing = ~MISSING.has_label(y)
    if missing.all():
        raise DataError(
            f"none of {len(y):,} instances has a label ({MISSING}); label some of them: "
            "CodeClassifier(encoder).suggest(X) says which first (on the command line isthmus "
            "suggest)"
        )
    if missing.any():
        empty = (missing & ~np.asarray(pd.isna(y))).any()
        keep = "[bool(str(one).strip()) for one in y]" if empty else "~pandas.isna(y)"
        raise DataError(
            f"{int(missing.sum())} of {len(y)} labels are missing ({MISSING}), the first in row "
            f"{int(missing.argmax())}; fit on the labelled rows only: "
            f'keep = {keep}; fit(X[keep], y[keep]), or use them with head="spreading" (on the '
            "command line write the labelled rows to a file of their own, or pass --head spreading)"
        )
    if y.dtype == object and not any(isinstance(label, str | bytes) for label in y):
        y = np.array(y.tolist())  # numbers, that were objects because some were missing
    if y.dtype.kind == "f" and np.isinf(y).any():
        raise DataError(
            f"{int(np.isinf(y).sum())} of {len(y)} labels are infinite, the first in row "
            f"{int(np.isinf(y).argmax())}; expected whole numbers or strings"
        )
    marked = ~PARTIAL_CLASSES.has_label(y)
    if marked.all() or not CLASSES.has_label(y).all():
        raise DataError(
            f"{int(marked.sum())} of {len(y)} labels are -1, which marks an instance as "
            "unlabelled; fit on the labelled rows only: fit(X[y != -1], y[y != -1]), "
            'use them with head="spreading" (on the command line --head spreading), or give the '
            "class another number"
        )
    try:
        check_classification_targets(y)
    except (ValueError, TypeError) as error:
        kinds = sorted({type(label).__name__ for label in y.tolist()})
        raise DataError(
            f"got labels that name no classes, of the types {', '.join(kinds)} ({error}); expected "
            "whole numbers, text, or True and False, such as y = [str(label) for label in y]"
        ) from error
    classes = np.unique(y)
    if len(classes) < 2:
        raise DataError(
            f"got labels of one class ({classes.tolist()[0]!r}), expected at least two classes; "
            "to separate normal from abnormal instances fit a detector"
        )
    _warn_of_alike(classes)
    return y


def _warn_of_alike(classes: np.ndarray) -> None:
    """Warn of classes that look the same, or like a missing label."""
    listed = classes.tolist()
    alike = alike_texts(listed)
    odd = [one for one in listed if one in alike or appearance(one) in LOOK_MISSING]
    if odd:
        warnings.warn(
            f"got the classes {', '.join(map(repr, odd[:10]))}, which differ in case or spaces "
            "alone, or look like no label; write each class in one way, and leave out instances "
            "without a label",
            DataWarning,
            stacklevel=3,
        )


def class_positions(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes of labels of shape (n,), sorted, and the position of each label's, (n,).

    Raises
    ------
    ValueError
        When labels are continuous, or all of one class.

    Examples
    --------
    >>> classes, positions = class_positions(np.array(["cat", "ant", "cat"]))
    >>> classes.tolist(), positions.tolist()
    (['ant', 'cat'], [1, 0, 1])
    """
    check_classification_targets(y)
    classes, positions = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"got labels of one class ({classes.tolist()[0]!r}), expected at least two classes"
        )
    return classes, positions


def label_column(y: Any) -> np.ndarray:
    """Return labels as an array of shape (n,), numbers beside text as text.

    Missing labels of a list do not become text.

    Raises
    ------
    DataError
        When labels have another shape, are True or False beside numbers, or are numbers beside
        text and two of them become the same text.

    Examples
    --------
    >>> label_column(["cat", float("nan")])
    array(['cat', None], dtype=object)
    >>> label_column([1, "cat", 1])
    array(['1', 'cat', '1'], dtype='<U3')
    """
    extended = isinstance(getattr(y, "dtype", None), pd.api.extensions.ExtensionDtype)
    plain = isinstance(y, list | tuple | np.ndarray) or extended
    labels = as_labels(y) if plain else None
    if labels is None or (isinstance(y, np.ndarray) and y.ndim > 1):
        try:
            labels = as_labels(column_or_1d(y, warn=True))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"got labels of type {type(y).__name__} that are no column ({error}); expected an "
                "array, Series or list with one label for each instance"
            ) from error
    labels = _of_one_kind(labels)
    if isinstance(y, list | tuple) and all(isinstance(one, str) for one in labels.tolist()):
        return np.asarray(labels.tolist())  # the same labels as in an array of text
    return labels


def _of_one_kind(y: np.ndarray) -> np.ndarray:
    """Return labels with numbers as text where text stands beside them."""
    if y.dtype.kind != "O":
        return y
    labelled = CLASSES.has_label(y)  # without the mark -1, which is no text
    distinct, places = factorize_labels(y[labelled])
    kinds = {isinstance(one, str) for one in distinct}
    truths = {isinstance(one, bool | np.bool_) for one in y[labelled]}
    if kinds == {False} and truths == {True, False}:
        raise DataError(
            "got labels that are True or False beside numbers, which Python takes as equal; write "
            "all as numbers or all as text, such as y = [str(label) for label in y]"
        )
    if kinds != {True, False}:
        return y
    texts = [label_text(one) for one in distinct]
    twice = {text for text in texts if texts.count(text) > 1}
    if twice or truths == {True, False}:
        shown = ", ".join(
            repr(one)
            for one, text in zip(distinct, texts, strict=True)
            if text in twice or isinstance(one, bool)
        )
        raise DataError(
            f"got labels that are numbers and text, such as {shown}, which are the same as text or "
            "may be; write each class in one way"
        )
    found = y.copy()
    found[labelled] = np.array(texts, dtype=object)[places]
    return found


def partial_labels(y: np.ndarray) -> np.ndarray:
    """Return labels with None where an instance is unlabelled, see `PARTIAL_CLASSES`.

    Parameters
    ----------
    y : array of shape (n,)

    Returns
    -------
    array of shape (n,)
        `y` itself when all are labelled; otherwise of objects. Numbers that are floats only
        because NaN stands among them are whole ones again.

    Raises
    ------
    DataError
        When the mark has become text, as in `numpy.array(["cat", -1])`.

    Examples
    --------
    >>> partial_labels(np.array([3, -1, 5])).tolist()
    [3, None, 5]
    >>> partial_labels(np.array([3.0, np.nan, 5.0])).tolist()
    [3, None, 5]
    """
    unknown = ~PARTIAL_CLASSES.has_label(y)
    as_text = [label for label in y[~unknown] if isinstance(label, str) and label in ("-1", "nan")]
    if as_text:
        raise DataError(
            f"got the label {str(as_text[0])!r}, which is text; mark unlabelled instances "
            "with None in an array of objects: y = numpy.full(n, None, dtype=object); "
            "y[few] = labels"
        )
    if not unknown.any():
        return y
    known = y[~unknown]
    if known.dtype.kind == "f" and (known == np.rint(known)).all() and np.isfinite(known).all():
        known = known.astype(np.int64)
    labels = np.full(len(y), None, dtype=object)
    labels[~unknown] = known.tolist()
    return labels


def as_classes(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return labels as the matching classes of a head, None where there is none.

    Parameters
    ----------
    y : array of shape (n,)
        None where an instance is unlabelled; -1 is a label. See `ClassMatcher`.
    classes : array of shape (n_classes,)

    Returns
    -------
    array of shape (n,)

    Examples
    --------
    >>> as_classes(np.array(["3", None, "5"], dtype=object), np.array([3, 4])).tolist()
    [3, None, 5]
    """
    labelled = MISSING.has_label(y)
    labels = ClassMatcher(classes).match(y[labelled])
    if labelled.all():
        return labels
    found = np.full(len(y), None, dtype=object)
    found[labelled] = labels.tolist()
    return found


def labelled_rows(y: np.ndarray) -> np.ndarray:
    """Return the row numbers of the labelled instances in a result of `partial_labels`.

    Parameters
    ----------
    y : array of shape (n,)

    Returns
    -------
    int array
    """
    return np.flatnonzero(~np.asarray(pd.isna(y)))


def known_labels(y: np.ndarray) -> np.ndarray:
    """Return the labels without the unlabelled instances, shape (n_labelled,).

    Parameters
    ----------
    y : array of shape (n,)

    Returns
    -------
    array of shape (n_labelled,)
    """
    known = y[labelled_rows(y)]
    if known.dtype != object or len({isinstance(label, str) for label in known}) > 1:
        return known  # a mixture of numbers and text is refused later
    return np.asarray(known.tolist())


@dataclass(frozen=True, eq=False)
class LabelledCodes:
    """Codes, labels and hashes of n instances, including unlabelled ones where a head uses them.

    Attributes
    ----------
    codes : float32 array of shape (n, n_components)
    y : array of shape (n,)
        None where an instance is unlabelled, see `partial_labels`.
    hashes : uint64 array of shape (n,)
        By which later labels are matched to instances.
    """

    codes: np.ndarray
    y: np.ndarray
    hashes: np.ndarray

    def followed_by(self, other: LabelledCodes) -> LabelledCodes:
        """Return these and the other instances; where one is in both, with the other's label.

        Which are in both says `isthmus.encoding.find_known_rows`.

        Parameters
        ----------
        other : LabelledCodes

        Returns
        -------
        LabelledCodes
        """
        known = find_known_rows(self.hashes, other.hashes)
        unchanged = ~np.isin(self.hashes, other.hashes[known])
        return LabelledCodes(
            np.concatenate([self.codes[unchanged], other.codes]),
            np.concatenate([self.y[unchanged], other.y]),
            np.concatenate([self.hashes[unchanged], other.hashes]),
        )
