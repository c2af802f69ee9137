"""How good a detector is on labelled instances, beside distances between the raw ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted

from isthmus._notebook import Evaluation
from isthmus.autoencoder import Autoencoder
from isthmus.errors import DataError
from isthmus.heads import AnomalyDetector
from isthmus.heads.detector_labels import ABNORMAL, NORMAL, UNKNOWN, check_detector_labels

#: Neighbours of the control on raw features.
N_NEIGHBOURS = 5


def evaluate_detector(
    detector: AnomalyDetector, X: Any, y: Any, *, X_train: Any = None, y_train: Any = None
) -> Evaluation:
    """Test a detector on labelled instances that it has not seen.

    Parameters
    ----------
    detector : fitted AnomalyDetector
    X : array or DataFrame of n test instances
    y : array of shape (n,)
        1 normal, -1 abnormal; instances labelled 0 are left out.
    X_train, y_train : like X and y, optional
        What the detector was fitted on, for the control: the mean distance to the five nearest
        rows not labelled abnormal, between the instances as the network sees them. Without
        `y_train` all rows count as normal.

    Returns
    -------
    Evaluation
        A dict of plain values, a table in a notebook: `head`, the score; `asked`, the
        false-alarm rate that the threshold was set for; `code` as `detection_metrics` gives it;
        `controls`, with `auroc` and `auprc` of `raw`, when there are training rows.

    Raises
    ------
    DataError
        When labels are none of 1, -1, 0, or no instance is labelled.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> normal, odd = rng.normal(size=(300, 6)), rng.normal(size=(20, 6)) + 8
    >>> detector = AnomalyDetector(
    ...     Autoencoder(max_epochs=5), false_alarm_rate=0.05, random_state=0
    ... ).fit(normal)
    >>> X, y = np.vstack([rng.normal(size=(100, 6)), odd]), np.repeat([1, -1], [100, 20])
    >>> found = evaluate_detector(detector, X, y)
    >>> found["code"]["auroc"], found["code"]["power"]["share"], found["asked"]
    (1.0, 1.0, 0.05)
    """
    check_is_fitted(detector)
    anomaly_scores = -detector.score_samples(X)
    y = check_detector_labels(y, len(anomaly_scores))
    known = y != UNKNOWN
    if not known.any():
        raise DataError("no test instance is labelled 1 (normal) or -1 (abnormal); label some")
    predicted = np.where(-anomaly_scores - detector.offset_ >= 0, NORMAL, ABNORMAL)
    found = Evaluation(
        head=detector.score_,
        asked=detector.false_alarm_rate_,
        code=detection_metrics(y[known], anomaly_scores[known], predicted[known]),
        controls={},
    )
    if X_train is not None:
        distances = raw_distances(detector.encoder_, X_train, y_train, X)[known]
        found["controls"]["raw"] = ranking(y[known], distances)
    return found


def raw_distances(encoder: Autoencoder, X_train: Any, y_train: Any, X: Any) -> np.ndarray:
    """Score instances without any code: the mean distance to the five nearest training rows.

    Parameters
    ----------
    encoder : fitted Autoencoder
        Whose preprocessing is used.
    X_train : array or DataFrame
    y_train : array of shape (n_train,) or None
        Rows labelled -1 are left out.
    X : array or DataFrame of n instances

    Returns
    -------
    array of shape (n,)
        Higher is more abnormal.
    """
    rows = _raw(encoder, X_train)
    rows = rows[check_detector_labels(y_train, len(rows)) != ABNORMAL]
    nearest = NearestNeighbors(n_neighbors=min(N_NEIGHBOURS, len(rows))).fit(rows)
    distances: np.ndarray = nearest.kneighbors(_raw(encoder, X))[0].mean(axis=1)
    return distances


def detection_metrics(
    y: np.ndarray, anomaly_scores: np.ndarray, predicted: np.ndarray
) -> dict[str, Any]:
    """Compare scores and decisions with labels.

    Parameters
    ----------
    y, predicted : arrays of shape (n,)
        1 normal, -1 abnormal.
    anomaly_scores : array of shape (n,)
        Higher is more abnormal.

    Returns
    -------
    dict
        `n`, `n_normal`, `n_abnormal`; `auroc` and `auprc` (average precision of the
        abnormal), None when only one of the two is there; `false_alarms`, of the normal, and
        `power`, of the abnormal: how many were called abnormal as `count` and `share` of `n`,
        with the 95 % Wilson score `interval` (None when there are none); `classes` [1, -1] and
        `confusion`, a row for each true class.

    Examples
    --------
    >>> y = np.array([1, 1, 1, 1, -1, -1])
    >>> scores = np.array([0.1, 0.2, 0.3, 0.7, 0.6, 0.9])
    >>> found = detection_metrics(y, scores, np.where(scores > 0.5, -1, 1))
    >>> found["auroc"], found["false_alarms"]["share"], found["power"]["share"]
    (0.875, 0.25, 1.0)
    >>> found["confusion"]
    [[3, 1], [0, 2]]
    """
    normal, flagged = y == NORMAL, predicted == ABNORMAL
    parts = (normal, ~normal)
    return {
        "n": len(y),
        "n_normal": int(normal.sum()),
        "n_abnormal": int((~normal).sum()),
        **ranking(y, anomaly_scores),
        "false_alarms": _share(flagged[normal]),
        "power": _share(flagged[~normal]),
        "classes": [NORMAL, ABNORMAL],
        "confusion": [[int((~flagged[p]).sum()), int(flagged[p].sum())] for p in parts],
    }


def ranking(y: np.ndarray, anomaly_scores: np.ndarray) -> dict[str, float | None]:
    """Return `auroc` and `auprc` of scores against labels 1 and -1, None where one is missing."""
    abnormal = y == ABNORMAL
    if abnormal.all() or not abnormal.any():
        return {"auroc": None, "auprc": None}
    return {
        "auroc": float(roc_auc_score(abnormal, anomaly_scores)),
        "auprc": float(average_precision_score(abnormal, anomaly_scores)),
    }


def _share(flagged: np.ndarray) -> dict[str, Any]:
    n, count = len(flagged), int(flagged.sum())
    if not n:
        return {"count": 0, "n": 0, "share": None, "interval": None}
    interval = binomtest(count, n).proportion_ci(0.95, method="wilson")
    bounds = [float(interval.low), float(interval.high)]
    return {"count": count, "n": n, "share": count / n, "interval": bounds}


def _raw(encoder: Autoencoder, X: Any) -> np.ndarray:
    """Return instances as the network sees them, one flat row each."""
    return np.concatenate([batch.inputs.flatten(1).numpy() for batch in encoder.reconstruct(X)])
