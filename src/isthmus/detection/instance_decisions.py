"""Decisions of a fitted detector: scores, p-values, verdicts, and the threshold at a rate."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from isthmus._core import isolated_from_host
from isthmus.autoencoder import InstanceEncoder
from isthmus.data import Instances, as_instances, check_complete, over_chunks, read_groups, verdicts
from isthmus.detection.calibration import Calibration, choose_rate
from isthmus.detection.contamination import Contamination
from isthmus.detection.cost_threshold import CostChoice
from isthmus.detection.features import Features, extract_features_in_chunks
from isthmus.detection.group_calibration import GroupCalibration
from isthmus.detection.group_rows import warn_of_unused_groups
from isthmus.detection.point_decisions import PointCalibration
from isthmus.detection.reference_set import ReferenceSet
from isthmus.detection.scores import MissingPenalty, Score, anomaly_scores
from isthmus.detection.selection import Selection, benjamini_hochberg
from isthmus.errors import CalibrationWarning, DataError


class DecisionsMixin:
    """What a fitted detector decides on instances."""

    encoder_: InstanceEncoder
    reference_set_: ReferenceSet
    fitted_score_: Score
    missing_penalty_: MissingPenalty | None
    score_calibration_: Calibration
    n_calibration_: int
    group_calibration_: GroupCalibration | None = None
    contamination_: Contamination | None = None
    cost_choice_: CostChoice | None = None
    unlabelled_abnormal_: dict[str, Any] | None = None
    group_columns_: tuple[str, ...] = ()
    by_group: bool
    point_calibration_: PointCalibration | None
    false_alarm_rate: float | Literal["auto"]
    false_alarm_rate_: float
    false_alarms: str | None
    record_parameters: Callable[..., None]
    parameter_at_fit: Callable[[str], Any]
    offset_: float
    check_encoder_unchanged: Callable[[], None]
    _set_point_threshold: Callable[[float | Literal["auto"]], None]
    _restored_on_failure: Callable[[], AbstractContextManager[None]]

    @isolated_from_host()
    def set_false_alarm_rate(self, rate: float | Literal["auto"]) -> Self:
        """Move the threshold to another rate, of instances and of time points; nothing is trained.

        With groups the thresholds of all of them are moved, and others may be too small for it.

        Parameters
        ----------
        rate : float in (0, 1) or "auto"

        Returns
        -------
        self

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
            self.record_parameters("false_alarm_rate", "false_alarms")
        return self

    @isolated_from_host()
    @over_chunks
    def score_samples(self, X: Any) -> np.ndarray:
        """Return the negated anomaly score of each instance: higher is more normal, (n,).

        Parameters
        ----------
        X : array or DataFrame of n instances, Dataset, Stream or StoredCodes

        Returns
        -------
        float64 array of shape (n,)
        """
        check_is_fitted(self)
        self.check_encoder_unchanged()
        chunks = extract_features_in_chunks(self.encoder_, X)
        return -np.concatenate([self._scores(chunk) for chunk in chunks])

    def decision_function(self, X: Any, *, groups: Any = None) -> np.ndarray:
        """Return `score_samples(X)` minus the threshold: zero and above is normal, shape (n,).

        Parameters
        ----------
        X, groups
            See `predict`.

        Returns
        -------
        float64 array of shape (n,)
        """
        instances, of_rows = self.instances_and_groups(X, groups)
        scores = self.score_samples(instances)
        return scores + self.thresholds_of(of_rows)

    def predict(self, X: Any, *, groups: Any = None) -> np.ndarray:
        """Return 1 for normal and -1 for abnormal instances, shape (n,).

        Parameters
        ----------
        X : array or DataFrame of n instances, Dataset or Stream
        groups : array of shape (n,), or name or tuple of names of columns, optional
            Of a detector that was fitted with groups, the group of each instance; by default the
            columns of X that named them at fit, or the groups of a data set.

        Returns
        -------
        int8 array of shape (n,)

        Raises
        ------
        DataError
            When the detector was fitted with groups and they are missing here, or the other way
            round.

        Warns
        -----
        CalibrationWarning
            When some are of a group that was not there at fit.

        Examples
        --------
        >>> import numpy as np
        >>> from isthmus import AnomalyDetector, Autoencoder
        >>> X = np.random.default_rng(0).normal(size=(300, 4))
        >>> detector = AnomalyDetector(
        ...     Autoencoder(max_epochs=2), "mahalanobis", 0.05, "split", random_state=0
        ... )
        >>> detector.n_encoders(X), bool((detector.fit_predict(X) == -1).mean() < 0.15)
        (1, True)
        >>> new = np.array([[0.0] * 4, [9.0] * 4])
        >>> detector.predict(new).tolist(), (detector.decision_function(new) >= 0).tolist()
        ([1, -1], [True, False])
        >>> detector.p_values(new).round(3).tolist()
        [1.0, 0.016]
        >>> detector.select(np.vstack([new] * 30), fdr=0.1).sum().item()
        30
        >>> scores = -detector.score_samples(new)
        >>> (scores > detector.thresholds_of()).tolist(), detector.p_values_of(scores).shape
        ([False, True], (2,))
        >>> detector = detector.set_false_alarm_rate(0.2)
        >>> detector.verdicts_of(scores).tolist(), detector.calibration_by_group(None)
        ([1, -1], None)
        >>> instances, groups = detector.instances_and_groups(new)
        >>> len(instances), groups
        (2, None)
        """
        instances, of_rows = self.instances_and_groups(X, groups)
        return self.verdicts_of(-self.score_samples(instances), of_rows)

    def fit_predict(self, X: Any, y: Any = None, **given: Any) -> np.ndarray:
        """Fit, and return 1 and -1 for the instances of the fit, shape (n,).

        Parameters
        ----------
        X : array or DataFrame of n instances, Dataset or Stream
        y : None
            Ignored, as in scikit-learn.
        **given
            As for `fit`; `groups` are those of `predict` too.

        Returns
        -------
        int8 array of shape (n,)
        """
        self.fit(X, **given)  # type: ignore[attr-defined]
        return self.predict(X, groups=given.get("groups"))

    @isolated_from_host()
    def p_values(
        self, X: Any, *, groups: Any = None, confidence: float | None = None
    ) -> np.ndarray:
        """Return the conformal p-value of each instance, in its group where there are groups.

        Parameters
        ----------
        X, groups
            See `predict`.
        confidence : float in (0, 1), optional
            Return p-values that are valid given these calibration rows, with this probability
            over the rows, and not only on average over them (Bates et al., 2023).

        Returns
        -------
        array of shape (n,), in [1 / (n_calibration_ + 1), 1]
        """
        instances, of_rows = self.instances_and_groups(X, groups)
        return self.p_values_of(-self.score_samples(instances), of_rows, confidence=confidence)

    @isolated_from_host()
    def select(self, X: Any, fdr: float = 0.1, *, groups: Any = None) -> np.ndarray:
        """Select abnormal instances of a batch with the false-discovery rate at most `fdr`.

        Benjamini and Hochberg's procedure on the conformal p-values. To select m instances of a
        batch of k takes about k / (fdr * m) calibration rows, with groups in each of them.

        Parameters
        ----------
        X, groups
            See `predict`.
        fdr : float in (0, 1), default=0.1
            Largest share, on average over batches, of normal instances among those selected.

        Returns
        -------
        boolean array of shape (n,)
            True for those selected as abnormal.

        Notes
        -----
        Benjamini and Hochberg (1995); for conformal p-values Bates et al. (2023).
        """
        return benjamini_hochberg(self.p_values(X, groups=groups), fdr)

    @isolated_from_host()
    def selection(
        self, X: Any, fdr: float = 0.1, confidence: float = 0.9, *, groups: Any = None
    ) -> Selection:
        """Select as `select` does, and bound how many of those selected are normal.

        The false-discovery rate holds on average over batches. The bound is for this batch, after
        the fact: with probability `confidence` over calibration rows and batch it holds, and at
        once for every other choice of instances of the batch, see `Selection.most_false_of`.
        Normal instances must be exchangeable with the calibration rows, with groups in each of
        them; with cross calibration it holds as far as its p-values do. Instances of groups that
        are promised no rate may all be normal.

        Parameters
        ----------
        X, groups
            See `predict`.
        fdr : float in (0, 1), default=0.1
        confidence : float in (0, 1), default=0.9

        Returns
        -------
        Selection

        Raises
        ------
        CalibrationError
            When `fdr` or `confidence` is not in (0, 1).

        Examples
        --------
        >>> from isthmus import Autoencoder
        >>> from isthmus import AnomalyDetector
        >>> rng = np.random.default_rng(0)
        >>> detector = AnomalyDetector(
        ...     Autoencoder(2, max_epochs=2), calibration="split", random_state=0
        ... ).fit(rng.normal(size=(2000, 4)))
        >>> batch = np.vstack([rng.normal(size=(180, 4)), rng.normal(8, size=(20, 4))])
        >>> found = detector.selection(batch)
        >>> bool(found.mask[180:].all()), found.most_false < len(found)
        (True, True)
        """
        instances, of_rows = self.instances_and_groups(X, groups)
        p_values = self.p_values_of(-self.score_samples(instances), of_rows)
        by_group = self.group_calibration_
        if by_group is None:
            return Selection.of(p_values, self.n_calibration_, fdr, confidence)
        sizes = [*(one.n for one in by_group.calibrations[:-1]), 0]  # of all rows last
        return Selection.of(p_values, sizes, fdr, confidence, by_group.places(_known(of_rows)))

    def thresholds_of(self, groups: np.ndarray | None = None) -> Any:
        """Return the anomaly score above which instances are abnormal.

        Parameters
        ----------
        groups : object array of shape (n,) or None
            As text, see `isthmus.data.as_groups`; of a detector that was fitted with groups.

        Returns
        -------
        float, or with groups array of shape (n,)

        Raises
        ------
        DataError
            When the detector was fitted with groups and there are none, or the other way round.
        """
        by_group = self.calibration_by_group(groups)
        return -self.offset_ if by_group is None else by_group.thresholds(_known(groups))

    def verdicts_of(
        self, anomaly_scores: np.ndarray, groups: np.ndarray | None = None
    ) -> np.ndarray:
        """Return 1 and -1 for anomaly scores that were computed before, see `thresholds_of`.

        Parameters
        ----------
        anomaly_scores : array of shape (n,)
        groups : object array of shape (n,) or None
            See `thresholds_of`.

        Returns
        -------
        int8 array of shape (n,)
            1 for normal, -1 for abnormal.
        """
        return verdicts(anomaly_scores, self.thresholds_of(groups))

    def p_values_of(
        self,
        anomaly_scores: np.ndarray,
        groups: np.ndarray | None = None,
        *,
        confidence: float | None = None,
    ) -> np.ndarray:
        """Return p-values of anomaly scores that were computed before, see `thresholds_of`.

        Parameters
        ----------
        anomaly_scores : array of shape (n,)
        groups : object array of shape (n,) or None
            See `thresholds_of`.
        confidence : float in (0, 1), optional
            See `p_values`.

        Returns
        -------
        float64 array of shape (n,), in (0, 1]
        """
        by_group = self.calibration_by_group(groups)
        if by_group is None:
            if confidence is None:
                return self.score_calibration_.p_values(anomaly_scores)
            return self.score_calibration_.conditional_p_values(anomaly_scores, confidence)
        of_rows = _known(groups)
        if confidence is None:
            return by_group.p_values(anomaly_scores, of_rows)
        return by_group.conditional_p_values(anomaly_scores, of_rows, confidence)

    def calibration_by_group(self, groups: Any) -> GroupCalibration | None:
        """Return `group_calibration_`, after a check that groups are given exactly where it is one.

        Parameters
        ----------
        groups : array of shape (n,) or None

        Returns
        -------
        GroupCalibration or None
            None of a detector that was fitted without groups.

        Raises
        ------
        DataError
            When they are not.
        """
        by_group = self.group_calibration_
        if by_group is not None and groups is None:
            columns = ", ".join(map(repr, self.group_columns_))
            where = f" (at fit the column {columns})" if columns else ""
            raise DataError(
                f"the detector decides by group{where}, and got no groups; pass groups=, the group "
                "of each instance, or a table with the column (on the command line --group COLUMN)"
            )
        if by_group is None and groups is not None:
            raise DataError(
                "got groups=, and the detector was fitted without groups; leave groups out, or fit "
                "with groups= (on the command line fit --group COLUMN)"
            )
        return by_group

    def instances_and_groups(
        self, X: Any, groups: Any = None
    ) -> tuple[Instances, np.ndarray | None]:
        """Return instances without group columns, and their groups, None of a detector without.

        Parameters
        ----------
        X, groups
            See `predict`, which raises and warns as this does.

        Returns
        -------
        instances : Instances
        groups : object array of shape (n,) or None
        """
        check_is_fitted(self)
        if self.by_group and self.point_calibration_ is not None:
            warnings.warn(
                "windows are decided by one threshold of all groups; by group time points are: "
                "decide_points, score_points or alarms",
                CalibrationWarning,
                stacklevel=3,
            )
        if self.group_calibration_ is None:
            self.calibration_by_group(groups)
            instances, columns = as_instances(X), getattr(X, "group_columns", ())
            if columns and instances.points is None:
                warn_of_unused_groups(instances.name, columns)
            return instances, None
        instances, of_rows = read_groups(X, groups, self.group_columns_)
        self.calibration_by_group(of_rows)
        of_rows = self.group_calibration_.matched(_known(of_rows))
        self.group_calibration_.warn_of_unseen(of_rows)
        return instances, of_rows

    def _rate_of_windows(self, rate: float | Literal["auto"]) -> float:
        """Return the rate to hold; where time points have theirs, the smallest that can be held."""
        calibration = self.score_calibration_
        if self.reference_set_.timeline is None:
            return calibration.choose_rate(rate)
        return max(choose_rate(rate, calibration.n), calibration.smallest_rate)

    def _scores(self, features: Features) -> np.ndarray:
        penalty = self.missing_penalty_
        if (
            self.parameter_at_fit("missing") == "error"
            and penalty is not None
            and features.missing is not None
        ):
            check_complete(features.missing & penalty.columns, self.encoder_.schema_.columns)
        return anomaly_scores(self.fitted_score_, features, penalty)

    def _set_threshold(self, rate: float) -> None:
        self.false_alarm_rate_, self.cost_choice_ = rate, None
        self.offset_ = -self.score_calibration_.threshold_for_rate(rate)
        if self.group_calibration_ is not None:
            self.group_calibration_ = self.group_calibration_.at_rate(rate)
            self.group_calibration_.warn_of_small()


def _known(groups: np.ndarray | None) -> np.ndarray:
    assert groups is not None  # of a detector by group, which refuses their absence
    return groups
