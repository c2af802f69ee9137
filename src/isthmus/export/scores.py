"""Anomaly scores as graphs; formulas and sources stand with the classes in `isthmus.heads`."""

from __future__ import annotations

import numpy as np

from isthmus.errors import ExportError
from isthmus.export.graph import Part
from isthmus.export.nearest import dot, mean, nearest, total
from isthmus.export.seen import Seen
from isthmus.heads.calibration import DECIMALS
from isthmus.heads.labelled import ABNORMAL_NEIGHBOURS, LINEAR_WEIGHT, BlendedScore, HeadScore
from isthmus.heads.scores import (
    EQUAL,
    TINY,
    MahalanobisScore,
    NeighbourScore,
    ReconstructionScore,
    Score,
)


def add_score(part: Part, score: Score, seen: Seen) -> str:
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


def _reconstruction(part: Part, score: ReconstructionScore, seen: Seen) -> str:
    residual = part.double(seen.summary)
    length = part("Sqrt", total(part, part("Mul", residual, residual)))
    return part("Div", length, _number(part, score.mean_ + TINY))


def _mahalanobis(part: Part, score: MahalanobisScore, seen: Seen) -> str:
    away = part("Sub", part.double(seen.code), part.constant(score.centre_, np.float64))
    turned = part("MatMul", away, part.constant(score.precision_, np.float64))
    squared = part("Max", total(part, part("Mul", turned, away)), _number(part, 0.0))
    return part("Div", part("Sqrt", squared), _number(part, score.mean_))


def _neighbours(part: Part, score: NeighbourScore, seen: Seen) -> tuple[str, str]:
    """Return the mean distance to the nearest references, and the score."""
    k = min(score.n_neighbors, len(score.references_))
    distances, rows = nearest(part, _space(part, score, seen), score.references_, k)
    near = part("Less", distances, _number(part, EQUAL))
    distance = mean(part, part("Where", near, _number(part, 0.0), distances))
    apart = mean(part, part("Gather", part.constant(score.apart_, np.float64), rows, axis=0))
    around = part("Sqrt", part("Add", apart, _number(part, score.overall)))
    return distance, part("Div", part("Div", distance, around), _number(part, score.mean_))


def _head(part: Part, score: HeadScore, seen: Seen) -> tuple[str, str]:
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


def _blend(part: Part, score: BlendedScore, seen: Seen) -> str:
    free, head = _head(part, score.head_, seen)
    log = part("Log", part("Add", free, _number(part, 1e-3)))
    centred = part("Sub", log, _number(part, score.middle_))
    standardised = part("Div", centred, _number(part, score.spread_))
    shares = [
        part("Mul", _number(part, 1 - score.weight_), standardised),
        part("Mul", _number(part, score.weight_), head),
    ]
    return part("Add", *shares)


def _space(part: Part, score: NeighbourScore, seen: Seen) -> str:
    """Return the points between which distances are taken, float32."""
    codes = part("Mul", seen.code, part.constant(np.float32(score.scale_)))
    return part("Concat", codes, seen.summary, axis=1) if score.residuals else codes


def _number(part: Part, value: float) -> str:
    return part.constant(np.float64(value))
