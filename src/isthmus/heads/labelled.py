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
from isthmus.heads.scores import NeighbourScore, Score, State
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
        return self._fit_parts(views, abnormal)

    def score(self, views: Views) -> np.ndarray:
        """Return the sum of both parts."""
        distances, _ = self._near.nearest(views)
        contrast = self._contrast(distances.mean(axis=1), views)
        return self._together(contrast, self._log_odds(self._features(views)))

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
    def _near(self) -> NeighbourScore:
        return self.free_

    def _fit_parts(self, views: Views, abnormal: np.ndarray) -> Self:
        found = views.take(np.flatnonzero(abnormal))
        # The reference rows, each against the others: its own copy would be at distance zero.
        normal = views.take(np.flatnonzero(~abnormal)[self._near.rows_])
        self.abnormal_ = self._near.space(found)
        normal_features = self._features(normal, self._near.own_scores())
        features = np.concatenate([normal_features, self._features(found)])
        abnormal = np.arange(len(features)) >= len(normal)
        scaler = StandardScaler().fit(features)
        head = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
        head.fit(scaler.transform(features), abnormal)
        self.scaler_mean_, self.scaler_scale_ = scaler.mean_, scaler.scale_
        self.coef_, self.intercept_ = head.coef_[0], float(head.intercept_[0])
        self.middle_, self.spread_ = np.zeros(2), np.ones(2)
        contrast = self._contrast(self._near.apart_, normal)
        log_odds = self._log_odds(normal_features)
        self.middle_ = np.array([contrast.mean(), log_odds.mean()])
        self.spread_ = np.array([contrast.std(), log_odds.std()]) + 1e-9
        return self

    def _features(self, views: Views, near: np.ndarray | None = None) -> np.ndarray:
        if not views.signed:
            return views.codes.astype(np.float64)
        near = self._near.score(views) if near is None else near
        logs = np.log(near + 1e-3)[:, None]
        return np.hstack([views.codes, views.residuals, logs]).astype(np.float64)

    def _contrast(self, to_normal: np.ndarray, views: Views) -> np.ndarray:
        to_abnormal = _mean_nearest(self._near.space(views), self.abnormal_)
        little = 0.1 * self._near.apart_.mean() + 1e-12
        return np.log(to_normal + little) - np.log(to_abnormal + little)

    def _log_odds(self, features: np.ndarray) -> np.ndarray:
        standardised = (features - self.scaler_mean_) / self.scaler_scale_
        return standardised @ self.coef_ + self.intercept_

    def _together(self, contrast: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
        parts = (np.stack([contrast, log_odds]) - self.middle_[:, None]) / self.spread_[:, None]
        return parts[0] + LINEAR_WEIGHT * parts[1]


class BlendedScore(LabelledScore):
    """`(1 - w) f + w h`: the label-free score f and the head h, both in standard deviations.

    f is the logarithm of `CombinedScore`, in standard deviations of its distance to neighbours
    over the normal training rows, each against the others. The weight w is one half unless
    cross-validation shows another to be better; see `isthmus.heads.label_curve`.

    Attributes
    ----------
    weight_ : float in [0, 1]
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
        return (1 - self.weight_) * self._free(views) + self.contribution(views)

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
        self._middle, self._spread = float(logs.mean()), float(logs.std()) + 1e-9

    def _free(self, views: Views) -> np.ndarray:
        return (np.log(self.free_.score(views) + 1e-3) - self._middle) / self._spread


def held_out_scores(
    train: Views, abnormal: np.ndarray, test: Views, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return label-free scores and head scores, in standard deviations, of held-out rows."""
    blend = BlendedScore()
    blend.head_ = HeadScore().fit_labelled(train, abnormal, rng)
    blend._standardise()
    return blend._free(test), blend.head_.score(test)


def _mean_nearest(points: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the mean distance to the nearest references, three at most."""
    k = min(ABNORMAL_NEIGHBOURS, len(references))
    return NearestNeighbors(n_neighbors=k).fit(references).kneighbors(points)[0].mean(axis=1)
