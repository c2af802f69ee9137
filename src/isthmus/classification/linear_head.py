"""The linear head: logistic regression, fitted with a preconditioner.

Also pixels that are standardised when they are read, for heads that pass over rows in blocks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import numpy as np
from scipy.linalg import qr, solve_triangular
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.extmath import randomized_svd
from sklearn.utils.validation import validate_data

from isthmus._core import worker_threads
from isthmus.classification.class_labels import class_positions

#: Values of the features in a block of rows that is worked on at one time: it stays in the cache.
BLOCK = 2**18
#: Blocks whose sums are held at one time, and added in their order.
BLOCKS = 32
#: Features up to which the preconditioner is dense: the cost of more grows with their cube. For
#: more it is exact in so many directions, those of the largest variance in a sample of rows.
MAX_DENSE, DIRECTIONS, SAMPLE = 1024, 256, 4096
#: Rows up to which fewer rows than features are worked on in their span: finding it costs the
#: square of the rows, which of more is as much as is saved.
MAX_SPAN = 512
#: Corrections that L-BFGS keeps.
MEMORY = 20


class StandardisedRows:
    """Pixels, standardised as float32 when rows of them are read: a quarter of the memory.

    Parameters
    ----------
    pixels : uint8 array of shape (n, m)
    scaler : fitted StandardScaler
        Of them.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> pixels = np.array([[0], [4], [8]], dtype=np.uint8)
    >>> rows = StandardisedRows(pixels, StandardScaler(with_std=False).fit(pixels))
    >>> len(rows), rows[1:].ravel().tolist()
    (3, [0.0, 4.0])
    """

    dtype = np.dtype(np.float32)

    def __init__(self, pixels: np.ndarray, scaler: StandardScaler) -> None:
        self.pixels, self.shape = pixels, pixels.shape
        self.nbytes = pixels.size * self.dtype.itemsize
        self.mean = scaler.mean_.astype(self.dtype)
        self.scale = np.float32(1) if scaler.scale_ is None else scaler.scale_.astype(self.dtype)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: slice) -> np.ndarray:
        read = np.subtract(self.pixels[rows], self.mean, dtype=self.dtype)
        read /= self.scale
        return read


class LinearHead(LogisticRegression):
    """Multinomial logistic regression with an L2 penalty; binary for two classes.

    It has the optimum of scikit-learn's `LogisticRegression(C=C)`, and everything else of it but
    how it gets there.

    Parameters
    ----------
    C : float above 0, default=1.0
        Inverse of the penalty: C Σ loss + |coef|² / 2 is minimised. The intercept is free.
    tol : float above 0, default=1e-4
        Largest entry of the gradient, in the coordinates of the preconditioner, at which the fit
        ends.
    max_iter : int, default=2000
        Of L-BFGS.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    coef_ : array of shape (n_classes, m), of two classes (1, m)
    intercept_ : array of shape (n_classes,), of two classes (1,)
    n_iter_ : int array of shape (1,)

    Raises
    ------
    ValueError
        When there are fewer than two classes, or values are not finite.

    Notes
    -----
    Codes are correlated, and L-BFGS on their weights needs hundreds of passes. Here it works in
    coordinates V with coef' = L⁻ᵀ V, where L Lᵀ = S / K + I / (C n) is the Hessian at zero weights
    of K classes, and S the covariance of the features. That is the bound of Böhning (Annals of
    the Institute of Statistical Mathematics 44, 1992) up to a factor. Of more than `MAX_DENSE`
    features S is replaced by its principal part (Frangella et al., SIAM Journal on Matrix Analysis
    and Applications 44, 2023). Of up to `MAX_SPAN` rows, fewer than features, the weights lie in
    the span of the centred rows, and are found there. Blocks of rows are shared among threads.
    Sums over rows are in float64, products in the type of the features.

    Examples
    --------
    >>> X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> head = LinearHead().fit(X, ["low", "low", "high", "high"])
    >>> head.predict([[-3.0], [3.0]]).tolist()
    ['low', 'high']
    """

    def __init__(self, C: float = 1.0, *, tol: float = 1e-4, max_iter: int = 2000) -> None:
        super().__init__(C=C, tol=tol, max_iter=max_iter)

    def fit(self, X: Any, y: Any) -> Self:
        """Fit on features of shape (n, m) and labels of shape (n,).

        Parameters
        ----------
        X : array or StandardisedRows of shape (n, m)
        y : array of shape (n,)

        Returns
        -------
        self
        """
        self._validate_params()
        if isinstance(X, StandardisedRows) and len(X) <= MAX_SPAN:
            X = X[:]
        if isinstance(X, StandardisedRows):
            self.n_features_in_ = X.shape[1]
        else:
            X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        self.classes_, places = class_positions(y)
        span = _RowSpan(X) if len(X) < X.shape[1] and len(X) <= MAX_SPAN else None
        problem = _Problem(X if span is None else span.rows, places, len(self.classes_), self.C)
        with worker_threads() as run_each:
            found = minimize(
                problem,
                np.zeros(problem.size),
                args=(run_each,),
                jac=True,
                method="L-BFGS-B",
                options={
                    "maxiter": self.max_iter,
                    "maxfun": 10 * self.max_iter,
                    "gtol": self.tol,
                    "ftol": 64 * np.finfo(np.float64).eps,
                    "maxcor": MEMORY,
                },
            )
        if found.nit >= self.max_iter:
            warnings.warn(
                f"the linear head has not converged after max_iter={self.max_iter} iterations; "
                "raise max_iter, or lower C",
                ConvergenceWarning,
                stacklevel=2,
            )
        weights, intercept = problem.solution(found.x)
        if span is not None:
            weights, intercept = span.solution(weights, intercept)
        if len(self.classes_) == 2:  # as scikit-learn keeps them: of the second class
            weights, intercept = np.diff(weights), np.diff(intercept)
        self.coef_, self.intercept_ = weights.T.astype(X.dtype), intercept.astype(X.dtype)
        self.n_iter_ = np.array([found.nit], dtype=np.int32)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags


class _RowSpan:
    """Centred rows as coordinates along as many orthonormal directions as there are rows."""

    def __init__(self, X: np.ndarray) -> None:
        self.mean = X.mean(axis=0, dtype=np.float64)
        self.directions, coordinates = qr((X - self.mean.astype(X.dtype)).T, mode="economic")
        self.rows = np.ascontiguousarray(coordinates.T)

    def solution(self, weights: np.ndarray, intercept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights and the intercept of the features."""
        weights = self.directions @ weights
        return weights, intercept - self.mean @ weights


