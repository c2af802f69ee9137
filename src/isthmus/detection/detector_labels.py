"""Labels of a detector: 1 normal, -1 abnormal, 0 unlabelled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.data import (
    ABNORMAL,
    DETECTION,
    MISSING,
    NORMAL,
    ClassMatcher,
    Dataset,
    as_labels,
    factorize_labels,
    label_text,
)
from isthmus.errors import DataError

UNKNOWN = 0


def check_detector_labels(y: Any, n_instances: int) -> np.ndarray:
    """Check labels for a detector and return them as int8 of shape (n,); None is all unknown.

    Missing labels are unknown, see `DETECTION`.

    Raises
    ------
    DataError
        When a label is none of 1, -1 and 0, or there are too few or too many.
    """
    if y is None:
        return np.zeros(n_instances, dtype=np.int8)
    labels = as_labels(y)
    if len(labels) != n_instances:
        raise DataError(
            f"got {n_instances} instances and {len(labels)} labels; expected one label for each"
        )
    rows = np.flatnonzero(DETECTION.has_label(labels))
    given = pd.Series(labels[rows])
    wrong = ~given.isin([NORMAL, ABNORMAL]).to_numpy()
    if given.dtype.kind in "bO":  # True equals 1 in Python, but may mean either of the two
        wrong |= given.map(lambda label: isinstance(label, bool | np.bool_)).to_numpy(dtype=bool)
    if wrong.any():
        row = int(rows[wrong.argmax()])
        others = sorted({_shown(label) for label in given[wrong]})[:5]
        raise DataError(
            f"got the label {_shown(labels[row])} in row {row}, counting from 0, expected 1 "
            "(normal), -1 (abnormal) or 0 (unlabelled); translate the values "
            f"{', '.join(others)} first, as in numpy.where(y == 'broken', -1, 1)"
        )
    found = np.full(n_instances, UNKNOWN, dtype=np.int8)
    found[rows] = given.to_numpy().astype(np.int8)
    return found


def translate_labels(y: Any, normal: str) -> tuple[np.ndarray, set[str]]:
    """Translate labels of any kind to 1, -1 and 0 for a detector.

    Parameters
    ----------
    y : array of shape (n,)
        Missing ones (None, NaN, empty text) are unknown.
    normal : str
        The label that means normal, see `ClassMatcher`; any other is abnormal.

    Returns
    -------
    labels : int8 array of shape (n,)
    names : set of str
        All labels that occur, as text; the one that means normal as `normal` has it.

    Raises
    ------
    DataError
        When several labels may be the one that means normal.

    Examples
    --------
    >>> labels, names = translate_labels(np.array(["ok", "worn", None], dtype=object), "ok")
    >>> labels.tolist(), sorted(names)
    ([1, -1, 0], ['ok', 'worn'])
    """
    y = as_labels(y)
    rows = np.flatnonzero(MISSING.has_label(y))
    labels, places = factorize_labels(y[rows])
    meant = ClassMatcher(labels).class_of(normal)
    means_normal = [meant is not None and one is meant for one in labels]
    found = np.full(len(y), UNKNOWN, dtype=np.int8)
    found[rows] = np.where(means_normal, NORMAL, ABNORMAL)[places] if labels else UNKNOWN
    names = zip(labels, means_normal, strict=True)
    return found, {normal if is_normal else label_text(one) for one, is_normal in names}


def check_normal(normal: str, names: set[str], source: str) -> None:
    """Check that the label that means normal occurs in the source.

    Raises
    ------
    DataError
        When it is not; the message names those that do.
    """
    if normal not in names:
        shown = ", ".join(repr(name) for name in sorted(names)[:10])
        raise DataError(
            f"got normal={normal!r} (on the command line --normal {normal}), and no label in "
            f"{source} is that: they are {shown or 'all missing'}; name one of them"
        )


def _shown(label: Any) -> str:
    return repr(label.item() if isinstance(label, np.generic) else label)


def labels_for_detector(data: Dataset, normal: str | None = None) -> np.ndarray | None:
    """Return the labels of a data set for a detector: 1, -1 and 0; None when it has none.

    Parameters
    ----------
    data : Dataset
    normal : str, optional
        The label that means normal, as text, where labels are others than 1, -1 and 0. Any other
        is abnormal; a missing one is 0.

    Raises
    ------
    DataError
        When labels are none of 1, -1 and 0 and `normal` is not given, or no label is `normal`.

    Examples
    --------
    >>> data = Dataset(np.zeros((3, 2)), ["ok", "bent", None])
    >>> labels_for_detector(data, normal="ok").tolist()
    [1, -1, 0]
    """
    if data.y is None:
        if normal is not None:
            raise DataError(
                f"got normal={normal!r}, and {data.name} has no labels; name their column with "
                "label= (on the command line --label COLUMN)"
            )
        return None
    if normal is not None:
        refuse_windows(data, normal)
        labels, names = translate_labels(data.y, normal)
        check_normal(normal, names, data.name)
        return labels
    try:
        return check_detector_labels(data.y, len(data))
    except DataError as error:
        raise DataError(
            f"{data.name}: {error}; or say which label means normal with normal= (on the command "
            "line --normal VALUE)"
        ) from error


def refuse_windows(data: Dataset, normal: str) -> None:
    """Refuse to translate labels of windows, each of which is taken from several rows.

    Raises
    ------
    DataError
        When the instances are windows of a long table.
    """
    if data.windows is not None:
        raise DataError(
            f"got normal={normal!r} (on the command line --normal) for the long table {data.name}, "
            "where the label of a window is taken from its rows: write 1 (normal), -1 (abnormal) "
            "or 0 (unlabelled) into the column, so that one abnormal row makes its window "
            "abnormal"
        )
