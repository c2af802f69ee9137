"""A graph over instances: who is near whom, how much that counts, and labels spread along it."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

# Rows searched for at once, and groups that their candidates are halved into: see `nearest`.
ROWS, GROUP = 256, 32


def nearest(points: np.ndarray, references: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest references of each point, exactly, in little memory.

    Parameters
    ----------
    points : float32 array of shape (n, m)
    references : float32 array of shape (r, m)
    k : int
        At most r.

    Returns
    -------
    distances : float64 array of shape (n, k)
        Euclidean, the smallest first.
    rows : int64 array of shape (n, k)
        Of the references.

    Notes
    -----
    References are dealt into groups of 32. The k nearest ones are in the k groups whose own nearest
    is nearest, so all but those are left out after one pass for the minima, and picking costs less
    than the matrix product before it.

    Examples
    --------
    >>> line = np.arange(5, dtype="float32")[:, None]
    >>> distances, rows = nearest(line[:1] + 0.25, line, 2)
    >>> distances.tolist(), rows.tolist()
    ([[0.25, 0.75]], [[0, 1]])
    """
    r, m = references.shape
    n_groups = -(-r // GROUP)
    padded = torch.zeros(n_groups * GROUP, m)
    padded[:r] = torch.from_numpy(np.ascontiguousarray(references, dtype=np.float32))
    half_norms = padded.square().sum(dim=1) / 2
    half_norms[r:] = torch.inf
    members = torch.arange(GROUP) * n_groups
    rows = np.empty((len(points), k), dtype=np.int64)
    distances = np.empty((len(points), k))
    with torch.inference_mode():
        for first in range(0, len(points), ROWS):
            some = np.ascontiguousarray(points[first : first + ROWS], dtype=np.float32)
            # |x - r|^2 / 2 but for |x|^2 / 2, which is the same for all references.
            apart = torch.addmm(half_norms, torch.from_numpy(some.copy()), padded.T, alpha=-1)
            minima = apart.view(len(some), GROUP, n_groups).amin(dim=1)
            groups = minima.topk(min(k, n_groups), largest=False, sorted=False).indices
            candidates = (groups[:, :, None] + members).flatten(1)
            picked = apart.gather(1, candidates).topk(k, largest=False).indices
            found = candidates.gather(1, picked).numpy()
            # Anew from the differences: the product's rounding would part what is equal.
            exact = np.linalg.norm(some[:, None, :] - references[found], axis=2)
            order = np.lexsort((found, exact), axis=1)
            last = first + len(some)
            rows[first:last] = np.take_along_axis(found, order, axis=1)
            distances[first:last] = np.take_along_axis(exact, order, axis=1)
    return distances, rows


def nearest_others(points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest other points of each point, copies of it included: see `nearest`."""
    distances, rows = nearest(points, points, k + 1)
    self_ = rows == np.arange(len(points))[:, None]
    # Among many copies of a point it may not be among its own nearest.
    self_[~self_.any(axis=1), -1] = True
    return distances[~self_].reshape(-1, k), rows[~self_].reshape(-1, k)


def affinity(distances: np.ndarray, rows: np.ndarray) -> sparse.csr_array:
    """Return how much each row counts for each other: symmetric weights, zero for most.

    The weight of a row i and one of its neighbours j is `exp(-d^2 / (s_i s_j))`, where d is their
    distance and s that of a row's farthest neighbour here: the local scaling of Zelnik-Manor and
    Perona (2004), which needs no width to be chosen and lets dense and sparse regions be alike.
    Rows that are neighbours of each other count double.

    Parameters
    ----------
    distances, rows : arrays of shape (n, k)
        As `nearest_others` gives them.

    Returns
    -------
    csr_array of shape (n, n)
    """
    n, k = rows.shape
    scale = distances[:, -1]
    weights = local_weights(distances, scale, scale[rows])
    one_way = sparse.csr_array(
        (weights.ravel(), rows.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n)
    )
    return (one_way + one_way.T).tocsr()


def local_weights(distances: np.ndarray, own: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return `exp(-d^2 / (own * theirs))`; copies of a row count 1.

    Parameters
    ----------
    distances, theirs : arrays of shape (n, k)
        Of neighbours, and their scales.
    own : array of shape (n,)
        Scales.
    """
    tiny = np.finfo(np.float32).tiny
    return np.exp(-(distances**2) / np.maximum(own[:, None] * theirs, tiny))


def spread(weights: sparse.csr_array, given: np.ndarray, alpha: float) -> np.ndarray:
    """Spread values along a graph: solve `(I - alpha S) F = Y` with `S = D^-1/2 W D^-1/2`.

    Zhou et al. (2004), label spreading's fixed point but for the factor `1 - alpha`; D has the
    sums of the rows of W on its diagonal. The matrix is symmetric with eigenvalues from
    `1 - alpha` to `1 + alpha`, so conjugate gradients need some dozens of steps.

    Parameters
    ----------
    weights : W, csr_array of shape (n, n)
        Symmetric, not negative.
    given : Y, array of shape (n, c)
    alpha : float in (0, 1)

    Returns
    -------
    F, array of shape (n, c)
    """
    sums = np.asarray(weights.sum(axis=1)).ravel()
    # A row that is near nobody keeps what it was given.
    roots = sparse.diags_array(1 / np.sqrt(np.where(sums > 0, sums, 1)))
    between = (roots @ weights @ roots).tocsr()
    system = LinearOperator(between.shape, matvec=lambda v: v - alpha * (between @ v))
    return np.column_stack([cg(system, column, rtol=1e-6)[0] for column in given.T])