class _Problem:
    """The loss to minimise and its gradient, as functions of preconditioned weights."""

    def __init__(
        self, X: np.ndarray | StandardisedRows, places: np.ndarray, n_classes: int, C: float
    ) -> None:
        n, m = X.shape
        self.X, self.places, self.n_classes = X, places, n_classes
        # Two classes are symmetric: half of the binary weights each, so twice the penalty.
        self.penalty = (2 if n_classes == 2 else 1) / (C * n)
        self.rows = max(1, BLOCK // m)
        self.mean = sum(block.sum(axis=0, dtype=np.float64) for block, _ in self._blocks()) / n
        self.size = (m + 1) * n_classes
        self.of_classes = np.bincount(places, minlength=n_classes) / n
        self.sums = np.zeros((m, n_classes))  # of the features, by class, over n
        covariance = np.zeros((m, m)) if m <= MAX_DENSE else None
        for block, classes in self._blocks():
            self.sums += block.T @ np.eye(n_classes, dtype=X.dtype)[classes] / n
            if covariance is not None:
                centred = block - self.mean.astype(X.dtype)
                covariance += centred.T @ centred / n
        if covariance is not None:
            hessian = covariance / n_classes + self.penalty * np.eye(m)
            self.factor = np.linalg.cholesky(hessian)
        else:
            self.directions, self.scales, self.rest = self._principal_part()

    def _blocks(self) -> Any:
        for first in range(0, len(self.X), self.rows):
            yield self.X[first : first + self.rows], self.places[first : first + self.rows]

    def _solve(self, values: np.ndarray, *, transposed: bool) -> np.ndarray:
        if self.X.shape[1] > MAX_DENSE:  # a symmetric root
            along = self.directions @ values
            scaled = (1 / self.scales - 1 / self.rest)[:, None] * along
            return values / self.rest + self.directions.T @ scaled
        solved: np.ndarray = solve_triangular(
            self.factor, values, lower=True, trans=int(transposed), check_finite=False
        )
        return solved

    def _principal_part(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Return directions (r, m), the root of the Hessian along each, and in all others."""
        some = self.X[:: -(-len(self.X) // SAMPLE)]
        centred = some - some.mean(axis=0)
        r = min(DIRECTIONS, len(some))
        _, lengths, directions = randomized_svd(centred, r, n_iter=1, random_state=0)
        variances = np.square(lengths.astype(np.float64)) / len(some)
        roots = np.sqrt(variances / self.n_classes + self.penalty)
        return directions.astype(np.float64), roots, float(roots[-1])

    def solution(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (m, n_classes) and intercept (n_classes,)."""
        found = flat.reshape(-1, self.n_classes)
        weights = self._solve(found[:-1], transposed=True)
        # The intercept is that of centred features, which does not depend on the weights.
        return weights, np.sqrt(self.n_classes) * found[-1] - self.mean @ weights

    def __call__(self, flat: np.ndarray, run_each: Callable[..., Any]) -> tuple[float, np.ndarray]:
        """Return the loss, as a mean over rows, and its gradient; `run_each` shares the blocks."""
        weights, intercept = self.solution(flat)
        n, dtype = len(self.X), self.X.dtype
        W, b = weights.astype(dtype), intercept.astype(dtype)
        loss, expected, shares = 0.0, np.zeros_like(weights), np.zeros(self.n_classes)
        firsts = range(0, n, self.rows)
        for few in range(0, len(firsts), BLOCKS):
            found = run_each(partial(self._pass, W, b), firsts[few : few + BLOCKS])
            for lost, products, of_classes in found:
                loss += lost
                expected += products
                shares += of_classes
        # The loss of a row is the logarithm of the sum less the logit of its own class.
        loss = loss / n - float((weights * self.sums).sum() + intercept @ self.of_classes)
        away = shares / n - self.of_classes
        slope = expected / n - self.sums - np.outer(self.mean, away) + self.penalty * weights
        loss += self.penalty / 2 * float(np.square(weights).sum())
        gradient = np.vstack([self._solve(slope, transposed=False), np.sqrt(self.n_classes) * away])
        return loss, gradient.ravel()

    def _pass(self, W: np.ndarray, b: np.ndarray, first: int) -> tuple[float, np.ndarray, Any]:
        """Return sums over the block from a row on: loss, features by class, probabilities."""
        block = self.X[first : first + self.rows]
        logits = block @ W
        logits += b
        highest = logits.max(axis=1, keepdims=True)
        logits -= highest
        np.exp(logits, out=logits)
        totals = logits.sum(axis=1, keepdims=True)
        loss = float(np.log(totals).sum(dtype=np.float64) + highest.sum(dtype=np.float64))
        logits /= totals
        return loss, block.T @ logits, logits.sum(axis=0, dtype=np.float64)
