"""Detector and classifier of time series, behind the interfaces of aeon.

aeon has the channels of a series first, isthmus last: `(n_channels, n_timepoints)` becomes
`(n_timepoints, n_channels)` here, and back.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from isthmus._core import optional_class
from isthmus.autoencoder import Autoencoder, InstanceEncoder
from isthmus.classification import CodeClassifier
from isthmus.data import load
from isthmus.detection import AnomalyDetector, WindowPlaces
from isthmus.encoding import FrozenEncoderMixin

BaseSeriesAnomalyDetector: Any = optional_class(
    "aeon.anomaly_detection.series.base.BaseSeriesAnomalyDetector",
    extra="aeon",
    purpose="a detector of aeon",
)
BaseClassifier: Any = optional_class(
    "aeon.classification.base.BaseClassifier", extra="aeon", purpose="a classifier of aeon"
)


class AeonDetector(BaseSeriesAnomalyDetector):
    """Score the time points of a series as `AnomalyDetector` does, for aeon.

    Parameters
    ----------
    encoder : Autoencoder, FrozenEncoder or None, default=None
        See `AnomalyDetector`; None is an `Autoencoder()`. One that is fitted must not have been
        trained on the series given to `fit`.
    window : int or "auto", default="auto"
        Time points of a window; `"auto"` is one period of the series, see `isthmus.load`. `fit`
        needs a series of about ten windows.
    random_state : int, RandomState instance or None, default=None
        Of the detector and, where it has none of its own, of the encoder.

    Attributes
    ----------
    detector_ : AnomalyDetector
        It has what aeon has no interface for: `detector_.alarms(X.T)`, `score_points` with p-values
        and the share of each channel, thresholds at a false-alarm rate.

    Raises
    ------
    MissingExtraError
        Where an instance is made and aeon is not installed.

    Notes
    -----
    `fit` takes a mostly normal series, with its time points in order and none missing; labels are
    ignored. `predict` returns the anomaly score of each time point, the mean over the windows that
    cover it. `fit_predict` returns, for the series fitted on, the scores of models that were fitted
    without the stretch of time that a point lies in; of series of more than 20,000 windows
    a fifth of the time is held out, and the rest is scored by a model that was fitted on it.

    References
    ----------
    Middlehurst et al., aeon: a Python toolkit for learning from time series, Journal of Machine
    Learning Research 25, 2024.

    Examples
    --------
    >>> from isthmus import Autoencoder
    >>> rng = np.random.default_rng(0)
    >>> X = np.sin(np.arange(1500) / 5) + rng.normal(scale=0.1, size=1500)
    >>> X[1200:1210] += 2
    >>> detector = AeonDetector(
    ...     Autoencoder(max_epochs=2, random_state=0), window=32, random_state=0
    ... )  # doctest: +SKIP
    >>> scores = detector.fit(X[:1000]).predict(X[1000:])  # doctest: +SKIP
    >>> scores.shape, bool(180 < scores.argmax() < 230)  # doctest: +SKIP
    ((500,), True)
    """

    _tags: ClassVar[dict[str, Any]] = {
        "capability:univariate": True,
        "capability:multivariate": True,
        "capability:missing_values": False,
        "fit_is_empty": False,
        "anomaly_output_type": "anomaly_scores",
        "learning_type:unsupervised": True,
        "learning_type:semi_supervised": True,
        "X_inner_type": "np.ndarray",
    }
    #: A fitted encoder is shared, and not cloned.
    __sklearn_clone__ = FrozenEncoderMixin.__sklearn_clone__

    def __init__(
        self,
        encoder: InstanceEncoder | None = None,
        window: int | Literal["auto"] = "auto",
        *,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.encoder = encoder
        self.window = window
        self.random_state = random_state
        super().__init__(axis=0)

    def _fit(self, X: np.ndarray, y: Any = None) -> AeonDetector:
        names = [f"channel_{number}" for number in range(X.shape[1])]
        table = pd.DataFrame(X, columns=names)
        window = None if self.window == "auto" else self.window
        detector = AnomalyDetector(
            Autoencoder() if self.encoder is None else self.encoder, random_state=self.random_state
        )
        self.detector_ = detector.fit(load(table, kind="series", window=window, stride=1))
        return self

    def _predict(self, X: np.ndarray) -> np.ndarray:
        scores: np.ndarray = self.detector_.decide_points(X).scores
        return scores

    def _fit_predict(self, X: np.ndarray, y: Any = None) -> np.ndarray:
        self._fit(X, y)
        held_out = self.detector_.held_out_scores_
        timeline = self.detector_.reference_set_.timeline
        assert timeline is not None  # of a long table
        places = WindowPlaces(timeline.first, timeline.window, timeline.segments)
        # Only windows that were held out count for the mean of a time point.
        n_held_out = places.spread(~np.isnan(held_out))
        with np.errstate(invalid="ignore"):
            scores = places.spread(np.nan_to_num(held_out)) / n_held_out
        return np.where(n_held_out > 0, scores, self._predict(X))

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        """Return parameters with which aeon's checks are quick, on series of 20 time points."""
        return {"encoder": Autoencoder(max_epochs=1, random_state=0), "window": 2}


