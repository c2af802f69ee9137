"""Evaluation of a detector on the labelled time points of series, beside baselines."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from isthmus._core import Evaluation, isolated_from_host
from isthmus.bundle import count_rows_used_in_fit
from isthmus.data import ABNORMAL, NORMAL, InMemory, as_instances, group_text
from isthmus.data.windows import TimePoints
from isthmus.detection import (
    UNKNOWN,
    AnomalyDetector,
    DetectorLabelReader,
    PointDecisions,
    WindowPlaces,
    lay_out,
    normal_by_column_name,
    read_labels_of,
)
from isthmus.errors import DataError
from isthmus.evaluation.baselines import (
    Scorer,
    fit_code_distance,
    fit_principal_residual,
    fit_raw_distance,
)
from isthmus.evaluation.metrics import ranking, select_rows
from isthmus.evaluation.point_metrics import measure_points
from isthmus.training import draw_seed

#: Training windows that baselines of time points are fitted on, at most.
MAX_TRAINING_WINDOWS = 10_000
#: Windows that they score together.
BATCH = 4096


@isolated_from_host()
def evaluate_time_points(
    detector: AnomalyDetector,
    test: Any,
    train: Any = None,
    *,
    normal: str | float | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Evaluation:
    """Evaluate a detector on the labelled time points of series.

    Parameters
    ----------
    detector : fitted AnomalyDetector
        Of time points.
    test : Dataset
        A labelled long table, from `load(..., kind="series", label=...)`.
    train : Dataset, optional
        What the detector was fitted on, for the baselines. They score windows as long and as many
        as those of the detector, and scores of time points follow in the same way:
        `raw`, the mean distance to the five nearest training windows; `pca`, the squared residual
        of the principal components that hold 95 % of the variance of training windows (Sub-PCA
        of the benchmark TSB-AD); `untrained`, the mean distance to the five nearest codes of
        the network with random weights. Windows with a point labelled abnormal are left out, and
        10,000 at most are drawn at random.
    normal : str, int, float or bool, optional
        The label that means normal, where labels are others than 1 and -1; by default the one that
        the detector was fitted with, and 0 of labels 0 and 1 in a column such as "anomaly".
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    Evaluation
        A dict of plain values: `head`, the score; `by`, "point"; `asked`, the share of time points
        or the number of alarms that the threshold was set for; `code`, as `evaluate_points` gives
        it; `baselines`, each with `auroc`, `auprc`, `vus_roc`, `vus_pr`, `n` and `n_train`;
        of a detector by group `by_group`, of each `n_normal`, `n_abnormal`, the share `realised`
        of the first and `found` of the second that are abnormal, and `auroc`;
        `n_known`, test windows that the detector was fitted or calibrated on, which make it look
        better; `n_unlabelled`; where a label that means normal was stated or stored, `normal` and
        `labels`, the number of time points by label.

    Raises
    ------
    DataError
        When the detector or the data has no time points, or labels cannot be used.

    Examples
    --------
    >>> import pandas as pd
    >>> from isthmus import Autoencoder, load
    >>> t = np.arange(1200)
    >>> table = pd.DataFrame({"t": t, "load": np.sin(t / 3), "anomaly": 0})
    >>> cut = {"kind": "series", "time": "t", "window": 16, "stride": 1}
    >>> encoder = Autoencoder(architecture="dense", max_epochs=2, random_state=0)
    >>> detector = AnomalyDetector(encoder, false_alarm_rate=0.2, random_state=0)
    >>> detector = detector.fit(load(table[["t", "load"]], **cut))
    >>> table.loc[600:620, ["load", "anomaly"]] = 3, 1
    >>> found = evaluate_time_points(detector, load(table, label="anomaly", **cut), normal=0)
    >>> found["code"]["events"], found["code"]["auroc"] > 0.9
    ({'n': 1, 'n_found': 1, 'recall': 1.0}, True)
    """
    check_is_fitted(detector)
    points: TimePoints | None = as_instances(test).points
    if points is None or points.y is None:
        lacks = "time points" if points is None else "labels"
        raise DataError(
            f"{getattr(test, 'name', 'the test data')} has no {lacks}; load a long table with "
            "load(..., kind='series', label=...) (on the command line --label COLUMN)"
        )
    stated = normal is not None
    meant = detector.normal_ if normal is None else normal
    meant = normal_by_column_name(points) if meant is None else meant
    reader = DetectorLabelReader(meant, test.name, stated=stated)
    labels = reader.read(points.y)
    reader.check(may_lack_normal=True)
    if not (labels != UNKNOWN).any():
        raise without_labels("time point")
    points = (decided := detector.decide_points(test)).points
    scorers, n_train = _window_baselines(detector, train, meant, draw_seed(random_state))
    facts, calibration = detector.point_facts_, detector.point_calibration_
    assert facts is not None  # after decisions on time points
    assert calibration is not None
    hysteresis = {name: facts[name] for name in ("merge_gap", "min_length", "causal")}
    alarms, known = decided.alarm_positions(**hysteresis)
    code = measure_points(
        decided.scores,
        labels,
        abnormal=decided.abnormal,
        alarms=alarms,
        known=known,
        segments=points.segments,
        step=points.step,
        window=points.window,
    )
    places = WindowPlaces.cut(points.segments, points.window, calibration.stride)
    scores: dict[str, list[np.ndarray]] = {name: [] for name in scorers}
    n_known = 0
    for windows in places.chunks(points.values, BATCH):
        instances = InMemory(windows, kind="series")
        n_known += count_rows_used_in_fit(detector, instances, np.arange(len(windows)))
        for name, scorer in scorers.items():
            scores[name].append(scorer(windows))
    baselines = {}
    for name, parts in scores.items():
        spread = places.spread(np.concatenate(parts), causal=calibration.causal)
        spread = np.append(spread, np.full(len(points) - len(spread), np.nan))
        measured = measure_points(spread, labels, segments=points.segments, window=points.window)
        figures = ("auroc", "auprc", "vus_roc", "vus_pr", "n")
        baselines[name] = {figure: measured[figure] for figure in figures} | {"n_train": n_train}
    return Evaluation(
        head=detector.method_,
        by="point",
        asked=facts.get("false_alarms", facts.get("false_alarm_rate")),
        **reader.facts(),
        code=code,
        baselines=baselines,
        n_known=n_known,
        n_windows=len(places),
        n_unlabelled=code["n_unlabelled"],
        **({"by_group": _by_group(decided, labels)} if detector.by_group else {}),
    )


def _by_group(decided: PointDecisions, labels: np.ndarray) -> list[dict[str, Any]]:
    """Return of each group its normal and abnormal points with a score, and the share of both."""
    found = []
    for code, name in enumerate(decided.points.groups):
        own = decided.known & (decided.points.codes == code)
        normal, abnormal = own & (labels == NORMAL), own & (labels == ABNORMAL)
        both = normal.any() and abnormal.any()
        found.append(
            {
                "name": group_text(name),
                "n_normal": int(normal.sum()),
                "n_abnormal": int(abnormal.sum()),
                "realised": float(decided.abnormal[normal].mean()) if normal.any() else None,
                "found": float(decided.abnormal[abnormal].mean()) if abnormal.any() else None,
                "auroc": ranking(labels[normal | abnormal], decided.scores[normal | abnormal])[
                    "auroc"
                ]
                if both
                else None,
            }
        )
    return found


def _window_baselines(
    detector: AnomalyDetector, train: Any, normal: Any, seed: int
) -> tuple[dict[str, Scorer], int]:
    """Fit the baselines; return them by name, and the number of windows they were fitted on."""
    if train is None:
        return {}, 0
    encoder, instances = detector.encoder_, as_instances(train)
    points = instances.points
    timeline = None if points is None else lay_out(points, len(instances))
    labelled = instances.labels is not None or (points is not None and points.y is not None)
    normal = normal if labelled else None
    rows = np.flatnonzero(read_labels_of(instances, None, normal, timeline) != ABNORMAL)
    if len(rows) > MAX_TRAINING_WINDOWS:
        rng = np.random.default_rng([seed, 7])
        rows = np.sort(rng.choice(rows, MAX_TRAINING_WINDOWS, replace=False))
    windows = select_rows(instances.held, rows)
    fresh = encoder.untrained(seed)
    return {
        "raw": fit_raw_distance(encoder, windows, np.ones(len(rows))),
        "pca": fit_principal_residual(encoder, windows),
        **({} if fresh is None else {"untrained": fit_code_distance(fresh, windows)}),
    }, len(rows)


def without_labels(what: str) -> DataError:
    """Return the error for test data of which nothing is labelled."""
    return DataError(
        f"no test {what} is labelled 1 (normal) or -1 (abnormal); label some, or where 0 means "
        "normal pass normal=0 (on the command line --normal 0)"
    )
