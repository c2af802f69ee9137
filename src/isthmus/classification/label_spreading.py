"""Label spreading over a neighbor graph, for very few labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from isthmus._core import find_nearest, find_nearest_others, shown

UNLABELLED = -1


class SpreadingHead(ClassifierMixin, BaseEstimator):
    """Classify by spreading few labels along a nearest-neighbour graph.

    Each instance is joined to its nearest others, and labels spread along the edges, so that one
    label reaches all instances connected to it (Zhou et al., Learning with local
    and global consistency, 2004). A class with four times as many labels counts twice as much, see
    `spread_labels`. A new instance gets the mean of its neighbours' labels (Delalleau et al.,
    2005).

    Parameters
    ----------
    n_neighbors : int, default=10
        Of each instance in the graph; fewer where there are fewer instances.
    alpha : float in (0, 1), default=0.99
        Share that an instance takes over from its neighbours, beside its own label.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Without -1.
    label_distributions_ : array of shape (n, n_classes)
        Of the instances given to `fit`, each summing to 1; where a label was given, 1 for it.
    transduction_ : array of shape (n,)
        The most probable class of each of them.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.concatenate([np.linspace(0, 1, 30), np.linspace(2, 3, 30)])[:, None]
    >>> y = np.full(60, -1)
    >>> y[0], y[59] = 3, 7
    >>> head = SpreadingHead().fit(X, y)
    >>> again = SpreadingHead.from_state(head.state())
    >>> again.predict_proba([[0.9], [2.1]]).shape
    (2, 2)
    >>> head.transduction_[[29, 30]].tolist(), head.predict([[0.9], [2.1]]).tolist()
    ([3, 7], [3, 7])
    """

    def __init__(
        self,
        n_neighbors: int = 10,
        *,
        alpha: float = 0.99,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.alpha = alpha

    def fit(self, X: Any, y: Any) -> Self:
        """Fit on instances (n, m) and labels (n,), whole numbers, -1 where there is none.

        Parameters
        ----------
        X : array of shape (n, m)
        y : array of shape (n,)
            Whole numbers, -1 where there is none.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            When a parameter is out of range, or the labels are of fewer than two classes.
        """
        if not (isinstance(self.n_neighbors, int | np.integer) and self.n_neighbors >= 1):
            raise ValueError(
                f"got n_neighbors={shown(self.n_neighbors)}, expected a whole number from 1"
            )
        if not 0 < self.alpha < 1:
            raise ValueError(
                f"got alpha={shown(self.alpha)}, expected a number above 0 and below 1"
            )
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        labelled = y != UNLABELLED
        self.classes_, places = np.unique(y[labelled], return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"got labels of {len(self.classes_)} classes ({UNLABELLED} marks an unlabelled "
                "instance), expected at least two"
            )
        distances, rows = find_nearest_others(X, min(self.n_neighbors, len(X) - 1))
        given = np.zeros((len(X), len(self.classes_)))
        given[labelled, places] = 1
        found = spread_labels(affinity(distances, rows), given, self.alpha)
        # Given labels stay, whatever those of the neighbours.
        self.label_distributions_ = np.where(labelled[:, None], given, _distributions(found))
        self.transduction_ = self.classes_[self.label_distributions_.argmax(axis=1)]
        self.points_, self.scale_ = X, distances[:, -1]
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities, shape (n, n_classes), for instances (n, m).

        Parameters
        ----------
        X : array of shape (n, m)

        Returns
        -------
        float64 array of shape (n, n_classes)
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        distances, rows = find_nearest(X, self.points_, min(self.n_neighbors, len(self.points_)))
        weights = local_weights(distances, distances[:, -1], self.scale_[rows])
        weights /= weights.sum(axis=1, keepdims=True)
        return np.einsum("nk,nkc->nc", weights, self.label_distributions_[rows])

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each instance, shape (n,).

        Parameters
        ----------
        X : array of shape (n, m)

        Returns
        -------
        array of shape (n,)
        """
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def state(self) -> dict[str, Any]:
        """Return the fitted head as arrays and plain values.

        Returns
        -------
        dict
            `n_neighbors`, `alpha` and the fitted arrays.
        """
        return {
            "n_neighbors": int(self.n_neighbors),
            "alpha": float(self.alpha),
            "classes": self.classes_,
            "points": self.points_,
            "scale": self.scale_,
            "label_distributions": self.label_distributions_,
            "transduction": self.transduction_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild a fitted head from what `state` returned.

        Parameters
        ----------
        state : mapping
            As `state` returned it.

        Returns
        -------
        SpreadingHead
        """
        head = cls(state["n_neighbors"], alpha=state["alpha"])
        head.classes_, head.transduction_ = state["classes"], state["transduction"]
        head.points_, head.scale_ = state["points"], state["scale"]
        head.label_distributions_ = state["label_distributions"]
        head.n_features_in_ = head.points_.shape[1]
        return head


def affinity(distances: np.ndarray, rows: np.ndarray) -> sparse.csr_array:
    """Return the symmetric weights of a nearest-neighbour graph, zero for most pairs of rows.

    The weight of a row i and one of its neighbours j is `exp(-d^2 / (s_i s_j))`, where d is their
    distance and s that of a row's farthest neighbour here: the local scaling of Zelnik-Manor and
    Perona (2004), which needs no bandwidth and treats dense and sparse regions alike.
    Where each is a neighbour of the other the weight is double.

    Parameters
    ----------
    distances, rows : arrays of shape (n, k)
        Of the k nearest other rows of each row, nearest first, and their numbers.

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


def local_weights(distances: np.ndarray, own: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Return the weights `exp(-d^2 / (own * neighbours))`, 1 for copies of a row.

    Parameters
    ----------
    distances : array of shape (n, k)
        Of each row to its neighbours.
    own : array of shape (n,)
        Scale of each row.
    neighbours : array of shape (n, k)
        Scales of its neighbours.

    Returns
    -------
    array of shape (n, k), in [0, 1]
    """
    tiny = np.finfo(np.float32).tiny
    return np.exp(-(distances**2) / np.maximum(own[:, None] * neighbours, tiny))


def spread_labels(weights: sparse.csr_array, given: np.ndarray, alpha: float) -> np.ndarray:
    """Spread labels along a graph: solve `(I - alpha S) F = Y C^-1/2`, `S = D^-1/2 W D^-1/2`.

    Zhou et al. (2004), label spreading's fixed point but for the factor `1 - alpha`, which is the
    same for all classes, and for C. D has the sums of the rows of W on its diagonal, and C those of
    the columns of Y: where labels are drawn at random, a class that happens to have more of them
    would else take over instances of the others. Its root is half-way between labels that all count
    the same and classes that all do (Wang, Jebara and Chang, Graph transduction via alternating
    minimization, ICML 2008), which is worse where classes are of unequal size. The matrix is
    symmetric with eigenvalues from `1 - alpha` to `1 + alpha`, so conjugate gradients converge in
    some dozens of steps.

    Parameters
    ----------
    weights : W, csr_array of shape (n, n)
        Symmetric, not negative.
    given : Y, array of shape (n, c)
        Not negative: 1 for a label, 0 elsewhere.
    alpha : float in (0, 1)

    Returns
    -------
    F, array of shape (n, c)
    """
    sums = np.asarray(weights.sum(axis=1)).ravel()
    # A row without neighbours keeps its given values.
    roots = sparse.diags_array(1 / np.sqrt(np.where(sums > 0, sums, 1)))
    between = (roots @ weights @ roots).tocsr()
    system = LinearOperator(between.shape, matvec=lambda v: v - alpha * (between @ v))
    of_class = given.sum(axis=0)
    columns = given / np.sqrt(np.where(of_class > 0, of_class, 1))
    return np.column_stack([cg(system, column, rtol=1e-6)[0] for column in columns.T])


def _distributions(found: np.ndarray) -> np.ndarray:
    """Scale each row to a sum of 1; uniform where no label reaches it."""
    found = np.maximum(found, 0)  # rounding leaves some just below zero
    total = found.sum(axis=1, keepdims=True)
    uniform = np.full_like(found, 1 / found.shape[1])
    return np.divide(found, total, out=uniform, where=total > 0)
