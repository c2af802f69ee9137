"""Calibration of the time points of series, on stretches of time that nothing was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from isthmus.detection.alarm_rates import AlarmRate, AlarmThreshold
from isthmus.detection.block_calibration import BlockCalibration, block_calibration
from isthmus.detection.calibration import DECIMALS
from isthmus.detection.timeline import Timeline


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
        return cls(blocks, **{name: state[name] for name in names})
