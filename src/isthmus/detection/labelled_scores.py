"""Anomaly scores that use labels, and from how many labels on they are better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from isthmus.detection.features import Features
from isthmus.detection.scores import CombinedScore, Score, State

#: From (training features, which of them are abnormal, test features, generator) to the scores of
#: the test features: label-free, and the head's.
HeldOut = Callable[
    [Features, np.ndarray, Features, np.random.Generator], tuple[np.ndarray, np.ndarray]
]

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
FIRST_WEIGHT = 0.5
COUNTS = (1, 2, 3, 5, 10, 20, 50, 100)
#: Normal rows used here, at most: enough to rank against, few enough to do it in a blink.
MOST_NORMAL = 600
FOLDS, REPEATS = 5, 3
#: With fewer normal rows there is nothing to hold out, and with fewer abnormal ones whatever is
#: measured is luck.
FEWEST, FEWEST_FOUND = 3, 5


@dataclass(frozen=True)
class LabelCurve:
    """Mean AUROC by number of abnormal labels.

    Attributes
    ----------
    points : list of dict
        `labels`, `label_free`, `head`.
    wins_from : int or None
        The smallest number from which on the head is never behind; None when there is none.
    """

    points: list[dict[str, Any]]
    wins_from: int | None


def choose_weight(
    score: HeldOut, features: Features, abnormal: np.ndarray, rng: np.random.Generator
) -> float:
    """Choose what the head counts in a blend, by cross-validation over the abnormal rows.

    For each abnormal row, held out with its fold, and each weight: the share of held-out
    normal rows that score lower. One half stays unless another weight's share is larger by
    more than one standard error of the paired differences (the one-standard-error rule,
    Breiman et al., 1984): with a handful of labels the figures are mostly noise. With fewer
    than five abnormal or three normal rows nothing is measured.
    """
    found, normal = _rows(abnormal, rng)
    if len(found) < FEWEST_FOUND or len(normal) < FEWEST:
        return FIRST_WEIGHT
    shares = []
    k = min(FOLDS, len(found), len(normal))
    for hidden, apart in zip(
        np.array_split(rng.permutation(found), k), np.array_split(normal, k), strict=True
    ):
        free, head = _try(score, features, np.setdiff1d(found, hidden), normal, hidden, apart, rng)
        for row in range(len(hidden)):
            shares.append([_share(free, head, w, row, len(hidden)) for w in WEIGHTS])
    gains = np.asarray(shares) - np.asarray(shares)[:, [WEIGHTS.index(FIRST_WEIGHT)]]
    mean, error = gains.mean(axis=0), gains.std(axis=0, ddof=1) / np.sqrt(len(gains))
    best = int(mean.argmax())
    return WEIGHTS[best] if mean[best] > error[best] else FIRST_WEIGHT


def measure_curve(
    score: HeldOut, features: Features, abnormal: np.ndarray, rng: np.random.Generator
) -> LabelCurve:
    """Measure head and label-free score with growing numbers of abnormal labels.

    Three times for each number, with labels drawn anew: half of the normal rows, and all
    abnormal ones that were not drawn, are held out and ranked. With fewer than three normal
    rows there are no points.
    """
    found, normal = _rows(abnormal, rng)
    points: list[dict[str, Any]] = []
    if len(normal) < FEWEST:
        return LabelCurve(points, None)
    for count in [count for count in COUNTS if count < len(found)]:
        measured = []
        for _ in range(REPEATS):
            known = rng.permutation(found)[:count]
            hidden = np.setdiff1d(found, known)
            apart = rng.permutation(normal)[: len(normal) // 2]
            free, head = _try(score, features, known, normal, hidden, apart, rng)
            truth = np.arange(len(free)) < len(hidden)
            measured.append([roc_auc_score(truth, free), roc_auc_score(truth, head)])
        mean = np.mean(measured, axis=0)
        points.append({"labels": count, "label_free": float(mean[0]), "head": float(mean[1])})
    wins_from: int | None = None
    for point in reversed(points):
        if point["head"] < point["label_free"]:
            break
        wins_from = int(point["labels"])
    return LabelCurve(points, wins_from)


def _rows(abnormal: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    normal = rng.permutation(np.flatnonzero(~abnormal))[:MOST_NORMAL]
    return np.flatnonzero(abnormal), normal


def _try(
    score: HeldOut,
    features: Features,
    known: np.ndarray,
    normal: np.ndarray,
    hidden: np.ndarray,
    apart: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit on known abnormal and the other normal rows; score the hidden, then those apart."""
    train = np.concatenate([known, np.setdiff1d(normal, apart)])
    test = np.concatenate([hidden, apart])
    return score(features.take(train), np.isin(train, known), features.take(test), rng)


