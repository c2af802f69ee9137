"""Heads by name, and the standardisation in front of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelPropagation, LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from isthmus.classification.class_labels import known_labels, labelled_rows, partial_labels
from isthmus.classification.label_spreading import SpreadingHead
from isthmus.classification.mlp import MLPHead

#: Names of heads, see `build_head`.
HEADS = ("linear", "mlp", "neighbours", "svm", "spreading")
#: Values in a chunk to which the scaler is fitted: 8 MiB of float64.
SCALED_AT_ONCE = 2**20
#: Types in a fitted `"svm"` that skops does not trust by itself: scikit-learn's, with numbers only.
TRUSTED_TYPES = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._TemperatureScaling",
)


def build_head(
    head: str | BaseEstimator,
    *,
    n_labels: int,
    random_state: int | np.random.RandomState | None = None,
    verbose: bool = False,
    checkpoint_dir: str | Path | None = None,
) -> BaseEstimator:
    """Return an unfitted head.

    Parameters
    ----------
    head : {"linear", "mlp", "neighbours", "svm", "spreading"} or scikit-learn classifier
        `"linear"` is multinomial logistic regression, `"neighbours"` the five nearest
        labelled codes weighted by closeness, `"mlp"` see `MLPHead`, `"svm"` see
        `support_vector_machine`, `"spreading"` see `SpreadingHead`. A classifier is cloned,
        and takes `random_state` when it has one that is None.
    n_labels : int
        Number of labels; the neighbours are no more than that.

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
        if head == "svm":
            return support_vector_machine()
        if head == "spreading":
            return SpreadingHead()
    elif hasattr(head, "fit") and hasattr(head, "predict") and not isinstance(head, type):
        own = clone(head)
        if "random_state" in own.get_params() and own.get_params()["random_state"] is None:
            own.set_params(random_state=random_state)
        return own
    raise ValueError(
        f"got head={head!r}, expected one of {', '.join(HEADS)}, or a scikit-learn classifier"
    )


def support_vector_machine() -> CalibratedClassifierCV:
    """Build an unfitted support vector machine for standardised features.

    Its kernel is Gaussian, exp(-|a - b|² / m) for m features, and C = 5 (chosen on validation
    parts of MNIST). One temperature turns its decisions into probabilities (Guo et al., 2017),
    found on decisions that three parts of the labels got from the others, so each class needs
    three labels. Time grows with the square of the number of labels: 60,000 codes of 128 numbers
    take a minute, as many rows of 784 several.
    """
    machine = SVC(C=5.0, gamma="auto", cache_size=500)
    return CalibratedClassifierCV(machine, method="temperature", cv=3, ensemble=False)


def uses_unlabelled(head: str | BaseEstimator) -> bool:
    """Return whether a head is fitted on unlabelled rows too.

    `"spreading"`, and scikit-learn's `SelfTrainingClassifier`, `LabelSpreading` and
    `LabelPropagation`.
    """
    if isinstance(head, str):
        return head == "spreading"
    return isinstance(
        head, SpreadingHead | SelfTrainingClassifier | LabelSpreading | LabelPropagation
    )


def fitted_scaler(features: np.ndarray) -> StandardScaler:
    """Fit a scaler to features of shape (n, m), a chunk of rows at a time.

    In one call scikit-learn makes a float64 copy of them, twice as large as float32 features.
    Up to `SCALED_AT_ONCE` values the result is that of one call to the last bit, beyond that up
    to the rounding of float64.
    """
    scaler = StandardScaler()
    step = max(1, SCALED_AT_ONCE // max(1, features.shape[1]))
    for first in range(0, max(1, len(features)), step):
        scaler.partial_fit(features[first : first + step])
    return scaler


class StandardisedHead:
    """A head behind the standardisation of its training features.

    Used for codes and for the features of every baseline. A head that uses unlabelled
    rows gets the positions of the labels in `classes_`, and -1 for unlabelled rows, so that labels
    may be text there too; the standardisation is over all rows.

    Attributes
    ----------
    scaler_ : StandardScaler
    head_ : fitted classifier
    indexed_classes_ : array of shape (n_classes,) or None
        The classes where the head is fitted on their positions.
    """

    def __init__(self, head: BaseEstimator) -> None:
        self.head = head

    def fit(self, features: np.ndarray, y: np.ndarray, *, overwrite: bool = False) -> Self:
        """Fit on features of shape (n, m) and labels of shape (n,).

        With `overwrite` the features are standardised in place, which saves a copy.
        """
        self.scaler_ = fitted_scaler(features)
        standardised = self.scaler_.transform(features, copy=not overwrite)
        self.indexed_classes_: np.ndarray | None = None
        if uses_unlabelled(self.head):
            y = partial_labels(np.asarray(y))
            self.indexed_classes_, places = np.unique(known_labels(y), return_inverse=True)
            given = np.full(len(y), -1)
            given[labelled_rows(y)] = places
            self.head_: Any = self.head.fit(standardised, given)
        else:
            self.head_ = self.head.fit(standardised, y)
        return self

    @property
    def classes_(self) -> np.ndarray:
        """The classes, sorted, as given in `y`."""
        return self.head_.classes_ if self.indexed_classes_ is None else self.indexed_classes_

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the class of each row."""
        predicted = self.head_.predict(self.scaler_.transform(features))
        return predicted if self.indexed_classes_ is None else self.indexed_classes_[predicted]

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """Return class probabilities, shape (n, n_classes), where the head has them."""
        return self.head_.predict_proba(self.scaler_.transform(features))
