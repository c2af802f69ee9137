"""Decisions of a detector on the time points of series, calibrated on blocks of time held out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd

from isthmus.data import (
    ABNORMAL,
    NORMAL,
    VERDICT_NAMES,
    group_text,
    match_groups,
    with_identifiers,
)
from isthmus.data.windows import TimePoints
from isthmus.detection.alarm_rates import AlarmRate, AlarmThreshold
from isthmus.detection.alarms import alarm_table, find_alarms, known_positions
from isthmus.detection.block_calibration import BlockCalibration, block_calibration
from isthmus.detection.calibration import DECIMALS, Calibration
from isthmus.detection.timeline import Timeline, WindowPlaces
from isthmus.errors import CalibrationWarning

#: From windows (k, window, c) to their anomaly scores, (k,), and what each channel adds, (k, c).
ScoreWindows = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
#: Windows that are scored together.
BATCH = 4096


class PointRule(Protocol):
    """What `decide_points` needs of a calibration: of a detector's, or of that in an export."""

    @property
    def window(self) -> int:
        """Time points of a window."""

    @property
    def stride(self) -> int:
        """Time points from one window to the next."""

    @property
    def causal(self) -> bool:
        """Whether the score of a time point uses no later ones."""

    @property
    def step(self) -> float | None:
        """Usual step in time at fit, in seconds or in the unit of the times; None if unknown."""

    @property
    def time_column(self) -> str | None:
        """Column of the times at fit."""

    @property
    def group_columns(self) -> tuple[str, ...]:
        """Columns of the groups at fit."""

    @property
    def by_group(self) -> PointGroups | None:
        """Thresholds and calibrations by group; None where all groups have one."""

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Return the p-value of each anomaly score of a time point, NaN where there is none."""


@dataclass(frozen=True, eq=False)
class PointGroups:
    """Thresholds of time points by group, and the scores that their p-values are ranks among.

    Each group has its own held-out blocks of time, thinned by its own mean size of clusters. Those
    whose blocks are too few for the rate share one calibration of all of their blocks, where these
    together are enough; otherwise, and of a group that was not there at fit, the blocks of all
    groups calibrate: the rule of `isthmus.detection.GroupCalibration`.

    Attributes
    ----------
    names : tuple of str
        Groups at fit.
    positions : int array of shape (len(names),)
        Which calibration each of them has.
    scores : tuple of float64 arrays
        Of each calibration; that of all groups is the last.
    thresholds : float64 array, one of each calibration
    facts : list of dict
        Of each group its `name`, `n_points` held out, `mean_cluster`, `n_independent`,
        `calibration` ("group", "small groups" or "all rows"), `threshold`, and `realised`, the
        rate on stretches held out at the threshold of its others.
    """

    names: tuple[str, ...]
    positions: np.ndarray
    scores: tuple[np.ndarray, ...]
    thresholds: np.ndarray
    facts: list[dict[str, Any]]

    def places(self, points: TimePoints) -> np.ndarray:
        """Return which calibration decides on each time point, int array of shape (m,)."""
        position = dict(zip(self.names, self.positions.tolist(), strict=True))
        last = len(self.scores) - 1
        of_groups = [position.get(one, last) for one in self._matched(points)] or [last]
        return np.array(of_groups, dtype=np.int64)[points.codes]

    def unseen(self, points: TimePoints) -> list[str]:
        """Return the groups of time points that were not there at fit."""
        return sorted(set(self._matched(points)).difference(self.names))

    def _matched(self, points: TimePoints) -> list[str]:
        """Return the groups as those at fit are written, see `isthmus.data.match_groups`."""
        written = np.array([group_text(one) for one in points.groups], dtype=object)
        found: list[str] = match_groups(written, self.names).tolist()
        return found

    def p_values(self, scores: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the p-value of each anomaly score in its group, NaN where there is none."""
        found = np.full(len(scores), np.nan)
        for place in np.unique(places):
            own = (places == place) & ~np.isnan(scores)
            found[own] = Calibration(self.scores[place]).p_values(scores[own])
        return found

    def state(self) -> dict[str, Any]:
        """Return arrays and plain values from which `from_dict` rebuilds it."""
        return {
            "names": list(self.names),
            "positions": self.positions,
            "scores": {str(at): one for at, one in enumerate(self.scores)},
            "thresholds": self.thresholds,
            "facts": self.facts,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return self.state() | {
            "positions": self.positions.tolist(),
            "scores": {str(at): one.tolist() for at, one in enumerate(self.scores)},
            "thresholds": self.thresholds.tolist(),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuild from what `state` or `to_dict` returned."""
        scores = plain["scores"]
        return cls(
            tuple(plain["names"]),
            np.array(plain["positions"], dtype=np.int64),
            tuple(np.array(scores[str(at)], dtype=np.float64) for at in range(len(scores))),
            np.array(plain["thresholds"], dtype=np.float64),
            plain["facts"],
        )


class PointCalibration:
    """What a detector knows of normal time points: their scores on held-out blocks of time.

    Parameters
    ----------
    blocks : BlockCalibration
        Scores of the time points, block after block.
    stride : int
        Time points from one window to the next, when scoring as when calibrating.
    step : float or None
        Seconds between time points, where times are known.
    causal : bool
        Whether the score of a time point uses no later ones.
    time_column : str or None
    group_columns : sequence of str
        Columns of the table at fit.
    """

    def __init__(
        self,
        blocks: BlockCalibration,
        stride: int = 1,
        step: float | None = None,
        causal: bool = False,
        time_column: str | None = None,
        group_columns: Sequence[str] = (),
    ) -> None:
        self.blocks, self.stride, self.step, self.causal = blocks, stride, step, causal
        self.time_column, self.group_columns = time_column, tuple(group_columns)
        self.by_group: PointGroups | None = None

    @classmethod
    def learn(
        cls,
        timeline: Timeline,
        held_out: Sequence[tuple[np.ndarray, np.ndarray]],
        *,
        causal: bool = False,
    ) -> Self:
        """Spread the scores of held-out windows over their time points.

        Parameters
        ----------
        timeline : Timeline
        held_out : sequence of (rows, scores)
            Of each block the numbers of its windows, in order of time, and their scores.
        causal : bool, default=False
        """
        scores, segments, groups, n = [], [], [], 0
        for rows, window_scores in held_out:
            places, segment = timeline.stretches(rows)
            spread = np.round(places.spread(window_scores, causal=causal), DECIMALS)
            for (begin, end), number in zip(places.segments, segment, strict=True):
                scores.append(spread[begin:end])
                segments.append((n, n + end - begin))
                groups.append(timeline.groups[number])
                n += end - begin
        blocks = block_calibration(
            np.concatenate(scores),
            np.array(segments),
            window=timeline.window,
            groups=groups if timeline.group_columns else (),
        )
        columns = timeline.time_column, timeline.group_columns
        return cls(blocks, timeline.stride, timeline.step, causal, *columns)

    @property
    def window(self) -> int:
        """Time points of a window."""
        return self.blocks.window

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Return the p-value of each anomaly score of a time point, NaN where there is none."""
        return self.blocks.p_values(scores)

    def alarm_threshold(self, rate: str, merge_gap: int, min_length: int) -> AlarmThreshold:
        """Return the threshold for a rate of alarms, see `BlockCalibration.alarm_threshold`."""
        return self.blocks.alarm_threshold(
            AlarmRate.parse(rate), merge_gap=merge_gap, min_length=min_length, step=self.step
        )

    def state(self) -> dict[str, Any]:
        """Return arrays and plain values from which `from_state` rebuilds the calibration."""
        return {
            "scores": self.blocks.scores,
            "blocks": self.blocks.blocks,
            "groups": [str(group) for group in self.blocks.groups],
            "window": self.window,
            "mean_cluster": self.blocks.mean_cluster,
            "stride": self.stride,
            "step": self.step,
            "causal": self.causal,
            "time_column": self.time_column,
            "group_columns": list(self.group_columns),
            **({"by_group": self.by_group.state()} if self.by_group else {}),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild from what `state` returned."""
        blocks = BlockCalibration(
            state["scores"],
            state["blocks"],
            tuple(state["groups"]),
            state["window"],
            state["mean_cluster"],
        )
        names = ("stride", "step", "causal", "time_column", "group_columns")
        found = cls(blocks, **{name: state[name] for name in names})
        if "by_group" in state:
            found.by_group = PointGroups.from_dict(state["by_group"])
        return found


@dataclass(frozen=True, eq=False)
class PointDecisions:
    """What a detector says of each time point.

    Attributes
    ----------
    points : TimePoints
        m of them.
    scores : float64 array of shape (m,)
        Anomaly scores, higher is more abnormal; NaN where no window covers the time point.
    p_values : float64 array of shape (m,)
        NaN where there is no score.
    abnormal : bool array of shape (m,)
    shares : float64 array of shape (m, c)
        Share of each channel in the residual of the windows; they sum to 1 where there is one.
    """

    points: TimePoints
    scores: np.ndarray
    p_values: np.ndarray
    abnormal: np.ndarray
    shares: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Whether a time point has a score, bool of shape (m,)."""
        return ~np.isnan(self.scores)

    def verdicts(self) -> np.ndarray:
        """Return "normal", "abnormal", or empty text where there is no score, (m,)."""
        names = np.where(self.abnormal, VERDICT_NAMES[ABNORMAL], VERDICT_NAMES[NORMAL])
        return np.where(self.known, names, "").astype(object)

    def as_written(self) -> PointDecisions:
        """Return the same decisions with times as the table has them, see `TimePoints`."""
        return replace(self, points=self.points.as_written())

    def alarm_positions(
        self, *, merge_gap: int = 0, min_length: int = 1, causal: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return first and end of each alarm, (k, 2), and where it could be known, (k,).

        Parameters
        ----------
        merge_gap, min_length, causal
            See `alarms`.
        """
        segments = self.points.segments
        found = find_alarms(self.abnormal, segments, merge_gap=merge_gap, min_length=min_length)
        known = known_positions(
            found,
            self.abnormal,
            segments,
            min_length=min_length,
            window=self.points.window,
            causal=causal,
        )
        return found, known

    def alarms(
        self, *, merge_gap: int = 0, min_length: int = 1, causal: bool = False
    ) -> pd.DataFrame:
        """Return a row for each alarm, see `isthmus.detection.alarm_table`.

        Parameters
        ----------
        merge_gap, min_length : int
            See `isthmus.detection.find_alarms`.
        causal : bool, default=False
            Whether the scores use no later time points, which says when an alarm was known.
        """
        found, known = self.alarm_positions(
            merge_gap=merge_gap, min_length=min_length, causal=causal
        )
        identifiers = self.points.identifiers()
        time = self.points.time_column or "row"
        return alarm_table(
            found,
            self.scores,
            self.p_values,
            known,
            identifiers[[*self.points.group_columns, time]],
            shares=self.shares,
            channels=self.points.channels,
        )

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row for each row of the source table, in its order.

        Returns
        -------
        DataFrame
            Group, time and key columns by their own names (`row` where there is no time);
            `anomaly_score`, `p_value`, `verdict`, `n_filled` (how many readings were missing and
            are filled), and `share_CHANNEL` for each channel.
        """
        order = self.points.in_table_order()
        shares = pd.DataFrame(
            self.shares[order], columns=[f"share_{name}" for name in self.points.channels]
        )
        decisions = pd.DataFrame(
            {
                "anomaly_score": self.scores[order],
                "p_value": self.p_values[order],
                "verdict": self.verdicts()[order],
                "n_filled": self.points.n_filled[order],
            }
        )
        decided = pd.concat([decisions, shares], axis=1)
        return with_identifiers(self.points.table_identifiers(), decided)


def time_points_as_at_fit(
    new: Any,
    rule: PointRule,
    channels: Sequence[str] | None,
    *,
    time: str | None = None,
    group: str | Sequence[str] | None = None,
    keys: Sequence[str] = (),
    label: str | None = None,
    resample: str | float | None = None,
    time_zone: str | None = None,
) -> TimePoints:
    """Return the time points of new data, for windows, channels and step as at fit.

    Parameters
    ----------
    new : Dataset, TimePoints, DataFrame of m rows, or array of shape (m, c) or (m,)
    rule : PointRule
    channels : sequence of str or None
        Names of the channels at fit.
    time, group : str or sequence of str, optional
        Columns of a DataFrame, by default those of the fit where it has them.
    keys : sequence of str
        Columns that are carried along.
    label : str, optional
        Column of the labels of a DataFrame.
    resample, time_zone : str, optional
        Of a DataFrame, see `isthmus.load`.

    Returns
    -------
    TimePoints

    Raises
    ------
    DataError
        See `TimePoints.of`; also when the step in time is another than at fit.
    """
    if isinstance(new, pd.DataFrame):
        there = set(map(str, new.columns))
        if time is None and rule.time_column in there:
            time = rule.time_column
        if group is None and rule.group_columns and there.issuperset(rule.group_columns):
            group = rule.group_columns
    return TimePoints.of(
        new,
        window=rule.window,
        channels=channels,
        time=time,
        group=group,
        keys=keys,
        label=label,
        resample=resample,
        time_zone=time_zone,
        step=rule.step,
    )


def decide_points(
    points: TimePoints,
    score_windows: ScoreWindows,
    calibration: PointRule,
    threshold: float,
) -> PointDecisions:
    """Score every time point and decide on it.

    Parameters
    ----------
    points : TimePoints
    score_windows : callable
        Of a detector or of an export.
    calibration : PointRule
        With the stride and whether scores are causal.
    threshold : float
        A time point with a higher score is abnormal.

    Returns
    -------
    PointDecisions
    """
    places = WindowPlaces.cut(points.segments, points.window, calibration.stride)
    window_scores = np.empty(len(places))
    energies = np.empty((len(places), points.values.shape[1]), dtype=np.float32)
    at = 0
    for chunk in places.chunks(points.values, BATCH):
        part = slice(at, at + len(chunk))
        window_scores[part], energies[part] = score_windows(chunk)
        at += len(chunk)
    scores = np.full(len(points), np.nan)
    spread = places.spread(window_scores, causal=calibration.causal)
    scores[: len(spread)] = np.round(spread, DECIMALS)
    shares = np.full((len(points), energies.shape[1]), np.nan)
    shares[: len(spread)] = places.spread(energies, causal=calibration.causal)
    totals = shares.sum(axis=1, keepdims=True)
    shares = np.divide(shares, totals, out=shares, where=totals > 0)
    thresholds = thresholds_of(points, calibration, threshold)
    abnormal = np.nan_to_num(scores, nan=-np.inf) > thresholds
    by_group = calibration.by_group
    if by_group is None:
        p_values = calibration.p_values(scores)
    else:
        p_values = by_group.p_values(scores, by_group.places(points))
        if unseen := by_group.unseen(points):
            warnings.warn(
                f"{len(unseen):,} groups were not there at fit "
                f"({', '.join(map(repr, unseen[:5]))}): their time points are decided by the "
                "threshold of all groups together, which promises no rate for them",
                CalibrationWarning,
                stacklevel=3,
            )
    return PointDecisions(points, scores, p_values, abnormal, shares)


def thresholds_of(points: TimePoints, rule: PointRule, threshold: float) -> Any:
    """Return the threshold of time points: one, or by group that of each, (m,)."""
    by_group = rule.by_group
    return threshold if by_group is None else by_group.thresholds[by_group.places(points)]
