"""Chapter "normal or not": scores, thresholds, calibration, and findings with reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from isthmus.autoencoder import HeldOut, TrainingRowHashes
from isthmus.bundle import Bundle, rows_used_in_fit
from isthmus.data import ABNORMAL, NORMAL, Dataset, take_rows, verdicts
from isthmus.detection import (
    UNKNOWN,
    AnomalyDetector,
    check_detector_labels,
    column_values,
)
from isthmus.evaluation import (
    MIN_INSTANCES,
    detection_metrics,
    evaluate_groups,
    measure_column_drift,
    ranking,
    raw_distances,
)
from isthmus.report.flagged_cases import explain_shown, numbers_by_hash, value_text
from isthmus.report.wording import percent

if TYPE_CHECKING:
    from isthmus.report.gallery import TestResult

N_BINS = 40
#: Positions of the slider, and points of a curve.
N_STEPS = 200
N_FINDINGS, N_REASONS, N_NEIGHBORS = 8, 5, 3
#: Columns that a sentence names, and the change of a share of missing values that it does.
N_NAMED, NOTED_MISSING = 5, 0.01


@dataclass(frozen=True, eq=False)
class CalibrationRows:
    """Rows that calibrate a detector: `rows`, and the `hashes` of all that it learned from."""

    rows: HeldOut
    hashes: np.ndarray


def calibration_rows(bundle: Bundle) -> CalibrationRows | None:
    """Return codes and errors of the rows that calibrate a detector of a table.

    None where there is no detector with split calibration: with cross-fitting the encoder learned
    from every row.
    """
    encoder = bundle.encoder
    if encoder.schema_.kind != "table":
        return None
    for detector in bundle.heads.values():
        if not isinstance(detector, AnomalyDetector) or detector.encoder_digest_ != encoder.digest_:
            continue
        known = detector.reference_set_
        if detector.calibration_ != "split" or any(
            fold.encoder is not None for fold in known.folds
        ):
            continue
        held_out = np.concatenate([known.calibration_rows(fold) for fold in known.folds])
        features, hashes = known.features.take(held_out), known.hashes[held_out]
        # The mean over network inputs, as `Autoencoder.reconstruction_error` of a table.
        errors = np.square(features.residuals, dtype=np.float64).mean(axis=1)
        repeated = encoder.training_row_hashes_.overlap(hashes)
        return CalibrationRows(HeldOut(features.codes, errors, repeated), known.hashes)
    return None


def column_changes(
    bundle: Bundle, X: Any, hashes: np.ndarray, level: float
) -> dict[str, Any] | None:
    """Return which columns of new rows moved, against rows that calibrate a detector of a table.

    See `measure_column_drift`, with `detector`, its name, and `words`, a sentence. With
    cross-calibration too: the encoders learned from these rows, but the tests use none. None
    where no detector stored rows, or there are too few of either.
    """
    encoder = bundle.encoder
    for name, detector in bundle.heads.items():
        stored = detector.reference_set_.columns if isinstance(detector, AnomalyDetector) else None
        if stored is None or detector.encoder_digest_ != encoder.digest_:
            continue
        known = detector.reference_set_
        normal = known.y[stored.rows] != ABNORMAL
        new = ~TrainingRowHashes.from_hashes(known.hashes).trained_on(hashes)
        if not new.all():  # common rows would be on the side of the reference only
            _, place, counts = np.unique(known.hashes, return_inverse=True, return_counts=True)
            normal &= counts[place][stored.rows] == 1
        if min(normal.sum(), new.sum()) < MIN_INSTANCES:
            continue
        schema = encoder.schema_
        names = schema.columns or [f"column {at}" for at in range(schema.n_features)]
        values = column_values(encoder, take_rows(X, np.flatnonzero(new)))
        found = measure_column_drift(
            stored.values[normal], values, names, schema.types, level=level
        )
        return found | {"detector": name, "words": describe_columns(found)}
    return None


def describe_columns(found: dict[str, Any]) -> str:
    """Describe which columns moved, in a sentence."""
    n, n_columns = found["n"], found["n_columns"]
    against = f"{found['n_reference']:,} that calibrated the detector"
    if not found["moved"]:
        return f"No column moved: each of {n_columns:,} is in {n:,} new rows as in the {against}."
    shown = [_column_words(one) for one in found["moved"][:N_NAMED]]
    more = len(found["moved"]) - len(shown)
    shown += [f"{more:,} more"] if more else []
    return (
        f"{len(found['moved']):,} of {n_columns:,} column{'s' * (n_columns != 1)} moved, in "
        f"{n:,} new rows against {against}: {'; '.join(shown)}."
    )


def _column_words(one: dict[str, Any]) -> str:
    then, now = one["missing"]["then"], one["missing"]["now"]
    parts = []
    if one["category"] is not None:
        parts.append(f"{one['category']} {percent(one['then'])}, now {percent(one['now'])}")
    elif one["then"] != one["now"]:
        values = [v if isinstance(v, str) else f"{v:.4g}" for v in (one["then"], one["now"])]
        parts.append(f"median {values[0]}, now {values[1]}")
    if abs(now - then) >= NOTED_MISSING:
        parts.append(f"missing {percent(then)}, now {percent(now)}")
    return f"{one['name']} ({'; '.join(parts)})" if parts else str(one["name"])


def verdict_facts(
    name: str,
    detector: AnomalyDetector,
    test: Dataset,
    labels: dict[str, np.ndarray | None],
    hashes: dict[str, np.ndarray],
    train: Dataset | None = None,
    tested: TestResult | None = None,
) -> dict[str, Any] | None:
    """Test a detector on the instances that it was neither fitted nor calibrated on.

    Parameters
    ----------
    name : str
    detector : fitted AnomalyDetector
    test : Dataset
    labels : dict of str to array of shape (n,) or None
        Of `"test"` and `"train"`: 1 normal, -1 abnormal, 0 unlabelled; None where the labels
        cannot be read so.
    hashes : dict of str to uint64 array
        Of the instances of `"test"` and, where there are any, `"train"`.
    train : Dataset, optional
        For the baseline that uses no code.
    tested : Tested, optional
        Result on all rows of the stream that `test` was drawn from, which gives all but
        `findings`.

    Returns
    -------
    dict or None
        None when no such instance is left. `n_known`, instances that it learned from or was
        calibrated on, which are left out; `asked`, `threshold` (of the anomaly score),
        `calibration` and its `n_calibration` and `smallest_rate`; `contamination`, rows that a
        bound of abnormal ones left out, where there is one; `flagged`, of `n`; `histogram`
        with `edges` and counts by label; `steps`, thresholds with the number of instances above
        them; `found`, see
        `detection_metrics`, with `roc` and `precision_recall`, where there are labels;
        `label_curve`; `raw`, the same ranking by distances between the instances themselves, where
        there are labels and a training part; of a detector by group `groups`, see
        `GroupCalibration.facts`, and `by_group`, see `evaluate_groups`, None without labels, while
        `histogram`, `steps`, `threshold` and the curves are of scores less the threshold of their
        group;
        `findings`, the highest scores with `row`, see `Dataset.row_numbers`, `reasons` (a
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
    if detector.contamination_ is not None:
        facts["contamination"] = detector.contamination_.facts(detector.reference_set_.hashes)
    groups = None
    if detector.group_calibration_ is not None:
        groups = detector.instances_and_groups(test.take(rows))[1]
    findings = {"findings": _findings(detector, test, rows, scores, known_labels, groups)}
    if tested is not None:
        scores, known_labels = np.concatenate(tested.scores), np.concatenate(tested.labels)
        facts |= {"n": len(scores), "n_known": tested.n_known}
        if groups is not None:
            groups = np.concatenate(tested.groups)
    facts |= _decided(detector, scores, known_labels, groups)
    at_fit = {} if train is None else numbers_by_hash(train, hashes["train"])
    _find_nearest(findings["findings"], detector, at_fit)
    known = y[rows] != UNKNOWN
    if train is not None and labels["train"] is not None and known.any():
        labelled = test.take(rows[known]).X
        of_train = np.where(labels["train"] == UNKNOWN, np.nan, labels["train"])
        distances = raw_distances(detector.encoder_, train.X, of_train, labelled, normal=NORMAL)
        facts["raw"] = ranking(y[rows[known]], distances)
    return facts | findings


def _decided(
    detector: AnomalyDetector, scores: np.ndarray, y: np.ndarray, groups: np.ndarray | None
) -> dict[str, Any]:
    """Return histogram, thresholds and metrics of the scores of new instances.

    By group all are of the scores less the threshold of their group, whose threshold is then 0.
    """
    predicted, drawn, threshold = verdicts(scores, -detector.offset_), scores, -detector.offset_
    if groups is not None:
        predicted = detector.verdicts_of(scores, groups)
        drawn, threshold = scores - detector.thresholds_of(groups), 0.0
    facts: dict[str, Any] = {
        "flagged": int((predicted == ABNORMAL).sum()),
        "threshold": float(threshold),
        "histogram": _histogram(drawn, y, float(threshold)),
        "steps": _steps(drawn, y, float(threshold)),
    }
    known = y != UNKNOWN
    if groups is not None and detector.group_calibration_ is not None:
        facts["groups"] = detector.group_calibration_.facts()
        facts["by_group"] = (
            evaluate_groups(detector, y[known], scores[known], groups[known])
            if known.any()
            else None
        )
    if known.any():
        found = detection_metrics(y[known], drawn[known], predicted[known])
        if found["auroc"] is not None:
            found["roc"] = _thinned(*roc_curve(y[known] == ABNORMAL, drawn[known])[:2])
            precision, recall, _ = precision_recall_curve(y[known] == ABNORMAL, drawn[known])
            found["precision_recall"] = _thinned(recall[::-1], precision[::-1])
        facts["found"] = found
    return facts


def _histogram(scores: np.ndarray, y: np.ndarray, threshold: float) -> dict[str, Any]:
    # With the few highest scores in range, all others would share one bar.
    low, high = float(scores.min()), float(np.quantile(scores, 0.995))
    if low < threshold < scores.max():  # the last bar, which has those beyond, is above it
        high = max(high, min(float(scores.max()), threshold + 0.1 * (threshold - low)))
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
    """Return thresholds in ascending order, with the detector's own, and the counts above each."""
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
    groups: np.ndarray | None,
) -> list[dict[str, Any]]:
    surprise = scores if groups is None else scores - detector.thresholds_of(groups)
    highest = np.argsort(-surprise, kind="stable")[:N_FINDINGS]
    X, numbers = test.take(rows[highest]).X, test.row_numbers()[rows]
    explanation = explain_shown(detector, X, N_NEIGHBORS)
    reasons = explanation.top(N_REASONS)
    p_values = detector.p_values_of(scores[highest], None if groups is None else groups[highest])
    return [
        {
            "row": int(numbers[row]),
            "score": float(scores[row]),
            "p_value": float(p_values[at]),
            "label": int(y[row]),
            "reasons": [
                {"name": name, "share": float(share), "value": value_text(X, at, name)}
                for name, share in reasons[at]
            ],
            "neighbours": explanation.neighbours[at].tolist(),
        }
        for at, row in enumerate(highest)
    ]


def _find_nearest(
    findings: list[dict[str, Any]], detector: AnomalyDetector, rows: Mapping[int, int]
) -> None:
    """Add to each finding the training rows that are its nearest normal instances."""
    for one in findings:
        known = detector.reference_set_.hashes[one["neighbours"]].tolist()
        one["nearest"] = [rows[one_hash] for one_hash in known if one_hash in rows]


def _thinned(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    """Return at most 200 points of a curve, about equally spaced along it."""
    if len(x) > N_STEPS:
        along = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
        keep = np.searchsorted(along, np.linspace(0, along[-1], N_STEPS))
        keep = np.unique(np.concatenate([[0], keep, [len(x) - 1]]))
        x, y = x[keep], y[keep]
    return [[float(a), float(b)] for a, b in zip(x, y, strict=True)]
