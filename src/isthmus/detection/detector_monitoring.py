"""The monitor of a fitted detector, and another calibration where the old one no longer holds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.validation import check_is_fitted

from isthmus._core import isolated_from_host
from isthmus.autoencoder import InstanceEncoder, TrainingRowHashes
from isthmus.data import ABNORMAL, Instances, as_instances
from isthmus.detection.block_monitoring import observed_blocks, point_digest, point_reference
from isthmus.detection.calibration import (
    Calibration,
    raised_scores,
    rows_needed,
    weighted_p_values,
)
from isthmus.detection.features import (
    Features,
    column_values,
    extract_features,
    extract_features_in_chunks,
)
from isthmus.detection.point_decisions import PointCalibration, PointDecisions
from isthmus.detection.recalibration import recalibrated
from isthmus.detection.reference_set import (
    ReferenceSet,
    calibration_sample,
)
from isthmus.encoding import row_hashes
from isthmus.errors import CalibrationError, CalibrationWarning, DataError
from isthmus.monitoring import (
    LEVEL,
    MIN_REFERENCE,
    Monitor,
    MonitorReference,
    Observed,
    calibration_digest,
)

#: Folds of the estimate of likelihood ratios; ratios above so many times their mean are cut off.
N_RATIO_FOLDS, MAX_RATIO = 5, 20.0
#: AUROC from which two samples count as having nothing in common.
SEPARABLE = 0.98


@dataclass(frozen=True, eq=False)
class WeightedPValues:
    """p-values of later instances, weighted for another distribution of their codes.

    Attributes
    ----------
    p_values : float array of shape (k,)
    n_effective : float
        Calibration rows that as many equal weights would be worth: (sum w)² / sum w² (Kish, 1965).
    n_calibration : int
    auroc : float
        Of the classifier of later rows against those that calibrate, on rows that it was not
        fitted on: 0.5 where nothing changed.
    n_clipped : int
        Calibration rows whose weight was cut off at 20 times the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from isthmus import AnomalyDetector, Autoencoder
    >>> rng = np.random.default_rng(0)
    >>> detector = AnomalyDetector(Autoencoder(max_epochs=2), calibration="split", random_state=0)
    >>> detector = detector.fit(rng.normal(size=(800, 4)))
    >>> later = rng.normal(size=(200, 4)) + 0.3
    >>> found = detector.weighted_p_values(later[:3], later[3:])
    >>> found.p_values.shape, found.n_calibration, found.n_effective < 160
    ((3,), 160, True)
    """

    p_values: np.ndarray
    n_effective: float
    n_calibration: int
    auroc: float
    n_clipped: int


class MonitoringMixin:
    """A monitor of a detector."""

    encoder_: InstanceEncoder
    reference_set_: ReferenceSet
    score_calibration_: Calibration
    point_calibration_: PointCalibration | None
    point_threshold_: float
    decide_points: Callable[..., PointDecisions]
    calibration_: str
    n_calibration_: int
    update_facts_: dict[str, Any] | None
    _fit_on_reference_set: Callable[[], None]
    _recalibrate_on_series: Callable[[Any, dict[str, Any]], None]
    _restored_on_failure: Callable[[], AbstractContextManager[None]]
    false_alarm_rate_: float
    check_encoder_unchanged: Callable[[], None]
    verdicts_of: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    _scores: Callable[[Features], np.ndarray]
    instances_and_groups: Callable[[Any, Any], tuple[Instances, np.ndarray | None]]

    def monitor(self, level: float = LEVEL, *, seed: int = 0) -> Monitor:
        """Return a monitor that tests whether the promise of the false-alarm rate is still valid.

        Parameters
        ----------
        level : float in (0, 1), default=0.01
            The largest chance of a false warning, at any time and however many rows there are.
        seed : int, default=0
            Decides between equal values.

        Returns
        -------
        Monitor
            Its `update(X, time=None)` takes later instances in the order in which they come; of a
            detector of time points later series, of which blocks of time are compared, see
            `isthmus.detection.block_length`.

        Raises
        ------
        DataError
            Of a detector of time points whose normal series is too short for blocks of time.

        Warns
        -----
        CalibrationWarning
            When the windows that it was fitted on share rows with each other.

        Examples
        --------
        >>> from isthmus import AnomalyDetector, Autoencoder
        >>> rng = np.random.default_rng(1)
        >>> detector = AnomalyDetector(Autoencoder(2, max_epochs=2), random_state=0)
        >>> monitor = detector.fit(rng.normal(size=(2000, 4))).monitor()
        >>> monitor.update(rng.normal(size=(300, 4))).valid
        True
        >>> monitor.update(rng.normal(3, size=(300, 4))).valid
        False
        """
        return Monitor(self, level, seed)

    def monitor_reference(self) -> MonitorReference:
        """Return what a monitor compares new rows with: rows that the detector did not learn from.

        With `calibration="cross"` every row was learned from: scores, and codes and rare categories
        of encoders that were trained, are compared with the first rows of the stream.

        Returns
        -------
        MonitorReference

        Raises
        ------
        DataError
            Of a detector of time points whose normal series is too short for blocks of time.

        Examples
        --------
        >>> import numpy as np
        >>> from isthmus import AnomalyDetector, Autoencoder
        >>> X = np.random.default_rng(0).normal(size=(800, 4))
        >>> detector = AnomalyDetector(Autoencoder(2, max_epochs=2), calibration="split").fit(X)
        >>> detector.observe(X[:5]).scores.shape
        (5,)
        >>> detector.monitor_reference().names
        ('anomaly score', 'code 0', 'code 1', 'column 0', 'column 1', 'column 2', 'column 3')
        """
        check_is_fitted(self)
        reference_set = self.reference_set_
        if self.point_calibration_ is not None:
            return point_reference(
                self.point_calibration_,
                self.false_alarm_rate_,
                self.point_threshold_,
                reference_set.seed,
                split=self.calibration_ == "split",
            )
        if reference_set.overlapping_stride is not None:
            warnings.warn(
                "the windows that the detector was fitted on share rows with each other: a monitor "
                "of such windows gives more false warnings than its level; cut windows with a "
                "stride as long as a window",
                CalibrationWarning,
                stacklevel=3,
            )
        folds, schema = reference_set.folds, self.encoder_.schema_
        held_out = np.concatenate([reference_set.calibration_rows(fold) for fold in folds])
        learned_by_encoder = any(fold.encoder is not None for fold in folds)
        columns, names = None, list[str]()
        if schema.kind == "table":
            names = list(schema.columns or (f"column {at}" for at in range(schema.n_features)))
        if (stored := reference_set.columns) is not None:
            columns = stored.values[reference_set.y[stored.rows] != ABNORMAL]
            columns[:, stored.alone(schema).any(axis=0) & learned_by_encoder] = np.nan
        return MonitorReference.of_values(
            self.false_alarm_rate_,
            self.score_calibration_.scores if self.calibration_ == "split" else None,
            None if learned_by_encoder else reference_set.features.codes[held_out],
            columns,
            self.encoder_.n_components_,
            names,
            reference_set.seed,
            self._calibration_digest(),
        )

    @isolated_from_host()
    def weighted_p_values(self, X: Any, X_later: Any) -> WeightedPValues:
        """Return p-values for later instances whose codes are distributed otherwise.

        For covariate shift: the mix of instances has changed, but instances of the same code have
        scores as before. Where that is not so, or normal rows of today are at hand, use
        `recalibrate`. Calibration rows are weighted by the likelihood ratio of later codes to
        theirs, estimated by logistic regression with cross-fitting.

        Parameters
        ----------
        X : array or DataFrame of k instances
            To decide on.
        X_later : array or DataFrame of l instances
            A sample of the later source, without labels and without those of X.

        Returns
        -------
        WeightedPValues
            At most the rate in expectation, as far as the ratios are right: they are estimated, so
            that nothing is promised exactly.

        Raises
        ------
        CalibrationError
            When the weights cannot be estimated: later rows have nothing in common with those that
            calibrated, or too few of these are worth anything for the rate.
        DataError
            Of `calibration="cross"`, of groups, and of time points.

        References
        ----------
        Tibshirani, Barber, Candès and Ramdas, "Conformal prediction under covariate shift", 2019.

        Examples
        --------
        >>> from isthmus import AnomalyDetector, Autoencoder
        >>> rng = np.random.default_rng(0)
        >>> detector = AnomalyDetector(
        ...     Autoencoder(2, max_epochs=2), false_alarm_rate=0.05, random_state=0
        ... ).fit(rng.normal(size=(2500, 4)))
        >>> found = detector.weighted_p_values(
        ...     rng.normal(0.3, size=(100, 4)), rng.normal(0.3, size=(500, 4))
        ... )
        >>> len(found.p_values)
        100
        """
        check_is_fitted(self)
        self.check_encoder_unchanged()
        reference_set = self.reference_set_
        grouped = reference_set.groups is not None
        if self.calibration_ != "split" or self.point_calibration_ is not None or grouped:
            raise DataError(
                "got a detector with calibration='cross', groups or time points, and weighted "
                "p-values are for split calibration of instances; recalibrate it on normal rows of "
                "today"
            )
        rows = np.concatenate(
            [reference_set.calibration_rows(fold) for fold in reference_set.folds]
        )
        calibrating = reference_set.features.take(rows)
        later, new = (extract_features(self.encoder_, as_instances(one)) for one in (X_later, X))
        fitted = likelihood_ratios(
            calibrating.codes, later.codes, new.codes, seed=reference_set.seed
        )
        weights, of_new, auroc, n_clipped = fitted
        n_effective = float(weights.sum() ** 2 / (weights**2).sum())
        needed = rows_needed(self.false_alarm_rate_)
        if auroc >= SEPARABLE or n_effective < needed:
            raise CalibrationError(
                f"the weights of calibration rows cannot be estimated: {len(rows)} rows are worth "
                f"{n_effective:.0f}, and a false-alarm rate of {self.false_alarm_rate_:g} needs "
                f"{needed}; later rows are told from them with an AUROC of {auroc:.3f}, where "
                f"{SEPARABLE:g} means that they have nothing in common; recalibrate on normal rows "
                "of today, or ask for a higher rate"
            )
        p_values = weighted_p_values(
            self._scores(new), of_new, raised_scores(self._scores(calibrating)), weights
        )
        return WeightedPValues(p_values, n_effective, len(rows), auroc, n_clipped)

    @isolated_from_host()
    def recalibrate(self, normal: Any, *, groups: Any = None, **columns: Any) -> Self:
        """Calibrate on other normal instances; neither encoder nor score is fitted anew.

        The threshold then holds the false-alarm rate for instances like these. The rows that
        calibrated before no longer do, and labels that are added later leave it so. With
        `calibration="cross"` it becomes `"split"`: these rows were learned from by nothing.

        Parameters
        ----------
        normal : array or DataFrame of n instances, Dataset, Stream or StoredCodes
            Normal instances of today; of a stream 100,000 at most are drawn at random. Labels are
            not used: leave out rows labelled abnormal. Of a detector of time points normal series
            as for `score_points`, later than the fit: all are held out, as blocks at fit are.
        groups : optional
            As for `predict`, of a detector that was fitted with groups.
        **columns
            Of time points: `time`, `group`, `resample`, `time_zone` as for `decide_points`.

        Returns
        -------
        self
            With `update_facts_`: `n_calibrating`, and `n_calibrating_before`.

        Raises
        ------
        CalibrationError
            When encoder or score were fitted on some of the rows, or they are too few for the rate.
        DataError
            When they do not fit the detector. It is unchanged after either.

        Examples
        --------
        >>> from isthmus import Autoencoder
        >>> from isthmus import AnomalyDetector
        >>> rng = np.random.default_rng(0)
        >>> detector = AnomalyDetector(
        ...     Autoencoder(2, max_epochs=2), "neighbours", 0.05, "split", random_state=0
        ... ).fit(rng.normal(size=(1000, 3)))
        >>> later = rng.normal(0.5, 1.2, size=(3000, 3))
        >>> before = (detector.predict(later[1000:]) == -1).mean()
        >>> after = (detector.recalibrate(later[:1000]).predict(later[1000:]) == -1).mean()
        >>> bool(before > 0.09), bool(0.03 < after < 0.07)
        (True, True)
        """
        check_is_fitted(self)
        self.check_encoder_unchanged()
        if self.point_calibration_ is not None:
            if groups is not None:
                raise DataError(
                    "got groups=, and a detector of time points, whose groups are columns of the "
                    "long table; pass group=COLUMN"
                )
            self._recalibrate_on_series(normal, columns)
            return self
        if columns:
            raise DataError(
                f"got {', '.join(columns)}, which is for series by time point; leave it out"
            )
        given, of_rows = self.instances_and_groups(normal, groups)
        instances = calibration_sample(given, self.encoder_, self.reference_set_.seed)
        of_rows = of_rows if instances is given else instances.groups
        before = self.n_calibration_
        with self._restored_on_failure():
            self.reference_set_ = recalibrated(
                self.reference_set_, self.encoder_, instances, of_rows, self.calibration_
            )
            self.calibration_ = "split"
            self._fit_on_reference_set()
            self.update_facts_ = {
                "n_new": len(instances),
                "n_calibrating": self.n_calibration_,
                "n_calibrating_before": before,
            }
        return self

    @isolated_from_host()
    def observe(self, X: Any, groups: Any = None) -> Observed:
        """Return what a monitor needs of instances in memory, or stored codes.

        Parameters
        ----------
        X, groups
            As for `predict`. The scores of all groups are watched together, so that other shares
            of the groups are a change too.

        Returns
        -------
        Observed

        Raises
        ------
        DataError
            When they do not fit the detector, or are codes and columns are to be watched.
        """
        check_is_fitted(self)
        self.check_encoder_unchanged()
        if self.point_calibration_ is not None:
            digest = point_digest(self.point_calibration_, self.point_threshold_)
            return observed_blocks(self.decide_points(X), self.monitor_reference().block, digest)
        instances, of_rows = self.instances_and_groups(X, groups)
        if not instances.in_memory:
            raise DataError(
                "got a stream to observe, expected instances in memory; pass its chunks one by one"
            )
        codes, scores = list[np.ndarray](), list[np.ndarray]()
        for features in extract_features_in_chunks(self.encoder_, instances):
            codes.append(features.codes)
            scores.append(self._scores(features))
        joined = np.concatenate(scores)
        columns, unseen = self._columns(instances)
        return Observed(
            raised_scores(joined),
            self.verdicts_of(joined, of_rows) == ABNORMAL,
            np.concatenate(codes),
            columns,
            unseen,
            self._known(instances),
            self._calibration_digest(),
        )

    def _calibration_digest(self) -> str:
        return calibration_digest(self.score_calibration_.scores, self.false_alarm_rate_)

    def _columns(self, instances: Instances) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return the numbers of the columns of a table, and which are unseen categories."""
        schema = self.encoder_.schema_
        if schema.kind != "table":
            return None, None
        if instances.encoded:
            raise DataError(
                "got stored codes to monitor, and the columns of a table are watched too; pass the "
                "rows themselves"
            )
        values = column_values(self.encoder_, instances.values)
        sizes = [len(one.categories) if one.type == "category" else np.inf for one in schema.types]
        return values, values >= np.array(sizes or [np.inf])

    def _known(self, instances: Instances) -> np.ndarray | None:
        """Return which rows are of the reference set; None where equal rows are usual.

        Where new rows often equal others by chance, leaving those out would be a change itself.
        """
        known = TrainingRowHashes.from_hashes(self.reference_set_.hashes)
        if known.repeated:
            return None
        return known.overlap(row_hashes(self.encoder_, instances))


