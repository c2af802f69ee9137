"""What a detector that was fitted on series does with time points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from isthmus._core import isolated_from_host, shown
from isthmus.autoencoder import Autoencoder
from isthmus.data.windows import TimePoints
from isthmus.detection.alarm_rates import AlarmRate
from isthmus.detection.calibration import DECIMALS
from isthmus.detection.features import Features, extract_features_in_chunks
from isthmus.detection.point_decisions import (
    PointCalibration,
    PointDecisions,
    decide_points,
    time_points_as_at_fit,
)
from isthmus.detection.reference_set import ReferenceSet
from isthmus.detection.scores import Score
from isthmus.errors import DataError


class PointDetectionMixin:
    """Scores, alarms and later data of a detector that was fitted on series by time point."""

    encoder_: Autoencoder
    reference_set_: ReferenceSet
    fitted_score_: Score
    point_calibration_: PointCalibration | None
    point_threshold_: float
    point_facts_: dict[str, Any] | None
    false_alarm_rate: float | Literal["auto"]
    false_alarms: str | None
    merge_gap: int | Literal["auto"]
    min_length: int
    causal: bool
    check_encoder_unchanged: Callable[[], None]
    _scores: Callable[[Features], np.ndarray]
    _restored_on_failure: Callable[[], AbstractContextManager[None]]

    @isolated_from_host()
    def decide_points(
        self,
        new: Any,
        *,
        time: str | None = None,
        group: str | Sequence[str] | None = None,
        keys: Sequence[str] = (),
        resample: str | float | None = None,
        time_zone: str | None = None,
    ) -> PointDecisions:
        """Score time points, and decide which are abnormal.

        Parameters
        ----------
        new : Dataset, DataFrame of m rows, or array of shape (m, c) or (m,)
            A data set of `load(..., kind="series")`, a long table with the channels of the fit by
            name, or the readings of one series without gaps.
        time, group : str or sequence of str, optional
            Columns of a DataFrame, by default those of the fit where it has them.
        keys : sequence of str
            Columns that are carried along.
        resample, time_zone : str, optional
            Of a DataFrame, see `isthmus.load`.

        Returns
        -------
        PointDecisions
            Of which `score_points` and `alarms` return the tables.

        Raises
        ------
        DataError
            When the detector was not fitted on series by time point, or `new` is none of these,
            has other channels, or no stretch as long as a window.
        """
        check_is_fitted(self)
        self.check_encoder_unchanged()
        points = time_points_as_at_fit(
            new,
            self._calibrated(),
            self.encoder_.schema_.columns,
            time=time,
            group=group,
            keys=keys,
            resample=resample,
            time_zone=time_zone,
        )
        points, threshold = points.to_decide(), self.point_threshold_
        return decide_points(points, self._score_windows, self._calibrated(), threshold)

    def score_points(self, new: Any, **columns: Any) -> pd.DataFrame:
        """Return a row for each row of a long table, in its order.

        Parameters
        ----------
        new, **columns
            See `decide_points`.

        Returns
        -------
        DataFrame
            Group, time and key columns; `anomaly_score` (NaN where no window covers the time
            point), `p_value`, `verdict`, `n_filled` (how many readings were missing and are
            filled), and the share of each channel in the residual, `share_CHANNEL`.

        Examples
        --------
        >>> from isthmus import AnomalyDetector, Autoencoder, load
        >>> steps = np.arange(3000)
        >>> noise = np.random.default_rng(0).normal(scale=0.1, size=3000)
        >>> table = pd.DataFrame({"second": steps, "flow": np.sin(steps / 5) + noise})
        >>> normal = load(table[:2000], kind="series", time="second", window=64, stride=4)
        >>> detector = AnomalyDetector(
        ...     Autoencoder(max_epochs=2, random_state=0), false_alarm_rate=0.05, random_state=0
        ... ).fit(normal)
        >>> new = table[2000:].reset_index(drop=True)
        >>> new.loc[500:540, "flow"] += 5
        >>> points = detector.score_points(new)
        >>> len(points), points.loc[520, "verdict"]
        (1000, 'abnormal')
        >>> bool((detector.alarms(new)["first"] <= 2520).any())
        True
        """
        return self.decide_points(new, **columns).to_frame()

    def alarms(self, new: Any, **columns: Any) -> pd.DataFrame:
        """Return a row for each alarm.

        Parameters
        ----------
        new, **columns
            See `decide_points`.

        Returns
        -------
        DataFrame
            Group columns; `first`, `last` and `peak`: times, or rows where there is no time;
            `n_points`; `known_at`, the time at which the alarm could be known; the worst
            `channel` and its `share`; `anomaly_score` and `p_value` of the peak.
        """
        return self.alarms_of(self.decide_points(new, **columns))

    def alarms_of(self, decisions: PointDecisions) -> pd.DataFrame:
        """Return the alarms of decisions that `decide_points` returned."""
        return decisions.alarms(
            merge_gap=self._merge_gap(), min_length=self.min_length, causal=self.causal
        )

    @isolated_from_host()
    def set_false_alarms(self, rate: str) -> Self:
        """Move the threshold of time points to another number of false alarms.

        Parameters
        ----------
        rate : str
            Such as "1 per day", see `isthmus.detection.AlarmRate`.

        Returns
        -------
        self

        Raises
        ------
        CalibrationError
            When the rate cannot be read. The detector is then unchanged.
        DataError
            When the detector was not fitted on series by time point.

        Warns
        -----
        CalibrationWarning
            When the blocks held out are too short for the rate: the threshold is then the highest
            score among them.
        """
        check_is_fitted(self)
        self._calibrated()
        with self._restored_on_failure():
            self.false_alarms = str(rate)
            self.false_alarm_rate = "auto"
            self._set_point_threshold(self.false_alarm_rate)
        return self

    def _check_false_alarms(self, *, by_point: bool) -> None:
        """Check what is asked of false alarms before anything is trained.

        Raises
        ------
        DataError, CalibrationError
            When both a share and a number of alarms are asked for, or a number of alarms and the
            instances have no time points, or the number cannot be read.
        """
        if self.false_alarms is None:
            return
        if not isinstance(self.false_alarm_rate, str):
            raise DataError(
                f"got false_alarm_rate={shown(self.false_alarm_rate)} and "
                f"false_alarms={shown(self.false_alarms)}, which set the same threshold; pass one "
                "of them (on the command line --false-alarm-rate or --false-alarms)"
            )
        if not by_point:
            raise DataError(
                f"got false_alarms={shown(self.false_alarms)}, and the instances have no "
                "time points; fit on the data set that load(..., kind='series') gives of a "
                "long table, or pass false_alarm_rate"
            )
        AlarmRate.parse(self.false_alarms)

    def _calibrate_points(self, held_out: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Calibrate time points on the rows of each fold and their scores."""
        timeline = self.reference_set_.timeline
        self.point_calibration_, self.point_facts_ = None, None
        if timeline is None:
            return
        learned = PointCalibration.learn(timeline, held_out, causal=self.causal)
        self.point_calibration_ = learned
        self._set_point_threshold(self.false_alarm_rate)

    def _set_point_threshold(self, rate: float | Literal["auto"]) -> None:
        """Set the threshold of time points, for a share of them or for a number of alarms."""
        calibration = self._calibrated()
        blocks = calibration.blocks
        facts: dict[str, Any] = {
            "window": calibration.window,
            "stride": calibration.stride,
            "step": calibration.step,
            "causal": calibration.causal,
            "merge_gap": self._merge_gap(),
            "min_length": self.min_length,
            "n_held_out": blocks.n_points,
            "mean_cluster": blocks.mean_cluster,
            "n_independent": blocks.n_independent,
        }
        if self.false_alarms is None:
            rate = blocks.choose_rate(rate)
            self.point_threshold_ = blocks.threshold_for_rate(rate)
            realised = blocks.realised(rate)
            alarm_rate = None
            facts |= {"false_alarm_rate": rate, "held": blocks.holds(rate)}
        else:
            found = calibration.alarm_threshold(
                self.false_alarms, facts["merge_gap"], self.min_length
            )
            self.point_threshold_, realised = found.threshold, found.realised
            alarm_rate = found.asked
            facts |= {"false_alarms": str(found.asked), "n_alarms_held_out": found.n_alarms}
            facts["held"] = found.held
            facts["share_of_points"] = found.share_of_points
        facts |= {"threshold": self.point_threshold_, "realised": realised}
        facts["drifts"] = blocks.warn_of_drift(realised, alarm_rate, calibration.step)
        self.point_facts_ = facts

    def _merge_gap(self) -> int:
        return self._calibrated().window // 2 if self.merge_gap == "auto" else self.merge_gap

    def _calibrated(self) -> PointCalibration:
        if self.point_calibration_ is None:
            raise DataError(
                "the detector was not fitted on series by time point; fit it on the data set that "
                "load(..., kind='series') gives of a long table"
            )
        return self.point_calibration_

    def _time_points_like_fit(self, new: Any, **columns: Any) -> TimePoints:
        """Return the time points of new data, after a check of their group columns too.

        Raises
        ------
        DataError
            When channels, window, step or group columns are not those of the fit.
        """
        calibration, channels = self._calibrated(), self.encoder_.schema_.columns
        points = time_points_as_at_fit(new, calibration, channels, **columns)
        found, expected = points.group_columns, calibration.group_columns
        if found != expected:
            raise DataError(
                f"got {_columns(found)} for groups, and the fit was with {_columns(expected)}; "
                "pass group= (on the command line --group)"
            )
        return points

    def _score_windows(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the anomaly scores of windows, (n,), and the part of each channel, (n, c)."""
        scores, parts = [], []
        for features in extract_features_in_chunks(self.encoder_, windows):
            found, of_channels = self.fitted_score_.score_with_parts(features, windows.shape[2])
            scores.append(np.round(found, DECIMALS))
            parts.append(of_channels)
        return np.concatenate(scores), np.concatenate(parts)


def _columns(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names)) if names else "no columns"
