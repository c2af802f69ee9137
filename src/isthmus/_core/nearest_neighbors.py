"""The nearest of many reference points: exact, in bounded memory, in NumPy alone.

Three other searches remain, each for a reason:

- A detector's scores (`detection/scores.py`, `detection/labelled_scores.py`) and the baseline on
  raw rows (`evaluation/detection.py`) use scikit-learn's. Thresholds and p-values of saved
  detectors depend on its distances to the last decimal, and in few dimensions its trees are
  faster on long streams.
- Training (`objectives/invariant.py`) needs the single nearest code, on the training device.
- An export (`export/detector_graph.py`) has the search as a graph.
"""

from __future__ import annotations

import numpy as np

#: Numbers of a block of distances that are held at one time.
BLOCK = 4_000_000
#: Groups that references are dealt into have so many members, see `find_nearest`.
GROUP = 32


def find_nearest(
    points: np.ndarray, references: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest references of each point.

    Parameters
    ----------
    points : float array of shape (n, m)
    references : float array of shape (r, m)
        Of the same type; distances are computed in it.
    k : int
        At most r.

    Returns
    -------
    distances : float64 array of shape (n, k)
        Euclidean, the smallest first; of equal ones the first in `references`.
    rows : int64 array of shape (n, k)
        Of the references.

    Notes
    -----
    References are dealt into groups of 32. The k nearest ones are in the k groups whose own nearest
    is nearest, so all but those are left out after one pass for the minima, and picking costs less
    than the matrix product before it.

    Examples
    --------
    >>> line = np.arange(5.0)[:, None]
    >>> distances, rows = find_nearest(line[:1] + 0.25, line, 2)
    >>> distances.tolist(), rows.tolist()
    ([[0.25, 0.75]], [[0, 1]])
    """
    r, m = references.shape
    n_groups = -(-r // GROUP)
    padded = np.zeros((n_groups * GROUP, m), dtype=references.dtype)
    padded[:r] = references
    half_norms = np.einsum("ij,ij->i", padded, padded) / 2
    half_norms[r:] = np.inf
    members = np.arange(GROUP) * n_groups
    at_once = max(1, BLOCK // max(len(padded), k * m))
    rows = np.empty((len(points), k), dtype=np.int64)
    distances = np.empty((len(points), k))
    for first in range(0, len(points), at_once):
        some = points[first : first + at_once]
        # |x - r|^2 / 2 but for |x|^2 / 2, which is the same for all references.
        apart = some @ padded.T
        np.subtract(half_norms, apart, out=apart)
        minima = apart.reshape(len(some), GROUP, n_groups).min(axis=1)
        groups = _smallest(minima, min(k, n_groups))
        candidates = (groups[:, :, None] + members).reshape(len(some), -1)
        picked = _smallest(np.take_along_axis(apart, candidates, axis=1), k)
        found = np.take_along_axis(candidates, picked, axis=1)
        # Anew from the differences: the product's rounding would part what is equal.
        exact = np.linalg.norm(some[:, None, :] - references[found], axis=2)
        order = np.lexsort((found, exact), axis=1)
        last = first + len(some)
        rows[first:last] = np.take_along_axis(found, order, axis=1)
        distances[first:last] = np.take_along_axis(exact, order, axis=1)
    return distances, rows


def find_nearest_others(points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest other points of each point, copies of it included: see `find_nearest`."""
    distances, rows = find_nearest(points, points, k + 1)
    self_ = rows == np.arange(len(points))[:, None]
    # Among many copies of a point it may not be among its own nearest.
    self_[~self_.any(axis=1), -1] = True
    return distances[~self_].reshape(-1, k), rows[~self_].reshape(-1, k)


def _smallest(values: np.ndarray, k: int) -> np.ndarray:
    """Return where the k smallest values of each row are, in any order."""
    return np.argpartition(values, k - 1, axis=1)[:, :k]
