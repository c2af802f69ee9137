"""Labels for normal or not: 1 normal, -1 abnormal, 0 nobody looked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.labels import as_labels, label_text
from isthmus.data.predictions import ABNORMAL as ABNORMAL
from isthmus.data.predictions import NORMAL as NORMAL
from isthmus.errors import DataError

UNKNOWN = 0


def check_detector_labels(y: Any, n_instances: int) -> np.ndarray:
    """Check labels for a detector and return them as int8 of shape (n,); None is all unknown.

    Missing labels (None, NaN) are unknown.

    Raises
    ------
    DataError
        When a label is none of 1, -1 and 0, or there are too few or too many.
    """
    if y is None:
        return np.zeros(n_instances, dtype=np.int8)
    labels = pd.Series(as_labels(y))
    if len(labels) != n_instances:
        raise DataError(
            f"got {n_instances} instances and {len(labels)} labels; expected one label for each"
        )
    labels = labels.fillna(UNKNOWN) if labels.dtype.kind == "f" else labels.mask(labels.isna(), 0)
    wrong = ~labels.isin([NORMAL, ABNORMAL, UNKNOWN]).to_numpy()
    if labels.dtype.kind in "bO":  # to Python True is 1, but it does not say which of the two
        wrong |= labels.map(lambda label: isinstance(label, bool | np.bool_)).to_numpy(dtype=bool)
    if wrong.any():
        row = int(wrong.argmax())
        others = sorted({_shown(label) for label in labels[wrong]})[:5]
        raise DataError(
            f"got the label {_shown(labels.iloc[row])} in row {row}, counting from 0, expected 1 "
            "(normal), -1 (abnormal) or 0 (nobody looked); translate the values "
            f"{', '.join(others)} first, as in numpy.where(y == 'broken', -1, 1)"
        )
    return labels.to_numpy().astype(np.int8)


def translate_labels(y: Any, normal: str) -> tuple[np.ndarray, set[str]]:
    """Translate labels of any kind to those of a detector.

    Parameters
    ----------
    y : array of shape (n,)
        Missing ones (None, NaN) and empty text are unknown.
    normal : str
        The label that means normal, as text; any other is abnormal.

    Returns
    -------
    labels : int8 array of shape (n,)
    names : set of str
        All labels that occur, as text.

    Examples
    --------
    >>> labels, names = translate_labels(np.array(["ok", "worn", None], dtype=object), "ok")
    >>> labels.tolist(), sorted(names)
    ([1, -1, 0], ['ok', 'worn'])
    """
    codes, values = pd.factorize(pd.Series(as_labels(y)))  # a missing label is -1
    names = [label_text(value) for value in values]
    known = {normal: NORMAL, "": UNKNOWN}
    translated = np.array([known.get(name, ABNORMAL) for name in names] + [UNKNOWN], dtype=np.int8)
    return translated[codes], set(names) - {""}


def check_normal(normal: str, names: set[str], source: str) -> None:
    """Check that the label that means normal is one of those that occur in the source.

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
