"""Numbers for decisions about classes, as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support


def class_metrics(
    y: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray | None = None,
    classes: np.ndarray | None = None,
) -> dict[str, Any]:
    """Compare predicted with true classes.

    Parameters
    ----------
    y, predicted : arrays of shape (n,)
    probabilities : array of shape (n, len(classes)), optional
    classes : array, needed with probabilities
        What the columns of `probabilities` stand for.

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
    labels = np.unique(np.concatenate([np.asarray(y), np.asarray(predicted)]))
    right = int((np.asarray(y) == np.asarray(predicted)).sum())
    interval = binomtest(right, len(y)).proportion_ci(0.95, method="wilson")
    precision, recall, f1, support = precision_recall_fscore_support(
        y, predicted, labels=labels, zero_division=0.0
    )
    # scikit-learn's function warns where there is one class only, which is no fault here.
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (np.searchsorted(labels, y), np.searchsorted(labels, predicted)), 1)
    return {
        "n": len(y),
        "accuracy": right / len(y),
        "interval": [float(interval.low), float(interval.high)],
        "log_loss": None if probabilities is None else log_loss(y, probabilities, classes),
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


def log_loss(y: np.ndarray, probabilities: np.ndarray, classes: np.ndarray | None) -> float:
    """Return the mean of -ln(probability of the true class).

    Probabilities are kept above the machine epsilon, and a class that the head never saw
    counts as that, where scikit-learn's function refuses.
    """
    if classes is None:
        raise ValueError("got probabilities without classes; pass what their columns stand for")
    columns = np.searchsorted(classes, y)
    known = np.isin(y, classes)
    true = np.zeros(len(y))
    true[known] = probabilities[np.flatnonzero(known), columns[known]]
    return float(-np.log(np.maximum(true, np.finfo(np.float64).eps)).mean())


def plain_label(label: Any) -> Any:
    """Return a label as JSON can hold it."""
    return label.item() if isinstance(label, np.generic) else label
