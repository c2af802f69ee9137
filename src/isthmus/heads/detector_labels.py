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


def _shown(label: Any) -> str:
    return repr(label.item() if isinstance(label, np.generic) else label)
