"""Decisions of a detector on the time points of series: scores, p-values, verdicts, alarms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from isthmus.data import ABNORMAL, NORMAL, VERDICT_NAMES
from isthmus.data.windows import TimePoints
from isthmus.detection.alarms import alarm_table, find_alarms, known_positions
from isthmus.detection.calibration import DECIMALS
from isthmus.detection.timeline import WindowPlaces

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

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Return the p-value of each anomaly score of a time point, NaN where there is none."""


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

    def alarms(
        self, *, merge_gap: int = 0, min_length: int = 1, causal: bool = False
    ) -> pd.DataFrame:
        """Return a row for each alarm, see `isthmus.detection.alarms.alarm_table`.

        Parameters
        ----------
        merge_gap, min_length : int
            See `isthmus.detection.alarms.find_alarms`.
        causal : bool, default=False
            Whether the scores use no later time points, which says when an alarm was known.
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
            `anomaly_score`, `p_value`, `verdict`, and `share_CHANNEL` for each channel.
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
            }
        )
        return pd.concat([self.points.table_identifiers(), decisions, shares], axis=1)


def time_points_as_at_fit(
    new: Any,
    rule: PointRule,
    channels: Sequence[str] | None,
    *,
    time: str | None = None,
    group: str | Sequence[str] | None = None,
    keys: Sequence[str] = (),
    resample: str | float | None = None,
    time_zone: str | None = None,
) -> TimePoints:
    """Return the time points of new data, for windows and channels as at fit.

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
    resample, time_zone : str, optional
        Of a DataFrame, see `isthmus.load`.

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
    abnormal = np.nan_to_num(scores, nan=-np.inf) > threshold
    return PointDecisions(points, scores, calibration.p_values(scores), abnormal, shares)
