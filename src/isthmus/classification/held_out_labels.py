"""Labels held out from a head: in parts in turn, or a part drawn once; what heads give for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.classification.class_labels import LabelledCodes, labelled_rows
from isthmus.classification.heads import StandardisedHead
from isthmus.errors import CalibrationError

#: Parts of the labels that are held out from the head in turn.
N_FOLDS = 5
#: Share of the labels that `"split"` holds out from the head.
HELD_OUT_SHARE = 0.2
#: Labels to calibrate on, at least.
MIN_LABELS = 4


def check_enough_labels(n: int) -> None:
    """Check that there are labels to calibrate on.

    Raises
    ------
    CalibrationError
        When there are fewer than four.
    """
    if n < MIN_LABELS:
        raise CalibrationError(
            f"got {n} labels to calibrate on, expected at least {MIN_LABELS}; bring more labels, "
            "or leave calibration out"
        )


@dataclass(frozen=True, eq=False)
class Folds:
    """Heads that were each fitted without a part of the labels.

    Attributes
    ----------
    heads : list of StandardisedHead
    parts : int array of shape (n,)
        By which head each labelled instance was not learned.
    learned : boolean array of shape (n,)
        Whether that head learned others of its class.
    """

    heads: list[StandardisedHead]
    parts: np.ndarray
    learned: np.ndarray


def head_probabilities(
    head: StandardisedHead, codes: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Return a head's probabilities of these classes, zero for those that it lacks."""
    found = head.head_proba(codes)
    if found.shape[1] == len(classes):
        return found
    probabilities = np.zeros((len(codes), len(classes)))
    probabilities[:, positions(head.classes_, classes)] = found
    return probabilities


def positions(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the position of each label among the classes, -1 where it is none of them: (n,).

    Examples
    --------
    >>> positions(np.array([7, 3, 4]), np.array([3, 7])).tolist()
    [1, 0, -1]
    """
    place = {label: at for at, label in enumerate(np.asarray(classes).tolist())}
    return np.array([place.get(label, -1) for label in labels.tolist()], dtype=np.int64)


def folds_by_class(places: np.ndarray, seed: int) -> np.ndarray:
    """Deal the instances of each class to folds in turn, in an order drawn at random.

    Returns
    -------
    int array of shape (n,)
        The fold of each, from 0 to `N_FOLDS` - 1.
    """
    order = np.random.default_rng([seed, 1]).permutation(len(places))
    order = order[np.argsort(places[order], kind="stable")]
    folds = np.empty(len(places), np.int64)
    folds[order] = np.arange(len(places)) % N_FOLDS
    return folds


def rows_to_hold_out(places: np.ndarray, seed: int) -> np.ndarray:
    """Draw a fifth of the instances at random; one of each class is never among them.

    Returns
    -------
    int array
        Positions, sorted.
    """
    order = np.random.default_rng([seed, 2]).permutation(len(places))
    _, first = np.unique(places[order], return_index=True)
    rest = np.delete(order, first)
    return np.sort(rest[: round(HELD_OUT_SHARE * len(places))])


def out_of_fold_probabilities(
    build: Callable[[int], Any], labelled: LabelledCodes, classes: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, Folds]:
    """Fit a head without each fifth of the labels, and return what it gives for that fifth.

    Unlabelled instances are fitted on in every fold.

    Parameters
    ----------
    build : callable
        From a number of labels to an unfitted head.
    labelled : LabelledCodes
    classes : array of shape (n_classes,)
    seed : int

    Returns
    -------
    probabilities : array of shape (n_labelled, n_classes)
        Zero for classes that a fold's head did not learn.
    places : int array of shape (n_labelled,)
        The column of each instance's class.
    folds : Folds

    Raises
    ------
    CalibrationError
        When there are fewer than four labels, or a head cannot be fitted without a fifth of them.
    """
    rows = labelled_rows(labelled.y)
    check_enough_labels(len(rows))
    places = positions(labelled.y[rows], classes)
    parts = folds_by_class(places, seed)
    probabilities = np.empty((len(rows), len(classes)))
    learned = np.empty(len(rows), dtype=bool)
    heads = []
    for part in range(N_FOLDS):
        held = np.flatnonzero(parts == part)
        rest = np.delete(np.arange(len(labelled.y)), rows[held])
        try:
            head = StandardisedHead(build(len(rows) - len(held)))
            head.fit(labelled.codes[rest], labelled.y[rest])
        except ValueError as error:
            raise CalibrationError(
                f"the head cannot be fitted without a fifth of the labels ({error}), as "
                "calibration='cross' requires; bring more labels of each class, take another "
                "head, or call calibrate(X, y) with labels held out"
            ) from error
        codes = labelled.codes[rows[held]]
        if len(held):
            probabilities[held] = head_probabilities(head, codes, classes)
        learned[held] = np.isin(places[held], positions(head.classes_, classes))
        heads.append(head)
    return probabilities, places, Folds(heads, parts, learned)
