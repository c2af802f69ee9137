"""Later data and labels of a fitted detector, without training an encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted

from isthmus._core import isolated_from_host
from isthmus.autoencoder import InstanceEncoder, TrainingRowHashes
from isthmus.data import (
    ABNORMAL,
    NO_GROUP,
    NORMAL,
    InMemory,
    Instances,
    as_instances,
    warn_of_order,
)
from isthmus.data.windows import TimePoints
from isthmus.detection.detector_labels import (
    UNKNOWN,
    check_labels_suffice,
    label_windows,
    normal_by_column_name,
    read_detector_labels,
    read_labels_of,
)
from isthmus.detection.features import extract_features
from isthmus.detection.labelled_stretches import label_time_points, stretch_table
from isthmus.detection.recalibration import recalibrated
from isthmus.detection.reference_set import ReferenceSet
from isthmus.detection.timeline import Timeline, WindowPlaces, lay_out
from isthmus.encoding import find_known_rows, restored_on_failure, row_hashes
from isthmus.errors import CalibrationError, DataError

#: Windows whose hashes are taken together.
BATCH = 4096


def _decides_points(detector: Any) -> bool:
    if getattr(detector, "point_calibration_", None) is None:
        raise AttributeError(
            "partial_fit is for a detector that was fitted on series by time point, on the data "
            "set that load(..., kind='series') gives of a long table; fit others anew, or pass "
            "labels to add_labels"
        )
    return True


def with_labels(
    reference_set: ReferenceSet, encoder: InstanceEncoder, instances: Instances, y: np.ndarray
) -> ReferenceSet:
    """Return a reference set with labels changed and new rows added.

    A row of it gets the label; a calibration row labelled abnormal no longer
    calibrates. New rows are fitted on and never calibrate: they were selected for inspection,
    and calibration rows must be exchangeable with rows to come.

    Raises
    ------
    DataError
        When the rows are stored codes and the detector was calibrated with several encoders.
    """
    hashes = row_hashes(encoder, instances)
    known = find_known_rows(reference_set.hashes, hashes)
    changed = relabelled(reference_set, hashes[known], y[known])
    new = np.flatnonzero(~known)
    return with_rows(changed, encoder, instances, new, y, hashes) if len(new) else changed


def relabelled(reference_set: ReferenceSet, hashes: np.ndarray, y: np.ndarray) -> ReferenceSet:
    """Return a reference set in which rows with these hashes have these labels.

    Of several labels for one hash the last counts.
    """
    latest = dict(zip(hashes.tolist(), y.tolist(), strict=True))
    labels = reference_set.y.copy()
    rows = np.flatnonzero(np.isin(reference_set.hashes, hashes))
    labels[rows] = [latest[digest] for digest in reference_set.hashes[rows].tolist()]
    return replace(reference_set, y=labels)


def with_rows(
    reference_set: ReferenceSet,
    encoder: InstanceEncoder,
    instances: Instances,
    rows: np.ndarray,
    y: np.ndarray,
    hashes: np.ndarray,
) -> ReferenceSet:
    """Return a reference set followed by rows of other instances, which are fitted on.

    Parameters
    ----------
    reference_set : ReferenceSet
    encoder : Autoencoder
        The detector's.
    instances : Instances
    rows : int array of shape (k,)
        Numbers of the instances that are added.
    y, hashes : arrays of shape (n,)
        Of all instances.

    Raises
    ------
    DataError
        When they are stored codes and the detector was calibrated with several encoders.
    """
    if instances.encoded and any(fold.encoder is not None for fold in reference_set.folds):
        raise DataError(
            f"{instances.name} holds codes of one encoder, and the detector was calibrated "
            "with several (calibration='cross'), which have to see rows that are new to it; "
            "pass the instances themselves"
        )
    folds = [
        fold
        if fold.encoder is None or fold.features is None
        else replace(
            fold,
            features=fold.features.followed_by(
                extract_features(fold.encoder, instances).take(rows)
            ),
        )
        for fold in reference_set.folds
    ]
    return replace(
        reference_set,
        features=reference_set.features.followed_by(
            extract_features(encoder, instances).take(rows)
        ),
        y=np.concatenate([reference_set.y, y[rows]]),
        hashes=np.concatenate([reference_set.hashes, hashes[rows]]),
        folds=folds,
        timeline=None
        if reference_set.timeline is None
        else reference_set.timeline.with_unplaced(len(rows)),
        # They never calibrate, so that their groups are not needed.
        groups=None
        if reference_set.groups is None
        else np.append(reference_set.groups, np.full(len(rows), NO_GROUP, dtype=object)),
    )


def with_later_series(
    reference_set: ReferenceSet,
    encoder: InstanceEncoder,
    instances: Instances,
    y: np.ndarray,
    timeline: Timeline,
) -> ReferenceSet:
    """Return a reference set followed by the windows of a later series.

    They are cut into as many blocks of time as there are folds. Those of a block calibrate
    with its fold, whose encoder and score see none of them; the others are fitted on.

    Parameters
    ----------
    reference_set : ReferenceSet
    encoder : Autoencoder
        The detector's.
    instances : Instances
        n windows.
    y : int8 array of shape (n,)
    timeline : Timeline
        Where they lie in time.

    Raises
    ------
    CalibrationError
        When some are in the reference set already, or they are too few for blocks of time.
    """
    assert reference_set.timeline is not None  # of a detector of time points
    hashes = row_hashes(encoder, instances)
    known = TrainingRowHashes.from_hashes(reference_set.hashes)
    overlap = known.overlap(hashes)
    if int(overlap.sum()) > known.max_overlap_by_chance(len(overlap)):
        raise CalibrationError(
            f"{int(overlap.sum()):,} of {len(overlap):,} windows are in the reference set "
            "already, and a threshold calibrated on windows that were fitted on would be too "
            "low; pass later time points only"
        )
    blocks = timeline.blocks(split=len(reference_set.folds) == 1, n_blocks=len(reference_set.folds))
    rows, n = np.arange(len(y)), len(reference_set.y)
    added = with_rows(reference_set, encoder, instances, rows, y, hashes)
    folds = list(added.folds)
    for number, block in enumerate(blocks):
        fold, held_out = folds[number], block.among(rows[y != ABNORMAL]).windows
        assert fold.purged is not None  # of blocks of time
        assert block.purged is not None
        folds[number] = replace(
            fold,
            held_out=np.concatenate([fold.held_out, n + held_out]),
            purged=np.concatenate([fold.purged, n + block.purged]),
        )
    return replace(added, folds=folds, timeline=reference_set.timeline.followed_by(timeline))


class UpdatesMixin:
    """Later data and labels of a detector."""

    encoder_: InstanceEncoder
    reference_set_: ReferenceSet
    normal_: str | float | None
    method: str
    update_facts_: dict[str, Any] | None = None
    check_encoder_unchanged: Callable[[], None]
    calibration_: str
    point_calibration_: Any
    _time_points_like_fit: Callable[..., TimePoints]
    _fit_on_reference_set: Callable[[], None]

    @isolated_from_host()
    def add_labels(
        self,
        X: Any,
        y: Any = None,
        *,
        normal: str | float | None = None,
        stretches: Any = None,
        **columns: Any,
    ) -> Self:
        """Add labels and refit score and threshold; no encoder is trained.

        Parameters
        ----------
        X : array or DataFrame of n instances; with `stretches` a Dataset, DataFrame or array
            Rows of the reference set (their labels change) or new ones; which they are says
            `isthmus.encoding.find_known_rows`. With `stretches` series by time point, as for
            `score_points`.
        y : array of shape (n,), optional
            1 normal, -1 abnormal, 0 or missing to remove a label; or any labels with `normal`,
            a missing one to remove a label.
        normal : str, int, float or bool, optional
            The label that means normal; by default the one that the detector was fitted with.
        stretches : DataFrame or sequence of (from, to) and (from, to, label), optional
            In place of `y`, for a detector of time points. First and last time of each stretch,
            as dates, text or numbers like the times of X, or rows where it has no time. Without
            a label, or with "abnormal", it is abnormal. A table has columns `from`, `to`, `label`
            and those of the groups. A window with an abnormal point becomes abnormal, one whose
            points are all in normal stretches normal.
        **columns
            With `stretches`: `time`, `group`, `resample`, `time_zone` as for `decide_points`.

        Returns
        -------
        self
            With `update_facts_`.

        Raises
        ------
        DataError, CalibrationError
            When labels cannot be used, a stretch has no time point or no window, or too few normal
            rows are left to fit on or to hold the rate. The detector is then unchanged.

        Examples
        --------
        >>> import numpy as np
        >>> from isthmus import AnomalyDetector, Autoencoder
        >>> rng = np.random.default_rng(0)
        >>> detector = AnomalyDetector(
        ...     Autoencoder(max_epochs=2), calibration="split", random_state=0
        ... ).fit(rng.normal(size=(300, 4)))
        >>> looked_at = np.vstack([rng.normal(size=(5, 4)), rng.normal(4, size=(5, 4))])
        >>> detector.add_labels(looked_at, np.repeat([1, -1], 5)).method_
        'blend'
        """
        check_is_fitted(self)
        self.check_encoder_unchanged()
        if (y is None) == (stretches is None):
            which = "neither labels y nor" if y is None else "both labels y and"
            raise DataError(f"got {which} stretches of time; pass one of them")
        if stretches is None and columns:
            raise DataError(f"got {', '.join(columns)}, only used with stretches; leave it out")
        with self._restored_on_failure():
            if stretches is not None:
                points = self._time_points_like_fit(X, **columns)
                self._label_stretches(points, stretches, normal)
            else:
                warn_of_order(X, y)
                stated = normal is not None
                labels = read_detector_labels(
                    y,
                    _num_samples(X),
                    normal if stated else self.normal_,
                    stated=stated,
                    may_lack_normal=True,
                )
                before = len(self.reference_set_.y)
                self.reference_set_ = with_labels(
                    self.reference_set_, self.encoder_, as_instances(X), labels
                )
                added = len(self.reference_set_.y) - before
                self.update_facts_ = {"n_given": len(labels), "n_new": added}
            check_labels_suffice(self.reference_set_.y, self.method)
            self._fit_on_reference_set()
        return self

    @available_if(_decides_points)
    @isolated_from_host()
    def partial_fit(
        self,
        new: Any,
        y: None = None,
        *,
        normal: str | float | None = None,
        **columns: Any,
    ) -> Self:
        """Add later normal series, and refit score and thresholds; no encoder is trained.

        The new windows are cut into as many blocks of time as at fit. Those of a block calibrate
        with the encoder of one fold, which was trained on none of them, and the score is fitted on
        the others. Only for a detector of time points.

        Parameters
        ----------
        new : Dataset, DataFrame of m rows, or array of shape (m, c) or (m,)
            Mostly normal series that come after those of the fit, as for `score_points`. Time
            points that are in the reference set already are refused where their windows are
            equal.
        y : None
            Ignored; labels are those of the data set, or in the column `label`. Windows with a
            point labelled abnormal are neither fitted on nor calibrate.
        normal : str, int, float or bool, optional
            The label that means normal; by default the one that the detector was fitted with.
        **columns
            `time`, `group`, `resample`, `time_zone` as for `decide_points`; and `label`, the column
            of the labels of a DataFrame.

        Returns
        -------
        self
            With `update_facts_`.

        Raises
        ------
        DataError
            When channels, window, groups or step are not those of the fit, or labels cannot be
            read. The detector is then unchanged.
        CalibrationError
            When series are too short for blocks of time, or windows are in the reference set
            already. The detector is then unchanged.
        """
        check_is_fitted(self)
        self.check_encoder_unchanged()
        reference_set = self.reference_set_
        points, windows, timeline, labels, meant = self._later_series(new, normal, columns)
        with self._restored_on_failure():
            try:
                added = with_later_series(reference_set, self.encoder_, windows, labels, timeline)
            except CalibrationError as error:
                raise CalibrationError(f"partial_fit: {error}") from error
            check_labels_suffice(added.y, self.method)
            self.reference_set_, self.normal_ = added, meant
            self.update_facts_ = {
                "n_time_points": len(points),
                "n_without_window": int((~points.covered).sum()),
                "n_new": len(labels),
                "n_abnormal": int((labels == ABNORMAL).sum()),
                "n_calibrating": sum(len(fold.held_out) for fold in added.folds)
                - sum(len(fold.held_out) for fold in reference_set.folds),
            }
            self._fit_on_reference_set()
        return self

    def _later_series(
        self, new: Any, normal: str | float | None, columns: dict[str, Any]
    ) -> tuple[TimePoints, InMemory, Timeline, np.ndarray, str | float | None]:
        """Return time points of later series, their windows, where these lie, and their labels."""
        timeline = self.reference_set_.timeline
        assert timeline is not None  # of a detector of time points
        points = replace(self._time_points_like_fit(new, **columns), stride=timeline.stride)
        cut = [windows for _, windows in points.cut(points.stride)]
        if not cut:
            raise DataError(
                f"got no stretch as long as a window of {points.window} time points, expected one; "
                "pass longer series"
            )
        windows = InMemory(np.concatenate(cut), kind="series", points=points)
        later = lay_out(points, len(windows), timeline.by_group)
        assert later is not None  # cut with its stride
        meant = self.normal_ if normal is None else normal
        meant = normal_by_column_name(points) if meant is None else meant
        return points, windows, later, read_labels_of(windows, None, meant, later), meant

    def _recalibrate_on_series(self, new: Any, columns: dict[str, Any]) -> None:
        """Calibrate time points on later normal series alone, see `recalibrate`."""
        points, windows, timeline, labels, _ = self._later_series(new, None, columns)
        before = self.point_calibration_.blocks.n_points
        with self._restored_on_failure():
            self.reference_set_ = recalibrated(
                self.reference_set_,
                self.encoder_,
                windows,
                None,
                self.calibration_,
                labels=labels,
                timeline=timeline,
            )
            self.calibration_ = "split"
            self._fit_on_reference_set()
            self.update_facts_ = {
                "n_time_points": len(points),
                "n_without_window": int((~points.covered).sum()),
                "n_new": len(labels),
                "n_abnormal": int((labels == ABNORMAL).sum()),
                "n_calibrating": self.point_calibration_.blocks.n_points,
                "n_calibrating_before": before,
            }

    def _label_stretches(self, points: TimePoints, stretches: Any, normal: Any) -> None:
        """Give windows the labels of stretches; add those that the reference set has not."""
        table = stretch_table(stretches, points.group_columns)
        stated = normal is not None
        meant = normal if stated else self.normal_
        of_points = label_time_points(points, table, meant, stated=stated)
        reference_set = self.reference_set_
        assert reference_set.timeline is not None  # of a detector of time points
        # At every time point: windows of the fit may begin at any of those given here.
        places = WindowPlaces.cut(points.segments, points.window, 1)
        labels = label_windows(of_points, places.first, points.window)
        chosen = np.flatnonzero(labels != UNKNOWN)
        first, labels = places.first[chosen], labels[chosen]
        places = replace(places, first=first)
        chunks = places.chunks(points.values, BATCH)
        instances = (InMemory(chunk, kind="series") for chunk in chunks)
        hashes = np.concatenate([row_hashes(self.encoder_, one) for one in instances])
        known = np.isin(hashes, reference_set.hashes)
        changed = relabelled(reference_set, hashes[known], labels[known])
        segment = np.searchsorted(points.segments[:, 0], first, side="right") - 1
        on_grid = (first - points.segments[segment, 0]) % reference_set.timeline.stride == 0
        # Beside windows of the fit others would be fitted on while those calibrate.
        new = np.flatnonzero(~known & on_grid & ~_near(first, first[known], points.window))
        before = reference_set.y
        if len(new):
            windows = np.concatenate(
                list(replace(places, first=first[new]).chunks(points.values, BATCH))
            )
            changed = with_rows(
                changed,
                self.encoder_,
                InMemory(windows, kind="series"),
                np.arange(len(new)),
                labels[new],
                hashes[new],
            )
        self.reference_set_ = changed
        self.update_facts_ = {
            "n_given": len(table),
            "n_points": {
                "normal": int((of_points == NORMAL).sum()),
                "abnormal": int((of_points == ABNORMAL).sum()),
            },
            "n_changed": int((changed.y[: len(before)] != before).sum()),
            "n_new": len(new),
        }

    @contextmanager
    def _restored_on_failure(self) -> Iterator[None]:
        """Leave the detector as it was where the block fails."""
        with restored_on_failure(self):
            yield


def _near(first: np.ndarray, known: np.ndarray, window: int) -> np.ndarray:
    """Return which windows share time points with one of those at `known`, both increasing."""
    if not len(known):
        return np.zeros(len(first), dtype=bool)
    after = np.searchsorted(known, first)
    following = known[np.minimum(after, len(known) - 1)]
    before = known[np.maximum(after - 1, 0)]
    return (np.abs(following - first) < window) | (np.abs(first - before) < window)
