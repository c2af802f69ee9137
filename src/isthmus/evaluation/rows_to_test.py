"""Labelled instances to test on: in memory, or a stream's, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from isthmus._progress import with_progress
from isthmus.data.labels import as_labels
from isthmus.data.stream import Piece, Stream
from isthmus.errors import DataError
from isthmus.heads.labels import known_labels


def pieces_to_test(X: Any, y: Any) -> Iterator[Piece]:
    """Return instances with their labels in pieces; what is in memory is one.

    Raises
    ------
    DataError
        When there are no labels, not as many as instances, or some beside a stream.
    """
    if isinstance(X, Stream):
        if y is not None:
            raise DataError("got y beside a stream, whose labels are in its files; leave y out")
        if not X.has_labels:
            raise DataError(
                f"{X.name} has no labels; name their column with load(..., label=COLUMN) (on the "
                "command line --label COLUMN)"
            )
        return X.pieces(label=True)
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    if y is None:
        raise DataError(f"got {n} instances and no labels; pass y, one label for each instance")
    labels = as_labels(y)
    if len(labels) != n:
        raise DataError(
            f"got {n} instances and labels of shape {labels.shape}; "
            "expected one label for each instance"
        )
    return iter([Piece(0, X, labels)])


def tested(X: Any, pieces: Iterable[Piece], verbose: bool) -> Iterator[Piece]:
    """Pass pieces on, and show how far it is where they are a stream's."""
    if not (verbose and isinstance(X, Stream)):
        return iter(pieces)
    return with_progress(pieces, len, "testing", len(X))


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
    if len(rows) == (X.shape[0] if hasattr(X, "shape") else len(X)):
        return X
    return X.iloc[rows] if hasattr(X, "iloc") else np.asarray(X)[rows]


def left_out(X: Any, n_unlabelled: int) -> dict[str, Any]:
    """Return what a test says of instances that it could not use.

    Returns
    -------
    dict
        `n_unlabelled`; and `skipped` of a stream: files and parts, as `Stream.skipped` has them.
    """
    facts: dict[str, Any] = {"n_unlabelled": n_unlabelled}
    if isinstance(X, Stream):
        facts["skipped"] = [asdict(part) for part in X.skipped]
    return facts


def _kind(labels: np.ndarray) -> str:
    if labels.dtype.kind in "biuf":
        return "numbers"
    texts = [isinstance(label, str | bytes) for label in labels.tolist()]
    if labels.dtype.kind in "US" or all(texts):
        return "text"
    return "numbers and text" if any(texts) else "no text"
