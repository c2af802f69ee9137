"""Anomaly scores from labels, and the number of labels from which they are better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from isthmus._core import find_nearest
from isthmus.data import ABNORMAL
from isthmus.detection.features import Features
from isthmus.detection.scores import CombinedScore, MissingPenalty, NeighbourScore, Score, State
from isthmus.detection.series_score import ALL_LABEL_FREE, SeriesScore

#: Weight of the linear part beside the contrast, both in standard deviations.
LINEAR_WEIGHT = 0.5
#: A mean over three, so that one mislabelled abnormal row does not decide for its surroundings.
ABNORMAL_NEIGHBOURS = 3
#: Weights of the head that a blend chooses from, and the one taken without evidence.
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
DEFAULT_WEIGHT = 0.5
#: Numbers of abnormal labels at which a label curve is measured.
COUNTS = (1, 2, 3, 5, 10, 20, 50, 100)
#: Normal rows in cross-validation, at most: enough to rank against, few enough to be fast.
MAX_NORMAL = 600
FOLDS, REPEATS = 5, 3
#: With fewer normal rows there is nothing to hold out, and with fewer abnormal ones the result of
#: cross-validation is noise.
MIN_NORMAL, MIN_ABNORMAL = 3, 5

#: From (training features, which of them are abnormal, test features, generator) to the scores of
#: the test rows: label-free, and the head's.
HeldOutScores = Callable[
    [Features, np.ndarray, Features, np.random.Generator], tuple[np.ndarray, np.ndarray]
]


class LabelledScore(Score):
    """An anomaly score fitted on labelled rows, in standard deviations of normal rows."""

    def fit(self, features: Features, rng: np.random.Generator) -> Self:
        """Raise TypeError: labels are needed.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(f"{type(self).__name__} needs labels: use fit_labelled")

    def fit_labelled(
        self, features: Features, abnormal: np.ndarray, rng: np.random.Generator
    ) -> Self:
        """Fit on the features of n rows and a boolean array that marks the abnormal ones.

        Parameters
        ----------
        features : Features
            Of n rows.
        abnormal : boolean array of shape (n,)
        rng : numpy.random.Generator

        Returns
        -------
        self
        """
        raise NotImplementedError

    def contribution(self, features: Features) -> np.ndarray:
        """Return what the head adds to each instance's score, shape (n,).

        Parameters
        ----------
        features : Features

        Returns
        -------
        array of shape (n,)
        """
        raise NotImplementedError


