"""Metrics of classifiers and detectors, and the test instances that they are taken of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from isthmus._core import shown, with_progress
from isthmus.data import ABNORMAL, NORMAL, Chunk, Instances, as_instances, take_rows
from isthmus.detection import read_detector_labels
from isthmus.errors import DataError
from isthmus.monitoring import wilson_interval

#: Bins of confidence.
N_BINS = 10


class ClassTally:
    """Confusion matrix and summed log-loss of decisions that come in batches.

    Examples
    --------
    >>> tally = ClassTally()
    >>> tally.update(np.array([0, 0, 1]), np.array([0, 0, 1]))
    >>> tally.update(np.array([1, 2]), np.array([0, 0]))
    >>> found = tally.result()
    >>> found["n"], found["accuracy"], found["classes"], found["confusion"]
    (5, 0.6, [0, 1, 2], [[2, 0, 0], [1, 1, 0], [1, 0, 0]])
    """

    def __init__(self) -> None:
        self._labels: np.ndarray | None = None
        self._confusion = np.zeros((0, 0), dtype=np.int64)
        self._loss: float | None = 0.0

    @property
    def n(self) -> int:
        """Number of decisions."""
        return int(self._confusion.sum())

    def update(
        self,
        y: np.ndarray,
        predicted: np.ndarray,
        probabilities: np.ndarray | None = None,
        classes: np.ndarray | None = None,
    ) -> None:
        """Add decisions; parameters as for `class_metrics`.

        Parameters
        ----------
        y, predicted : array of shape (n,)
        probabilities : array of shape (n, n_classes), optional
        classes : array of shape (n_classes,), optional
        """
        y, predicted = np.asarray(y), np.asarray(predicted)
        earlier = [] if self._labels is None else [self._labels]
        labels = np.unique(np.concatenate([*earlier, np.unique(y), np.unique(predicted)]))
        confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
        if self._labels is not None:
            at = np.searchsorted(labels, self._labels)
            confusion[np.ix_(at, at)] = self._confusion
        np.add.at(confusion, (np.searchsorted(labels, y), np.searchsorted(labels, predicted)), 1)
        self._labels, self._confusion = labels, confusion
        if probabilities is None:
            self._loss = None
        elif self._loss is not None:
            self._loss += float(surprisal(y, probabilities, classes).sum())

    def result(self) -> dict[str, Any]:
        """Return the metrics of all decisions, see `class_metrics`.

        Returns
        -------
        dict

        Raises
        ------
        DataError
            When there were no decisions.
        """
        labels, confusion = self._labels, self._confusion
        if labels is None:
            raise DataError("got no labelled instances to test on; label some of them")
        n, right = int(confusion.sum()), int(np.trace(confusion))
        true, predicted = np.nonzero(confusion)
        precision, recall, f1, support = precision_recall_fscore_support(
            labels[true],
            labels[predicted],
            labels=labels,
            sample_weight=confusion[true, predicted],
            zero_division=0.0,
        )
        return {
            "n": n,
            "accuracy": right / n,
            "interval": wilson_interval(right, n),
            "log_loss": None if self._loss is None else self._loss / n,
            "classes": [plain_label(label) for label in labels],
            "per_class": [
                {
                    "label": plain_label(label),
                    "precision": float(precision[i]),
                    "recall": float(recall[i]),
                    "f1": float(f1[i]),
                    "support": int(support[i]),
                }
                for i, label in enumerate(labels)
            ],
            "confusion": confusion.tolist(),
        }


def class_metrics(
    y: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the metrics of predicted classes against true ones.

    Parameters
    ----------
    y, predicted : arrays of shape (n,)
    probabilities : array of shape (n, len(classes)), optional
    classes : array, needed with probabilities
        The classes of the columns of `probabilities`.

    Returns
    -------
    dict
        `n`; `accuracy` with its 95 % Wilson score `interval` (Wilson, 1927); `log_loss`,
        the mean of -ln of the probability given to the true class, None without
        probabilities; `classes`, all that occur, sorted; `per_class` with precision,
        recall, f1 and support; `confusion`, a row for each true class.

    Examples
    --------
    >>> found = class_metrics(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]))
    >>> found["accuracy"], found["confusion"], [round(x, 2) for x in found["interval"]]
    (0.75, [[2, 0], [1, 1]], [0.3, 0.95])
    """
    tally = ClassTally()
    tally.update(y, predicted, probabilities, classes)
    return tally.result()


