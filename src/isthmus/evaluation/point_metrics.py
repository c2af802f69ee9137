"""Measures of anomaly scores and alarms of time points against labels of time points.

Nothing is adjusted: a point counts as it was scored. With "point adjustment", where one abnormal
point in an event makes the whole event found, random scores look excellent (Kim, Choi, Choi, Lee
and Yoon, AAAI 2022); what it means to say, how many events are found and how late, stands as its
own figure in `events` and `delay`.

Labels of events begin and end at uncertain times, and a score of windows rises before an event and
falls after it. `volume_under_surface` therefore gives points near an event a label between 0 and 1
and takes the mean of the areas under the curves over all widths of that buffer up to a window
(Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin, Proceedings of the VLDB Endowment 15,
2022). It equals the figures of their package `vus`, and costs sorting and one pass a width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.data import ABNORMAL, NORMAL
from isthmus.detection import UNKNOWN, all_positions, find_alarms, read_detector_labels
from isthmus.errors import DataError
from isthmus.evaluation.metrics import ranking

#: Thresholds of each curve under the surface, as in the package `vus`.
N_THRESHOLDS = 250
#: Widest buffer when neither a detector nor the caller states one.
DEFAULT_BUFFER = 100
SECONDS_A_DAY = 86_400.0


def evaluate_points(
    scores: np.ndarray | pd.DataFrame,
    y: Any,
    *,
    normal: str | float | None = None,
    abnormal: np.ndarray | None = None,
    segments: np.ndarray | None = None,
    alarms: np.ndarray | None = None,
    known: np.ndarray | None = None,
    step: float | None = None,
    window: int = DEFAULT_BUFFER,
) -> dict[str, Any]:
    """Return measures of the scores and alarms of time points against their labels.

    Points are not adjusted: no point counts as found because another one of its event is.

    Parameters
    ----------
    scores : array of shape (m,), or DataFrame of m rows
        Anomaly scores, higher is more abnormal, NaN where there is none. Of a table of points
        `anomaly_score` is taken, and unless `abnormal` is given `verdict`.
    y : array of shape (m,)
        1 normal, -1 abnormal, 0 or missing unlabelled; or any labels with `normal`.
    normal : str, int, float or bool, optional
        The label that means normal, where labels are others: any other is abnormal.
    abnormal : boolean array of shape (m,), optional
        Points above the threshold. Without them, and without alarms, there are only measures of
        the ranking.
    segments : int array of shape (s, 2), optional
        First and end (exclusive) position of each stretch without a gap in time; by default all
        points are one.
    alarms : int array of shape (k, 2), optional
        First and end (exclusive) position of each alarm; by default runs of `abnormal`.
    known : int array of shape (k,), optional
        Position at which each alarm could be known; by default its first one.
    step : float, optional
        Seconds between points, for delays in seconds and false alarms per day.
    window : int
        Width up to which the surface has buffers, and length of the windows of `apart`: that of
        the detector, or the length of a period. Figures of different windows are not comparable.

    Returns
    -------
    dict
        Plain values, None where they are not defined. `n`, points with a score and a label, and
        among them `n_normal` and `n_abnormal`; `n_unscored` and `n_unlabelled`, points left out.
        `auroc`, `auprc` (average precision), `vus_roc`, `vus_pr` and `vus_window`. With `abnormal`
        or alarms: `events`, with `n` (runs of abnormal labels in one segment), `n_found`, those
        that an alarm overlaps, and `recall`; `delay` from the begin of a found event until its
        first alarm was known, at least 0, as `mean`, `median` and `highest` in points, and
        with `step` `mean_seconds` and `median_seconds`; `false_alarms`, that overlap no event, as
        `count`, `per_1000_points` of normal ones, and `per_day` of them with `step`. With
        `abnormal`: `false_points` and `found_points`, as `count` and `share` of the `n` normal and
        abnormal points; `apart`, the same of the normal points that share no window with an
        abnormal one: beside an event scores are high because the windows that cover both are
        abnormal.

    Raises
    ------
    DataError
        When lengths differ, or labels are other than 1, -1, 0 or only 0 and 1 and `normal` is not
        stated.

    Examples
    --------
    >>> y = np.ones(1000, dtype=int)
    >>> y[600:620] = -1
    >>> scores = np.random.default_rng(0).normal(size=1000) + 4 * (y < 0)
    >>> found = evaluate_points(scores, y, abnormal=scores > 3.2, window=20, step=60.0)
    >>> round(found["auroc"], 2), round(found["vus_pr"], 2), found["events"]
    (1.0, 0.94, {'n': 1, 'n_found': 1, 'recall': 1.0})
    >>> found["delay"]["mean_seconds"], found["false_alarms"]["count"]
    (120.0, 0)
    """
    if isinstance(scores, pd.DataFrame):
        if abnormal is None and "verdict" in scores:
            abnormal = (scores["verdict"] == "abnormal").to_numpy()
        scores = scores["anomaly_score"].to_numpy()
    scores = np.asarray(scores, dtype=np.float64)
    labels = read_detector_labels(y, len(scores), normal, may_lack_normal=True)
    return measure_points(
        scores,
        labels,
        abnormal=abnormal,
        segments=segments,
        alarms=alarms,
        known=known,
        step=step,
        window=window,
    )


def measure_points(
    scores: np.ndarray,
    labels: np.ndarray,
    *,
    abnormal: np.ndarray | None = None,
    segments: np.ndarray | None = None,
    alarms: np.ndarray | None = None,
    known: np.ndarray | None = None,
    step: float | None = None,
    window: int = DEFAULT_BUFFER,
) -> dict[str, Any]:
    """Return what `evaluate_points` does, from labels that were read: 1, -1 and 0, int8 (m,)."""
    m = len(scores)
    if abnormal is not None and len(abnormal) != m:
        raise DataError(f"got {len(abnormal)} verdicts for {m} scores, expected one for each")
    segments = np.array([[0, m]]) if segments is None else np.asarray(segments).reshape(-1, 2)
    scored = ~np.isnan(scores)
    used = scored & (labels != UNKNOWN)
    of_normal, of_abnormal = used & (labels == NORMAL), used & (labels == ABNORMAL)
    facts: dict[str, Any] = {
        "n": int(used.sum()),
        "n_normal": int(of_normal.sum()),
        "n_abnormal": int(of_abnormal.sum()),
        "n_unscored": int((~scored).sum()),
        "n_unlabelled": int((labels == UNKNOWN).sum()),
        **ranking(labels[used], scores[used]),
    }
    position = np.concatenate([[0], np.cumsum(used)])  # of the points used, among themselves
    vus_roc, vus_pr = volume_under_surface(
        labels[used] == ABNORMAL, scores[used], window, position[segments]
    )
    facts |= {"vus_roc": vus_roc, "vus_pr": vus_pr, "vus_window": int(window)}
    if abnormal is None and alarms is None:
        return facts
    if alarms is None:
        alarms = find_alarms(np.asarray(abnormal, dtype=bool), segments)
    alarms = np.asarray(alarms, dtype=np.int64).reshape(-1, 2)
    events = find_alarms(labels == ABNORMAL, segments)
    facts |= _event_facts(events, alarms, alarms[:, 0] if known is None else known, step)
    facts["false_alarms"] = _false_alarms(events, alarms, facts["n_normal"], step)
    if abnormal is not None:
        facts["false_points"] = _counted(abnormal[of_normal])
        facts["found_points"] = _counted(abnormal[of_abnormal])
        facts["apart"] = _counted(abnormal[of_normal & ~_near_events(labels, window)])
    return facts


def _near_events(labels: np.ndarray, window: int) -> np.ndarray:
    """Return whether each point shares a window with an abnormal one, boolean of shape (m,)."""
    depth = np.zeros(len(labels) + 1, dtype=np.int64)
    at = np.flatnonzero(labels == ABNORMAL)
    np.add.at(depth, np.maximum(at - window + 1, 0), 1)
    np.add.at(depth, np.minimum(at + window, len(labels)), -1)
    near: np.ndarray = np.cumsum(depth)[:-1] > 0
    return near


def volume_under_surface(
    abnormal: np.ndarray,
    scores: np.ndarray,
    window: int,
    segments: np.ndarray | None = None,
    *,
    n_thresholds: int = N_THRESHOLDS,
) -> tuple[float, float] | tuple[None, None]:
    """Return VUS-ROC and VUS-PR: mean areas under curves over buffers of 0 to `window` points.

    Parameters
    ----------
    abnormal : boolean array of shape (m,)
        Whether each point is labelled abnormal.
    scores : array of shape (m,)
        Higher is more abnormal; none missing.
    window : int, at least 0
        Widest buffer. With a width w, a point at a distance d <= w / 2 before or after one event
        has the label sqrt(1 - d / w), near two events 1.
    segments : int array of shape (s, 2), optional
        First and end (exclusive) position of each stretch, in order; buffers do not reach from one
        to another. By default all points are one. Points outside all of them count as normal.
    n_thresholds : int
        Quantiles of the scores that are thresholds.

    Returns
    -------
    VUS-ROC, VUS-PR : floats, or None
        None when all labels are equal.

    Raises
    ------
    DataError
        When lengths differ, a score is missing, or `window` is below 0.

    Notes
    -----
    Of m points and e events each width costs `n_thresholds` times window / 2 products and e
    comparisons, and sorting once m log m: a million points take seconds.

    References
    ----------
    Paparrizos et al., "Volume Under the Surface", PVLDB 15 (11), 2022. Equal to `vus` 0.0.6, whose
    `RangeAUC_volume_opt` takes a pass over all points for each width and threshold.

    Examples
    --------
    >>> abnormal = np.arange(200) // 20 == 5
    >>> roc, pr = volume_under_surface(abnormal, np.roll(abnormal, 5).astype(float), window=20)
    >>> round(roc, 3), round(pr, 3)
    (0.915, 0.784)
    """
    abnormal, scores = np.asarray(abnormal, dtype=bool), np.asarray(scores, dtype=np.float64)
    if abnormal.shape != scores.shape or scores.ndim != 1:
        raise DataError(f"got labels of shape {abnormal.shape} for scores of {scores.shape}")
    if np.isnan(scores).any():
        raise DataError(f"got {int(np.isnan(scores).sum())} missing scores; leave such points out")
    if window < 0:
        raise DataError(f"got window={window}, expected a number of time points of at least 0")
    m = len(scores)
    segments = np.array([[0, m]]) if segments is None else np.asarray(segments).reshape(-1, 2)
    events = find_alarms(abnormal, segments)
    n_abnormal = int((events[:, 1] - events[:, 0]).sum())
    if not 0 < n_abnormal < m:
        return None, None
    thresholds = np.sort(scores)[::-1][np.linspace(0, m - 1, n_thresholds).astype(int)]
    # The first threshold at which a point is called abnormal; it stays so at all later ones.
    rank = np.searchsorted(-thresholds, -scores, side="left")
    called = np.cumsum(np.bincount(rank, minlength=n_thresholds))
    inside = np.zeros(m, dtype=bool)
    inside[all_positions(events)] = True
    found_inside = np.cumsum(np.bincount(rank[inside], minlength=n_thresholds))
    near = _Buffers(events, segments, rank, inside, window // 2, n_thresholds)
    areas = np.zeros((window + 1, 2))
    for width in range(window + 1):
        weight, existence = near.at(width)
        true_positives = found_inside + weight
        n_positive = (2 * n_abnormal + weight) / 2
        recall = np.minimum(true_positives / n_positive, 1) * existence
        false_positives = (called - true_positives) / (m - n_positive)
        x = np.concatenate([[0.0], false_positives, [1.0]])
        height = np.concatenate([[0.0], recall, [1.0]])
        areas[width, 0] = (np.diff(x) * (height[1:] + height[:-1])).sum() / 2
        areas[width, 1] = (np.diff(height[:-1]) * true_positives / called).sum()
    roc, pr = areas.mean(axis=0)
    return float(roc), float(pr)


class _Buffers:
    """Points around events as the buffer grows: their summed labels, and events that are met."""

    def __init__(
        self,
        events: np.ndarray,
        segments: np.ndarray,
        rank: np.ndarray,
        inside: np.ndarray,
        widest: int,
        n_thresholds: int,
    ) -> None:
        self.events, self.rank, self.n = events, rank, n_thresholds
        self.segments = segments[np.searchsorted(segments[:, 0], events[:, 0], side="right") - 1]
        self.half = -1
        first, second, at = self._distances(widest, inside)
        self.first, self.second, self.points = first, second, at
        self.alone = np.zeros((widest + 1, n_thresholds))  # near one event, by distance
        np.add.at(self.alone, (first, rank[at]), 1)
        self.alone = np.cumsum(self.alone, axis=1)
        self.between = np.zeros(n_thresholds)  # near two events: the label is 1
        self.lowest = np.minimum.reduceat(
            np.append(rank, n_thresholds), np.column_stack([events[:, 0], events[:, 1]]).ravel()
        )[::2]

    def at(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return by threshold the summed labels of the buffers and the share of events met."""
        while self.half < width // 2:
            self.half += 1
            self._grow(self.half)
        distance = np.arange(1, self.half + 1)
        weights = np.sqrt(1 - distance / width) if self.half else np.zeros(0)
        return weights @ self.alone[1 : self.half + 1] + self.between, self.existence

    def _grow(self, half: int) -> None:
        now = self.second == half
        if half and now.any():
            moved = np.zeros_like(self.alone)
            np.add.at(moved, (self.first[now], self.rank[self.points[now]]), 1)
            moved = np.cumsum(moved, axis=1)
            self.alone -= moved
            self.between = self.between + moved.sum(axis=0)
        before, after = self.events[:, 0] - half, self.events[:, 1] - 1 + half
        for reached, valid in (
            (before, before >= self.segments[:, 0]),
            (after, after < self.segments[:, 1]),
        ):
            self.lowest[valid] = np.minimum(self.lowest[valid], self.rank[reached[valid]])
        apart = after[:-1] < before[1:]
        apart |= self.segments[1:, 0] != self.segments[:-1, 0]
        starts = np.flatnonzero(np.concatenate([[True], apart]))
        met = np.minimum.reduceat(self.lowest, starts)
        self.existence = np.cumsum(np.bincount(met, minlength=self.n)[: self.n]) / len(starts)

    def _distances(
        self, widest: int, inside: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return distances to the nearest and second nearest event of the points near one."""
        starts = np.maximum(self.events[:, 0] - widest, self.segments[:, 0])
        ends = np.minimum(self.events[:, 1] + widest, self.segments[:, 1])
        reach = np.column_stack([starts, ends])
        at = all_positions(reach)
        event = np.repeat(np.arange(len(reach)), ends - starts)
        distance = np.maximum(self.events[event, 0] - at, at - self.events[event, 1] + 1)
        outside = ~inside[at]
        at, distance = at[outside], distance[outside]
        order = np.lexsort((distance, at))
        at, distance = at[order], distance[order]
        nearest = np.concatenate([[True], np.diff(at) > 0])[: len(at)]
        second = np.full(len(at), widest + 1)
        again = np.flatnonzero(~nearest)
        again = again[nearest[again - 1]]  # the second of each point, not the third
        second[again - 1] = distance[again]
        return distance[nearest], second[nearest], at[nearest]


def _event_facts(
    events: np.ndarray, alarms: np.ndarray, known: np.ndarray, step: float | None
) -> dict[str, Any]:
    """Return how many events an alarm overlaps, and after how long it was known."""
    first = np.searchsorted(alarms[:, 1], events[:, 0], side="right")  # ends after the begin
    found = first < len(alarms)
    found[found] = alarms[first[found], 0] < events[found, 1]
    late = np.maximum(np.asarray(known)[first[found]] - events[found, 0], 0)
    n, n_found = len(events), int(found.sum())
    delay: dict[str, Any] = {
        name: float(measure(late)) if n_found else None
        for name, measure in (("mean", np.mean), ("median", np.median), ("highest", np.max))
    }
    if step is not None:
        for name in ("mean", "median"):
            delay[f"{name}_seconds"] = None if delay[name] is None else delay[name] * step
    return {
        "events": {"n": n, "n_found": n_found, "recall": n_found / n if n else None},
        "delay": delay,
    }


def _false_alarms(
    events: np.ndarray, alarms: np.ndarray, n_normal: int, step: float | None
) -> dict[str, Any]:
    """Return the number of alarms that overlap no event, and their rates on normal points."""
    event = np.searchsorted(events[:, 1], alarms[:, 0], side="right")  # ends after the begin
    true = event < len(events)
    true[true] = events[event[true], 0] < alarms[true, 1]
    count = int((~true).sum())
    found: dict[str, Any] = {
        "count": count,
        "per_1000_points": 1000 * count / n_normal if n_normal else None,
    }
    if step is not None:
        found["per_day"] = count * SECONDS_A_DAY / (n_normal * step) if n_normal else None
    return found


def _counted(flagged: np.ndarray) -> dict[str, Any]:
    n, count = len(flagged), int(np.count_nonzero(flagged))
    return {"count": count, "n": n, "share": count / n if n else None}
