"""What heads decide: verdicts from anomaly scores, and the columns of a table of predictions.

All that decides or writes predictions comes here: the detector, evaluation, scoring of streams,
the export's comparison, the service, the command line. No torch is loaded.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.data.labels import is_missing, label_text
from isthmus.errors import DataError

NORMAL, ABNORMAL = 1, -1
#: Verdicts in words.
VERDICT_NAMES = {NORMAL: "normal", ABNORMAL: "abnormal"}
#: What a head gives of each instance, by the name that an export's metadata has for it.
DECISIONS = ("class", "probabilities", "class_p_values", "anomaly_score", "p_value", "verdict")
#: Columns that every table of predictions has, of a classifier or of a detector.
ALWAYS_WRITTEN = ("prediction", "probability", "anomaly_score", "p_value", "reconstruction_error")
#: And those that tables of time points have.
WRITTEN_OF_POINTS = (*ALWAYS_WRITTEN, "verdict", "n_filled")
#: Between the classes of a set in a table.
SET_SEPARATOR = "|"


def as_normal_value(normal: Any) -> str | int | float | bool | None:
    """Return the label that means normal as a plain value; None where it is not stated.

    Parameters
    ----------
    normal : object

    Returns
    -------
    str, int, float, bool or None

    Raises
    ------
    DataError
        When it is several values, or no label.

    Examples
    --------
    >>> as_normal_value(np.int64(0)), as_normal_value("ok"), as_normal_value(None)
    (0, 'ok', None)
    """
    if normal is None:
        return None
    plain = normal.item() if isinstance(normal, np.generic) else normal
    if isinstance(plain, bytes):
        plain = label_text(plain)
    if not isinstance(plain, str | bool | int | float) or is_missing(plain):
        raise DataError(
            f"got normal={shown(normal)}, expected the one label that means normal, as a number or "
            "text, such as normal=0 (on the command line --normal 0)"
        )
    return plain


def verdicts(anomaly_scores: np.ndarray, threshold: float) -> np.ndarray:
    """Return 1 (normal) for scores up to the threshold and -1 (abnormal) for others.

    With the threshold of a detector's calibration a verdict is -1 exactly where the p-value is at
    most the false-alarm rate. A score that is no number is abnormal.

    Parameters
    ----------
    anomaly_scores : array of shape (n,)
    threshold : float, or array of shape (n,)

    Returns
    -------
    int8 array of shape (n,)

    Examples
    --------
    >>> verdicts(np.array([0.5, 2.0, 2.1]), threshold=2.0).tolist()
    [1, 1, -1]
    """
    return np.where(anomaly_scores <= threshold, NORMAL, ABNORMAL)


def prediction_sets(p_values: np.ndarray, alpha: float) -> np.ndarray:
    """Return the classes of each instance whose p-value is above `alpha`.

    Parameters
    ----------
    p_values : array of shape (n, n_classes)
        Conformal p-values of the classes.
    alpha : float in (0, 1)

    Returns
    -------
    boolean array of shape (n, n_classes)

    Examples
    --------
    >>> prediction_sets(np.array([[0.6, 0.1, 0.02]]), 0.1).tolist()
    [[True, False, False]]
    """
    found: np.ndarray = p_values > alpha + 1e-12  # such as 2 of 20 for 0.1
    return found


def named_sets(sets: np.ndarray, classes: Sequence[Any] | np.ndarray) -> list[list[Any]]:
    """Return prediction sets as lists of classes.

    Parameters
    ----------
    sets : boolean array of shape (n, n_classes)
    classes : sequence of n_classes

    Returns
    -------
    list of lists

    Examples
    --------
    >>> named_sets(np.array([[True, True], [False, False]]), ["ant", "bee"])
    [['ant', 'bee'], []]
    """
    names = np.asarray(classes).tolist()
    return [[names[at] for at in np.flatnonzero(row)] for row in np.asarray(sets)]


def decision_counts(decisions: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Return how many instances have each class, or without classes each verdict.

    Parameters
    ----------
    decisions : mapping of str to array
        By name of `DECISIONS`; others are not looked at.

    Returns
    -------
    dict
        By class as text; or `normal` and `abnormal`, also where there are none; or empty.

    Examples
    --------
    >>> decision_counts({"verdict": np.array([1, 1, -1])})
    {'normal': 2, 'abnormal': 1}
    >>> decision_counts({"class": np.array(["b", "a", "b"])})
    {'a': 1, 'b': 2}
    """
    if "class" in decisions:
        labels, counts = np.unique(decisions["class"], return_counts=True)
        return {str(label): int(count) for label, count in zip(labels, counts, strict=True)}
    if "verdict" not in decisions:
        return {}
    return {name: int((decisions["verdict"] == v).sum()) for v, name in VERDICT_NAMES.items()}


