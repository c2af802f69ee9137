"""Scores that use labels: a head on codes and residuals, and its blend with the label-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from isthmus.heads.combined import CombinedScore
from isthmus.heads.label_curve import choose_weight
from isthmus.heads.scores import Score, State
from isthmus.heads.views import Views

#: What the linear part counts beside the contrast, both in standard deviations.
LINEAR_WEIGHT = 0.5
#: A mean over three: one abnormal row that is mislabelled must not rule its surroundings.
ABNORMAL_NEIGHBOURS = 3


class LabelledScore(Score):
    """A score that is fitted on rows with labels, in standard deviations of normal rows."""

    def fit(self, views: Views, rng: np.random.Generator) -> Self:
        """Refuse: labels are needed."""
        raise TypeError(f"{type(self).__name__} needs labels: use fit_labelled")

    def fit_labelled(self, views: Views, abnormal: np.ndarray, rng: np.random.Generator) -> Self:
        """Learn from views of n rows and a boolean array that marks the abnormal ones."""
        raise NotImplementedError

    def contribution(self, views: Views) -> np.ndarray:
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

    def fit_labelled(self, views: Views, abnormal: np.ndarray, rng: np.random.Generator) -> Self:
        """Learn both parts; rows that are not marked count as normal."""
        normal = views.take(np.flatnonzero(~abnormal))
        self.free_ = CombinedScore().fit(normal, rng)
        found = views.take(np.flatnonzero(abnormal))
        self.abnormal_ = self.free_.space(found)
        # The reference rows, each against the others: its own copy would be at distance zero.
        normal = normal.take(self.free_.rows_)
        normal_features = _features(normal, self.free_.own_scores())
        features = np.concatenate([normal_features, _features(found, self.free_.score(found))])
        truth = np.arange(len(features)) >= len(normal)
        scaler = StandardScaler().fit(features)
        head = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
        head.fit(scaler.transform(features), truth)
        self.scaler_mean_, self.scaler_scale_ = scaler.mean_, scaler.scale_
        self.coef_, self.intercept_ = head.coef_[0], float(head.intercept_[0])
        parts = self._parts(normal, self.free_.apart_, self.free_.own_scores())
        self.middle_, self.spread_ = parts.mean(axis=1), parts.std(axis=1) + 1e-9
        return self

    def score(self, views: Views) -> np.ndarray:
        """Return the sum of both parts."""
        return self.with_free(views)[1]

    def with_free(self, views: Views) -> tuple[np.ndarray, np.ndarray]:
        """Return the label-free score and the head's, from one search for neighbours."""
        distances, rows = self.free_.nearest(views)
        free = self.free_.relative(distances, rows)
        parts = self._parts(views, distances.mean(axis=1), free)
        standardised = (parts - self.middle_[:, None]) / self.spread_[:, None]
        return free, standardised[0] + LINEAR_WEIGHT * standardised[1]

    def contribution(self, views: Views) -> np.ndarray:
        """Return the score: it is the head's alone."""
        return self.score(views)

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

    def _parts(self, views: Views, to_normal: np.ndarray, free: np.ndarray) -> np.ndarray:
        """Return contrast and log-odds of n instances, (2, n)."""
        to_abnormal = _mean_nearest(self.free_.space(views), self.abnormal_)
        contrast = np.log(to_normal + self.little) - np.log(to_abnormal + self.little)
        standardised = (_features(views, free) - self.scaler_mean_) / self.scaler_scale_
        return np.stack([contrast, standardised @ self.coef_ + self.intercept_])


class BlendedScore(LabelledScore):
    """`(1 - w) f + w h`: the label-free score f and the head h, both in standard deviations.

    f is the logarithm of `CombinedScore`, in standard deviations of its distance to neighbours
    over the normal training rows, each against the others. The weight w is one half unless
    cross-validation shows another to be better; see `isthmus.heads.label_curve`.

    Attributes
    ----------
    weight_ : float in [0, 1]
    middle_, spread_ : float
        Of the logarithm of the label-free score over the normal training rows.
    """

    def fit_labelled(self, views: Views, abnormal: np.ndarray, rng: np.random.Generator) -> Self:
        """Learn head and label-free score, and how to weigh them."""
        self.head_ = HeadScore().fit_labelled(views, abnormal, rng)
        self._standardise()
        self.weight_ = choose_weight(held_out_scores, views, abnormal, rng)
        return self

    @property
    def free_(self) -> CombinedScore:
        """The label-free score."""
        return self.head_.free_

    def score(self, views: Views) -> np.ndarray:
        """Return the weighted mean."""
        free, head = self.standardised(views)
        return (1 - self.weight_) * free + self.weight_ * head

    def standardised(self, views: Views) -> tuple[np.ndarray, np.ndarray]:
        """Return f and h."""
        free, head = self.head_.with_free(views)
        return (np.log(free + 1e-3) - self.middle_) / self.spread_, head

    def contribution(self, views: Views) -> np.ndarray:
        """Return the weighted head."""
        return self.weight_ * self.head_.score(views)

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
    train: Views, abnormal: np.ndarray, test: Views, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return label-free scores and head scores, in standard deviations, of held-out rows."""
    blend = BlendedScore()
    blend.head_ = HeadScore().fit_labelled(train, abnormal, rng)
    blend._standardise()
    return blend.standardised(test)


def _features(views: Views, near: np.ndarray) -> np.ndarray:
    """Return what the plane is fitted on, of rows with these neighbour scores."""
    if not views.signed:
        return views.codes.astype(np.float64)
    logs = np.log(near + 1e-3)[:, None]
    return np.hstack([views.codes, views.residuals, logs]).astype(np.float64)


def _mean_nearest(points: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the mean distance to the nearest references, three at most."""
    k = min(ABNORMAL_NEIGHBOURS, len(references))
    return NearestNeighbors(n_neighbors=k).fit(references).kneighbors(points)[0].mean(axis=1)
