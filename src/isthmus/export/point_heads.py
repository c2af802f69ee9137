"""Time points of series by an export: what its metadata hold of them, and their parity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from isthmus.data import Dataset
from isthmus.data.windows import TimePoints
from isthmus.detection import (
    Calibration,
    PointDecisions,
    PointGroups,
    WindowPlaces,
    decide_points,
    time_points_as_at_fit,
)
from isthmus.errors import ExportError

#: Kind of output: the part of each channel in the anomaly score of a window.
CHANNEL_PARTS = "channel_parts"
#: Time points on which parity is measured, at most.
MAX_PARITY_POINTS = 5000
#: From windows (k, window, c), and names of outputs, to the outputs.
RunWindows = Callable[[np.ndarray, list[str]], Mapping[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class PointHead:
    """A detector's calibration of time points, as an export holds it.

    Attributes
    ----------
    score, parts : str
        Outputs of the graph: the anomaly score of a window, and the part of each channel.
    window, stride : int
        Time points of a window, and from one to the next.
    causal : bool
        Whether the score of a time point uses no later ones.
    threshold : float
        A time point with a higher score is abnormal.
    merge_gap, min_length : int
        Of alarms, in time points.
    step : float or None
        Seconds between time points at fit.
    time_column : str or None
    group_columns : tuple of str
        Columns of the table at fit.
    channels : tuple of str or None
        Names of the channels.
    scores : float64 array of shape (k,)
        Of held-out time points, one of each cluster: those that p-values are ranks among.
    facts : dict
        `point_facts_` of the detector.
    groups : dict or None
        Thresholds and scores by group, as `PointGroups.to_dict` gives them.
    """

    score: str
    parts: str
    window: int
    stride: int
    causal: bool
    threshold: float
    merge_gap: int
    min_length: int
    step: float | None
    time_column: str | None
    group_columns: tuple[str, ...]
    channels: tuple[str, ...] | None
    scores: np.ndarray
    facts: dict[str, Any]
    groups: dict[str, Any] | None = None

    @classmethod
    def of_detector(cls, detector: Any, score: str, parts: str) -> Self:
        """Return what an export holds of a fitted detector with `point_calibration_`.

        Parameters
        ----------
        detector : fitted AnomalyDetector
        score, parts : str
            Outputs of the graph.

        Returns
        -------
        PointHead
        """
        calibration, facts = detector.point_calibration_, detector.point_facts_
        channels = detector.encoder_.schema_.columns
        return cls(
            score,
            parts,
            calibration.window,
            calibration.stride,
            calibration.causal,
            float(detector.point_threshold_),
            int(facts["merge_gap"]),
            int(facts["min_length"]),
            calibration.step,
            calibration.time_column,
            calibration.group_columns,
            None if channels is None else tuple(channels),
            calibration.blocks.calibration.scores,
            dict(facts),
            None if calibration.by_group is None else calibration.by_group.to_dict(),
        )

    @cached_property
    def by_group(self) -> PointGroups | None:
        """Thresholds and calibrations by group; None where all groups have one."""
        return None if self.groups is None else PointGroups.from_dict(self.groups)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Rebuild from what `to_dict` returned.

        Parameters
        ----------
        plain : mapping

        Returns
        -------
        PointHead
        """
        columns, channels = plain["group_columns"], plain["channels"]
        return cls(**dict(plain) | {
            "group_columns": tuple(columns),
            "channels": None if channels is None else tuple(channels),
            "scores": np.array(plain["scores"], dtype=np.float64),
        })  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON.

        Returns
        -------
        dict
        """
        columns, channels = self.group_columns, self.channels
        plain = asdict(self) | {
            "group_columns": list(columns),
            "channels": None if channels is None else list(channels),
            "scores": self.scores.tolist(),
        }
        if self.groups is None:  # as earlier versions of isthmus read it
            del plain["groups"]
        return plain

    def describe(self) -> dict[str, Any]:
        """Return plain values without the calibration scores, of which `n_scores` says the number.

        What a client of the service needs: channels, columns, threshold and `facts`.

        Returns
        -------
        dict
        """
        plain = self.to_dict()
        if self.groups is not None:
            plain["groups"] = self.groups["facts"]
        return plain | {"scores": None, "n_scores": len(self.scores)}

    @cached_property
    def _calibration(self) -> Calibration:
        return Calibration(self.scores)

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Return the p-value of each anomaly score of a time point, NaN where there is none.

        Parameters
        ----------
        scores : array of shape (m,)

        Returns
        -------
        float64 array of shape (m,)
        """
        return np.where(np.isnan(scores), np.nan, self._calibration.p_values(scores))

    def time_points(self, new: Any, **columns: Any) -> TimePoints:
        """Return the time points of new data, see `isthmus.detection.time_points_as_at_fit`.

        Parameters
        ----------
        new, **columns
            As for `Exported.decide_points`.

        Returns
        -------
        TimePoints
        """
        return time_points_as_at_fit(new, self, self.channels, **columns).to_decide()

    def windows(self, points: TimePoints, size: int) -> Iterator[np.ndarray]:
        """Yield the windows of time points, (k, window, c) each with k up to `size`.

        Parameters
        ----------
        points : TimePoints
        size : int

        Yields
        ------
        array of shape (k, window, c)
        """
        places = WindowPlaces.cut(points.segments, self.window, self.stride)
        return places.chunks(points.values, size)

    def decide_scored(
        self, points: TimePoints, scores: np.ndarray, parts: np.ndarray
    ) -> PointDecisions:
        """Decide on time points by the scores, (n,), and parts, (n, c), of all their windows.

        Parameters
        ----------
        points : TimePoints
        scores : array of shape (n,)
        parts : array of shape (n, c)

        Returns
        -------
        PointDecisions
        """
        at = 0

        def score(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            nonlocal at
            first, at = at, at + len(windows)
            return scores[first:at], parts[first:at]

        return decide_points(points, score, self, self.threshold)

    def decide(self, points: TimePoints, run: RunWindows) -> PointDecisions:
        """Score time points with the graph, and decide on them.

        Parameters
        ----------
        points : TimePoints
        run : callable
            Runs the graph on windows (k, window, c) and returns the outputs that are named.

        Returns
        -------
        PointDecisions
        """

        def score(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = run(windows, [self.score, self.parts])
            return found[self.score], found[self.parts]

        return decide_points(points, score, self, self.threshold)


def point_head(heads: Mapping[str, PointHead], name: str | None) -> PointHead:
    """Return the head that decides on time points; a name is needed where there are several.

    Parameters
    ----------
    heads : mapping of str to PointHead
    name : str or None

    Returns
    -------
    PointHead

    Raises
    ------
    ExportError
        When there is none, no such head, or several and no name.
    """
    if not heads:
        raise ExportError(
            "the export decides on windows and not on time points; fit a detector on a long table "
            "(load it with kind='series', on the command line isthmus fit DATA --kind series "
            "--detector) and export its bundle again"
        )
    found = (
        heads.get(name or "") if name is not None or len(heads) > 1 else next(iter(heads.values()))
    )
    if found is None:
        got = "no head" if name is None else f"head={name!r}"
        raise ExportError(f"got {got}, expected one of {', '.join(map(repr, heads))}; name it")
    return found


def parity_points(rows: Any, X: Any, head: PointHead) -> TimePoints:
    """Return time points to measure parity on.

    Parameters
    ----------
    rows : Any
        As passed to `isthmus.export.export_bundle`.
    X : array of shape (n, window, c)
        Windows: where `rows` has no time points, those of these windows one after the other.
    head : PointHead

    Returns
    -------
    TimePoints
        5,000 at most; a stretch that is cut keeps its beginning.
    """
    points = rows.points if isinstance(rows, Dataset) else None
    if points is None:
        n = max(1, MAX_PARITY_POINTS // head.window)
        values = np.asarray(X, dtype=np.float64)[:n]
        return head.time_points(values.reshape(-1, values.shape[2]))
    lengths = np.diff(points.segments, axis=1)[:, 0]
    before = np.cumsum(lengths) - lengths
    kept = points.segments.copy()
    kept[:, 1] = kept[:, 0] + np.clip(MAX_PARITY_POINTS - before, 0, lengths)
    return replace(points, segments=kept[kept[:, 1] > kept[:, 0]])


def measure_points(
    expected: PointDecisions, got: PointDecisions, threshold: Any, tolerance: float
) -> dict[str, Any]:
    """Compare the decisions of a graph on time points with the library's.

    Returns
    -------
    dict
        `n_points` with a score; `deviation` of the anomaly scores, absolute, and `relative` to the
        larger of 1 and the score, at the `row` where that is largest; of the verdicts how many
        `differ`, and how many of these are `in_band`: within the tolerance of the threshold.
    """
    known = np.flatnonzero(expected.known)
    same = np.array_equal(expected.known, got.known)
    scores, actual = expected.scores[known], got.scores[known]
    off = np.abs(scores - actual) if same else np.full(len(known), np.finfo(np.float64).max)
    relative = off / np.maximum(1, np.abs(scores))
    worst = int(relative.argmax()) if len(known) else 0
    differ = expected.abnormal[known] != got.abnormal[known]
    thresholds = np.broadcast_to(threshold, len(expected.scores))[known]
    near = np.abs(scores - thresholds) <= tolerance * np.maximum(1, np.abs(thresholds))
    return {
        "n_points": len(known),
        "deviation": float(off[worst]) if len(known) else 0.0,
        "relative": float(relative[worst]) if len(known) else 0.0,
        "row": int(expected.points.rows[known[worst]]) if len(known) else None,
        "differ": int(differ.sum()),
        "in_band": int((differ & near).sum()),
    }


class ExportedPoints:
    """How an `Exported` decides on time points of series."""

    point_heads: Mapping[str, PointHead]
    feed: Callable[..., dict[str, np.ndarray]]
    run_fed: Callable[..., dict[str, np.ndarray]]

    def decide_points(self, new: Any, *, head: str | None = None, **columns: Any) -> PointDecisions:
        """Score time points of series, and decide which are abnormal.

        Parameters
        ----------
        new : Dataset, DataFrame of m rows, or array of shape (m, c) or (m,)
            As for `AnomalyDetector.decide_points`.
        head : str, optional
            Name of the detector, needed where several decide on time points.
        **columns
            `time`, `group`, `keys`, `resample` and `time_zone`, as for
            `AnomalyDetector.decide_points`.

        Returns
        -------
        PointDecisions

        Raises
        ------
        DataError
            When `new` is none of these, or has other channels.
        ExportError
            When no head of the export, or none of this name, decides on time points.
        """
        chosen = point_head(self.point_heads, head)
        return chosen.decide(chosen.time_points(new, **columns), self.run_windows)

    def run_windows(self, windows: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the outputs that are named for windows of series, (n, window, c).

        Parameters
        ----------
        windows : array of shape (n, window, c)
        names : sequence of str

        Returns
        -------
        dict of str to array of shape (n, ...)
        """
        return self.run_fed(self.feed(windows), names)

    def score_points(self, new: Any, *, head: str | None = None, **columns: Any) -> pd.DataFrame:
        """Return a row for each row of a long table, in its order.

        Parameters and errors are those of `decide_points`; the columns are those of
        `AnomalyDetector.score_points`.

        Parameters
        ----------
        new, head, **columns
            As for `decide_points`.

        Returns
        -------
        DataFrame of m rows
        """
        return self.decide_points(new, head=head, **columns).to_frame()

    def alarms(self, new: Any, *, head: str | None = None, **columns: Any) -> pd.DataFrame:
        """Return a row for each alarm.

        Parameters and errors are those of `decide_points`; the columns are those of
        `AnomalyDetector.alarms`.

        Parameters
        ----------
        new, head, **columns
            As for `decide_points`.

        Returns
        -------
        DataFrame

        Examples
        --------
        >>> import tempfile
        >>> from isthmus import AnomalyDetector, Autoencoder, export_bundle, load, save_bundle
        >>> from isthmus.export import Exported
        >>> wave = np.sin(np.arange(1200) / 3)[:, None]
        >>> table = pd.DataFrame(wave + np.random.default_rng(0).normal(0, 0.1, (1200, 1)))
        >>> data = load(table, kind="series", window=16, stride=1)
        >>> detector = AnomalyDetector(Autoencoder(2, max_epochs=2), "reconstruction", 0.05)
        >>> detector = detector.set_params(calibration="split", random_state=0).fit(data)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_bundle(f"{folder}/press", detector.encoder_, {"normal": detector})
        ...     facts = export_bundle(f"{folder}/press", f"{folder}/onnx", data)
        ...     exported = Exported(f"{folder}/onnx")
        >>> table.iloc[300:310] += 3
        >>> found = exported.alarms(table)
        >>> found["last"].equals(detector.alarms(table)["last"])
        True
        >>> len(exported.score_points(table)), len(exported.decide_points(table).to_frame())
        (1200, 1200)
        >>> exported.run_windows(data.X[:3], exported.names[:1])[exported.names[0]].shape
        (3, 2)
        """
        decided = self.decide_points(new, head=head, **columns)
        chosen = point_head(self.point_heads, head)
        return decided.alarms(
            merge_gap=chosen.merge_gap, min_length=chosen.min_length, causal=chosen.causal
        )
