"""The label-free scores by name, and the one that puts them together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from isthmus.heads.scores import (
    MahalanobisScore,
    NeighbourScore,
    ReconstructionScore,
    Score,
    State,
)
from isthmus.heads.views import Views

#: What the reconstruction error counts beside the distance to neighbours.
ERROR_WEIGHT = 0.25


class CombinedScore(Score):
    """Distance to neighbours in code and residual together, and a quarter reconstruction error.

    The distance finds what lies where no training row lies, the error what the network cannot
    rebuild at all. Chosen among the scores here and their sums on validation splits of twenty
    public tables (`python benchmarks/anomaly.py --validate` prints the comparison).
    """

    def fit(self, views: Views, rng: np.random.Generator) -> Self:
        """Fit both parts."""
        self.near_ = NeighbourScore(residuals=True).fit(views, rng)
        self.error_ = ReconstructionScore().fit(views, rng)
        return self

    def score(self, views: Views) -> np.ndarray:
        """Return the weighted mean of the two."""
        both = self.near_.score(views) + ERROR_WEIGHT * self.error_.score(views)
        return both / (1 + ERROR_WEIGHT)

    def state(self) -> State:
        """Return the states of both parts."""
        return {"near": self.near_.state(), "error": self.error_.state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild both parts."""
        score = cls()
        score.near_ = NeighbourScore.from_state(state["near"])
        score.error_ = ReconstructionScore.from_state(state["error"])
        return score


#: The scores that need no labels, by the name that `AnomalyDetector(score=...)` takes.
LABEL_FREE: dict[str, type[Score]] = {
    "combined": CombinedScore,
    "mahalanobis": MahalanobisScore,
    "neighbours": NeighbourScore,
    "reconstruction": ReconstructionScore,
}
