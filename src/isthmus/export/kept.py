"""What is kept of known instances: some of the rows given, or codes that heads keep, rebuilt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from isthmus.autoencoder import Autoencoder
from isthmus.data.labels import label_text
from isthmus.data.schema import Schema
from isthmus.errors import ExportError
from isthmus.export.known import Known, spread
from isthmus.export.rows import MOST_REBUILT, rebuilt
from isthmus.heads import AnomalyDetector
from isthmus.heads.binding import Head
from isthmus.heads.detector_labels import ABNORMAL


def check_known(known: Any, rows: Any) -> None:
    """Check that so many rows can be kept.

    Raises
    ------
    ExportError
        When it is no whole number of 0 or more, or there are no rows to keep some of.
    """
    if isinstance(known, bool) or not isinstance(known, int | np.integer) or known < 0:
        raise ExportError(f"got known={known!r}, expected a whole number of 0 or more")
    if known and rows is None:
        raise ExportError(
            f"got known={known} and no rows, expected rows to keep {known} of; pass rows=X, or "
            "leave known out, and codes that the heads keep are rebuilt"
        )


def known_of_rows(schema: Schema, X: Any, y: Any, codes: np.ndarray, n: int) -> Known:
    """Keep n of the rows given, spread over their labels.

    Parameters
    ----------
    schema : Schema
    X : array or DataFrame of k instances
    y : array of shape (k,) or None
        Labels; NaN or None where one is missing.
    codes : array of shape (k, n_components)
    n : int
    """
    labels = texts([None] * len(codes) if y is None else y)
    rows = spread(labels, n)
    some = X.iloc[rows] if isinstance(X, pd.DataFrame) else np.asarray(X)[rows]
    if isinstance(some, pd.DataFrame):
        some = some.reset_index(drop=True)
    return Known.of(schema, some, codes[rows], [labels[row] for row in rows], rebuilt=False)


def known_of_heads(encoder: Autoencoder, heads: Mapping[str, Head]) -> Known | None:
    """Rebuild codes that the heads keep, spread over heads and labels; None when none keeps any.

    An instance that several heads keep is taken once, and a classifier's label before that of a
    detector, whose labels are "normal" and "abnormal".
    """
    codes, labels, hashes = [], [], []
    groups: list[tuple[str, str]] = []
    # A class says more of an instance than that it is normal.
    for name, head in sorted(heads.items(), key=lambda pair: isinstance(pair[1], AnomalyDetector)):
        if isinstance(head, AnomalyDetector):
            memory = head.memory_
            codes.append(memory.views.codes)
            hashes.append(memory.hashes)
            own = ["abnormal" if label == ABNORMAL else "normal" for label in memory.y]
        elif head.labelled_ is not None:
            codes.append(head.labelled_.codes)
            hashes.append(head.labelled_.hashes)
            own = texts(head.labelled_.y)
        else:
            continue
        labels += own
        groups += [(name, label) for label in own]
    if not codes:
        return None
    _, first = np.unique(np.concatenate(hashes), return_index=True)
    once = np.sort(first)
    rows = once[spread([groups[at] for at in once], MOST_REBUILT)]
    chosen = np.concatenate(codes)[rows]
    X = rebuilt(encoder, chosen)
    return Known.of(encoder.schema_, X, chosen, [labels[at] for at in rows], rebuilt=True)


def texts(y: Any) -> list[str]:
    """Return labels as text, "" where one is missing.

    Examples
    --------
    >>> texts(np.array([2.0, np.nan, 1.5]))
    ['2', '', '1.5']
    """
    plain = np.asarray(y).tolist()
    missing = pd.isna(plain).tolist()
    return ["" if gone else label_text(label) for label, gone in zip(plain, missing, strict=True)]
