"""The detector under test: fitted once, and what else its one fit has to give."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from isthmus import AnomalyDetector, Autoencoder
from isthmus.detection import LABEL_FREE, Features, NeighbourScore, Score, extract_features
from isthmus.errors import CalibrationWarning

#: What a part may count beside the distance to neighbours, in the comparison of sums.
WEIGHTS = (0.1, 0.25, 0.5, 1.0)


def fit_detector(
    X: np.ndarray, y: np.ndarray | None = None, *, method: str = "combined", seed: int
) -> AnomalyDetector:
    """Fit with every other parameter at its default: the encoder too, and the calibration."""
    detector = AnomalyDetector(Autoencoder(random_state=seed), method=method, random_state=seed)
    with warnings.catch_warnings():
        # Small tables cannot hold a rate of 0.01; scores are ranked here, no rate is used.
        warnings.simplefilter("ignore", CalibrationWarning)
        return detector.fit(X, y)


def training_features(detector: AnomalyDetector) -> Features:
    """Return the features that the detector's own score was fitted on."""
    reference_set = detector.reference_set_
    if detector.calibration_ == "cross":
        return reference_set.features
    return reference_set.features.take(reference_set.training_rows(reference_set.folds[0]))


def score_parts(detector: AnomalyDetector, X: np.ndarray) -> dict[str, np.ndarray]:
    """Score instances by each label-free score, fitted on what the detector has seen.

    No encoder is trained: the scores share the detector's.

    Returns
    -------
    dict
        From the name of a score to anomaly scores of shape (n,). Under the name of the
        detector's own score are the detector's own.
    """
    return _score_each({name: kind() for name, kind in LABEL_FREE.items()}, detector, X)


def score_candidates(detector: AnomalyDetector, X: np.ndarray) -> dict[str, np.ndarray]:
    """Score instances by every score among which the default was chosen.

    The label-free scores; the distance to one, five and ten neighbours in code and residual
    together; that to five as it is, and over the whole of how far rows lie apart there, not the
    root of it; and its sums with each of the other two scores, in several weights. The scores
    are 1 on average over the training rows, so that sums need no scale.
    """
    scores: dict[str, Any] = {name: kind() for name, kind in LABEL_FREE.items()}
    for k in (1, 5, 10):
        scores[_near(k)] = NeighbourScore(residuals=True, n_neighbors=k)
    found = _score_each(scores, detector, X)
    near = scores[_near(5)]
    distances, rows = near.nearest(extract_features(detector.encoder_, X))
    found[f"{_near(5)}, plain"] = distances.mean(axis=1)
    apart = near.neighbour_distances_[rows].mean(axis=1)
    found[f"{_near(5)}, relative"] = distances.mean(axis=1) / (apart + 1e-12)
    for weight in WEIGHTS:
        for other in ("reconstruction", "mahalanobis"):
            found[f"{_near(5)} + {weight:g} {other}"] = found[_near(5)] + weight * found[other]
    return found


def _near(k: int) -> str:
    return f"near, k={k}"


def _score_each(
    scores: dict[str, Score], detector: AnomalyDetector, X: np.ndarray
) -> dict[str, np.ndarray]:
    train, features = training_features(detector), extract_features(detector.encoder_, X)
    found = {}
    for name, score in scores.items():
        rng = np.random.default_rng([detector.reference_set_.seed, 2])  # the detector's own
        found[name] = score.fit(train, rng).score(features)
    return found
