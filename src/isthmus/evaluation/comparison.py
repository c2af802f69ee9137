"""Comparison of two fitted models on the same instances."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import binomtest, wilcoxon

from isthmus._core import isolated_from_host
from isthmus.data import ABNORMAL, NORMAL
from isthmus.detection import read_detector_labels
from isthmus.errors import DataError

#: Changed decisions that are listed at most.
MAX_LISTED = 12


@isolated_from_host()
def compare_classifications(
    then: np.ndarray, now: np.ndarray, y: np.ndarray | None = None
) -> dict[str, Any]:
    """Compare two classifiers' decisions on the same instances.

    Parameters
    ----------
    then, now : arrays of shape (n,)
        Classes predicted by the earlier and by the later classifier.
    y : array of shape (n,), optional
        The true classes. Neither classifier should have been fitted on these instances.

    Returns
    -------
    dict
        `n`; `changed`, `count` and `share` of the decisions that differ; `rows`, positions of the
        first twelve of them. With `y` also `accuracy` (`then`, `now`), and `test`, see `mcnemar`;
        without, both are None.

    Raises
    ------
    DataError
        When the lengths differ.

    Examples
    --------
    >>> then, now, truth = np.array(list("aab")), np.array(list("abb")), np.array(list("abb"))
    >>> found = compare_classifications(then, now, truth)
    >>> found["changed"], found["rows"], found["accuracy"]["now"], found["test"]["p_value"]
    ({'count': 1, 'share': 0.3333333333333333}, [1], 1.0, 1.0)
    """
    then, now = _same_length(then, now)
    found = {"n": len(then), **_changed(then, now), "accuracy": None, "test": None}
    if y is None:
        return found
    truth = _same_length(now, y)[1]
    right_then, right_now = then == truth, now == truth
    found["accuracy"] = {"then": _share(right_then), "now": _share(right_now)}
    found["test"] = mcnemar(right_then, right_now)
    return found


@isolated_from_host()
def compare_detections(
    then: np.ndarray,
    now: np.ndarray,
    y: np.ndarray | None = None,
    *,
    normal: str | float | None = None,
) -> dict[str, Any]:
    """Compare two detectors' decisions on the same instances.

    Parameters
    ----------
    then, now : arrays of shape (n,)
        1 normal, -1 abnormal, as `predict` gives.
    y : array of shape (n,), optional
        1 normal, -1 abnormal, 0 or missing unlabelled; or any labels with `normal`.
    normal : str, int, float or bool, optional
        The label that means normal, where labels are others: any other is abnormal, and a missing
        one unlabelled.

    Returns
    -------
    dict
        `n`; `changed` and `rows`, see `compare_classifications`; `flagged`: numbers called abnormal
        `then`, `now`, and by `both`. `false_alarms`, of the normal, and `found`, of the abnormal:
        `n`, shares flagged `then` and `now`, and `test`, see `mcnemar`; None where none is
        labelled so.

    Raises
    ------
    DataError
        When the lengths differ, labels are other than 1, -1, 0 or only 0 and 1 and `normal` is
        not stated, or none is `normal`.

    Examples
    --------
    >>> then, now = np.array([1, -1, -1, 1]), np.array([1, 1, -1, 1])
    >>> compare_detections(then, now)["flagged"]
    {'then': 2, 'now': 1, 'both': 1}
    >>> compare_detections(then, now, np.array([1, 1, -1, 0]))["false_alarms"]["then"]
    0.5
    >>> compare_detections(then, now, ["ok", "ok", "worn", None], normal="ok")["found"]["now"]
    1.0
    """
    then, now = _same_length(then, now)
    flagged_then, flagged_now = then == ABNORMAL, now == ABNORMAL
    labels = read_detector_labels(y, len(then), normal)
    return {
        "n": len(then),
        **_changed(then, now),
        "flagged": {
            "then": int(flagged_then.sum()),
            "now": int(flagged_now.sum()),
            "both": int((flagged_then & flagged_now).sum()),
        },
        "false_alarms": _flagged_of(labels == NORMAL, flagged_then, flagged_now, better=False),
        "found": _flagged_of(labels == ABNORMAL, flagged_then, flagged_now, better=True),
    }


def compare_errors(then: np.ndarray, now: np.ndarray) -> dict[str, Any]:
    """Compare two encoders' reconstruction errors on the same instances.

    Parameters
    ----------
    then, now : arrays of shape (n,)
        In the same units, as those of encoders with the same loss and preprocessing.

    Returns
    -------
    dict
        `n`; `mean_error` and `median_error` (`then`, `now`); `better`, the share with a smaller
        error now; `p_value` of the Wilcoxon signed-rank test, two-sided (Wilcoxon, 1945).

    Raises
    ------
    DataError
        When the lengths differ.

    Examples
    --------
    >>> found = compare_errors(np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 1.0]))
    >>> found["better"], found["mean_error"]["then"], found["p_value"]
    (1.0, 2.0, 0.25)
    """
    then, now = _same_length(then, now)
    differs = bool((then != now).any())
    return {
        "n": len(then),
        "mean_error": {"then": float(then.mean()), "now": float(now.mean())},
        "median_error": {"then": float(np.median(then)), "now": float(np.median(now))},
        "better": _share(now < then),
        "p_value": float(wilcoxon(now, then).pvalue) if differs else 1.0,
    }


def mcnemar(then: np.ndarray, now: np.ndarray) -> dict[str, Any]:
    """Test whether one of two classifiers is right more often on the same instances.

    Instances on which both are right or both wrong are left out; of the others, equally good
    classifiers have half each. The test is exact, a two-sided sign test (McNemar, 1947).

    Parameters
    ----------
    then, now : boolean arrays of shape (n,)
        Whether the earlier and the later classifier is right.

    Returns
    -------
    dict
        `only_then`, `only_now`: how often one alone was right; `p_value`.

    Examples
    --------
    >>> mcnemar(np.array([True, True, False]), np.array([True, False, False]))
    {'only_then': 1, 'only_now': 0, 'p_value': 1.0}
    """
    only_then, only_now = int((then & ~now).sum()), int((now & ~then).sum())
    differ = only_then + only_now
    p_value = float(binomtest(only_now, differ).pvalue) if differ else 1.0
    return {"only_then": only_then, "only_now": only_now, "p_value": p_value}


def _same_length(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape or one.ndim != 1 or not len(one):
        raise DataError(
            f"got arrays of shape {one.shape} and {other.shape}; expected one value for each of "
            "the same instances, (n,), at least one"
        )
    if one.dtype.kind in "iuf" and other.dtype.kind in "iuf":
        return one, other
    # Classes may be text in one and numbers in the other, which NumPy would not compare.
    return one.astype(object), other.astype(object)


def _changed(then: np.ndarray, now: np.ndarray) -> dict[str, Any]:
    differing = np.flatnonzero(then != now)
    return {
        "changed": {"count": len(differing), "share": len(differing) / len(then)},
        "rows": differing[:MAX_LISTED].tolist(),
    }


def _share(true: np.ndarray) -> float:
    return float(np.mean(true.astype(bool)))


def _flagged_of(
    rows: np.ndarray, then: np.ndarray, now: np.ndarray, *, better: bool
) -> dict[str, Any] | None:
    """Compare the shares flagged of some rows; flagging them is right when `better`, else wrong."""
    if not rows.any():
        return None
    return {
        "n": int(rows.sum()),
        "then": _share(then[rows]),
        "now": _share(now[rows]),
        "test": mcnemar(then[rows] == better, now[rows] == better),
    }
