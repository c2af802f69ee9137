"""Baselines: raw features, PCA, an untrained encoder, a supervised network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.linalg import eigh
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.extmath import svd_flip

from isthmus._core import isolated_from_host
from isthmus.autoencoder import InstanceEncoder
from isthmus.classification import StandardisedHead, build_head, known_labels, labelled_rows
from isthmus.data import ABNORMAL
from isthmus.data.preprocessing import ImagePreprocessor, issue_warnings
from isthmus.errors import IsthmusError
from isthmus.evaluation.metrics import ClassTally, class_metrics, select_rows
from isthmus.evaluation.supervised_network import SupervisedNetwork
from isthmus.training import draw_seed

#: Values that are preprocessed at a time: a table needs float64 copies.
_VALUES_PREPARED = 2**20
#: Columns up to which scikit-learn's PCA takes the eigenvectors of the covariance.
MAX_COVARIANCE = 1000


def raw_inputs(
    encoder: InstanceEncoder,
    X: Any,
    rows: np.ndarray | None = None,
    then: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Return the preprocessed network inputs of instances, one flat row each.

    Parameters
    ----------
    encoder : fitted Autoencoder or FrozenEncoder
        Whose schema and preprocessing are used; no network is run.
    X : array or DataFrame like the one it was fitted on
    rows : integer or boolean array, optional
        Which instances; all when left out.
    then : callable, optional
        Applied to the inputs, some rows at a time; each row must be treated by itself.

    Returns
    -------
    array of shape (n, m), float32
        A new array, which the caller may overwrite.

    Examples
    --------
    >>> from isthmus import Autoencoder
    >>> X = np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8)
    >>> encoder = Autoencoder(max_epochs=1, random_state=0).fit(X)
    >>> raw_inputs(encoder, X, np.array([3, 4])).shape, bool(raw_inputs(encoder, X).max() == 1)
    ((2, 64), True)
    """
    checked = encoder.schema_.check(X)
    numbers = np.arange(len(checked))
    numbers = numbers if rows is None else numbers[rows]
    result: np.ndarray | None = None
    first = 0
    for inputs in _prepared(encoder, checked, numbers):
        batch = inputs if then is None else then(inputs)
        if result is None:
            result = np.empty((len(numbers), batch.shape[1]), dtype=np.float32)
        result[first : first + len(batch)] = batch
        first += len(batch)
    assert result is not None  # there is at least one batch
    return result


