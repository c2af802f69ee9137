"""Heads by name, and how any head is put on features: standardised first."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from isthmus.heads.mlp import MLPHead

HEADS = ("linear", "mlp", "neighbours")


def build_head(
    head: str | BaseEstimator,
    *,
    n_labels: int,
    random_state: int | np.random.RandomState | None = None,
    verbose: bool = False,
    checkpoint_dir: str | Path | None = None,
) -> BaseEstimator:
    """Build an unfitted head.

    Parameters
    ----------
    head : {"linear", "mlp", "neighbours"} or scikit-learn classifier
        `"linear"` is multinomial logistic regression, `"neighbours"` the five nearest
        labelled codes weighted by closeness, `"mlp"` see `MLPHead`. A classifier is
        cloned, and takes `random_state` when it has one that is None.
    n_labels : int
        Labels at hand; there are never more neighbours than that.

    Raises
    ------
    ValueError
        When the head is not one of these.
    """
    if isinstance(head, str):
        if head == "linear":
            return LogisticRegression(C=1.0, max_iter=2000)
        if head == "neighbours":
            return KNeighborsClassifier(min(5, n_labels), weights="distance", algorithm="brute")
        if head == "mlp":
            return MLPHead(
                random_state=random_state, verbose=verbose, checkpoint_dir=checkpoint_dir
            )
    elif hasattr(head, "fit") and hasattr(head, "predict") and not isinstance(head, type):
        own = clone(head)
        if "random_state" in own.get_params() and own.get_params()["random_state"] is None:
            own.set_params(random_state=random_state)
        return own
    raise ValueError(
        f"got head={head!r}, expected one of {', '.join(HEADS)}, or a scikit-learn classifier"
    )


class StandardisedHead:
    """A head with the standardisation of its training features in front.

    The same object decides on codes and on every control's features.

    Attributes
    ----------
    scaler_ : StandardScaler
    head_ : fitted classifier
    """

    def __init__(self, head: BaseEstimator) -> None:
        self.head = head

    def fit(self, features: np.ndarray, y: np.ndarray) -> Self:
        """Learn from features of shape (n, m) and labels of shape (n,)."""
        self.scaler_ = StandardScaler().fit(features)
        self.head_: Any = self.head.fit(self.scaler_.transform(features), y)
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the class of each row."""
        return self.head_.predict(self.scaler_.transform(features))

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """Return class probabilities, one row each, where the head has them."""
        return self.head_.predict_proba(self.scaler_.transform(features))
