"""The nearest of many reference points, as a graph."""

from __future__ import annotations

import numpy as np

from isthmus.export.graph import Part


def nearest(part: Part, points: str, references: np.ndarray, k: int) -> tuple[str, str]:
    """Add the search for the k nearest references.

    They are found by |r|² - 2 x·r, and their distances taken anew from the differences: the
    product's rounding would part what is equal.

    Parameters
    ----------
    part : Part
    points : str
        (n, m), float32 or float64.
    references : array of shape (r, m)
    k : int
        At most r.

    Returns
    -------
    distances : str
        Euclidean, (n, k), float64, not in order.
    rows : str
        Of the references, (n, k), int64.
    """
    # Kept as they came, half the size in the file where they are float32.
    own = part.constant(np.ascontiguousarray(references))
    double = part.double(own)
    points = part.double(points)
    norms = part.constant(np.square(references.astype(np.float64)).sum(axis=1)[None])
    apart = part("Gemm", points, double, norms, alpha=-2.0, beta=1.0, transB=1)
    _, rows = part.several("TopK", 2, apart, part.constant([k]), axis=1, largest=0, sorted=1)
    found = part.double(part("Gather", own, rows, axis=0))  # (n, k, m)
    away = part("Sub", part("Unsqueeze", points, part.constant([1])), found)
    squares = part("ReduceSum", part("Mul", away, away), part.constant([2]), keepdims=0)
    return part("Sqrt", squares), rows


def mean(part: Part, values: str, *, keep: bool = False) -> str:
    """Add the mean along the last axis."""
    return part("ReduceMean", values, part.constant([-1]), keepdims=int(keep))


def total(part: Part, values: str, *, keep: bool = False) -> str:
    """Add the sum along the last axis."""
    return part("ReduceSum", values, part.constant([-1]), keepdims=int(keep))


def dot(part: Part, matrix: str, vector: np.ndarray) -> str:
    """Add the product of a matrix (n, m) and a vector of m: (n,), float64."""
    product = part("MatMul", part.double(matrix), part.constant(vector[:, None], np.float64))
    return part("Squeeze", product, part.constant([1]))
