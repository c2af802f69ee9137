"""The label-free scores by name, and the one that decides by default."""

from __future__ import annotations

from isthmus.heads.scores import MahalanobisScore, NeighbourScore, ReconstructionScore, Score


class CombinedScore(NeighbourScore):
    """`NeighbourScore` of code and residual together.

    It finds what lies where no training row lies, and what the network cannot rebuild as it
    rebuilds those nearby. Chosen among the scores here and their sums on twenty public tables
    (`python benchmarks/anomaly.py FOLDER --validate` prints the comparison).
    """

    def __init__(self, n_neighbors: int = 5) -> None:
        super().__init__(residuals=True, n_neighbors=n_neighbors)


#: The scores that need no labels, by the name that `AnomalyDetector(method=...)` takes.
LABEL_FREE: dict[str, type[Score]] = {
    "combined": CombinedScore,
    "mahalanobis": MahalanobisScore,
    "neighbours": NeighbourScore,
    "reconstruction": ReconstructionScore,
}