def prediction_columns(
    decisions: Mapping[str, np.ndarray],
    classes: Sequence[object] = (),
    reasons: pd.DataFrame | None = None,
    alpha: float | None = None,
) -> dict[str, np.ndarray]:
    """Return the columns of a table of predictions, in their order.

    Parameters
    ----------
    decisions : mapping of str to array of shape (n, ...)
        By name of `DECISIONS`, of one head, and `reconstruction_error` where it is known. Of a
        classifier the class is the prediction, and its anomaly score and verdict, which the class
        tells as well, have no columns; of a detector the verdict is.
    classes : sequence
        That the probabilities are of.
    reasons : DataFrame of n rows, optional
        Columns that explain the decisions.
    alpha : float in (0, 1), optional
        Add the prediction sets at this level, from `class_p_values`.

    Returns
    -------
    dict of str to array of shape (n,)
        `prediction`; of a classifier `probability`, the largest, and `probability_CLASS` of each
        class; of a detector `anomaly_score`; `p_value`; with `alpha` the `set`, its classes as
        text, `SET_SEPARATOR` between them, and the `set_size`; the reasons;
        `reconstruction_error`. Each that is there; all but the prediction, the set, its size and
        the reasons are float64.

    Examples
    --------
    >>> given = {"class": np.array(["a"]), "probabilities": np.array([[0.7, 0.3]])}
    >>> prediction_columns(given, ["a", "b"])["probability_b"].tolist()
    [0.3]
    >>> list(prediction_columns({"verdict": np.array([1]), "p_value": np.array([0.5])}))
    ['prediction', 'p_value']
    """
    classifies = "class" in decisions
    columns = {"prediction": decisions["class" if classifies else "verdict"]}
    numbers: dict[str, np.ndarray] = {}
    if "probabilities" in decisions:
        probabilities = decisions["probabilities"]
        numbers["probability"] = probabilities.max(axis=1)
        for name, column in zip(classes, probabilities.T, strict=True):
            numbers[f"probability_{name}"] = column
    others = ("p_value", "reconstruction_error")
    for name in others if classifies else ("anomaly_score", *others):
        if name in decisions:
            numbers[name] = decisions[name]
    columns |= {name: np.asarray(c, dtype=np.float64) for name, c in numbers.items()}
    last = {name: columns.pop(name) for name in others[1:] if name in columns}
    if alpha is not None:
        sets = prediction_sets(decisions["class_p_values"], alpha)
        named = [SET_SEPARATOR.join(map(str, one)) for one in named_sets(sets, list(classes))]
        columns |= {"set": np.array(named, dtype=object), "set_size": sets.sum(axis=1)}
    if reasons is not None:
        columns |= {str(name): reasons[name].to_numpy() for name in reasons}
    return columns | last


def missing_first(residuals: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
    """Return squared residuals (n, m) to rank, in which missing values count most.

    Parameters
    ----------
    residuals : array of shape (n, m)
    missing : boolean array of shape (n, m) or None
        Values that are missing where none or few were at fit: each counts as all residuals and 1
        together.

    Returns
    -------
    array of shape (n, m)

    Examples
    --------
    >>> missing_first(np.array([[0.5, 0.25]]), np.array([[False, True]])).tolist()
    [[0.5, 1.75]]
    """
    if missing is None:
        return residuals
    return np.where(missing, 1 + residuals.sum(axis=1, keepdims=True), residuals)


def check_key_names(names: Sequence[str], *, of_points: bool = False) -> None:
    """Check that columns which identify rows can stand beside what heads decide of these rows.

    Parameters
    ----------
    names : sequence of str
        Of the columns that are copied to the output: keys, groups and, of a long table, the time.
    of_points : bool, default=False
        Whether the rows are time points of series.

    Raises
    ------
    DataError
        When one has a name of `ALWAYS_WRITTEN`, or of time points of `WRITTEN_OF_POINTS`.

    Examples
    --------
    >>> check_key_names(["customer", "row", "verdict"])
    """
    written = WRITTEN_OF_POINTS if of_points else ALWAYS_WRITTEN
    both = [name for name in names if name in written]
    if both:
        raise DataError(
            f"got the column {both[0]!r} as a key, group or time, beside which decisions are "
            "written in a column of that name; rename it in the data, or leave it out: "
            f"drop=[{both[0]!r}], on the command line --drop {both[0]}"
        )


def with_identifiers(identifiers: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Put the columns that identify rows in front of what was found of these rows.

    Parameters
    ----------
    identifiers : DataFrame of shape (n, k)
        See `Dataset.identifiers`.
    table : DataFrame of shape (n, m)

    Returns
    -------
    DataFrame of shape (n, k + m)
        With the index of `table`.

    Raises
    ------
    DataError
        When both have a column of the same name.

    Examples
    --------
    >>> parts = pd.DataFrame({"part": ["007", "7"]})
    >>> with_identifiers(parts, pd.DataFrame({"prediction": [1, -1]})).columns.tolist()
    ['part', 'prediction']
    """
    both = [str(name) for name in identifiers.columns if name in table.columns]
    if both:
        raise DataError(
            f"the column {both[0]!r} is no feature and is copied to the output, which has a column "
            "of that name; give it another name, or leave it out (drop=, on the command line "
            f"--drop {shlex.quote(both[0])})"
        )
    return pd.concat([identifiers.set_axis(table.index), table], axis=1)
