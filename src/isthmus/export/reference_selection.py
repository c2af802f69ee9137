"""Which reference instances an export holds: rows given, or rebuilt from codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from isthmus.autoencoder import Autoencoder
from isthmus.bundle import Head
from isthmus.data import ABNORMAL, Schema, label_text
from isthmus.detection import AnomalyDetector
from isthmus.errors import ExportError
from isthmus.export.reference_instances import ReferenceInstances, restore_instances, spread

#: So many are rebuilt at most.
MOST_REBUILT = 512


def reconstructed_rows(encoder: Autoencoder, heads: Mapping[str, Head]) -> Any:
    """Return the decoder's reconstructions of codes that the heads keep.

    Raises
    ------
    ExportError
        When no head keeps any code.
    """
    kept = []
    for head in heads.values():
        if isinstance(head, AnomalyDetector):
            kept.append(head.reference_set_.features.codes)
        elif head.labelled_ is not None:
            kept.append(head.labelled_.codes)
    if not kept:
        raise ExportError(
            "no head of the bundle keeps codes to rebuild rows from, and parity is measured on "
            "rows; pass some: export_bundle(bundle, folder, rows=X), or isthmus export BUNDLE DATA"
        )
    codes = np.concatenate(kept)
    some = np.linspace(0, len(codes) - 1, min(MOST_REBUILT, len(codes))).astype(np.intp)
    return reconstructed(encoder, codes[some])


def reconstructed(encoder: Autoencoder, codes: np.ndarray) -> Any:
    """Return the decoder's reconstructions of codes.

    A bundle keeps codes and never the rows themselves. The reconstructions have the form of
    the person's rows, and values like theirs.
    """
    return restore_instances(encoder.schema_, encoder.inverse_transform(codes))


def check_reference_instances(known: Any, rows: Any) -> None:
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


def references_from_rows(
    schema: Schema, X: Any, y: Any, codes: np.ndarray, n: int
) -> ReferenceInstances:
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
    return ReferenceInstances.of(
        schema, some, codes[rows], [labels[row] for row in rows], rebuilt=False
    )


def references_from_heads(
    encoder: Autoencoder, heads: Mapping[str, Head]
) -> ReferenceInstances | None:
    """Rebuild codes that the heads keep, spread over heads and labels; None when none keeps any.

    An instance that several heads keep is taken once, and a classifier's label before that of a
    detector, whose labels are "normal" and "abnormal".
    """
    codes, labels, hashes = [], [], []
    groups: list[tuple[str, str]] = []
    # A class says more of an instance than that it is normal.
    for name, head in sorted(heads.items(), key=lambda pair: isinstance(pair[1], AnomalyDetector)):
        if isinstance(head, AnomalyDetector):
            reference_set = head.reference_set_
            codes.append(reference_set.features.codes)
            hashes.append(reference_set.hashes)
            own = ["abnormal" if label == ABNORMAL else "normal" for label in reference_set.y]
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
    X = reconstructed(encoder, chosen)
    return ReferenceInstances.of(
        encoder.schema_, X, chosen, [labels[at] for at in rows], rebuilt=True
    )


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
