"""A detector as a graph: scores, p-value, verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.detection import (
    ABNORMAL_NEIGHBOURS,
    DECIMALS,
    EQUAL,
    LINEAR_WEIGHT,
    TINY,
    AnomalyDetector,
    BlendedScore,
    HeadScore,
    MahalanobisScore,
    NeighbourScore,
    ReconstructionScore,
    Score,
)
from isthmus.errors import ExportError
from isthmus.export.feature_graph import FeatureValues, dot, mean, nearest, total
from isthmus.export.graph import GraphPart


def add_score(part: GraphPart, score: Score, seen: FeatureValues) -> str:
    """Add a fitted score: (n,), float64, to six decimals as `anomaly_scores` gives it.

    Raises
    ------
    ExportError
        When it is a score of the person's own.
    """
    if isinstance(score, ReconstructionScore):
        value = _reconstruction(part, score, seen)
    elif isinstance(score, MahalanobisScore):
        value = _mahalanobis(part, score, seen)
    elif isinstance(score, NeighbourScore):
        value = _neighbours(part, score, seen)[1]
    elif isinstance(score, HeadScore):
        value = _head(part, score, seen)[1]
    elif isinstance(score, BlendedScore):
        value = _blend(part, score, seen)
    else:
        raise ExportError(
            f"the score {type(score).__name__} cannot be exported; fit the detector with a method "
            "of isthmus, such as method='combined'"
        )
    units = _number(part, 10.0**DECIMALS)
    return part("Div", part("Round", part("Mul", value, units)), units)


def _reconstruction(part: GraphPart, score: ReconstructionScore, seen: FeatureValues) -> str:
    residual = part.double(seen.summary)
    length = part("Sqrt", total(part, part("Mul", residual, residual)))
    return part("Div", length, _number(part, score.mean_ + TINY))


def _mahalanobis(part: GraphPart, score: MahalanobisScore, seen: FeatureValues) -> str:
    away = part("Sub", part.double(seen.code), part.constant(score.centre_, np.float64))
    turned = part("MatMul", away, part.constant(score.precision_, np.float64))
    squared = part("Max", total(part, part("Mul", turned, away)), _number(part, 0.0))
    return part("Div", part("Sqrt", squared), _number(part, score.mean_))


def _neighbours(part: GraphPart, score: NeighbourScore, seen: FeatureValues) -> tuple[str, str]:
    """Return the mean distance to the nearest references, and the score."""
    k = min(score.n_neighbors, len(score.references_))
    distances, rows = nearest(part, _space(part, score, seen), score.references_, k)
    near = part("Less", distances, _number(part, EQUAL))
    distance = mean(part, part("Where", near, _number(part, 0.0), distances))
    apart = mean(part, part("Gather", part.constant(score.apart_, np.float64), rows, axis=0))
    around = part("Sqrt", part("Add", apart, _number(part, score.overall)))
    return distance, part("Div", part("Div", distance, around), _number(part, score.mean_))


def _head(part: GraphPart, score: HeadScore, seen: FeatureValues) -> tuple[str, str]:
    """Return the label-free score and the head's."""
    to_normal, free = _neighbours(part, score.free_, seen)
    k = min(ABNORMAL_NEIGHBOURS, len(score.abnormal_))
    distances, _ = nearest(part, _space(part, score.free_, seen), score.abnormal_, k)
    little = _number(part, score.little)
    logs = [part("Log", part("Add", d, little)) for d in (to_normal, mean(part, distances))]
    contrast = part("Sub", *logs)
    features = part.double(seen.code)
    if seen.signed:
        logs_free = part("Log", part("Add", free, _number(part, 1e-3)))
        column = part("Unsqueeze", logs_free, part.constant([1]))
        features = part("Concat", features, part.double(seen.summary), column, axis=1)
    centred = part("Sub", features, part.constant(score.scaler_mean_, np.float64))
    standardised = part("Div", centred, part.constant(score.scaler_scale_, np.float64))
    log_odds = part("Add", dot(part, standardised, score.coef_), _number(part, score.intercept_))
    parts = [
        part("Div", part("Sub", value, _number(part, middle)), _number(part, spread))
        for value, middle, spread in zip(
            (contrast, log_odds), score.middle_, score.spread_, strict=True
        )
    ]
    return free, part("Add", parts[0], part("Mul", _number(part, LINEAR_WEIGHT), parts[1]))


def _blend(part: GraphPart, score: BlendedScore, seen: FeatureValues) -> str:
    free, head = _head(part, score.head_, seen)
    log = part("Log", part("Add", free, _number(part, 1e-3)))
    centred = part("Sub", log, _number(part, score.middle_))
    standardised = part("Div", centred, _number(part, score.spread_))
    shares = [
        part("Mul", _number(part, 1 - score.weight_), standardised),
        part("Mul", _number(part, score.weight_), head),
    ]
    return part("Add", *shares)


def _space(part: GraphPart, score: NeighbourScore, seen: FeatureValues) -> str:
    """Return the points between which distances are taken, float32."""
    codes = part("Mul", seen.code, part.constant(np.float32(score.scale_)))
    return part("Concat", codes, seen.summary, axis=1) if score.residuals else codes


def _number(part: GraphPart, value: float) -> str:
    return part.constant(np.float64(value))


@dataclass(frozen=True)
class DetectorOutputs:
    """Names of values in a graph, each of shape (n,).

    Attributes
    ----------
    score, p_value : str
        float64.
    normal : str
        bool.
    """

    score: str
    p_value: str
    normal: str


def add_detector(
    part: GraphPart, detector: AnomalyDetector, seen: FeatureValues
) -> DetectorOutputs:
    """Add a fitted detector; its calibration scores travel in the graph."""
    score = add_score(part, detector.fitted_score_, seen)
    calibration = detector.score_calibration_
    column = part("Unsqueeze", score, part.constant([1]))
    at_least = part("GreaterOrEqual", part.constant(calibration.scores[None]), column)
    counts = total(part, part.double(at_least))
    one_more = part("Add", counts, part.constant(np.float64(1)))
    p_value = part("Div", one_more, part.constant(np.float64(calibration.n + 1)))
    threshold = part.constant(np.float64(-detector.offset_))
    return DetectorOutputs(score, p_value, part("LessOrEqual", score, threshold))
