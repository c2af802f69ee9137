"""Labels for classes: what a label may be, and what is not one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from isthmus.errors import DataError


def check_labels(y: Any, n_instances: int) -> np.ndarray:
    """Check class labels and return them as an array of shape (n,).

    Raises
    ------
    DataError
        When labels are missing (None, NaN), infinite, marked unlabelled (-1 beside other classes
        than 1), too few or too many, or all of one class.
    """
    if y is None:
        raise DataError(
            "requires y to be passed, but the target y is None; "
            "pass one label for each instance, of the few that are labelled"
        )
    y = column_or_1d(y, warn=True)
    if len(y) != n_instances:
        raise DataError(
            f"got {n_instances} instances and {len(y)} labels; expected one label for each"
        )
    if n_instances == 0:
        raise DataError("got no labelled instances; expected at least two, of different classes")
    missing = pd.isna(y)
    if missing.any():
        raise DataError(
            f"{int(missing.sum())} of {len(y)} labels are missing (None or NaN), the first in row "
            f"{int(missing.argmax())}; fit on the labelled rows only: "
            "keep = ~pandas.isna(y); fit(X[keep], y[keep])"
        )
    if y.dtype.kind == "f" and np.isinf(y).any():
        raise DataError(
            f"{int(np.isinf(y).sum())} of {len(y)} labels are infinite, the first in row "
            f"{int(np.isinf(y).argmax())}; expected whole numbers or strings"
        )
    check_classification_targets(y)
    classes = np.unique(y)
    if classes.dtype.kind in "if" and classes[0] == -1 and set(classes) != {-1, 1}:
        raise DataError(
            f"{int((y == -1).sum())} of {len(y)} labels are -1, which marks an instance as "
            "unlabelled; fit on the labelled rows only: fit(X[y != -1], y[y != -1]), "
            "or give the class another number"
        )
    if len(classes) < 2:
        raise DataError(
            f"got labels of one class ({classes[0]!r}), expected at least two classes; "
            "to tell normal from abnormal, a detector is the right head"
        )
    return y
