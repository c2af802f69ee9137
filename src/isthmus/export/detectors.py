"""A detector as a graph: score, p-value, verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.export.graph import Part
from isthmus.export.nearest import total
from isthmus.export.scores import add_score
from isthmus.export.seen import Seen
from isthmus.heads import AnomalyDetector


@dataclass(frozen=True)
class Judged:
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


def add_detector(part: Part, detector: AnomalyDetector, seen: Seen) -> Judged:
    """Add a fitted detector; its calibration scores travel in the graph."""
    score = add_score(part, detector.fitted_score_, seen)
    calibration = detector.calibrated_
    column = part("Unsqueeze", score, part.constant([1]))
    at_least = part("GreaterOrEqual", part.constant(calibration.scores[None]), column)
    counts = total(part, part.double(at_least))
    one_more = part("Add", counts, part.constant(np.float64(1)))
    p_value = part("Div", one_more, part.constant(np.float64(calibration.n + 1)))
    threshold = part.constant(np.float64(-detector.offset_))
    return Judged(score, p_value, part("LessOrEqual", score, threshold))
