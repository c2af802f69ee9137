"""What a detector that was fitted on series does with time points."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from isthmus._core import isolated_from_host, shown
from isthmus.autoencoder import InstanceEncoder
from isthmus.data.windows import TimePoints
from isthmus.detection.alarm_rates import AlarmRate
from isthmus.detection.block_calibration import BlockCalibration, block_calibration
from isthmus.detection.calibration import DECIMALS
from isthmus.detection.features import Features, extract_features_in_chunks
from isthmus.detection.group_calibration import ALL, OWN, SMALL
from isthmus.detection.group_rows import warn_of_unseen_points
from isthmus.detection.point_decisions import (
    PointCalibration,
    PointDecisions,
    PointGroups,
    decide_points,
    time_points_as_at_fit,
)
from isthmus.detection.reference_set import ReferenceSet
from isthmus.detection.scores import Score
from isthmus.errors import CalibrationWarning, DataError


class PointDetectionMixin:
    """Scores, alarms and later data of a detector that was fitted on series by time point."""

    encoder_: InstanceEncoder
    reference_set_: ReferenceSet
    fitted_score_: Score
    point_calibration_: PointCalibration | None
    point_threshold_: float
    point_facts_: dict[str, Any] | None
    false_alarm_rate: float | Literal["auto"]
    false_alarms: str | None
    merge_gap: int | Literal["auto"]
    min_length: int
    record_parameters: Callable[..., None]
    parameter_at_fit: Callable[[str], Any]
    causal: bool
    by_group: bool
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
        points, calibration = points.to_decide(), self._calibrated()
        if calibration.by_group is None and self.reference_set_.timeline is not None:
            warn_of_unseen_points(points, self.reference_set_.timeline.groups)
        return decide_points(points, self._score_windows, calibration, self.point_threshold_)

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
        >>> alarms = detector.alarms_of(detector.decide_points(new))
        >>> alarms.equals(detector.alarms(new)), bool((alarms["first"] <= 2520).any())
        (True, True)
        >>> len(detector.set_false_alarms("1 per 200 points").alarms(new)) > 0
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
        """Return the alarms of decisions that `decide_points` returned.

        Parameters
        ----------
        decisions : PointDecisions

        Returns
        -------
        DataFrame
            See `alarms`.
        """
        rule = {"merge_gap": self._merge_gap(), "min_length": self.min_length}
        return decisions.alarms(**rule, causal=self.parameter_at_fit("causal"))

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
            self.record_parameters("false_alarm_rate", "false_alarms")
        return self

    def _check_false_alarms(self, *, by_point: bool, grouped: bool) -> None:
        """Check what is asked of false alarms before anything is trained.

        Raises
        ------
        DataError, CalibrationError
            When both a share and a number of alarms are asked for, or a number of alarms and the
            instances have no time points, or the number cannot be read.
        """
        if self.by_group and not grouped:
            raise DataError(
                "got by_group=True, and the long table was loaded without groups; name their "
                "column with load(..., kind='series', group=COLUMN) (on the command line --group "
                "COLUMN)"
                if by_point
                else "got by_group=True, which is for time points of a long table; pass the groups "
                "of other instances as fit(X, groups=...)"
            )
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
        facts["threshold"] = self.point_threshold_
        calibration.by_group = None
        if self.by_group:
            found_groups, realised, drifts = self._groups_at_rate(facts, alarm_rate)
            calibration.by_group = found_groups
            facts |= {"groups": found_groups.facts, "realised": realised, "drifts": drifts}
        else:
            facts["realised"] = realised
            facts["drifts"] = blocks.warn_of_drift(realised, alarm_rate, calibration.step)
        self.point_facts_ = facts

    def _groups_at_rate(
        self, facts: dict[str, Any], alarm_rate: AlarmRate | None
    ) -> tuple[PointGroups, dict[str, Any], bool]:
        """Return thresholds by group, what all realise together, and whether one drifts."""
        calibration = self._calibrated()

        def at_rate(blocks: BlockCalibration) -> tuple[float, bool, dict[str, Any]]:
            if alarm_rate is None:
                rate = facts["false_alarm_rate"]
                return blocks.threshold_for_rate(rate), blocks.holds(rate), blocks.realised(rate)
            found = blocks.alarm_threshold(
                alarm_rate,
                merge_gap=facts["merge_gap"],
                min_length=facts["min_length"],
                step=calibration.step,
            )
            return found.threshold, found.held, found.realised

        return point_groups(calibration.blocks, at_rate)

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


AtRate = Callable[[BlockCalibration], tuple[float, bool, dict[str, Any]]]


def point_groups(
    blocks: BlockCalibration, at_rate: AtRate
) -> tuple[PointGroups, dict[str, Any], bool]:
    """Calibrate the time points of each group on its own held-out blocks.

    Parameters
    ----------
    blocks : BlockCalibration
        Of all groups.
    at_rate : callable
        From the blocks of a group, or of several, to their threshold for the rate, whether they
        are enough for it, and what it realises on stretches held out in turn.

    Returns
    -------
    groups : PointGroups
    realised : dict
        Of all calibrations together, as `BlockCalibration.realised` returns it.
    drifts : bool

    Warns
    -----
    CalibrationWarning
        Of groups whose blocks are too few for the rate, and of those that drift.
    """
    names = tuple(sorted({str(one) for one in blocks.groups}))
    with warnings.catch_warnings(action="ignore", category=CalibrationWarning):
        of_all = at_rate(blocks)
        own = [blocks_of_groups(blocks, [name]) for name in names]
        found = [None if one is None else at_rate(one) for one in own]
        small = [name for name, one in zip(names, found, strict=True) if one is None or not one[1]]
        joined = blocks_of_groups(blocks, small) if small else None
        of_small = None if joined is None else at_rate(joined)
        pools = of_small is not None and of_small[1] and len(small) < len(names)
    used: list[tuple[BlockCalibration, tuple[float, bool, dict[str, Any]]]] = []
    positions = np.full(len(names), -1)
    for at, (one, rates) in enumerate(zip(own, found, strict=True)):
        if one is not None and rates is not None and rates[1]:
            positions[at] = len(used)
            used.append((one, rates))
    if pools and joined is not None and of_small is not None:
        positions[positions < 0] = len(used)
        used.append((joined, of_small))
    used.append((blocks, of_all))
    positions[positions < 0] = len(used) - 1
    facts = []
    for name, position, one in zip(names, positions.tolist(), own, strict=True):
        how = OWN if name not in small else SMALL if pools else ALL
        threshold, _, realised = used[position][1]
        share = realised["realised"] if how == OWN else realised.get("by_group", {}).get(name)
        facts.append(
            {
                "name": name,
                "n_points": 0 if one is None else one.n_points,
                "mean_cluster": None if one is None else one.mean_cluster,
                "n_independent": 0 if one is None else one.n_independent,
                "calibration": how,
                "threshold": threshold,
                "realised": share,
            }
        )
    if small:
        _warn_of_small_groups(small, names, pools=pools)
    deciding = [used[position] for position in sorted(set(positions.tolist()))]
    drifting = []
    with warnings.catch_warnings(action="ignore", category=CalibrationWarning):
        for name, how in ((one["name"], one["calibration"]) for one in facts):
            at = names.index(name)
            block, rates = used[positions[at]]
            if how == OWN and block.warn_of_drift(rates[2]):
                drifting.append(name)
    if drifting:
        warnings.warn(
            f"normal data drift in {len(drifting):,} of {len(names):,} groups "
            f"({', '.join(map(repr, drifting[:5]))}): stretches held out differ by more than "
            "chance, and one realises more than twice the rate; later data may be as far off: fit "
            "on data like those to come, or ask for a lower rate",
            CalibrationWarning,
            stacklevel=5,
        )
    groups = PointGroups(
        names,
        positions,
        tuple(one.calibration.scores for one, _ in used),
        np.array([rates[0] for _, rates in used]),
        facts,
    )
    return groups, _realised_together(deciding, facts), bool(drifting)


def blocks_of_groups(blocks: BlockCalibration, names: Sequence[str]) -> BlockCalibration | None:
    """Return the blocks of some groups, with their own size of clusters; None of too few points."""
    rows = [at for at, one in enumerate(blocks.groups) if str(one) in names]
    parts = [blocks.scores[first:end] for first, end in blocks.blocks[rows]]
    ends = np.cumsum([len(part) for part in parts])
    if not len(ends) or ends[-1] < 2:
        return None
    spans = np.column_stack([np.append(0, ends[:-1]), ends])
    groups = [blocks.groups[at] for at in rows] if len(names) > 1 else ()
    return block_calibration(np.concatenate(parts), spans, window=blocks.window, groups=groups)


def _warn_of_small_groups(small: Sequence[str], names: Sequence[str], *, pools: bool) -> None:
    how = (
        "share one calibration, which holds the rate on average over these groups and not in each"
        if pools
        else "are decided by the threshold of all groups, which promises no rate for them"
    )
    warnings.warn(
        f"{len(small):,} of {len(names):,} groups have too few time points held out for the rate "
        f"({', '.join(map(repr, small[:5]))}{', ...' if len(small) > 5 else ''}): they {how}; "
        "bring more normal data of these groups, or ask for a larger rate",
        CalibrationWarning,
        stacklevel=6,
    )


def _realised_together(
    deciding: Sequence[tuple[BlockCalibration, tuple[float, bool, dict[str, Any]]]],
    facts: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Return what the calibrations that decide realise together, each on its own stretches."""
    parts = [rates[2] for _, rates in deciding]
    stretches = [one for part in parts for one in part["blocks"]]
    shares = [one["share"] for one in stretches]
    n = sum(one["n"] for one in stretches)
    return {
        "asked": parts[0]["asked"],
        "realised": sum(one["share"] * one["n"] for one in stretches) / n,
        "blocks": stretches,
        "lowest": min(shares),
        "highest": max(shares),
        "by_group": {one["name"]: one["realised"] for one in facts if one["realised"] is not None},
        "at_highest": sum(part.get("at_highest", 0) for part in parts),
    }


def _columns(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names)) if names else "no columns"
