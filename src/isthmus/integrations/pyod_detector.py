"""`PyODDetector`: an `AnomalyDetector` with its encoder, as a detector of PyOD."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from isthmus._core import optional_class
from isthmus.autoencoder import Autoencoder, InstanceEncoder
from isthmus.detection import AnomalyDetector
from isthmus.encoding import FrozenEncoderMixin

BaseDetector: Any = optional_class(
    "pyod.models.base.BaseDetector", extra="pyod", purpose="a detector of PyOD"
)


class PyODDetector(BaseDetector):
    """Score instances as `AnomalyDetector` does, behind the interface of PyOD's detectors.

    It goes where PyOD takes a `pyod.models.base.BaseDetector`: into its combinations of detectors,
    thresholding and evaluation. Signs are PyOD's: higher scores are more abnormal, and the label
    of an abnormal instance is 1.

    Parameters
    ----------
    encoder : Autoencoder, FrozenEncoder or None, default=None
        See `AnomalyDetector`; None is an `Autoencoder()`. One that is fitted must not have been
        trained on the rows given to `fit`.
    contamination : float in (0, 0.5], default=0.1
        As in PyOD, the share of the training rows that is labelled abnormal: the threshold is that
        quantile of `decision_scores_`. It is no rate of false alarms. Where fewer training rows are
        abnormal than stated, normal ones are flagged to make up the share, and about as many of
        later normal instances. For a stated rate take `p_values`: `p_values(X) <= 0.01` holds for
        at most one percent of normal instances, whatever `contamination` is. PyOD's objects of
        the library PyThresh may stand in its place.
    method : str, default="auto"
        The anomaly score, see `AnomalyDetector`.
    random_state : int, RandomState instance or None, default=None
        Of the detector and, where it has none of its own, of the encoder.

    Attributes
    ----------
    detector_ : AnomalyDetector
        With cross calibration: an encoder that is not fitted is trained six times, once on all rows
        and once without each fifth.
    decision_scores_ : array of shape (n,)
        Anomaly score of each training row by the model that was fitted without it, as it
        calibrates: see `AnomalyDetector.held_out_scores_`.
    threshold_ : float
        Instances with a higher score are abnormal.
    labels_ : int array of shape (n,)
        0 normal, 1 abnormal, of the training rows.

    Raises
    ------
    MissingExtraError
        Where an instance is made and pyod is not installed.
    ValueError
        When `contamination` is out of range.

    Notes
    -----
    Scores of the training rows come from other models than those of later instances, as far as
    leaving out a fifth of the rows changes a model. `predict_proba` and `predict_confidence` are
    PyOD's own, computed from `decision_scores_`.

    References
    ----------
    Zhao, Nasrullah and Li, PyOD: a Python toolbox for scalable outlier detection, Journal of
    Machine Learning Research 20, 2019.

    Examples
    --------
    >>> from isthmus import Autoencoder
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([rng.normal(size=(190, 6)), rng.normal(scale=9, size=(10, 6))])
    >>> detector = PyODDetector(Autoencoder(max_epochs=5), contamination=0.05, random_state=0)
    >>> int(detector.fit(X).labels_.sum()), int(detector.labels_[190:].sum())
    (10, 10)
    >>> detector.predict(np.array([[0.0] * 6, [9.0] * 6])).tolist()
    [0, 1]
    >>> bool(detector.p_values(np.zeros((1, 6)))[0] > 0.05)
    True
    >>> bool((detector.decision_function(X[190:]) > detector.threshold_).all())
    True
    """

    #: A fitted encoder is shared, and not cloned.
    __sklearn_clone__ = FrozenEncoderMixin.__sklearn_clone__

    def __init__(
        self,
        encoder: InstanceEncoder | None = None,
        contamination: Any = 0.1,
        *,
        method: str = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(contamination=contamination)
        self.encoder = encoder
        self.method = method
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit encoder and score, and set the threshold by `contamination`.

        Parameters
        ----------
        X : array of shape (n, m), (n, h, w), (n, h, w, c) or DataFrame of n instances
            With abnormal ones among them, if there are any.
        y : ignored
            PyOD warns where it is given.

        Returns
        -------
        self

        Raises
        ------
        DataError, ValueError
            When the instances cannot be used.
        CalibrationError
            When there are fewer than four, or a fitted encoder was trained on them.
        """
        self._set_n_classes(y)
        self._classes = 2  # whatever is in y
        detector = AnomalyDetector(
            Autoencoder() if self.encoder is None else self.encoder,
            method=self.method,
            calibration="cross",
            random_state=self.random_state,
        )
        self.detector_ = detector.fit(X)
        self.decision_scores_ = self.detector_.held_out_scores_
        self._process_decision_scores()
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the anomaly score of each instance, higher is more abnormal: (n,).

        Parameters
        ----------
        X : array or DataFrame of n instances like those at fit

        Returns
        -------
        float64 array of shape (n,)

        Raises
        ------
        DataError, ValueError
            When they are not like those at fit.
        """
        check_is_fitted(self, "detector_")
        scores: np.ndarray = -self.detector_.score_samples(X)
        return scores

    def p_values(self, X: Any) -> np.ndarray:
        """Return the conformal p-value of each instance, (n,), in [1 / (n_training + 1), 1].

        A normal instance has one of at most a with a probability of at most a, for each a, see
        `AnomalyDetector.p_values`. All training rows count as normal here: abnormal ones among them
        make p-values larger, so that fewer normal instances are flagged than the rate allows.

        Parameters
        ----------
        X : array or DataFrame of n instances like those at fit

        Returns
        -------
        float64 array of shape (n,)
        """
        check_is_fitted(self, "detector_")
        return self.detector_.p_values(X)
