"""Chapter "normal or not": scores, thresholds, what calibration promises, findings with reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from isthmus.bundle import rows_used_in_fit
from isthmus.data import ABNORMAL, NORMAL, Dataset, verdicts
from isthmus.detection import UNKNOWN, AnomalyDetector, check_detector_labels
from isthmus.evaluation import detection_metrics, ranking, raw_distances
from isthmus.report.wording import short_text

if TYPE_CHECKING:
    from isthmus.report.gallery import TestResult

N_BINS = 40
#: Places of the slider, and points of a curve.
N_STEPS = 200
N_FINDINGS, N_REASONS, N_NEIGHBORS = 8, 5, 3


def verdict_facts(
    name: str,
    detector: AnomalyDetector,
    test: Dataset,
    labels: dict[str, np.ndarray | None],
    hashes: dict[str, np.ndarray],
    train: Dataset | None = None,
    tested: TestResult | None = None,
) -> dict[str, Any] | None:
    """Let a detector decide on those of a part of the data that it does not know.

    Parameters
    ----------
    name : str
    detector : fitted AnomalyDetector
    test : Dataset
    labels : dict of str to array of shape (n,) or None
        Of `"test"` and `"train"`: 1 normal, -1 abnormal, 0 unlabelled; None: of no use here.
    hashes : dict of str to uint64 array
        Of the instances of `"test"` and, where there are any, `"train"`.
    train : Dataset, optional
        For the baseline without a code.
    tested : Tested, optional
        Of all rows of a stream, which `test` was drawn from: all but `findings` is then theirs.

    Returns
    -------
    dict or None
        None when it knows them all. `n_known`, instances that it learned from or was calibrated
        on, which are left out; `asked`, `threshold` (of the anomaly score), `calibration` and its
        `n_calibration` and `smallest_rate`; `flagged`, of `n`; `histogram` with `edges` and
        counts by label; `steps`, thresholds with the number of instances above them; `found`, see
        `detection_metrics`, with `roc` and `precision_recall`, where there are labels;
        `label_curve`; `raw`, the same ranking by distances between the instances themselves, where
        there are labels and a training part; `findings`, the highest scores with `reasons` (a
        feature's name, its share of the squared residual and, in a table, its value) and `nearest`,
        the rows of the training part that are their nearest normals, as far as these are in it.
    """
    y = check_detector_labels(labels["test"], len(test))
    rows = np.flatnonzero(~rows_used_in_fit(detector, hashes["test"]))
    if not len(rows):
        return None
    facts: dict[str, Any] = {
        "name": name,
        "method": detector.method_,
        "asked": detector.false_alarm_rate_,
        "threshold": float(-detector.offset_),
        "calibration": detector.calibration_,
        "n_calibration": detector.n_calibration_,
        "smallest_rate": detector.score_calibration_.smallest_rate,
        "n": len(rows),
        "n_known": len(test) - len(rows),
        "label_curve": detector.label_curve_,
        "found": None,
        "raw": None,
    }
    scores, known_labels = -detector.score_samples(test.take(rows).X), y[rows]
    findings = {"findings": _findings(detector, test, rows, scores, known_labels)}
    if tested is not None:
        scores, known_labels = np.concatenate(tested.scores), np.concatenate(tested.labels)
        facts |= {"n": len(scores), "n_known": tested.n_known}
    facts |= _decided(detector, scores, known_labels)
    _find_nearest(findings["findings"], detector, hashes.get("train"))
    known = y[rows] != UNKNOWN
    if train is not None and labels["train"] is not None and known.any():
        encoder, some = detector.encoder_, test.take(rows[known]).X
        distances = raw_distances(encoder, train.X, labels["train"], some)
        facts["raw"] = ranking(y[rows[known]], distances)
    return facts | findings


def _decided(detector: AnomalyDetector, scores: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Return what there is to say about the scores of instances that the detector does not know."""
    predicted = verdicts(scores, -detector.offset_)
    facts: dict[str, Any] = {
        "flagged": int((predicted == ABNORMAL).sum()),
        "histogram": _histogram(scores, y),
        "steps": _steps(scores, y, float(-detector.offset_)),
    }
    known = y != UNKNOWN
    if known.any():
        found = detection_metrics(y[known], scores[known], predicted[known])
        if found["auroc"] is not None:
            found["roc"] = _thinned(*roc_curve(y[known] == ABNORMAL, scores[known])[:2])
            precision, recall, _ = precision_recall_curve(y[known] == ABNORMAL, scores[known])
            found["precision_recall"] = _thinned(recall[::-1], precision[::-1])
        facts["found"] = found
    return facts


def _histogram(scores: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    # The few highest scores would leave one bar for all the others.
    low, high = float(scores.min()), float(np.quantile(scores, 0.995))
    high = high if high > low else low + 1.0
    edges = np.linspace(low, high, N_BINS + 1)
    return {
        "edges": edges.tolist(),
        "beyond": int((scores > high).sum()),
        "counts": {
            name: np.histogram(np.minimum(scores[y == label], high), edges)[0].tolist()
            for name, label in (("normal", NORMAL), ("abnormal", ABNORMAL), ("unknown", UNKNOWN))
            if (y == label).any()
        },
    }


def _steps(scores: np.ndarray, y: np.ndarray, threshold: float) -> list[dict[str, Any]]:
    """Return thresholds in rising order, the detector's own among them, and what is above."""
    places = np.quantile(scores, np.linspace(0, 1, N_STEPS))
    places = np.unique(np.concatenate([places, [threshold]]))
    parts = {"normal": scores[y == NORMAL], "abnormal": scores[y == ABNORMAL], "all": scores}
    return [
        {"threshold": float(place)}
        | {
            name: int((verdicts(part, place) == ABNORMAL).sum())
            for name, part in parts.items()
            if len(part)
        }
        for place in places
    ]


def _findings(
    detector: AnomalyDetector,
    test: Dataset,
    rows: np.ndarray,
    scores: np.ndarray,
    y: np.ndarray,
) -> list[dict[str, Any]]:
    highest = np.argsort(-scores, kind="stable")[:N_FINDINGS]
    some = test.take(rows[highest]).X
    told = detector.explain(some, n_neighbors=N_NEIGHBORS)
    reasons, p_values = told.top(N_REASONS), detector.p_values(some)
    return [
        {
            "row": int(rows[row]),
            "score": float(scores[row]),
            "p_value": float(p_values[at]),
            "label": int(y[row]),
            "reasons": [
                {"name": name, "share": float(share), "value": _value(some, at, name)}
                for name, share in reasons[at]
            ],
            "neighbours": told.neighbours[at].tolist(),
        }
        for at, row in enumerate(highest)
    ]


def _value(X: Any, at: int, name: str) -> str | None:
    """Return a column's value as text, None where there are no columns."""
    return short_text(X[name].iloc[at]) if isinstance(X, pd.DataFrame) and name in X else None


def _find_nearest(
    findings: list[dict[str, Any]], detector: AnomalyDetector, hashes: np.ndarray | None
) -> None:
    """Say which of the training instances at hand are a finding's nearest normals."""
    rows = {} if hashes is None else {int(one): row for row, one in enumerate(hashes)}
    for one in findings:
        known = detector.reference_set_.hashes[one["neighbours"]].tolist()
        one["nearest"] = [rows[seen] for seen in known if seen in rows]


def _thinned(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    """Return points of a curve, 200 about equally far apart along it at most."""
    if len(x) > N_STEPS:
        along = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
        keep = np.searchsorted(along, np.linspace(0, along[-1], N_STEPS))
        keep = np.unique(np.concatenate([[0], keep, [len(x) - 1]]))
        x, y = x[keep], y[keep]
    return [[float(a), float(b)] for a, b in zip(x, y, strict=True)]