def unknown_classes(found: dict[str, Any], classes: np.ndarray) -> dict[str, Any]:
    """Return the true labels that are no class of a head.

    Parameters
    ----------
    found : dict
        See `class_metrics`.
    classes : array
        Those of the head.

    Returns
    -------
    dict
        `unknown_classes`: each with its count, the most frequent first. Empty where all labels
        are classes of the head.

    Examples
    --------
    >>> unknown_classes(class_metrics(np.array([0, 2, 2]), np.array([0, 0, 1])), np.array([0, 1]))
    {'unknown_classes': [[2, 2]]}
    """
    known = classes.tolist()
    unknown = [
        [one["label"], one["support"]]
        for one in sorted(found["per_class"], key=lambda one: -one["support"])
        if one["support"] and one["label"] not in known
    ]
    return {"unknown_classes": unknown} if unknown else {}


def describe_unknown_classes(unknown: list[list[Any]], head: str) -> str:
    """Return a sentence on labels that are no class of a head.

    Parameters
    ----------
    unknown : list of [label, int]
        Each label with the number of its instances.
    head : str
        In words.

    Returns
    -------
    str

    Examples
    --------
    >>> describe_unknown_classes([["eel", 3]], "the head")
    "3 instances have a label that is no class of the head, and count as wrong: 'eel' (3)"
    """
    listed = ", ".join(f"{shown(label)} ({n:,})" for label, n in unknown[:5])
    more = f" and {len(unknown) - 5:,} more" if len(unknown) > 5 else ""
    return (
        f"{sum(n for _, n in unknown):,} instances have a label that is no class of {head}, and "
        f"count as wrong: {listed}{more}"
    )


