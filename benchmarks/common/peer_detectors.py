"""What isthmus is compared with: other detectors, and classifiers for few labels.

Each is a function of standardised training rows and a seed that returns a function from rows
to anomaly scores, higher for more abnormal. What is not said here is the library's default.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.svm import OneClassSVM

Scorer = Callable[[np.ndarray], np.ndarray]

#: A one-class SVM's time grows with the square of its rows and more.
MAX_SVM_ROWS = 10_000


def neighbours(train: np.ndarray, seed: int) -> Scorer:
    """Mean distance to the five nearest training rows (Angiulli and Pizzuti, 2002)."""
    index = NearestNeighbors(n_neighbors=min(5, len(train))).fit(train)
    return lambda rows: index.kneighbors(rows)[0].mean(axis=1)


def isolation_forest(train: np.ndarray, seed: int) -> Scorer:
    """Isolation forest of 100 trees."""
    forest = IsolationForest(random_state=seed).fit(train)
    return lambda rows: -forest.score_samples(rows)


def local_outlier_factor(train: np.ndarray, seed: int) -> Scorer:
    """Local outlier factor with 20 neighbours."""
    factor = LocalOutlierFactor(n_neighbors=20, novelty=True).fit(train)
    return lambda rows: -factor.score_samples(rows)


def one_class_svm(train: np.ndarray, seed: int) -> Scorer:
    """One-class SVM with an RBF kernel, on 10,000 training rows at most."""
    if len(train) > MAX_SVM_ROWS:
        train = train[np.random.default_rng(seed).permutation(len(train))[:MAX_SVM_ROWS]]
    machine = OneClassSVM().fit(train)
    return lambda rows: -machine.score_samples(rows)


def pca_residual(train: np.ndarray, seed: int, width: int | None = None) -> Scorer:
    """Return the squared distance to a principal subspace.

    Of `width` dimensions, or of as many as hold 90 % of the variance; one fewer than there
    are columns at most, because in all of them nothing is left over.
    """
    pca = PCA(svd_solver="full").fit(train)
    if width is None:
        width = int(np.searchsorted(np.cumsum(pca.explained_variance_ratio_), 0.9)) + 1
    axes = pca.components_[: min(width, train.shape[1] - 1)]

    def score(rows: np.ndarray) -> np.ndarray:
        centred = rows - pca.mean_
        return ((centred - centred @ axes.T @ axes) ** 2).sum(axis=1)

    return score


def svm_on_components(train: np.ndarray, seed: int, width: int) -> Scorer:
    """One-class SVM on the first principal components."""
    pca = PCA(width, svd_solver="full").fit(train)
    score = one_class_svm(pca.transform(train), seed)
    return lambda rows: score(pca.transform(rows))


def pyod_autoencoder(train: np.ndarray, seed: int) -> Scorer:
    """PyOD's AutoEncoder: hidden layers of 64 and 32, ten epochs."""
    from pyod.models.auto_encoder import AutoEncoder

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The rows are standardised, and its own way divides by zero on a constant column. The
        # contamination moves its threshold, which is not looked at, and not its scores.
        network = AutoEncoder(
            contamination=0.01,
            preprocessing=False,
            batch_size=min(32, len(train)),  # its default, and a batch it does not fill is lost
            random_state=seed,
            verbose=0,
            device="cpu",
        )
        network.fit(train)
    return network.decision_function


def pyod_ecod(train: np.ndarray, seed: int) -> Scorer:
    """PyOD's ECOD, empirical tail probabilities: the first in PyOD's own ranking for tables."""
    from pyod.models.ecod import ECOD

    return ECOD().fit(train).decision_function


def ddae(train: np.ndarray, seed: int) -> Scorer:
    """Return the score of an autoencoder that removes noise of a stated level."""
    from common.denoising_diffusion import DDAE

    return DDAE(train, seed)


PEERS: dict[str, Callable[[np.ndarray, int], Scorer]] = {
    "kNN": neighbours,
    "IsolationForest": isolation_forest,
    "LOF": local_outlier_factor,
    "OneClassSVM": one_class_svm,
    "PCA residual": pca_residual,
}
PYOD = "PyOD AutoEncoder"
OF_PYOD: dict[str, Callable[[np.ndarray, int], Scorer]] = {
    PYOD: pyod_autoencoder,
    "PyOD ECOD": pyod_ecod,
}
#: Those whose fit takes ten times as long as that of all others.
SLOW: dict[str, Callable[[np.ndarray, int], Scorer]] = {"DDAE": ddae}


def detectors(*, slow: bool = False) -> dict[str, Callable[[np.ndarray, int], Scorer]]:
    """Return the detectors by name: PyOD's among them where PyOD is installed."""
    found = importlib.util.find_spec("pyod") is not None
    return PEERS | (OF_PYOD if found else {}) | (SLOW if slow else {})


def gradient_boosting(train: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    """Histogram gradient boosting, without early stopping, which a single label cannot feed."""
    model = HistGradientBoostingClassifier(early_stopping=False, random_state=seed).fit(train, y)
    return lambda rows: model.predict_proba(rows)[:, 1]


def logistic_regression(train: np.ndarray, y: np.ndarray, seed: int) -> Scorer:
    """Logistic regression."""
    model = LogisticRegression(max_iter=2000).fit(train, y)
    return lambda rows: model.decision_function(rows)


#: Of training rows, a boolean array that marks those labelled abnormal, and a seed.
CLASSIFIERS: dict[str, Callable[[np.ndarray, np.ndarray, int], Scorer]] = {
    "HistGradientBoosting": gradient_boosting,
    "LogisticRegression": logistic_regression,
}
