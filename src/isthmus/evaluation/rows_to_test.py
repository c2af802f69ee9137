"""Labelled instances to test on: in memory, or a stream's, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from isthmus._progress import with_progress
from isthmus.data.instances import Instances, Piece, as_instances, take_rows
from isthmus.errors import DataError
from isthmus.heads.labels import known_labels


def tested(instances: Instances, pieces: Iterable[Piece], verbose: bool) -> Iterator[Piece]:
    """Pass pieces on, and show how far it is where they are a stream's."""
    if not verbose or instances.in_memory:
        return iter(pieces)
    return with_progress(pieces, len, "testing", len(instances))


def labelled(y: Any, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which instances have a label, and the labels, as the classes of a head are written.

    Parameters
    ----------
    y : array of shape (n,)
        None, NaN, empty text, and -1 unless it is a class, say that there is none.
    classes : array
        Those of the head.

    Returns
    -------
    rows : integer array of shape (k,)
    labels : array of shape (k,)

    Raises
    ------
    DataError
        When the labels are numbers and the classes text, or the other way round.

    Examples
    --------
    >>> rows, labels = labelled(np.array([2.0, np.nan, -1.0, 0.0]), np.array([0, 1]))
    >>> rows.tolist(), labels.tolist()
    ([0, 3], [2, 0])
    """
    there = ~np.asarray(pd.isna(y))
    marks = [""] if -1 in classes.tolist() else ["", -1]
    if y.dtype.kind in "ifOUS":
        there &= ~pd.Series(y).isin(marks[1:] if y.dtype.kind in "if" else marks).to_numpy()
    rows = np.flatnonzero(there)
    labels = known_labels(y[rows])
    if not len(rows):
        return rows, labels
    kinds = _kind(labels), _kind(classes)
    if kinds[0] != kinds[1]:
        raise DataError(
            f"got labels that are {kinds[0]}, such as {labels[:1].tolist()[0]!r}, but the "
            f"classifier was fitted on {kinds[1]}, such as {classes[:1].tolist()[0]!r}; pass "
            "labels of the same kind"
        )
    # Whole numbers are floats only because some label of theirs is missing.
    if classes.dtype.kind in "iu" and labels.dtype.kind == "f":
        whole = np.isfinite(labels).all() and (labels == np.rint(labels)).all()
        labels = labels.astype(np.int64) if whole else labels
    return rows, labels


def some_of(X: Any, rows: np.ndarray) -> Any:
    """Return instances by their positions, without a copy when these are all."""
    return X if len(rows) == len(as_instances(X)) else take_rows(X, rows)


def left_out(instances: Instances, n_unlabelled: int) -> dict[str, Any]:
    """Return what a test says of instances that it could not use.

    Returns
    -------
    dict
        `n_unlabelled`; and `skipped` of a stream: files and parts, as `Stream.skipped` has them.
    """
    return {"n_unlabelled": n_unlabelled} | instances.reading_facts()


def _kind(labels: np.ndarray) -> str:
    if labels.dtype.kind in "biuf":
        return "numbers"
    texts = [isinstance(label, str | bytes) for label in labels.tolist()]
    if labels.dtype.kind in "US" or all(texts):
        return "text"
    return "numbers and text" if any(texts) else "no text"