def surprisal(y: np.ndarray, probabilities: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
    """Return -ln(probability of the true class) of each decision, shape (n,).

    Probabilities are clipped to the machine epsilon from below. A label that is no class of the
    head counts as epsilon, where scikit-learn's log-loss raises.
    """
    if classes is None:
        raise ValueError("got probabilities without classes; pass what their columns stand for")
    columns = np.searchsorted(classes, y)
    known = np.isin(y, classes)
    true = np.zeros(len(y))
    true[known] = probabilities[np.flatnonzero(known), columns[known]]
    surprisals: np.ndarray = -np.log(np.maximum(true, np.finfo(np.float64).eps))
    return surprisals


def reliability(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Compare the confidence of a head with its accuracy.

    Parameters
    ----------
    confidence : array of shape (n,)
        The highest probability of each instance.
    right : boolean array of shape (n,)

    Returns
    -------
    dict
        `bins`, ten of equal width from 0 to 1, those with an instance: `n`, mean `confidence`,
        `accuracy`; `error`, the mean difference of the two weighted by n (expected calibration
        error, Naeini et al., 2015).

    Examples
    --------
    >>> found = reliability(np.array([0.95, 0.95, 0.55, 0.55]), np.array([True, True, True, False]))
    >>> [(one["n"], one["accuracy"]) for one in found["bins"]], round(found["error"], 3)
    ([(2, 0.5), (2, 1.0)], 0.05)
    """
    places = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    bins = [
        {
            "n": int((places == at).sum()),
            "confidence": float(confidence[places == at].mean()),
            "accuracy": float(right[places == at].mean()),
        }
        for at in np.unique(places)
    ]
    gaps = [one["n"] * abs(one["confidence"] - one["accuracy"]) for one in bins]
    return {"bins": bins, "error": float(sum(gaps) / len(right))}


def plain_label(label: Any) -> Any:
    """Return a label as a plain Python value, which JSON can hold.

    Parameters
    ----------
    label : object

    Returns
    -------
    str, int, float or bool
    """
    return label.item() if isinstance(label, np.generic) else label


def select_rows(X: Any, rows: np.ndarray) -> Any:
    """Return the instances at the given positions, without a copy when these are all.

    Parameters
    ----------
    X : array, DataFrame or Instances
    rows : int array

    Returns
    -------
    the same type as X
    """
    return X if len(rows) == len(as_instances(X)) else take_rows(X, rows)


def show_progress(instances: Instances, chunks: Iterable[Chunk], verbose: bool) -> Iterator[Chunk]:
    """Yield the chunks of test instances, with a progress bar for those of a stream."""
    if not verbose or instances.in_memory:
        return iter(chunks)
    return with_progress(chunks, len, "testing", len(instances))


def unused_facts(instances: Instances, n_unlabelled: int) -> dict[str, Any]:
    """Return how many test instances were not used.

    Returns
    -------
    dict
        `n_unlabelled`; and `skipped` of a stream: files and chunks, as `Stream.skipped` has them.
    """
    return {"n_unlabelled": n_unlabelled} | instances.reading_facts()


def ranking(y: np.ndarray, anomaly_scores: np.ndarray) -> dict[str, float | None]:
    """Return `auroc` and `auprc` against labels 1 and -1; None when all labels are equal.

    Parameters
    ----------
    y : int array of shape (n,)
    anomaly_scores : array of shape (n,)
        Higher is more abnormal.

    Returns
    -------
    dict of str to float or None
    """
    abnormal = y == ABNORMAL
    if abnormal.all() or not abnormal.any():
        return {"auroc": None, "auprc": None}
    return {
        "auroc": float(roc_auc_score(abnormal, anomaly_scores)),
        "auprc": float(average_precision_score(abnormal, anomaly_scores)),
    }


def detection_metrics(
    y: np.ndarray,
    anomaly_scores: np.ndarray,
    predicted: np.ndarray,
    *,
    normal: str | float | None = None,
) -> dict[str, Any]:
    """Return the metrics of anomaly scores and verdicts against labels.

    Parameters
    ----------
    y : array of shape (n,)
        1 normal, -1 abnormal; or any labels, none missing, with `normal`.
    anomaly_scores : array of shape (n,)
        Higher is more abnormal.
    predicted : array of shape (n,)
        1 normal, -1 abnormal, as `predict` gives.
    normal : str, int, float or bool, optional
        The label that means normal, where labels are others: any other is abnormal.

    Returns
    -------
    dict
        `power`, of the abnormal, and `false_alarms`, of the normal: how many were called abnormal
        as `count` and `share` of `n`, with the 95 % Wilson score `interval` (None when there are
        none); `n`, `n_normal`, `n_abnormal`; `auroc` and `auprc` (average precision of the
        abnormal), None when all labels are equal; `classes` [1, -1] and `confusion`, a row for
        each true class.

    Raises
    ------
    DataError
        When labels or decisions are other than 1 and -1 and `normal` is not stated, or no label
        is `normal`.

    Examples
    --------
    >>> y = np.array([1, 1, 1, 1, -1, -1])
    >>> scores = np.array([0.1, 0.2, 0.3, 0.7, 0.6, 0.9])
    >>> found = detection_metrics(y, scores, np.where(scores > 0.5, -1, 1))
    >>> found["auroc"], found["false_alarms"]["share"], found["power"]["share"]
    (0.875, 0.25, 1.0)
    >>> found["confusion"]
    [[3, 1], [0, 2]]
    """
    if normal is not None:
        y = read_detector_labels(y, len(predicted), normal)
    for name, values in (("y", y), ("predicted", predicted)):
        others = sorted(set(np.unique(values).tolist()) - {NORMAL, ABNORMAL})
        if others:
            raise DataError(
                f"got {shown(others[0])} in {name}, expected 1 (normal) or -1 (abnormal)"
            )
    of_normal, flagged = y == NORMAL, predicted == ABNORMAL
    parts = (of_normal, ~of_normal)
    return {
        "power": _share(flagged[~of_normal]),
        "false_alarms": _share(flagged[of_normal]),
        "n": len(y),
        "n_normal": int(of_normal.sum()),
        "n_abnormal": int((~of_normal).sum()),
        **ranking(y, anomaly_scores),
        "classes": [NORMAL, ABNORMAL],
        "confusion": [[int((~flagged[p]).sum()), int(flagged[p].sum())] for p in parts],
    }


def alert_precision(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return how many of the instances that are called abnormal are so.

    Parameters
    ----------
    metrics : dict
        See `detection_metrics`.

    Returns
    -------
    dict
        `count`, `n`, `share` and `interval`, as `power` of `detection_metrics` has them.

    Examples
    --------
    >>> y, predicted = np.array([1, 1, -1, -1]), np.array([1, -1, -1, -1])
    >>> found = alert_precision(detection_metrics(y, np.arange(4.0), predicted))
    >>> found["count"], found["n"]
    (2, 3)
    """
    right, wrong = metrics["power"]["count"], metrics["false_alarms"]["count"]
    return _share(np.repeat([True, False], [right, wrong]))


def alert_load(
    metrics: dict[str, Any], per_day: float, prevalence: float | None = None
) -> dict[str, Any]:
    """Return how many alerts a day a detector raises, and how many of them are right.

    Parameters
    ----------
    metrics : dict
        See `detection_metrics`.
    per_day : float > 0
        Instances a day.
    prevalence : float in (0, 1), optional
        Share of abnormal ones among them; by default that of the test instances.

    Returns
    -------
    dict
        `per_day`, `prevalence`, `alerts` a day, `false_alerts` among them, `missed` a day, and
        `precision`, None where there are no alerts: expected from the shares of `metrics`.

    Raises
    ------
    DataError
        When a number is out of range, or the test instances are not of both kinds.

    Examples
    --------
    >>> y, predicted = np.repeat([1, -1], [90, 10]), np.repeat([1, -1, 1, -1], [81, 9, 2, 8])
    >>> found = detection_metrics(y, np.arange(100.0), predicted)
    >>> load = alert_load(found, per_day=1000, prevalence=0.01)
    >>> round(load["alerts"], 6), round(load["false_alerts"], 6), round(load["precision"], 3)
    (107.0, 99.0, 0.075)
    """
    if not per_day > 0 or not np.isfinite(per_day):
        raise DataError(f"got {shown(per_day)} instances a day, expected a number above 0")
    if prevalence is not None and not 0 < prevalence < 1:
        raise DataError(
            f"got prevalence={shown(prevalence)}, expected the share of abnormal instances among "
            "those to come, between 0 and 1, such as 0.01 (on the command line --prevalence)"
        )
    power, false = metrics["power"]["share"], metrics["false_alarms"]["share"]
    if power is None or false is None:
        raise DataError(
            f"got {metrics['n_normal']} normal and {metrics['n_abnormal']} abnormal test "
            "instances, expected both to say how many alerts a day are right; leave --per-day out"
        )
    share = metrics["n_abnormal"] / metrics["n"] if prevalence is None else prevalence
    right, wrong = per_day * share * power, per_day * (1 - share) * false
    return {
        "per_day": float(per_day),
        "prevalence": float(share),
        "alerts": float(right + wrong),
        "false_alerts": float(wrong),
        "missed": float(per_day * share - right),
        "precision": float(right / (right + wrong)) if right + wrong else None,
    }


def _share(flagged: np.ndarray) -> dict[str, Any]:
    n, count = len(flagged), int(flagged.sum())
    if not n:
        return {"count": 0, "n": 0, "share": None, "interval": None}
    return {"count": count, "n": n, "share": count / n, "interval": wilson_interval(count, n)}
