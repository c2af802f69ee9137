"""Evaluation of a detector on labelled instances or time points, beside baselines."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, islice
from typing import Any, Literal

import numpy as np
from sklearn.utils.validation import check_is_fitted

from isthmus._core import Evaluation, isolated_from_host, shown
from isthmus.autoencoder import Autoencoder
from isthmus.bundle import Head, count_rows_used_in_fit
from isthmus.data import (
    ABNORMAL,
    Dataset,
    InMemory,
    Instances,
    as_instances,
    rows_of,
    verdicts,
)
from isthmus.data.streaming import MAX_SAMPLED, Stream
from isthmus.data.windows import TimePoints
from isthmus.detection import (
    UNKNOWN,
    AnomalyDetector,
    DetectorLabelReader,
    WindowPlaces,
    lay_out,
    normal_by_column_name,
    read_detector_labels,
    read_labels_of,
)
from isthmus.errors import DataError
from isthmus.evaluation.baselines import (
    Scorer,
    fit_code_distance,
    fit_principal_residual,
    fit_raw_distance,
)
from isthmus.evaluation.classification import evaluate
from isthmus.evaluation.metrics import (
    detection_metrics,
    ranking,
    select_rows,
    show_progress,
    unused_facts,
)
from isthmus.evaluation.point_metrics import measure_points
from isthmus.training import draw_seed

#: Instances of a stream that the baseline is tested on: each is compared with all training rows.
MAX_BASELINE_TEST_ROWS = 20_000
#: Training windows that baselines of time points are fitted on, at most.
MAX_TRAINING_WINDOWS = 10_000
#: Windows that they score together.
BATCH = 4096


@isolated_from_host()
def evaluate_detector(
    detector: AnomalyDetector,
    X: Any,
    y: Any = None,
    *,
    normal: str | float | None = None,
    X_train: Any = None,
    y_train: Any = None,
    random_state: int | np.random.RandomState | None = None,
    verbose: bool = False,
    by: Literal["auto", "point", "window"] = "auto",
) -> Evaluation:
    """Evaluate a detector on labelled instances.

    Parameters
    ----------
    detector : fitted AnomalyDetector
    X : array or DataFrame of n test instances, Dataset or Stream
        Of a data set with time points these are evaluated, see `by`. All labelled instances of a
        stream are used, a chunk at a time. Score and label of each take nine bytes; sorting them
        for AUROC takes 85 more.
    y : array of shape (n,); None with a stream
        1 normal, -1 abnormal; instances labelled 0, or not at all, are left out.
    normal : str, int, float or bool, optional
        The label that means normal, where labels are others: any other is abnormal, and a missing
        one unlabelled. By default the one that the detector was fitted with.
    X_train, y_train : like X and y, optional
        What the detector was fitted on, for the baseline: the mean distance to the five nearest
        rows not labelled abnormal, between preprocessed instances. Without labels all rows count
        as normal. Of a stream 100,000 at most are drawn at random, and of a test stream the
        baseline is tested on 20,000 at most.
    random_state : int, RandomState instance or None, default=None
        Seed of the rows drawn at random.
    verbose : bool, default=False
        Show progress on a stream on standard error.
    by : {"auto", "point", "window"}, default="auto"
        `"auto"` evaluates time points where the detector decides on them and X is a data set that
        has them: see `evaluate_time_points`, with X_train as `train`.

    Returns
    -------
    Evaluation
        Of instances: a dict of plain values, a table in a notebook: `head`, the score; `asked`, the
        false-alarm rate that the threshold was set for; where a label that means normal was
        stated, `normal`, that label, and `labels`, the number of instances by label, as text;
        `code` as `detection_metrics` gives it;
        `baselines`, with `auroc` and `auprc` of `raw`, `n` and `n_train`, the instances that it was
        tested on and fitted on, when there are training rows; `n_known`, how many of the instances
        the detector was fitted or calibrated on, which makes it look better; `n_unlabelled`, how
        many were left out; of a stream `skipped`, files and chunks that could not be read.

    Raises
    ------
    DataError
        When labels are other than 1, -1, 0 or only 0 and 1 and `normal` is not stated, when none
        is `normal`, or no instance is labelled.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> normal, odd = rng.normal(size=(300, 6)), rng.normal(size=(20, 6)) + 8
    >>> detector = AnomalyDetector(
    ...     Autoencoder(max_epochs=5), false_alarm_rate=0.05, random_state=0
    ... ).fit(normal)
    >>> X, y = np.vstack([rng.normal(size=(100, 6)), odd]), np.repeat([1, -1], [100, 20])
    >>> found = evaluate_detector(detector, X, y)
    >>> found["code"]["auroc"], found["code"]["power"]["share"], found["asked"]
    (1.0, 1.0, 0.05)
    """
    check_is_fitted(detector)
    instances = as_instances(X, y)
    if y is None and _by_point(detector, instances, by):
        return evaluate_time_points(detector, X, X_train, normal=normal, random_state=random_state)
    chunks = instances.labelled_chunks(y)
    source = "y" if instances.in_memory else instances.name
    seed = draw_seed(random_state)
    stated = normal is not None
    normal = normal if stated else detector.normal_
    reader = DetectorLabelReader(normal, source, stated=stated)
    first = list(islice(chunks, 1))
    for chunk in first:  # refuse labels of another kind before the baseline is fitted
        known = DetectorLabelReader(normal, source, stated=stated)
        known.read(chunk.y)
        if instances.in_memory:
            known.check()
    baseline: tuple[Callable[[Any], np.ndarray], int] | None = None
    if X_train is not None:
        baseline = _baseline(detector.encoder_, X_train, y_train, normal, seed, stated=stated)
    # Data in memory tests the baseline on all rows.
    uses_all = baseline is None or instances.in_memory
    drawn = None if uses_all else instances.draw(MAX_BASELINE_TEST_ROWS, [seed, 6])
    scored: list[tuple[np.ndarray, np.ndarray]] = []
    baseline_scored: list[tuple[np.ndarray, np.ndarray]] = []
    n_unlabelled = n_known = 0
    for chunk in show_progress(instances, chain(first, chunks), verbose):
        labels = reader.read(chunk.y, chunk.first_row)
        rows = np.flatnonzero(labels != UNKNOWN)
        n_unlabelled += len(chunk) - len(rows)
        if not len(rows):
            continue
        n_known += count_rows_used_in_fit(detector, as_instances(chunk.X), rows)
        scored.append((labels[rows], -detector.score_samples(select_rows(chunk.X, rows))))
        if baseline is not None:
            sample = rows if drawn is None else np.intersect1d(rows, rows_of(drawn, chunk))
            if len(sample):
                distances = baseline[0](select_rows(chunk.X, sample))
                baseline_scored.append((labels[sample], distances))
    reader.check()
    if not scored:
        raise _without_labels("instance")
    truth, scores = _concatenate(scored)
    del scored
    predicted = verdicts(scores, -detector.offset_).astype(np.int8)
    baselines: dict[str, Any] = {}
    if baseline is not None and baseline_scored:
        true, distances = _concatenate(baseline_scored)
        baselines["raw"] = ranking(true, distances) | {"n": len(true), "n_train": baseline[1]}
    return Evaluation(
        head=detector.method_,
        asked=detector.false_alarm_rate_,
        **reader.facts(),
        code=detection_metrics(truth, scores, predicted),
        baselines=baselines,
        n_known=n_known,
        **unused_facts(instances, n_unlabelled),
    )


@isolated_from_host()
def evaluate_head(
    head: Head,
    test: Dataset | Stream,
    train: Dataset | Stream | None = None,
    *,
    baselines: str | None = None,
    normal: str | float | None = None,
    random_state: int | np.random.RandomState | None = None,
    verbose: bool = False,
    by: Literal["auto", "point", "window"] = "auto",
) -> Evaluation:
    """Test a classifier or a detector on labelled data, as `load` returns it.

    Parameters
    ----------
    head : fitted CodeClassifier or AnomalyDetector
    test : Dataset or Stream
        Labelled.
    train : Dataset or Stream, optional
        What the head was fitted on, for the baselines.
    baselines : {"fast", "all"} or None, default=None
        See `evaluate`; a detector has one baseline, and either name asks for it.
    normal : str, int, float or bool, optional
        For a detector, see `evaluate_detector`.
    random_state, verbose
        See `evaluate`.
    by : {"auto", "point", "window"}, default="auto"
        Of a detector, see `evaluate_detector`.

    Returns
    -------
    Evaluation
        What `evaluate` or `evaluate_detector` returns.

    Raises
    ------
    DataError
        When baselines are asked for without `train`, or `normal` is given with a classifier.
    """
    if baselines is not None and train is None:
        raise DataError(
            "baselines are fitted on the training instances; pass train (on the command line "
            "--train), or leave baselines out"
        )
    X, y = _instances_and_labels(test)
    if isinstance(head, AnomalyDetector):
        reference = None if baselines is None else train
        if _by_point(head, as_instances(test), by):
            return evaluate_time_points(
                head, test, reference, normal=normal, random_state=random_state
            )
        X_train, y_train = _instances_and_labels(reference)
        return evaluate_detector(
            head,
            X,
            y,
            normal=normal,
            X_train=X_train,
            y_train=y_train,
            random_state=random_state,
            verbose=verbose,
        )
    if normal is not None:
        raise DataError(
            "the head is a classifier, and normal= (on the command line --normal) is for "
            "detectors; leave it out"
        )
    X_train, y_train = _instances_and_labels(train)
    return evaluate(
        head,
        X,
        y,
        X_train=X_train,
        y_train=y_train,
        baselines=baselines,
        random_state=random_state,
        verbose=verbose,
    )


def _instances_and_labels(data: Dataset | Stream | None) -> tuple[Any, Any]:
    """Return instances and labels as `evaluate` takes them: those of a stream stay in it."""
    if isinstance(data, Dataset):
        return data.X, data.y
    return data, None


@isolated_from_host()
def raw_distances(
    encoder: Autoencoder,
    X_train: Any,
    y_train: Any,
    X: Any,
    *,
    normal: str | float | None = None,
) -> np.ndarray:
    """Return the mean distance of raw instances to their five nearest training rows.

    Parameters
    ----------
    encoder : fitted Autoencoder
        Its schema and preprocessing are used; no network is run.
    X_train : array or DataFrame
    y_train : array of shape (n_train,) or None
        1 normal, -1 abnormal, 0 or missing unlabelled; or any labels with `normal`. Abnormal rows
        are left out.
    X : array or DataFrame of n instances
    normal : str, int, float or bool, optional
        The label that means normal, where labels are others: any other is abnormal, and a missing
        one unlabelled.

    Returns
    -------
    array of shape (n,)
        Higher is more abnormal.

    Raises
    ------
    DataError
        When labels are other than 1, -1, 0 or only 0 and 1 and `normal` is not stated, or none is
        `normal`.
    """
    labels = read_detector_labels(y_train, len(X_train), normal, source="y_train")
    return fit_raw_distance(encoder, X_train, labels)(X)


def _baseline(
    encoder: Autoencoder,
    X_train: Any,
    y_train: Any,
    normal: str | float | None,
    seed: int,
    *,
    stated: bool,
) -> tuple[Callable[[Any], np.ndarray], int]:
    """Fit the raw-distance baseline; return it and the number of instances it was fitted on."""
    training = as_instances(X_train, y_train)
    source = "y_train" if training.in_memory else training.name
    X_train, y_train = training.at_most(MAX_SAMPLED, seed, y_train, schema=encoder.schema_)
    n = len(as_instances(X_train))
    labels = read_detector_labels(
        y_train, n, normal, source=source, stated=stated, may_lack_normal=True
    )
    return fit_raw_distance(encoder, X_train, labels), int((labels != ABNORMAL).sum())


def _concatenate(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = zip(*parts, strict=True)
    return np.concatenate(labels), np.concatenate(scores)


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
        raise _without_labels("time point")
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
    )


def _without_labels(what: str) -> DataError:
    return DataError(
        f"no test {what} is labelled 1 (normal) or -1 (abnormal); label some, or where 0 means "
        "normal pass normal=0 (on the command line --normal 0)"
    )


def _by_point(detector: AnomalyDetector, test: Instances, by: str) -> bool:
    """Return whether time points are evaluated, and not windows or other instances."""
    if by not in ("auto", "point", "window"):
        raise DataError(f"got by={shown(by)}, expected 'auto', 'point' or 'window'")
    has_points = detector.point_calibration_ is not None and test.points is not None
    return by == "point" or (by == "auto" and has_points)


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
    return {
        "raw": fit_raw_distance(encoder, windows, np.ones(len(rows))),
        "pca": fit_principal_residual(encoder, windows),
        "untrained": fit_code_distance(encoder.untrained(seed), windows),
    }, len(rows)
