"""Labels for normal or not: 1 normal, -1 abnormal, 0 nobody looked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.labels import as_labels
from isthmus.errors import DataError

NORMAL, ABNORMAL, UNKNOWN = 1, -1, 0


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
    if labels.dtype.kind == "b" or wrong.any():
        row = int(wrong.argmax())
        others = sorted({repr(label) for label in labels[wrong]})[:5] or ["True", "False"]
        raise DataError(
            f"got the label {labels.iloc[row]!r} in row {row}, counting from 0, expected 1 "
            "(normal), -1 (abnormal) or 0 (nobody looked); translate the values "
            f"{', '.join(others)} first, as in numpy.where(y == 'broken', -1, 1)"
        )
    return labels.to_numpy().astype(np.int8)