def _share(free: np.ndarray, head: np.ndarray, weight: float, row: int, first: int) -> float:
    blended = (1 - weight) * free + weight * head
    lower, equal = blended[first:] < blended[row], blended[first:] == blended[row]
    return float(lower.mean() + equal.mean() / 2)


#: What the linear part counts beside the contrast, both in standard deviations.
LINEAR_WEIGHT = 0.5
#: A mean over three: one abnormal row that is mislabelled must not rule its surroundings.
ABNORMAL_NEIGHBOURS = 3


class LabelledScore(Score):
    """A score that is fitted on rows with labels, in standard deviations of normal rows."""

    def fit(self, features: Features, rng: np.random.Generator) -> Self:
        """Refuse: labels are needed."""
        raise TypeError(f"{type(self).__name__} needs labels: use fit_labelled")

    def fit_labelled(
        self, features: Features, abnormal: np.ndarray, rng: np.random.Generator
    ) -> Self:
        """Learn from features of n rows and a boolean array that marks the abnormal ones."""
        raise NotImplementedError

    def contribution(self, features: Features) -> np.ndarray:
        """Return what the head adds to each instance's score, shape (n,)."""
        raise NotImplementedError


class HeadScore(LabelledScore):
    """Nearer to abnormal than to normal rows, and on the abnormal side of a plane.

    The sum of two parts, each divided by its standard deviation over the normal training rows:

    - the contrast `log(d+ + l) - log(d- + l)` of the mean distances d+ to the five nearest
      normal and d- to the three nearest abnormal rows, in code and residual together; l, a
      tenth of how far normal rows lie apart, keeps copies of a row finite. It needs no
      training and works from the first label on: the log-ratio of two nearest-neighbour
      density estimates (Loftsgaarden and Quesenberry, 1965);
    - half the log-odds of a logistic regression on standardised codes, signed residuals and the
      logarithm of the neighbour score, each row against the others; classes weighted equally,
      C = 0.1, because labels are few. How large a residual is stays out of it: the encoder was
      trained on the normal rows and not on the abnormal, so a head would learn to tell rows that
      were seen from rows that were not.
    """

    def fit_labelled(
        self, features: Features, abnormal: np.ndarray, rng: np.random.Generator
    ) -> Self:
        """Learn both parts; rows that are not marked count as normal."""
        normal = features.take(np.flatnonzero(~abnormal))
        self.free_ = CombinedScore().fit(normal, rng)
        found = features.take(np.flatnonzero(abnormal))
        self.abnormal_ = self.free_.space(found)
        # The reference rows, each against the others: its own copy would be at distance zero.
        normal = normal.take(self.free_.rows_)
        of_normal = _linear_inputs(normal, self.free_.own_scores())
        inputs = np.concatenate([of_normal, _linear_inputs(found, self.free_.score(found))])
        truth = np.arange(len(inputs)) >= len(normal)
        scaler = StandardScaler().fit(inputs)
        head = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
        head.fit(scaler.transform(inputs), truth)
        self.scaler_mean_, self.scaler_scale_ = scaler.mean_, scaler.scale_
        self.coef_, self.intercept_ = head.coef_[0], float(head.intercept_[0])
        parts = self._parts(normal, self.free_.apart_, self.free_.own_scores())
        self.middle_, self.spread_ = parts.mean(axis=1), parts.std(axis=1) + 1e-9
        return self

    def score(self, features: Features) -> np.ndarray:
        """Return the sum of both parts."""
        return self.with_free(features)[1]

    def with_free(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """Return the label-free score and the head's, from one search for neighbours."""
        distances, rows = self.free_.nearest(features)
        free = self.free_.relative(distances, rows)
        parts = self._parts(features, distances.mean(axis=1), free)
        standardised = (parts - self.middle_[:, None]) / self.spread_[:, None]
        return free, standardised[0] + LINEAR_WEIGHT * standardised[1]

    def contribution(self, features: Features) -> np.ndarray:
        """Return the score: it is the head's alone."""
        return self.score(features)

    def state(self) -> State:
        """Return the parts' states."""
        return {
            "free": self.free_.state(),
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
        score.free_ = CombinedScore.from_state(state["free"])
        score.abnormal_ = state["abnormal"]
        score.middle_, score.spread_ = state["middle"], state["spread"]
        score.scaler_mean_, score.scaler_scale_ = state["scaler_mean"], state["scaler_scale"]
        score.coef_, score.intercept_ = state["coef"], state["intercept"]
        return score

    @property
    def little(self) -> float:
        """What is added to distances, so that copies of a row are not infinitely near."""
        return float(0.1 * self.free_.apart_.mean() + 1e-12)

    def _parts(self, features: Features, to_normal: np.ndarray, free: np.ndarray) -> np.ndarray:
        """Return contrast and log-odds of n instances, (2, n)."""
        to_abnormal = _mean_nearest(self.free_.space(features), self.abnormal_)
        contrast = np.log(to_normal + self.little) - np.log(to_abnormal + self.little)
        standardised = (_linear_inputs(features, free) - self.scaler_mean_) / self.scaler_scale_
        return np.stack([contrast, standardised @ self.coef_ + self.intercept_])


class BlendedScore(LabelledScore):
    """`(1 - w) f + w h`: the label-free score f and the head h, both in standard deviations.

    f is the logarithm of `CombinedScore`, in standard deviations of its distance to neighbours
    over the normal training rows, each against the others. The weight w is one half unless
    cross-validation shows another to be better; see `isthmus.detection.labelled_scores`.

    Attributes
    ----------
    weight_ : float in [0, 1]
    middle_, spread_ : float
        Of the logarithm of the label-free score over the normal training rows.
    """

    def fit_labelled(
        self, features: Features, abnormal: np.ndarray, rng: np.random.Generator
    ) -> Self:
        """Learn head and label-free score, and how to weigh them."""
        self.head_ = HeadScore().fit_labelled(features, abnormal, rng)
        self._standardise()
        self.weight_ = choose_weight(held_out_scores, features, abnormal, rng)
        return self

    @property
    def free_(self) -> CombinedScore:
        """The label-free score."""
        return self.head_.free_

    def score(self, features: Features) -> np.ndarray:
        """Return the weighted mean."""
        free, head = self.standardised(features)
        return (1 - self.weight_) * free + self.weight_ * head

    def standardised(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """Return f and h."""
        free, head = self.head_.with_free(features)
        return (np.log(free + 1e-3) - self.middle_) / self.spread_, head

    def contribution(self, features: Features) -> np.ndarray:
        """Return the weighted head."""
        return self.weight_ * self.head_.score(features)

    def state(self) -> State:
        """Return the head's state and the weight."""
        return {"head": self.head_.state(), "weight": self.weight_}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild from the parts' states."""
        score = cls()
        score.head_ = HeadScore.from_state(state["head"])
        score.weight_ = state["weight"]
        score._standardise()
        return score

    def _standardise(self) -> None:
        logs = np.log(self.free_.own_scores() + 1e-3)
        self.middle_, self.spread_ = float(logs.mean()), float(logs.std()) + 1e-9


def held_out_scores(
    train: Features, abnormal: np.ndarray, test: Features, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return label-free scores and head scores, in standard deviations, of held-out rows."""
    blend = BlendedScore()
    blend.head_ = HeadScore().fit_labelled(train, abnormal, rng)
    blend._standardise()  # noqa: SLF001
    return blend.standardised(test)


def _linear_inputs(features: Features, near: np.ndarray) -> np.ndarray:
    """Return what the plane is fitted on, of rows with these neighbour scores."""
    if not features.signed:
        return features.codes.astype(np.float64)
    logs = np.log(near + 1e-3)[:, None]
    return np.hstack([features.codes, features.residuals, logs]).astype(np.float64)


def _mean_nearest(points: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the mean distance to the nearest references, three at most."""
    k = min(ABNORMAL_NEIGHBOURS, len(references))
    return NearestNeighbors(n_neighbors=k).fit(references).kneighbors(points)[0].mean(axis=1)
