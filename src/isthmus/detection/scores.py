"""Anomaly scores without labels, by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from isthmus._core import NeighborIndex
from isthmus.detection.calibration import DECIMALS
from isthmus.detection.features import Features

#: Rows that a neighbour score is fitted on, at most.
MAX_ROWS = 20_000
#: References of `CombinedScore`, at most: means of more rows. On validation splits of the eight
#: public tables with more rows AUROC stays the same on average (magic.gamma loses most, 0.4 points)
#: and AUCPR too; with 2,000 of the rows themselves they lose 0.2 and 0.5.
MAX_REFERENCES = 2_000
#: Rows of more numbers, as of images, stay as they are: means of them lose 1 to 2 points of AUROC.
MAX_AVERAGED_NUMBERS = 128
#: Steps of Lloyd's algorithm by which the means are found; eight find no better ones.
LLOYD_STEPS = 2
#: Dimensions in which a tree finds the nearest faster than a matrix product does, at most.
TREE_DIMENSIONS = 4
#: Rows nearer than this are equal: in standard deviations of a column, or the range of a pixel.
EQUAL = 1e-5
#: Keeps a ratio finite where all rows are equal.
TINY = 1e-12
State = dict[str, Any]


class Score(ABC):
    """An anomaly score: higher is more abnormal; finite for every finite instance."""

    @abstractmethod
    def fit(self, features: Features, rng: np.random.Generator) -> Self:
        """Fit on the features of rows that count as normal.

        Parameters
        ----------
        features : Features
            Of n rows.
        rng : numpy.random.Generator

        Returns
        -------
        self
        """

    @abstractmethod
    def score(self, features: Features) -> np.ndarray:
        """Return the anomaly score of each instance, shape (n,), float64.

        Parameters
        ----------
        features : Features

        Returns
        -------
        array of shape (n,)
        """

    def training_scores(self, features: Features) -> np.ndarray:
        """Return the scores of the training rows, or of every few of them, 5,000 at most."""
        return self.score(features.take(np.arange(0, len(features), 1 + len(features) // 5000)))

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return which of the normal rows fitted on, and the score of each against all others.

        Returns
        -------
        (rows, scores) or None
        """
        return None

    def channel_parts(self, features: Features, n_channels: int) -> np.ndarray:
        """Return the squared residual of each channel of windows of series, (n, n_channels)."""
        if not features.residuals.shape[1]:  # of an encoder without decoder
            return np.zeros((len(features), n_channels), np.float32)
        squares = np.square(features.residuals.reshape(len(features), n_channels, -1))
        parts: np.ndarray = squares.sum(axis=2)
        return parts

    def score_with_parts(
        self, features: Features, n_channels: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of windows of series, (n,), and their `channel_parts`."""
        return self.score(features), self.channel_parts(features, n_channels)

    @abstractmethod
    def state(self) -> State:
        """Return arrays and numbers from which `from_state` rebuilds the fitted score."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild a fitted score from what `state` returned."""


#: What a rare missing value means; see `AnomalyDetector`.
MISSING_POLICIES = ("unusual", "ignore", "error")
#: Share of the training rows up to which missing values are rare.
MAX_RARE = 0.1
#: Part of the way from an anomaly score to the level of a rare missing value that it is raised by:
#: the rest keeps the order of rows with such values.
RAISED = 0.98


@dataclass(frozen=True, eq=False)
class MissingPenalty:
    """Increase of the anomaly score for missing values that were rare, or never there, at fit.

    Attributes
    ----------
    columns : boolean array of shape (m,)
        Columns of a table of which no training row lacks the value.
    amount : float, 0 or more
        Added for each value that is missing in one of them.
    levels : float64 array of shape (m,)
        Level to which a missing value in each column raises the score, `RAISED` of the way; minus
        infinity where missing values are common, or there were none.

    Notes
    -----
    The amount is the difference between the quantile 1 - q of the training scores and their
    minimum, where q = (s + 1) / (n + 1) for n training rows and s columns in which exactly one
    row lacks the value: Good and Turing's estimate of how often the next normal row lacks a
    value in a column that was complete so far (Good, Biometrika 40, 1953). A row with such a
    value is thus as unusual as it is rare: the most unusual where the training rows are complete,
    and hardly so where every few rows bring a first missing value.

    The level of a column that lacked c values is the quantile 1 - q, where q is the share of rows
    that lack a value in any column that lacked up to 2 c, and of first missing values as above.
    About a share q of the normal rows has a higher score, and another q a missing value as rare:
    the p-value of a row with one is at most about 2 q. A level, and not an addition, leaves the
    order of all rows above it: at rates below q other anomalies are found as before. Columns with
    q above `MAX_RARE` have no level.

    Columns, amount and levels follow from the training rows alone: calibration rows stay
    exchangeable with rows to come.
    """

    columns: np.ndarray
    amount: float
    levels: np.ndarray

    @classmethod
    def learn(cls, score: Score, training: Features, policy: str) -> Self | None:
        """Learn from the rows that a score was fitted on; None where there is no penalty."""
        if policy == "ignore" or training.missing is None:
            return None
        missing = training.missing
        counts = missing.sum(axis=0)
        first = int((counts == 1).sum()) + 1
        scores = score.training_scores(training)

        def quantile(n_rows: int) -> float:
            return float(np.quantile(scores, max(0.0, 1 - n_rows / (len(training) + 1))))

        levels = np.full(len(counts), -np.inf)
        for count in np.unique(counts[counts > 0]):
            rows = int(missing[:, (counts > 0) & (counts <= 2 * count)].any(axis=1).sum()) + first
            if rows <= MAX_RARE * (len(training) + 1):
                levels[counts == count] = quantile(rows)
        return cls(counts == 0, quantile(first) - float(scores.min()), levels)

    @property
    def rare(self) -> np.ndarray:
        """Columns in which a missing value raises the score, boolean of shape (m,)."""
        return self.columns | np.isfinite(self.levels)

    def unusual(self, features: Features) -> np.ndarray | None:
        """Return which missing values raise the score, None where none does."""
        if features.missing is None:
            return None
        found: np.ndarray = features.missing & self.rare
        return found if found.any() else None

    def raised(self, scores: np.ndarray, features: Features) -> np.ndarray:
        """Return the scores of instances, (n,), with their increases."""
        found = self.unusual(features)
        if found is None:
            return scores
        levels = np.where(found, self.levels, -np.inf).max(axis=1)
        raised = scores + RAISED * np.maximum(levels - scores, 0)
        return raised + self.amount * (found & self.columns).sum(axis=1)


def anomaly_scores(
    score: Score, features: Features, penalty: MissingPenalty | None = None
) -> np.ndarray:
    """Return the anomaly scores that are calibrated and compared, to six decimals, (n,).

    The last bit of a score depends on the batch size. Rounding removes it, or it would decide
    between equal rows; the score of an ordinary row is about 1.
    """
    scores = score.score(features)
    return np.round(scores if penalty is None else penalty.raised(scores, features), DECIMALS)


class ReconstructionScore(Score):
    """Length of the residual divided by its mean on the training rows.

    `|r(x)| / mean |r|`, the classic autoencoder score (Hawkins et al., 2002), as a distance like
    the other two. Images use the squared error too: cross-entropy, on which they are trained,
    depends on how grey an image is and detects less.
    """

    def fit(self, features: Features, rng: np.random.Generator) -> Self:
        """Compute the mean length."""
        self.mean_ = float(features.residual_lengths().mean())
        return self

    def score(self, features: Features) -> np.ndarray:
        """Return the relative length."""
        return features.residual_lengths() / (self.mean_ + TINY)

    def state(self) -> State:
        """Return the mean."""
        return {"mean": self.mean_}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild from the mean."""
        score = cls()
        score.mean_ = state["mean"]
        return score


class MahalanobisScore(Score):
    """Mahalanobis distance of the code to the mean code, with a shrunken covariance.

    `sqrt((z - m)' S^-1 (z - m))` over its mean on the training rows; S after Ledoit and Wolf
    (Journal of Multivariate Analysis 88, 2004), which stays invertible with fewer rows than
    columns.
    """

    def fit(self, features: Features, rng: np.random.Generator) -> Self:
        """Estimate mean and precision of the codes."""
        codes = features.codes.astype(np.float64)
        estimate = LedoitWolf().fit(codes)
        # Equal rows have no covariance to invert; the identity makes the distance Euclidean.
        degenerate = np.trace(estimate.covariance_) < TINY
        self.centre_ = estimate.location_
        self.precision_ = np.eye(codes.shape[1]) if degenerate else estimate.precision_
        self.mean_ = 1.0
        self.mean_ = float(self.score(features).mean()) + TINY
        return self

    def score(self, features: Features) -> np.ndarray:
        """Return the relative distance."""
        away = features.codes.astype(np.float64) - self.centre_
        squared = np.einsum("ij,jk,ik->i", away, self.precision_, away, optimize=True)
        return np.sqrt(np.maximum(squared, 0)) / self.mean_

    def state(self) -> State:
        """Return centre, precision and mean."""
        return {"centre": self.centre_, "precision": self.precision_, "mean": self.mean_}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild from centre, precision and mean."""
        score = cls()
        score.centre_, score.precision_ = state["centre"], state["precision"]
        score.mean_ = state["mean"]
        return score


class NeighbourScore(Score):
    """Mean distance to the k nearest training rows, divided by the local distance between rows.

    Distances are between codes, scaled to the variance that the network explains, and, with
    `residuals`, between codes and residuals side by side. For a row x with neighbours
    x_1, ..., x_k the score is ::

        d(x) / sqrt(mean_i l(x_i) + (0.3 + 500 / n) l),    l(x_i) = d(x_i) among the others

    with d the mean distance to the k nearest and l the mean of all l(x_i), divided by the mean
    score of the training rows, each against the others. It lies half way between the plain k
    nearest neighbours (Ramaswamy et al., SIGMOD 2000) and the local outlier factor (Breunig et
    al., SIGMOD 2000): in dense regions a smaller distance counts. The term in l keeps scores near
    clusters of equal rows finite, and has more weight the fewer the n rows are from which local
    density is estimated.

    With `residuals`, more than 2,000 rows of up to 128 numbers become 2,000 references: means of
    rows near each other, by two steps of Lloyd's algorithm (IEEE Transactions on Information
    Theory 28, 1982) from rows drawn at random. A training row is compared with the mean of its own
    group without itself.

    Parameters
    ----------
    residuals : bool, default=False
        Use code and residual together. By its code alone an instance cannot be distinguished
        from its reconstruction.
    n_neighbors : int, default=5
    """

    def __init__(self, residuals: bool = False, n_neighbors: int = 5) -> None:
        self.residuals, self.n_neighbors = residuals, n_neighbors

    def fit(self, features: Features, rng: np.random.Generator) -> Self:
        """Store the references and their distances to each other."""
        self.rows_ = np.sort(rng.permutation(len(features))[:MAX_ROWS])
        if len(self.rows_) < len(features):
            features = features.take(self.rows_)
        spread = features.codes.std(axis=0, dtype=np.float64)
        total = float(np.sqrt((spread**2).sum()))
        explained = max(features.explained, TINY)
        self.scale_ = np.sqrt(explained) / total if total > TINY else 1.0
        points = self.space(features)
        groups = _near_each_other(points, rng) if self.residuals else None
        self._index_references(points if groups is None else groups.means)
        nearest = self._learn_own_distances()
        self.local_scales_ = self._local_scale(nearest)
        if groups is not None:
            self.own_distances_, nearest = self._search_without_itself(points, groups)
        self.mean_ = 1.0
        own_scores = self.own_distances_ / self._local_scale(nearest)
        self.mean_ = float(own_scores.mean()) + TINY
        self.own_scores_ = own_scores / self.mean_
        return self

    def _learn_own_distances(self) -> np.ndarray:
        """Learn how far each reference is from the others; return its nearest ones, (r, k)."""
        k = min(self.n_neighbors, len(self.references_) - 1)
        own, rows = self._index.search_others(k)
        self.own_distances_ = self.neighbour_distances_ = _zero_rounding_errors(own).mean(axis=1)
        return rows

    def _search_without_itself(
        self, points: np.ndarray, groups: _Groups
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return how far each row is from the means, its own taken without it, and the nearest."""
        k = min(self.n_neighbors, len(self.references_) - 1)
        distances, rows = self._index.search(points, k + 1)
        others = groups.sizes[groups.of_rows] - 1
        own = rows == groups.of_rows[:, None]
        # The mean of s rows without x is s / (s - 1) times as far from x, and there is none of 1.
        factors = (others + 1) / np.maximum(others, 1)
        distances = np.where(own, distances * factors[:, None], distances)
        distances[own & (others == 0)[:, None]] = np.inf
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        nearest = _zero_rounding_errors(np.take_along_axis(distances, order, axis=1))
        return nearest.mean(axis=1), np.take_along_axis(rows, order, axis=1)

    def score(self, features: Features) -> np.ndarray:
        """Return the relative distance."""
        return self.relative(*self.nearest(features))

    def relative(self, distances: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the scores of rows with these nearest references, (n, k) each, as (n,)."""
        return distances.mean(axis=1) / self._local_scale(rows) / self.mean_

    def own_scores(self) -> np.ndarray:
        """Return the scores of `rows_`, each against the others, once fitted."""
        return self.own_scores_

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return `rows_` and `own_scores`."""
        return self.rows_, self.own_scores()

    def scores_of_references(self) -> np.ndarray:
        """Return the scores of the references, each against the others."""
        return self.neighbour_distances_ / self.local_scales_ / self.mean_

    def training_scores(self, features: Features) -> np.ndarray:
        """Return the scores of `rows_`, each against the others."""
        return self.own_scores()

    @property
    def global_scale(self) -> float:
        """The term of all rows in the local distance: (0.3 + 500 / n) l."""
        return (
            float((0.3 + 500 / len(self.neighbour_distances_)) * self.neighbour_distances_.mean())
            + TINY
        )

    def nearest(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """Return distances and row numbers of the nearest reference rows, (n, k) each."""
        return self.nearest_to(self.space(features))

    def nearest_to(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the same of points as `space` returns them."""
        k = min(self.n_neighbors, len(self.references_))
        distances, rows = self._index.search(points, k)
        return _zero_rounding_errors(distances), rows

    def state(self) -> State:
        """Return the reference rows and their distances."""
        return {
            "residuals": self.residuals,
            "n_neighbours": self.n_neighbors,  # as bundles have always spelled it
            "scale": self.scale_,
            "references": self.references_,
            "apart": self.neighbour_distances_,
            "around": self.local_scales_,
            "mean": self.mean_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild from reference rows and their distances."""
        score = cls(n_neighbors=state["n_neighbours"])
        score.residuals = state["residuals"]
        score.scale_, score.mean_ = state["scale"], state["mean"]
        score.neighbour_distances_, score.local_scales_ = state["apart"], state["around"]
        score._index_references(state["references"])
        return score

    def _index_references(self, references: np.ndarray) -> None:
        self.references_ = references
        few = references.shape[1] <= TREE_DIMENSIONS
        self._index = _TreeIndex(references) if few else NeighborIndex(references)

    def space(self, features: Features) -> np.ndarray:
        """Return the points between which distances are computed, float32 of shape (n, m)."""
        codes = features.codes * np.float32(self.scale_)
        return np.hstack([codes, features.residuals]) if self.residuals else codes

    def _local_scale(self, rows: np.ndarray) -> np.ndarray:
        """Return the root of the local distance at the reference rows (n, k), shape (n,)."""
        return np.sqrt(self.neighbour_distances_[rows].mean(axis=1) + self.global_scale)


@dataclass(frozen=True, eq=False)
class _Groups:
    """Rows near each other: means, (g, m) in float32, sizes, (g,), and the group of each row."""

    means: np.ndarray
    sizes: np.ndarray
    of_rows: np.ndarray


def _near_each_other(points: np.ndarray, rng: np.random.Generator) -> _Groups | None:
    """Return up to `MAX_REFERENCES` groups of points; None where points stay as they are."""
    if len(points) <= MAX_REFERENCES or points.shape[1] > MAX_AVERAGED_NUMBERS:
        return None
    # Rows and not different rows: where many are equal, so are several references.
    means = points[np.sort(rng.permutation(len(points))[:MAX_REFERENCES])]
    for _ in range(LLOYD_STEPS):
        of_rows = NeighborIndex(means).search(points, 1)[1][:, 0]
        sizes = np.bincount(of_rows, minlength=len(means))
        order = np.argsort(of_rows, kind="stable")
        taken = np.flatnonzero(sizes)
        starts = np.append(0, np.cumsum(sizes[taken])[:-1])
        sums = np.add.reduceat(points[order].astype(np.float64), starts, axis=0)
        means[taken] = sums / sizes[taken, None]  # a copy of another one is nobody's nearest
    return _Groups(means, sizes, of_rows)


class _TreeIndex:
    """scikit-learn's k-d tree, with the methods of `NeighborIndex`."""

    def __init__(self, references: np.ndarray) -> None:
        self._tree = NearestNeighbors(algorithm="kd_tree").fit(references)

    def search(self, points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest references of each point: distances and rows, (n, k)."""
        found: tuple[np.ndarray, np.ndarray] = self._tree.kneighbors(points, k)
        return found

    def search_others(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest other references of each reference, copies of it included."""
        found: tuple[np.ndarray, np.ndarray] = self._tree.kneighbors(n_neighbors=k)
        return found


def _zero_rounding_errors(distances: np.ndarray) -> np.ndarray:
    """Set distances to zero that are rounding errors between equal rows."""
    return np.where(distances < EQUAL, 0.0, distances)


class CombinedScore(NeighbourScore):
    """`NeighbourScore` of code and residual together.

    It is high far from all training rows, and where the network reconstructs an instance worse
    than its neighbours. Chosen among the scores here and their sums on twenty public tables
    (`python benchmarks/anomaly.py FOLDER --validate` prints the comparison).
    """

    def __init__(self, n_neighbors: int = 5) -> None:
        super().__init__(residuals=True, n_neighbors=n_neighbors)


#: The scores without labels, by the name that `AnomalyDetector(method=...)` takes.
LABEL_FREE: dict[str, type[Score]] = {
    "combined": CombinedScore,
    "mahalanobis": MahalanobisScore,
    "neighbours": NeighbourScore,
    "reconstruction": ReconstructionScore,
}
