"""Evaluation of a detector on labelled instances or time points, of all and by group."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, islice
from typing import Any, Literal

import numpy as np
from sklearn.utils.validation import check_is_fitted

from isthmus._core import Evaluation, isolated_from_host, shown
from isthmus.autoencoder import InstanceEncoder
from isthmus.bundle import Head, count_rows_used_in_fit
from isthmus.data import (
    ABNORMAL,
    NORMAL,
    Dataset,
    Instances,
    as_instances,
    read_groups,
    rows_of,
)
from isthmus.data.streaming import MAX_SAMPLED, Stream
from isthmus.detection import (
    UNKNOWN,
    AnomalyDetector,
    DetectorLabelReader,
    GroupCalibration,
    band,
    read_detector_labels,
)
from isthmus.errors import DataError
from isthmus.evaluation.baselines import (
    fit_raw_distance,
)
from isthmus.evaluation.classification import evaluate
from isthmus.evaluation.metrics import (
    alert_precision,
    detection_metrics,
    ranking,
    select_rows,
    show_progress,
    unused_facts,
)
from isthmus.evaluation.point_evaluation import evaluate_time_points, without_labels
from isthmus.training import draw_seed

#: Instances of a stream that the baseline is tested on: each is compared with all training rows.
MAX_BASELINE_TEST_ROWS = 20_000
#: Probability that the share of one group is in its band.
GROUP_BAND_CONFIDENCE = 0.9


@isolated_from_host()
def evaluate_detector(
    detector: AnomalyDetector,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
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
    groups : array of shape (n,), or name or tuple of names of columns, optional
        The group of each instance, see `AnomalyDetector.predict`; a detector without groups takes
        them too, to measure what its one threshold realises in each.
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
        `code` as `detection_metrics` gives it; `precision`, of those called abnormal how many are
        so, see `alert_precision`;
        `baselines`, with `auroc` and `auprc` of `raw`, `n` and `n_train`, the instances that it was
        tested on and fitted on, when there are training rows; `n_known`, how many of the instances
        the detector was fitted or calibrated on, which makes it look better; `n_unlabelled`, how
        many were left out; with groups `by_group`, see `evaluate_groups`; of a stream `skipped`,
        files and chunks that could not be read.

    Raises
    ------
    DataError
        When labels are other than 1, -1, 0 or only 0 and 1 and `normal` is not stated, when none
        is `normal`, or no instance is labelled.

    Examples
    --------
    >>> from isthmus import Autoencoder
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
    instances, of_rows = _with_groups(detector, X, y, groups)
    if y is None and _by_point(detector, instances, by):
        return evaluate_time_points(detector, X, X_train, normal=normal, random_state=random_state)
    by_group = of_rows is not None or bool(instances.group_columns)
    if not by_group:
        detector.calibration_by_group(None)  # raises when groups are missing
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
    groups_scored: list[np.ndarray] = []
    n_unlabelled = n_known = 0
    for chunk in show_progress(instances, chain(first, chunks), verbose):
        labels = reader.read(chunk.y, chunk.first_row)
        rows = np.flatnonzero(labels != UNKNOWN)
        n_unlabelled += len(chunk) - len(rows)
        if not len(rows):
            continue
        n_known += count_rows_used_in_fit(detector, as_instances(chunk.X), rows)
        scored.append((labels[rows], -detector.score_samples(select_rows(chunk.X, rows))))
        if by_group:
            own = chunk.groups if of_rows is None else of_rows
            assert own is not None  # where there are group columns
            groups_scored.append(own[rows])
        if baseline is not None:
            sample = rows if drawn is None else np.intersect1d(rows, rows_of(drawn, chunk))
            if len(sample):
                distances = baseline[0](select_rows(chunk.X, sample))
                baseline_scored.append((labels[sample], distances))
    reader.check()
    if not scored:
        raise without_labels("instance")
    truth, scores = _concatenate(scored)
    del scored
    found_groups = np.concatenate(groups_scored) if by_group else None
    decided = found_groups if detector.group_calibration_ is not None else None
    predicted = detector.verdicts_of(scores, decided).astype(np.int8)
    ranked = scores if decided is None else scores - detector.thresholds_of(decided)
    baselines: dict[str, Any] = {}
    if baseline is not None and baseline_scored:
        true, distances = _concatenate(baseline_scored)
        baselines["raw"] = ranking(true, distances) | {"n": len(true), "n_train": baseline[1]}
    metrics = detection_metrics(truth, ranked, predicted)
    return Evaluation(
        head=detector.method_,
        asked=detector.false_alarm_rate_,
        **reader.facts(),
        code=metrics,
        precision=alert_precision(metrics),
        baselines=baselines,
        n_known=n_known,
        **unused_facts(instances, n_unlabelled),
        **(
            {}
            if found_groups is None
            else {"by_group": evaluate_groups(detector, truth, scores, found_groups)}
        ),
    )


def _with_groups(
    detector: AnomalyDetector, X: Any, y: Any, groups: Any
) -> tuple[Instances, np.ndarray | None]:
    """Return instances and their groups: of a stream these come with its chunks."""
    instances = as_instances(X, y)
    if groups is None and not instances.in_memory:
        return instances, None
    return read_groups(X, groups, detector.group_columns_)


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
            groups=read_groups(test, None, head.group_columns_)[1] if test.in_memory else None,
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
    encoder: InstanceEncoder,
    X_train: Any,
    y_train: Any,
    X: Any,
    *,
    normal: str | float | None = None,
) -> np.ndarray:
    """Return the mean distance of raw instances to their five nearest training rows.

    Parameters
    ----------
    encoder : fitted Autoencoder or FrozenEncoder
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
    encoder: InstanceEncoder,
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


