"""A graph over instances: how much neighbours count for each other, and labels spread along it."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg


def affinity(distances: np.ndarray, rows: np.ndarray) -> sparse.csr_array:
    """Return how much each row counts for each other: symmetric weights, zero for most.

    The weight of a row i and one of its neighbours j is `exp(-d^2 / (s_i s_j))`, where d is their
    distance and s that of a row's farthest neighbour here: the local scaling of Zelnik-Manor and
    Perona (2004), which needs no width to be chosen and lets dense and sparse regions be alike.
    Rows that are neighbours of each other count double.

    Parameters
    ----------
    distances, rows : arrays of shape (n, k)
        As `isthmus.nearest_neighbors.nearest_others` gives them.

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
