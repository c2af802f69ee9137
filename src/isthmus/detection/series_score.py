"""Anomaly score of windows of series: distance to normal windows in statistics of each channel.

A window is described by eight numbers a channel, `WINDOW_STATISTICS`: how much the channel
varies, how fast it changes, its trend, its extremes, and how well the network reconstructs it.
Rolling statistics are a strong baseline for anomalies in series (Schmidl, Wenig and Papenbrock,
VLDB 2022; Liu and Paparrizos, NeurIPS 2024), and cannot tell a window from one with the same
values in another order; the residual of the network can. Neither suffices alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from isthmus.detection.features import Features
from isthmus.detection.scores import LABEL_FREE, NeighbourScore, Score, State
from isthmus.errors import DataError

#: Reference windows, at most. Neighbouring windows are alike: more cost time and change nothing.
MAX_REFERENCE_WINDOWS = 2_000
#: Least deviation of a statistic between training windows, in deviations of the channel: one that
#: hardly varies would otherwise count for any small difference.
LEAST_SPREAD = 0.01
#: The same of the logarithm of the relative residual.
LEAST_LOG_SPREAD = 0.1
#: Least residual of a channel that counts as usual, in deviations of the channel.
LEAST_RESIDUAL = 0.02
#: Added to the relative residual before the logarithm: far below the usual one all are alike.
LOG_OFFSET = 0.1
#: Weight of the residual of a channel: as much as its seven other statistics together, as they say
#: how the readings vary and it says whether they fit each other.
RESIDUAL_WEIGHT = math.sqrt(7)
#: Mean distance, in deviations of a statistic, at which the score turns from linear to logarithmic:
#: about that of normal windows.
USUAL_DISTANCE = 0.3
#: Standardised statistics are cut off here, so that squares stay finite.
FARTHEST = 1e6


class SeriesScore(NeighbourScore):
    """Logarithm of the mean distance to the three nearest training windows, in statistics.

    Of each channel, standardised, a window has eight statistics (see
    `isthmus.detection.window_statistics`). The last of them, the root mean square r of
    the residual, becomes `log(r / u + 0.1)` with u its root mean square over the training
    windows. Each is then standardised over the training windows, and the score is ::

        log(1 + d / 0.3),    d = mean_i |w (z - z_i)| / |w|

    with z the m statistics, z_1, z_2, z_3 the nearest of up to 2,000 training windows, and weights
    w of 1, √7 for residuals: d is the distance in standard deviations of a statistic. There is no
    mean among the statistics: the level enters by the lowest and highest value, which weigh a
    slow drift of a periodic channel less, and by the residual. The score has no term for local
    density, unlike that of `NeighbourScore`: overlapping windows are near each other wherever a
    channel changes slowly. The logarithm keeps a window far from all others from deciding alone
    on every time point that it covers: the mean over windows is then nearly a geometric one.

    Parameters
    ----------
    n_neighbors : int, default=3

    Raises
    ------
    DataError
        In `fit` and `score`, when the features are not those of windows of series.
    """

    def __init__(self, n_neighbors: int = 3) -> None:
        super().__init__(n_neighbors=n_neighbors)

    def fit(self, features: Features, rng: np.random.Generator) -> Self:
        """Learn the scale of each statistic, and store every few windows as references.

        Parameters
        ----------
        features : Features
        rng : numpy Generator

        Returns
        -------
        self
        """
        statistics, n_channels = _statistics_of(features)
        residual = statistics[:, -n_channels:]
        usual = np.sqrt(np.square(residual).mean(axis=0))
        self.usual_residuals_ = np.maximum(usual, LEAST_RESIDUAL)
        statistics = self._with_log_residuals(statistics)
        least = np.full(statistics.shape[1], LEAST_SPREAD)
        least[-n_channels:] = LEAST_LOG_SPREAD
        self.centre_ = statistics.mean(axis=0)
        self.spread_ = np.maximum(statistics.std(axis=0), least)
        self.spread_[-n_channels:] /= RESIDUAL_WEIGHT
        # Evenly over time, not at random: no stretch of time is without a reference.
        self.rows_ = np.arange(0, len(features), -(-len(features) // MAX_REFERENCE_WINDOWS))
        self._index_references(self.space(features.take(self.rows_)))
        self._learn_own_distances()
        return self

    def relative(self, distances: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the scores of windows with these nearest references, (n, k) each, as (n,).

        Parameters
        ----------
        distances : array of shape (n, k)
        rows : int array of shape (n, k)

        Returns
        -------
        float64 array of shape (n,)
        """
        scores: np.ndarray = np.log1p(distances.mean(axis=1) / self.unit)
        return scores

    def own_scores(self) -> np.ndarray:
        """Return the scores of the reference windows, each against the others.

        Returns
        -------
        float64 array of shape (n_references,)
        """
        return self.scores_of_references()

    def scores_of_references(self) -> np.ndarray:
        """Return the same: the references are windows.

        Returns
        -------
        float64 array of shape (n_references,)
        """
        scores: np.ndarray = np.log1p(self.neighbour_distances_ / self.unit)
        return scores

    @property
    def weights(self) -> np.ndarray:
        """Weight of each statistic, float32 of shape (m,)."""
        n_channels = len(self.usual_residuals_)
        weights = np.ones(self.references_.shape[1], dtype=np.float32)
        weights[-n_channels:] = RESIDUAL_WEIGHT
        return weights

    @property
    def unit(self) -> float:
        """The usual distance: `USUAL_DISTANCE` times the length of the weights."""
        return USUAL_DISTANCE * float(np.linalg.norm(self.weights.astype(np.float64)))

    def space(self, features: Features) -> np.ndarray:
        """Return the standardised statistics, float32 of shape (n, m).

        Parameters
        ----------
        features : Features

        Returns
        -------
        float32 array of shape (n, m)
        """
        statistics, _ = _statistics_of(features)
        away = (self._with_log_residuals(statistics) - self.centre_) / self.spread_
        return np.clip(away, -FARTHEST, FARTHEST).astype(np.float32)

    def channel_parts(self, features: Features, n_channels: int) -> np.ndarray:
        """Return the part of each channel in the squared distance to the nearest reference.

        Without weights: a channel that fits the others no more changes their residuals too, and
        its own statistics alone.

        Parameters
        ----------
        features : Features
        n_channels : int

        Returns
        -------
        float array of shape (n, n_channels)
        """
        return self.score_with_parts(features, n_channels)[1]

    def score_with_parts(
        self, features: Features, n_channels: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and `channel_parts` by one search.

        Parameters
        ----------
        features : Features
        n_channels : int

        Returns
        -------
        scores : float64 array of shape (n,)
        parts : float array of shape (n, n_channels)
        """
        points = self.space(features)
        distances, rows = self.nearest_to(points)
        away = (points - self.references_[rows[:, 0]]) / self.weights
        parts: np.ndarray = np.square(away).reshape(len(features), -1, n_channels).sum(axis=1)
        return self.relative(distances, rows), parts

    def state(self) -> State:
        """Return the reference windows and the scales.

        Returns
        -------
        dict of str to array
        """
        return {
            "n_neighbours": self.n_neighbors,
            "references": self.references_,
            "usual_residuals": self.usual_residuals_,
            "centre": self.centre_,
            "spread": self.spread_,
            "apart": self.neighbour_distances_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild from reference windows and scales.

        Parameters
        ----------
        state : mapping

        Returns
        -------
        SeriesScore
        """
        score = cls(n_neighbors=state["n_neighbours"])
        score.usual_residuals_ = state["usual_residuals"]
        score.centre_, score.spread_ = state["centre"], state["spread"]
        score.neighbour_distances_ = state["apart"]
        score._index_references(state["references"])
        return score

    def _with_log_residuals(self, statistics: np.ndarray) -> np.ndarray:
        n_channels = len(self.usual_residuals_)
        relative = statistics[:, -n_channels:] / self.usual_residuals_
        return np.hstack([statistics[:, :-n_channels], np.log(relative + LOG_OFFSET)])


def _statistics_of(features: Features) -> tuple[np.ndarray, int]:
    """Return the statistics as float64, and the number of channels."""
    if features.statistics is None:
        raise DataError(
            "method='series' needs windows of series as they were cut, and got instances of "
            "another kind, or stored codes; pass windows, or method='combined'"
        )
    return features.statistics.astype(np.float64), features.n_channels


#: Every score without labels, those for one kind of data too, by name.
ALL_LABEL_FREE: dict[str, type[Score]] = LABEL_FREE | {"series": SeriesScore}