class HeadScore(LabelledScore):
    """Contrast of the distances to normal and abnormal rows, plus the log-odds of a linear model.

    The sum of two parts, each divided by its standard deviation over the normal training rows:

    - the contrast `log(d+ + l) - log(d- + l)` of the mean distances d+ to the five nearest
      normal and d- to the three nearest abnormal rows, in code and residual together; l, a
      tenth of how far normal rows lie apart, keeps copies of a row finite. It needs no
      training and works from the first label on: the log-ratio of two nearest-neighbour
      density estimates (Loftsgaarden and Quesenberry, 1965);
    - half the log-odds of a logistic regression on standardised codes, signed residuals and the
      logarithm of the neighbour score, each row against the others; classes weighted equally,
      C = 0.1, because labels are few. The length of the residual is left out: the encoder was
      trained on the normal rows and not on the abnormal, so a head would separate training rows
      from other rows.
    """

    def fit_labelled(
        self, features: Features, abnormal: np.ndarray, rng: np.random.Generator
    ) -> Self:
        """Fit both parts; rows that are not marked count as normal."""
        normal = features.take(np.flatnonzero(~abnormal))
        neighbours = CombinedScore() if normal.statistics is None else SeriesScore()
        self.label_free_: NeighbourScore = neighbours.fit(normal, rng)
        marked = features.take(np.flatnonzero(abnormal))
        self.abnormal_ = self.label_free_.space(marked)
        # Reference rows are scored against the others: a row itself is at distance zero.
        normal = normal.take(self.label_free_.rows_)
        of_normal = _linear_inputs(normal, self.label_free_.own_scores())
        inputs = np.concatenate([of_normal, _linear_inputs(marked, self.label_free_.score(marked))])
        truth = np.arange(len(inputs)) >= len(normal)
        scaler = StandardScaler().fit(inputs)
        head = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
        head.fit(scaler.transform(inputs), truth)
        self.scaler_mean_, self.scaler_scale_ = scaler.mean_, scaler.scale_
        self.coef_, self.intercept_ = head.coef_[0], float(head.intercept_[0])
        parts = self._parts(normal, self.label_free_.own_distances_, self.label_free_.own_scores())
        self.middle_, self.spread_ = parts.mean(axis=1), parts.std(axis=1) + 1e-9
        self.own_scores_ = self._weighted(parts)
        return self

    def score(self, features: Features) -> np.ndarray:
        """Return the sum of both parts."""
        return self.with_label_free(features)[1]

    def with_label_free(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """Return the label-free score and the head's score, from one neighbour search.

        Parameters
        ----------
        features : Features

        Returns
        -------
        free, head : array of shape (n,)
        """
        distances, rows = self.label_free_.nearest(features)
        free = self.label_free_.relative(distances, rows)
        parts = self._parts(features, distances.mean(axis=1), free)
        return free, self._weighted(parts)

    def _weighted(self, parts: np.ndarray) -> np.ndarray:
        standardised = (parts - self.middle_[:, None]) / self.spread_[:, None]
        found: np.ndarray = standardised[0] + LINEAR_WEIGHT * standardised[1]
        return found

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and the scores of each, its distances those to the others."""
        return self.label_free_.rows_, self.own_scores_

    def contribution(self, features: Features) -> np.ndarray:
        """Return the score: all of it is the head's."""
        return self.score(features)

    def state(self) -> State:
        """Return the parts' states."""
        return {
            "free": self.label_free_.state(),
            "abnormal": self.abnormal_,
            "middle": self.middle_,
            "spread": self.spread_,
            "scaler_mean": self.scaler_mean_,
            "scaler_scale": self.scaler_scale_,
            "coef": self.coef_,
            "intercept": self.intercept_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild from the parts' states."""
        score = cls()
        kind: type[NeighbourScore]
        kind = SeriesScore if "usual_residuals" in state["free"] else CombinedScore
        score.label_free_ = kind.from_state(state["free"])
        score.abnormal_ = state["abnormal"]
        score.middle_, score.spread_ = state["middle"], state["spread"]
        score.scaler_mean_, score.scaler_scale_ = state["scaler_mean"], state["scaler_scale"]
        score.coef_, score.intercept_ = state["coef"], state["intercept"]
        return score

    @property
    def log_offset(self) -> float:
        """Return what is added to distances before the logarithm, which keeps copies finite."""
        return float(0.1 * self.label_free_.neighbour_distances_.mean() + 1e-12)

    def _parts(self, features: Features, to_normal: np.ndarray, free: np.ndarray) -> np.ndarray:
        """Return contrast and log-odds of n instances, (2, n)."""
        to_abnormal = _mean_nearest(self.label_free_.space(features), self.abnormal_)
        contrast = np.log(to_normal + self.log_offset) - np.log(to_abnormal + self.log_offset)
        standardised = (_linear_inputs(features, free) - self.scaler_mean_) / self.scaler_scale_
        return np.stack([contrast, standardised @ self.coef_ + self.intercept_])


class BlendedScore(LabelledScore):
    """`(1 - w) f + w h`: the label-free score f and the head h, both in standard deviations.

    f is the logarithm of `CombinedScore`, in standard deviations of its distance to neighbours
    over the normal training rows, each against the others. The weight w is one half unless
    cross-validation shows another to be better; see `choose_weight`.

    Attributes
    ----------
    weight_ : float in [0, 1]
    middle_, spread_ : float
        Of the logarithm of the label-free score over the normal training rows.
    """

    def fit_labelled(
        self, features: Features, abnormal: np.ndarray, rng: np.random.Generator
    ) -> Self:
        """Fit head and label-free score, and choose the weight."""
        self.head_ = HeadScore().fit_labelled(features, abnormal, rng)
        self._standardise()
        self.weight_ = choose_weight(held_out_scores, features, abnormal, rng)
        return self

    @property
    def label_free_(self) -> NeighbourScore:
        """The label-free score."""
        return self.head_.label_free_

    def score(self, features: Features) -> np.ndarray:
        """Return the weighted mean."""
        return self._blended(*self.standardised(features))

    def _blended(self, free: np.ndarray, head: np.ndarray) -> np.ndarray:
        return (1 - self.weight_) * free + self.weight_ * head

    def standardised(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """Return f and h, shape (n,) each.

        Parameters
        ----------
        features : Features

        Returns
        -------
        free, head : array of shape (n,)
        """
        free, head = self.head_.with_label_free(features)
        return self._in_deviations(free), head

    def _in_deviations(self, free: np.ndarray) -> np.ndarray:
        found: np.ndarray = (np.log(free + 1e-3) - self.middle_) / self.spread_
        return found

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and the scores of each, its distances those to the others."""
        rows, head = self.head_.leave_one_out()
        return rows, self._blended(self._in_deviations(self.label_free_.own_scores()), head)

    def contribution(self, features: Features) -> np.ndarray:
        """Return the weighted head."""
        return self.weight_ * self.head_.score(features)

    def state(self) -> State:
        """Return the head's state and the weight, and what does not follow from them."""
        state = {"head": self.head_.state(), "weight": self.weight_}
        own = {"middle": self.middle_, "spread": self.spread_}
        if own != _standardisation(self.label_free_.scores_of_references()):
            state |= own  # of rows, where the references are means of them
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild from the parts' states."""
        score = cls()
        score.head_ = HeadScore.from_state(state["head"])
        score.weight_ = state["weight"]
        found = _standardisation(score.label_free_.scores_of_references()) | dict(state)
        score.middle_, score.spread_ = found["middle"], found["spread"]
        return score

    def _standardise(self) -> None:
        found = _standardisation(self.label_free_.own_scores())
        self.middle_, self.spread_ = found["middle"], found["spread"]


def _standardisation(scores: np.ndarray) -> dict[str, float]:
    """Return mean and deviation of the logarithms of label-free scores."""
    logs = np.log(scores + 1e-3)
    return {"middle": float(logs.mean()), "spread": float(logs.std()) + 1e-9}


def label_free_method(features: Features) -> str:
    """Return the name of the score without labels that is best for a kind of data."""
    return "combined" if features.statistics is None else "series"


def fit_score(
    features: Features, y: np.ndarray, rows: np.ndarray, method: str, missing: str, seed: int
) -> tuple[Score, MissingPenalty | None]:
    """Fit a score, and the penalty for missing values that belongs to it.

    Parameters
    ----------
    features : Features
        Of n rows.
    y : int8 array of shape (n,)
        1 normal, -1 abnormal, 0 unknown.
    rows : integer array
        Rows to fit on.
    method : str
        A key of `ALL_LABEL_FREE`, `"head"` or `"blend"`.
    missing : {"unusual", "ignore", "error"}
    seed : int
    """
    rng = np.random.default_rng([seed, 2])
    normal = features.take(rows[y[rows] != ABNORMAL])
    score: Score
    if method in ALL_LABEL_FREE:
        score = ALL_LABEL_FREE[method]().fit(normal, rng)
    else:
        kind = HeadScore if method == "head" else BlendedScore
        score = kind().fit_labelled(features.take(rows), y[rows] == ABNORMAL, rng)
    return score, MissingPenalty.learn(score, normal, missing)


def held_out_scores(
    train: Features, abnormal: np.ndarray, test: Features, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return label-free scores and head scores, in standard deviations, of held-out rows."""
    blend = BlendedScore()
    blend.head_ = HeadScore().fit_labelled(train, abnormal, rng)
    blend._standardise()  # noqa: SLF001
    return blend.standardised(test)


@dataclass(frozen=True)
class LabelCurve:
    """Mean AUROC by number of abnormal labels.

    Attributes
    ----------
    points : list of dict
        `labels`, `label_free`, `head`.
    wins_from : int or None
        The smallest number of labels from which the head is never worse; None when there is none.
    """

    points: list[dict[str, Any]]
    wins_from: int | None


def choose_weight(
    score: HeldOutScores, features: Features, abnormal: np.ndarray, rng: np.random.Generator
) -> float:
    """Choose the weight of the head in a blend by cross-validation over the abnormal rows.

    For each abnormal row, held out with its fold, and each weight: the share of held-out
    normal rows that score lower. It is one half unless another weight's share is larger by
    more than one standard error of the paired differences (the one-standard-error rule,
    Breiman et al., 1984): with a handful of labels the figures are mostly noise. With fewer
    than five abnormal or three normal rows nothing is measured.
    """
    labelled, normal = _abnormal_and_normal(abnormal, rng)
    if len(labelled) < MIN_ABNORMAL or len(normal) < MIN_NORMAL:
        return DEFAULT_WEIGHT
    shares = []
    k = min(FOLDS, len(labelled), len(normal))
    for held_out, held_out_normal in zip(
        np.array_split(rng.permutation(labelled), k), np.array_split(normal, k), strict=True
    ):
        free, head = _score_held_out(
            score,
            features,
            np.setdiff1d(labelled, held_out),
            normal,
            held_out,
            held_out_normal,
            rng,
        )
        for row in range(len(held_out)):
            shares.append([_share_below(free, head, w, row, len(held_out)) for w in WEIGHTS])
    gains = np.asarray(shares) - np.asarray(shares)[:, [WEIGHTS.index(DEFAULT_WEIGHT)]]
    mean, error = gains.mean(axis=0), gains.std(axis=0, ddof=1) / np.sqrt(len(gains))
    best = int(mean.argmax())
    return WEIGHTS[best] if mean[best] > error[best] else DEFAULT_WEIGHT


def measure_curve(
    score: HeldOutScores, features: Features, abnormal: np.ndarray, rng: np.random.Generator
) -> LabelCurve:
    """Measure the AUROC of head and label-free score for growing numbers of abnormal labels.

    Three times for each number, with labels drawn anew: half of the normal rows, and all
    abnormal ones that were not drawn, are held out and scored. With fewer than three normal
    rows there are no points.
    """
    labelled, normal = _abnormal_and_normal(abnormal, rng)
    points: list[dict[str, Any]] = []
    if len(normal) < MIN_NORMAL:
        return LabelCurve(points, None)
    for count in [count for count in COUNTS if count < len(labelled)]:
        measured = []
        for _ in range(REPEATS):
            labels = rng.permutation(labelled)[:count]
            held_out = np.setdiff1d(labelled, labels)
            held_out_normal = rng.permutation(normal)[: len(normal) // 2]
            free, head = _score_held_out(
                score, features, labels, normal, held_out, held_out_normal, rng
            )
            truth = np.arange(len(free)) < len(held_out)
            measured.append([roc_auc_score(truth, free), roc_auc_score(truth, head)])
        mean = np.mean(measured, axis=0)
        points.append({"labels": count, "label_free": float(mean[0]), "head": float(mean[1])})
    wins_from: int | None = None
    for point in reversed(points):
        if point["head"] < point["label_free"]:
            break
        wins_from = int(point["labels"])
    return LabelCurve(points, wins_from)


def _abnormal_and_normal(
    abnormal: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    normal = rng.permutation(np.flatnonzero(~abnormal))[:MAX_NORMAL]
    return np.flatnonzero(abnormal), normal


def _score_held_out(
    score: HeldOutScores,
    features: Features,
    labels: np.ndarray,
    normal: np.ndarray,
    held_out: np.ndarray,
    held_out_normal: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit on labelled abnormal and the other normal rows; score the two held-out groups."""
    train = np.concatenate([labels, np.setdiff1d(normal, held_out_normal)])
    test = np.concatenate([held_out, held_out_normal])
    return score(features.take(train), np.isin(train, labels), features.take(test), rng)


def _share_below(free: np.ndarray, head: np.ndarray, weight: float, row: int, first: int) -> float:
    blended = (1 - weight) * free + weight * head
    lower, equal = blended[first:] < blended[row], blended[first:] == blended[row]
    return float(lower.mean() + equal.mean() / 2)


def _linear_inputs(features: Features, near: np.ndarray) -> np.ndarray:
    """Return the inputs of the linear model, for rows with these neighbour scores."""
    if not features.signed:
        return features.codes.astype(np.float64)
    logs = np.log(near + 1e-3)[:, None]
    return np.hstack([features.codes, features.residuals, logs]).astype(np.float64)


def _mean_nearest(points: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the mean distance to the nearest references, three at most."""
    k = min(ABNORMAL_NEIGHBOURS, len(references))
    return find_nearest(points, references, k)[0].mean(axis=1)