def _by_point(detector: AnomalyDetector, test: Instances, by: str) -> bool:
    """Return whether time points are evaluated, and not windows or other instances."""
    if by not in ("auto", "point", "window"):
        raise DataError(f"got by={shown(by)}, expected 'auto', 'point' or 'window'")
    has_points = detector.point_calibration_ is not None and test.points is not None
    return by == "point" or (by == "auto" and has_points)


def evaluate_groups(
    detector: AnomalyDetector, labels: np.ndarray, scores: np.ndarray, groups: np.ndarray
) -> dict[str, Any]:
    """Measure the decisions of a detector in each group of labelled instances.

    Parameters
    ----------
    detector : fitted AnomalyDetector
        With or without groups: without, what one threshold for all of them realises.
    labels : array of shape (n,)
        1 normal, -1 abnormal.
    scores : array of shape (n,)
        Anomaly scores.
    groups : object array of shape (n,)
        Text, empty where an instance has no group.

    Returns
    -------
    dict
        `asked`, the false-alarm rate; `realised`, the share of all normal instances that are
        called abnormal, and `band`, between which shares it is with a probability of 90 %, were
        all groups one; `groups`, of each by name `n_normal`, `n_abnormal`, `calibration` (see
        `GroupCalibration`; "all rows" of a detector without groups, and of a group that was not
        there at fit), `n_calibration`, `realised` (None without normal ones), `band`, `found`,
        the share of the abnormal ones called so, and `auroc` (both None without abnormal ones);
        `n_in_band`, how many of the `n_with_band` groups with normal instances are in their band;
        `worst`, the name of the group with the highest realised rate, and `lowest_auroc`, that of
        the one with the lowest AUROC, None where there is none; and the numbers of
        `GroupCalibration.counts_of`.

    Examples
    --------
    >>> from isthmus import Autoencoder
    >>> rng = np.random.default_rng(1)
    >>> machines = np.repeat(np.array(["a", "b"], dtype=object), 300)
    >>> X = rng.normal(size=(600, 4)) * np.where(machines == "a", 1, 3)[:, None]
    >>> encoder = Autoencoder(max_epochs=2, random_state=0)
    >>> detector = AnomalyDetector(encoder, false_alarm_rate=0.05, random_state=0)
    >>> detector = detector.fit(X, groups=machines)
    >>> new = rng.normal(size=(600, 4)) * np.where(machines == "a", 1, 3)[:, None]
    >>> scores = -detector.score_samples(new)
    >>> found = evaluate_groups(detector, np.ones(600), scores, machines)
    >>> [one["calibration"] for one in found["groups"]], found["n_in_band"]
    (['group', 'group'], 2)
    """
    by_group = detector.group_calibration_
    groups = groups if by_group is None else by_group.matched(groups)
    verdicts = detector.verdicts_of(scores, None if by_group is None else groups)
    normal, flagged = labels == NORMAL, verdicts == ABNORMAL
    rate, n_all = detector.false_alarm_rate_, detector.score_calibration_.n
    found = []
    for name in sorted(set(groups.tolist())):
        own = groups == name
        how, n_calibration = _calibration_of(by_group, name, n_all)
        n = int((own & normal).sum())
        both = n > 0 and bool((own & ~normal).any())
        found.append(
            {
                "name": name,
                "n_normal": n,
                "n_abnormal": int(own.sum()) - n,
                "calibration": how,
                "n_calibration": n_calibration,
                "realised": _share(flagged[own & normal]),
                "band": list(band(rate, n_calibration, n, GROUP_BAND_CONFIDENCE)) if n else None,
                "found": _share(flagged[own & ~normal]),
                "auroc": ranking(labels[own], scores[own])["auroc"] if both else None,
            }
        )
    with_band = [one for one in found if one["band"] is not None]
    inside = [one for one in with_band if one["band"][0] <= one["realised"] <= one["band"][1]]
    ranked = [one for one in found if one["auroc"] is not None]
    counts: dict[str, Any] = {} if by_group is None else by_group.counts_of(groups)
    n_normal = int(normal.sum())
    return {
        "asked": rate,
        "realised": _share(flagged[normal]),
        "band": list(band(rate, n_all, n_normal, GROUP_BAND_CONFIDENCE)) if n_normal else None,
        "groups": found,
        "n_with_band": len(with_band),
        "n_in_band": len(inside),
        "worst": max(with_band, key=lambda one: one["realised"])["name"] if with_band else None,
        "lowest_auroc": min(ranked, key=lambda one: one["auroc"])["name"] if ranked else None,
    } | counts


def _calibration_of(by_group: GroupCalibration | None, name: str, n_all: int) -> tuple[str, int]:
    if by_group is None or name not in by_group.names:
        return "all rows", n_all
    at = by_group.names.index(name)
    return by_group.how[at], by_group.calibrations[by_group.positions[at]].n


def _share(flags: np.ndarray) -> float | None:
    return float(flags.mean()) if len(flags) else None
