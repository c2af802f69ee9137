"""The controls that every claim about a code stands beside."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA

from isthmus.autoencoder import Autoencoder
from isthmus.errors import IsthmusError
from isthmus.evaluation.metrics import ClassTally, class_metrics
from isthmus.evaluation.raw import raw_inputs
from isthmus.evaluation.rows_to_test import some_of
from isthmus.evaluation.supervised import SupervisedNetwork
from isthmus.heads import StandardisedHead, build_head
from isthmus.heads.labels import known_labels, labelled_rows
from isthmus.training import draw_seed

#: From instances to features, and to classes with probabilities, if any, and their columns.
Mapping = Callable[[Any], np.ndarray]
Decider = Callable[[Any], tuple[np.ndarray, np.ndarray | None, np.ndarray]]

#: Raw features of test instances, in values, that are there at a time.
TESTED_AT_ONCE = 2**20

#: What each level of controls holds.
CONTROLS: dict[str, tuple[str, ...]] = {
    "fast": ("raw", "pca", "untrained"),
    "all": ("raw", "pca", "untrained", "supervised"),
}

#: What a control is called when a person reads it.
IN_WORDS = {
    "raw": "raw features",
    "pca": "PCA, same width",
    "untrained": "untrained encoder",
    "supervised": "supervised network",
}


def control_names(controls: str | None) -> tuple[str, ...]:
    """Return the names at a level: "fast", "all", or None for none."""
    if controls is None:
        return ()
    if controls not in CONTROLS:
        raise IsthmusError(f"got controls={controls!r}, expected 'fast', 'all' or None")
    return CONTROLS[controls]


class Controls:
    """Test a head on what a person would use in place of the code.

    The features of each control are computed once, however many heads are put on them, but for
    raw ones: they are as large as the data in float32, and soon made again.

    Parameters
    ----------
    encoder : fitted Autoencoder
    X_train, X_test : arrays or DataFrames
        Like those the encoder was fitted on. `decider` needs no `X_test` and `y_test`.
    y_train, y_test : arrays of labels
        The same labels that the head on the codes had; None in `y_train` where an instance is
        unlabelled, for a head that uses those.
    random_state : int, RandomState instance or None
    verbose : bool
        Show progress while the supervised network trains.
    """

    def __init__(
        self,
        encoder: Autoencoder,
        X_train: Any,
        y_train: np.ndarray,
        X_test: Any = None,
        y_test: np.ndarray | None = None,
        *,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.encoder = encoder
        self.X_train, self.y_train = X_train, np.asarray(y_train)
        self.X_test: Any = X_test
        self.y_test: Any = None if y_test is None else np.asarray(y_test)
        self.seed = draw_seed(random_state)
        self.verbose = verbose
        self._mappings: dict[str, Mapping] = {
            "raw": self._flat,
            "code": lambda X: np.asarray(encoder.transform(X)),
        }
        self._train: dict[str, np.ndarray] = {}
        self._test: dict[str, np.ndarray] = {}
        self._found: dict[tuple[str, str], dict[str, Any]] = {}

    def test(self, name: str, head: str | BaseEstimator) -> dict[str, Any]:
        """Fit a head on a control's training features and test it.

        What a head with a name made of it is kept, and not measured again.

        Parameters
        ----------
        name : {"raw", "pca", "untrained", "code"}
            `"code"` is no control, but what they stand beside.
        head : see `build_head`

        Returns
        -------
        dict
            See `class_metrics`.
        """
        if isinstance(head, str) and (name, head) in self._found:
            return self._found[name, head]
        fitted = self._fit_head(name, head)
        if name == "raw":
            found = self._test_in_parts(fitted)
        else:
            found = score_head(fitted, self.test_features(name), self.y_test)
        if isinstance(head, str):
            self._found[name, head] = found
        return found

    def remember(self, name: str, head: str, found: dict[str, Any]) -> None:
        """Take what was measured elsewhere as what `test` would return."""
        self._found[name, head] = found

    def test_supervised(self) -> dict[str, Any]:
        """Train the supervised network on the labelled instances themselves, and test it."""
        return class_metrics(self.y_test, *self._supervised()(self.X_test))

    def decider(self, name: str, head: str | BaseEstimator) -> Decider:
        """Fit a control, to be tested on instances piece by piece.

        Parameters
        ----------
        name : {"raw", "pca", "untrained", "supervised"}
        head : see `build_head`
            The supervised network has its own.

        Returns
        -------
        callable
            From instances to their classes (n,), their probabilities (n, n_classes) or None,
            and what the columns of these stand for.
        """
        if name == "supervised":
            return self._supervised()
        fitted, mapping = self._fit_head(name, head), self._mapping(name)
        return lambda X: (*decide(fitted, mapping(X)), fitted.classes_)

    def train_features(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
        """Return a control's features of the training instances, or of those rows, float32.

        `"raw"` are the instances as the network would see them, flattened; `"pca"` their
        principal components, as many as the code is wide; `"untrained"` the codes of the
        same network with fresh random weights.
        """
        if name == "raw":
            return raw_inputs(self.encoder, self.X_train, rows)
        if name not in self._train:
            if rows is not None and name in self._mappings:
                return self._mappings[name](some_of(self.X_train, rows))
            self._train[name] = self._mapping(name)(self.X_train)
        features = self._train[name]
        return features if rows is None else features[rows]

    def test_features(self, name: str) -> np.ndarray:
        """Return a control's test features, see `train_features`."""
        if name == "raw":
            return self._flat(self.X_test)
        if name not in self._test:
            self._test[name] = self._mapping(name)(self.X_test)
        return self._test[name]

    def let_go(self) -> None:
        """Let go of all features, and keep what was learned and measured."""
        self._train.clear()
        self._test.clear()

    def _mapping(self, name: str) -> Mapping:
        """Return what makes a control's features of instances."""
        if name not in self._mappings:
            self._mappings[name] = self._learn(name)
        return self._mappings[name]

    def _learn(self, name: str) -> Mapping:
        if name == "untrained":
            return self.encoder.untrained(self.seed).transform
        if name == "pca":
            train = self._flat(self.X_train)
            # Centred rows span one dimension fewer than there are rows: one more component
            # would be rounding noise, which standardising blows up.
            width = min(self.encoder.n_components_, train.shape[1], len(train) - 1)
            pca = PCA(width, random_state=self.seed).fit(train)
            return lambda X: raw_inputs(self.encoder, X, then=pca.transform)
        raise IsthmusError(f"got the control {name!r}, expected 'raw', 'pca' or 'untrained'")

    def _test_in_parts(self, fitted: StandardisedHead) -> dict[str, Any]:
        """Test a head on raw features, of which only some rows are there at a time."""
        tally = ClassTally()
        step = max(1, TESTED_AT_ONCE // math.prod(self.encoder.preprocessor_.network_shape))
        for first in range(0, len(self.y_test), step):
            rows = np.arange(first, min(first + step, len(self.y_test)))
            features = self._flat(some_of(self.X_test, rows))
            tally.update(self.y_test[rows], *decide(fitted, features), fitted.classes_)
        return tally.result()

    def _fit_head(self, name: str, head: str | BaseEstimator) -> StandardisedHead:
        n_labels = len(labelled_rows(self.y_train))
        built = build_head(head, n_labels=n_labels, random_state=self.seed)
        train = self.train_features(name)
        return StandardisedHead(built).fit(train, self.y_train, overwrite=name == "raw")

    def _supervised(self) -> Decider:
        network = SupervisedNetwork(
            self.encoder.preprocessor_, random_state=self.seed, verbose=self.verbose
        )
        check = self.encoder.schema_.check
        rows = labelled_rows(self.y_train)
        network.fit(check(self.X_train)[rows], known_labels(self.y_train))

        def decide_on(X: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            probabilities = network.predict_proba(check(X))
            return network.classes_[probabilities.argmax(axis=1)], probabilities, network.classes_

        return decide_on

    def _flat(self, X: Any) -> np.ndarray:
        return raw_inputs(self.encoder, X)


def score_head(head: StandardisedHead, features: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Compare a fitted head's predictions on features of shape (n, m) with labels (n,)."""
    return class_metrics(y, *decide(head, features), head.classes_)


def decide(head: StandardisedHead, features: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a fitted head's classes (n,), and probabilities (n, n_classes) where it has them."""
    if not hasattr(head.head_, "predict_proba"):
        return head.predict(features), None
    probabilities = head.predict_proba(features)
    return head.classes_[probabilities.argmax(axis=1)], probabilities
