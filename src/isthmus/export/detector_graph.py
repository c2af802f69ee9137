"""A detector as a graph: scores, p-value, verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.detection import (
    ABNORMAL_NEIGHBOURS,
    DECIMALS,
    EQUAL,
    LINEAR_WEIGHT,
    RAISED,
    TINY,
    AnomalyDetector,
    BlendedScore,
    HeadScore,
    MahalanobisScore,
    MissingPenalty,
    NeighbourScore,
    ReconstructionScore,
    Score,
)
from isthmus.errors import ExportError
from isthmus.export.feature_graph import FeatureValues, dot, mean, nearest, total
from isthmus.export.graph import GraphBuilder

#: In place of minus infinity, whose products and differences may be no numbers.
LOWEST = -1e300


def add_score(
    graph: GraphBuilder,
    score: Score,
    features: FeatureValues,
    penalty: MissingPenalty | None = None,
    missing: str | None = None,
) -> str:
    """Add a fitted score: (n,), float64, to six decimals as `anomaly_scores` gives it.

    Raises
    ------
    ExportError
        When the score is a class from outside isthmus.
    """
    if isinstance(score, ReconstructionScore):
        value = _reconstruction(graph, score, features)
    elif isinstance(score, MahalanobisScore):
        value = _mahalanobis(graph, score, features)
    elif isinstance(score, NeighbourScore):
        value = _neighbours(graph, score, features)[1]
    elif isinstance(score, HeadScore):
        value = _head(graph, score, features)[1]
    elif isinstance(score, BlendedScore):
        value = _blend(graph, score, features)
    else:
        raise ExportError(
            f"the score {type(score).__name__} cannot be exported; fit the detector with a method "
            "of isthmus, such as method='combined'"
        )
    if penalty is not None and missing is not None:
        value = _raised(graph, penalty, value, missing)
    units = _number(graph, 10.0**DECIMALS)
    return graph("Div", graph("Round", graph("Mul", value, units)), units)


def _raised(graph: GraphBuilder, penalty: MissingPenalty, value: str, missing: str) -> str:
    """Add the increases for missing values to scores, as `MissingPenalty.raised` does."""
    if np.isfinite(penalty.levels).any():
        levels = graph.constant(np.maximum(penalty.levels, LOWEST), np.float64)
        lacks = graph("Greater", missing, _number(graph, 0.0))
        of_values = graph("Where", lacks, levels, _number(graph, LOWEST))
        level = graph("ReduceMax", of_values, graph.constant([1]), keepdims=0)
        short = graph("Max", graph("Sub", level, value), _number(graph, 0.0))
        value = graph("Add", value, graph("Mul", _number(graph, RAISED), short))
    return graph("Add", value, dot(graph, missing, penalty.columns * penalty.amount))


def _reconstruction(
    graph: GraphBuilder, score: ReconstructionScore, features: FeatureValues
) -> str:
    residual = graph.double(features.summary)
    length = graph("Sqrt", total(graph, graph("Mul", residual, residual)))
    return graph("Div", length, _number(graph, score.mean_ + TINY))


def _mahalanobis(graph: GraphBuilder, score: MahalanobisScore, features: FeatureValues) -> str:
    away = graph("Sub", graph.double(features.code), graph.constant(score.centre_, np.float64))
    turned = graph("MatMul", away, graph.constant(score.precision_, np.float64))
    squared = graph("Max", total(graph, graph("Mul", turned, away)), _number(graph, 0.0))
    return graph("Div", graph("Sqrt", squared), _number(graph, score.mean_))


def _neighbours(
    graph: GraphBuilder, score: NeighbourScore, features: FeatureValues
) -> tuple[str, str]:
    """Add the mean distance to the nearest references, and the score; return both names."""
    k = min(score.n_neighbors, len(score.references_))
    distances, rows = nearest(graph, _search_points(graph, score, features), score.references_, k)
    near = graph("Less", distances, _number(graph, EQUAL))
    distance = mean(graph, graph("Where", near, _number(graph, 0.0), distances))
    apart = mean(
        graph, graph("Gather", graph.constant(score.neighbour_distances_, np.float64), rows, axis=0)
    )
    around = graph("Sqrt", graph("Add", apart, _number(graph, score.global_scale)))
    return distance, graph("Div", graph("Div", distance, around), _number(graph, score.mean_))


def _head(graph: GraphBuilder, score: HeadScore, features: FeatureValues) -> tuple[str, str]:
    """Add the label-free score and that of the labelled head; return both names."""
    to_normal, free = _neighbours(graph, score.label_free_, features)
    k = min(ABNORMAL_NEIGHBOURS, len(score.abnormal_))
    distances, _ = nearest(
        graph, _search_points(graph, score.label_free_, features), score.abnormal_, k
    )
    offset = _number(graph, score.log_offset)
    logs = [graph("Log", graph("Add", d, offset)) for d in (to_normal, mean(graph, distances))]
    contrast = graph("Sub", *logs)
    inputs = graph.double(features.code)
    if features.signed:
        logs_free = graph("Log", graph("Add", free, _number(graph, 1e-3)))
        column = graph("Unsqueeze", logs_free, graph.constant([1]))
        inputs = graph("Concat", inputs, graph.double(features.summary), column, axis=1)
    centred = graph("Sub", inputs, graph.constant(score.scaler_mean_, np.float64))
    standardised = graph("Div", centred, graph.constant(score.scaler_scale_, np.float64))
    log_odds = graph("Add", dot(graph, standardised, score.coef_), _number(graph, score.intercept_))
    parts = [
        graph("Div", graph("Sub", value, _number(graph, middle)), _number(graph, spread))
        for value, middle, spread in zip(
            (contrast, log_odds), score.middle_, score.spread_, strict=True
        )
    ]
    return free, graph("Add", parts[0], graph("Mul", _number(graph, LINEAR_WEIGHT), parts[1]))


def _blend(graph: GraphBuilder, score: BlendedScore, features: FeatureValues) -> str:
    free, head = _head(graph, score.head_, features)
    log = graph("Log", graph("Add", free, _number(graph, 1e-3)))
    centred = graph("Sub", log, _number(graph, score.middle_))
    standardised = graph("Div", centred, _number(graph, score.spread_))
    shares = [
        graph("Mul", _number(graph, 1 - score.weight_), standardised),
        graph("Mul", _number(graph, score.weight_), head),
    ]
    return graph("Add", *shares)


def _search_points(graph: GraphBuilder, score: NeighbourScore, features: FeatureValues) -> str:
    """Add the points between which distances are taken, float32."""
    codes = graph("Mul", features.code, graph.constant(np.float32(score.scale_)))
    return graph("Concat", codes, features.summary, axis=1) if score.residuals else codes


def _number(graph: GraphBuilder, value: float) -> str:
    return graph.constant(np.float64(value))


@dataclass(frozen=True)
class DetectorOutputs:
    """Names of a detector's outputs in a graph, each of shape (n,).

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
    graph: GraphBuilder,
    detector: AnomalyDetector,
    features: FeatureValues,
    missing: str | None = None,
) -> DetectorOutputs:
    """Add a fitted detector; its calibration scores are stored in the graph.

    Parameters
    ----------
    graph : GraphBuilder
    detector : fitted AnomalyDetector
    features : FeatureValues
    missing : str, optional
        Which values are missing, (n, m); needed where the detector has a penalty for them.
    """
    score = add_score(graph, detector.fitted_score_, features, detector.missing_penalty_, missing)
    calibration = detector.score_calibration_
    column = graph("Unsqueeze", score, graph.constant([1]))
    at_least = graph("GreaterOrEqual", graph.constant(calibration.scores[None]), column)
    counts = total(graph, graph.double(at_least))
    one_more = graph("Add", counts, graph.constant(np.float64(1)))
    p_value = graph("Div", one_more, graph.constant(np.float64(calibration.n + 1)))
    threshold = graph.constant(np.float64(-detector.offset_))
    return DetectorOutputs(score, p_value, graph("LessOrEqual", score, threshold))
