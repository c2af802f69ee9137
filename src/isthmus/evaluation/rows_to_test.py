"""Labelled instances to test on: in memory, or a stream's, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from isthmus._progress import with_progress
from isthmus.data.instances import Instances, Piece, as_instances, take_rows


def tested(instances: Instances, pieces: Iterable[Piece], verbose: bool) -> Iterator[Piece]:
    """Pass pieces on, and show how far it is where they are a stream's."""
    if not verbose or instances.in_memory:
        return iter(pieces)
    return with_progress(pieces, len, "testing", len(instances))


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
