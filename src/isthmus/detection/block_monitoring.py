"""A monitor of time points, which counts blocks of time in place of rows.

Time points depend on those before them, and a monitor promises its level for what is exchangeable.
Of a stationary series means over blocks are nearly so, where blocks are long beside the time over
which scores depend on each other: `block_length` takes the shortest, from a window on and doubled
each time, whose successive means hardly correlate on the normal series that was held out at fit.
What is tested is then the mean anomaly score of a block. With exchangeable means the level holds
exactly; with the correlation that is left it is measured (`benchmarks/guarantees.py --only
monitor`), and found no higher.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from isthmus.data.windows import TimePoints
from isthmus.detection.calibration import raised_scores
from isthmus.detection.point_decisions import PointCalibration, PointDecisions
from isthmus.errors import DataError
from isthmus.monitoring import MIN_REFERENCE, MonitorReference, Observed, calibration_digest

#: Means of successive blocks correlate by less than this and the standard error of an estimate.
MAX_CORRELATION = 0.1


def block_means(scores: np.ndarray, segments: np.ndarray, length: int) -> tuple[np.ndarray, ...]:
    """Return the mean score of each whole block, and the first position of each.

    Parameters
    ----------
    scores : float array of shape (m,)
        Of time points, NaN where there is none: no block has such a point.
    segments : int array of shape (s, 2)
        First and end position (exclusive) of each stretch without a gap, which no block crosses.
    length : int
        Time points of a block.

    Returns
    -------
    means : float array of shape (k,)
    first : int array of shape (k,)

    Examples
    --------
    >>> means, first = block_means(np.arange(9.0), np.array([[0, 4], [4, 9]]), 2)
    >>> means.tolist(), first.tolist()
    ([0.5, 2.5, 4.5, 6.5], [0, 2, 4, 6])
    """
    first = [np.arange(begin, end - length + 1, length) for begin, end in segments]
    starts = np.concatenate([np.empty(0, np.int64), *first]).astype(np.int64)
    values = scores[starts[:, None] + np.arange(length)].mean(axis=1)
    known = ~np.isnan(values)
    return values[known], starts[known]


def block_length(
    scores: np.ndarray, segments: np.ndarray, window: int, *, one_score: bool = True
) -> int:
    """Return how many time points a block holds, see the top of this file.

    Parameters
    ----------
    scores, segments
        Of normal time points that nothing was fitted on, see `block_means`.
    window : int
        Time points of a window, which blocks are no shorter than.
    one_score : bool, default=True
        Whether the same score made all segments. The mean of each is otherwise left out.

    Returns
    -------
    int
        `window` times a power of two.

    Raises
    ------
    DataError
        When so few blocks fit into the series that the dependence cannot be measured.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> block_length(rng.normal(size=4000), np.array([[0, 4000]]), window=16)
    16
    """
    length = window
    while True:
        means, first = block_means(scores, segments, length)
        if not one_score:
            segment = np.searchsorted(segments[:, 0], first, "right") - 1
            sizes = np.bincount(segment, minlength=len(segments))
            sums = np.bincount(segment, means, minlength=len(segments))
            means = means - (sums / np.maximum(1, sizes))[segment]
        follows = np.flatnonzero(np.diff(first) == length)
        if len(follows) < MIN_REFERENCE:
            raise DataError(
                f"got {len(scores):,} normal time points held out, of which {len(follows)} blocks "
                f"of {length} follow right after another, expected {MIN_REFERENCE}, to measure how "
                "much blocks depend on those before; a monitor of time points needs a longer "
                "normal series: fit on more, or recalibrate on one"
            )
        before, after = means[follows], means[follows + 1]
        most = MAX_CORRELATION + 1 / np.sqrt(len(follows))
        if np.ptp(means) == 0 or np.corrcoef(before, after)[0, 1] < most:
            return length
        length *= 2


def point_reference(
    calibration: PointCalibration, rate: float, threshold: float, seed: int, *, split: bool
) -> MonitorReference:
    """Return what a monitor compares blocks of later time points with.

    Parameters
    ----------
    calibration : PointCalibration
    rate : float
        Of false alarms among time points, that the tail is looked at by.
    threshold : float
        Of time points.
    seed : int
    split : bool
        Whether the score that decides saw none of the points held out. Otherwise later blocks are
        compared with the first ones of the stream.

    Raises
    ------
    DataError
        See `block_length`.
    """
    blocks = calibration.blocks
    length = block_length(blocks.scores, blocks.blocks, calibration.window, one_score=split)
    means, _ = block_means(raised_scores(blocks.scores), blocks.blocks, length)
    return MonitorReference.of_values(
        rate,
        means if split else None,
        None,
        None,
        0,
        (),
        seed,
        point_digest(calibration, threshold),
        block=length,
    )


def point_digest(calibration: PointCalibration, threshold: float) -> str:
    """Return a digest of what decides on time points, see `calibration_digest`."""
    return calibration_digest(np.append(calibration.blocks.scores, threshold), 0.5)


def observed_blocks(decisions: PointDecisions, length: int, calibration: str) -> Observed:
    """Return what a monitor needs of the blocks of later time points, in the order of time.

    A block is abnormal where one of its points is.

    Parameters
    ----------
    decisions : PointDecisions
    length : int
        Time points of a block.
    calibration : str
        See `point_digest`.

    Raises
    ------
    DataError
        When no stretch is as long as a block.
    """
    points = decisions.points
    means, first = block_means(raised_scores(decisions.scores), points.segments, length)
    if not len(means):
        raise DataError(
            f"got {len(points):,} time points, of which no stretch without a gap makes a block of "
            f"{length} with scores; pass longer series at once"
        )
    if points.seconds is not None:  # groups follow each other
        order = np.argsort(points.seconds[first], kind="stable")
        means, first = means[order], first[order]
    inside = first[:, None] + np.arange(length)
    return Observed(
        means,
        np.asarray(decisions.abnormal[inside].any(axis=1)),
        np.empty((len(means), 0)),
        calibration=calibration,
        times=_times(points, first),
        n_left_over=len(points) - inside.size,
    )


def _times(points: TimePoints, first: np.ndarray) -> list[str] | None:
    if points.time is None:
        return None
    found = [points.time[at] for at in first.tolist()]
    return [str(pd.Timestamp(one)) if isinstance(one, np.datetime64) else str(one) for one in found]
