"""Anomaly detection on frozen codes at a stated false-alarm rate."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from isthmus._core import isolated_from_host, shown
from isthmus.autoencoder import InstanceEncoder
from isthmus.data import ABNORMAL, group_codes, read_groups, warn_of_alike
from isthmus.detection.calibration import Calibration
from isthmus.detection.contamination import (
    Contamination,
    check_applies,
    find_unlabelled_abnormal,
    read_contamination,
    rows_left_out,
)
from isthmus.detection.cost_threshold import CostThresholdMixin
from isthmus.detection.detector_labels import (
    DetectorLabelReader,
    check_labels_suffice,
    normal_by_column_name,
    read_labels_of,
    warn_of_labels,
)
from isthmus.detection.detector_monitoring import MonitoringMixin
from isthmus.detection.explanation import ExplainedDecisionsMixin
from isthmus.detection.features import check_has_features
from isthmus.detection.group_calibration import GroupCalibration
from isthmus.detection.group_rows import groups_of_both, read_groups_at_fit
from isthmus.detection.instance_decisions import DecisionsMixin
from isthmus.detection.labelled_scores import (
    BlendedScore,
    LabelCurve,
    held_out_scores,
    label_free_method,
    measure_curve,
)
from isthmus.detection.point_detection import PointDetectionMixin
from isthmus.detection.recalibration import score_held_out_rows
from isthmus.detection.reference_set import (
    build_calibrated_set,
    build_reference_set,
    calibration_sample,
    detector_sample,
    n_encoders,
    trains_before_sampling,
)
from isthmus.detection.scores import MISSING_POLICIES, Score
from isthmus.detection.series_score import ALL_LABEL_FREE
from isthmus.detection.timeline import lay_out
from isthmus.detection.updates import UpdatesMixin
from isthmus.distributed import ProcessGroup
from isthmus.encoding import (
    FrozenEncoderMixin,
    check_is_encoder,
    data_fingerprint,
    fit_if_not_trained,
    is_fitted,
)
from isthmus.errors import DataError, FrozenError
from isthmus.training import as_fit_task, draw_seed

METHODS = ("auto", "blend", "head", *ALL_LABEL_FREE)
#: Parameters that count again whenever labels or rows are added.
OF_REFIT = ("method", "false_alarm_rate", "false_alarms", "missing", "causal")


class AnomalyDetector(
    UpdatesMixin,
    DecisionsMixin,
    CostThresholdMixin,
    MonitoringMixin,
    PointDetectionMixin,
    ExplainedDecisionsMixin,
    OutlierMixin,
    FrozenEncoderMixin,
):
    """Decide whether instances are normal, with a threshold that holds a false-alarm rate.

    It is fitted on instances that are mostly normal, and on labels where there are any. Features
    of an instance are its code and its residual; the encoder is frozen, which `fit` verifies.
    The threshold is set on calibration rows that neither encoder nor head was trained on.

    Parameters
    ----------
    encoder : Autoencoder or FrozenEncoder
        If fitted, used as it is, and the rows given to `fit` must be new to it. If not, a clone is
        trained on those rows of `fit` that do not calibrate, with the recipe `"detection"` in
        place of `"default"`; see `isthmus.recipes.resolve_choices`. A `FrozenEncoder` is never
        trained; features are then codes alone, and which rows it was trained on is not known.
    method : str, default="auto"
        Without labels one of `"combined"`, `"neighbours"`, `"mahalanobis"`, `"reconstruction"`,
        and of windows of series `"series"`; `"auto"` takes `"series"` for these and `"combined"`
        for all others. See `isthmus.detection.NeighbourScore`, `MahalanobisScore`, ... for
        formulas and sources. `"head"` is a classifier on codes, residuals and that score, which
        needs labels; `"blend"`, which `"auto"` takes when some instances are labelled abnormal
        (but for series by time point), weighs it against the score without labels by
        cross-validation.
    false_alarm_rate : float in (0, 1) or "auto", default="auto"
        Share of normal instances that may be predicted abnormal. `"auto"` is 0.01, or, with a
        warning, the smallest that the calibration rows can hold.
    calibration : {"auto", "split", "cross"}, default="auto"
        `"split"` sets a fifth of the normal rows aside, 2,000 at most: the rate holds for any
        data and score, in expectation over the rows (split conformal prediction).
        `"cross"` uses every row both to fit and to calibrate: five models, each fitted without a
        fifth of the rows, score the rows they were not fitted on, and the model of all rows
        predicts (cross-conformal prediction, Vovk, 2015). No rows are lost to calibration, but
        the guarantee is weaker: it holds as far as leaving out a fifth of the rows does not
        change the scores. Fewer rows make distances and errors larger, so the rate is held or
        undershot in practice; where many rows are equal, see `docs/detection.md`. `"auto"` takes
        `"split"` from 2,000 normal rows on.
    random_state : int, RandomState instance or None, default=None
    normal : str, int, float or bool, optional
        The label that means normal, where labels are others than 1 (normal) and -1 (abnormal):
        any other label is abnormal, a missing one unlabelled. Labels that are only 0 and 1, or
        True and False, need it. Later labels are read by it too, unless another is stated.
    missing : {"unusual", "ignore", "error"}, default="unusual"
        What a missing value means where none or few were at fit: it is unusual (see
        `isthmus.detection.MissingPenalty`), counts as the median, or is refused (where none
        was at fit).
    contamination : float in (0, 0.5), "auto" or None, default=None
        Largest share of rows without a label that are abnormal; `"auto"` is 0.1. Rows that may be
        abnormal are then found in a first round and not fitted on, and the highest calibration
        scores are left out as far as there are more than a tail of normal ones explains: see
        `isthmus.detection.Contamination` and, for what is promised, `docs/detection.md`. It is
        no share of rows to be predicted abnormal, as `contamination` of scikit-learn is. Without
        it all rows count as normal. Not with groups, `X_calibration` or series by time point.
    false_alarms : str, optional
        Of series by time point, how many false alarms there may be in place of a share of time
        points: "1 per day", "2 per week", "1 per 2000 points". See `isthmus.detection.AlarmRate`.
    merge_gap : int or "auto", default="auto"
        Alarms with at most so many time points between them are one; `"auto"` is half a window.
    min_length : int, default=1
        Time points of an alarm, at least.
    causal : bool, default=False
        Score a time point by the past alone, by the window that ends at it, and not by all windows
        that cover it, which end up to a window later.
    by_group : bool, default=False
        Of series by time point that were loaded with groups: hold the rate in each group, by the
        held-out blocks of its own, and not on average over all of them. A number of
        `false_alarms` is then one of each group: "1 per day" of every machine. It takes as much
        normal data of each group as otherwise of all together, and groups in long tables are
        often recordings that do not come again, so that it has to be asked for. Groups too small
        for the rate are pooled as in `isthmus.detection.GroupCalibration`, and counted. Verdicts
        on windows have one threshold.

    Attributes
    ----------
    encoder_ : Autoencoder or FrozenEncoder
    normal_ : str, int, float, bool or None
        The label that means normal, as stated when the detector was fitted.
    method_ : str
        Name of the anomaly score in use.
    false_alarm_rate_ : float
    offset_ : float
        `decision_function = score_samples - offset_`; zero and above is normal.
    calibration_ : {"split", "cross"}
    n_calibration_ : int
        Number of calibration rows.
    held_out_scores_ : array of shape (n,)
        Anomaly score of each row of `fit` by a score that was not fitted on it, as it calibrates;
        NaN of rows that do not: with cross calibration of none but those labelled abnormal. A
        detector that was loaded has none.
    label_curve_ : list of dict
        With labels: mean AUROC of head and label-free score on held-out rows, for growing
        numbers of abnormal labels. See `isthmus.detection.LabelCurve`.
    wins_from_ : int or None
        Number of abnormal labels from which the head is better there; None when it never is.
    head_weight_ : float in [0, 1] or None
        Weight of the head in a blend; None for other scores.
    encoder_digest_ : str
        SHA-256 of the encoder, the same before and after the head was fitted: otherwise `fit`
        fails.
    decoder_digest_ : str or None
        SHA-256 of the decoder, whose reconstructions the residuals are taken from; None where
        there is none.
    group_calibration_ : GroupCalibration or None
        Of a detector fitted with groups, thresholds and p-values by group; `facts()` says which
        groups are pooled.
    group_columns_ : tuple of str
        Columns of a table that named the groups at fit.
    contamination_ : Contamination or None
        With `contamination` the rows that are not fitted on and those that do not calibrate, by
        number; `contamination_.facts(reference_set_.hashes)` are plain values.
    unlabelled_abnormal_ : dict or None
        Where a warning says that unlabelled calibration rows score as labelled abnormal ones do:
        `n_as_high`, `n_unlabelled` and `score`, see `contamination`.
    point_facts_ : dict
        Of series by time point: threshold, what it is asked to hold, and the false alarms realised
        on stretches of normal data that nothing had seen. None of others.
    update_facts_ : dict
        What the last `add_labels` or `partial_fit` found, by number: `n_new`, instances that were
        new to the detector; of labels `n_given`, and of stretches `n_points` by label and
        `n_changed`, windows with another label; of later series `n_time_points`,
        `n_without_window`, `n_abnormal` and `n_calibrating`, windows. None before.
    data_fingerprint_ : str
        SHA-256 of all rows, as the network gets them, and of their labels.

    Notes
    -----
    The sign is scikit-learn's: `score_samples` is higher for more normal instances, and the
    anomaly score in tables and reports is its negative. Rows labelled abnormal train the head, but
    neither the encoder nor the label-free scores, and never calibrate. Unlabelled rows count as
    normal: abnormal ones among them raise the threshold and lower the false-alarm rate.

    Examples
    --------
    >>> import numpy as np
    >>> from isthmus import AnomalyDetector, Autoencoder
    >>> normal = np.random.default_rng(0).normal(size=(300, 6))
    >>> detector = AnomalyDetector(Autoencoder(max_epochs=5), false_alarm_rate=0.05, random_state=0)
    >>> detector.fit(normal).predict(np.array([[0.0] * 6, [9.0] * 6])).tolist()
    [1, -1]
    """

    parameters_of_fit = (*OF_REFIT, "calibration", "normal", "by_group", "contamination")

    def __init__(
        self,
        encoder: InstanceEncoder,
        method: str = "auto",
        false_alarm_rate: float | Literal["auto"] = "auto",
        calibration: Literal["auto", "split", "cross"] = "auto",
        random_state: int | np.random.RandomState | None = None,
        normal: str | float | None = None,
        missing: Literal["unusual", "ignore", "error"] = "unusual",
        false_alarms: str | None = None,
        merge_gap: int | Literal["auto"] = "auto",
        min_length: int = 1,
        causal: bool = False,
        by_group: bool = False,
        contamination: float | Literal["auto"] | None = None,
    ) -> None:
        self.encoder = encoder
        self.method = method
        self.false_alarm_rate = false_alarm_rate
        self.calibration = calibration
        self.random_state = random_state
        self.normal = normal
        self.missing = missing
        self.false_alarms = false_alarms
        self.merge_gap = merge_gap
        self.min_length = min_length
        self.causal = causal
        self.by_group = by_group
        self.contamination = contamination

    @as_fit_task
    @isolated_from_host()
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        normal: str | float | None = None,
        groups: Any = None,
        X_calibration: Any = None,
        groups_calibration: Any = None,
        channel_names: Sequence[str] | None = None,
    ) -> Self:
        """Fit the score on mostly normal instances and set the threshold.

        Parameters
        ----------
        X : array or DataFrame of n instances, Dataset, Stream or StoredCodes
            Mostly normal. A data set of a long table (`load(..., kind="series")`) makes a detector
            of time points as well: see `score_points` and `alarms`. Of a stream of more than
            100,000 instances a fifth, 100,000 at most, is drawn at random; an encoder that is not
            fitted is trained on the others, and scores are fitted and calibrated on those drawn.
            Codes of `isthmus.load_codes` are taken as they are. Labels of either are not used.
        y : array of shape (n,), optional
            1 normal, -1 abnormal, 0 or missing: unlabelled; or any labels with `normal`.
        normal : str, int, float or bool, optional
            The label that means normal; by default the parameter `normal`.
        groups : array of shape (n,), or name or tuple of names of columns of X, optional
            The group of each instance, such as a machine: any hashable labels. Rates then hold in
            each group, see `isthmus.detection.GroupCalibration`, and `predict`, `p_values` and
            the like need the groups too. A column that is named is no feature. By default the
            groups of a data set that was loaded with `load(..., group=...)`, but for the windows
            of a long table.
        X_calibration : array, DataFrame, StoredCodes or Stream, optional
            Normal instances to calibrate on, instead of setting rows of X aside. A fitted
            encoder may then have been trained on X, but not on these. Of a stream 100,000 at most
            are drawn at random; its labels are not used.
        groups_calibration : array of shape (m,), or name or tuple of names of columns, optional
            Groups of `X_calibration`, as `groups` are those of X.
        channel_names : sequence of str, optional
            Of series, for an encoder that is trained here: see `Autoencoder.fit`.

        Returns
        -------
        self

        Raises
        ------
        DataError, ValueError
            When instances or labels cannot be used, a fitted encoder was trained on the rows, or
            stored codes are of another encoder or were not written for heads.
        CalibrationError
            When the rate asked for needs more normal rows.
        TrainingError
            When several encoders are to be trained (see `n_encoders`) and a run is to be resumed.
        """
        check_is_encoder(self.encoder)
        choices = {"method": METHODS, "missing": MISSING_POLICIES}
        for name, expected in choices.items():
            if (value := getattr(self, name)) not in expected:
                raise DataError(f"got {name}={shown(value)}, expected one of {', '.join(expected)}")
        seed = ProcessGroup.find().broadcast(draw_seed(self.random_state))
        X, of_rows, columns = read_groups_at_fit(X, y, groups)
        timeline = None if X.points is None else lay_out(X.points, len(X), self.by_group)
        grouped = timeline is not None and bool(timeline.group_columns)
        self._check_false_alarms(by_point=timeline is not None, grouped=grouped)
        given = fit_if_not_trained(self.encoder, X, channel_names)
        check_has_features(given, self.method)
        encoder, X, y = detector_sample(X, given, y, seed)
        of_rows = X.groups if of_rows is None else of_rows
        stated = DetectorLabelReader(self.normal if normal is None else normal).normal
        if stated is None and y is None and timeline is not None:
            stated = normal_by_column_name(X.points)
        y = read_labels_of(X, y, stated, timeline)
        bound = read_contamination(self.contamination)
        if bound is not None:
            check_applies(timeline is not None, of_rows is not None, X_calibration is not None)
        check_labels_suffice(y, self.method)
        warn_of_labels(X.held, y, stated)
        self.__dict__.pop("offset_", None)  # a fit that fails leaves no detector that looks fitted
        self.update_facts_ = self.group_calibration_ = None
        if is_fitted(given):
            given.check_frozen()
        if X_calibration is None:
            built = build_reference_set(
                encoder,
                X,
                y,
                self.calibration,
                self.false_alarm_rate,
                seed,
                channel_names,
                timeline,
                of_rows,
                bound,
            )
        else:
            given, of_given = read_groups(X_calibration, groups_calibration, columns)
            calibrating = calibration_sample(given, encoder, seed)
            of_given = calibrating.groups if of_given is None else of_given
            of_all = groups_of_both(of_rows, of_given)
            built = build_calibrated_set(encoder, X, y, calibrating, seed, channel_names, of_all)
        self.encoder_, self.calibration_, self.reference_set_ = built
        self.normal_, self.group_columns_ = stated, columns
        if self.reference_set_.groups is not None:
            warn_of_alike(group_codes(self.reference_set_.groups)[0])
        if not is_fitted(encoder):
            self.encoder_.warn_about_columns(X)
        else:
            self.encoder_.warn_about_repeated_rows(X)
        self._fit_on_reference_set()
        self.record_parameters()
        return self

    @isolated_from_host()
    def n_encoders(self, X: Any, y: Any = None, *, groups: Any = None) -> int:
        """Return how many encoders `fit` trains; only a single one can be resumed.

        Parameters
        ----------
        X, y, groups
            As for `fit`.

        Returns
        -------
        int
            0 when the encoder is fitted, 1 with split calibration, with cross calibration one of
            all rows and one for each fold; with `contamination` one more.
        """
        X, of_rows, _ = read_groups_at_fit(X, None, groups)
        if trains_before_sampling(self.encoder, X):
            return 1
        timeline = None if X.points is None else lay_out(X.points, len(X), self.by_group)
        with warnings.catch_warnings(action="ignore"):  # they are those of `fit`
            normal = normal_by_column_name(X.points) if self.normal is None else self.normal
            y = read_labels_of(X, y, normal, timeline)
        normal = y != ABNORMAL
        of_rows = X.groups if of_rows is None and timeline is None else of_rows
        grouped = None if of_rows is None else (of_rows[normal], self.false_alarm_rate)
        bound = read_contamination(self.contamination)
        n = int(normal.sum())
        return n_encoders(self.encoder, self.calibration, n, timeline, grouped, bound)

    @property
    def label_curve_(self) -> list[dict[str, Any]]:
        """Mean AUROC on held-out rows by number of abnormal labels."""
        return self._measured_curve().points

    @property
    def wins_from_(self) -> int | None:
        """Number of abnormal labels from which the head is better there."""
        return self._measured_curve().wins_from

    def _fit_on_reference_set(self) -> None:
        """Fit the score on the reference set, calibrate it, set the threshold."""
        reference_set = self.reference_set_
        reference_set.check_suffices()
        self.data_fingerprint_ = data_fingerprint(reference_set.hashes, reference_set.y)
        self.encoder_.check_frozen()
        self.encoder_digest_ = self.encoder_.digest_
        self.decoder_digest_ = self.encoder_.decoder_digest_
        self.method_ = self.method
        if self.method == "auto":
            # Cross-validation would compare windows with others that overlap them.
            blends = (reference_set.y == ABNORMAL).any() and reference_set.timeline is None
            self.method_ = "blend" if blends else label_free_method(reference_set.features)
        how = self.method_, self.missing, self.calibration_
        found = score_held_out_rows(reference_set, self.encoder_, *how)
        fitted, training = found.score, found.fitted_on
        self.fitted_score_, self.missing_penalty_ = fitted, found.penalty
        if self.encoder_.encoder_digest() != self.encoder_digest_:
            raise FrozenError(
                "the encoder changed while the detector's head was fitted; leave its modules alone "
                "meanwhile, and fit again"
            )
        scores, rows = np.concatenate(found.scores), np.concatenate(found.rows)
        self.held_out_scores_ = np.full(len(reference_set.y), np.nan)
        self.held_out_scores_[rows] = scores
        scores, rows = self._without_excess(scores, rows, fitted)
        self.score_calibration_ = Calibration.with_tolerance(scores)
        self.n_calibration_ = self.score_calibration_.n
        self.head_weight_ = fitted.weight_ if isinstance(fitted, BlendedScore) else None
        abnormal = reference_set.y == ABNORMAL
        self.curve_: LabelCurve | None = None if abnormal.any() else LabelCurve([], None)
        rate = self._rate_of_windows(self.false_alarm_rate)
        self.group_calibration_ = None
        if reference_set.groups is not None:
            names, of_scores = group_codes(reference_set.groups)[0], reference_set.groups[rows]
            self.group_calibration_ = GroupCalibration.of(scores, of_scores, names, rate)
        self._set_threshold(rate)
        self.unlabelled_abnormal_ = None
        if reference_set.groups is None and reference_set.timeline is None:
            of_rows = reference_set.features, reference_set.y
            self.unlabelled_abnormal_ = find_unlabelled_abnormal(
                fitted, *of_rows, training, rows, scores, -self.offset_, reference_set.seed
            )
        self._calibrate_points(list(zip(found.rows, found.scores, strict=True)))
        self.record_parameters(*OF_REFIT)

    def _without_excess(
        self, scores: np.ndarray, rows: np.ndarray, score: Score
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return calibration scores and rows but for those that a bound of abnormal leaves out."""
        bound, self.contamination_ = read_contamination(self.contamination), None
        trimmed = self.reference_set_.trimmed
        if bound is None or trimmed is None:
            return scores, rows
        out = rows_left_out(scores, self.reference_set_.y[rows], bound, score)
        auto, left_out = isinstance(self.contamination, str), np.sort(rows[out])
        self.contamination_ = Contamination(bound, auto, trimmed, left_out, len(scores))
        return np.delete(scores, out), np.delete(rows, out)

    @isolated_from_host()
    def _measured_curve(self) -> LabelCurve:
        """Measure the label curve on first use: it takes longer than the rest of a refit."""
        check_is_fitted(self)
        if self.curve_ is None:
            abnormal = self.reference_set_.y == ABNORMAL
            rng = np.random.default_rng([self.reference_set_.seed, 3])
            self.curve_ = LabelCurve([], None)
            if abnormal.any() and self.reference_set_.timeline is None:
                self.curve_ = measure_curve(
                    held_out_scores, self.reference_set_.features, abnormal, rng
                )
        return self.curve_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")

    def _learned(self) -> dict[str, Any]:
        return {
            "method": self.method_,
            "abnormal above": f"anomaly score {-self.offset_:.4g}",
            "false alarms asked for": f"{100 * self.false_alarm_rate_:g} % of normal instances",
            "calibration": f"{self.calibration_}, {self.n_calibration_:,} rows",
            "frozen encoder": self.encoder_digest_[:12],
        }

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags
