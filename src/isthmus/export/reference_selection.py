"""Selection of an export's reference instances: rows passed, or reconstructions of codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.autoencoder import InstanceEncoder
from isthmus.bundle import Head
from isthmus.data import ABNORMAL, Schema, label_text
from isthmus.data.preprocessing import restore_instances
from isthmus.detection import AnomalyDetector
from isthmus.errors import ExportError
from isthmus.export.reference_instances import ReferenceInstances, sample_evenly

#: Largest number of reconstructed instances.
MAX_RECONSTRUCTED = 512


def reconstructed_rows(encoder: InstanceEncoder, heads: Mapping[str, Head]) -> Any:
    """Return the decoder's reconstructions of codes stored by the heads.

    Raises
    ------
    ExportError
        When no head stores codes.
    """
    if not encoder.has_decoder:
        raise ExportError(
            f"{type(encoder).__name__} has no decoder to rebuild rows by, and parity is measured "
            "on rows; pass some: export_bundle(bundle, folder, rows=X), or isthmus export BUNDLE "
            "DATA"
        )
    stored = []
    for head in heads.values():
        if isinstance(head, AnomalyDetector):
            stored.append(head.reference_set_.features.codes)
        elif head.labelled_ is not None:
            stored.append(head.labelled_.codes)
    if not stored:
        raise ExportError(
            "no head of the bundle stores codes to rebuild rows from, and parity is measured on "
            "rows; pass some: export_bundle(bundle, folder, rows=X), or isthmus export BUNDLE DATA"
        )
    codes = np.concatenate(stored)
    sample = np.linspace(0, len(codes) - 1, min(MAX_RECONSTRUCTED, len(codes))).astype(np.intp)
    return reconstruct(encoder, codes[sample])


def reconstruct(encoder: InstanceEncoder, codes: np.ndarray) -> Any:
    """Return the decoder's reconstructions of codes.

    A bundle stores codes and never the rows themselves. The reconstructions have the form and the
    units of the rows.
    """
    return restore_instances(encoder.schema_, encoder.inverse_transform(codes))


def check_reference_instances(known: Any, rows: Any) -> None:
    """Check the number of rows to store as reference instances.

    Raises
    ------
    ExportError
        When it is no whole number of 0 or more, or is above 0 without rows.
    """
    if isinstance(known, bool) or not isinstance(known, int | np.integer) or known < 0:
        raise ExportError(f"got known={shown(known)}, expected a whole number of 0 or more")
    if known and rows is None:
        raise ExportError(
            f"got known={known} and no rows, expected rows to keep {known} of; pass rows=X, or "
            "leave known out, and codes stored by the heads are rebuilt"
        )


def references_from_rows(
    schema: Schema, X: Any, y: Any, codes: np.ndarray, n: int
) -> ReferenceInstances:
    """Select n of the rows as reference instances, evenly over their labels.

    Parameters
    ----------
    schema : Schema
    X : array or DataFrame of k instances
    y : array of shape (k,) or None
        Labels; NaN or None where one is missing.
    codes : array of shape (k, n_components)
    n : int
    """
    labels = label_texts([None] * len(codes) if y is None else y)
    rows = sample_evenly(labels, n)
    sample = X.iloc[rows] if isinstance(X, pd.DataFrame) else np.asarray(X)[rows]
    if isinstance(sample, pd.DataFrame):
        sample = sample.reset_index(drop=True)
    return ReferenceInstances.of(
        schema, sample, codes[rows], [labels[row] for row in rows], rebuilt=False
    )


def references_from_heads(
    encoder: InstanceEncoder, heads: Mapping[str, Head]
) -> ReferenceInstances | None:
    """Rebuild codes stored by the heads, evenly over heads and labels; None where there are none.

    An instance stored by several heads is taken once, with the label of a classifier if one has
    it, else that of a detector, "normal" or "abnormal".
    """
    if not encoder.has_decoder:
        return None
    codes, labels, hashes = [], [], []
    groups: list[tuple[str, str]] = []
    # Classifiers first: a class is more specific than "normal".
    for name, head in sorted(heads.items(), key=lambda pair: isinstance(pair[1], AnomalyDetector)):
        if isinstance(head, AnomalyDetector):
            reference_set = head.reference_set_
            codes.append(reference_set.features.codes)
            hashes.append(reference_set.hashes)
            head_labels = [
                "abnormal" if label == ABNORMAL else "normal" for label in reference_set.y
            ]
        elif head.labelled_ is not None:
            codes.append(head.labelled_.codes)
            hashes.append(head.labelled_.hashes)
            head_labels = label_texts(head.labelled_.y)
        else:
            continue
        labels += head_labels
        groups += [(name, label) for label in head_labels]
    if not codes:
        return None
    _, first = np.unique(np.concatenate(hashes), return_index=True)
    unique = np.sort(first)
    rows = unique[sample_evenly([groups[at] for at in unique], MAX_RECONSTRUCTED)]
    chosen = np.concatenate(codes)[rows]
    X = reconstruct(encoder, chosen)
    return ReferenceInstances.of(
        encoder.schema_, X, chosen, [labels[at] for at in rows], rebuilt=True
    )


def label_texts(y: Any) -> list[str]:
    """Return labels as text, "" where one is missing.

    Examples
    --------
    >>> label_texts(np.array([2.0, np.nan, 1.5]))
    ['2', '', '1.5']
    """
    plain = np.asarray(y).tolist()
    missing = pd.isna(plain).tolist()
    return [
        "" if is_missing else label_text(label)
        for label, is_missing in zip(plain, missing, strict=True)
    ]
