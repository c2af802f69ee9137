"""Chapter "which class": accuracy, confusions, calibration, confident errors, label errors."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.bundle import rows_used_in_fit
from isthmus.classification import CodeClassifier
from isthmus.data import ClassMatcher, Dataset
from isthmus.evaluation import (
    CalibrationTally,
    class_metrics,
    decide,
    reliability,
    unknown_classes,
)
from isthmus.report.wording import label_or_none

if TYPE_CHECKING:
    from isthmus.report.gallery import TestResult

N_WORST = 12
#: Instances shown for a cell of the confusion matrix, and number of cells with instances.
N_IN_CELL, MAX_CELLS = 6, 60


def class_facts(
    name: str,
    classifier: CodeClassifier,
    test: Dataset,
    codes: np.ndarray,
    hashes: np.ndarray,
    tested: TestResult | None = None,
) -> dict[str, Any] | None:
    """Test a classifier on the labelled instances that it was not fitted on.

    Parameters
    ----------
    name : str
    classifier : fitted CodeClassifier
    test : Dataset of n instances
    codes : array of shape (n, n_components)
    hashes : uint64 array of shape (n,)
    tested : Tested, optional
        Result on all rows of the stream that `test` was drawn from, which gives the figures.

    Returns
    -------
    dict or None
        The result of `isthmus.evaluation.class_metrics`, with `name`; `n_known`,
        instances that it learned from, which are left out; `reliability`, see `reliability`;
        `calibration` of a calibrated classifier, see `CalibrationTally.result`;
        `worst`, the mistakes made with most confidence; `doubtful`, labels that are likely wrong;
        `cells`, confusions with rows, the most frequent first; and what `unknown_classes` gives.
        Rows are numbered as `Dataset.row_numbers` does.
        None where no labelled instance is left.

    Raises
    ------
    DataError
        When labels cannot be matched with the classes of the head, see `ClassMatcher`.
    """
    if test.y is None:
        return None
    if tested is not None and tested.refused is not None:
        raise tested.refused
    head = classifier.standardised_head_
    labelled, labels = ClassMatcher(head.classes_).labelled(test.y)
    known = rows_used_in_fit(classifier, hashes)[labelled]
    rows, y = labelled[~known], labels[~known]
    if not len(rows) or (tested is not None and not tested.tally.n):
        return None
    predicted, probabilities = decide(head, codes[rows])
    facts: dict[str, Any] = {"name": name, "n_known": int(known.sum())}
    if tested is None:
        facts |= class_metrics(y, predicted, probabilities, head.classes_)
    else:
        facts |= tested.tally.result() | {"n_known": tested.n_known}
    facts |= unknown_classes(facts, head.classes_)
    numbers = test.row_numbers()[rows]
    facts["cells"] = _cells(numbers, y, predicted, facts)
    facts["reliability"], facts["worst"], facts["doubtful"] = None, [], []
    if probabilities is None:
        return facts
    confidence = probabilities.max(axis=1)
    facts["reliability"] = reliability(confidence, predicted == y)
    tally = CalibrationTally(classifier)
    tally.update(codes[rows], y)
    if calibrated := tally.result():
        facts["calibration"] = calibrated
    facts["doubtful"] = _doubtful(numbers, y, probabilities, head.classes_)
    wrong = np.flatnonzero(predicted != y)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:N_WORST]
    facts["worst"] = [
        {
            "row": int(numbers[at]),
            "label": label_or_none(y[at]),
            "predicted": label_or_none(predicted[at]),
            "confidence": float(confidence[at]),
        }
        for at in wrong
    ]
    return facts


def _doubtful(
    numbers: np.ndarray, y: np.ndarray, probabilities: np.ndarray, classes: np.ndarray
) -> list[dict[str, Any]]:
    """Return labels that are likely wrong, the likeliest first (Northcutt et al., 2021).

    The head was not fitted on these instances, as confident learning requires.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:  # without the extra the chapter has no such list
        return []
    known = np.flatnonzero(np.isin(y, classes))
    places = np.searchsorted(classes, y[known])
    if len(np.unique(places)) < len(classes):  # cleanlab needs instances of each class
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rare classes, of which the page warns
        found = find_label_issues(
            places, probabilities[known], return_indices_ranked_by="self_confidence", n_jobs=1
        )
    return [
        {
            "row": int(numbers[known[at]]),
            "label": label_or_none(y[known[at]]),
            "likelier": label_or_none(classes[probabilities[known[at]].argmax()]),
            "confidence": float(probabilities[known[at], places[at]]),
        }
        for at in found[:N_WORST]
    ]


def _cells(
    numbers: np.ndarray, y: np.ndarray, predicted: np.ndarray, facts: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the confusions that occur, the most frequent first, with rows of each.

    `place` is the row and column of the cell in the confusion matrix, which has the `count`.
    """
    classes = facts["classes"]
    wrong = predicted != y
    pairs: dict[tuple[Any, Any], list[int]] = {}
    for row, label, found in zip(numbers[wrong], y[wrong], predicted[wrong], strict=True):
        pairs.setdefault((label, found), []).append(int(row))
    ordered = sorted(pairs.items(), key=lambda item: -len(item[1]))[:MAX_CELLS]
    return [
        {
            "label": label_or_none(label),
            "predicted": label_or_none(found),
            "place": [classes.index(label), classes.index(found)],
            "count": facts["confusion"][classes.index(label)][classes.index(found)],
            "rows": cell_rows[:N_IN_CELL],
        }
        for (label, found), cell_rows in ordered
    ]