class AeonClassifier(BaseClassifier):
    """Classify series by their codes as `CodeClassifier` does, for aeon.

    Parameters
    ----------
    encoder : Autoencoder, FrozenEncoder or None, default=None
        See `CodeClassifier`; None is an `Autoencoder(kind="series")`. One that is fitted is used as
        it is, so that it may have learned from many series without labels.
    head : str or scikit-learn classifier, default="linear"
        See `CodeClassifier`. One without probabilities gives the class predicted a probability of
        1, as aeon does.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    classifier_ : CodeClassifier

    Raises
    ------
    MissingExtraError
        Where an instance is made and aeon is not installed.

    Notes
    -----
    Series are `(n_cases, n_channels, n_timepoints)`, all of one length.

    Examples
    --------
    >>> from isthmus import Autoencoder
    >>> rng = np.random.default_rng(0)
    >>> slow, fast = (np.sin(np.arange(48) / period) for period in (6, 3))
    >>> y = np.repeat(["slow", "fast"], 60)
    >>> X = np.where(y[:, None] == "slow", slow, fast) + rng.normal(scale=0.2, size=(120, 48))
    >>> classifier = AeonClassifier(
    ...     Autoencoder(kind="series", max_epochs=2, random_state=0)
    ... )  # doctest: +SKIP
    >>> classifier.fit(X[::2], y[::2]).score(X[1::2], y[1::2])  # doctest: +SKIP
    1.0
    """

    _tags: ClassVar[dict[str, Any]] = {
        "capability:univariate": True,
        "capability:multivariate": True,
        "capability:missing_values": False,
        "X_inner_type": "numpy3D",
    }
    #: A fitted encoder is shared, and not cloned.
    __sklearn_clone__ = FrozenEncoderMixin.__sklearn_clone__

    def __init__(
        self,
        encoder: InstanceEncoder | None = None,
        head: str | BaseEstimator = "linear",
        *,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.encoder = encoder
        self.head = head
        self.random_state = random_state
        super().__init__()

    def _fit(self, X: np.ndarray, y: np.ndarray) -> AeonClassifier:
        encoder = self.encoder
        if encoder is None:
            encoder = Autoencoder(kind="series", random_state=self.random_state)
        classifier = CodeClassifier(encoder, self.head, random_state=self.random_state)
        self.classifier_ = classifier.fit(X.transpose(0, 2, 1), y)
        return self

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return self.classifier_.predict(X.transpose(0, 2, 1))

    def _predict_proba(self, X: np.ndarray) -> np.ndarray:
        if not hasattr(self.classifier_, "predict_proba"):
            one_hot: np.ndarray = super()._predict_proba(X)
            return one_hot
        probabilities: np.ndarray = self.classifier_.predict_proba(X.transpose(0, 2, 1))
        return probabilities

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        """Return parameters with which aeon's checks are quick, on series of 20 time points."""
        return {"encoder": Autoencoder(kind="series", max_epochs=1, random_state=0)}
