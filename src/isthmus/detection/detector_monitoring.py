"""What a monitor compares with and needs of instances, from a fitted detector."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from isthmus._core import isolated_from_host
from isthmus.autoencoder import Autoencoder, TrainingRowHashes
from isthmus.data import ABNORMAL, Instances
from isthmus.detection.calibration import Calibration, raised_scores
from isthmus.detection.features import Features, column_values, extract_features_in_chunks
from isthmus.detection.point_decisions import PointCalibration
from isthmus.detection.reference_set import ReferenceSet
from isthmus.encoding import row_hashes
from isthmus.errors import CalibrationWarning, DataError
from isthmus.monitoring import LEVEL, Monitor, MonitorReference, Observed


class MonitoringMixin:
    """A monitor of a detector."""

    encoder_: Autoencoder
    reference_set_: ReferenceSet
    score_calibration_: Calibration
    point_calibration_: PointCalibration | None
    calibration_: str
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
            Its `update(X, time=None)` takes later instances in the order in which they come.

        Raises
        ------
        DataError
            Of a detector of time points, which depend on each other.

        Warns
        -----
        CalibrationWarning
            When the windows that it was fitted on share rows with each other.
        """
        return Monitor(self, level, seed)

    def monitor_reference(self) -> MonitorReference:
        """Return what a monitor compares new rows with: rows that the detector did not learn from.

        With `calibration="cross"` every row was learned from: scores, and codes of encoders that
        were trained, are then compared with the first rows of the stream, and columns with those
        of the fit.

        Raises
        ------
        DataError
            Of a detector of time points, which depend on each other.
        """
        check_is_fitted(self)
        reference_set = self.reference_set_
        if self.point_calibration_ is not None:
            raise DataError(
                "got a detector of time points, which depend on each other, and a monitor promises "
                "its level for rows that do not; use isthmus report, whose page compares stretches "
                "of time, or a detector of windows that do not overlap"
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
        return MonitorReference.of_values(
            self.false_alarm_rate_,
            self.score_calibration_.scores if self.calibration_ == "split" else None,
            None if learned_by_encoder else reference_set.features.codes[held_out],
            columns,
            self.encoder_.n_components_,
            names,
            reference_set.seed,
        )

    @isolated_from_host()
    def observe(self, X: Any, groups: Any = None) -> Observed:
        """Return what a monitor needs of instances in memory, or stored codes.

        Parameters
        ----------
        X, groups
            As for `predict`. Thresholds are those of the groups; the scores of all are watched
            together, so that other shares of the groups are a change too.

        Raises
        ------
        DataError
            When they do not fit the detector, or are codes and columns are to be watched.
        """
        check_is_fitted(self)
        self.check_encoder_unchanged()
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
        )

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