def likelihood_ratios(
    codes: np.ndarray, later: np.ndarray, new: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Return ratios of the density of later codes to that of calibration rows.

    Odds of a logistic regression on codes and their squares, standardised; those of a row by a
    regression that was not fitted on it, of new rows the geometric mean of all of them.

    Parameters
    ----------
    codes : array of shape (n, d)
        Of the rows that calibrate.
    later : array of shape (l, d)
    new : array of shape (k, d)

    Returns
    -------
    of_calibration, of_new : arrays of shapes (n,) and (k,)
        With a mean of 1 over the calibration rows, at most `MAX_RATIO`.
    auroc : float
        On rows that were not fitted on.
    n_clipped : int

    Raises
    ------
    CalibrationError
        When there are fewer than 20 rows of either.
    """
    if min(len(codes), len(later)) < MIN_REFERENCE:
        raise CalibrationError(
            f"got {len(codes)} rows that calibrate and {len(later)} later ones, expected at least "
            f"{MIN_REFERENCE} of each to estimate weights; pass more"
        )
    X = np.concatenate([codes, later]).astype(np.float64)
    middle, spread = X.mean(axis=0), X.std(axis=0)
    spread[spread == 0] = 1

    def inputs(values: np.ndarray) -> np.ndarray:
        scaled = np.clip((values - middle) / spread, -10, 10)
        return np.concatenate([scaled, scaled**2], axis=1)

    is_later = np.arange(len(X)) >= len(codes)
    folds = StratifiedKFold(N_RATIO_FOLDS, shuffle=True, random_state=seed % 2**32)
    margins, of_new = np.empty(len(X)), np.zeros(len(new))
    for fitted, held_out in folds.split(X, is_later):
        model = LogisticRegression(max_iter=1000).fit(inputs(X[fitted]), is_later[fitted])
        margins[held_out] = model.decision_function(inputs(X[held_out]))
        of_new += model.decision_function(inputs(new)) / N_RATIO_FOLDS
    ratios = np.exp(np.clip(margins[: len(codes)], -50, 50))
    mean = ratios.mean()
    clipped = np.minimum(ratios / mean, MAX_RATIO)
    new_ratios = np.minimum(np.exp(np.clip(of_new, -50, 50)) / mean, MAX_RATIO)
    auroc = float(roc_auc_score(is_later, margins))
    return clipped, new_ratios, auroc, int((ratios / mean > MAX_RATIO).sum())
