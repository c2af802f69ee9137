"""What the detector of series is compared with, on the same time points.

Each is a function of training readings (n, c), test readings (m, c), the window and a seed, and
returns the anomaly score of each test point, (m,). Channels are standardised by the training
part, constant ones centred. A score of windows is spread to a time point as the mean over the
windows, one at every time point, that cover it. What is not said is the library's default.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors

from isthmus.detection import WindowPlaces

PointScorer = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]
WindowScorer = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both parts in deviations of the training part."""
    spread = train.std(axis=0)
    spread[spread == 0] = 1.0
    return (train - train.mean(axis=0)) / spread, (test - train.mean(axis=0)) / spread


def cut_windows(values: np.ndarray, window: int) -> np.ndarray:
    """Return the windows at every time point, (m - window + 1, window, c)."""
    return sliding_window_view(values, window, axis=0).transpose(0, 2, 1)


def as_rows(values: np.ndarray, window: int) -> np.ndarray:
    """Return the windows at every time point as rows, (m - window + 1, window c)."""
    windows = cut_windows(values, window)
    return windows.reshape(len(windows), -1)


def spread(scores: np.ndarray, n_points: int, window: int) -> np.ndarray:
    """Return the mean over the windows that cover each time point."""
    return WindowPlaces.cut(np.array([[0, n_points]]), window, 1).spread(scores)


def of_windows(scorer: WindowScorer) -> PointScorer:
    """Return the scorer of time points that a scorer of windows makes."""

    def score(train: np.ndarray, test: np.ndarray, window: int, seed: int) -> np.ndarray:
        train, test = standardised(train, test)
        scores = scorer(as_rows(train, window), as_rows(test, window), seed)
        return spread(scores, len(test), window)

    return score


def pca_residual(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Distance to the principal subspace with 95 % of the variance (Sub-PCA)."""
    pca = PCA(svd_solver="full").fit(train)
    width = int(np.searchsorted(np.cumsum(pca.explained_variance_ratio_), 0.95)) + 1
    axes = pca.components_[:width]
    centred = test - pca.mean_
    away: np.ndarray = np.linalg.norm(centred - centred @ axes.T @ axes, axis=1)
    return away


def neighbours(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Mean distance to the five nearest training windows."""
    index = NearestNeighbors(n_neighbors=min(5, len(train)), algorithm="brute").fit(train)
    distances: np.ndarray = index.kneighbors(test)[0].mean(axis=1)
    return distances


def mahalanobis(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Mahalanobis distance with the covariance of Ledoit and Wolf."""
    distances: np.ndarray = LedoitWolf().fit(train).mahalanobis(test)
    return distances


def isolation_forest(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Isolation forest of 100 trees."""
    scores: np.ndarray = -IsolationForest(random_state=seed).fit(train).score_samples(test)
    return scores


def ridge_forecast(train: np.ndarray, test: np.ndarray, window: int, seed: int) -> np.ndarray:
    """Error of a ridge regression on the window before, averaged over a window around."""
    train, test = standardised(train, test)
    model = Ridge().fit(as_rows(train, window)[:-1], train[window:])
    predicted = model.predict(as_rows(test, window)[:-1]).reshape(-1, test.shape[1])
    errors = np.square(test[window:] - predicted).sum(axis=1)
    errors = np.concatenate([np.full(window, np.median(errors)), errors])
    return np.convolve(errors, np.ones(window) / window, "same")


def matrix_profile(train: np.ndarray, test: np.ndarray, window: int, seed: int) -> np.ndarray:
    """Distance to the nearest training window of stumpy, mean over the channels."""
    import stumpy

    # stumpy takes contiguous float64 alone.
    train, test = (np.asfortranarray(one, dtype=np.float64) for one in standardised(train, test))
    profiles = [
        stumpy.stump(test[:, j], window, train[:, j], ignore_trivial=False)[:, 0].astype(float)
        for j in range(test.shape[1])
    ]
    finite = [np.where(np.isfinite(one), one, np.sqrt(2 * window)) for one in profiles]
    return spread(np.mean(finite, axis=0), len(test), window)


def series_detectors() -> dict[str, PointScorer]:
    """Return the detectors by name: stumpy's matrix profile among them where it is installed."""
    found: dict[str, PointScorer] = {
        "PCA residual": of_windows(pca_residual),
        "nearest windows": of_windows(neighbours),
        "Mahalanobis": of_windows(mahalanobis),
        "ridge forecast": ridge_forecast,
        "isolation forest": of_windows(isolation_forest),
    }
    if importlib.util.find_spec("stumpy") is not None:
        found["matrix profile"] = matrix_profile
    return found