def _prepared(
    encoder: InstanceEncoder, checked: np.ndarray, numbers: np.ndarray
) -> Iterator[np.ndarray]:
    """Yield network inputs of checked instances, one flat row each, some rows at a time."""
    width = math.prod(encoder.preprocessor_.network_shape)
    step = max(1, _VALUES_PREPARED // width)
    for first in range(0, max(1, len(numbers)), step):
        part = checked[numbers[first : first + step]]
        yield encoder.preprocessor_.to_network(part).reshape(-1, width)


def fit_principal_components(
    encoder: InstanceEncoder, X: Any, width: int, seed: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Fit principal components of network inputs; return the function from inputs to them.

    Those of scikit-learn's `PCA`. Where that takes the eigenvectors of the covariance, they are
    found here without all inputs in memory: of many more rows than columns.

    Parameters
    ----------
    encoder : fitted Autoencoder or FrozenEncoder
    X : array or DataFrame
    width, seed : int

    Returns
    -------
    callable
        From inputs (n, m) to components (n, width).

    Examples
    --------
    >>> from isthmus import Autoencoder
    >>> X = np.random.default_rng(0).normal(size=(100, 6)) * [9, 1, 1, 1, 1, 1]
    >>> encoder = Autoencoder(max_epochs=1, random_state=0).fit(X)
    >>> inputs = raw_inputs(encoder, X)
    >>> fit_principal_components(encoder, X, 2, seed=0)(inputs).shape
    (100, 2)
    """
    checked = encoder.schema_.check(X)
    n, m = len(checked), math.prod(encoder.preprocessor_.network_shape)
    if m > MAX_COVARIANCE or n < 10 * m:
        return PCA(width, random_state=seed).fit(raw_inputs(encoder, X)).transform
    # Relative to the mean of the first rows, so that one pass is as exact as two.
    near = next(_prepared(encoder, checked, np.arange(n))).mean(axis=0)
    total, products = np.zeros(m), np.zeros((m, m))
    for inputs in _prepared(encoder, checked, np.arange(n)):
        away = inputs - near
        total += away.sum(axis=0, dtype=np.float64)
        products += away.T @ away
    offset = total / n
    covariance = products / n - np.outer(offset, offset)
    found = eigh(covariance, subset_by_index=(m - width, m - 1))[1][:, ::-1].T
    _, directions = svd_flip(None, found, u_based_decision=False)
    mean = near + offset
    weights = directions.T.astype(np.float32)
    return lambda inputs: (inputs - mean.astype(np.float32)) @ weights


#: From instances to features, and to classes with probabilities, if any, and their columns.
Mapping = Callable[[Any], np.ndarray]
Decider = Callable[[Any], tuple[np.ndarray, np.ndarray | None, np.ndarray]]

#: Values of raw test features that are held in memory at a time: 16 MiB.
VALUES_PER_BATCH = 2**22

#: The baselines of each level.
BASELINES: dict[str, tuple[str, ...]] = {
    "fast": ("raw", "pca", "untrained"),
    "all": ("raw", "pca", "untrained", "supervised"),
}

#: Names of the baselines in tables and figures.
BASELINE_TITLES = {
    "raw": "raw features",
    "pca": "PCA, same width",
    "untrained": "untrained encoder",
    "supervised": "supervised network",
}


def baseline_names(
    baselines: str | None, encoder: InstanceEncoder | None = None
) -> tuple[str, ...]:
    """Return the names at a level: "fast", "all", or None for none.

    Warns
    -----
    DataWarning
        When the untrained encoder is left out, because fresh weights of it cannot be drawn.
    """
    if baselines is None:
        return ()
    if baselines not in BASELINES:
        raise IsthmusError(f"got baselines={baselines!r}, expected 'fast', 'all' or None")
    names = BASELINES[baselines]
    if encoder is None or encoder.trainable or encoder.untrained(0) is not None:
        return names
    text = (
        f"the baseline of the untrained encoder is left out: {encoder.spec_['architecture']} has "
        "no weights that could be drawn afresh"
    )
    issue_warnings([text])
    return tuple(name for name in names if name != "untrained")


class Baselines:
    """Fit and test heads on features other than the code.

    The features of each baseline are computed once for all heads. Raw features are the exception:
    they are as large as the data in float32, and cheap to compute again.

    Parameters
    ----------
    encoder : fitted Autoencoder or FrozenEncoder
    X_train, X_test : arrays or DataFrames
        Like those the encoder was fitted on. `decider` needs no `X_test` and `y_test`.
    y_train, y_test : arrays of labels
        The labels that the head on the codes was fitted on; None in `y_train` where an instance
        is unlabelled, for a head that uses such instances.
    random_state : int, RandomState instance or None
    verbose : bool
        Show progress while the supervised network trains.
    """

    def __init__(
        self,
        encoder: InstanceEncoder,
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
        self._of_pixels = (
            isinstance(encoder.preprocessor_, ImagePreprocessor)
            and getattr(X_train, "dtype", None) == np.uint8
        )
        self._mappings: dict[str, Mapping] = {
            "raw": self._flat,
            "code": lambda X: np.asarray(encoder.transform(X)),
        }
        self._train: dict[str, np.ndarray] = {}
        self._test: dict[str, np.ndarray] = {}
        self._found: dict[tuple[str, str], dict[str, Any]] = {}

    @isolated_from_host()
    def test(self, name: str, head: str | BaseEstimator) -> dict[str, Any]:
        """Fit a head on a baseline's training features and test it.

        The result of a head given by name is stored, and returned when asked for again.

        Parameters
        ----------
        name : {"raw", "pca", "untrained", "code"}
            `"code"` is the frozen code itself, for comparison.
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
            found = self._test_in_batches(fitted)
        else:
            found = score_head(fitted, self.test_features(name), self.y_test)
        if isinstance(head, str):
            self._found[name, head] = found
        return found

    def add_result(self, name: str, head: str, found: dict[str, Any]) -> None:
        """Store a result that was measured elsewhere, which `test` then returns."""
        self._found[name, head] = found

    def test_supervised(self) -> dict[str, Any]:
        """Train the supervised network on the labelled raw instances, and test it.

        Returns
        -------
        dict
        """
        return class_metrics(self.y_test, *self._supervised()(self.X_test))

    @isolated_from_host()
    def decider(self, name: str, head: str | BaseEstimator) -> Decider:
        """Fit a baseline, and return a function that classifies instances with it.

        Parameters
        ----------
        name : {"raw", "pca", "untrained", "supervised"}
        head : see `build_head`
            The supervised network has its own.

        Returns
        -------
        callable
            From instances to their classes (n,), their probabilities (n, n_classes) or None,
            and the classes that are the columns of these.
        """
        if name == "supervised":
            return self._supervised()
        fitted, mapping = self._fit_head(name, head), self._mapping(name)
        return lambda X: (*decide(fitted, mapping(X)), fitted.classes_)

    def train_features(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
        """Return a baseline's features of the training instances, or of some rows.

        `"raw"` are the preprocessed network inputs, flattened, float32; where the training images
        are uint8 they are pixels of 0 to 255, uint8 where the images are. `"pca"` are the principal
        components of the inputs, as many as the code is wide; `"untrained"` the codes of the same
        network with fresh random weights.
        """
        if name == "raw":
            return self._flat(self.X_train, rows)
        if name not in self._train:
            if rows is not None and name in self._mappings:
                return self._mappings[name](select_rows(self.X_train, rows))
            self._train[name] = self._mapping(name)(self.X_train)
        features = self._train[name]
        return features if rows is None else features[rows]

    def test_features(self, name: str) -> np.ndarray:
        """Return a baseline's test features, see `train_features`."""
        if name == "raw":
            return self._flat(self.X_test)
        if name not in self._test:
            self._test[name] = self._mapping(name)(self.X_test)
        return self._test[name]

    def clear_cache(self) -> None:
        """Free the features; fitted baselines and results stay."""
        self._train.clear()
        self._test.clear()

    def _mapping(self, name: str) -> Mapping:
        """Return the function from instances to a baseline's features, fitted once."""
        if name not in self._mappings:
            self._mappings[name] = self._fit_mapping(name)
        return self._mappings[name]

    def _fit_mapping(self, name: str) -> Mapping:
        if name == "untrained":
            twin = self.encoder.untrained(self.seed)
            if twin is None:
                raise IsthmusError(
                    f"got the baseline 'untrained', and {self.encoder.spec_['architecture']} has "
                    "no weights that could be drawn afresh; leave it out"
                )
            return twin.transform
        if name == "pca":
            # Centred rows span one dimension fewer than there are rows: one more component
            # would be rounding noise, which standardising amplifies.
            n_inputs = math.prod(self.encoder.preprocessor_.network_shape)
            width = min(self.encoder.n_components_, n_inputs, len(self.X_train) - 1)
            transform = fit_principal_components(self.encoder, self.X_train, width, self.seed)
            return lambda X: raw_inputs(self.encoder, X, then=transform)
        raise IsthmusError(f"got the baseline {name!r}, expected 'raw', 'pca' or 'untrained'")

    def _test_in_batches(self, fitted: StandardisedHead) -> dict[str, Any]:
        """Test a head on raw features, which are computed a batch of rows at a time."""
        tally = ClassTally()
        step = max(1, VALUES_PER_BATCH // math.prod(self.encoder.preprocessor_.network_shape))
        for first in range(0, len(self.y_test), step):
            rows = np.arange(first, min(first + step, len(self.y_test)))
            features = self._flat(select_rows(self.X_test, rows))
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

    def _flat(self, X: Any, rows: np.ndarray | None = None) -> np.ndarray:
        """Return raw features; pixels are left uint8, as heads standardise them while reading."""
        if not self._of_pixels:
            return raw_inputs(self.encoder, X, rows)
        checked = self.encoder.schema_.check(X if rows is None else select_rows(X, rows))
        flat = checked.reshape(len(checked), -1)
        return flat if flat.dtype == np.uint8 else (flat * 255).astype(np.float32)


def score_head(head: StandardisedHead, features: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Compare a fitted head's predictions on features of shape (n, m) with labels (n,)."""
    return class_metrics(y, *decide(head, features), head.classes_)


def decide(head: StandardisedHead, features: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a fitted head's classes (n,), and probabilities (n, n_classes) or None."""
    if not hasattr(head.head_, "predict_proba"):
        return head.predict(features), None
    probabilities = head.predict_proba(features)
    return head.classes_[probabilities.argmax(axis=1)], probabilities


#: Nearest neighbours of the baselines of a detector.
N_NEIGHBORS = 5
#: Share of the variance of training instances that the components of a baseline hold.
VARIANCE = 0.95
#: From instances to their anomaly scores, higher is more abnormal.
Scorer = Callable[[Any], np.ndarray]


def fit_raw_distance(
    encoder: InstanceEncoder, X_train: Any, y_train: np.ndarray
) -> Callable[[Any], np.ndarray]:
    """Index the training rows; return the function from instances to their raw distances."""
    rows = raw_inputs(encoder, X_train, y_train != ABNORMAL)
    nearest = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, len(rows))).fit(rows)

    def mean_distance(inputs: np.ndarray) -> np.ndarray:
        found: np.ndarray = nearest.kneighbors(inputs)[0].mean(axis=1, keepdims=True)
        return found

    return lambda X: raw_inputs(encoder, X, then=mean_distance).ravel()


def fit_principal_residual(encoder: InstanceEncoder, train: Any) -> Scorer:
    """Return the function from instances to their squared residual of principal components.

    They hold 95 % of the variance of the training instances.
    """
    pca = PCA(VARIANCE, svd_solver="full").fit(raw_inputs(encoder, train))

    def residual(X: Any) -> np.ndarray:
        centred = raw_inputs(encoder, X) - pca.mean_
        projected = centred @ pca.components_.T
        found: np.ndarray = ((centred - projected @ pca.components_) ** 2).sum(axis=1)
        return found

    return residual


def fit_code_distance(encoder: InstanceEncoder, train: Any) -> Scorer:
    """Return the function from instances to the mean distance of their codes to the nearest."""
    codes = encoder.transform(train)
    nearest = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, len(codes))).fit(codes)

    def distances(X: Any) -> np.ndarray:
        found: np.ndarray = nearest.kneighbors(encoder.transform(X))[0].mean(axis=1)
        return found

    return distances
