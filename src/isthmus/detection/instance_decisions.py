"""Decisions of a fitted detector: scores, p-values, verdicts, and the threshold at a rate."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from isthmus._core import isolated_from_host
from isthmus.autoencoder import Autoencoder
from isthmus.data import check_complete, over_chunks, verdicts
from isthmus.detection.calibration import (
    Calibration,
    benjamini_hochberg,
    check_rate,
    choose_rate,
)
from isthmus.detection.features import Features, extract_features_in_chunks
from isthmus.detection.point_decisions import PointCalibration
from isthmus.detection.reference_set import ReferenceSet
from isthmus.detection.scores import MissingPenalty, Score, anomaly_scores


class DecisionsMixin:
    """What a fitted detector decides on instances."""

    encoder_: Autoencoder
    reference_set_: ReferenceSet
    fitted_score_: Score
    missing_penalty_: MissingPenalty | None
    score_calibration_: Calibration
    point_calibration_: PointCalibration | None
    false_alarm_rate: float | Literal["auto"]
    false_alarm_rate_: float
    false_alarms: str | None
    missing: Literal["unusual", "ignore", "error"]
    offset_: float
    check_encoder_unchanged: Callable[[], None]
    _set_point_threshold: Callable[[float | Literal["auto"]], None]
    _restored_on_failure: Callable[[], AbstractContextManager[None]]

    @isolated_from_host()
    def set_false_alarm_rate(self, rate: float | Literal["auto"]) -> Self:
        """Move the threshold to another rate, of instances and of time points; nothing is trained.

        Raises
        ------
        CalibrationError
            When the calibration rows cannot hold it. The detector is then unchanged.
        """
        check_is_fitted(self)
        chosen = self._rate_of_windows(rate)
        with self._restored_on_failure():
            self.false_alarm_rate = chosen
            self._set_threshold(chosen)
            if self.point_calibration_ is not None:
                self.false_alarms = None
                self._set_point_threshold(rate)
        return self

    @isolated_from_host()
    @over_chunks
    def score_samples(self, X: Any) -> np.ndarray:
        """Return the negated anomaly score of each instance: higher is more normal, (n,)."""
        check_is_fitted(self)
        self.check_encoder_unchanged()
        chunks = extract_features_in_chunks(self.encoder_, X)
        return -np.concatenate([self._scores(chunk) for chunk in chunks])

    def decision_function(self, X: Any) -> np.ndarray:
        """Return `score_samples(X) - offset_`: zero and above is normal, shape (n,)."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Return 1 for normal and -1 for abnormal instances, shape (n,)."""
        return verdicts(-self.score_samples(X), -self.offset_)

    @isolated_from_host()
    def p_values(self, X: Any, *, confidence: float | None = None) -> np.ndarray:
        """Return the conformal p-value of each instance.

        Parameters
        ----------
        X : array or DataFrame of n instances
        confidence : float in (0, 1), optional
            Return p-values that are valid given these calibration rows, with this probability
            over the rows, and not only on average over them (Bates et al., 2023).

        Returns
        -------
        array of shape (n,), in [1 / (n_calibration_ + 1), 1]
        """
        scores = -self.score_samples(X)
        if confidence is None:
            return self.score_calibration_.p_values(scores)
        return self.score_calibration_.conditional_p_values(scores, confidence)

    @isolated_from_host()
    def select(self, X: Any, fdr: float = 0.1) -> np.ndarray:
        """Select abnormal instances of a batch with the false-discovery rate at most `fdr`.

        Benjamini and Hochberg's procedure on the conformal p-values. To select m instances of a
        batch of k takes about k / (fdr * m) calibration rows.

        Returns
        -------
        boolean array of shape (n,)
            True for those selected as abnormal.
        """
        check_rate(fdr, "fdr")
        return benjamini_hochberg(self.p_values(X), fdr)

    def _rate_of_windows(self, rate: float | Literal["auto"]) -> float:
        """Return the rate to hold; where time points have theirs, the smallest that can be held."""
        calibration = self.score_calibration_
        if self.reference_set_.timeline is None:
            return calibration.choose_rate(rate)
        return max(choose_rate(rate, calibration.n), calibration.smallest_rate)

    def _scores(self, features: Features) -> np.ndarray:
        penalty = self.missing_penalty_
        if self.missing == "error" and penalty is not None and features.missing is not None:
            check_complete(features.missing & penalty.columns, self.encoder_.schema_.columns)
        return anomaly_scores(self.fitted_score_, features, penalty)

    def _set_threshold(self, rate: float) -> None:
        self.false_alarm_rate_ = rate
        self.offset_ = -self.score_calibration_.threshold_for_rate(rate)
