"""What heads decide: classes as labels write them, verdicts, columns of tables of predictions.

All that decides or writes predictions comes here: the detector, evaluation, scoring of streams,
the export's comparison, the service, the command line. No torch is loaded.
"""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from isthmus._core import shown
from isthmus.data.labels import (
    CLASSES,
    appearance,
    as_labels,
    factorize_labels,
    label_text,
    readings_of,
)
from isthmus.errors import DataError, DataWarning

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


class ClassMatcher:
    """Match labels with classes that may be written in another way.

    Files change how a label is written: 0 is "0" as the name of a folder, "01" is 1 and "true" is
    True once a CSV file is read, and 3 is 3.0 where another label is missing. A label is the class
    that it equals, number with number and text with text; or that it reads as, where one of the two
    is text and the other a number, or True or False. What may be several classes is refused.

    Parameters
    ----------
    classes : array of shape (n_classes,), or list

    Examples
    --------
    >>> matcher = ClassMatcher(np.array([0, 1, 7]))
    >>> rows, labels = matcher.labelled(np.array(["7", "", "01", "8"]))
    >>> rows.tolist(), labels.tolist()
    ([0, 2, 3], [7, 1, 8])
    """

    def __init__(self, classes: np.ndarray | list[Any]) -> None:
        self._classes = classes.tolist() if isinstance(classes, np.ndarray) else list(classes)
        self._texts: dict[str, list[Any]] = {}
        self._values: dict[Any, list[Any]] = {}
        # Text by the number, or the truth, that it reads as.
        self._texts_as: dict[tuple[bool, Any], list[Any]] = {}
        for one in self._classes:
            if not isinstance(one, str | bytes):
                self._values.setdefault(one, []).append(one)
            if not isinstance(one, bool | int | float):
                self._texts.setdefault(label_text(one), []).append(one)
            if isinstance(one, str | bytes):
                for reading in readings_of(label_text(one)):
                    self._texts_as.setdefault(_key(reading), []).append(one)
        # How the labels so far write each class.
        self._written: dict[Any, tuple[str | None, Any]] = {}

    def labelled(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return which instances have a label, and the labels as the head writes its classes.

        Parameters
        ----------
        y : array of shape (n,)
            What is no label says `CLASSES`; -1 is one where the head has that class.

        Returns
        -------
        rows : integer array of shape (k,)
        labels : array of shape (k,)
            See `match`.

        Raises
        ------
        DataError
            As `match` does.
        """
        y = y if isinstance(y, np.ndarray) else as_labels(y)
        classes = _typed(self._classes)
        rows = np.flatnonzero(CLASSES.has_label(y, classes))
        labels = self.match(y[rows])
        there = CLASSES.has_label(labels, classes)  # "-1" is the number now
        return rows[there], labels[there]

    def match(self, labels: np.ndarray) -> np.ndarray:
        """Return labels, none missing, as the head writes its classes: (k,).

        Labels that are no class are among them: numbers where the classes are numbers, text where
        they are text.

        Raises
        ------
        DataError
            When a label may be several classes, when two different labels read as one class, or
            when a label is no class and of another kind than the classes.
        """
        distinct, places = factorize_labels(labels)
        found = [self.class_of(label) for label in distinct]
        written = [
            self._as_class(label) if one is None else one
            for label, one in zip(distinct, found, strict=True)
        ]
        self._warn_of_alike(
            [label for label, one in zip(distinct, found, strict=True) if one is None]
        )
        strange = [label for label, one in zip(distinct, written, strict=True) if one is None]
        if strange:
            raise self._of_another_kind(strange)
        for label, one in zip(distinct, written, strict=True):
            self._check_written(label, one)
        return (_typed(written) if written else _typed(self._classes)[:0])[places]

    def class_of(self, label: Any) -> Any:
        """Return the class that a label is, or None.

        Raises
        ------
        DataError
            When it may be several.
        """
        if isinstance(label, str | bytes):
            text = label_text(label)
            found = [*self._texts.get(text, [])]
            for reading in readings_of(text):
                same = self._values.get(reading, [])
                found += [one for one in same if _key(one) == _key(reading)]
        elif isinstance(label, bool | int | float):
            found = [*self._values.get(label, []), *self._texts_as.get(_key(label), [])]
        else:
            found = self._values.get(label) or self._texts.get(label_text(label), [])
        if len(found) > 1:
            raise DataError(
                f"got the label {shown(label)}, which may be each of the classes "
                f"{' and '.join(sorted(map(repr, found)))}; write labels as the classes are written"
            )
        return found[0] if found else None

    def _as_class(self, label: Any) -> Any:
        """Return a label that is no class as a class would be written; None where it cannot be."""
        texts = [one for one in self._classes if isinstance(one, str | bytes)]
        if not isinstance(label, str | bytes):
            if len(texts) < len(self._classes):
                return label
            alike = any(truth == isinstance(label, bool) for truth, _ in self._texts_as)
            return label_text(label) if alike else None
        if texts:
            return label_text(label).encode() if isinstance(texts[0], bytes) else label_text(label)
        kinds = {isinstance(one, bool) for one in self._classes}
        readings = [one for one in readings_of(label_text(label)) if isinstance(one, bool) in kinds]
        return readings[0] if readings else None

    def _check_written(self, label: Any, one: Any) -> None:
        """Check that a class that is or reads as a number is written in one way."""
        text = label_text(label) if isinstance(label, str | bytes) else None
        if isinstance(label, bool) or isinstance(one, bool):
            return
        if text is not None and text == one and not readings_of(text):
            return
        before, first = self._written.setdefault(one, (text, label))
        if before != text:
            raise DataError(
                f"got the labels {shown(first)} and {shown(label)}, which both read as "
                f"{shown(one)}; write each class in one way"
            )

    def _warn_of_alike(self, labels: list[Any]) -> None:
        """Warn of labels that are no class, and look like one."""
        looks = {appearance(one): one for one in self._classes}
        alike = [(one, looks[appearance(one)]) for one in labels if appearance(one) in looks]
        if alike:
            pairs = ", ".join(f"{label!r} beside {known!r}" for label, known in alike[:10])
            warnings.warn(
                "got labels that differ from a class of the head in case or spaces alone, and "
                f"count as another one: {pairs}; write them as at fit",
                DataWarning,
                stacklevel=4,
            )

    def _of_another_kind(self, labels: list[Any]) -> DataError:
        listed = ", ".join(map(shown, labels[:5])) + ", ..." * (len(labels) > 5)
        example = f", such as {shown(self._classes[0])}" if self._classes else ""
        return DataError(
            f"got labels that are {_kind(labels)}, such as {listed}, but the classes of the head "
            f"are {_kind(self._classes)}{example}; pass labels of the same kind (numbers with "
            "numbers, text with text), or leave those rows out"
        )


def are_normal(labels: list[Any], normal: Any) -> list[bool]:
    """Return which of some distinct labels is the one that means normal, see `ClassMatcher`."""
    meant = ClassMatcher(labels).class_of(normal)
    return [meant is not None and one is meant for one in labels]


def _key(value: Any) -> tuple[bool, Any]:
    """Return what keeps True and 1 apart, which are equal to Python."""
    return isinstance(value, bool), value


def _typed(labels: list[Any]) -> np.ndarray:
    """Return an array of the labels' own type; text beside anything else stays apart from it."""
    texts = {isinstance(label, str | bytes) for label in labels}
    return np.array(labels, dtype=object if len(texts) > 1 else None)


def _kind(labels: list[Any]) -> str:
    texts = {isinstance(label, str | bytes) for label in labels}
    if texts == {True, False}:
        return "numbers and text"
    return "text" if True in texts else "numbers"


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
